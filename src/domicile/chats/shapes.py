"""Conversations as files: our own JSON, which comes back as it left, and Markdown for people.

`{"domicile": "chats", "version": 1, "folders": [...], "presets": [...], "chats": [...], "attachments": [...]}`; a chat
has its messages as a tree, an attachment its bytes in base64. What came from outside is checked field by field: an
import writes nothing that the house would not write by itself. Knows no table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from domicile.chats.reading import clean_name
from domicile.chats.words import (
    FACTS,
    Attachment,
    AttachmentKind,
    Chat,
    Message,
    State,
    newest_leaf,
    path_to,
    title_of,
)
from domicile.errors import BadField

VERSION = 1
TITLE_CHARACTERS = 200
TEXT_CHARACTERS = 4_000_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Came:
    """What a file holds, read and checked."""

    chats: list[tuple[Chat, list[Message]]] = field(default_factory=list)
    files: dict[str, tuple[Attachment, bytes]] = field(default_factory=dict)
    """By id, of attachments whose bytes came along."""
    folders: dict[str, str] = field(default_factory=dict)
    """Names by id."""
    presets: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Title or place of what cannot be read, and why: a key of `BadField`."""


# -- ours, out --


def head(folders: Sequence[Mapping[str, Any]], presets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What stands before the chats of an export."""
    return {
        "domicile": "chats",
        "version": VERSION,
        "exported_at": time.time(),
        "folders": list(folders),
        "presets": list(presets),
    }


def chat_out(chat: Chat, messages: Sequence[Message]) -> dict[str, Any]:
    """A chat with its messages; attachments by id."""
    return {
        **{k: v for k, v in chat.public().items() if k != "temporary"},
        "titled": chat.titled,
        "messages": [
            {
                "id": m.id,
                "parent": m.parent,
                "role": m.role,
                "text": m.text,
                "reasoning": m.reasoning,
                "tool_calls": [dict(c) for c in m.calls],
                "state": m.state,
                "created_at": m.created_at,
                "attachments": [a.id for a in m.attachments],
                "facts": dict(m.facts),
            }
            for m in messages
        ],
    }


def attachment_out(attachment: Attachment, data: bytes | None) -> dict[str, Any]:
    """An attachment; `data` is null where its file is gone or was not asked for."""
    told = {**attachment.public(), "text": attachment.text, "facts": dict(attachment.facts)}
    return {**told, "data": None if data is None else base64.b64encode(data).decode()}


def markdown(chat: Chat, messages: Mapping[str, Message], names: Mapping[str, str]) -> str:
    """The branch that is shown, for people. `names`: `user`, `system`, `reasoning`, `file` in the reader's language."""
    lines = [f"# {chat.title or chat.id}", ""]
    if chat.system:
        lines += [f"> **{names['system']}**", ">", *(f"> {line}" for line in chat.system.splitlines()), ""]
    for message in path_to(messages, chat.leaf):
        who = names["user"] if message.role == "user" else str(message.facts.get("model") or "assistant")
        served = message.facts.get("served_by")
        lines += [f"## {who}" + (f" ({served})" if served not in {None, "home"} else ""), ""]
        lines += [f"- {names['file']} {a.name}" for a in message.attachments] + ([""] if message.attachments else [])
        if message.reasoning:
            summary = f"<summary>{names['reasoning']}</summary>"
            lines += ["<details>", summary, "", message.reasoning.strip(), "", "</details>", ""]
        lines += [message.text.strip(), ""] if message.text.strip() else []
    return "\n".join(lines).rstrip() + "\n"


# -- ours, in --


def ours(data: Mapping[str, Any]) -> Came:
    """Our own export, read. Raises `BadField` for a later version; single chats that are wrong are left out."""
    if data.get("version") != VERSION:
        raise BadField(field="version", problem=json.dumps(data.get("version"))[:40], reason="chats_version")
    came = Came()
    for said in _dicts(data.get("folders")):
        if _is_id(said.get("id")) and isinstance(said.get("name"), str) and said["name"].strip():
            came.folders[said["id"]] = said["name"].strip()[:TITLE_CHARACTERS]
    came.presets.extend(s for s in map(_preset, _dicts(data.get("presets"))) if s is not None)
    for said in _dicts(data.get("attachments")):
        read = _attachment(said)
        if read is None:
            came.left_out.append((str(said.get("name"))[:80], "attachment"))
        else:
            came.files[read[0].id] = read
    for place, said in enumerate(data.get("chats") or ()):
        try:
            came.chats.append(_chat(said, came))
        except (TypeError, ValueError, KeyError, AttributeError) as trouble:
            title = said.get("title") if isinstance(said, dict) else None
            came.left_out.append((str(title or f"chats[{place}]")[:80], str(trouble)[:120]))
    return came


def _chat(said: Mapping[str, Any], came: Came) -> tuple[Chat, list[Message]]:
    messages: dict[str, Message] = {}
    for one in said["messages"]:
        message = _message(one, came)
        if message.id in messages or (message.parent is not None and message.parent not in messages):
            raise ValueError("parent")  # a tree: parents before children, no id twice
        messages[message.id] = message
    if not _is_id(said["id"]):
        raise ValueError("id")
    folder, leaf = said.get("folder"), said.get("leaf")
    chat = Chat(
        said["id"],
        text(said.get("title"))[:TITLE_CHARACTERS],
        moment(said.get("created_at")),
        moment(said.get("updated_at")),
        folder=folder if folder in came.folders else None,
        pinned=said.get("pinned") is True,
        archived=said.get("archived") is True,
        titled=said.get("titled") is True,
        model=_or_none(said.get("model")),
        system=_or_none(said.get("system")),
        parameters=_table(said.get("parameters")),
        strategy=said.get("strategy") if said.get("strategy") in {"home", "home-then-away", "away"} else None,
        leaf=leaf if leaf in messages else newest_leaf(messages, None),
    )
    return chat, list(messages.values())


def _message(said: Mapping[str, Any], came: Came) -> Message:
    role, state = said["role"], said.get("state", "done")
    if role not in {"user", "assistant"} or not _is_id(said["id"]) or state not in get_args(State):
        raise ValueError(f"role, id or state: {role}"[:80])
    attachments = tuple(came.files[i][0] for i in said.get("attachments") or () if i in came.files)
    calls = tuple(c for c in said.get("tool_calls") or () if isinstance(c, dict))
    facts = {k: v for k, v in _table(said.get("facts")).items() if k in FACTS}
    return Message(
        said["id"],
        said.get("parent"),
        role,
        text(said.get("text")),
        moment(said.get("created_at")),
        reasoning=text(said.get("reasoning")),
        calls=calls,
        state="cut" if state == "writing" else state,
        attachments=attachments,
        facts=facts,
    )


def _attachment(said: Mapping[str, Any]) -> tuple[Attachment, bytes] | None:
    try:
        data = base64.b64decode(said["data"], validate=True)
        name, kind, media = clean_name(said["name"]), said["kind"], said["media_type"]
        good = _is_id(said["id"]) and kind in get_args(AttachmentKind) and re.fullmatch(r"[\w.+-]+/[\w.+-]+", media)
        if not good or hashlib.sha256(data).hexdigest() != said["sha256"]:
            return None
        read = said.get("text")
        facts = {k: v for k, v in _table(said.get("facts")).items() if k in {"pages", "pages_read", "cut"}}
        held = text(read) if isinstance(read, str) else None
        at = moment(said.get("created_at"))
        return Attachment(said["id"], said["sha256"], name, media, kind, len(data), at, held, facts), data
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        return None


def _preset(said: Mapping[str, Any]) -> dict[str, Any] | None:
    name = said.get("name")
    if not isinstance(name, str) or not name.strip():
        return None
    system, model = _or_none(said.get("system")), _or_none(said.get("model"))
    parameters = _table(said.get("parameters"))
    return {"name": name.strip()[:TITLE_CHARACTERS], "model": model, "system": system, "parameters": parameters}


# -- what every reader of a file needs --


def chat_made(
    chat_id: str,
    title: str,
    messages: Mapping[str, Message],
    leaf: str | None,
    created_at: float,
    updated_at: float,
    *,
    system: str | None = None,
    model: str | None = None,
    pinned: bool = False,
    archived: bool = False,
) -> tuple[Chat, list[Message]]:
    """A chat of another tool, with its messages; parents come before their children, whatever their order was."""
    below: dict[str | None, list[Message]] = {}
    for message in messages.values():
        below.setdefault(message.parent, []).append(message)
    ordered: dict[str, Message] = {}
    for top in sorted(messages.values(), key=lambda m: m.parent in messages):
        # Those without a parent here come first; whoever is left after them stands in a circle, which is cut.
        waiting = [] if top.id in ordered else [replace(top, parent=None)]
        while waiting:
            message = waiting.pop()
            ordered[message.id] = message
            waiting += [m for m in reversed(below.get(message.id, ())) if m.id not in ordered]
    shown = leaf if leaf in ordered else newest_leaf(ordered, None)
    path = path_to(ordered, shown)
    first = next((m.text for m in path if m.role == "user"), "")
    named = title.strip()[:TITLE_CHARACTERS]
    chat = Chat(
        chat_id,
        named or title_of(first),
        created_at,
        updated_at,
        titled=bool(named),
        model=model,
        system=system,
        pinned=pinned,
        archived=archived,
        leaf=shown,
    )
    return chat, list(ordered.values())


def foreign_id(kind: Literal["chat", "message"], *said: object) -> str:
    """The id here of a thing of another tool: the same each time it is taken in."""
    return f"{kind}-{hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:20]}"


def text(value: object) -> str:
    """A text without what is no character (a lone surrogate cannot be kept)."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS:
        raise ValueError("text")
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def moment(value: object) -> float:
    """Seconds since the epoch; now for what is none. Milliseconds and nanoseconds, as some tools write, are seen."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return time.time()
    while value > 1e11:
        value /= 1000
    return float(value)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(_ID.fullmatch(value)) and not value.startswith("temp-")


def _or_none(value: object) -> str | None:
    return text(value) or None


def _table(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [x for x in value if isinstance(x, dict)] if isinstance(value, list) else []
