"""A server elsewhere that speaks OpenAI's dialect over real HTTP, with faults, and counts what comes and goes.

`fault` says how it answers: `well`; `refuses STATUS`; `silent` (never); `breaks` (in the middle of an answer); `empty`;
`page` (HTML); `elsewhere` (a redirect to `onward`); `garbage` (JSON that is none); `packed` (gzip nobody asked for).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Heard:
    """One request, as the target heard it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class FakeTarget:
    fault: str = "well"
    words: tuple[str, ...] = ("from", "elsewhere")
    models: tuple[str, ...] = ("mistral",)
    onward: str = ""
    thoughts: tuple[str, ...] = ()
    """Said as reasoning before the words of a stream."""
    glue: str = " "
    """After each word of a stream."""
    pace_s: float = 0
    """Between the words of a stream."""
    going: threading.Event = field(default_factory=_set)
    """Cleared: the second word of a stream does not come."""
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        request, *lines = head.decode("latin-1").strip().split("\r\n")
        method, path, _ = request.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.bytes_in += len(head) + len(body)
        self.heard.append(Heard(method, path, headers, body))
        return await self._answer(writer, path, body)

    async def _answer(self, writer: asyncio.StreamWriter, path: str, body: bytes) -> bool:
        kind, _, more = self.fault.partition(" ")
        if kind == "silent":
            await asyncio.sleep(60)
            return False
        if kind == "refuses":
            return await self._whole(writer, b'{"error": {"message": "not today"}}', status=int(more))
        if kind == "elsewhere":
            return await self._whole(writer, b"", status=307, extra=f"Location: {self.onward}\r\n")
        if kind == "page":
            return await self._whole(writer, b"<script>alert(1)</script>", "text/html")
        if kind == "packed":
            return await self._whole(writer, b"x", extra="Content-Encoding: gzip\r\n")
        if path.split("?", maxsplit=1)[0].endswith("/models"):
            return await self._whole(writer, json.dumps({"data": [{"id": m} for m in self.models]}).encode())
        streamed = json.loads(body).get("stream") is True
        if streamed:
            return await self._stream(writer, kind)
        message = {"role": "assistant", "content": " ".join(self.words)}
        said = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        said = {"garbage": b"{not json", "empty": b""}.get(kind, said)
        if kind == "breaks":
            await self._send(writer, self._head("application/json", f"Content-Length: {len(said)}\r\n") + said[:20])
            return False
        return await self._whole(writer, said)

    async def _stream(self, writer: asyncio.StreamWriter, kind: str) -> bool:
        await self._send(writer, self._head("text/event-stream", "Transfer-Encoding: chunked\r\n"))
        for word in self.thoughts:
            thought = {"choices": [{"index": 0, "delta": {"reasoning_content": word + self.glue}}]}
            await self._send(writer, _chunked(b"data: " + json.dumps(thought).encode() + b"\n\n"))
        for number, word in enumerate(self.words if kind != "empty" else ()):
            if kind == "breaks" and number:
                return False
            while number and not self.going.is_set():
                await asyncio.sleep(0.02)
            if self.pace_s:
                await asyncio.sleep(self.pace_s)
            chunk = {"choices": [{"index": 0, "delta": {"content": word + self.glue}, "finish_reason": None}]}
            await self._send(writer, _chunked(b"data: " + json.dumps(chunk).encode() + b"\n\n"))
        await self._send(writer, (_chunked(b"data: [DONE]\n\n") if kind != "empty" else b"") + b"0\r\n\r\n")
        return True

    async def _whole(
        self, writer: asyncio.StreamWriter, said: bytes, kind: str = "application/json", status: int = 200,
        extra: str = "",
    ) -> bool:  # fmt: skip
        await self._send(writer, self._head(kind, f"Content-Length: {len(said)}\r\n{extra}", status) + said)
        return True

    @staticmethod
    def _head(kind: str, extra: str, status: int = 200) -> bytes:
        return f"HTTP/1.1 {status} So\r\nContent-Type: {kind}\r\n{extra}\r\n".encode()

    async def _send(self, writer: asyncio.StreamWriter, said: bytes) -> None:
        self.bytes_out += len(said)
        writer.write(said)
        await writer.drain()


def _chunked(said: bytes) -> bytes:
    return f"{len(said):x}\r\n".encode() + said + b"\r\n"


@contextmanager
def running(target: FakeTarget) -> Iterator[FakeTarget]:
    """The target on a port of its own, in a thread."""
    opened = threading.Event()
    loop = asyncio.new_event_loop()
    ends: list[asyncio.Event] = []

    async def main() -> None:
        server = await asyncio.start_server(target.serve, "127.0.0.1", target.port)
        target.port = server.sockets[0].getsockname()[1]
        ends.append(asyncio.Event())
        opened.set()
        await ends[0].wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert opened.wait(5)
    try:
        yield target
    finally:
        loop.call_soon_threadsafe(ends[0].set)
        thread.join(5)
        loop.close()
