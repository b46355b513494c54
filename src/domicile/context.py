"""No silent loss of context: a prompt that is too long is refused with both numbers, or whole messages are left out
and said.

The engine counts with the model's own template before it reads anything and refuses what its context cannot hold; it
never shifts a context that is full. Here: a prompt that is hopelessly long is refused without being tokenised whole,
and a caller who asked for it (`trim`) loses the oldest turns, never the system prompt nor half a tool exchange. Knows
the engine by its `Prompts`; knows no dialect but OpenAI's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile.engines import Prompts, Reply
from domicile.errors import BadField, ContextTooLong

WAYS = ("refuse", "trim")
ROOM_TO_ANSWER = 1024
"""Tokens left for the answer: at most, and never more than a quarter of the context unless the caller says so."""
_PIECE = 32 * 1024
"""Characters tokenised at a time when a long text is measured."""
_CUT_COSTS = 4
"""Tokens that one cut between two pieces may add at most, with a margin."""
_HOPEFUL = 4
"""Bytes for each token of context below which a prompt is left to the engine: it counts and refuses exactly."""
_SHORT_BYTES = 64 * 1024
_PARAMETERS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was left out of a conversation, in messages: `kept + dropped == sent`, always."""

    sent: int
    kept: int

    @property
    def dropped(self) -> int:
        return self.sent - self.kept

    def header(self) -> str:
        return f"sent={self.sent}; kept={self.kept}; dropped={self.dropped}"

    def public(self) -> dict[str, int]:
        return {"messages_sent": self.sent, "messages_kept": self.kept, "messages_dropped": self.dropped}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A body that the context holds; `dropped` when something had to be left out for that."""

    body: bytes
    dropped: Dropped | None = None


@dataclass(frozen=True, slots=True)
class _Length:
    """Tokens of a prompt; a proven overflow may be an estimate (`exact` is False)."""

    tokens: int
    exact: bool = True


def way_of(given: object, default: str) -> str:
    """What a caller wants of a prompt that is too long: `refuse` or `trim`. Raises `BadField`."""
    if given is None:
        return default
    if given not in WAYS:
        shown = json.dumps(given, ensure_ascii=False, default=str)[:80]
        raise BadField(field="context", problem=shown, reason="one_of", allowed=", ".join(WAYS))
    return str(given)


async def fitted(prompts: Prompts | None, name: str, path: str, body: bytes, way: str) -> Fitted:
    """The body, or what of it the context holds. Raises `ContextTooLong` with both numbers."""
    context = await prompts.context() if prompts is not None else None
    if prompts is None or context is None:
        return Fitted(body)
    if way == "refuse" and len(body) <= max(_SHORT_BYTES, _HOPEFUL * context):
        return Fitted(body)  # the engine's own count is exact and costs nothing here
    data = json.loads(body)
    length = await _measured(prompts, path, body, data, context)
    if length is None:
        return Fitted(body)  # the engine has its own objection: let it speak
    if way == "trim" and isinstance(data.get("messages"), list):
        return await _trimmed(prompts, name, path, body, length, context)
    if length.tokens >= context:
        raise too_long(name, length.tokens, context, None if length.exact else "estimated")
    return Fitted(body)


async def _trimmed(prompts: Prompts, name: str, path: str, body: bytes, length: _Length, context: int) -> Fitted:
    data = json.loads(body)
    limit = context - room_to_answer(data, context)
    if length.tokens <= limit:
        return Fitted(body)
    messages = data["messages"]
    units = droppable(messages)
    kept: bytes | None = None
    low, high = 1, len(units)  # the fewest units to leave out, by halving: a shorter conversation is never longer
    while low <= high:
        middle = (low + high) // 2
        gone = {index for unit in units[:middle] for index in unit}
        candidate = _without(data, gone)
        found = await _measured(prompts, path, candidate, json.loads(candidate), limit)
        if found is None:
            return Fitted(body)
        if found.tokens <= limit:
            kept, high = candidate, middle - 1
        else:
            low, length = middle + 1, found
    if kept is None:
        if length.tokens >= context:
            alone = "last" if units else None
            raise too_long(name, length.tokens, context, alone if length.exact else "estimated")
        if not units:
            return Fitted(body)
        # It fits, with less room for the answer than one would wish.
        kept = _without(data, {index for unit in units for index in unit})
    return Fitted(kept, Dropped(len(messages), len(json.loads(kept)["messages"])))


def droppable(messages: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """What may be left out, oldest first, each part as a whole: places in the list.

    A turn is what a person said and everything until they speak again, so that roles still alternate. Of the last
    turn only what tools answered earlier may go, each call with all its results. Instructions always stay.
    """
    speaks = [i for i, m in enumerate(messages) if m.get("role") == "user"]
    last = speaks[-1] if speaks else 0
    turns: list[list[int]] = []
    for index, message in enumerate(messages[:last]):
        if message.get("role") in {"system", "developer"}:
            continue
        if message.get("role") == "user" or not turns:
            turns.append([])
        turns[-1].append(index)
    exchanges: list[list[int]] = []
    for index in range(last, len(messages)):
        role = messages[index].get("role")
        if role == "assistant":
            exchanges.append([index])
        elif role in {"tool", "function"} and exchanges:
            exchanges[-1].append(index)
    # The newest exchange is what the model is to answer now.
    return turns + exchanges[:-1]


def room_to_answer(data: Mapping[str, Any], context: int) -> int:
    """Tokens to leave for the answer: what was asked for, within half the context."""
    asked = next((data[p] for p in _PARAMETERS if isinstance(data.get(p), int) and data[p] > 0), None)
    return min(asked, context // 2) if asked is not None else min(ROOM_TO_ANSWER, context // 4)


def too_long(name: str, prompt: int, context: int, reason: str | None = None) -> ContextTooLong:
    """The error, with a context that would do."""
    enough = -(-(prompt + ROOM_TO_ANSWER) // 1024) * 1024
    return ContextTooLong(name=name, prompt=prompt, context=context, enough=enough, reason=reason)


# -- measuring --


async def _measured(prompts: Prompts, path: str, body: bytes, data: Mapping[str, Any], limit: int) -> _Length | None:
    """How long a prompt is. A long one is read in pieces until it is proven to be beyond the limit, so that five
    megabytes are refused as fast as the context is long; the rest is then estimated by what was read."""
    total = sum(len(text) for text in _texts(data))
    if total > max(_SHORT_BYTES, _HOPEFUL * limit):
        tokens = seen = cuts = 0
        for piece in _pieces(data):
            counted = await prompts.count_text(piece)
            if counted is None:
                return None
            tokens, seen, cuts = tokens + counted, seen + len(piece), cuts + 1
            if tokens - _CUT_COSTS * cuts >= limit + 1:
                return _Length(max(tokens, round(tokens * total / seen)), exact=seen == total and cuts == 1)
    counted = await prompts.count(path, body)
    return None if counted is None else _Length(counted)


def _texts(data: Mapping[str, Any]) -> Iterator[str]:
    """Every text of a prompt, in order; pictures and sounds are not text."""
    prompt = data.get("prompt")
    if isinstance(prompt, str):
        yield prompt
    for message in data.get("messages") or ():
        content = message.get("content")
        for part in content if isinstance(content, list) else (content,):
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text


def _pieces(data: Mapping[str, Any]) -> Iterator[str]:
    for text in _texts(data):
        for start in range(0, len(text), _PIECE):
            yield text[start : start + _PIECE]


def _without(data: Mapping[str, Any], gone: set[int]) -> bytes:
    messages = [m for i, m in enumerate(data["messages"]) if i not in gone]
    rest = {key: value for key, value in data.items() if key != "context"}
    return json.dumps({**rest, "messages": messages}, ensure_ascii=False).encode()


# -- saying it --


def said_in(reply: Reply, dropped: Dropped) -> Reply:
    """The reply with what was dropped in its usage (`usage.domicile`) and, streamed, in its last chunk
    (`domicile`)."""
    if reply.status >= 400:
        return reply
    streams = reply.content_type.startswith("text/event-stream")
    body = _said_in_events(reply.body, dropped) if streams else _said_in_whole(reply.body, dropped)
    return Reply(reply.status, reply.content_type, body)


async def _said_in_whole(body: AsyncIterator[bytes], dropped: Dropped) -> AsyncIterator[bytes]:
    whole = b"".join([chunk async for chunk in body])
    yield _with(whole, dropped) or whole


async def _said_in_events(body: AsyncIterator[bytes], dropped: Dropped) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in body:
        *events, rest = (rest + chunk).split(b"\n\n")
        if events:
            yield b"".join(_event(event, dropped) + b"\n\n" for event in events)
    if rest:
        yield rest


def _event(event: bytes, dropped: Dropped) -> bytes:
    last = b'"usage"' in event or (b'"finish_reason":' in event and b'"finish_reason":null' not in event)
    changed = _with(event[len(b"data: ") :], dropped) if last and event.startswith(b"data: ") else None
    return b"data: " + changed if changed else event


def _with(said: bytes, dropped: Dropped) -> bytes | None:
    try:
        data = json.loads(said)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    note = {"context": dropped.public()}
    if isinstance(data.get("usage"), dict):
        data["usage"]["domicile"] = note
    data["domicile"] = note
    return json.dumps(data, ensure_ascii=False).encode()
