"""Our own dialect, under `/domicile/`: what the command line and the page are made of."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from domicile import __version__, i18n
from domicile.config import seconds
from domicile.errors import BadField, DomicileError
from domicile.refs import ModelRef
from domicile.types import Installed, Terms
from domicile.web import asking
from domicile.web.capabilities import capabilities
from domicile.web.trouble import error_body, house_of, language
from domicile.web.tuning import choice_text, result_shown

if TYPE_CHECKING:
    from domicile.app import House
    from domicile.runner import Presence


async def health(request: Request) -> Response:
    """The house is open."""
    return JSONResponse({"status": "ok"})


async def version(request: Request) -> Response:
    """Which Domicile this is, and which process."""
    return JSONResponse({"name": "domicile", "version": __version__, "pid": os.getpid()})


async def models(request: Request) -> Response:
    """Every model that lives here."""
    house, lang = house_of(request), language(request.scope)
    shown = [{**m.public(), "self_test": _tried(m, lang)} for m in house.library.list()]
    return JSONResponse({"models": shown})


async def model(request: Request) -> Response:
    """One model, whether it is awake, and what it can do (null where its file cannot be read)."""
    house = house_of(request)
    found = house.library.get(request.path_params["name"])
    lang = language(request.scope)
    awake = next((presence_shown(p, lang) for p in house.runner.ps() if p.name == found.name), None)
    template = house.templates.known(found.name)
    about: dict[str, Any] = {
        "awake": awake,
        "self_test": _tried(found, lang),
        "template": template.public() if template else None,
    }
    return JSONResponse({**found.public(), "path": str(found.path), **about, **await _means(house, found)})


async def _means(house: House, model: Installed) -> dict[str, Any]:
    """What a model can do, and the projector it sees by; nothing of one whose file cannot be read."""
    if model.missing or model.damaged:
        return {"capabilities": [], "projector": None}
    try:
        eyes = (await house.adviser.known(model.name)).eyes
        can = await capabilities(house, model)
    except (DomicileError, OSError):
        return {"capabilities": [], "projector": None}
    told = {"file": eyes.file, "size_bytes": eyes.size_bytes, "need_bytes": eyes.need_bytes} if eyes else None
    return {"capabilities": can, "projector": told}


async def add_model(request: Request) -> Response:
    """Enter a model file where it lies: `{"path": "/absolute/path.gguf"}`. Nothing is copied."""
    _, data = await asking.json_object(request)
    path = Path(asking.text_of(data, "path") or "")
    if not path.is_absolute():
        raise BadField(field="path", problem=str(path)[:200], reason="absolute")
    return JSONResponse(house_of(request).library.add_file(path).public(), 201)


async def remove_model(request: Request) -> Response:
    """Forget a model, and delete its files where they are ours. `?force=true` also while it answers somebody.

    `?also_files=true` deletes them from the folders of the other tools that own it as well.
    """
    house = house_of(request)
    also = request.query_params.get("also_files", "").lower() in {"1", "true", "yes"}
    removed, freed = await house.remove(request.path_params["name"], force=_force(request), also_files=also)
    return JSONResponse({"removed": removed.public(), "freed_bytes": freed})


async def activate(request: Request) -> Response:
    """Make a model the one a bare `domicile run` talks to."""
    return JSONResponse(house_of(request).library.activate(request.path_params["name"]).public())


async def ps(request: Request) -> Response:
    """Which models are awake, waking or waiting for memory; what each holds, who uses it and who waits.

    `template` names the built-in template where a file's own was refused.
    """
    house, lang = house_of(request), language(request.scope)
    shown = []
    for presence in house.runner.ps():
        template = house.templates.known(presence.name)
        shown.append({**presence_shown(presence, lang), "template": template.built_in if template else None})
    return JSONResponse({"models": shown, "waiting": house.runner.waiting})


async def wake(request: Request) -> Response:
    """Wake a model before it is asked anything; `{"keep_alive": "10m", "context": 16384}` hold from then on."""
    house = house_of(request)
    _, data = await asking.json_object(request)
    async with house.session(request.path_params["name"], _keep_alive(data), terms=_wish(data), turn=False) as (
        found,
        _,
    ):
        shown = next(presence_shown(p, language(request.scope)) for p in house.runner.ps() if p.name == found.name)
    return JSONResponse(shown)


async def sleep(request: Request) -> Response:
    """Put a model to sleep now. `?force=true` also while it answers somebody."""
    house = house_of(request)
    found = house.library.get(request.path_params["name"])
    slept = await house.runner.sleep(found.name, force=_force(request))
    return JSONResponse({"name": found.name, "slept": slept})


async def log(request: Request) -> Response:
    """The end of a model's log, as plain text; `?follow=true` goes on as it grows."""
    house = house_of(request)
    path = house.log_of(request.path_params["name"])
    asked = request.query_params.get("lines", "")
    lines = int(asked) if asked.isdigit() and len(asked) < 6 else 200
    tail = await asyncio.to_thread(_last_lines, path, lines)
    kind = "text/plain; charset=utf-8"
    if request.query_params.get("follow", "").lower() in {"1", "true", "yes"}:
        return StreamingResponse(_follow(path, tail, house.closing), media_type=kind)
    return Response(tail, media_type=kind)


async def doctor(request: Request) -> Response:
    """What is well here and what is not, each with what to do."""
    lang = language(request.scope)
    found = []
    for check in await house_of(request).doctor():
        error = error_body(lang, check.error)["error"] if check.error else None
        key = f"doctor.{check.key}" if check.well or error else f"doctor.{check.key}.bad"
        found.append(
            {
                "check": check.key,
                "well": check.well,
                "message": error["summary"] if error else i18n.say(lang, key, **check.facts),
                "hint": error["hint"] if error else None,
                **check.facts,
            }
        )
    return JSONResponse({"checks": found})


async def resolve(request: Request) -> Response:
    """How a name is understood: `?name=hf.co/org/repo:Q4_K_M`."""
    ref = ModelRef.parse(request.query_params.get("name", ""))
    return JSONResponse(
        {
            "kind": ref.kind,
            "name": ref.name,
            "quantisation": ref.quantisation,
            "path": ref.path,
            "revision": ref.revision,
            "canonical": str(ref),
        }
    )


def _force(request: Request) -> bool:
    return request.query_params.get("force", "").lower() in {"1", "true", "yes"}


def _keep_alive(data: dict[str, Any]) -> float | None:
    value = data.get("keep_alive")
    if value is None:
        return None
    try:
        return seconds(value)
    except (ValueError, TypeError) as trouble:
        raise BadField(field="keep_alive", problem=repr(value)[:80], reason="duration") from trouble


def _wish(data: dict[str, Any]) -> Terms:
    from domicile import tunable

    context = tunable.read({"context": data.get("context")})["context"]
    return Terms(context=context)


def _tried(model: Installed, lang: str) -> dict[str, Any] | None:
    return result_shown(model.self_test, lang) if model.self_test else None


def presence_shown(presence: Presence, lang: str) -> dict[str, Any]:
    """A model that is not asleep, and in words what must be said of it."""
    note = presence.note
    return {**presence.public(), "note_text": choice_text(note, lang) if note else None}


def _last_lines(path: Path, count: int) -> str:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 400 * count))
        return "\n".join(_clean(file.read()).splitlines()[-count:]) + "\n"


def _clean(text: bytes) -> str:
    """Whatever a model or a library wrote there, a terminal must not obey it."""
    return "".join(c for c in text.decode("utf-8", "replace") if c.isprintable() or c in "\n\t")


async def _follow(path: Path, tail: str, closing: asyncio.Event) -> AsyncIterator[str]:
    place = path.stat().st_size
    yield tail
    while not closing.is_set():
        await asyncio.sleep(0.3)
        size = path.stat().st_size
        place = place if place <= size else 0  # it was cut back at a new waking
        if size > place:
            with path.open("rb") as file:
                file.seek(place)
                new = file.read()
            place += len(new)
            yield _clean(new)
