"""Who may answer: what the selector in the page's header shows, and what changes while one looks.

Four groups: `installed` (each with its state), `custom` (defined by a person), `standard` (recommended, not here yet)
and `away` (targets the person consented to).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.app import House
from domicile.errors import BadField, DomicileError
from domicile.runner.resident import Presence
from domicile.types import Installed
from domicile.web import sse
from domicile.web.api import presence_shown
from domicile.web.capabilities import capabilities
from domicile.web.chats import chat_shown, owner
from domicile.web.jobs import job_shown
from domicile.web.trouble import house_of, language

_LOOK_S = 0.4
"""How often the states of models are compared, while somebody listens."""


async def choices(request: Request) -> Response:
    """Who may answer, in groups: `installed` with their states, `coming`, `custom`, `standard`, `away`.

    `installed` live here (asleep, queued, waking, awake, sleeping or missing); `coming` are downloads under way;
    `custom` are those a person defined; `standard` are recommended and not here yet; `away` are consented targets.
    """
    from domicile import catalogue

    house, lang = house_of(request), language(request.scope)
    installed = house.library.list()
    here = {name.lower() for m in installed for name in (m.name, m.repository or "") if name}
    standard = [
        model.public(lang)
        for model in catalogue.recommended(home=house.settings.home)
        if not {str(model.reference).lower(), str(model.gguf or model.repository).lower()} & here
    ]
    present = {p.name: p for p in house.runner.ps()}
    targets = [house.away.public(t) for t in house.away.targets.list() if t.consented_at is not None]
    return JSONResponse(
        {
            "installed": [choice_shown(house, m, present) for m in installed],
            "coming": [job_shown(j, request) for j in await house.jobs.list() if j.kind == "pull" and not j.over],
            "custom": [c.public() for c in house.customs.list()],
            "standard": standard,
            "away": targets,
            "offline": house.egress.offline,
            "strategy": house.away.default,
        }
    )


_MOST_NAMES = 100


async def capable(request: Request) -> Response:
    """What several models that live here can do, in one answer: `?name=graine&name=org/repo:Q4_K_M`, a hundred at most.

    `{"capabilities": {name: ["completion", "tools", ...]}}`, from their headers; a model that cannot be read has none.
    """
    house = house_of(request)
    names = dict.fromkeys(request.query_params.getlist("name"))
    if len(names) > _MOST_NAMES:
        raise BadField(field="name", problem=str(len(names)), reason="range", low=1, high=_MOST_NAMES)
    here = {m.name: m for m in house.library.list()}
    found: dict[str, list[str]] = {}
    for name in names:
        try:
            found[name] = await capabilities(house, here[name]) if name in here else []
        except (DomicileError, OSError):
            found[name] = []
    return JSONResponse({"capabilities": found})


def choice_shown(house: House, model: Installed, present: Mapping[str, Presence] | None = None) -> dict[str, Any]:
    """A model of the library, as a list shows it, with its state now. `present`: who is not asleep, by name."""
    presence = (present if present is not None else {p.name: p for p in house.runner.ps()}).get(model.name)
    state = "missing" if model.missing or model.damaged else presence.state if presence else "asleep"
    return {
        "name": model.name,
        "format": model.format,
        "size_bytes": model.size_bytes,
        "quantisation": model.quantisation,
        "task": model.task,
        "aliases": list(model.aliases),
        "active": model.active,
        "pinned": model.pinned,
        "state": state,
        "since": presence.since if presence else None,
    }


async def events(request: Request) -> Response:
    """Everything that changes, on one connection (SSE): `job`, `awake`, `library` and what happens to chats.

    `job` is a job's new state; `awake` the models that are not asleep, at first and whenever one of them changes;
    `library` what comes and goes in the folders of models; `chat`, `removed` and `imported` as `/domicile/chats/events`
    tells them. `Last-Event-ID` goes on after the last `job` seen; the others begin anew.
    """
    house = house_of(request)
    after = sse.last_event_id(request) if "last-event-id" in request.headers else None

    async def jobs(queue: asyncio.Queue[bytes]) -> None:
        async for number, job in house.jobs.follow_all(after):
            await queue.put(sse.event(number, "job", job_shown(job, request)))

    async def library(queue: asyncio.Queue[bytes]) -> None:
        async for _, notice in house.notices.follow():
            await queue.put(sse.event(None, "library", notice))

    async def chats(queue: asyncio.Queue[bytes]) -> None:
        async for event in house.chats.follow_list(None, owner(request)):
            shown = chat_shown(request, event.data) if event.name == "chat" else event.data
            if event.name != "snapshot":
                await queue.put(sse.event(None, event.name, shown))

    async def awake(queue: asyncio.Queue[bytes]) -> None:
        before: object = None
        while True:
            present = house.runner.ps()
            now = [(p.name, p.state, p.busy, p.waiting, p.position, p.draining) for p in present]
            if now != before:
                before = now
                shown = [presence_shown(p, language(request.scope)) for p in present]
                await queue.put(sse.event(None, "awake", {"models": shown, "waiting": house.runner.waiting}))
            await asyncio.sleep(_LOOK_S)

    return sse.answer(_merged(jobs, library, awake, chats), house.closing)


Source = Callable[["asyncio.Queue[bytes]"], Coroutine[Any, Any, None]]


async def _merged(*sources: Source) -> AsyncIterator[bytes]:
    """What several tell, in the order it comes, until one of them ends: then the listener had better come again."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(64)
    tasks = [asyncio.create_task(source(queue)) for source in sources]
    upcoming = asyncio.create_task(queue.get())
    try:
        while True:
            await asyncio.wait({upcoming, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                for task in tasks:
                    if task.done():
                        task.result()  # a fault in one of them is not kept quiet
                return
            yield upcoming.result()
            upcoming = asyncio.create_task(queue.get())
    finally:
        upcoming.cancel()
        for task in tasks:
            task.cancel()
