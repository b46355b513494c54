"""Conversations that are kept, by `domicile chats`: list and search, show, export, import, rm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from domicile import i18n
from domicile.errors import BadField, MissingField
from domicile.grammar import Desk, argument, command, option

_ACTS = ("list", "show", "export", "import", "rm")
_PART_BYTES = 32 << 20
"""Of an import: what is sent in one request."""


@command(
    "chats",
    argument("act", type=click.Choice(_ACTS), required=False, default="list"),
    argument("subjects", nargs=-1),
    option("--search"),
    option("--all", is_flag=True),
    option("--markdown", is_flag=True),
    option("--yes", "-y", is_flag=True),
)
async def chats(
    desk: Desk,
    act: str,
    subjects: tuple[str, ...],
    search: str | None,
    all: bool,  # noqa: A002 - named by its option
    markdown: bool,
    yes: bool,
) -> None:
    async with desk.house() as house:
        match act:
            case "list":
                await _list(desk, house, search or " ".join(subjects) or None)
            case "show":
                await _show(desk, house, _one(subjects))
            case "export":
                await _export(desk, house, subjects, markdown)
            case "import":
                await _import(desk, house, _one(subjects, "FILE"))
            case "rm":
                await _rm(desk, house, subjects, all, yes)


async def _list(desk: Desk, house: Any, search: str | None) -> None:
    """Every chat, or the first two hundred that have the words."""
    say, lang = desk.output.say, desk.output.lang
    query = {"limit": "200", **({"q": search} if search else {})}
    page = await house.get("/domicile/chats", **query)
    found = page["chats"]
    while page["next"] and not search:
        page = await house.get("/domicile/chats", **query, cursor=page["next"])
        found += page["chats"]
    rows = [
        (c["id"], ("* " if c["pinned"] else "") + c["title"], c["model"] or "", i18n.date(lang, c["updated_at"]))
        for c in found
    ]
    heads = [say(f"head.{h}") for h in ("id", "title", "model", "when")]
    desk.output.table({"chats": found}, heads, rows, say("chats.none"))


async def _show(desk: Desk, house: Any, chat_id: str) -> None:
    """The branch that is shown."""
    if desk.output.as_json:
        desk.output.data(await house.get(f"/domicile/chats/{chat_id}"))
        return
    desk.output.result(None, await _text(house, chat_id))


async def _text(house: Any, chat_id: str) -> str:
    return "".join([p async for p in house.text(f"/domicile/chats/{chat_id}/export", format="markdown")])


async def _export(desk: Desk, house: Any, subjects: tuple[str, ...], markdown: bool) -> None:
    """`export [CHAT] [FILE]`: all of them, or one; to a file for its owner alone, or to the output."""
    wanted = list(subjects)
    chat_id = wanted.pop(0) if wanted and wanted[0].startswith(("chat-", "temp-chat-")) else None
    file = wanted.pop(0) if wanted else None
    if markdown and chat_id is None:
        raise MissingField(field="chat")
    path = f"/domicile/chats/{chat_id}/export" if chat_id else "/domicile/chats/export"
    pieces = house.text(path, format="markdown" if markdown else "json") if chat_id else house.text(path)
    if file is None or file == "-":
        async for piece in pieces:
            sys.stdout.write(piece)
        return
    target = Path(file).expanduser()
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            async for piece in pieces:
                out.write(piece)
    except OSError as trouble:
        raise BadField(field="FILE", problem=f"{file}: {trouble.strerror}") from trouble
    desk.output.result({"file": str(target)}, desk.output.say("chats.exported", file=file))


async def _import(desk: Desk, house: Any, file: str) -> None:
    """Ours, ChatGPT's or Open WebUI's; a large file goes in parts."""
    added, present, left = list[Any](), list[str](), list[Any]()
    for part in _parts(_read(file)):
        came = await house.post("/domicile/chats/import", part)
        added += came["added"]
        present += came["present"]
        left += came["left_out"]
    if desk.output.as_json:
        desk.output.data({"added": added, "present": present, "left_out": left})
        return
    say = desk.output.say
    desk.output.tell(say("chats.imported", n=len(added)))
    if present:
        desk.output.tell(say("chats.present", n=len(present)))
    for one in left:
        desk.output.tell(say("chats.left_out", **one))


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).expanduser().read_text("utf-8")
        return json.loads(text)
    except (OSError, UnicodeDecodeError) as trouble:
        why = trouble.strerror if isinstance(trouble, OSError) else "UTF-8"
        raise BadField(field="FILE", problem=f"{file}: {why}") from trouble
    except (ValueError, RecursionError) as trouble:
        raise BadField(field="chats", problem=file[:80], reason="chats_file") from trouble


def _parts(data: Any) -> Iterator[Any]:
    """The file as it is, or cut between conversations; each part of ours takes the attachments it speaks of."""
    chats = data.get("chats") if isinstance(data, dict) else data
    if not isinstance(chats, list) or len(json.dumps(data)) <= _PART_BYTES:
        yield data
        return
    files = {a["id"]: a for a in data.get("attachments", ()) if "id" in a} if isinstance(data, dict) else {}
    part: list[Any] = []
    used: dict[str, Any] = {}
    size = 0
    for chat in chats:
        mine = {
            i: files[i] for m in chat.get("messages") or () for i in m.get("attachments") or () if i in files
        } if files else {}  # fmt: skip
        more = len(json.dumps(chat)) + sum(len(json.dumps(a)) for i, a in mine.items() if i not in used)
        if part and size + more > _PART_BYTES:
            yield {**data, "chats": part, "attachments": list(used.values())} if isinstance(data, dict) else part
            part, used, size = [], {}, 0
        part.append(chat)
        used |= mine
        size += more
    yield {**data, "chats": part, "attachments": list(used.values())} if isinstance(data, dict) else part


async def _rm(desk: Desk, house: Any, ids: tuple[str, ...], everything: bool, yes: bool) -> None:
    if not ids and not everything:
        raise MissingField(field="chat")
    count = len(ids) if ids else int((await house.get("/domicile/chats", limit="1"))["total"])
    if not yes and not sys.stdin.isatty():
        raise BadField(field="--yes", problem=str(count), reason="chats_confirm")
    if not yes and not click.confirm(desk.output.say("chats.ask_rm", n=count), err=True):
        return
    for chat_id in ids:
        await house.get(f"/domicile/chats/{chat_id}")  # a misspelt one deletes nothing
    gone = await house.post("/domicile/chats/delete", {"ids": list(ids)} if ids else {"all": True})
    desk.output.result(gone, desk.output.say("chats.removed", n=len(gone["deleted"])))


def _one(subjects: tuple[str, ...], what: str = "chat") -> str:
    if len(subjects) != 1:
        raise MissingField(field=what)
    return subjects[0]
