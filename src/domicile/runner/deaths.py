"""Why a child ended, and when it may be tried again.

A death is read from the error the engine gave. After one the next waking is on safer settings; after three restarts
in five minutes a model rests. Knows no process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from domicile.errors import BadModelFile, DomicileError, EngineDied, EngineUnwell, OutOfMemory, WakeTimeout
from domicile.types import Death

WINDOW_S = 300.0
RESTARTS = 3
"""In a window; then the model rests until the oldest death is out of it."""
DELAYS_S = (0.0, 1.0, 4.0)
"""Before the first, second and third restart."""
WORTH_A_TRY: frozenset[Death] = frozenset({"memory", "fault", "killed"})
"""What safer settings, or a second try, may mend."""


def kind_of(error: DomicileError) -> Death:
    """What a model's child died of."""
    reason = error.facts.get("reason")
    match error:
        case OutOfMemory():
            return "memory"
        case WakeTimeout():
            return "slow"
        case BadModelFile():
            return "fault" if reason == "crash" else "file"
        case EngineDied() if reason in {"killed", "stopped"}:
            return "killed" if reason == "killed" else "stopped"
        case _:
            return "fault"


class Health:
    """The deaths of one model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque()
        self.careful: Death | None = None
        """What it died of last, where safer settings may help: they are kept for this opening of the house."""

    def died(self, kind: Death) -> None:
        if kind in WORTH_A_TRY:
            self._deaths.append(self._clock())
        if kind in {"memory", "fault"}:
            self.careful = kind

    def restarts(self) -> int:
        """Deaths in the window: the next waking is that many restarts."""
        while self._deaths and self._clock() - self._deaths[0] > WINDOW_S:
            self._deaths.popleft()
        return len(self._deaths)

    def delay_s(self, name: str) -> float:
        """How long to wait before the next waking. Raises `EngineUnwell` when it died too often."""
        number = self.restarts()
        if number > RESTARTS:
            rest = WINDOW_S - (self._clock() - self._deaths[0])
            raise EngineUnwell(name=name, n=number, window=WINDOW_S, retry_after=max(1.0, rest))
        return DELAYS_S[number - 1] if number else 0.0
