"""A model's answer, passed on as it comes: bytes untouched, and the three things that must be said about them.

The first bytes are awaited before the status line, so that an early failure keeps its status. A model that dies
midway becomes an error event. A caller who leaves stops the generation: the connection to the engine is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.types import Message, Receive, Scope, Send

from domicile.answering import Answer
from domicile.engines import Reply
from domicile.errors import DomicileError, ShuttingDown
from domicile.web.trouble import event_of

SLOW_READER_S = 60.0
"""A reader who takes nothing for this long is cut, so that the slot serves others."""

Asking = Callable[[], AbstractAsyncContextManager[Answer]]
"""Ask; leaving the context stops the generation."""


class Relay:
    """An ASGI answer: what a model says, passed on."""

    def __init__(self, asking: Asking, closing: asyncio.Event) -> None:
        self._asking = asking
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = _Reader(send)
        work = asyncio.create_task(self._work(scope, reader.send))
        reader.watch(work)
        left = asyncio.create_task(_until_left(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({work, left, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done() and not work.done():
                await asyncio.wait({work, left}, timeout=2, return_when=asyncio.FIRST_COMPLETED)
                work.cancel("closing")
            elif not work.done():
                work.cancel("left")
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            reader.leave()
            for task in (work, left, closing):
                task.cancel()
            await asyncio.wait({work, left, closing})

    async def _work(self, scope: Scope, send: Send) -> None:
        async with self._asking() as answer:
            first = await anext(answer.reply.body, b"")
            await send(start(answer, answer.reply.content_type))
            await self._pass(first, answer.reply, scope, send)

    async def _pass(self, first: bytes, reply: Reply, scope: Scope, send: Send) -> None:
        streams = reply.content_type.startswith("text/event-stream")
        chunk = first
        try:
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(reply.body, b"")
        except asyncio.CancelledError as cancelled:
            if streams and cancelled.args == ("closing",):
                await send({"type": "http.response.body", "body": event_of(ShuttingDown(), scope), "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            raise
        except DomicileError as error:
            if not streams:
                raise
            # An event of its own, even when the last one was cut in the middle.
            await send({"type": "http.response.body", "body": b"\n\n" + event_of(error, scope), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class _Reader:
    """Who reads the answer. One clock for all of it: a time-out around each token would cost as much as its turning."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._since = math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Message) -> None:
        self._since = self._loop.time()
        await self._send(message)
        self._since = math.inf

    def watch(self, work: asyncio.Task[None]) -> None:
        """End the work when the reader has taken nothing for `SLOW_READER_S`."""
        if self._loop.time() - self._since > SLOW_READER_S:
            work.cancel("slow")
        else:
            self._timer = self._loop.call_later(SLOW_READER_S / 4, self.watch, work)

    def leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def start(answer: Answer, content_type: str, notes: Mapping[str, str] | None = None) -> dict[str, object]:
    """The status line and the headers: what kind of answer, and what must be said about it."""
    said = {"served-by": f"{answer.served_by}; model={answer.model}", **answer.notes, **(notes or {})}
    headers = [(b"content-type", content_type.encode("latin-1"))]
    headers += [(f"x-domicile-{k.lower()}".encode(), _header(v)) for k, v in said.items()]
    if not content_type.startswith("application/json"):
        headers += [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": answer.reply.status, "headers": headers}


def _header(value: str) -> bytes:
    """A value that cannot end its line: some of them repeat what a client wrote."""
    return "".join(c if c.isprintable() else "?" for c in value[:500]).encode("latin-1", "replace")


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
