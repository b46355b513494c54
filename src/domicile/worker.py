"""`domicile worker`: a process that runs the jobs of a house whose jobs are in Redis.

RQ's worker waits for tickets (`jobs.rq_launcher`); with each, the next job is taken up and run to its end in this
process. Beside it, a thread looks after the jobs as the open house does, so that they go on when no house is open.
SIGTERM or Ctrl-C puts the job that runs back into the queue, resumable, and ends within five seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from domicile import i18n
from domicile.app import open_house
from domicile.config import Settings, load
from domicile.errors import DomicileError, QueueUnreachable
from domicile.jobs.redis_store import RedisStore, address_of, prefix_of
from domicile.jobs.rq_launcher import TICKET, queue_of

_ALIVE_S = 60
_BEAT_S = 15.0
_END_S = 5.0
_PAUSE_S = 2.0


class _Leaving:
    """Told by a signal, which may come while no loop runs."""

    def __init__(self) -> None:
        self.asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def ask(self) -> None:
        self.asked = True
        if self._loop is not None and self._event is not None:
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        try:
            if not self.asked:
                await self._event.wait()
        finally:
            self._loop = self._event = None


_leaving = _Leaving()


def perform() -> str | None:
    """What a ticket is for: take up the next job. Returns its id, None when there was nothing to do."""
    return asyncio.run(_perform(load()))


async def _perform(settings: Settings) -> str | None:
    async with open_house(settings, takes="none") as house:
        taking = asyncio.create_task(house.jobs.take_one())
        leaving = asyncio.create_task(_leaving.wait())
        await asyncio.wait({taking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not taking.done():  # the house that closes now puts the job back
            taking.cancel()
            return None
        job = taking.result()
        return None if job is None else job.id


def work(settings: Settings) -> None:
    """Run jobs until a signal. Raises `QueueUnreachable`."""
    try:
        from redis import Redis
        from redis.exceptions import RedisError
        from rq import SimpleWorker
        from rq.serializers import JSONSerializer
    except ImportError as trouble:
        host = address_of(settings.redis_url)
        raise QueueUnreachable(host=host, reason="extra", problem=str(trouble)) from trouble

    class Carrier(SimpleWorker):  # type: ignore[misc,unused-ignore]
        """RQ's worker, which runs nothing but our tickets."""

        def request_stop(self, signum: Any, frame: Any) -> None:
            _leaving.ask()
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

        def execute_job(self, job: Any, queue: Any) -> None:
            if job.func_name != TICKET or job.args or job.kwargs:
                job.delete()
                return
            super().execute_job(job, queue)

    client = Redis.from_url(settings.redis_url, socket_connect_timeout=5)
    try:
        client.ping()
        logging.getLogger("rq.worker").setLevel(logging.WARNING)
        worker = Carrier(
            [queue_of(client, prefix_of(settings.home))],
            connection=client,
            serializer=JSONSerializer,
            worker_ttl=_ALIVE_S,
            log_job_description=False,
        )
        with _looked_after(settings, worker):
            worker.work(logging_level="WARNING")
    except (RedisError, OSError) as trouble:
        problem = type(trouble).__name__
        raise QueueUnreachable(host=address_of(settings.redis_url), problem=problem) from trouble
    finally:
        client.close()


def main() -> None:
    """One worker of `supervise`: it ends when its parent does, however that ends."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    settings = load()
    try:
        work(settings)
    except DomicileError as trouble:
        message, _ = i18n.error_text(i18n.choose(settings.lang) if settings.lang else i18n.of_environment(), trouble)
        print(message, file=sys.stderr)
        raise SystemExit(trouble.exit_code) from None


async def supervise(settings: Settings, count: int) -> None:
    """Keep so many workers, each a process, until a signal: one that dies is replaced. Raises `QueueUnreachable`."""
    store = await RedisStore.connect(settings.redis_url, prefix_of(settings.home))
    await store.close()
    leaving = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels
            loop.add_signal_handler(name, leaving.set)
    keepers = [asyncio.create_task(_keep_one(leaving)) for _ in range(count)]
    try:
        await leaving.wait()
    finally:
        leaving.set()
        await asyncio.wait(keepers)


async def _keep_one(leaving: asyncio.Event) -> None:
    left = asyncio.create_task(leaving.wait())
    while not left.done():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import domicile.worker; domicile.worker.main()", stdin=asyncio.subprocess.PIPE
        )
        end = asyncio.create_task(process.wait())
        await asyncio.wait({left, end}, return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if not end.done():
            await asyncio.wait([end], timeout=_END_S)
        if not end.done():
            process.kill()
            await end
        if not left.done():  # it died: not so fast that it could not be seen
            await asyncio.wait([left], timeout=_PAUSE_S)


@contextmanager
def _looked_after(settings: Settings, worker: Any) -> Iterator[None]:
    """A thread that sees to dead workers, hours and tickets, and says for this worker that it lives."""
    leaving = _Leaving()

    async def look() -> None:
        async with open_house(settings, takes="all"):
            end = asyncio.create_task(leaving.wait())
            while not end.done():
                with contextlib.suppress(Exception):  # the next time, or RQ itself, says what is wrong
                    await asyncio.to_thread(worker.heartbeat, _ALIVE_S)
                await asyncio.wait([end], timeout=_BEAT_S)

    thread = threading.Thread(target=lambda: asyncio.run(look()), name="jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.ask()
        thread.join(10)
