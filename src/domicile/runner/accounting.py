"""Who gets memory, and who gives it back: pure arithmetic on what is free and who holds what.

A model may wake when what it needs fits what is free. Otherwise models nobody uses go to sleep, the longest unused
first and no more of them than needed; if that is not enough, those in use are drained: they finish what they
began, and what comes later waits. A model in use or pinned is never sent to sleep. Knows no process and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest


@dataclass(frozen=True, slots=True)
class Bytes:
    """Memory: the system's, and that of each graphics card, in the machine's order."""

    ram: int
    devices: tuple[int, ...] = ()

    def __add__(self, other: Bytes) -> Bytes:
        return self._with(other, 1)

    def __sub__(self, other: Bytes) -> Bytes:
        return self._with(other, -1)

    def _with(self, other: Bytes, sign: int) -> Bytes:
        pairs = zip_longest(self.devices, other.devices, fillvalue=0)
        return Bytes(self.ram + sign * other.ram, tuple(a + sign * b for a, b in pairs))

    def fits(self, room: Bytes) -> bool:
        left = room - self
        return left.ram >= 0 and all(device >= 0 for device in left.devices)

    @property
    def total(self) -> int:
        return self.ram + sum(self.devices)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one model that is not asleep keeps others from using."""

    name: str
    held: Bytes
    """What its sleep gives back."""
    busy: bool
    pinned: bool
    used_at: float
    """When it was last used, on any clock that all share."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for a model that wants to wake."""

    go: bool = False
    evict: tuple[str, ...] = ()
    """To be sent to sleep now."""
    drain: tuple[str, ...] = ()
    """In use: new requests for them wait until this one has its memory."""
    never: bool = False
    """It would not fit if everybody slept who can."""


def decide(need: Bytes, free: Bytes, holdings: Sequence[Holding]) -> Decision:
    """Go, send others to sleep, wait for others to finish, or never."""
    if need.fits(free):
        return Decision(go=True)
    movable = sorted((h for h in holdings if not h.pinned), key=lambda h: (h.busy, h.used_at))
    if not need.fits(reachable(free, movable)):
        return Decision(never=True)
    chosen: list[Holding] = []
    for holding in movable:
        chosen.append(holding)
        if need.fits(reachable(free, chosen)):
            break
    for holding in list(chosen):  # one large model may make several small sleeps needless
        rest = [h for h in chosen if h is not holding]
        if need.fits(reachable(free, rest)):
            chosen = rest
    return Decision(evict=tuple(h.name for h in chosen if not h.busy), drain=tuple(h.name for h in chosen if h.busy))


def reachable(free: Bytes, holdings: Sequence[Holding]) -> Bytes:
    """What would be free if these slept."""
    return reduce(lambda sum_, holding: sum_ + holding.held, holdings, free)
