"""Jobs run by workers: RQ carries tickets, one for each job that may run, and a worker with a ticket takes the next.

The truth about a job is in the store; a ticket says only that there is something to do. One too many finds nothing and
is gone, one that was lost is written again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from domicile.errors import QueueUnreachable
from domicile.jobs.redis_store import address_of

TICKET = "domicile.worker.perform"


def queue_of(client: Any, prefix: str) -> Any:
    """The RQ queue of a house. JSON: nothing in Redis is unpickled."""
    from rq import Queue
    from rq.serializers import JSONSerializer

    return Queue(prefix.replace(":", "-"), connection=client, serializer=JSONSerializer)


class RqLauncher:
    """Writes tickets. RQ's client is synchronous: it works in a thread."""

    def __init__(self, url: str, prefix: str) -> None:
        from redis import Redis

        self._url = url
        self._client = Redis.from_url(url, socket_connect_timeout=5, socket_timeout=10)
        self._queue = queue_of(self._client, prefix)

    async def launch(self, ready: int) -> int:
        """As many tickets as there are jobs ready. Returns how many workers there are. Raises `QueueUnreachable`."""
        from redis.exceptions import RedisError

        try:
            return await asyncio.to_thread(self._launch, ready)
        except (RedisError, OSError) as trouble:
            raise QueueUnreachable(host=address_of(self._url), problem=type(trouble).__name__) from trouble

    def _launch(self, ready: int) -> int:
        from rq import Worker

        for _ in range(ready - self._queue.count):
            self._queue.enqueue(TICKET, job_timeout=-1, result_ttl=60, failure_ttl=3600, description="domicile")
        return len(Worker.all(queue=self._queue))

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._client.close)
