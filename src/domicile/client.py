"""The client of our own API: over TCP when a house is open, in this very process when none is.

One code path for both, so that what a command does is what the page and any other program can do. Errors come
back as `HouseSaid`, in the words of the house (already in the reader's language).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from domicile.app import open_house
from domicile.config import Settings
from domicile.errors import HouseSilent
from domicile.web import build, doorplate
from domicile.web.guard import Rules

_INSIDE = "in-process"
_TIMEOUT = httpx2.Timeout(None, connect=5)


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
    plate = doorplate.read(settings)
    if plate is not None:
        async with at(plate.url, plate.key, lang) as client:
            yield client
        return
    async with open_house(settings) as house:
        transport = InProcess(build(house, Rules(frozenset({_INSIDE}))))
        headers = {"Accept-Language": lang}
        async with httpx2.AsyncClient(
            base_url=f"http://{_INSIDE}", headers=headers, timeout=_TIMEOUT, transport=transport
        ) as http:
            yield Client(http, None)


@asynccontextmanager
async def at(url: str, key: str, lang: str) -> AsyncIterator[Client]:
    """A client of the house at an address."""
    headers = {"Accept-Language": lang, "Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False) as http:
        yield Client(http, url)


class Client:
    """What a face asks of the house. `url` is None for a house opened in this process."""

    def __init__(self, http: httpx2.AsyncClient, url: str | None) -> None:
        self._http = http
        self.url = url

    async def get(self, path: str, /, **query: str) -> dict[str, Any]:
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None, /, **query: str) -> dict[str, Any]:
        return await self._ask("POST", path, query, body or {})

    async def delete(self, path: str, /, **query: str) -> dict[str, Any]:
        return await self._ask("DELETE", path, query)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, params=query, json=body)
        except httpx2.TransportError as trouble:
            raise HouseSilent(url=self.url, problem=type(trouble).__name__) from trouble
        if answer.status_code >= 400:
            raise _said(answer.content, answer.status_code)
        data: dict[str, Any] = answer.json()
        return data

    async def text(self, path: str, /, **query: str) -> AsyncIterator[str]:
        """A plain text as it comes."""
        async with self._stream("GET", path, query) as answer:
            async for chunk in answer.aiter_text():
                yield chunk

    async def follow(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """The states of a job until it is over; a cut connection is taken up where it broke."""
        seen = 0
        while True:
            query = {"Last-Event-ID": str(seen)}
            try:
                async with self._stream("GET", f"/domicile/jobs/{job_id}/events", {}, headers=query) as answer:
                    async for number, data in _events(answer):
                        seen = number or seen
                        yield data
                        if data["status"] in {"done", "failed", "cancelled"}:
                            return
            except httpx2.TransportError as trouble:
                raise HouseSilent(url=self.url, problem=type(trouble).__name__) from trouble
            await asyncio.sleep(0.5)  # the house closed the stream before the end: it may be closing

    async def chat(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed chat, in OpenAI's shape."""
        try:
            async with self._stream("POST", "/v1/chat/completions", {}, {**body, "stream": True}) as answer:
                async for _, chunk in _events(answer):
                    if "error" in chunk:
                        raise HouseSaid(chunk["error"], 500)
                    yield chunk
        except httpx2.TransportError as trouble:
            raise HouseSilent(url=self.url, problem=type(trouble).__name__) from trouble

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        async with self._http.stream(method, path, params=query, json=body, headers=headers) as answer:
            if answer.status_code >= 400:
                raise _said(await answer.aread(), answer.status_code)
            yield answer


def of_model(name: str, verb: str = "") -> str:
    """The path of a model's route. Slashes of a name are part of it."""
    return f"/domicile/models/{quote(name, safe='/:@')}" + (f"/{verb}" if verb else "")


def _said(content: bytes, status: int) -> HouseSaid:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": content[:300].decode("utf-8", "replace")}
    return HouseSaid(error, status)


async def _events(answer: httpx2.Response) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """The events of a stream: number and JSON. `[DONE]` ends OpenAI's."""
    number = 0
    async for line in answer.aiter_lines():
        if line.startswith("id:"):
            number = int(line[3:])
        elif line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield number, json.loads(data)


class InProcess(httpx2.AsyncBaseTransport):
    """An ASGI application as a transport that streams: a chunk is read as soon as it is sent.

    (httpx2's own `ASGITransport` gives an answer only when it is complete.)
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = _Exchange(await request.aread())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": (request.url.host, request.url.port or 80),
            "client": (_INSIDE, 0),
        }
        exchange.run(self._app(scope, exchange.receive, exchange.send))
        try:
            start = await exchange.take()
        except BaseException:  # whoever asked has left before the answer began
            await exchange.aclose()
            raise
        return httpx2.Response(start["status"], headers=start["headers"], stream=exchange)


class _Exchange(httpx2.AsyncByteStream):
    """One request and its answer, both ways."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._sent: asyncio.Queue[Any] = asyncio.Queue(maxsize=16)
        self._left = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def run(self, application: Any) -> None:
        async def work() -> None:
            try:
                await application
            except Exception as trouble:  # noqa: BLE001 - handed over to the reader of the answer
                await self._sent.put(trouble)

        self._task = asyncio.create_task(work())

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if not self._left.is_set():
            await self._sent.put(message)

    async def take(self) -> Any:
        message = await self._sent.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self.take()
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        self._left.set()
        while not self._sent.empty():  # whoever waits to send must see that nobody reads
            self._sent.get_nowait()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.wait([self._task])
            self._task.cancel()
