"""Conversations in tables: what is there, in which order, and where a word was said.

One for what is kept and one, in memory, for what is not. Every question names an owner and sees nothing of others'.
A message that is being written is saved now and then without waiting for the disk, and is indexed once it is whole.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile.chats import search
from domicile.chats.words import OWNER, Attachment, Chat, Message, newest_leaf
from domicile.db import Database
from domicile.errors import BadField, ChatNotFound, MessageNotFound

_MOST_AT_ONCE = 500
_CHANGEABLE = frozenset(
    {"title", "titled", "folder", "pinned", "archived", "model", "system", "parameters", "strategy", "leaf"}
    | {"updated_at"}
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some chats, and where the next ones begin (None at the end)."""

    chats: list[Chat]
    next: str | None
    total: int | None = None
    """Of the whole list; None for a search."""
    found: Mapping[str, tuple[str, search.Found]] | None = None
    """By chat: the message in which the words were said, and where. A chat that is not here was found by its title."""


class Store:
    """Chats and their messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mend(self) -> int:
        """What a house that was killed was writing, marked as cut. How many messages."""
        rows = self._database.read("SELECT number, text FROM messages WHERE state = 'writing'")
        if rows:
            with self._database.write() as w:
                w.execute("UPDATE messages SET state = 'cut' WHERE state = 'writing'")
                _index(w, rows)
        return len(rows)

    # -- chats --

    def add(self, chat: Chat, messages: Iterable[Message] = (), *, durable: bool = True) -> Chat:
        """Keep a new chat, with what was said in it. `durable`: see `Database.write`."""
        with self._database.write(durable=durable) as w:
            w.execute(
                "INSERT INTO chats (id, owner, title, titled, folder, pinned, archived, model, system, parameters,"
                " strategy, leaf, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(chat.id, chat.owner, chat.title, chat.titled, chat.folder, chat.pinned, chat.archived),
                    *(chat.model, chat.system, json.dumps(dict(chat.parameters)), chat.strategy, chat.leaf),
                    *(chat.created_at, chat.updated_at),
                ),
            )
            number = w.execute("SELECT last_insert_rowid()").fetchone()[0]
            _title(w, number, chat.title)
            for message in messages:
                _insert(w, number, message)
        return chat

    def get(self, chat_id: str, owner: str = OWNER) -> Chat:
        """Raises `ChatNotFound`."""
        rows = self._database.read("SELECT * FROM chats WHERE id = ? AND owner = ?", chat_id, owner)
        if not rows:
            raise ChatNotFound(id=chat_id[:80])
        return _chat(rows[0])

    def has(self, chat_id: str) -> bool:
        """Is there such a chat, whoever owns it?"""
        return bool(self._database.read("SELECT 1 FROM chats WHERE id = ?", chat_id))

    def change(self, chat_id: str, owner: str = OWNER, **values: Any) -> Chat:
        """Change some of its columns. Raises `ChatNotFound`."""
        before = self.get(chat_id, owner)
        assert values.keys() <= _CHANGEABLE
        kept = {k: json.dumps(dict(v)) if k == "parameters" else v for k, v in values.items()}
        if kept:
            with self._database.write() as w:
                number = _number(w, chat_id)
                if "title" in kept and kept["title"] != before.title:
                    _untitle(w, number, before.title)
                    _title(w, number, kept["title"])
                sets = ", ".join(f"{column} = ?" for column in kept)  # of _CHANGEABLE: no word of a caller's
                w.execute(f"UPDATE chats SET {sets} WHERE number = ?", (*kept.values(), number))  # noqa: S608
        return self.get(chat_id, owner)

    def known(self, message_ids: Sequence[str]) -> bool:
        """Is one of these the id of a message here?"""
        for start in range(0, len(message_ids), _MOST_AT_ONCE):
            some = message_ids[start : start + _MOST_AT_ONCE]
            marks = ", ".join("?" * len(some))
            if self._database.read(f"SELECT 1 FROM messages WHERE id IN ({marks}) LIMIT 1", *some):  # noqa: S608
                return True
        return False

    def ids(self, owner: str = OWNER) -> list[str]:
        """Every chat, the newest first."""
        rows = self._database.read("SELECT id FROM chats WHERE owner = ? ORDER BY updated_at DESC, number DESC", owner)
        return [row["id"] for row in rows]

    def count(self) -> int:
        """How many chats there are, of everybody."""
        return int(self._database.read("SELECT count(*) FROM chats")[0][0])

    def remove(self, chat_ids: Sequence[str], owner: str = OWNER) -> tuple[list[str], list[str]]:
        """Delete chats. Those that were there, and the attachments they had. What is not there is no error."""
        gone: list[str] = []
        freed: dict[str, None] = {}
        with self._database.write() as w:
            for chat_id in chat_ids:
                found = w.execute("SELECT * FROM chats WHERE id = ? AND owner = ?", (chat_id, owner)).fetchone()
                if found is None:
                    continue
                gone.append(chat_id)
                rows = w.execute("SELECT number, text, state FROM messages WHERE chat = ?", (found["number"],))
                messages = rows.fetchall()
                freed |= dict.fromkeys(_attached_ids(w, [m["number"] for m in messages]))
                _unindex(w, [m for m in messages if m["state"] != "writing"])
                _untitle(w, found["number"], found["title"])
                w.execute("DELETE FROM chats WHERE number = ?", (found["number"],))
            if gone and not w.execute("SELECT 1 FROM chats LIMIT 1").fetchone():
                # Words that were deleted one by one stay in the index's segments until these are merged.
                w.execute("INSERT INTO message_words (message_words) VALUES ('delete-all')")
                w.execute("INSERT INTO title_words (title_words) VALUES ('delete-all')")
        if gone:
            self._database.read("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone, list(freed)

    # -- lists --

    def page(
        self,
        owner: str = OWNER,
        *,
        folder: str | None = None,
        pinned: bool | None = None,
        archived: bool | None = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """A page of the list: pinned ones first, then by time, the newest first. `folder` may be `none`. `archived`:
        None for both. Raises `BadField` for a cursor that is none."""
        where, values = _filters(owner, folder, pinned, archived)
        total = int(self._database.read(f"SELECT count(*) FROM chats c WHERE {where}", *values)[0][0])  # noqa: S608
        after, at = "", tuple[int | float, ...]()
        if cursor is not None:
            after, at = " AND (c.pinned, c.updated_at, c.number) < (?, ?, ?)", _cursor(cursor)
        rows = self._database.read(
            f"SELECT * FROM chats c WHERE {where}{after}"  # noqa: S608 - made of the words above
            " ORDER BY c.pinned DESC, c.updated_at DESC, c.number DESC LIMIT ?",
            *(*values, *at, limit + 1),
        )
        last = rows[limit - 1] if len(rows) > limit else None
        following = f"{last['pinned']}_{last['updated_at']!r}_{last['number']}" if last is not None else None
        return Page([_chat(row) for row in rows[:limit]], following, total)

    def find(
        self,
        said: str,
        owner: str = OWNER,
        *,
        folder: str | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Chats whose title or one of whose messages has all the words: those found by title first, then by the newest
        message. Reads no further than the page."""
        expression = search.query(said)
        if expression is None:
            return Page([], None, None, {})
        skip = _offset(cursor)
        where, values = _filters(owner, folder, pinned, archived)
        titles = self._database.each(
            "SELECT c.* FROM title_words w JOIN chats c ON c.number = w.rowid"  # noqa: S608
            f" WHERE title_words MATCH ? AND {where}"
            " ORDER BY c.pinned DESC, c.updated_at DESC, c.number DESC",
            *(expression, *values),
        )
        chats: list[Chat] = []
        found: dict[str, tuple[str, search.Found]] = {}
        seen: set[int] = set()
        for row in titles:
            seen.add(row["number"])
            if len(seen) > skip:
                chats.append(_chat(row))
            if len(chats) > limit:
                return _cut(chats, limit, skip, found)
        messages = self._database.each(
            "SELECT c.number, m.number AS message FROM message_words w"  # noqa: S608
            " CROSS JOIN messages m ON m.number = w.rowid"
            f" CROSS JOIN chats c ON c.number = m.chat WHERE message_words MATCH ? AND {where}"
            " ORDER BY w.rowid DESC",
            *(expression, *values),
        )
        for row in messages:
            if row["number"] in seen:
                continue
            seen.add(row["number"])
            if len(seen) <= skip:
                continue
            if len(chats) == limit:
                return Page(chats, str(skip + limit), None, found)
            chat = _chat(self._database.read("SELECT * FROM chats WHERE number = ?", row["number"])[0])
            message = self._database.read("SELECT id, text FROM messages WHERE number = ?", row["message"])[0]
            chats.append(chat)
            found[chat.id] = message["id"], search.place(message["text"], said)
        return _cut(chats, limit, skip, found)

    # -- messages --

    def messages(self, chat_id: str) -> dict[str, Message]:
        """All messages of a chat in the order they came."""
        rows = self._database.read(
            "SELECT m.* FROM messages m JOIN chats c ON c.number = m.chat WHERE c.id = ? ORDER BY m.number", chat_id
        )
        attached: dict[int, list[Attachment]] = {}
        for row in self._database.read(
            "SELECT t.message, a.* FROM chats c JOIN messages m ON m.chat = c.number"
            " JOIN attached t ON t.message = m.number JOIN attachments a ON a.id = t.attachment"
            " WHERE c.id = ? ORDER BY t.message, t.position",
            chat_id,
        ):
            attached.setdefault(row["message"], []).append(attachment_of(row))
        return {row["id"]: _message(row, attached.get(row["number"], ())) for row in rows}

    def message(self, chat_id: str, message_id: str) -> Message:
        """Raises `MessageNotFound`."""
        found = self.messages(chat_id).get(message_id)
        if found is None:
            raise MessageNotFound(id=message_id[:80])
        return found

    def say(self, chat_id: str, messages: Sequence[Message], *, leaf: str | None, title: str | None = None) -> None:
        """Add messages to a chat, which then shows the branch of `leaf`; a `title` for one that has none yet."""
        with self._database.write() as w:
            number = _number(w, chat_id)
            for message in messages:
                _insert(w, number, message)
            w.execute("UPDATE chats SET leaf = ?, updated_at = ? WHERE number = ?", (leaf, time.time(), number))
            if title:
                before = w.execute("SELECT title FROM chats WHERE number = ?", (number,)).fetchone()["title"]
                _untitle(w, number, before)
                _title(w, number, title)
                w.execute("UPDATE chats SET title = ? WHERE number = ?", (title, number))

    def save(self, message: Message) -> None:
        """A message as it stands now: `writing` ones without waiting for the disk. One that is gone is no error."""
        with self._database.write(durable=message.state != "writing") as w:
            row = w.execute("SELECT number, chat, text, state FROM messages WHERE id = ?", (message.id,)).fetchone()
            if row is None:
                return
            w.execute(
                "UPDATE messages SET text = ?, reasoning = ?, calls = ?, state = ?, facts = ? WHERE number = ?",
                (
                    *(message.text, message.reasoning, json.dumps([dict(c) for c in message.calls]), message.state),
                    *(json.dumps(dict(message.facts)), row["number"]),
                ),
            )
            if row["state"] != "writing":
                _unindex(w, [row])
            if message.state != "writing":
                _index(w, [{"number": row["number"], "text": message.text}])
                w.execute("UPDATE chats SET updated_at = ? WHERE number = ?", (time.time(), row["chat"]))

    def forget(self, chat_id: str, message_id: str) -> tuple[list[str], list[str]]:
        """Delete a message and all that followed from it. The messages that went, and the attachments they had; the
        chat then shows the newest branch that is left beside them. Raises `MessageNotFound`."""
        messages = self.messages(chat_id)
        if message_id not in messages:
            raise MessageNotFound(id=message_id[:80])
        gone = {message_id}
        for message in messages.values():  # in the order they came: parents before children
            if message.parent in gone:
                gone.add(message.id)
        left = {m.id: m for m in messages.values() if m.id not in gone}
        with self._database.write() as w:
            number = _number(w, chat_id)
            rows = w.execute("SELECT id, number, text, state FROM messages WHERE chat = ?", (number,)).fetchall()
            rows = [row for row in rows if row["id"] in gone]
            freed = _attached_ids(w, [row["number"] for row in rows])
            _unindex(w, [row for row in rows if row["state"] != "writing"])
            w.executemany("DELETE FROM messages WHERE number = ?", [(row["number"],) for row in rows])
            leaf = w.execute("SELECT leaf FROM chats WHERE number = ?", (number,)).fetchone()["leaf"]
            if leaf not in left:
                leaf = newest_leaf(left, messages[message_id].parent)
                w.execute("UPDATE chats SET leaf = ? WHERE number = ?", (leaf, number))
        return list(gone), freed


# -- rows --


def _chat(row: sqlite3.Row) -> Chat:
    return Chat(
        row["id"],
        row["title"],
        row["created_at"],
        row["updated_at"],
        folder=row["folder"],
        pinned=bool(row["pinned"]),
        archived=bool(row["archived"]),
        titled=bool(row["titled"]),
        model=row["model"],
        system=row["system"],
        parameters=json.loads(row["parameters"]),
        strategy=row["strategy"],
        leaf=row["leaf"],
        owner=row["owner"],
    )


def _message(row: sqlite3.Row, attachments: Iterable[Attachment]) -> Message:
    return Message(
        row["id"],
        row["parent"],
        row["role"],
        row["text"],
        row["created_at"],
        reasoning=row["reasoning"],
        calls=tuple(json.loads(row["calls"])),
        state=row["state"],
        attachments=tuple(attachments),
        facts=json.loads(row["facts"]),
    )


def attachment_of(row: sqlite3.Row) -> Attachment:
    """A row of `attachments`."""
    return Attachment(
        *(row["id"], row["digest"], row["name"], row["media_type"], row["kind"], row["size_bytes"], row["created_at"]),
        text=row["text"],
        facts=json.loads(row["facts"]),
        owner=row["owner"],
    )


def _number(w: sqlite3.Connection, chat_id: str) -> int:
    row = w.execute("SELECT number FROM chats WHERE id = ?", (chat_id,)).fetchone()
    if row is None:
        raise ChatNotFound(id=chat_id[:80])
    return int(row["number"])


def _insert(w: sqlite3.Connection, chat: int, message: Message) -> None:
    w.execute(
        "INSERT INTO messages (id, chat, parent, role, text, reasoning, calls, state, facts, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(message.id, chat, message.parent, message.role, message.text, message.reasoning),
            *(json.dumps([dict(c) for c in message.calls]), message.state, json.dumps(dict(message.facts))),
            message.created_at,
        ),
    )
    number = w.execute("SELECT last_insert_rowid()").fetchone()[0]
    if message.state != "writing":
        _index(w, [{"number": number, "text": message.text}])
    w.executemany(
        "INSERT INTO attached VALUES (?, ?, ?)",
        [(number, position, a.id) for position, a in enumerate(message.attachments)],
    )


def _attached_ids(w: sqlite3.Connection, numbers: Sequence[int]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(numbers), _MOST_AT_ONCE):
        some = numbers[start : start + _MOST_AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = w.execute(f"SELECT DISTINCT attachment FROM attached WHERE message IN ({marks})", some)  # noqa: S608
        found += [row["attachment"] for row in rows]
    return found


def _index(w: sqlite3.Connection, rows: Iterable[Mapping[str, Any] | sqlite3.Row]) -> None:
    told = [(row["number"], search.folded(row["text"])) for row in rows]
    w.executemany("INSERT INTO message_words (rowid, text) VALUES (?, ?)", told)


def _unindex(w: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> None:
    """FTS5 must be told the very text it was given."""
    told = [(row["number"], search.folded(row["text"])) for row in rows]
    w.executemany("INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', ?, ?)", told)


def _title(w: sqlite3.Connection, number: int, title: str) -> None:
    w.execute("INSERT INTO title_words (rowid, title) VALUES (?, ?)", (number, search.folded(title)))


def _untitle(w: sqlite3.Connection, number: int, title: str) -> None:
    told = (number, search.folded(title))
    w.execute("INSERT INTO title_words (title_words, rowid, title) VALUES ('delete', ?, ?)", told)


# -- conditions --


def _filters(
    owner: str, folder: str | None, pinned: bool | None, archived: bool | None
) -> tuple[str, tuple[str | int, ...]]:
    where, values = ["c.owner = ?"], list[str | int]([owner])
    if archived is not None:
        where.append("c.archived = ?")
        values.append(int(archived))
    if pinned is not None:
        where.append("c.pinned = ?")
        values.append(int(pinned))
    if folder == "none":
        where.append("c.folder IS NULL")
    elif folder is not None:
        where.append("c.folder = ?")
        values.append(folder)
    return " AND ".join(where), tuple(values)


def _cursor(said: str) -> tuple[int, float, int]:
    try:
        pinned, at, number = said.split("_")
        return int(pinned), float(at), int(number)
    except ValueError as trouble:
        raise BadField(field="cursor", problem=said[:40], reason="cursor") from trouble


def _offset(said: str | None) -> int:
    if said is None:
        return 0
    if not (said.isdigit() and len(said) < 9):
        raise BadField(field="cursor", problem=said[:40], reason="cursor")
    return int(said)


def _cut(chats: list[Chat], limit: int, skip: int, found: Mapping[str, tuple[str, search.Found]]) -> Page:
    more = len(chats) > limit
    return Page(chats[:limit], str(skip + limit) if more else None, None, found)


def walk(store: Store, owner: str) -> Iterator[tuple[Chat, list[Message]]]:
    """Every chat with its messages, the newest first."""
    for chat_id in store.ids(owner):
        yield store.get(chat_id, owner), list(store.messages(chat_id).values())
