"""What the room asks of the place its jobs are kept in, and the bell that tells it something was written there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol, TypeVar

from domicile.jobs.book import Book, Record
from domicile.types import Job

T = TypeVar("T")

KEPT_JOBS = 200
"""Jobs that are over, the newest; older ones are forgotten."""
KEPT_EVENTS = 500
"""Of one job that goes on."""
KEPT_AFTER = 20
"""Of one job that is over."""


class Store(Protocol):
    """A durable book with a numbered list of what changed in it. Numbers grow, also over restarts."""

    def now(self) -> float:
        """Seconds since 1970, by one clock for all processes."""

    async def change(self, rule: Callable[[Book], T], *, durable: bool = True) -> T:
        """Apply a rule to the book in one transaction, alone. It may be called again when another writer came first;
        what it raises is raised, and nothing is written. Durable: on the disk (or in Redis) when this returns."""

    async def records(self) -> list[Record]:
        """Every job, over or not, the oldest first."""

    async def active(self) -> list[Record]:
        """Those that are not over."""

    async def find(self, job_id: str) -> Record | None: ...

    async def events(self, after: int, job_id: str | None = None) -> tuple[int, list[tuple[int, Job]]]:
        """The last number given, and what changed after a number (of one job, or of all)."""

    async def wait(self, timeout_s: float) -> None:
        """Return when something has changed since the call, or after a while."""

    async def close(self) -> None: ...


class Bell:
    """Rung at each change; whoever waits hears it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
