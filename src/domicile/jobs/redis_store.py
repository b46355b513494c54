"""The jobs in Redis, for houses and workers in several processes: `DOMICILE_REDIS_URL`.

The book is one hash, changed under WATCH, so that the rules are the same as in SQLite and two writers never undo each
other. What changed goes into capped streams (one for each job, one for all), numbered by us, and a channel rings for
who listens. What was acknowledged is as durable as the Redis is (`appendonly yes`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from domicile.errors import QueueUnreachable
from domicile.jobs.book import Book, Record
from domicile.jobs.store import KEPT_AFTER, KEPT_EVENTS, KEPT_JOBS, Bell
from domicile.types import Job

T = TypeVar("T")
_ALL_EVENTS = 5000
_CONNECT_S = 5.0


def prefix_of(home: Path) -> str:
    """What the keys of one house begin with: several houses may share a Redis, never their jobs."""
    return "domicile:" + hashlib.sha256(str(home).encode()).hexdigest()[:12]


def address_of(url: str) -> str:
    """Where a Redis is, without the password that may be in its URL."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]


class RedisStore:
    """One for a process and a loop. Raises `QueueUnreachable` from anything it does."""

    def __init__(self, client: Any, prefix: str, url: str) -> None:
        self._redis = client
        self._prefix = prefix
        self._url = url
        self._active, self._over = f"{prefix}:jobs", f"{prefix}:over"
        self._order, self._number = f"{prefix}:order", f"{prefix}:number"
        self._channel = f"{prefix}:bell"
        self._bell = Bell()
        self._ahead_s = 0.0
        self._closed = False
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, prefix: str) -> RedisStore:
        """Raises `QueueUnreachable`, also where the client of Redis is not installed."""
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import ExponentialBackoff
        except ImportError as trouble:
            raise QueueUnreachable(host=address_of(url), reason="extra", problem=str(trouble)) from trouble
        try:
            client = Redis.from_url(
                url,
                decode_responses=True,
                socket_connect_timeout=_CONNECT_S,
                retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 4),
            )
        except ValueError as trouble:
            raise QueueUnreachable(host=address_of(url), problem=str(trouble)) from trouble
        store = cls(client, prefix, url)
        try:
            async with store._reached():
                seconds, micro = await client.time()
        except BaseException:
            await client.aclose()
            raise
        store._ahead_s = seconds + micro / 1e6 - time.time()
        store._listener = asyncio.create_task(store._listen(), name="redis bell")
        return store

    def now(self) -> float:
        return time.time() + self._ahead_s

    async def change(self, rule: Callable[[Book], T], *, durable: bool = True) -> T:
        from redis.exceptions import WatchError

        async with self._reached(), self._redis.pipeline(transaction=True) as p:
            while True:
                await p.watch(self._active, self._number)
                book = Book({i: _record(text) for i, text in (await p.hgetall(self._active)).items()})
                try:
                    result = rule(book)
                finally:
                    if not book.changed:
                        await p.unwatch()
                if not book.changed:
                    return result
                number = int(await p.get(self._number) or 0)
                old = await p.lrange(self._order, KEPT_JOBS - 1, -1)
                p.multi()
                self._write(p, book, number, old)
                with contextlib.suppress(WatchError):  # another writer came first: once more, on what it wrote
                    await p.execute()
                    self._bell.ring()
                    return result

    def _write(self, p: Any, book: Book, number: int, old: list[str]) -> None:
        for record in book.changed.values():
            job_id, text = record.job.id, json.dumps(record.stored())
            if not record.job.over:
                p.hset(self._active, job_id, text)
                continue
            p.hdel(self._active, job_id)
            p.hset(self._over, job_id, text)
            p.lpush(self._order, job_id)
            for forgotten in old:
                p.hdel(self._over, forgotten)
                p.delete(self._events(forgotten))
            p.ltrim(self._order, 0, KEPT_JOBS - 1)
        for job in book.tells():
            number += 1
            state = {"state": json.dumps(asdict(job))}
            p.xadd(
                self._events(job.id),
                state,
                f"{number}-0",
                maxlen=KEPT_AFTER if job.over else KEPT_EVENTS,
                approximate=False,
            )
            p.xadd(self._events(), state, f"{number}-0", maxlen=_ALL_EVENTS)
        p.set(self._number, number)
        p.publish(self._channel, number)

    def _events(self, job_id: str | None = None) -> str:
        return f"{self._prefix}:events" + (f":{job_id}" if job_id else "")

    async def records(self) -> list[Record]:
        async with self._reached():
            kept = await self._redis.hvals(self._active) + await self._redis.hvals(self._over)
        return sorted({r.job.id: r for r in map(_record, kept)}.values(), key=lambda r: r.created_at)

    async def active(self) -> list[Record]:
        async with self._reached():
            return [_record(text) for text in await self._redis.hvals(self._active)]

    async def find(self, job_id: str) -> Record | None:
        async with self._reached():
            text = await self._redis.hget(self._active, job_id) or await self._redis.hget(self._over, job_id)
        return _record(text) if text else None

    async def events(self, after: int, job_id: str | None = None) -> tuple[int, list[tuple[int, Job]]]:
        async with self._reached():
            last = int(await self._redis.get(self._number) or 0)
            found = await self._redis.xrange(self._events(job_id), f"{after + 1}-0", "+") if after < last else []
        return last, [(int(number.partition("-")[0]), _job(fields)) for number, fields in found]

    async def wait(self, timeout_s: float) -> None:
        await self._bell.wait(timeout_s)

    async def _listen(self) -> None:
        """Ring when another process wrote. Where Redis goes away meanwhile, who waits looks by itself each second."""
        from redis.exceptions import RedisError

        while not self._closed:
            with contextlib.suppress(RedisError, OSError):
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    async for _ in channel.listen():
                        self._bell.ring()
            if not self._closed:
                await asyncio.sleep(1)

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as trouble:
            raise QueueUnreachable(host=address_of(self._url), problem=type(trouble).__name__) from trouble

    async def close(self) -> None:
        self._closed = True
        while self._listener is not None and not self._listener.done():  # its client may turn a cancellation into
            self._listener.cancel()  # an error of its own
            await asyncio.wait([self._listener], timeout=0.05)
        await self._redis.aclose()


def _record(text: str) -> Record:
    return Record.read(json.loads(text))


def _job(fields: Mapping[str, str]) -> Job:
    return Job(**json.loads(fields["state"]))
