"""What a person does with the models that live here: other names, pins, models of other tools taken in or given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.errors import BadField
from domicile.web import asking, sse
from domicile.web.api import job_shown
from domicile.web.trouble import house_of


async def alias(request: Request) -> Response:
    """Call a model by another name too: `{"alias": "chat"}`."""
    _, data = await asking.json_object(request)
    wanted = asking.text_of(data, "alias") or ""
    return JSONResponse(house_of(request).library.alias(request.path_params["name"], wanted).public(), 201)


async def unalias(request: Request) -> Response:
    """Take another name of a model away."""
    return JSONResponse(house_of(request).library.unalias(request.path_params["alias"]).public())


async def pin(request: Request) -> Response:
    """Keep a model: it is neither removed nor evicted until it is unpinned."""
    return JSONResponse(house_of(request).library.pin(request.path_params["name"], True).public())


async def unpin(request: Request) -> Response:
    """Let a model be removed again."""
    return JSONResponse(house_of(request).library.pin(request.path_params["name"], False).public())


async def adoptable(request: Request) -> Response:
    """What other tools have and could be taken in, each content once; `?path=/absolute` looks there instead."""
    said = request.query_params.get("path")
    path = _absolute(said) if said else None
    offers = await house_of(request).adoption.offers(path)
    return JSONResponse({"adoptable": [o.public() for o in offers]})


async def adopt(request: Request) -> Response:
    """Take models of other tools in where they lie, copying nothing. Answers with the job.

    `{"models": [id, ...]}` takes in these of `adoptable`, `{"path": "/absolute"}` what is there, `{"all": true}` all.
    """
    _, data = await asking.json_object(request)
    wanted: dict[str, Any] = {}
    named = data.get("models")
    if named is not None:
        if not isinstance(named, list) or not named or not all(isinstance(n, str) and n.strip() for n in named):
            raise BadField(field="models", problem=str(named)[:80], reason="names")
        wanted["models"] = named[:1000]
    elif data.get("path") is not None:
        wanted["path"] = str(_absolute(asking.text_of(data, "path") or ""))
    elif asking.flag_of(data, "all"):
        wanted["all"] = True
    else:
        raise BadField(field="models", problem="null", reason="names")
    return JSONResponse(job_shown(house_of(request).adopt(wanted), request), 202)


async def library_events(request: Request) -> Response:
    """What comes and goes in the folders of models (SSE): `offered`, `missing`, `back`, `damaged`."""
    house = house_of(request)

    async def events() -> AsyncIterator[bytes]:
        async for number, notice in house.notices.follow(sse.last_event_id(request)):
            yield sse.event(number, "library", notice)

    return sse.answer(events(), house.closing)


async def modelfile(request: Request) -> Response:
    """The Modelfile of a model, for Ollama; `template` is the known chat template it has, or null."""
    house = house_of(request)
    text, family = await house.giving.as_modelfile(house.library.ready(request.path_params["name"]))
    return JSONResponse({"modelfile": text, "template": family})


async def export(request: Request) -> Response:
    """Give a model to Ollama: `{"to": "ollama", "as": "name:tag", "via": "auto", "force": false}`. Answers with a job.

    `via` is `link` (in its store, sharing the bytes), `api` (through its server) or `auto` (the first that can be).
    """
    _, data = await asking.json_object(request)
    to = asking.text_of(data, "to") or ""
    via = asking.text_of(data, "via", required=False) or "auto"
    for field, value, allowed in (("to", to, {"ollama"}), ("via", via, {"auto", "link", "api"})):
        if value not in allowed:
            raise BadField(field=field, problem=value[:80], allowed=", ".join(sorted(allowed)), reason="one_of")
    wanted = {"as": asking.text_of(data, "as", required=False), "via": via, "force": asking.flag_of(data, "force")}
    return JSONResponse(job_shown(house_of(request).export(request.path_params["name"], wanted), request), 202)


def _absolute(said: str) -> Path:
    path = Path(said)
    if not path.is_absolute() or "\0" in said:
        raise BadField(field="path", problem=ascii(said)[:200], reason="absolute")
    return path
