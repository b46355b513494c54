"""The private door to an engine's child: HTTP/1.1 over a Unix socket (or loopback), one connection a request.

Made of httptools (a parser) and an asyncio protocol, because an answer comes a token at a time and each costs: 55
microseconds of the house's processor a chunk, where the general client took 140 (measured, bench/RESULTS.md).
The engine closes its connection after every streamed answer, so there is nothing to keep open. Knows no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httptools

_HIGH_WATER = 256 * 1024


class DoorClosed(Exception):
    """The other side is gone, before or in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content type, and the body as it comes (`DoorClosed` when it breaks off)."""

    status: int
    content_type: str
    body: AsyncIterator[bytes]


class Door:
    """Where a child listens, and the key that opens it. `address` is `unix://PATH` or `http://HOST:PORT`."""

    def __init__(self, address: str, key: str) -> None:
        self._path = address.removeprefix("unix://") if address.startswith("unix://") else None
        self._host, _, self._port = address.removeprefix("http://").rpartition(":")
        self._key = key

    @asynccontextmanager
    async def ask(self, method: str, path: str, body: bytes = b"") -> AsyncIterator[Answer]:
        """One request. Leaving the context closes the connection, which stops the engine's work on it."""
        loop = asyncio.get_running_loop()
        try:
            if self._path is not None:
                transport, exchange = await loop.create_unix_connection(_Exchange, self._path)
            else:
                transport, exchange = await loop.create_connection(_Exchange, self._host, int(self._port))
        except OSError as trouble:
            raise DoorClosed(str(trouble)) from trouble
        try:
            transport.write(
                f"{method} {path} HTTP/1.1\r\nHost: engine\r\nAuthorization: Bearer {self._key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await exchange.begun
            yield Answer(exchange.status, exchange.content_type, exchange.body())
        finally:
            transport.abort()


class _Exchange(asyncio.Protocol):
    """One answer as it is parsed."""

    def __init__(self) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.content_type = "application/json"
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._came: list[bytes] = []
        self._waiting = 0
        self._more: asyncio.Future[None] | None = None
        self._whole = False
        self._broken: str | None = None

    async def body(self) -> AsyncIterator[bytes]:
        """What has come since the last time, in one piece."""
        while True:
            if self._came:
                piece = self._came[0] if len(self._came) == 1 else b"".join(self._came)
                self._came.clear()
                if self._waiting > _HIGH_WATER and self._transport is not None:
                    self._transport.resume_reading()
                self._waiting = 0
                yield piece
            elif self._whole:
                return
            elif self._broken is not None:
                raise DoorClosed(self._broken)
            else:
                self._more = asyncio.get_running_loop().create_future()
                await self._more

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    # -- what asyncio says --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as trouble:
            self._end(str(trouble))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "closed")

    def _end(self, why: str) -> None:
        self._broken = self._broken or why
        if not self.begun.done():
            self.begun.set_exception(DoorClosed(why))
            self.begun.exception()  # whoever asked may have left: that is no fault
        self._wake()

    # -- what httptools says --

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.content_type = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if not self.begun.done():
            self.begun.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._came.append(body)
        self._waiting += len(body)
        if self._waiting > _HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        self._whole = True
        self._wake()
