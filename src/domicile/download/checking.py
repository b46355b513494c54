"""Is what is on the disk what was announced? Read back and hashed in order, close behind the bytes that come.

One pass serves three promises: the digest of the whole, the digests of kept blocks that a resumed download is held
against, and those the journal gets. While the front waits for a slow connection, blocks ahead of it get a digest of
their own. Knows digests, not networks.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from typing import Protocol

from domicile.download.journal import Journal, Kept
from domicile.download.sheet import Sheet
from domicile.download.spans import Spans
from domicile.download.wanted import Wanted

_STEP = 2**20
_LEAST = 2**18
_BEAT_S = 0.02


class Lost(Protocol):
    """Hears of a kept block that is not what the journal says."""

    def __call__(self, index: int) -> None: ...


def new_digest(wanted: Wanted) -> hashlib._Hash:
    """Of a whole file: sha256, or git's id of a small one (sha1 over a header and the content)."""
    if wanted.git_sha1 and not wanted.sha256:
        return hashlib.sha1(b"blob %d\0" % wanted.size_bytes, usedforsecurity=False)
    return hashlib.sha256()


class Checker:
    """Runs in a thread of its own (`run`). The lock is the transfer's: spans and journal are changed under it."""

    def __init__(
        self,
        wanted: Wanted,
        sheet: Sheet,
        spans: Spans,
        journal: Journal,
        kept: dict[int, Kept],
        changed: threading.Condition,
        lost: Lost,
    ) -> None:
        self.completed: deque[int] = deque()
        """Blocks that have just been filled; added to by the transfer."""
        self.found: str | None = None
        """The whole file's digest, once everything has been read."""
        self._wanted, self._sheet, self._spans, self._journal = wanted, sheet, spans, journal
        self._changed, self._lost = changed, lost
        self._kept = kept
        self._buffer = memoryview(bytearray(_STEP))
        self._begin()

    def _begin(self) -> None:
        self.found = None
        self.completed.clear()
        self._at = 0
        self._era = 0
        self._recorded = set(self._kept)
        self._digest = new_digest(self._wanted)
        self._own = hashlib.sha256()
        self._before = self._digest.copy()

    def restart(self) -> None:
        """Nothing that was read counts any more (under the lock)."""
        era = self._era
        self._kept = {}
        self._begin()
        self._era = era + 1

    def run(self, stopped: threading.Event) -> None:
        """Until the whole file has been read or `stopped` is set. Raises OSError when the disk fails."""
        while not stopped.is_set():
            with self._changed:
                if self.found is None and self._at == self._spans.size:
                    self.found = self._digest.hexdigest()
                    self._changed.notify_all()
                era, at = self._era, self._at
                end = self._next_end()
                ahead = self._next_ahead() if end is None else None
                if end is None and ahead is None:
                    self._changed.wait(_BEAT_S)
                    continue
            if end is not None:
                self._go_on(era, at, end)
            elif ahead is not None:
                self._own_digest(era, ahead, stopped)

    def _next_end(self) -> int | None:
        """Where the next step of the pass ends; None while there is too little to read."""
        there = self._spans.frontier
        block_end = min((self._at // self._spans.block + 1) * self._spans.block, self._spans.size)
        end = min(there, block_end, self._at + _STEP)
        if end <= self._at or (end - self._at < _LEAST and end != block_end):
            return None
        return end

    def _next_ahead(self) -> int | None:
        while self.completed:
            index = self.completed.popleft()
            if index not in self._recorded and index * self._spans.block >= self._at and self._spans.is_full(index):
                return index
        return None

    def _go_on(self, era: int, at: int, end: int) -> None:
        part = self._read(at, end)
        index = at // self._spans.block
        kept = self._kept.get(index)
        if at == index * self._spans.block:
            self._before = self._digest.copy()
            self._own = hashlib.sha256()
        self._digest.update(part)
        if kept is not None and kept.kind == "own":
            self._own.update(part)
        with self._changed:
            if era != self._era:
                return
            self._at = end
            if end == self._spans.size or end % self._spans.block == 0:
                self._end_block(index, self._kept.pop(index, None))

    def _end_block(self, index: int, kept: Kept | None) -> None:
        if kept is None:
            if index not in self._recorded:
                self._record(index, Kept("upto", self._digest.hexdigest()))
            return
        found = self._own.hexdigest() if kept.kind == "own" else self._digest.hexdigest()
        if found != kept.digest:
            self._digest, self._at = self._before, index * self._spans.block
            self._recorded.discard(index)
            self._journal.lose(index)
            self._lost(index)

    def _own_digest(self, era: int, index: int, stopped: threading.Event) -> None:
        start, digest = index * self._spans.block, hashlib.sha256()
        end = start + self._spans.length(index)
        while start < end:
            if stopped.is_set():
                return
            part = self._read(start, min(end, start + _STEP))
            digest.update(part)
            start += len(part)
        with self._changed:
            if era == self._era:
                self._record(index, Kept("own", digest.hexdigest()))

    def _record(self, index: int, kept: Kept) -> None:
        self._recorded.add(index)
        self._journal.keep(index, kept)

    def _read(self, at: int, end: int) -> memoryview:
        """Bytes as they are on the disk; zeros where the file was cut short by another hand."""
        view = self._buffer[: end - at]
        got = 0
        while got < len(view):
            count = self._sheet.read(view[got:], at + got)
            if not count:
                view[got:] = bytes(len(view) - got)
                break
            got += count
        return view
