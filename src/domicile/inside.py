"""The way to a house that is open in this very process: its ASGI application, called without a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlencode

from domicile.heard import Heard, Sent

HOST = "in-process"
"""The name under which the guard knows this way."""


class Inside:
    """An ASGI application that streams: a chunk is read as soon as it is sent. `headers` (names in lower case) go with
    every question."""

    def __init__(self, app: Any, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | Sent | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Heard]:
        """One question; bytes are JSON. Leaving the context before the end is leaving the house."""
        said = {"host": HOST, **self._headers, **{name.lower(): value for name, value in headers.items()}}
        if isinstance(body, Sent):
            said |= {name.lower(): value for name, value in body.headers.items()}
        elif body is not None:
            said |= {"content-type": "application/json", "content-length": str(len(body))}
        exchange = Exchange(body.pieces() if isinstance(body, Sent) else body or b"")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in said.items()],
            "server": (HOST, 80),
            "client": (HOST, 0),
        }
        exchange.run(self._app(scope, exchange.receive, exchange.send))
        try:
            start = await exchange.take()
            yield Heard(start["status"], exchange.body())
        finally:
            await exchange.aclose()


class Exchange:
    """One request and its answer, both ways."""

    def __init__(self, body: bytes | AsyncIterator[bytes]) -> None:
        self._asked: bytes | AsyncIterator[bytes] | None = body
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
        if isinstance(self._asked, AsyncIterator):
            piece = await anext(self._asked, None)
            if piece is None:
                self._asked = None
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}
        if self._asked is not None:
            body, self._asked = self._asked, None
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

    async def body(self) -> AsyncIterator[bytes]:
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
