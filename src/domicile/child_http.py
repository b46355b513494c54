"""The HTTP server in a Python child: routes that speak OpenAI's dialect, behind a private door.

One file without a dependency, because it runs in environments that have nothing of the house's. HTTP/1.1 on a Unix
socket (loopback where there is none), a key on every request, bodies of a known length and no longer than a limit,
connections kept open, answers whole or as events while they are made. A caller who leaves has its handler cancelled at
once. Knows no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

HEAD_LIMIT = 32 * 1024
BODY_LIMIT = 64 * 2**20
_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large"}


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler gives: a body, or the pieces of one as they come."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    content_type: str = "application/json"


class Refusal(Exception):
    """Raised by a handler: an answer in OpenAI's shape of an error. `more` are further fields of it."""

    def __init__(self, message: str, status: int = 400, kind: str = "invalid_request_error", **more: object) -> None:
        super().__init__(message)
        self.status, self.kind, self.more = status, kind, more

    def response(self) -> Response:
        said = {"message": str(self), "type": self.kind, "code": self.status, **self.more}
        return as_json({"error": said}, self.status)


Handler = Callable[[dict[str, Any]], Awaitable[Response]]
"""Given the object of the body (empty for a GET)."""


@dataclass
class Counts:
    """What a child has done since it came up; `GET /counts`. Tokens, or what the engine counts in their place."""

    prompt: int = 0
    generated: int = 0
    rate: float | None = None
    """Tokens a second of the last answer of some length."""
    more: dict[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "generated": self.generated, "rate": self.rate, **self.more}


def as_json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False).encode(), status)


def as_events(chunks: AsyncIterator[object]) -> Response:
    """Server-sent events of JSON objects, ended as OpenAI ends them."""

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return Response(body(), content_type="text/event-stream")


async def serve(address: str, key: str, routes: dict[str, Handler], ready: Callable[[str], None]) -> None:
    """Answer for ever. `address` is the path of a Unix socket, or a host; `ready` is told where we listen."""

    async def health(_: dict[str, Any]) -> Response:
        return as_json({"status": "ok"})

    door = _Server(key, {"GET /health": health, **routes})
    if "/" in address:
        server = await asyncio.start_unix_server(door.connection, address, limit=HEAD_LIMIT)
        ready(f"unix://{address}")
    else:
        server = await asyncio.start_server(door.connection, address, 0, limit=HEAD_LIMIT)
        host, port = server.sockets[0].getsockname()[:2]
        ready(f"http://{host}:{port}")
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class _Request:
    route: str
    key: str
    length: int
    keeps: bool


class _Server:
    def __init__(self, key: str, routes: dict[str, Handler]) -> None:
        self._key = key.encode()
        self._routes = routes

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every request of one connection, one after the other."""
        ahead = b""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = ahead + await reader.readuntil(b"\r\n\r\n")
                request = _read(head)
                if request is None or request.length > BODY_LIMIT:
                    status = 400 if request is None else 413
                    await _send(writer, Refusal(_PHRASES[status], status).response(), keeps=False)
                    break
                body = await reader.readexactly(request.length)
                ahead = await self._answer(request, body, reader, writer)
                if not request.keeps:
                    break
        writer.close()

    async def _answer(
        self, request: _Request, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Answer, unless the caller leaves first. Returns what it has sent already of its next request."""
        work = asyncio.create_task(self._work(request, body, writer))
        leaves = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                leaves.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    return await leaves
                return b""
            ahead = await leaves
            if not ahead:
                raise ConnectionResetError
            await work
            return ahead
        finally:
            work.cancel()
            leaves.cancel()
            await asyncio.gather(work, leaves, return_exceptions=True)

    async def _work(self, request: _Request, body: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            response = await self._response(request, body)
        except Refusal as refusal:
            response = refusal.response()
        except Exception as trouble:  # noqa: BLE001 - whatever a library raises is an answer, and a trace in the log
            _log(trouble)
            response = Refusal(f"{type(trouble).__name__}: {trouble}"[:500], 500, "server_error").response()
        await _send(writer, response, request.keeps)

    async def _response(self, request: _Request, body: bytes) -> Response:
        if not hmac.compare_digest(request.key.encode(), b"Bearer " + self._key):
            raise Refusal("the key is not the right one", 401, "authentication_error")
        handler = self._routes.get(request.route)
        if handler is None:
            raise Refusal(f"no route {request.route[:100]}", 404, "not_found_error")
        try:
            data = json.loads(body) if body else {}
        except (ValueError, RecursionError) as trouble:
            raise Refusal("the body is no JSON") from trouble
        if not isinstance(data, dict):
            raise Refusal("the body is no object")
        return await handler(data)


def _read(head: bytes) -> _Request | None:
    """The head of a request; None for what is none, or whose body has no length."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")
        method, target, version = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        return None
    if version not in {"HTTP/1.1", "HTTP/1.0"} or length < 0 or "transfer-encoding" in headers:
        return None
    keeps = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return _Request(f"{method} {target.partition('?')[0]}", headers.get("authorization", ""), length, keeps)


NO_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "not enough memory")
"""How libraries say that the memory is at its end."""


def out_of_memory(trouble: BaseException) -> bool:
    """Is this the end of the memory, however the library calls it?"""
    return isinstance(trouble, MemoryError) or any(mark in str(trouble).lower() for mark in NO_MEMORY)


def _log(trouble: Exception) -> None:
    """The trace. A child without memory ends: the house reads why, and wakes it again on safer settings."""
    traceback.print_exception(trouble)
    sys.stderr.flush()
    if out_of_memory(trouble):
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(4)


async def _send(writer: asyncio.StreamWriter, response: Response, keeps: bool) -> None:
    head = f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, 'Answer')}\r\n"
    head += f"Content-Type: {response.content_type}\r\nConnection: {'keep-alive' if keeps else 'close'}\r\n"
    if isinstance(response.body, bytes):
        writer.write(f"{head}Content-Length: {len(response.body)}\r\n\r\n".encode() + response.body)
        await writer.drain()
        return
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    try:
        async for piece in response.body:
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
    except Exception as trouble:  # noqa: BLE001 - the status has left: what went wrong is an event
        _log(trouble)
        said = json.dumps({"error": {"message": f"{type(trouble).__name__}: {trouble}"[:500], "type": "server_error"}})
        event = b"data: " + said.encode() + b"\n\n"
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
    finally:
        close = getattr(response.body, "aclose", None)
        if close is not None:
            await close()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
