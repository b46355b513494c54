"""`/api/stream/progress`: what downloads are doing, as server-sent events called `progress`; `end` when there is no
more to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from domicile.app import House
from domicile.types import Job
from domicile.web import fragments, sse
from domicile.web.api import job_shown
from domicile.web.trouble import house_of, language

_LOOK_S = 0.5
"""How often a stream of all jobs looks for new ones."""


async def stream(request: Request) -> Response:
    """The progress of a download (`?job_id=`), or of every one that runs, as it goes on (SSE).

    `Last-Event-ID` goes on after the last one seen of a job. `?as=html` sends bars for htmx instead of JSON.
    """
    house = house_of(request)
    job_id = request.query_params.get("job_id")
    if job_id is not None:
        house.jobs.get(job_id)
        return sse.answer(_one(house, job_id, request), house.closing)
    return sse.answer(_all(house, request), house.closing)


async def _one(house: House, job_id: str, request: Request) -> AsyncIterator[bytes]:
    number = 0
    async for number, job in house.jobs.follow(job_id, sse.last_event_id(request)):
        yield _event(number, job, request)
    yield sse.event(number + 1, "end", {"job_id": job_id})


async def _all(house: House, request: Request) -> AsyncIterator[bytes]:
    """Every job that is not over, and those that begin while somebody listens; numbered by the stream itself."""
    states: asyncio.Queue[Job] = asyncio.Queue()
    followed: dict[str, asyncio.Task[None]] = {}

    async def follow(job_id: str) -> None:
        async for _, job in house.jobs.follow(job_id):
            await states.put(job)

    number = 0
    try:
        while True:
            for job in house.jobs.list():
                if job.id not in followed and not job.over:
                    followed[job.id] = asyncio.create_task(follow(job.id))
            try:
                async with asyncio.timeout(_LOOK_S):
                    state = await states.get()
            except TimeoutError:
                continue
            number += 1
            yield _event(number, state, request)
    finally:
        for task in followed.values():
            task.cancel()


def _event(number: int, job: Job, request: Request) -> bytes:
    if request.query_params.get("as") == "html":
        return sse.markup(number, "progress", fragments.bar(job, language(request.scope)))
    shown: dict[str, Any] = job_shown(job, request)
    return sse.event(number, "progress", {"job_id": job.id, **shown})
