"""Rows that take turns: each has its own cache, and everybody gets a token before anybody gets two.

For runtimes whose caches cannot be laid side by side. One thread owns the model; a conversation joins between two
tokens of the others, and leaves when it is over or nobody waits for it. Knows no runtime.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from domicile.textgen.rows import Row


class Cache(Protocol):
    """What a model has read of one row."""

    def read(self, tokens: Sequence[int]) -> Any:
        """Read more tokens. The scores of what comes next (numpy, one dimension, float32)."""
        ...


class Turns:
    """The thread and its rows: `most` at once, and no more than `tokens` of context for all of them, which is what was
    predicted of the memory. `start` makes an empty cache for a row; `piece` tokens of a prompt are read at once, and
    who leaves is noticed between two pieces."""

    def __init__(self, start: Callable[[Row], Cache], most: int, tokens: int, piece: int) -> None:
        self._start, self._most, self._tokens, self._piece = start, most, tokens, piece
        self._waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
        self._next: Row | None = None
        """Who is next, and waits for others to leave."""
        self._rows: list[tuple[Row, Cache]] = []
        threading.Thread(target=self._run, name="turns", daemon=True).start()

    def add(self, row: Row) -> None:
        """A row to decode, as soon as there is room."""
        self._waiting.put(row)

    def _run(self) -> None:
        while True:
            while len(self._rows) < self._most:
                try:
                    row = self._next or self._waiting.get(block=not self._rows)
                except queue.Empty:
                    break
                self._next = None
                if row.left:
                    continue
                if self._rows and _whole(row) + sum(_whole(r) for r, _ in self._rows) > self._tokens:
                    self._next = row
                    break
                self._let_in(row)
            for row, cache in self._rows:
                self._told(row, partial(_step, row, cache))
            self._rows = [(row, cache) for row, cache in self._rows if not (row.left or row.finish)]

    def _let_in(self, row: Row) -> None:
        def read() -> None:
            cache = self._start(row)
            scores = None
            for begin in range(0, len(row.prompt), self._piece):
                if row.left:
                    return
                scores = cache.read(row.prompt[begin : begin + self._piece])
            row.choose(scores)
            if not row.finish:
                self._rows.append((row, cache))

        self._told(row, read)

    def _told(self, row: Row, work: Callable[[], object]) -> None:
        """Do a row's work; what goes wrong is told to its caller alone."""
        if row.left:
            return
        try:
            work()
        except Exception as trouble:  # noqa: BLE001 - of this row alone; the thread goes on
            traceback.print_exception(trouble)
            row.left = True
            row.tell(trouble)


def _whole(row: Row) -> int:
    return len(row.prompt) + row.wish.max_tokens


def _step(row: Row, cache: Cache) -> None:
    row.choose(cache.read(row.tokens[-1:]))
