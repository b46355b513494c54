"""Server-sent events: numbered, JSON in every one, resumable by `Last-Event-ID`, with a heartbeat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

HEARTBEAT_S = 15.0


def last_event_id(request: Request) -> int:
    """The number after which a listener wants to go on; 0 for one that is new."""
    said = request.headers.get("last-event-id", "")
    return int(said) if said.isdigit() and len(said) < 16 else 0


def event(number: int | None, name: str, data: Any) -> bytes:
    """One event. JSON holds no line breaks, so nothing in it can forge another. Without a number it changes nothing to
    where a listener goes on."""
    return f"{_id(number)}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def markup(number: int | None, name: str, fragment: str) -> bytes:
    """One event that carries a fragment of HTML: a line of data for each of its lines."""
    lines = "".join(f"data: {line}\n" for line in fragment.splitlines() or [""])
    return f"{_id(number)}event: {name}\n{lines}\n".encode()


def _id(number: int | None) -> str:
    return "" if number is None else f"id: {number}\n"


def answer(events: AsyncIterator[bytes], closing: asyncio.Event) -> StreamingResponse:
    """A stream of events, with a comment when nothing came for a while; ends when the house closes."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_with_heartbeat(events, closing), media_type="text/event-stream", headers=headers)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events, b"")


async def _with_heartbeat(events: AsyncIterator[bytes], closing: asyncio.Event) -> AsyncIterator[bytes]:
    end = asyncio.create_task(closing.wait())
    upcoming: asyncio.Task[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.create_task(_next(events))
            await asyncio.wait({upcoming, end}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if upcoming.done():
                if not (chunk := upcoming.result()):
                    return
                upcoming = None
                yield chunk
            elif end.done():
                return
            else:
                yield b": still here\n\n"
    finally:
        end.cancel()
        if upcoming is not None:
            upcoming.cancel()
