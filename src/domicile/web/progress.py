"""`/api/stream/progress`: what downloads are doing, as server-sent events called `progress`; `end` when there is no
more to come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from domicile.app import House
from domicile.types import Job
from domicile.web import fragments, sse
from domicile.web.jobs import job_shown
from domicile.web.trouble import house_of, language


async def stream(request: Request) -> Response:
    """The progress of a download (`?job_id=`), or of every one that runs, as it goes on (SSE).

    `Last-Event-ID` goes on after the last one seen of a job. `?as=html` sends bars for htmx instead of JSON.
    """
    house = house_of(request)
    job_id = request.query_params.get("job_id")
    if job_id is not None:
        await house.jobs.get(job_id)
        return sse.answer(_one(house, job_id, request), house.closing)
    return sse.answer(_all(house, request), house.closing)


async def _one(house: House, job_id: str, request: Request) -> AsyncIterator[bytes]:
    number = 0
    async for number, job in house.jobs.follow(job_id, sse.last_event_id(request)):
        yield _event(number, job, request)
    yield sse.event(number + 1, "end", {"job_id": job_id})


async def _all(house: House, request: Request) -> AsyncIterator[bytes]:
    """Every job that is not over, and those that begin while somebody listens."""
    after = sse.last_event_id(request) if "last-event-id" in request.headers else None
    for job in [] if after is not None else await house.jobs.list():
        if not job.over:
            yield _event(None, job, request)
    async for number, job in house.jobs.follow_all(after):
        yield _event(number, job, request)


def _event(number: int | None, job: Job, request: Request) -> bytes:
    if request.query_params.get("as") == "html":
        return sse.markup(number, "progress", fragments.bar(job, language(request.scope)))
    shown: dict[str, Any] = job_shown(job, request)
    return sse.event(number, "progress", {"job_id": job.id, **shown})
