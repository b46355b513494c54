"""Answers in conversations over HTTP: ask for them, stop them, listen to them from any moment on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.chats import Chats, Wanted, Whole
from domicile.chats.feed import Event
from domicile.chats.wanted import Action
from domicile.chats.words import Chat, Message
from domicile.errors import BadField
from domicile.web import asking, sse
from domicile.web.chats import (
    NAME,
    TEXT,
    bounded,
    chat_shown,
    ids_of,
    message_shown,
    owner,
    parameters_of,
    room,
    strategy_of,
    whole_shown,
)
from domicile.web.trouble import language

_FILES = 32


async def answer(request: Request) -> Response:
    """Begin an answer; it is written here, whoever listens.

    Exactly one of these says to what:
    `{"text": ..., "attachments": [ids], "parent": id}` says something new, below `parent` if wished (else on the branch
    that is shown); `{"edit": id, "text": ...}` says it otherwise, on a branch beside; `{"regenerate": id}` answers
    again, beside; `{"continue": id}` goes on with an answer that was cut. With it, if wished: `model`, or `models` (up
    to four answer side by side), `parameters`, `strategy`, for this answer. Gives the messages that are new or being
    written; what comes next is in `GET .../events`.
    """
    _, data = await asking.json_object(request)
    chats, chat_id, who = room(request), request.path_params["id"], owner(request)
    chats.whole(chat_id, who)
    placed = await chats.answer(chat_id, _wanted(data, chats, chat_id, who), who)
    lang = language(request.scope)
    new = {m.id: message_shown(m, lang) for m in (*placed.new, *placed.writing)}
    whole = chats.whole(chat_id, who)
    return JSONResponse({"chat": chat_shown(request, whole.chat), "messages": list(new.values())}, 202)


async def stop(request: Request) -> Response:
    """Stop what is being written in a conversation, or one message of it: `{"message": id}`. What was said stays."""
    _, data = await asking.json_object(request)
    message = asking.text_of(data, "message", required=False)
    return JSONResponse({"stopped": await room(request).stop(request.path_params["id"], message, owner(request))})


async def events(request: Request) -> Response:
    """What happens in a conversation (SSE), numbered; `Last-Event-ID` goes on after the last one seen.

    `snapshot` comes first, and again to who was away for too long: the chat with all its messages, as `GET` gives it.
    `message`: a message that is new or has changed, whole. `status`: what an answer waits for (`queued` with its
    `position`, `waking`, `reading` with its `progress` from 0 to 1, `writing`). `delta`: more `text` or `reasoning` of
    a message. `chat`: the chat has changed. `forgotten`: messages were deleted. `removed`: the chat was; nothing
    follows. The stream stays open between answers. Any number may listen.
    """
    chats, chat_id, who = room(request), request.path_params["id"], owner(request)
    chats.whole(chat_id, who)

    async def told() -> AsyncIterator[bytes]:
        async for event in chats.follow(chat_id, _after(request), who):
            yield sse.event(event.number, event.name, _shown(request, event))

    return sse.answer(told(), _closing(request))


async def list_events(request: Request) -> Response:
    """Which conversations come, change, begin and end to be answered, and go (SSE): what a list of them listens to.

    `chat`: one that is new or has changed, without its messages. `removed`: its `id`. `imported`: how many came.
    `snapshot` (at the beginning, or after too long an absence) says nothing but that the list is to be read again.
    """
    chats, who = room(request), owner(request)

    async def told() -> AsyncIterator[bytes]:
        async for event in chats.follow_list(_after(request), who):
            yield sse.event(event.number, event.name, _shown(request, event))

    return sse.answer(told(), _closing(request))


def _after(request: Request) -> int | None:
    return sse.last_event_id(request) if "last-event-id" in request.headers else None


def _closing(request: Request) -> Any:
    from domicile.web.trouble import house_of

    return house_of(request).closing


def _shown(request: Request, event: Event) -> Any:
    match event.data:
        case Whole() as whole:
            return whole_shown(request, whole)
        case Message() as message:
            return message_shown(message, language(request.scope))
        case Chat() as chat:
            return chat_shown(request, chat)
        case other:
            return other


def _wanted(data: Mapping[str, Any], chats: Chats, chat_id: str, who: str) -> Wanted:
    actions: dict[str, Action] = {"edit": "edit", "regenerate": "regenerate", "continue": "continue"}
    named = [field for field in actions if data.get(field) is not None]
    if len(named) > 1:
        raise BadField(field=named[1], problem=", ".join(named), reason="chat_one_action")
    action: Action = actions[named[0]] if named else "say"
    message = bounded(data, named[0], NAME) if named else None
    text = bounded(data, "text", TEXT)
    if text is not None and action in {"regenerate", "continue"}:
        raise BadField(field="text", problem=named[0], reason="chat_one_action")
    files = None
    if data.get("attachments") is not None:
        files = chats.named_files(chat_id, ids_of(data, "attachments", _FILES), who)
    model, models = bounded(data, "model", 500), ids_of(data, "models")
    return Wanted(
        action,
        message,
        text or "",
        files,
        bounded(data, "parent", NAME),
        tuple(models or ([model] if model else [])),
        parameters_of(data),
        strategy_of(data),
    )
