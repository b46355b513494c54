"""Conversations that other tools exported, as ours: ChatGPT's `conversations.json` and Open WebUI's chats.

ChatGPT: a list of conversations, each a `mapping` of nodes (`message`, `parent`, `children`) with a `current_node`.
Open WebUI: a list of records whose `chat.history` holds `messages` by id (`parentId`, `childrenIds`) and a `currentId`.
Both are trees, and stay trees. What was no talk between person and model (tools, hidden instructions) is passed over;
its children join its parent. An id here is made from the id there: the same file taken in twice brings nothing twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from domicile.chats import shapes
from domicile.chats.shapes import Came, chat_made, foreign_id, moment, text
from domicile.chats.words import Chat, Message
from domicile.errors import BadField

_ASIDE = re.compile(r"<details type=\"reasoning\"[^>]*>\s*<summary>.*?</summary>(.*?)</details>\s*", re.DOTALL)


def read(data: object) -> Came:
    """Whatever file of chats this is. Raises `BadField` for none that is known."""
    if isinstance(data, dict) and data.get("domicile") == "chats":
        return shapes.ours(data)
    listed = data if isinstance(data, list) else [data]
    records = [x for x in listed if isinstance(x, dict)]
    reader = next((r for fits, r in READERS if records and fits(records[0])), None)
    if reader is None:
        raise BadField(field="chats", problem=json.dumps(data, default=str)[:80], reason="chats_file")
    came = Came()
    for place, said in enumerate(records):
        try:
            chat, messages = reader(said)
            if messages:
                came.chats.append((chat, messages))
        except (TypeError, ValueError, KeyError, AttributeError) as trouble:
            came.left_out.append((str(said.get("title") or f"[{place}]")[:80], str(trouble)[:120]))
    return came


# -- ChatGPT --


def _is_chatgpt(said: Mapping[str, Any]) -> bool:
    return isinstance(said.get("mapping"), dict)


def _chatgpt(said: Mapping[str, Any]) -> tuple[Chat, list[Message]]:
    nodes: dict[str, dict[str, Any]] = {k: v for k, v in said["mapping"].items() if isinstance(v, dict)}
    origin = said.get("conversation_id") or said.get("id") or [said.get("title"), said.get("create_time")]
    chat_id = foreign_id("chat", "chatgpt", origin)
    told = {key: _chatgpt_message(node) for key, node in nodes.items()}
    messages: dict[str, Message] = {}
    began = moment(said.get("create_time"))
    for key, found in told.items():
        if found is None:
            continue
        role, words, facts, at = found
        made = foreign_id("message", chat_id, key)
        parent = _above(key, nodes, told, "parent")
        messages[made] = Message(
            *(made, foreign_id("message", chat_id, parent) if parent else None, role, words),
            began if at is None else moment(at),
            facts=facts,
        )
    current = said.get("current_node")
    if isinstance(current, str) and told.get(current) is None:
        current = _above(current, nodes, told, "parent")
    return chat_made(
        *(chat_id, text(said.get("title")), messages, foreign_id("message", chat_id, current) if current else None),
        *(began, moment(said.get("update_time") or said.get("create_time"))),
        archived=said.get("is_archived") is True,
    )


def _chatgpt_message(node: Mapping[str, Any]) -> tuple[Any, str, dict[str, Any], Any] | None:
    """Role, words, facts and time; None for what is no talk."""
    message = node.get("message")
    if not isinstance(message, dict):
        return None
    role = (message.get("author") or {}).get("role")
    metadata = message.get("metadata") or {}
    content = message.get("content") or {}
    hidden = metadata.get("is_visually_hidden_from_conversation") is True or message.get("weight") == 0
    if role not in {"user", "assistant"} or hidden or message.get("recipient") not in {None, "all"}:
        return None
    kind = content.get("content_type", "text")
    if kind not in {"text", "multimodal_text", "code"}:
        return None
    pieces = content.get("parts") or ([content["text"]] if isinstance(content.get("text"), str) else [])
    words = "\n\n".join(filter(None, map(_piece, pieces)))
    if not words.strip():
        return None
    facts: dict[str, Any] = {"served_by": "chatgpt"} if role == "assistant" else {}
    if isinstance(metadata.get("model_slug"), str) and role == "assistant":
        facts["model"] = metadata["model_slug"][:200]
    return role, text(words), facts, message.get("create_time")


def _piece(part: object) -> str:
    """A part of a message. Pictures are not in the file: only that there was one."""
    if isinstance(part, str):
        return part
    kind = part.get("content_type") if isinstance(part, dict) else None
    if kind == "audio_transcription" and isinstance(part, dict):
        return str(part.get("text") or "")
    return "[image]" if kind == "image_asset_pointer" else ""


# -- Open WebUI --


def _is_open_webui(said: Mapping[str, Any]) -> bool:
    chat = said.get("chat") if isinstance(said.get("chat"), dict) else said
    return isinstance(chat, dict) and (isinstance(chat.get("history"), dict) or isinstance(chat.get("messages"), list))


def _open_webui(said: Mapping[str, Any]) -> tuple[Chat, list[Message]]:
    chat = said["chat"] if isinstance(said.get("chat"), dict) else said
    history = _table(chat.get("history"))
    nodes = {k: v for k, v in (history.get("messages") or {}).items() if isinstance(v, dict)}
    current = history.get("currentId")
    if not nodes:  # the flat list of older exports
        listed = [m for m in chat.get("messages") or () if isinstance(m, dict)]
        nodes = {str(n): {**m, "parentId": str(n - 1) if n else None} for n, m in enumerate(listed)}
        current = str(len(listed) - 1)
    began = moment(said.get("created_at") or chat.get("timestamp"))
    chat_id = foreign_id(
        "chat", "open-webui", said.get("id") or chat.get("id") or [chat.get("title"), chat.get("timestamp")]
    )
    talk = {k: m for k, m in nodes.items() if m.get("role") in {"user", "assistant"}}
    messages: dict[str, Message] = {}
    for key, node in talk.items():
        parent = _above(key, nodes, talk, "parentId")
        words = text(_plain(node.get("content")))
        facts: dict[str, Any] = {}
        if node["role"] == "assistant":
            facts = {"served_by": "open-webui"}
            if isinstance(node.get("model"), str):
                facts["model"] = node["model"][:200]
        asides = "\n\n".join(_ASIDE.findall(words))
        made = foreign_id("message", chat_id, key)
        messages[made] = Message(
            *(made, foreign_id("message", chat_id, parent) if parent else None, node["role"]),
            *(_ASIDE.sub("", words), moment(node.get("timestamp") or began)),
            reasoning="\n".join(line.removeprefix("> ") for line in asides.strip().splitlines()),
            facts=facts,
        )
    if isinstance(current, str) and current not in talk:
        current = _above(current, nodes, talk, "parentId")
    models = [m for m in chat.get("models") or () if isinstance(m, str) and m]
    system = chat.get("system") or _table(chat.get("params")).get("system")
    return chat_made(
        *(chat_id, text(said.get("title") or chat.get("title")), messages),
        *(foreign_id("message", chat_id, current) if current else None, began),
        moment(said.get("updated_at") or began),
        system=text(system) or None if isinstance(system, str) else None,
        model=models[0][:200] if models else None,
        pinned=said.get("pinned") is True,
        archived=said.get("archived") is True,
    )


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(content: object) -> str:
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, dict)]
        return "\n\n".join(p for p in parts if isinstance(p, str))
    return content if isinstance(content, str) else ""


# -- both --


def _above(key: str, nodes: Mapping[str, Mapping[str, Any]], told: Mapping[str, Any], field: str) -> str | None:
    """The nearest message above that is talk."""
    seen = {key}
    parent = (nodes.get(key) or {}).get(field)
    while isinstance(parent, str) and parent not in seen:
        if told.get(parent) is not None:
            return parent
        seen.add(parent)
        parent = (nodes.get(parent) or {}).get(field)
    return None


Reader = Callable[[Mapping[str, Any]], tuple[Chat, list[Message]]]
READERS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Reader], ...] = (
    (_is_chatgpt, _chatgpt),
    (_is_open_webui, _open_webui),
)
"""Shapes of other tools, and who reads them."""
