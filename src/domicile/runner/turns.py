"""Whose turn it is at one model: as many at once as it has slots, the others in the order they came.

The line forms before the model is awake, so that nobody who comes at that moment goes first.
"""

from __future__ import annotations

import asyncio
from collections import deque

Turn = asyncio.Future[None]
"""Done when the turn has come; it fails when the model does."""


class Turns:
    """The turns of one model that is not asleep."""

    def __init__(self) -> None:
        self.taken = 0
        """Turns that somebody has, from the moment they are given."""
        self._free = 0
        self._line: deque[Turn] = deque()
        self._over: BaseException | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def free(self) -> int:
        """Turns that could be had at once."""
        return self._free

    def join(self) -> Turn:
        """Stand in line."""
        turn: Turn = asyncio.get_running_loop().create_future()
        if self._over is not None:
            turn.set_exception(self._over)
        else:
            self._line.append(turn)
            self._serve()
        return turn

    def ahead(self, turn: Turn) -> int:
        """How many come first."""
        return self._line.index(turn) if turn in self._line else 0

    def leave(self, turn: Turn) -> None:
        """Not wait any longer. A turn that came at this very moment is the next one's."""
        if turn in self._line:
            self._line.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            self.give()

    def give(self) -> None:
        """The turn is over."""
        self.taken -= 1
        self._free += 1
        self._serve()

    def open(self, slots: int) -> None:
        """The model is awake."""
        self._free += max(1, slots)
        self._serve()

    def end(self, trouble: BaseException) -> None:
        """The model is gone: whoever waits is told, and whoever still comes."""
        self._over, self._free = trouble, 0
        while self._line:
            turn = self._line.popleft()
            turn.set_exception(trouble)
            turn.exception()  # whoever waited may have left: that is no fault

    def _serve(self) -> None:
        while self._free > 0 and self._line and self._over is None:
            self._free -= 1
            self.taken += 1
            self._line.popleft().set_result(None)
