"""Conversations over HTTP: the list and its search, one of them with its messages, folders and presets.

What is listened to is `chats_answering`, files come and go by `chats_moved`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.chats import OWNER, Chats, Whole
from domicile.chats.wanted import PARAMETERS
from domicile.chats.words import Chat, Message, path_to
from domicile.config import STRATEGIES, seconds
from domicile.context import WAYS
from domicile.dialects.chat import bad, flag
from domicile.errors import BadField, MissingField, of_code
from domicile.web import asking
from domicile.web.trouble import error_body, house_of, language

NAME = 200
SYSTEM = 100_000
TEXT = 4_000_000
"""Characters of a message: more than any context holds."""
PAGE = (1, 200)
_FILTERS = ("folder", "pinned", "archived")


def room(request: Request) -> Chats:
    return house_of(request).chats


def owner(request: Request) -> str:
    """Whose chats: those of who asks, where the house has accounts."""
    said = request.scope.get("domicile.user")
    return said if isinstance(said, str) and said else OWNER


# -- as they are shown --


def message_shown(message: Message, lang: str) -> dict[str, Any]:
    """A message, its error in the words of whoever reads now."""
    shown = message.public()
    shown["error"] = _error_shown(shown.get("error"), lang)
    return shown


def _error_shown(kept: object, lang: str) -> dict[str, Any] | None:
    """An error that was kept, perhaps by another version or in a file from elsewhere: its code alone, at least."""
    if not isinstance(kept, dict):
        return None
    try:
        known = of_code(kept["code"], **kept["facts"])
        if known is not None:
            shown: dict[str, Any] = error_body(lang, known)["error"]
            return shown
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        pass
    said = str(kept.get("code"))[:80]
    return {"code": said, "message": said, "hint": None}


def chat_shown(request: Request, chat: Chat) -> dict[str, Any]:
    return {**chat.public(), "writing": room(request).writes(chat.id)}


def whole_shown(request: Request, whole: Whole) -> dict[str, Any]:
    """A chat with all its messages, the ids of those on the branch that is shown, and what answers wait for."""
    lang = language(request.scope)
    return {
        **chat_shown(request, whole.chat),
        "messages": [message_shown(m, lang) for m in whole.messages.values()],
        "path": [m.id for m in path_to(whole.messages, whole.chat.leaf)],
        "statuses": room(request).statuses(whole.chat.id),
    }


# -- the list --


async def chats(request: Request) -> Response:
    """Conversations, page by page: pinned ones first, then the newest. `next` is the `?cursor=` of the next page.

    `?q=` looks for words in titles and messages (accents and case aside, the last word by its beginning, `"a phrase"`
    whole); `found` then says where. `?folder=` takes an id or `none`, `?pinned=` and `?archived=` true or false (not
    archived unless asked; both in a search), `?limit=` 1 to 200, 50 unless asked. Temporary chats are never listed.
    """
    query = request.query_params
    limit = _limit(query.get("limit"))
    said = query.get("q")
    filters: dict[str, Any] = {"folder": query.get("folder") or None, "pinned": _truth(query, "pinned")}
    archived = _truth(query, "archived")
    filters["archived"] = archived if archived is not None or said is not None else False
    page = room(request).page(said, owner(request), limit=limit, cursor=query.get("cursor"), **filters)
    shown = []
    for chat in page.chats:
        where = (page.found or {}).get(chat.id)
        found = {"message": where[0], **where[1].public()} if where is not None else None
        shown.append({**chat_shown(request, chat), **({"found": found} if page.found is not None else {})})
    return JSONResponse({"chats": shown, "next": page.next, "total": page.total})


async def create(request: Request) -> Response:
    """A new conversation: `{"title", "folder", "model", "system", "parameters", "strategy", "preset"}`, all if wished.

    `"temporary": true` keeps it in memory alone: it is in no list, and gone when it is deleted or the house closes.
    """
    _, data = await asking.json_object(request)
    values = read_values(data, preset=True)
    made = room(request).create(values, owner(request), temporary=flag(data, "temporary", False) is True)
    return JSONResponse(whole_shown(request, Whole(made, {})), 201)


async def delete_many(request: Request) -> Response:
    """Delete conversations: `{"ids": [...]}`, or `{"all": true}`. Attachments that nobody has any more go with them."""
    _, data = await asking.json_object(request)
    if flag(data, "all", False) is True:
        ids = room(request).ids(owner(request))
    else:
        ids = ids_of(data, "ids")
        if not ids:
            raise MissingField(field="ids")
    gone, freed = await room(request).remove(ids, owner(request))
    return JSONResponse({"deleted": gone, "freed_bytes": freed})


# -- one of them --


async def chat(request: Request) -> Response:
    """A conversation with all its messages as a tree: those of one `parent` are branches of one another.

    `path` holds the ids of the branch that is shown, `statuses` what answers wait for. Messages that are being written
    stand as they are at this moment; `GET .../events` begins with the same, and goes on.
    """
    return JSONResponse(whole_shown(request, room(request).whole(request.path_params["id"], owner(request))))


async def change(request: Request) -> Response:
    """Change a conversation.

    `title` (empty: its first line again), `folder` (an id, or null), `pinned`, `archived`, `model`, `system`,
    `parameters`, `strategy`; `leaf` shows the newest branch through that message.
    """
    _, data = await asking.json_object(request)
    changed = room(request).change(request.path_params["id"], read_values(data, leaf=True), owner(request))
    return JSONResponse(chat_shown(request, changed))


async def delete(request: Request) -> Response:
    """Delete a conversation (close it, if it is temporary): what is being written stops, files nobody has go too."""
    chat_id = request.path_params["id"]
    room(request).whole(chat_id, owner(request))
    gone, freed = await room(request).remove([chat_id], owner(request))
    return JSONResponse({"deleted": gone, "freed_bytes": freed})


async def fork(request: Request) -> Response:
    """A new conversation that begins with a branch of this one, up to `{"message": id}`."""
    _, data = await asking.json_object(request)
    message = asking.text_of(data, "message", required=False)
    made = room(request).fork(request.path_params["id"], message, owner(request))
    return JSONResponse(whole_shown(request, room(request).whole(made.id, owner(request))), 201)


async def say(request: Request) -> Response:
    """Add messages to the branch that is shown without asking a model: `{"messages": [{"role", "text"}]}`.

    Of an answer, `model` says who gave it and `served_by` where: `tab`, the name of a target.
    """
    _, data = await asking.json_object(request)
    listed = data.get("messages")
    if not isinstance(listed, list) or not 0 < len(listed) <= 1000:
        raise bad("messages", listed, "messages")
    said = []
    for place, one in enumerate(listed):
        where = f"messages[{place}]"
        if not isinstance(one, dict):
            raise bad(where, one, "object")
        if one.get("role") not in {"user", "assistant"}:
            raise _one_of(f"{where}.role", one.get("role"), ("user", "assistant"))
        model = bounded(one, "model", NAME)
        served = bounded(one, "served_by", NAME)
        known = {"model": model, **({"served_by": served} if served else {})} if model else {}
        facts = known if one["role"] == "assistant" else {}
        text = bounded(one, "text", TEXT) or ""
        said.append({"role": one["role"], "text": text, "reasoning": bounded(one, "reasoning", TEXT), "facts": facts})
    made = room(request).say(request.path_params["id"], said, owner(request))
    return JSONResponse({"messages": [message_shown(m, language(request.scope)) for m in made]}, 201)


async def edit_message(request: Request) -> Response:
    """Change the words of a message where it stands: `{"text"}`. `answer` with `edit` makes a new branch instead."""
    _, data = await asking.json_object(request)
    text = bounded(data, "text", TEXT)
    if text is None:
        raise MissingField(field="text")
    params = request.path_params
    changed = room(request).edit(params["id"], params["message"], text, owner(request))
    return JSONResponse(message_shown(changed, language(request.scope)))


async def delete_message(request: Request) -> Response:
    """Delete a message and all that followed from it."""
    params = request.path_params
    gone, freed = await room(request).forget(params["id"], params["message"], owner(request))
    return JSONResponse({"deleted": gone, "freed_bytes": freed})


# -- folders and presets --


async def folders(request: Request) -> Response:
    """Folders, by name, each with its number of chats."""
    return JSONResponse({"folders": [f.public() for f in room(request).folders.list(owner(request))]})


async def add_folder(request: Request) -> Response:
    """A new folder: `{"name"}`."""
    _, data = await asking.json_object(request)
    return JSONResponse(room(request).folders.add(_name(data), owner(request)).public(), 201)


async def rename_folder(request: Request) -> Response:
    """Another name for a folder: `{"name"}`."""
    _, data = await asking.json_object(request)
    changed = room(request).folders.rename(request.path_params["id"], _name(data), owner(request))
    return JSONResponse(changed.public())


async def delete_folder(request: Request) -> Response:
    """Delete a folder; its chats stay, in none."""
    return JSONResponse({"deleted": room(request).folders.remove(request.path_params["id"], owner(request)).public()})


async def presets(request: Request) -> Response:
    """Named system prompts and parameters."""
    return JSONResponse({"presets": [p.public() for p in room(request).presets.list(owner(request))]})


async def add_preset(request: Request) -> Response:
    """A new preset: `{"name", "system"?, "parameters"?, "model"?}`."""
    _, data = await asking.json_object(request)
    return JSONResponse(room(request).presets.add(_preset(data, _name(data)), owner(request)).public(), 201)


async def change_preset(request: Request) -> Response:
    """Change what is given of a preset."""
    _, data = await asking.json_object(request)
    values = _preset(data, _name(data) if "name" in data else None)
    return JSONResponse(room(request).presets.change(request.path_params["id"], values, owner(request)).public())


async def delete_preset(request: Request) -> Response:
    """Delete a preset; chats that were made with it stay as they are."""
    return JSONResponse({"deleted": room(request).presets.remove(request.path_params["id"], owner(request)).public()})


def _preset(data: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    values = {k: v for k, v in read_values(data).items() if k in {"system", "parameters", "model"}}
    return {**values, **({"name": name} if name is not None else {})}


def _name(data: Mapping[str, Any]) -> str:
    said = bounded(data, "name", NAME)
    if said is None:
        raise MissingField(field="name")
    if not said.strip():
        raise bad("name", said, "text")
    return " ".join(said.split())


# -- reading what is given --


def read_values(data: Mapping[str, Any], *, preset: bool = False, leaf: bool = False) -> dict[str, Any]:
    """What is given of a chat, checked. Raises `BadField`."""
    found: dict[str, Any] = {}
    for field, most in (("title", NAME), ("folder", NAME), ("model", 500), ("system", SYSTEM)):
        if field in data:
            said = bounded(data, field, most)
            found[field] = " ".join((said or "").split()) if field == "title" else said or None
    for field in ("pinned", "archived"):
        if field in data:
            found[field] = flag(data, field, False)
    if "parameters" in data:
        found["parameters"] = parameters_of(data)
    if "strategy" in data:
        found["strategy"] = strategy_of(data)
    for field, wished in (("preset", preset), ("leaf", leaf)):
        if wished and data.get(field) is not None:
            found[field] = bounded(data, field, NAME)
    return found


def parameters_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling and what else a chat may set, each by its name; null takes one away. Raises `BadField`."""
    said = data.get("parameters")
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise bad("parameters", said, "object")
    unknown = sorted(set(said) - PARAMETERS)
    if unknown:
        raise _one_of("parameters", unknown[0], sorted(PARAMETERS))
    asking.check_sampling(said)
    context, thinking, tokens = said.get("context"), said.get("thinking"), said.get("num_ctx")
    if context is not None and context not in WAYS:
        raise _one_of("context", context, WAYS)
    if thinking is not None and not (isinstance(thinking, bool) or thinking in {"low", "medium", "high"}):
        raise _one_of("thinking", thinking, ("true", "false", "low", "medium", "high"))
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens < 10**8):
        raise bad("num_ctx", tokens, "number")
    if said.get("keep_alive") is not None:
        try:
            seconds(said["keep_alive"])
        except ValueError as trouble:
            raise bad("keep_alive", said["keep_alive"], "number") from trouble
    return {k: v for k, v in said.items() if v is not None}


def strategy_of(data: Mapping[str, Any]) -> str | None:
    """Who may answer: `home`, `home-then-away`, `away`; null for the house's own. Raises `BadField`."""
    said = data.get("strategy")
    if said is not None and said not in STRATEGIES:
        raise _one_of("strategy", said, STRATEGIES)
    return said


def bounded(data: Mapping[str, Any], field: str, most: int) -> str | None:
    """A text of at most so many characters; None where it is not given."""
    said = data.get(field)
    if said is None:
        return None
    if not isinstance(said, str):
        raise bad(field, said, "text")
    if len(said) > most:
        raise BadField(field=field, problem=i18n.number("en", len(said)), reason="too_many_characters", limit=most)
    return said


def ids_of(data: Mapping[str, Any], field: str, most: int = 100_000) -> list[str]:
    """A list of ids; empty where it is not given."""
    said = data.get(field)
    if said is None:
        return []
    if not isinstance(said, list) or len(said) > most or not all(isinstance(x, str) for x in said):
        raise bad(field, said, "list")
    return list(dict.fromkeys(said))


def _one_of(field: str, said: object, allowed: Any) -> BadField:
    return BadField(field=field, problem=str(said)[:80], reason="one_of", allowed=", ".join(allowed))


def _limit(said: str | None) -> int:
    low, high = PAGE
    if said is None:
        return 50
    if not (said.isdigit() and len(said) < 5 and low <= int(said) <= high):
        raise BadField(field="limit", problem=said[:40], reason="range", low=low, high=high)
    return int(said)


def _truth(query: Mapping[str, str], field: str) -> bool | None:
    said = query.get(field)
    if said is None or said == "":
        return None
    if said not in {"true", "false", "1", "0"}:
        raise bad(field, said, "flag")
    return said in {"true", "1"}
