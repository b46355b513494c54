"""Work that outlives the request that asked for it, and tells who listens.

A job is a task of the house. Asking for the same work twice joins the job that runs. Each change of its state is
an event with a number, kept while the house is open, so that a listener who was cut off resumes after the last
number it saw. Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from domicile.errors import Bug, DomicileError, JobNotFound, ShuttingDown
from domicile.types import Job

KEPT_EVENTS = 500
KEPT_JOBS = 200
_BEAT_S = 0.2


class Progress:
    """What the work says while it goes on. Cheap to call for every chunk: events are spaced by the house."""

    def __init__(self, change: Callable[..., None]) -> None:
        self._change = change
        self._marks: deque[tuple[float, int]] = deque(maxlen=50)
        self._bytes = 0
        self._told = 0.0

    def step(self, key: str) -> None:
        self._change(step=key)

    def expect(self, size_bytes: int) -> None:
        self._change(size_bytes=size_bytes)

    def resumed(self, count: int) -> None:
        """Bytes that were here already: they count as progress, not as speed."""
        self._bytes += count
        self._change(downloaded_bytes=self._bytes)

    def came(self, count: int) -> None:
        self._bytes += count
        now = time.monotonic()
        if now - self._told < _BEAT_S:
            return
        self._told = now
        self._marks.append((now, self._bytes))
        while now - self._marks[0][0] > 5 and len(self._marks) > 2:
            self._marks.popleft()
        (then, before), (_, after) = self._marks[0], self._marks[-1]
        speed = (after - before) / (now - then) if now > then else None
        self._change(downloaded_bytes=self._bytes, speed=speed)

    def settle(self) -> None:
        """The exact count, when the bytes have stopped coming."""
        self._change(downloaded_bytes=self._bytes, speed=None)


Work = Callable[[Progress], Awaitable[Mapping[str, object]]]


class _Entry:
    def __init__(self, job: Job, key: str) -> None:
        self.job = job
        self.key = key
        self.events: deque[tuple[int, Job]] = deque([(1, job)], maxlen=KEPT_EVENTS)
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def change(self, **fields: Any) -> None:
        new = replace(self.job, **fields)
        if new == self.job:
            return
        self.job = new
        self.events.append((self.events[-1][0] + 1, new))
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """The house's jobs. `describe` turns an error into what the job shows (the words are the caller's business)."""

    def __init__(self, describe: Callable[[DomicileError], Mapping[str, object]]) -> None:
        self._describe = describe
        self._entries: dict[str, _Entry] = {}
        self._closing = False

    def start(self, kind: str, model: str, work: Work) -> Job:
        """Start the work, or join the job that does it already."""
        key = f"{kind}:{model.lower()}"
        for entry in self._entries.values():
            if entry.key == key and not entry.job.over:
                return entry.job
        entry = _Entry(Job(uuid.uuid4().hex[:12], kind, model, "running", started_at=time.time()), key)
        self._entries[entry.job.id] = entry
        entry.task = asyncio.create_task(self._run(entry, work), name=f"job {kind} {model}")
        self._forget_old()
        return entry.job

    async def _run(self, entry: _Entry, work: Work) -> None:
        try:
            result = await work(Progress(entry.change))
        except asyncio.CancelledError:
            if self._closing:
                shown = self._describe(ShuttingDown())
                entry.change(status="failed", speed=None, completed_at=time.time(), error=shown)
            else:
                entry.change(status="cancelled", speed=None, completed_at=time.time())
        except DomicileError as error:
            shown = self._describe(error)
            entry.change(status="failed", speed=None, completed_at=time.time(), error=shown)
        except Exception:  # noqa: BLE001 - the one edge of a job: what is not ours is a bug, shown with its trace
            incident = uuid.uuid4().hex[:8]
            print(f"[{incident}] ", end="", file=sys.stderr)
            traceback.print_exc()
            shown = self._describe(Bug(incident=incident))
            entry.change(status="failed", speed=None, completed_at=time.time(), error=shown)
        else:
            entry.change(status="done", speed=None, step=None, completed_at=time.time(), result=result)

    def _forget_old(self) -> None:
        over = [i for i, e in self._entries.items() if e.job.over]
        for job_id in over[: max(0, len(self._entries) - KEPT_JOBS)]:
            del self._entries[job_id]

    def list(self) -> list[Job]:
        return [entry.job for entry in self._entries.values()]

    def get(self, job_id: str) -> Job:
        return self._entry(job_id).job

    def _entry(self, job_id: str) -> _Entry:
        entry = self._entries.get(job_id)
        if entry is None:
            raise JobNotFound(id=job_id[:40])
        return entry

    async def cancel(self, job_id: str) -> Job:
        """Stop a job; what it has on the disk stays resumable. One that is over stays as it is."""
        entry = self._entry(job_id)
        if entry.task is not None and not entry.job.over:
            entry.task.cancel()
            await asyncio.wait([entry.task])
            if not entry.job.over:  # cancelled before its first step: none of it has run
                entry.change(status="cancelled", completed_at=time.time())
        return entry.job

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[tuple[int, Job]]:
        """Every event after a number, then each new one, until the job is over."""
        entry = self._entry(job_id)
        seen = after
        while True:
            changed = entry.changed
            for number, job in list(entry.events):
                if number > seen:
                    seen = number
                    yield number, job
            if entry.job.over:
                return
            await changed.wait()

    async def wait(self, job_id: str) -> Job:
        async for _ in self.follow(job_id):
            pass
        return self.get(job_id)

    async def close(self) -> None:
        """Stop everything that runs: the house is closing."""
        self._closing = True
        running = [e.task for e in self._entries.values() if e.task is not None and not e.task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=3)
        for entry in self._entries.values():
            if not entry.job.over:
                entry.change(status="failed", error=self._describe(ShuttingDown()), completed_at=time.time())
