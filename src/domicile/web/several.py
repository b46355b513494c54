"""Several answers to one question (`n`): asked one after the other, told as one.

An engine gives at most as many at once as it has slots, a target elsewhere often one; here the number is free. Each
has a seed of its own, so that a seeded request gives the same answers again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from domicile.answering import Answer, Ask, whole
from domicile.engines import Reply

_WHOLE_BYTES = 64 << 20
Answering = Callable[[Ask], AbstractAsyncContextManager[Answer]]


@asynccontextmanager
async def several(answering: Answering, ask: Ask, data: dict[str, Any]) -> AsyncIterator[Answer]:
    """`data["n"]` answers as one reply, streamed or not."""
    count = int(data["n"])
    asks = [replace(ask, body=json.dumps(_one(data, place)).encode()) for place in range(count)]
    async with AsyncExitStack() as turn:  # each gives its turn back before the next one asks for one
        first = await turn.enter_async_context(answering(asks[0]))
        reply = first.reply
        if reply.status >= 400:
            yield first
        elif reply.content_type.startswith("text/event-stream"):
            yield replace(first, reply=Reply(200, reply.content_type, _streamed(answering, first, turn, asks[1:])))
        else:
            yield replace(first, reply=Reply(200, reply.content_type, _gathered(answering, first, turn, asks[1:])))


def _one(data: dict[str, Any], place: int) -> dict[str, Any]:
    told = {**data, "n": 1}
    seed = data.get("seed")
    if isinstance(seed, int) and seed >= 0:
        told["seed"] = seed + place
    return told


async def _gathered(answering: Answering, first: Answer, turn: AsyncExitStack, rest: list[Ask]) -> AsyncIterator[bytes]:
    told = json.loads(await whole(first.reply.body, _WHOLE_BYTES))
    await turn.aclose()
    for place, ask in enumerate(rest, 1):
        async with answering(ask) as answer:
            found = json.loads(await whole(answer.reply.body, _WHOLE_BYTES))
            if "choices" not in found:  # an error: the whole has failed
                yield json.dumps(found).encode()
                return
        told["choices"] += [{**choice, "index": place} for choice in found["choices"]]
        told["usage"] = _added(told.get("usage"), found.get("usage"))
    yield json.dumps(told).encode()


async def _streamed(answering: Answering, first: Answer, turn: AsyncExitStack, rest: list[Ask]) -> AsyncIterator[bytes]:
    usage: dict[str, Any] = {}
    async for event in _events(first.reply, 0, usage):
        yield event
    await turn.aclose()
    for place, ask in enumerate(rest, 1):
        async with answering(ask) as answer:
            async for event in _events(answer.reply, place, usage):
                yield event
    if usage:
        yield b"data: " + json.dumps(usage).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


async def _events(reply: Reply, place: int, usage: dict[str, Any]) -> AsyncIterator[bytes]:
    """One answer's events under its number; its count of tokens is added to the others'."""
    rest = b""
    async for chunk in reply.body:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                continue
            found = json.loads(line[5:])
            if found.get("usage") and not found.get("choices"):
                added = _added(usage.get("usage"), found["usage"])
                usage |= found | {"usage": added}
                continue
            for choice in found.get("choices", ()):
                choice["index"] = place
            yield b"data: " + json.dumps(found).encode() + b"\n\n"


def _added(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any]:
    """The tokens of two answers to one prompt, which is counted once."""
    if not one or not other:
        return dict(one or other or {})
    completion = one.get("completion_tokens", 0) + other.get("completion_tokens", 0)
    return {**one, "completion_tokens": completion, "total_tokens": one.get("prompt_tokens", 0) + completion}
