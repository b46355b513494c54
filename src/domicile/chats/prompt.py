"""A branch of a conversation as a model is asked it: OpenAI's messages, and how much of each file is in them.

Files stand before the words they came with. They share a number of characters, the newest message's first; one that
is not given whole says so to the model, and in `files` to the person. Pictures are given as they are, sound by what was
written down of it. Knows no engine; the number of characters is the caller's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile.chats.words import Attachment, Message

_LEAST = 200
"""Characters of a file below which it is better left out."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a model got of a file."""

    attachment: str
    name: str
    kind: str
    characters: int | None
    """Given; None for a picture."""
    of: int | None
    """All that can be read of it."""
    reason: str | None = None
    """Why it was not given whole: `room` (the context), `unheard` (nothing was written down of a sound), `gone` (the
    file was deleted), `kept` (more than is kept of a file)."""

    def public(self) -> dict[str, Any]:
        return {
            "attachment": self.attachment,
            "name": self.name,
            "kind": self.kind,
            "given_characters": self.characters,
            "characters": self.of,
            "cut": self.reason is not None,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent, and what it holds of the files."""

    messages: list[dict[str, Any]]
    files: list[Given]

    @property
    def characters_of_files(self) -> int:
        return sum(g.characters or 0 for g in self.files)


def prompt_of(
    branch: Sequence[Message], system: str | None, room: int, data: Callable[[Attachment], bytes | None]
) -> Prompt:
    """The messages of a branch; its files have `room` characters between them."""
    given: dict[tuple[str, str], Given] = {}
    for message in reversed(branch):
        for one in _shared(message.attachments, room):
            given[message.id, one.attachment] = one
            room -= one.characters or 0
    told: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    files: list[Given] = []
    for message in branch:
        if message.role == "assistant":
            if message.text:  # one that failed has said nothing
                _add(told, "assistant", [_text(message.text)])
            continue
        parts: list[dict[str, Any]] = []
        for attachment in message.attachments:
            one = given[message.id, attachment.id]
            shown: list[dict[str, Any]] = []
            if attachment.kind == "image" and attachment.text is None:
                found = data(attachment)
                if found is None:
                    one = Given(one.attachment, one.name, one.kind, None, None, "gone")
                else:
                    shown = [_image(attachment, found)]
            parts += shown or [_text(_file(attachment, one))]
            files.append(one)
        if message.text or not parts:
            parts.append(_text(message.text))
        _add(told, "user", parts)
    return Prompt([_flat(m) for m in told], files)


def _shared(attachments: Sequence[Attachment], room: int) -> list[Given]:
    """Each file's part of the room: the short ones whole, the long ones as much as one another."""
    lengths = {a.id: len(a.text) for a in attachments if a.text is not None}
    parts: dict[str, int] = {}
    left = room
    for number, (name, length) in enumerate(sorted(lengths.items(), key=lambda item: item[1])):
        fair = max(0, left // (len(lengths) - number))
        part = length if length <= fair else fair if fair >= _LEAST else 0
        parts[name] = part
        left -= part
    found = []
    for a in attachments:
        if a.text is None:
            unheard = a.kind != "image"
            found.append(Given(a.id, a.name, a.kind, 0 if unheard else None, None, "unheard" if unheard else None))
            continue
        reason = "room" if parts[a.id] < len(a.text) else "kept" if a.facts.get("cut") else None
        found.append(Given(a.id, a.name, a.kind, parts[a.id], len(a.text), reason))
    return found


def _file(attachment: Attachment, given: Given) -> str:
    """A file as a model reads it, with what it does not read of it."""
    name = attachment.name.replace('"', "'")
    if attachment.text is None or given.reason == "gone":
        why = "nobody has written down what is heard in it" if given.reason == "unheard" else "it was deleted"
        return f'<file name="{name}">\n[The content of this file is not here: {why}.]\n</file>'
    text = attachment.text[: given.characters]
    pages = attachment.facts.get("pages")
    if given.reason is not None:
        of = f"{given.of} characters" + (f", {pages} pages" if pages else "")
        more = " The file goes on beyond what was kept of it." if attachment.facts.get("cut") else ""
        text += f"\n[Only the first {given.characters} of {of} are given here; the rest was left out.{more}]"
    return f'<file name="{name}">\n{text}\n</file>'


def _image(attachment: Attachment, data: bytes) -> dict[str, Any]:
    url = f"data:{attachment.media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _add(told: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """Roles alternate: templates insist. What follows an answer that failed joins what came before it."""
    if told and told[-1]["role"] == role:
        told[-1]["content"] += parts
    else:
        told.append({"role": role, "content": parts})


def _flat(message: Mapping[str, Any]) -> dict[str, Any]:
    """Texts alone are one text: every engine reads that."""
    parts = message["content"]
    if isinstance(parts, list) and all(p["type"] == "text" for p in parts):
        return {**message, "content": "\n\n".join(p["text"] for p in parts)}
    return dict(message)
