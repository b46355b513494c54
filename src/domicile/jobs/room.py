"""The room of the jobs: what is asked of them, and who listens."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Literal

from domicile.errors import JobNotFound
from domicile.jobs import book as rules
from domicile.jobs.book import Book, Policy, Record
from domicile.jobs.hands import LEAVE_S, TICK_S, Describe, Hands, Kind, Launcher, Takes, Tell
from domicile.jobs.store import Store
from domicile.types import Job


class Jobs:
    """The house's jobs.

    `describe` turns an error into what a job shows. `takes` says which jobs this process runs: `all` (the open house),
    those it was `asked` for (a command that opened a house for itself), or `none` (others do: `launcher`). `free` is
    the room on the disk, `tell` is called with each job that ended here.
    """

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, Kind],
        describe: Describe,
        *,
        policy: Policy | None = None,
        takes: Takes = "asked",
        launcher: Launcher | None = None,
        free: Callable[[], int] = lambda: sys.maxsize,
        tell: Tell | None = None,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._policy = policy or Policy()
        self._listening = 0
        self._hands = Hands(
            store,
            kinds,
            describe,
            policy=self._policy,
            takes=takes if launcher is None else "none",
            launcher=launcher,
            free=free,
            tell=tell,
        )

    def open(self) -> None:
        """Begin to look after the jobs: those left by a house that was killed go on."""
        self._hands.open()

    # -- asking --

    async def start(
        self,
        kind: str,
        model: str,
        arguments: Mapping[str, Any],
        *,
        priority: int | None = None,
        limit: int | None = None,
        hours: str | None = None,
        stay: bool = True,
    ) -> Job:
        """A new job, or the one that does this already (one that is paused goes on).

        `limit` in bytes a second; `hours` as `config.hours` reads them. Not `stay`: whoever asks will not wait for it,
        and leaves it to the open house.
        """
        wishes = {"priority": priority, "limit": limit, "hours": hours}
        enter = partial(
            rules.enter,
            kind=kind,
            model=model,
            arguments=arguments,
            wishes=wishes,
            download=self._kinds[kind].download,
            policy=self._policy,
            now=self._store.now(),
        )
        record = await self._store.change(enter)
        if stay:
            self._hands.asked.add(record.job.id)
        self._hands.wake()
        return record.job

    async def done(self, kind: str, model: str, result: Mapping[str, object], size_bytes: int) -> Job:
        """A job that had nothing to do: what it would get is here."""
        now = self._store.now()
        key = f"{kind}:{model.lower()}"
        job = Job(
            uuid.uuid4().hex[:12],
            kind,
            model,
            "done",
            size_bytes=size_bytes,
            downloaded_bytes=size_bytes,
            started_at=now,
            completed_at=now,
            result=result,
        )
        await self._store.change(lambda book: book.put(Record(job, key, {}, now)))
        return job

    async def list(self) -> list[Job]:
        return [record.job for record in await self._store.records()]

    async def get(self, job_id: str) -> Job:
        return (await self._find(job_id)).job

    async def _find(self, job_id: str) -> Record:
        record = await self._store.find(job_id)
        if record is None:
            raise JobNotFound(id=job_id[:40])
        return record

    async def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on; one that is over stays as it is."""
        return await self._stop(job_id, "pause")

    async def cancel(self, job_id: str) -> Job:
        """Stop a job for good; what it has on the disk stays, to go on from."""
        return await self._stop(job_id, "cancel")

    async def _stop(self, job_id: str, wanted: Literal["pause", "cancel"]) -> Job:
        """Returns when its work has ended, or after a while when another process has to see to it."""
        await self._find(job_id)
        now = self._store.now()
        await self._store.change(partial(rules.ask, job_id=job_id, wanted=wanted, dead=self._hands.is_dead, now=now))
        await self._hands.stop(job_id, wanted)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while (await self._find(job_id)).wanted == wanted:
                    await self._store.wait(LEAVE_S)
        return await self.get(job_id)

    async def resume(self, job_id: str, *, stay: bool = True) -> Job:
        """Go on with a paused job, when its turn comes."""
        await self._find(job_id)
        await self._store.change(partial(rules.resume, job_id=job_id, policy=self._policy, now=self._store.now()))
        if stay:
            self._hands.asked.add(job_id)
        self._hands.wake()
        return await self.get(job_id)

    async def limit(self, job_id: str, bytes_per_s: int | None) -> Job:
        """A job's own speed limit, from now on."""
        return await self._set(job_id, limit=bytes_per_s)

    async def priority(self, job_id: str, priority: int) -> Job:
        """The higher goes first."""
        return await self._set(job_id, priority=priority)

    async def hours(self, job_id: str, hours: str | None) -> Job:
        """When it may run; None for the house's hours."""
        return await self._set(job_id, hours=hours)

    async def _set(self, job_id: str, **fields: Any) -> Job:
        await self._find(job_id)

        def rule(book: Book) -> None:
            if (record := book.get(job_id)) is not None:
                book.put(record.now(**fields))

        await self._store.change(rule)
        self._hands.wake()
        return await self.get(job_id)

    # -- listening --

    async def follow(self, job_id: str, after: int | None = 0) -> AsyncIterator[tuple[int, Job]]:
        """Every state after a number (None: the present one), then each new one, until the job is over or the house
        closes."""
        self._listening += 1
        try:
            async for told in self._follow(job_id, after):
                yield told
        finally:
            self._listening -= 1

    async def _follow(self, job_id: str, after: int | None) -> AsyncIterator[tuple[int, Job]]:
        await self._find(job_id)
        seen, told = after or 0, None
        if after is None:
            seen, _ = await self._store.events(sys.maxsize, job_id)
            told = (await self._find(job_id)).job
            yield seen, told
        while True:
            ended = self._hands.closed.is_set()
            over = (await self._find(job_id)).job.over
            last, events = await self._store.events(seen, job_id)
            if seen > last:  # a number of before a power cut: what was told since then is told again
                seen = 0
                continue
            for number, job in events:
                seen, told = number, job
                yield number, job
            if over or (told is not None and told.over):
                return
            unsaved, _ = self._hands.unsaved.get(job_id, (None, None))
            if unsaved is not None and told != unsaved:
                told = unsaved
                yield last, told
            if ended:
                return
            await self._hear()

    async def follow_all(self, after: int | None = None) -> AsyncIterator[tuple[int, Job]]:
        """The states of all jobs after a number (None: from now on), until the house closes."""
        last, _ = await self._store.events(sys.maxsize)
        seen = last if after is None or after > last else after
        while True:
            ended = self._hands.closed.is_set()
            _, events = await self._store.events(seen)
            for number, job in events:
                seen = number
                yield number, job
            if ended:
                return
            await self._hear()

    async def _hear(self) -> None:
        """Until something was written, or this house has closed."""
        if not self._hands.closed.is_set():
            await self._store.wait(TICK_S)

    async def wait(self, job_id: str) -> Job:
        """Until it is over."""
        async for _ in self.follow(job_id):
            pass
        return await self.get(job_id)

    # -- working and closing --

    async def take_one(self) -> Job | None:
        """Take up the next job and run it to its end: what a worker does. None when there is nothing to do."""
        return await self._hands.take_one()

    async def close(self) -> None:
        """The house is closing: what runs is left so that it can go on, and who listens is freed."""
        await self._hands.close()
        for _ in range(100):  # who listens hears the last states first
            if not self._listening:
                break
            await asyncio.sleep(0.02)
        await self._store.close()
