"""What a job's work says while it goes on, and what it is allowed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from domicile.errors import NoRoom

_BEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes a second: of this job, and of all the downloads of this process together. None is any speed."""

    job: float | None = None
    house: float | None = None


Reserve = Callable[[int, int], Awaitable[int]]
"""Room for so many bytes, so many of which are here: how many are missing."""


class Progress:
    """Cheap to call for every chunk: events are spaced by the house."""

    def __init__(self, change: Callable[..., None], reserve: Reserve | None = None) -> None:
        self._change = change
        self._reserve = reserve
        self._marks: deque[tuple[float, int]] = deque(maxlen=50)
        self._bytes = 0
        self._told = 0.0
        self.limits = Limits()
        self._hears: Callable[[Limits], None] | None = None

    def step(self, key: str) -> None:
        self._change(step=key)

    def expect(self, size_bytes: int) -> None:
        self._change(size_bytes=size_bytes)

    async def reserve(self, size_bytes: int, here_bytes: int = 0, *, place: Path) -> None:
        """Room on the disk before the first byte: the whole size and a margin, less what is here already, beside what
        other jobs still need. Raises `NoRoom` with the missing bytes."""
        self._change(size_bytes=size_bytes)
        missing = await self._reserve(size_bytes, here_bytes) if self._reserve is not None else 0
        if missing:
            raise NoRoom(missing=missing, path=str(place))

    def heed(self, hears: Callable[[Limits], None]) -> None:
        """Be told the limits: now, and whenever a person or another download changes them."""
        self._hears = hears
        hears(self.limits)

    def allow(self, limits: Limits) -> None:
        if limits != self.limits:
            self.limits = limits
            if self._hears is not None:
                self._hears(limits)

    def resumed(self, count: int) -> None:
        """Bytes that were here already: they count as progress, not as speed."""
        self._bytes += count
        self._change(downloaded_bytes=self._bytes)

    def came(self, count: int) -> None:
        self._bytes += count
        now = time.monotonic()
        if now - self._told < _BEAT_S:
            return
        self._told = now
        self._marks.append((now, self._bytes))
        while now - self._marks[0][0] > 5 and len(self._marks) > 2:
            self._marks.popleft()
        (then, before), (_, after) = self._marks[0], self._marks[-1]
        speed = (after - before) / (now - then) if now > then else None
        self._change(downloaded_bytes=self._bytes, speed=speed)

    def settle(self) -> None:
        """The exact count, when the bytes have stopped coming."""
        self._change(downloaded_bytes=self._bytes, speed=None)
