"""The hands of the room: they take jobs up, run them, heed what is asked of them, and write how they end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

from domicile.egress import about
from domicile.errors import Bug, DomicileError, DownloadPaused, HomeNotWritable, NoRoom, QueueUnreachable
from domicile.jobs import book as rules
from domicile.jobs import holders
from domicile.jobs.book import Book, Policy, Record
from domicile.jobs.hours import is_open
from domicile.jobs.progress import Limits, Progress
from domicile.jobs.store import Store
from domicile.types import Job

TICK_S = 1.0
LEAVE_S = 3.0
_TELL_S = 10.0

Work = Callable[[Mapping[str, Any], Progress], Awaitable[Mapping[str, object]]]
"""What a kind of job does, given its arguments (JSON). Cancelled when it is to stop; called again to go on."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`download`: it counts among the simultaneous downloads and obeys their hours."""

    work: Work
    download: bool = True


class Launcher(Protocol):
    """Has jobs run in other processes: workers that take the next one by themselves."""

    async def launch(self, ready: int) -> int:
        """Let this many jobs be taken up. Returns how many workers there are."""

    async def close(self) -> None: ...


Describe = Callable[[DomicileError], Mapping[str, object]]
Tell = Callable[[Job], Awaitable[None]]
Takes = Literal["all", "asked", "none"]
_Reason = Literal["pause", "cancel", "hours", "leave", "lost"]


class _News:
    """What the work said and nobody has written down yet."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.there = asyncio.Event()
        self.ended = False

    def note(self, **fields: Any) -> None:
        """Counts of bytes replace the one that was not told yet; steps are all told."""
        if self.said and "step" not in fields:
            self.said[-1].update(fields)
        else:
            self.said.append(fields)
        self.there.set()

    async def take(self) -> list[dict[str, Any]]:
        """What was said since the last time; nothing once the work has ended."""
        if not self.ended:
            await self.there.wait()
        self.there.clear()
        said, self.said = self.said, []
        return said

    def end(self) -> None:
        self.ended = True
        self.there.set()


@dataclass
class _Run:
    """A job this process runs."""

    job_id: str
    progress: Progress
    news: _News
    work: asyncio.Task[Mapping[str, object]]
    task: asyncio.Task[None]
    """Waits for the work and writes how it ended; never cancelled itself."""
    reason: _Reason | None = None

    def stop(self, reason: _Reason) -> None:
        if self.reason is None:
            self.reason = reason
            self.work.cancel()


class Hands:
    """What this process does for the jobs. `takes`: see `Jobs`."""

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, Kind],
        describe: Describe,
        *,
        policy: Policy,
        takes: Takes,
        launcher: Launcher | None,
        free: Callable[[], int],
        tell: Tell | None,
    ) -> None:
        self.asked: set[str] = set()
        """Jobs somebody in this process waits for."""
        self.unsaved: dict[str, tuple[Job | None, Callable[[Book], None]]] = {}
        """Ends that could not be written (a full disk): tried again, and told to who listens here."""
        self.closing = asyncio.Event()
        self.closed = asyncio.Event()
        """What ran here has been left, and that is written."""
        self._store = store
        self._kinds = kinds
        self._describe = describe
        self._policy = policy
        self._takes = takes
        self._launcher = launcher
        self._free = free
        self._tell = tell
        self._me = holders.name()
        self._runs: dict[str, _Run] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._poke = asyncio.Event()

    def open(self) -> None:
        """Begin to look after the jobs: those left by a house that was killed go on."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="jobs", context=contextvars.Context())

    async def stop(self, job_id: str, wanted: Literal["pause", "cancel"]) -> None:
        """Stop a job if this process runs it."""
        run = self._runs.get(job_id)
        if run is not None:
            run.stop(wanted)
            await asyncio.wait([run.task], timeout=LEAVE_S)

    def is_dead(self, holder: str, beat: float) -> bool:
        return holder != self._me and holders.is_dead(holder, beat, self._store.now())

    def wake(self) -> None:
        self.open()
        self._poke.set()

    async def _keep(self) -> None:
        """Once a second, or when something was asked: signs of life, dead holders, the next job."""
        while not self.closing.is_set():
            self._poke.clear()
            with contextlib.suppress(HomeNotWritable, QueueUnreachable):  # a full disk, Redis away: in a second again
                await self._tick()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._poke.wait()

    async def _tick(self) -> None:
        await self._save_again()
        records = await self._store.active()
        if not records:
            return
        if self._takes == "asked" and not self._runs and not self.asked & {r.job.id for r in records}:
            return
        held, share, taken = await self._store.change(self._look, durable=False)
        for new in taken:
            self._begin(new)
        for job_id, record in held.items():
            self._heed(job_id, record, share)
        if self._launcher is not None:
            await self._launch()

    def _look(self, book: Book) -> tuple[dict[str, Record | None], rules.Share, list[Record]]:
        now = self._store.now()
        rules.tidy(book, self.asked, dead=self.is_dead, policy=self._policy, now=now)
        taken = []
        if self._takes != "none":
            asked = None if self._takes == "all" else self.asked
            while record := rules.claim(book, self._me, self._kinds, asked, policy=self._policy, now=now):
                taken.append(record)
        held = rules.beat(book, self._me, [*self._runs, *(r.job.id for r in taken)], now)
        return held, rules.share(book, self._me), taken

    async def _launch(self) -> None:
        assert self._launcher is not None
        book = Book({r.job.id: r for r in await self._store.active()})
        ready = rules.ready(book, self._kinds, None, policy=self._policy, now=self._store.now())
        workers = await self._launcher.launch(len(ready))
        if ready and not workers:

            def rule(book: Book) -> None:
                for record in ready:
                    if book.get(record.job.id) == record:
                        book.put(record.now(step="no_worker"))

            await self._store.change(rule, durable=False)

    async def take_one(self) -> Job | None:
        """Take up the next job and run it to its end: what a worker does. None when there is nothing to do."""

        def rule(book: Book) -> Record | None:
            now = self._store.now()
            rules.tidy(book, self.asked, dead=self.is_dead, policy=self._policy, now=now)
            return rules.claim(book, self._me, self._kinds, None, policy=self._policy, now=now)

        record = await self._store.change(rule)
        if record is None:
            return None
        self.open()
        await asyncio.wait([self._begin(record).task])
        found = await self._store.find(record.job.id)
        return None if found is None else found.job

    def _heed(self, job_id: str, record: Record | None, share: rules.Share) -> None:
        """What others want of a job this process runs."""
        run = self._runs.get(job_id)
        if run is None:
            return
        if record is None:
            run.stop("lost")
            return
        if record.wanted != "run":
            run.stop(record.wanted)
        elif not is_open(rules.hours_of(record, self._policy), self._store.now()):
            run.stop("hours")
        house = self._policy.limit * share.mine / max(1, share.all) if self._policy.limit else None
        run.progress.allow(Limits(record.job.limit or None, house))

    def _begin(self, record: Record) -> _Run:
        job, news = record.job, _News()
        progress = Progress(news.note, partial(self._reserve, job.id))
        progress.allow(Limits(job.limit or None, self._policy.limit or None))
        doing = self._do(job.id, self._kinds[job.kind].work, record.arguments, progress)
        work = asyncio.create_task(doing, name=f"job {job.kind} {job.model}")
        task = asyncio.create_task(self._see_to_its_end(work, job.id))
        self._runs[job.id] = run = _Run(job.id, progress, news, work, task)
        return run

    @staticmethod
    async def _do(job_id: str, work: Work, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        with about(job=job_id):
            return await work(arguments, progress)

    async def _reserve(self, job_id: str, size_bytes: int, here_bytes: int) -> int:
        free = self._free()
        rule = partial(rules.reserve, job_id=job_id, size_bytes=size_bytes, here_bytes=here_bytes, free_bytes=free)
        return await self._store.change(rule, durable=False)

    async def _see_to_its_end(self, work: asyncio.Task[Mapping[str, object]], job_id: str) -> None:
        run = self._runs[job_id]
        writer = asyncio.create_task(self._write(run))
        await asyncio.wait([work])
        end: Callable[[Record], Record] | None
        try:
            result = work.result()
        except asyncio.CancelledError:
            end = self._cut(run.reason or "leave")
        except DomicileError as error:
            end = self._failure(error)
        except Exception:  # noqa: BLE001 - the one edge of a job: what is not ours is a bug, shown with its trace
            incident = uuid.uuid4().hex[:8]
            print(f"[{incident}] ", end="", file=sys.stderr)
            traceback.print_exc()
            end = self._failure(Bug(incident=incident))
        else:
            end = partial(self._success, result=result)
        run.news.end()
        await asyncio.wait([writer])
        if end is not None:
            await self._settle(run, end)
        del self._runs[job_id]

    def _success(self, record: Record, result: Mapping[str, object]) -> Record:
        return _over(record, status="done", step=None, completed_at=self._store.now(), result=result)

    def _cut(self, reason: _Reason) -> Callable[[Record], Record] | None:
        now, policy = self._store.now(), self._policy
        match reason:
            case "pause" | "cancel":
                return partial(rules.stopped, wanted=reason, now=now)
            case "lost":
                return None
            case "hours":
                return partial(rules.go_on, policy=policy, now=now)
        if self._takes == "asked":  # a command that was stopped: nobody asked that the open house goes on with it
            return partial(rules.stopped, wanted="pause", now=now, left=True)
        return partial(rules.go_on, policy=policy, now=now)

    def _failure(self, error: DomicileError) -> Callable[[Record], Record]:
        now, shown = self._store.now(), self._describe(error)

        def end(record: Record) -> Record:
            wait_s = error.facts.get("retry_after_s")
            if isinstance(error, DownloadPaused):
                resume_at = now + float(wait_s) if isinstance(wait_s, (int, float)) else None
                return rules.stopped(record, "pause", now).now(error=shown, resume_at=resume_at)
            if isinstance(error, NoRoom) and record.job.downloaded_bytes:  # it had begun: what is there is kept
                return rules.stopped(record, "pause", now).now(error=shown)
            return _over(record, status="failed", completed_at=now, error=shown)

        return end

    async def _settle(self, run: _Run, end: Callable[[Record], Record]) -> None:
        """Write how it ended, unless another process holds it by now."""
        told: list[Job] = []

        def rule(book: Book) -> None:
            told.clear()
            record = book.get(run.job_id)
            if record is not None and record.holder == self._me and record.job.status == "running":
                told.append(book.put(end(record)).job)

        try:
            await self._store.change(rule)
        except (HomeNotWritable, QueueUnreachable):
            known = await self._last_known(run.job_id)
            self.unsaved[run.job_id] = (end(known).job if known else None, rule)
        if told and told[0].status in {"done", "failed"} and self._tell is not None:
            task = asyncio.create_task(_quietly(self._tell(told[0])))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        self._poke.set()

    async def _last_known(self, job_id: str) -> Record | None:
        with contextlib.suppress(HomeNotWritable, QueueUnreachable):
            return await self._store.find(job_id)
        return None

    async def _save_again(self) -> None:
        for job_id, (_, rule) in list(self.unsaved.items()):
            await self._store.change(rule)
            del self.unsaved[job_id]

    async def _write(self, run: _Run) -> None:
        """Tell what the work says, as fast as it can be written, until it has ended."""

        def rule(book: Book, fields: dict[str, Any]) -> None:
            record = book.get(run.job_id)
            if record is not None and record.holder == self._me and record.job.status == "running":
                book.put(record.now(**fields))

        while said := await run.news.take():
            for fields in said:
                with contextlib.suppress(HomeNotWritable, QueueUnreachable):
                    await self._store.change(partial(rule, fields=fields), durable=False)

    # -- closing --

    async def close(self) -> None:
        """The house is closing: what runs is left so that it can go on, and who listens is freed."""
        self.closing.set()
        self._poke.set()
        if self._keeper is not None:
            await asyncio.wait([self._keeper], timeout=LEAVE_S)
            self._keeper.cancel()
        runs = list(self._runs.values())
        for run in runs:
            run.stop("leave")
        if runs:
            await asyncio.wait([run.task for run in runs], timeout=LEAVE_S)
        with contextlib.suppress(HomeNotWritable, QueueUnreachable):
            await self._save_again()
            await self._leave_the_queue()
        self.closed.set()
        if self._telling:
            await asyncio.wait(self._telling, timeout=_TELL_S if self._takes == "asked" else LEAVE_S)
        if self._launcher is not None:
            await self._launcher.close()

    async def _leave_the_queue(self) -> None:
        """A command that was waiting for its turn leaves: its jobs are paused, not left to whoever comes."""
        if self._takes != "asked" or not self.asked:
            return
        now = self._store.now()

        def rule(book: Book) -> None:
            for record in book:
                if record.job.id in self.asked and record.job.status == "queued":
                    book.put(rules.stopped(record, "pause", now, left=True))

        await self._store.change(rule)


def _over(record: Record, **fields: Any) -> Record:
    return replace(record, holder=None, wanted="run", reserved_bytes=0).now(speed=None, **fields)


async def _quietly(telling: Awaitable[None]) -> None:
    """Word of an end that does not arrive is no trouble of the job's."""
    try:
        await telling
    except Exception:  # noqa: BLE001 - said in the log, and nowhere else
        traceback.print_exc()
