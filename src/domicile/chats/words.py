"""What a conversation is made of: chats, messages in a tree, attachments, presets, folders.

Small frozen values; `public()` is how the API shows them. Knows no table and no model. Times are seconds since the
epoch, unknown is `None`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OWNER = "owner"
"""The one person of a house without accounts."""
TEMPORARY = "temp-"
"""How the ids of what is never written to a disk begin."""

State = Literal["writing", "done", "stopped", "cut", "failed"]
"""`stopped` by a person, `cut` by the house or its end, `failed` with an error before or while it was said."""
AttachmentKind = Literal["text", "pdf", "image", "audio"]


def new_id(kind: str, *, temporary: bool = False) -> str:
    """An id nobody can guess: `chat-...`, `temp-chat-...`."""
    return f"{TEMPORARY if temporary else ''}{kind}-{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside a message. The file itself is kept under its digest."""

    id: str
    digest: str
    """sha256, hex."""
    name: str
    media_type: str
    kind: AttachmentKind
    size_bytes: int
    created_at: float
    text: str | None = None
    """What can be read of it; None for pictures and for sound that nobody has written down."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`pages` and `pages_read` of a PDF, `cut` when its text goes on beyond what is kept."""
    owner: str = OWNER

    def public(self) -> dict[str, Any]:
        characters = None if self.text is None else len(self.text)
        return {
            "id": self.id,
            "name": self.name,
            "media_type": self.media_type,
            "kind": self.kind,
            "size_bytes": self.size_bytes,
            "sha256": self.digest,
            "characters": characters,
            "created_at": self.created_at,
            **self.facts,
        }


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Those with the same parent are branches of one another."""

    id: str
    parent: str | None
    role: Literal["user", "assistant"]
    text: str
    created_at: float
    reasoning: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    state: State = "done"
    attachments: tuple[Attachment, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """`model`, `served_by`, `finish_reason`, `prompt_tokens`, `completion_tokens`, `tokens_per_second`, `context`,
    `dropped`, `files`, `notes`, `parameters`, `error`, `edited_at` ... as far as they are known."""

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "parent": self.parent,
            "role": self.role,
            "text": self.text,
            "reasoning": self.reasoning,
            "tool_calls": [dict(c) for c in self.calls],
            "attachments": [a.public() for a in self.attachments],
            "state": self.state,
            "created_at": self.created_at,
            **dict.fromkeys(FACTS),
            **self.facts,
        }


FACTS = (
    *("model", "served_by", "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *(
        "tokens_per_second",
        "prompt_tokens_per_second",
        "first_token_s",
        "reasoning_s",
        "context",
        "dropped",
        "files",
        "notes",
    ),
    *("parameters", "error", "edited_at"),
)
"""What a message may be told to have beside its words; null where it is not known."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, without its messages."""

    id: str
    title: str
    created_at: float
    updated_at: float
    folder: str | None = None
    pinned: bool = False
    archived: bool = False
    titled: bool = False
    """A person gave it its title; otherwise it is its first line."""
    model: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strategy: str | None = None
    leaf: str | None = None
    """The message that the branch shown ends with."""
    owner: str = OWNER

    @property
    def temporary(self) -> bool:
        return self.id.startswith(TEMPORARY)

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "folder": self.folder,
            "pinned": self.pinned,
            "archived": self.archived,
            "temporary": self.temporary,
            "model": self.model,
            "system": self.system,
            "parameters": dict(self.parameters),
            "strategy": self.strategy,
            "leaf": self.leaf,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a person puts chats that belong together."""

    id: str
    name: str
    created_at: float
    chats: int = 0

    def public(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "created_at": self.created_at, "chats": self.chats}


@dataclass(frozen=True, slots=True)
class Preset:
    """A system prompt and parameters under a name."""

    id: str
    name: str
    created_at: float
    updated_at: float
    model: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "model": self.model,
            "system": self.system,
            "parameters": dict(self.parameters),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def path_to(messages: Mapping[str, Message], leaf: str | None) -> list[Message]:
    """The branch that ends with a message, from its beginning. What has a parent that is gone begins there."""
    found: list[Message] = []
    seen: set[str] = set()
    while leaf is not None and leaf in messages and leaf not in seen:
        seen.add(leaf)
        found.append(messages[leaf])
        leaf = messages[leaf].parent
    return found[::-1]


def newest_leaf(messages: Mapping[str, Message], top: str | None) -> str | None:
    """The end of the newest branch below a message (or of all of them), by the order of the mapping."""
    children: dict[str | None, str] = {m.parent: m.id for m in messages.values()}  # the last one stands
    leaf, seen = top, set[str]()
    while leaf in children and children[leaf] not in seen:
        leaf = children[leaf]
        seen.add(leaf)
    return leaf


def title_of(text: str, attachments: tuple[Attachment, ...] = ()) -> str:
    """A title for a chat that begins so: its first line, cut between words."""
    line = next((" ".join(x.split()) for x in text.splitlines() if x.strip()), "")
    line = line.lstrip("#>*- ").strip() or line
    if not line:
        return attachments[0].name if attachments else ""
    if len(line) <= TITLE:
        return line
    cut = line[: TITLE - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE // 2 :] else cut).rstrip(" ,;:.") + "…"


TITLE = 60
"""Characters of a title that is made of a first line."""
