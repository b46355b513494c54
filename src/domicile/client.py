"""The client of our own API: over TCP when a house is open, in this very process when none is.

One code path for both, so that what a command does is what the page and any other program can do. Errors come
back as `HouseSaid`, in the words of the house (already in the reader's language).
"""

from __future__ import annotations

import asyncio
import codecs
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from domicile.config import Settings
from domicile.heard import Sent

if TYPE_CHECKING:
    from domicile.heard import Heard
    from domicile.inside import Inside
    from domicile.wire import Wire


class HouseSaid(Exception):
    """The house refused, and said why."""

    def __init__(self, error: Mapping[str, Any], status: int) -> None:
        self.status = status
        self.code = str(error.get("code", ""))
        self.message = str(error.get("summary") or error.get("message") or status)
        self.hint = str(error["hint"]) if error.get("hint") else None
        self.exit_code = int(error.get("exit_code") or 1)
        self.error = dict(error)
        super().__init__(self.message)


@asynccontextmanager
async def connect(settings: Settings, lang: str) -> AsyncIterator[Client]:
    """A client of the house that is open on this home, or of one opened here for as long as the context lasts."""
    from domicile import doorplate

    plate = doorplate.read(settings)
    if plate is not None:
        async with at(plate.url, plate.key, lang, offline=settings.offline) as client:
            yield client
        return
    from domicile.app import open_house
    from domicile.inside import HOST, Inside
    from domicile.web import build
    from domicile.web.guard import Rules

    async with open_house(settings) as house:
        yield Client(Inside(build(house, Rules(frozenset({HOST}))), {"accept-language": lang}), None)


@asynccontextmanager
async def at(url: str, key: str, lang: str, *, offline: bool = False) -> AsyncIterator[Client]:
    """A client of the house at an address. `offline`: whatever it asks, the house asks nobody else for it."""
    from domicile.wire import Wire

    headers = {"Accept-Language": lang, "Authorization": f"Bearer {key}"}
    if offline:
        headers["X-Domicile-Offline"] = "1"
    async with Wire(url, headers) as wire:
        yield Client(wire, url)


class Client:
    """What a face asks of the house. `url` is None for a house opened in this process."""

    def __init__(self, way: Wire | Inside, url: str | None) -> None:
        self._way = way
        self.url = url

    async def get(self, path: str, /, **query: str) -> dict[str, Any]:
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, /, **query: str) -> dict[str, Any]:
        return await self._ask("POST", path, query, body or {})

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._ask("PATCH", path, {}, body)

    async def delete(self, path: str, /, **query: str) -> dict[str, Any]:
        return await self._ask("DELETE", path, query)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        async with self._stream(method, path, query, body) as answer:
            data: dict[str, Any] = json.loads(await answer.whole())
        return data

    async def text(self, path: str, /, **query: str) -> AsyncIterator[str]:
        """A plain text as it comes."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async with self._stream("GET", path, query) as answer:
            async for chunk in answer.body:
                yield decoder.decode(chunk)

    async def content(self, path: str) -> bytes:
        """A file of the house, whole."""
        async with self._stream("GET", path, {}) as answer:
            return await answer.whole()

    async def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The states of a job from now on, until it is over; a cut connection is taken up where it broke."""
        seen = 0
        while True:
            query, headers = ({}, {"Last-Event-ID": str(seen)}) if seen else ({"after": "now"}, {})
            async with self._stream("GET", f"/domicile/jobs/{job_id}/events", query, headers=headers) as answer:
                async for number, data in _events(answer):
                    seen = number or seen
                    yield data
                    if data["status"] in {"done", "failed", "cancelled"}:
                        return
            await asyncio.sleep(0.5)  # the house closed the stream before the end: it may be closing

    async def events(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream as they come, until the house closes it."""
        async with self._stream("GET", path, query) as answer:
            async for _, data in _events(answer):
                yield data

    async def chat(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed chat, in OpenAI's shape."""
        async with self._stream("POST", "/v1/chat/completions", {}, {**body, "stream": True}) as answer:
            async for _, chunk in _events(answer):
                if "error" in chunk:
                    raise HouseSaid(chunk["error"], 500)
                yield chunk

    async def transcribe(
        self, file: Path, fields: Mapping[str, str], *, translate: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a transcript as it is written, in OpenAI's shape. The file is sent as it is read."""
        way = "translations" if translate else "transcriptions"
        form = _form(file, {**fields, "stream": "true"})
        async with self._stream("POST", f"/v1/audio/{way}", {}, form) as answer:
            async for _, event in _events(answer):
                if "error" in event:
                    raise HouseSaid(event["error"], 500)
                yield event

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | Sent | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Heard]:
        sent = body if body is None or isinstance(body, Sent) else json.dumps(body).encode()
        async with self._way.ask(method, path, query, sent, headers or {}) as answer:
            if answer.status >= 400:
                raise _said(await answer.whole(), answer.status)
            yield answer


def of_model(name: str, verb: str = "") -> str:
    """The path of a model's route. Slashes of a name are part of it."""
    return f"/domicile/models/{quote(name, safe='/:@')}" + (f"/{verb}" if verb else "")


def of_custom(name: str, verb: str = "") -> str:
    """The path of a custom model's route."""
    return f"/domicile/custom/{quote(name, safe='/:@')}" + (f"/{verb}" if verb else "")


def of_partial(name: str) -> str:
    """The path of what a download left."""
    return f"/domicile/partials/{quote(name, safe='/:@')}"


def _form(file: Path, fields: Mapping[str, str]) -> Sent:
    """A form with a file in it, read a piece at a time."""
    mark = secrets.token_hex(16)
    name = "".join(c if c.isprintable() and c not in '"\\' else "_" for c in file.name)
    head = "".join(
        f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
    )
    head += f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    start, end = f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), f"\r\n--{mark}--\r\n".encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield start
        with file.open("rb") as opened:
            while piece := await asyncio.to_thread(opened.read, 1 << 20):
                yield piece
        yield end

    length = len(start) + file.stat().st_size + len(end)
    return Sent({"Content-Type": f"multipart/form-data; boundary={mark}", "Content-Length": str(length)}, pieces)


def _said(content: bytes, status: int) -> HouseSaid:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": content[:300].decode("utf-8", "replace")}
    return HouseSaid(error, status)


async def _events(answer: Heard) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """The events of a stream: number and JSON. `[DONE]` ends OpenAI's."""
    number = 0
    async for line in answer.lines():
        if line.startswith("id:"):
            number = int(line[3:])
        elif line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield number, json.loads(data)
