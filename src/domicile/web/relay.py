"""A model's answer, passed on as it comes: bytes untouched, and the three things that must be said about them.

The first bytes are awaited before the status line, so that an early failure keeps its status. A model that dies
midway becomes an error event. A caller who leaves stops the generation: the connection to the engine is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from starlette.types import Receive, Scope, Send

from domicile.engines import Awake, Reply
from domicile.errors import ContextTooLong, DomicileError, ShuttingDown
from domicile.types import Installed
from domicile.web.trouble import event_of

ROOM_TO_ANSWER = 1024
"""Tokens left for the answer in the context that an error proposes."""
SLOW_READER_S = 60.0
"""A reader who takes nothing for this long is cut, so that the slot serves others."""

Session = AbstractAsyncContextManager[tuple[Installed, Awake]]


class Relay:
    """An ASGI answer: ask an awake model, and pass its reply on."""

    def __init__(self, session: Callable[[], Session], path: str, body: bytes, closing: asyncio.Event) -> None:
        self._session = session
        self._path = path
        self._body = body
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._work(scope, send))
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
            for task in (work, left, closing):
                task.cancel()
            await asyncio.wait({work, left, closing})

    async def _work(self, scope: Scope, send: Send) -> None:
        async with self._session() as (model, awake), awake.ask(self._path, self._body) as reply:
            if reply.status >= 400:
                await self._pass_error(model, reply, send)
                return
            first = await anext(reply.body, b"")
            await send(_start(reply, f"home; model={model.name}"))
            await self._pass(first, reply, scope, send)

    async def _pass(self, first: bytes, reply: Reply, scope: Scope, send: Send) -> None:
        streams = reply.content_type.startswith("text/event-stream")
        chunk = first
        try:
            while chunk:
                async with asyncio.timeout(SLOW_READER_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(reply.body, b"")
        except TimeoutError:
            return
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

    async def _pass_error(self, model: Installed, reply: Reply, send: Send) -> None:
        """The engine refused: its own words, but for the errors we know better."""
        body = await _whole(reply.body)
        error = _known_error(model, body)
        if error is not None:
            raise error
        await send(_start(reply, f"home; model={model.name}"))
        await send({"type": "http.response.body", "body": body})


def _start(reply: Reply, served_by: str) -> dict[str, object]:
    headers = [
        (b"content-type", reply.content_type.encode("latin-1")),
        (b"x-domicile-served-by", served_by.encode("latin-1", "replace")),
    ]
    if reply.content_type.startswith("text/event-stream"):
        headers += [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(body: AsyncIterator[bytes], limit: int = 1 << 20) -> bytes:
    whole = bytearray()
    async for chunk in body:
        whole += chunk[: limit - len(whole)]
    return bytes(whole)


def _known_error(model: Installed, body: bytes) -> DomicileError | None:
    try:
        error = json.loads(body)["error"]
        if error["type"] == "exceed_context_size_error":
            prompt, context = int(error["n_prompt_tokens"]), int(error["n_ctx"])
            enough = -(-(prompt + ROOM_TO_ANSWER) // 1024) * 1024
            return ContextTooLong(name=model.name, prompt=prompt, context=context, enough=enough)
    except (ValueError, KeyError, TypeError):
        pass
    return None
