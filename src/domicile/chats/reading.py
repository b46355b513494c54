"""What an attachment is, and what can be read of it: by its bytes, not by its name.

Text and code are decoded, a PDF is read in a child with bounds (`pdf_child`), pictures and sound are kept as they are.
Anything else is refused: what no model here can be given is not taken in silently.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from pathlib import PurePosixPath
from typing import Any

from domicile import child
from domicile.chats.words import OWNER, Attachment, AttachmentKind, new_id
from domicile.errors import AttachmentRefused

PDF_S = 45.0
"""By the clock, on a machine that may be busy; of the processor it gets `pdf_child.CPU_S`."""
TEXT_CHARACTERS = 2_000_000
"""More of a text than any context holds is not kept beside the file."""
_NAME = 200
_AT_ONCE = asyncio.Semaphore(2)

_MAGIC: tuple[tuple[bytes, str, AttachmentKind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "image"),
    (b"\xff\xd8\xff", "image/jpeg", "image"),
    (b"GIF87a", "image/gif", "image"),
    (b"GIF89a", "image/gif", "image"),
    (b"BM", "image/bmp", "image"),
    (b"%PDF-", "application/pdf", "pdf"),
    (b"ID3", "audio/mpeg", "audio"),
    (b"\xff\xfb", "audio/mpeg", "audio"),
    (b"\xff\xf3", "audio/mpeg", "audio"),
    (b"\xff\xf2", "audio/mpeg", "audio"),
    (b"OggS", "audio/ogg", "audio"),
    (b"fLaC", "audio/flac", "audio"),
    (b"\x1aE\xdf\xa3", "audio/webm", "audio"),
)


def sniffed(data: bytes) -> tuple[str, AttachmentKind] | None:
    """The media type and kind of a file that is no text; None for what may be one."""
    head = data[:1024]
    if head[:4] == b"RIFF":
        found: dict[bytes, tuple[str, AttachmentKind]] = {
            b"WEBP": ("image/webp", "image"),
            b"WAVE": ("audio/wav", "audio"),
        }
        return found.get(head[8:12])
    if head[4:8] == b"ftyp":
        return ("audio/mp4", "audio") if head[8:11] in {b"M4A", b"M4B", b"mp4", b"iso"} else None
    for magic, media, kind in _MAGIC:
        if head.startswith(magic) and (magic != b"BM" or b"\0" in head):
            return media, kind
    return ("application/pdf", "pdf") if b"%PDF-" in head else None


async def read(data: bytes, name: str, *, temporary: bool = False, owner: str = OWNER) -> Attachment:
    """The attachment that these bytes are. Raises `AttachmentRefused` with a reason."""
    name = clean_name(name)
    if not data:
        raise AttachmentRefused(name=name, reason="empty")
    found = sniffed(data)
    text: str | None = None
    facts: dict[str, Any] = {}
    if found is None:
        text = decoded(data)
        if text is None:
            raise AttachmentRefused(name=name, reason="kind")
    media, kind = found or ("text/plain", "text")
    if kind == "pdf":
        facts = await _pdf(data, name)
        text = facts.pop("text")
    if text is not None and len(text) > TEXT_CHARACTERS:
        text, facts = text[:TEXT_CHARACTERS], {**facts, "cut": True}
    digest = hashlib.sha256(data).hexdigest()
    return Attachment(
        *(new_id("file", temporary=temporary), digest, name, media, kind, len(data), time.time(), text, facts, owner)
    )


async def _pdf(data: bytes, name: str) -> dict[str, Any]:
    async with _AT_ONCE:
        ended = await child.run("domicile.pdf_child", [], deadline_s=PDF_S, given=data)
    try:
        said = json.loads(ended.output.strip().rpartition("\n")[2])
    except ValueError:
        said = {"problem": "bounds"}
    problem = said.get("problem") if isinstance(said, dict) else "bounds"
    if problem:
        reasons = {"locked": "pdf_locked", "broken": "pdf_broken"}
        raise AttachmentRefused(name=name, reason=reasons.get(problem, "pdf_bounds"), problem=said.get("detail", ""))
    if not said["text"].strip():
        raise AttachmentRefused(name=name, reason="pdf_no_text", pages=said["pages"])
    return {"text": said["text"], "pages": said["pages"], "pages_read": said["pages_read"], "cut": said["cut"]}


def decoded(data: bytes) -> str | None:
    """A text, in UTF-8, in UTF-16 where it says so, else in the Windows code page of western Europe; None for what is
    no text."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        try:
            return _tidy(data.decode("utf-16"))
        except UnicodeDecodeError:
            return None
    if b"\0" in data:
        return None
    try:
        return _tidy(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        controls = sum(b < 32 and b not in b"\t\n\r\f\x1b" for b in data[:65536])
        if controls * 100 > len(data[:65536]):
            return None
        return _tidy(data.decode("cp1252", "replace"))


def _tidy(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_name(said: str) -> str:
    """A file's name as it may be shown and given to a model: its last part, on one line."""
    name = PurePosixPath(said.replace("\\", "/")).name
    name = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in name)).strip()
    return name[-_NAME:] or "file"
