"""Which bytes are missing, who fetches them, and what an idle connection may take over. Arithmetic only.

Spans are handed out from the front, so that the whole file can be hashed while it comes, and get shorter towards
the end. When none is left, an idle connection steals from the one that would end last: there is no slow last percent.
The caller holds a lock around every call. Offsets and lengths are bytes, moments are seconds of one clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST = 64 * 2**20
_HANDS = 24
"""Spans are cut for at least so many: the first connections must not hold up the front when others join them."""
_STEAL_COST_S = 0.3
_STEAL_ETA_S = 0.5
_FRESH_S = 1.0


@dataclass(slots=True, eq=False)
class Span:
    """Bytes `start` to `end` (exclusive), lent to one connection. `claimed` are promised to a write, `done` written."""

    start: int
    end: int
    claimed: int
    done: int
    since: float
    last: float

    def rate(self, now: float) -> float:
        return (self.done - self.start) / max(now - self.since, 1e-3)

    def eta(self, now: float, quiet_s: float) -> float:
        """Seconds it will still take; infinite for one that has fallen silent, 0 for one too young to judge."""
        if now - self.last > quiet_s:
            return float("inf")
        if now - self.since < _FRESH_S:
            return 0.0
        return (self.end - self.claimed) / max(self.rate(now), 1.0)


class Spans:
    """The missing parts of one file of `size` bytes, in blocks of `block`; `kept` blocks are there already."""

    def __init__(self, size: int, block: int, kept: Iterable[int] = ()) -> None:
        self.size, self.block = size, block
        self.count = -(-size // block)
        self.active: list[Span] = []
        self.pending: list[tuple[int, int]] = []
        self._missing = array("Q")
        self._usual = 0.0
        self.reset(kept)

    def reset(self, kept: Iterable[int] = ()) -> None:
        """Everything is missing but the kept blocks. Spans that are lent lose what they had left."""
        there = set(kept)
        for span in self.active:
            span.end = span.claimed
        self.active = []
        self._missing = array("Q", (0 if i in there else self.length(i) for i in range(self.count)))
        self.pending = []
        for i in range(self.count):
            if i not in there:
                self._lack(i * self.block, i * self.block + self.length(i))

    def length(self, index: int) -> int:
        return min(self.block, self.size - index * self.block)

    @property
    def left(self) -> int:
        """Bytes that nobody has written yet."""
        return sum(e - s for s, e in self.pending) + sum(s.end - s.done for s in self.active)

    @property
    def frontier(self) -> int:
        """Everything before this has been written."""
        firsts = [s.done for s in self.active if s.done < s.end]
        if self.pending:
            firsts.append(self.pending[0][0])
        return min(firsts, default=self.size)

    def is_full(self, index: int) -> bool:
        return self._missing[index] == 0

    def take(self, now: float, hands: int, quiet_s: float, longest: int = _LONGEST) -> Span | None:
        """The next span for one of so many hands; None when there is nothing worth taking now."""
        if not self.pending:
            return self._steal(now, quiet_s)
        start, end = self.pending[0]
        fair = sum(e - s for s, e in self.pending) // (2 * max(hands, _HANDS))
        stop = start + min(max(fair, self.block), longest)
        stop = min(-(-stop // self.block) * self.block, end)
        if stop == end:
            self.pending.pop(0)
        else:
            self.pending[0] = (stop, end)
        return self._lend(start, stop, now)

    def _lend(self, start: int, end: int, now: float) -> Span:
        span = Span(start, end, start, start, now, now)
        self.active.append(span)
        return span

    def _steal(self, now: float, quiet_s: float) -> Span | None:
        victim = max(self.active, key=lambda s: s.eta(now, quiet_s), default=None)
        if victim is None or (eta := victim.eta(now, quiet_s)) < _STEAL_ETA_S:
            return None
        left = victim.end - victim.claimed
        others = [s.rate(now) for s in self.active if s is not victim]
        mine = max(1.0, self._usual, victim.rate(now), *others)
        keep = 0 if eta == float("inf") else int(left * victim.rate(now) / (victim.rate(now) + mine))
        if left <= 0 or (left - keep) / mine + _STEAL_COST_S > eta:
            return None
        start, end = victim.claimed + keep, victim.end
        victim.end = start
        if victim.done == victim.end:
            self.active.remove(victim)
        return self._lend(start, end, now)

    def claim(self, span: Span, count: int) -> int:
        """How many of the bytes that came are this span's to write: 0 when it has been taken over."""
        mine = max(0, min(count, span.end - span.claimed))
        span.claimed += mine
        return mine

    def commit(self, span: Span, count: int, now: float) -> list[int]:
        """The claimed bytes are written; the blocks that are full now."""
        if span not in self.active:  # a reset came between: these bytes are missing again
            return []
        at, left, full = span.done, count, []
        while left:
            index = at // self.block
            here = min(left, (index + 1) * self.block - at)
            self._missing[index] -= here
            if self._missing[index] == 0:
                full.append(index)
            at, left = at + here, left - here
        span.done, span.last = at, now
        return full

    def give_back(self, span: Span) -> None:
        """A connection is done with its span, or failed: what it has not written is missing again."""
        if span not in self.active:
            return
        self.active.remove(span)
        if span.done == span.end:
            self._usual = max(self._usual / 2, span.rate(span.last))
        else:
            self._lack(span.done, span.end)
        span.end = span.claimed

    def lose(self, index: int) -> None:
        """A full block has turned out wrong: it is missing again."""
        start = index * self.block
        self._missing[index] = self.length(index)
        self._lack(start, start + self.length(index))

    def merge(self) -> list[int]:
        """For a server that sends whole files only: one span from the first missing byte to the end. The blocks that
        were full and are now missing again."""
        start = self.frontier
        first = start // self.block
        lost = [i for i in range(first, self.count) if self.is_full(i)]
        for span in self.active:
            span.end = span.claimed
        self.active, self.pending = [], []
        for i in range(first, self.count):
            begin = max(start, i * self.block)
            self._missing[i] = i * self.block + self.length(i) - begin
        if start < self.size:
            self.pending = [(start, self.size)]
        return lost

    def _lack(self, start: int, end: int) -> None:
        spans = sorted([*self.pending, (start, end)])
        self.pending = []
        for s, e in spans:
            if self.pending and self.pending[-1][1] >= s:
                self.pending[-1] = (self.pending[-1][0], max(e, self.pending[-1][1]))
            else:
                self.pending.append((s, e))
