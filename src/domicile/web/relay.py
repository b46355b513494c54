"""A model's answer, passed on as it comes: bytes untouched, and the three things that must be said about them.

The first bytes are awaited before the status line, so that an early failure keeps its status. A model that dies
midway becomes an error event. A caller who leaves stops the generation: the connection to the engine is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.types import Message, Receive, Scope, Send

from domicile.answering import Answer, whole
from domicile.engines import Reply
from domicile.errors import AnswerTooLong, DomicileError, ShuttingDown
from domicile.types import Ticket
from domicile.web.trouble import event_of

SLOW_READER_S = 60.0
"""A reader who takes nothing for this long is cut, so that the slot serves others."""

BEAT_S = 1.0
PATIENCE_S = 5.0
"""Who waits longer for a turn is told how many come first."""
HEARTBEAT_S = 15.0
_SSE = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

Asking = Callable[[], AbstractAsyncContextManager[Answer]]
"""Ask; leaving the context stops the generation."""


class Relay:
    """An ASGI answer: what a model says, passed on.

    Whoever waits long for a stream's turn is told by comments how many come first, so that neither they nor a proxy
    take the silence for death. `limit_s` bounds an answer, from its turn on.
    """

    def __init__(
        self,
        asking: Asking,
        closing: asyncio.Event,
        *,
        ticket: Ticket | None = None,
        streams: bool = False,
        limit_s: float = math.inf,
    ) -> None:
        self._asking = asking
        self._closing = closing
        self._ticket = ticket or Ticket()
        self._streams = streams
        self._limit_s = limit_s
        self._started = False
        self._events = False
        """What has started is a stream of events: an error can be one of them."""
        self._passing = False
        """The answer itself has begun, and says by itself how it ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = _Reader(send)
        work = asyncio.create_task(self._work(scope, reader.send))
        reader.watch(work)
        left = asyncio.create_task(_until_left(receive))
        closing = asyncio.create_task(self._closing.wait())
        too_long = False
        try:
            too_long = await self._until_over(work, left, closing, send)
            if too_long:
                work.cancel("long")
            elif closing.done() and not work.done():
                await asyncio.wait({work, left}, timeout=2, return_when=asyncio.FIRST_COMPLETED)
                work.cancel("closing")
            elif not work.done():
                work.cancel("left")
            with contextlib.suppress(asyncio.CancelledError):
                await work
            if too_long and not self._started:
                raise AnswerTooLong(seconds=self._limit_s)
        finally:
            reader.leave()
            for task in (work, left, closing):
                task.cancel()
            await asyncio.wait({work, left, closing})

    async def _until_over(
        self, work: asyncio.Task[None], left: asyncio.Task[None], closing: asyncio.Task[bool], send: Send
    ) -> bool:
        """Until the answer is whole, its reader left or the house closes (False); or it has gone on too long (True)."""
        began, told_at, told = time.monotonic(), 0.0, 0
        while True:
            done, _ = await asyncio.wait({work, left, closing}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return False
            now, position = time.monotonic(), self._ticket.position()
            if self._ticket.began is not None and now - self._ticket.began > self._limit_s:
                return True
            patient = now - began > PATIENCE_S and (position != told or now - told_at > HEARTBEAT_S)
            if self._streams and position is not None and patient:
                told_at, told = now, position
                if not self._started:
                    self._started = self._events = True
                    await send({"type": "http.response.start", "status": 200, "headers": [*_SSE]})
                comment = f": position {position}\n\n".encode()
                await send({"type": "http.response.body", "body": comment, "more_body": True})

    async def _work(self, scope: Scope, send: Send) -> None:
        try:
            await self._answer(scope, send)
        except DomicileError as error:
            if not self._events:
                raise
            await self._break_off(error, scope, send)
        except asyncio.CancelledError as cancelled:
            why = of_cancel(cancelled, self._limit_s)
            if self._events and not self._passing and why is not None:  # it still waits, and has been told so
                await self._break_off(why, scope, send)
            raise

    async def _answer(self, scope: Scope, send: Send) -> None:
        async with self._asking() as answer:
            first = await anext(answer.reply.body, b"")
            if self._started:  # the comments have gone before: what would be a header is one of them
                if not answer.reply.content_type.startswith("text/event-stream"):
                    first = b"data: " + first + await whole(answer.reply.body) + b"\n\n"
                first = served_by(answer) + first
            else:
                self._started = True
                self._events = answer.reply.content_type.startswith("text/event-stream")
                await send(start(answer, answer.reply.content_type))
            self._passing = True
            await self._pass(first, answer.reply, scope, send)

    async def _break_off(self, error: DomicileError, scope: Scope, send: Send) -> None:
        """An error as the last event of what has begun."""
        await send({"type": "http.response.body", "body": b"\n\n" + event_of(error, scope), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pass(self, first: bytes, reply: Reply, scope: Scope, send: Send) -> None:
        chunk = first
        try:
            while chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(reply.body, b"")
        except asyncio.CancelledError as cancelled:
            error = of_cancel(cancelled, self._limit_s)
            if self._events and error is not None:
                await self._break_off(error, scope, send)  # an event of its own, even when the last one was cut
            raise
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


def served_by(answer: Answer) -> bytes:
    """Who answers, as a comment of a stream whose headers have gone."""
    return b": served-by " + _header(f"{answer.served_by}; model={answer.model}") + b"\n\n"


def start(answer: Answer, content_type: str, notes: Mapping[str, str] | None = None) -> dict[str, object]:
    """The status line and the headers: what kind of answer, and what must be said about it."""
    said = {"served-by": f"{answer.served_by}; model={answer.model}", **answer.notes, **(notes or {})}
    headers = [(b"content-type", content_type.encode("latin-1"))]
    headers += [(f"x-domicile-{k.lower()}".encode(), _header(v)) for k, v in said.items()]
    if not content_type.startswith("application/json"):
        headers += _SSE[1:]
    return {"type": "http.response.start", "status": answer.reply.status, "headers": headers}


def _header(value: str) -> bytes:
    """A value that cannot end its line: some of them repeat what a client wrote."""
    return "".join(c if c.isprintable() else "?" for c in value[:500]).encode("latin-1", "replace")


def of_cancel(cancelled: asyncio.CancelledError, limit_s: float) -> DomicileError | None:
    """What a reader is told of an answer that we end; nothing when the reader ended it."""
    match cancelled.args:
        case ("closing",):
            return ShuttingDown()
        case ("long",):
            return AnswerTooLong(seconds=limit_s)
        case _:
            return None


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
