"""How often a password, or the code of the first visit, may be tried: by address and by name.

In memory: whoever can restart the house does not need to guess.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from domicile.errors import TooManyAttempts

WINDOW_S = 900.0
BY_NAME, BY_ADDRESS = 10, 30
"""Failures within the window. An address is allowed more: a family, or a proxy, stands behind one."""
_MOST = 10_000


class Attempts:
    """Failures that are not yet forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[tuple[str, str], list[float]] = {}

    def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed until `succeeded`, so that many at once are no way round. Raises
        `TooManyAttempts`."""
        now = self._clock()
        places = ((("name", name.casefold()[:200]), BY_NAME), (("address", address), BY_ADDRESS))
        for place, most in places:
            recent = self._recent(place, now)
            if len(recent) >= most:
                raise TooManyAttempts(retry_after=max(1, round(recent[0] + WINDOW_S - now)))
        if len(self._failed) >= _MOST:
            self._sweep(now)
        for place, _ in places:
            self._failed.setdefault(place, []).append(now)

    def succeeded(self, name: str, address: str) -> None:
        """The name is forgiven all; the address this one attempt alone, so that an account of one's own is no way to
        try those of others for ever."""
        self._failed.pop(("name", name.casefold()[:200]), None)
        here = self._failed.get(("address", address))
        if here:
            here.pop()

    def forgive(self, name: str) -> None:
        """An administrator gave a new password."""
        self._failed.pop(("name", name.casefold()[:200]), None)

    def _recent(self, place: tuple[str, str], now: float) -> list[float]:
        kept = [t for t in self._failed.get(place, ()) if t > now - WINDOW_S]
        if kept:
            self._failed[place] = kept
        else:
            self._failed.pop(place, None)
        return kept

    def _sweep(self, now: float) -> None:
        for place in list(self._failed):
            self._recent(place, now)
        while len(self._failed) >= _MOST:  # the oldest names go: an attack on one is among the newest
            self._failed.pop(next(iter(self._failed)))
