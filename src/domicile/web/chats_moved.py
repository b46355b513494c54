"""What comes into conversations and leaves them over HTTP: attachments, exports, imports."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from domicile import i18n
from domicile.chats import shapes
from domicile.errors import BadField, BadJSON, BodyTooLarge, MissingField
from domicile.web import asking
from domicile.web.chats import TEXT, bounded, chat_shown, owner, room
from domicile.web.trouble import language

IMPORT_BYTES = 64 << 20
"""Of one request; `domicile chats import` sends a larger file in parts."""
_SEEN = ("image/", "audio/")
"""Media types that a browser may show where they are; anything else is saved."""


# -- attachments --


async def attach(request: Request) -> Response:
    """Send a file for a message to come: its bytes are the body, `?name=` its name. Gives its `id`.

    Text, code, PDF (its text is read; `pages_read` of `pages`), pictures and sound, told by their bytes. `?temporary=1`
    keeps it in memory, for a temporary chat. One that no message has is deleted after a day.
    """
    temporary = request.query_params.get("temporary") in {"1", "true"}
    name = request.query_params.get("name") or "file"
    made = await room(request).attach(await request.body(), name, owner(request), temporary=temporary)
    return JSONResponse(made.public(), 201)


async def attachment(request: Request) -> Response:
    """What is known of an attachment, with the text that was read of it."""
    found = room(request).attachment(request.path_params["id"], owner(request))
    return JSONResponse({**found.public(), "text": found.text})


async def content(request: Request) -> Response:
    """An attachment's file, as it was sent."""
    found = room(request).attachment(request.path_params["id"], owner(request))
    data = room(request).attachment_data(found)
    shown = found.media_type.startswith(_SEEN)
    media = found.media_type if shown or found.kind == "pdf" else "text/plain; charset=utf-8"
    headers = {
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{_quoted(found.name)}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type=media, headers=headers)


async def write_down(request: Request) -> Response:
    """What is heard in a sound or seen in a picture, `{"text"}`: models are given that."""
    _, data = await asking.json_object(request)
    text = bounded(data, "text", TEXT)
    if text is None:
        raise MissingField(field="text")
    found = room(request).write_down(request.path_params["id"], text, owner(request))
    return JSONResponse({**found.public(), "text": found.text})


async def detach(request: Request) -> Response:
    """Forget an attachment that no message has; one that a message has goes with it."""
    found, freed = room(request).detach(request.path_params["id"], owner(request))
    return JSONResponse({"deleted": found.public(), "freed_bytes": freed})


# -- exports and imports --


async def export(request: Request) -> Response:
    """Every conversation, with folders, presets and attachments, as a file that `import` takes back as it was.

    `?files=0` leaves the bytes of attachments out.
    """
    return _exported(request, None, "domicile-chats")


async def export_chat(request: Request) -> Response:
    """One conversation as a file: `?format=json` (all of it), or `markdown` (the branch that is shown)."""
    chat_id = request.path_params["id"]
    whole = room(request).whole(chat_id, owner(request))
    shape = request.query_params.get("format", "json")
    if shape not in {"json", "markdown"}:
        raise BadField(field="format", problem=shape[:40], reason="one_of", allowed="json, markdown")
    name = re.sub(r"[^\w.-]+", "-", whole.chat.title).strip("-.")[:60] or chat_id
    if shape == "json":
        return _exported(request, [chat_id], name)
    lang = language(request.scope)
    names = {
        "user": i18n.say(lang, "chats.user"),
        "system": i18n.say(lang, "chats.system"),
        "reasoning": i18n.say(lang, "chats.reasoning"),
        "file": i18n.say(lang, "chats.file"),
    }
    text = shapes.markdown(whole.chat, whole.messages, names)
    return PlainTextResponse(text, headers=_saved(f"{name}.md"), media_type="text/markdown")


def _exported(request: Request, ids: list[str] | None, name: str) -> Response:
    files = request.query_params.get("files", "1") not in {"0", "false"}
    pieces = room(request).export(ids, owner(request), files=files)
    return StreamingResponse(_slowly(pieces), media_type="application/json", headers=_saved(f"{name}.json"))


async def _slowly(pieces: Iterator[str]) -> AsyncIterator[bytes]:
    """Piece by piece, on the loop's own thread (the database's), which others get in between."""
    for piece in pieces:
        yield piece.encode("utf-8", "replace")
        await asyncio.sleep(0)


async def take_in(request: Request) -> Response:
    """Add the conversations of a file: our own export, ChatGPT's `conversations.json`, or Open WebUI's chats.

    What is here already is not added twice. What cannot be read is left out and named. 64 MiB at once.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > IMPORT_BYTES:
            raise BodyTooLarge(limit=IMPORT_BYTES, size=len(body))
    try:
        data = await asyncio.to_thread(json.loads, bytes(body))
    except RecursionError as trouble:
        raise BadJSON(reason="depth", limit=asking.BODY_DEPTH) from trouble
    except ValueError as trouble:
        raise BadJSON(problem=str(trouble)[:200]) from trouble
    came = room(request).take_in(data, owner(request))
    return JSONResponse({**came, "added": [chat_shown(request, chat) for chat in came["added"]]})


def _saved(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{_quoted(name)}", "Cache-Control": "no-store"}


def _quoted(name: str) -> Any:
    from urllib.parse import quote

    return quote(name, safe="")
