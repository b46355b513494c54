"""Watching the machine: what it is doing now and how fast its models write, once a second for whoever looks.

One reading serves all who watch, and nobody reads when nobody looks. Keeps the tokens of children that are gone, so
that the totals only grow. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from domicile.answering import Answer
from domicile.engines import Awake, Counts
from domicile.errors import DomicileError, NobodyAnswers, NoTarget
from domicile.metrics import Counter, Histogram
from domicile.types import Load

BEAT_S = 1.0


class Metrics:
    """What the house counts of its answers and its models."""

    def __init__(self) -> None:
        by = ("model", "served_by")
        self.requests = Counter("domicile_requests_total", "Questions to a model, by outcome.", (*by, "outcome"))
        self.first_byte = Histogram("domicile_first_byte_seconds", "From a question to its answer's start.", by)
        self.seconds = Histogram("domicile_request_seconds", "From a question to its answer's end.", by)
        self.events = Counter(
            "domicile_model_events_total", "Wakes, deaths, evictions, refusals.", ("event", "model", "kind")
        )

    def all(self) -> tuple[Counter | Histogram, ...]:
        return self.requests, self.first_byte, self.seconds, self.events

    @contextlib.contextmanager
    def elsewhere(self, name: str) -> Iterator[Callable[[Answer], None]]:
        """Count what others answer of a question, or that nobody does; what home does of it is counted there. Within,
        the answer is told when it begins."""
        began, outcome, by = time.monotonic(), "left", ""

        def begun(answer: Answer) -> None:
            nonlocal by
            by = answer.served_by
            if by != "home":
                self.first_byte.see(time.monotonic() - began, name, by)

        try:
            yield begun
            outcome = "ok"
        except DomicileError as trouble:
            outcome = trouble.code
            by = by or ("nobody" if isinstance(trouble, (NobodyAnswers, NoTarget)) else "")
            raise
        finally:
            if by not in {"", "home"}:
                self.requests.add(name, by, outcome)
                if outcome == "ok":
                    self.seconds.see(time.monotonic() - began, name, by)


class Tally:
    """Tokens read and written, by model, since the house opened."""

    def __init__(self) -> None:
        self._done: dict[str, Counts] = {}
        self._seen: dict[tuple[str, int], Counts] = {}

    async def before_sleep(self, name: str, awake: Awake) -> None:
        """The last word of a child."""
        counts = await awake.counts()
        if counts is not None:
            self._seen[name, awake.pid] = counts
        self._settle(name, awake.pid)

    async def read(self, children: Sequence[tuple[str, Awake]]) -> dict[str, Counts]:
        """Totals now."""
        found = await asyncio.gather(*(awake.counts() for _, awake in children))
        for (name, awake), counts in zip(children, found, strict=True):
            if counts is not None:
                self._seen[name, awake.pid] = counts
        here = {(name, awake.pid) for name, awake in children}
        for name, pid in [key for key in self._seen if key not in here]:
            self._settle(name, pid)
        totals = dict(self._done)
        for (name, _), counts in self._seen.items():
            totals[name] = _sum(totals.get(name), counts)
        return totals

    def _settle(self, name: str, pid: int) -> None:
        counts = self._seen.pop((name, pid), None)
        if counts is not None:
            self._done[name] = _sum(self._done.get(name), counts)


def _sum(one: Counts | None, other: Counts) -> Counts:
    if one is None:
        return other
    return Counts(one.prompt_tokens + other.prompt_tokens, one.generated_tokens + other.generated_tokens)


@dataclass(frozen=True, slots=True)
class View:
    """One reading."""

    number: int
    load: Load
    tokens_per_second: float
    """Written by all models since the reading before."""
    by_model: dict[str, float]
    awake: int
    waiting: int

    def public(self) -> dict[str, Any]:
        return {
            **asdict(self.load),
            "tokens_per_second": self.tokens_per_second,
            "models": [{"name": name, "tokens_per_second": rate} for name, rate in self.by_model.items()],
            "awake": self.awake,
            "waiting": self.waiting,
        }


class Live:
    """One for a house."""

    def __init__(
        self,
        load: Callable[[], Load],
        children: Callable[[], Sequence[tuple[str, Awake]]],
        waiting: Callable[[], int],
        tally: Tally,
        beat_s: float = BEAT_S,
    ) -> None:
        self._load = load
        self._children = children
        self._waiting = waiting
        self._tally = tally
        self._beat_s = beat_s
        self._lookers = 0
        self._task: asyncio.Task[None] | None = None
        self._view: View | None = None
        self._came = asyncio.Event()

    async def follow(self, every: int = 1) -> AsyncGenerator[View, None]:
        """Every reading from now on, or one of several; ends only when its reader leaves."""
        self._lookers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look(), name="watch the machine")
        seen, last = 0, -every
        try:
            while True:
                view = self._view
                if view is None or view.number == seen:
                    await self._came.wait()
                    continue
                seen = view.number
                if seen >= last + every:
                    last = seen
                    yield view
        finally:
            self._lookers -= 1
            if not self._lookers:
                await self.close()

    async def close(self) -> None:
        task, self._task, self._view = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _look(self) -> None:
        number, before, then = 0, await self._tally.read(self._children()), time.monotonic()
        while True:
            load = await asyncio.to_thread(self._load)
            children = self._children()
            totals, now = await self._tally.read(children), time.monotonic()
            rates = {
                name: max(0.0, (totals[name].generated_tokens - _written(before.get(name))) / max(1e-3, now - then))
                for name, _ in children
                if name in totals
            }
            number += 1
            self._view = View(number, load, sum(rates.values()), rates, len(children), self._waiting())
            came, self._came = self._came, asyncio.Event()
            came.set()
            before, then = totals, now
            await asyncio.sleep(self._beat_s)


def _written(counts: Counts | None) -> int:
    return counts.generated_tokens if counts else 0
