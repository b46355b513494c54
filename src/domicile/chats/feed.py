"""What happens in a conversation, as numbered events that several watchers follow, each from where it was.

A watcher who is new, or who was away for longer than is remembered, first gets a `snapshot` of everything, so that
rejoining is one road whatever happened. Numbers begin at the clock (milliseconds), so that none of an earlier feed, or
of a house that was closed, is taken for one of this. Knows nothing of what the events say.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

REMEMBERED = 4096
"""Events; two minutes of the fastest answer."""


@dataclass(frozen=True, slots=True)
class Event:
    """One of: `snapshot`, `message`, `status`, `delta`, `chat`, `forgotten`, `removed`."""

    number: int
    name: str
    data: Any


class Feed:
    """The events of one conversation, or of the list of them."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.number = time.time_ns() // 1_000_000
        self.followers = 0
        self._events: deque[Event] = deque(maxlen=remembered)
        self._news = asyncio.Event()
        self._over = False

    def tell(self, name: str, data: Any) -> None:
        self.number += 1
        self._events.append(Event(self.number, name, data))
        self._wake()

    def end(self) -> None:
        """Nothing comes any more: who has heard everything is let go."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _knows(self, number: int) -> bool:
        oldest = self._events[0].number if self._events else self.number + 1
        return oldest - 1 <= number <= self.number

    async def follow(self, after: int | None, snapshot: Callable[[], Any]) -> AsyncIterator[Event]:
        """Events after a number, or a snapshot and what comes after it."""
        self.followers += 1
        at = after
        try:
            while True:
                if at is None or not self._knows(at):
                    at = self.number
                    yield Event(at, "snapshot", snapshot())
                    continue
                news = self._news
                for event in [e for e in self._events if e.number > at]:
                    at = event.number
                    yield event
                if at == self.number:
                    if self._over:
                        return
                    await news.wait()
        finally:
            self.followers -= 1
