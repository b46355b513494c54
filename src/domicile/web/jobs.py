"""Downloads over HTTP: ask for them, listen to them, steer them, and see what they left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import config, i18n
from domicile.errors import BadField, JobNotFound, of_code
from domicile.types import Job
from domicile.web import asking, sse
from domicile.web.trouble import house_of, language

T = TypeVar("T")
_PRIORITIES = {"low": -1, "normal": 0, "high": 1}
_MOST = 100


async def pull(request: Request) -> Response:
    """Download a model: `{"model": "org/repo:Q4_K_M"}`. Answers with the job; asking twice joins it.

    If wished: `"limit": "5MB/s"`, `"hours": "23:00-07:00"` (or `"always"`), `"priority": "high"` (or a number),
    `"detach": true` (nobody waits: it is left to the open house). Asking for one that is paused goes on with it.
    """
    _, data = await asking.json_object(request)
    job = await house_of(request).pull(
        asking.text_of(data, "model") or "",
        priority=_priority(data),
        limit=_read(data, "limit", "rate", config.rate),
        hours=_read(data, "hours", "hours", config.hours),
        stay=not asking.flag_of(data, "detach"),
    )
    return JSONResponse(job_shown(job, request), 202)


async def jobs(request: Request) -> Response:
    """Every job that waits, runs or is paused, and the last ones that ended."""
    return JSONResponse({"jobs": [job_shown(j, request) for j in await house_of(request).jobs.list()]})


async def job(request: Request) -> Response:
    """One job, as it stands."""
    return await _after(request, house_of(request).jobs.get)


async def cancel_job(request: Request) -> Response:
    """Stop a job for good; what it downloaded stays, to go on from."""
    return await _after(request, house_of(request).jobs.cancel)


async def pause_job(request: Request) -> Response:
    """Stop a job until it is resumed."""
    return await _after(request, house_of(request).jobs.pause)


async def resume_job(request: Request) -> Response:
    """Go on with a paused job, when its turn comes."""
    return await _after(request, house_of(request).jobs.resume)


async def limit_job(request: Request) -> Response:
    """A job's own speed limit, from now on: `{"limit": "5MB/s"}`, or `0` for none."""
    _, data = await asking.json_object(request)
    limit = _read(data, "limit", "rate", config.rate)
    return await _after(request, lambda i: house_of(request).jobs.limit(i, limit or None))


async def priority_job(request: Request) -> Response:
    """Which goes first: `{"priority": "high"}`, `"normal"`, `"low"`, or a number from -100 to 100."""
    _, data = await asking.json_object(request)
    priority = _priority(data) or 0
    return await _after(request, lambda i: house_of(request).jobs.priority(i, priority))


async def hours_job(request: Request) -> Response:
    """When a job may run: `{"hours": "23:00-07:00"}`, `"always"`, or `null` for the house's own hours."""
    _, data = await asking.json_object(request)
    hours = _read(data, "hours", "hours", config.hours)
    return await _after(request, lambda i: house_of(request).jobs.hours(i, hours))


async def job_events(request: Request) -> Response:
    """A job's states as they change (SSE); `Last-Event-ID` goes on after the last one seen.

    `?after=now` begins with the present one. The stream ends when the job is over.
    """
    house = house_of(request)
    job_id = request.path_params["id"]
    await house.jobs.get(job_id)
    from_now = request.query_params.get("after") == "now" and "last-event-id" not in request.headers
    after = None if from_now else sse.last_event_id(request)

    async def events() -> AsyncIterator[bytes]:
        async for number, state in house.jobs.follow(job_id, after):
            yield sse.event(number, "job", job_shown(state, request))

    return sse.answer(events(), house.closing)


async def all_events(request: Request) -> Response:
    """The states of all jobs as they change (SSE), from now on or after `Last-Event-ID`: what a page listens to."""
    house = house_of(request)
    after = sse.last_event_id(request) if "last-event-id" in request.headers else None

    async def events() -> AsyncIterator[bytes]:
        async for number, state in house.jobs.follow_all(after):
            yield sse.event(number, "job", job_shown(state, request))

    return sse.answer(events(), house.closing)


async def partials(request: Request) -> Response:
    """What downloads that were stopped or cut have left. Pulling its `name` goes on with it."""
    house = house_of(request)
    found = [
        {"name": house.partial_name(p), "kept_bytes": p.kept_bytes, "size_bytes": p.size_bytes, "changed_at": p.at}
        for p in house.partials()
    ]
    return JSONResponse({"partials": found})


async def forget_partial(request: Request) -> Response:
    """Delete what a download left, unless it goes on just now."""
    gone, freed = await house_of(request).forget_partial(request.path_params["name"])
    return JSONResponse({"removed": gone, "freed_bytes": freed})


_SEEN_STATUS = {
    "queued": "queued",
    "running": "downloading",
    "paused": "paused",
    "done": "completed",
    "failed": "error",
    "cancelled": "cancelled",
}


async def download_status(request: Request) -> Response:
    """The newest download, or that of `?model=` or `?id=`, in the fields that older pages read.

    `status` (idle, queued, downloading, paused, completed, error, cancelled), `model`, `progress` (per cent),
    `started_at`, `completed_at`, `error`, `size_mb`, `downloaded_mb` (millions of bytes).
    """
    found = [j for j in await house_of(request).jobs.list() if j.kind == "pull"]
    model, job_id = request.query_params.get("model"), request.query_params.get("id")
    if job_id is not None:
        found = [j for j in found if j.id == job_id]
        if not found:
            raise JobNotFound(id=job_id[:40])
    if model is not None:
        found = [j for j in found if model.lower() in {j.model.lower(), str(j.result.get("name", "")).lower()}]
    if not found:
        nothing = {"started_at": None, "completed_at": None, "error": None, "size_mb": None, "downloaded_mb": 0}
        return JSONResponse({"status": "idle", "model": model, "progress": 0, **nothing})
    newest = found[-1]
    shown = job_shown(newest, request)
    return JSONResponse(
        {
            "status": _SEEN_STATUS[newest.status],
            "model": newest.model,
            "progress": round(100 * (newest.progress or 0.0), 1),
            "started_at": newest.started_at,
            "completed_at": newest.completed_at,
            "error": shown["error"]["message"] if shown["error"] else None,
            "size_mb": None if newest.size_bytes is None else round(newest.size_bytes / 1e6, 2),
            "downloaded_mb": round(newest.downloaded_bytes / 1e6, 2),
        }
    )


def job_shown(job: Job, request: Request) -> dict[str, Any]:
    """A job, its error in the words of whoever reads now (it was kept in those of the house)."""
    shown = job.public()
    error = shown["error"]
    known = of_code(error["code"], **error["facts"]) if error else None
    if known is not None:
        shown["error"]["message"], shown["error"]["hint"] = i18n.error_text(language(request.scope), known)
    return shown


async def _after(request: Request, act: Callable[[str], Any]) -> Response:
    changed: Job = await act(request.path_params["id"])
    return JSONResponse(job_shown(changed, request))


def _read(data: dict[str, Any], field: str, reason: str, read: Callable[[object], T]) -> T | None:
    value = data.get(field)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        return read(value)
    except (ValueError, TypeError) as trouble:
        raise BadField(field=field, problem=repr(value)[:80], reason=reason) from trouble


def _priority(data: dict[str, Any]) -> int | None:
    def read(value: object) -> int:
        number = _PRIORITIES.get(str(value).strip().lower())
        number = int(str(value)) if number is None else number
        if abs(number) > _MOST:
            raise ValueError(value)
        return number

    return _read(data, "priority", "priority", read)
