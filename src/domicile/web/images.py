"""Pictures over HTTP: OpenAI's `/v1/images/...`, and our own drawings and gallery for the page and the command line."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from domicile.answering import Answer
from domicile.chats.feed import Event
from domicile.dialects import images as dialect
from domicile.engines import Reply
from domicile.errors import BadField, BadImage, MissingField, NotSupported
from domicile.studio import SAMPLERS, Drawing, Studio, Wanted
from domicile.types import Ticket
from domicile.web import asking, sse
from domicile.web.relay import Relay
from domicile.web.trouble import error_body, house_of, language

_MOST_LISTED = 200
_LONGEST_S = 7200.0
"""A picture may take much longer than an answer in words."""
_DATA = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_FORM_BYTES = 32 << 20


def studio(request: Request) -> Studio:
    """The room of pictures."""
    return house_of(request).studio


# -- OpenAI's --


async def generations(request: Request) -> Any:
    """Pictures of what is described.

    `stream: true` gives events: `image_generation.partial_image` (with `partial_images` of 1 to 3), then
    `image_generation.completed` for each. Beside OpenAI's fields: `negative_prompt`, `steps`, `guidance`, `seed`,
    `sampler`, `loras`, and any `size` from 64x64 to 4096x4096. Without a `model`, the one that drew last draws. An
    address (`response_format: "url"`) is one of this house, good for an hour.
    """
    _, data = await asking.json_object(request)
    wanted = Wanted(**dialect.fields(data), previews=False)
    return _drawn(request, wanted, data, "generation")


async def edits(request: Request) -> Any:
    """A picture made of another: a form with `image` and `prompt`, and `mask` to fill a part of it.

    It is filled where the mask is transparent or, without transparency, white. `strength` from 0 to 1 says how much may
    change (0.75). The other fields are those of `generations`.
    """
    data, files = await _form(request)
    if "image" not in files:
        raise MissingField(field="image")
    wanted = Wanted(**dialect.fields(data), previews=False, image=files["image"], mask=files.get("mask"))
    return _drawn(request, wanted, data, "edit")


async def variations(request: Request) -> Any:
    """Variations are a way of DALL-E 2 alone: what comes nearest is said, and nothing is drawn."""
    raise NotSupported(what="/v1/images/variations", reason="image_variations")


def _drawn(request: Request, wanted: Wanted, data: Mapping[str, Any], verb: str) -> Relay:
    house, ticket = house_of(request), Ticket()
    url = dialect.wishes_url(data)
    streams = data.get("stream") in {True, "true", "1"}
    room = studio(request)
    wanted = wanted.checked()
    model = room.model(wanted.model).name
    created = int(time.time())

    async def whole(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
        made = [
            _entry(request, event) if url else {"b64_json": event["png"], "seed": event["seed"]}
            async for event in events
            if event["type"] == "picture"
        ]
        yield json.dumps(dialect.answer(created, made, model)).encode()

    async def streamed(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
        async for event in events:
            if event["type"] == "begin":
                size = event
            elif event["type"] == "step" and "partial" in event:
                yield _sse(dialect.event("partial_image", created, {**size, **event}, event["preview"], verb))
            elif event["type"] == "picture":
                yield _sse(dialect.event("completed", created, event, event["png"], verb))

    @asynccontextmanager
    async def asked() -> AsyncIterator[Answer]:
        async with aclosing(room.draw(wanted, ticket)) as events:
            body = streamed(events) if streams else whole(events)
            kind = "text/event-stream" if streams else "application/json"
            yield Answer(Reply(200, kind, body), model, "home")

    return Relay(
        asked, house.closing, ticket=ticket, streams=streams, limit_s=max(house.settings.answer_limit, _LONGEST_S)
    )


def _sse(said: Mapping[str, Any]) -> bytes:
    return f"event: {said['type']}\ndata: {json.dumps(said)}\n\n".encode()


def _entry(request: Request, event: Mapping[str, Any]) -> dict[str, Any]:
    name = studio(request).gallery.lend(base64.b64decode(event["png"]))
    base = str(request.base_url).rstrip("/")
    return {"url": f"{base}/domicile/images/{name}/content", "seed": event["seed"]}


async def _form(request: Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Fields and files of a form; several files of one name are refused but for the first. Raises `BadField`."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise BadField(field="Content-Type", problem=kind[:60], reason="one_of", allowed="multipart/form-data")
    data: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    try:
        async with request.form(max_files=4, max_fields=64, max_part_size=_FORM_BYTES) as form:
            for name, value in form.multi_items():
                plain = name.removesuffix("[]")
                if isinstance(value, UploadFile):
                    if plain in files:
                        raise BadField(field=plain, problem=plain, reason="one_image")
                    files[plain] = await value.read()
                else:
                    data[plain] = value
    except HTTPException as trouble:
        raise BadField(field="body", problem=str(trouble.detail)[:200]) from trouble
    return data, files


# -- ours --


async def draw(request: Request) -> Response:
    """Begin a drawing that is kept in the gallery; answers with it at once, and it goes on whoever listens.

    The fields are those of `/v1/images/generations`, with `image` and `mask` as `data:` addresses in base64.
    """
    _, data = await asking.json_object(request)
    found = dialect.fields({**data, "partial_images": None})
    wanted = Wanted(**found, image=_picture(data, "image"), mask=_picture(data, "mask"))
    return JSONResponse(shown(studio(request).begin(wanted), request), 202)


def _picture(data: Mapping[str, Any], field: str) -> bytes | None:
    value = data.get(field)
    if value is None or value == "":
        return None
    said = _DATA.match(value) if isinstance(value, str) else None
    if said is None:
        raise BadImage(field=field, problem=str(value)[:60], reason="data")
    try:
        return base64.b64decode(str(value)[said.end() :], validate=True)
    except (binascii.Error, ValueError) as trouble:
        raise BadImage(field=field, problem=str(trouble)[:100], reason="base64") from trouble


async def drawings(request: Request) -> Response:
    """The drawings that go on, and the last ones that ended, newest first."""
    return JSONResponse({"drawings": [shown(d, request) for d in studio(request).drawings()]})


async def drawing(request: Request) -> Response:
    """One drawing, as it stands."""
    return JSONResponse(shown(studio(request).drawing(request.path_params["id"]), request))


async def drawing_events(request: Request) -> Response:
    """A drawing as it comes (SSE).

    `snapshot` comes first, with all that `GET` gives; `state` when it begins or its place in
    the queue changes; `step` with its number and, when there was time for one, a small `preview` (PNG in base64);
    `picture` for each that is whole; `over` at the end. `Last-Event-ID` goes on after the last one seen."""
    room = studio(request)
    one = room.drawing(request.path_params["id"])
    after = sse.last_event_id(request) if "last-event-id" in request.headers else None

    async def told() -> AsyncIterator[bytes]:
        async for event in room.follow(one, after):
            yield sse.event(event.number, event.name, _told(event, request))

    return sse.answer(told(), house_of(request).closing)


def _told(event: Event, request: Request) -> Any:
    return shown(event.data, request) if isinstance(event.data, Drawing) else event.data


async def stop_drawing(request: Request) -> Response:
    """End a drawing after the step it is at; pictures that are whole stay."""
    return JSONResponse(shown(await studio(request).stop(request.path_params["id"]), request))


def shown(one: Drawing, request: Request) -> dict[str, Any]:
    """A drawing, its error in the reader's language."""
    error = None if one.error is None else error_body(language(request.scope), one.error)["error"]
    return {**one.public(), "error": error}


async def gallery(request: Request) -> Response:
    """The pictures that were kept, newest first: `?before=` an id goes on, `?limit=` up to 200."""
    said = request.query_params.get("limit", "60")
    if not said.isdigit() or not 1 <= int(said[:6]) <= _MOST_LISTED:
        raise BadField(field="limit", problem=said[:40], reason="between", least=1, most=_MOST_LISTED)
    found = await asyncio.to_thread(studio(request).gallery.list, request.query_params.get("before"), int(said))
    return JSONResponse({"pictures": [p.public() for p in found]})


async def picture(request: Request) -> Response:
    """How one picture was made."""
    return JSONResponse(studio(request).gallery.get(request.path_params["id"]).public())


async def content(request: Request) -> Response:
    """A picture itself (PNG); its parameters are in a text chunk `parameters`, as A1111's web UI writes them."""
    path = studio(request).gallery.content(request.path_params["id"])
    headers = {"Cache-Control": "private, max-age=3600"}
    return FileResponse(path, media_type="image/png", headers=headers)


async def delete_picture(request: Request) -> Response:
    """Delete a picture for good."""
    freed = studio(request).gallery.delete(request.path_params["id"])
    return JSONResponse({"deleted": request.path_params["id"], "freed_bytes": freed})


async def options(request: Request) -> Response:
    """What one may choose from: the models that draw, LoRAs, samplers, sizes; and whether the engine is here."""
    house, room = house_of(request), studio(request)
    engine = next(e for e in house.engines() if e["name"] == "images")
    return JSONResponse(
        {
            "models": [{"name": m.name, "size_bytes": m.size_bytes, "active": m.active} for m in room.models()],
            "loras": [m.name for m in room.loras()],
            "samplers": list(SAMPLERS),
            "sizes": ["512x512", "512x768", "768x512", "768x768", "1024x1024", "832x1216", "1216x832"],
            "engine": engine,
        }
    )
