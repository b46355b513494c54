"""An answer said in another dialect than the engine's: `Relay`, with a `Voice` between the bytes.

The first bytes are awaited before the status line, as the relay does; an error before them has its status, one
after them is the last thing the voice says.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope, Send

from domicile.answering import Answer, Ask, whole
from domicile.dialects.delta import Delta, Reader, Voice, delta_of
from domicile.engines import Reply
from domicile.errors import DomicileError, EngineDied
from domicile.types import Ticket
from domicile.web import asking
from domicile.web.relay import Asking, Relay, of_cancel, served_by, start
from domicile.web.trouble import error_body, house_of, language, shaped

_WHOLE_BYTES = 64 << 20


class Turned(Relay):
    """An ASGI answer: what a model says, in the dialect of a voice."""

    def __init__(
        self,
        asking: Asking,
        closing: asyncio.Event,
        voice: Voice,
        notes: Mapping[str, str] | None = None,
        *,
        ticket: Ticket | None = None,
        limit_s: float = math.inf,
    ) -> None:
        tells = voice.streams and voice.content_type.startswith("text/event-stream")  # lines of JSON know no comments
        super().__init__(asking, closing, ticket=ticket, streams=tells, limit_s=limit_s)
        self._voice = voice
        self._notes = notes or {}

    async def _answer(self, scope: Scope, send: Send) -> None:
        async with self._asking() as answer:
            reply = answer.reply
            if reply.status >= 400:
                await self._refuse(reply.status, _error_in(await whole(reply.body)), scope, send)
                return
            self._voice.served_by = answer.served_by
            deltas = _deltas(answer.model, reply)
            nothing: list[Delta] = []
            first = await anext(deltas, nothing)
            if first and first[0].error is not None:
                await self._refuse(_status(first[0].error), first[0].error, scope, send)
            elif self._voice.streams:
                if self._started:  # comments have gone before: what would be a header is one of them
                    await send({"type": "http.response.body", "body": served_by(answer), "more_body": True})
                else:
                    self._started = True
                    await send(start(answer, self._voice.content_type, self._notes))
                self._passing = True
                await self._say(first, deltas, scope, send)
            else:
                await self._gather(first, deltas, answer, scope, send)

    async def _say(self, first: list[Delta], deltas: AsyncIterator[list[Delta]], scope: Scope, send: Send) -> None:
        voice = self._voice
        out = voice.begin()
        came: list[Delta] | None = first
        try:
            while came is not None and not voice.finished:
                for delta in came:
                    if delta.error is not None:
                        await _last(send, out + voice.failed(delta.error))
                        return
                    out += voice.say(delta)
                if out:
                    await send({"type": "http.response.body", "body": out, "more_body": True})
                    out = b""
                came = await anext(deltas, None)
            out = voice.end()
        except asyncio.CancelledError as cancelled:
            ended = of_cancel(cancelled, self._limit_s)
            if ended is not None:
                await _last(send, voice.failed(error_body(language(scope), ended)["error"]))
            raise
        except DomicileError as error:
            out = voice.failed(error_body(language(scope), error)["error"])
        await _last(send, out)

    async def _gather(
        self, first: list[Delta], deltas: AsyncIterator[list[Delta]], answer: Answer, scope: Scope, send: Send
    ) -> None:
        voice = self._voice
        came: list[Delta] | None = first
        voice.begin()
        while came is not None and not voice.finished:
            for delta in came:
                if delta.error is not None:
                    await self._refuse(_status(delta.error), delta.error, scope, send)
                    return
                voice.say(delta)
            came = await anext(deltas, None)
        body = json.dumps(voice.whole(), ensure_ascii=False).encode("utf-8", "replace")
        self._started = True
        await send(start(answer, "application/json", self._notes))
        await _last(send, body)

    async def _break_off(self, error: DomicileError, scope: Scope, send: Send) -> None:
        await _last(send, self._voice.failed(error_body(language(scope), error)["error"]))

    async def _refuse(self, status: int, error: Mapping[str, Any], scope: Scope, send: Send) -> None:
        """An error before the first word; an event, when a comment has been said already."""
        if self._started:
            await _last(send, self._voice.failed(error))
            return
        response = JSONResponse(shaped(scope, status, {"error": dict(error)}), status)
        await response(scope, _nothing, send)


def turned(request: Request, ask: Ask, voice: Voice, notes: Mapping[str, str] | None = None) -> Turned:
    """The answer to a question, with what the caller said in headers of ours, and its place in the queue."""
    house, ticket = house_of(request), Ticket()
    asked = replace(ask, said={**asking.said_beside(request), **ask.said}, ticket=ticket)
    limit_s = house.settings.answer_limit
    return Turned(lambda: house.answer(asked), house.closing, voice, notes, ticket=ticket, limit_s=limit_s)


async def _deltas(name: str, reply: Reply) -> AsyncIterator[list[Delta]]:
    """What each read of the engine brought. A target that does not stream gives its answer as one piece."""
    try:
        if reply.content_type.startswith("text/event-stream"):
            reader = Reader()
            async for chunk in reply.body:
                yield reader.feed(chunk)
        else:
            found = json.loads(await whole(reply.body, _WHOLE_BYTES))
            if not isinstance(found, dict):
                raise ValueError(type(found).__name__)
            yield [delta_of(found)]
    except (ValueError, AttributeError, TypeError, KeyError) as trouble:  # not OpenAI's dialect after all
        raise EngineDied(name=name, reason="garbled", how=str(trouble)[:200]) from trouble


async def _last(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body})


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _error_in(body: bytes) -> dict[str, Any]:
    """The error of an engine's refusal, whatever it wrote."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        error = body.decode("utf-8", "replace")[:500]
    return error if isinstance(error, dict) else {"message": str(error)}


def _status(error: Mapping[str, Any]) -> int:
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 500
