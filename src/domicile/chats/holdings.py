"""What people keep beside their conversations, in tables: attachments, folders, presets.

An attachment nobody uses any more is forgotten, and its file deleted once no other has the same content. One that was
sent and never used goes after a day.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any

from domicile.chats.files import Files
from domicile.chats.store import attachment_of
from domicile.chats.words import OWNER, Attachment, Folder, Preset, new_id
from domicile.db import Database
from domicile.errors import AttachmentNotFound, BadField, FolderNotFound, PresetNotFound

UNUSED_S = 86400.0


class Attachments:
    """The files beside messages."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files

    def keep(self, attachment: Attachment, data: bytes) -> Attachment:
        """Raises `AttachmentsFull`."""
        self._files.keep(attachment.digest, data, self.used_bytes(but=attachment.digest))
        with self._database.write() as w:
            w.execute(
                "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(attachment.id, attachment.owner, attachment.digest, attachment.name, attachment.media_type),
                    *(attachment.kind, attachment.size_bytes, attachment.text, json.dumps(dict(attachment.facts))),
                    attachment.created_at,
                ),
            )
        return attachment

    def get(self, attachment_id: str, owner: str = OWNER) -> Attachment:
        """Raises `AttachmentNotFound`."""
        rows = self._database.read("SELECT * FROM attachments WHERE id = ? AND owner = ?", attachment_id, owner)
        if not rows:
            raise AttachmentNotFound(id=attachment_id[:80])
        return attachment_of(rows[0])

    def has(self, attachment_id: str) -> bool:
        """Is there such an attachment, whoever owns it?"""
        return bool(self._database.read("SELECT 1 FROM attachments WHERE id = ?", attachment_id))

    def data(self, attachment: Attachment) -> bytes:
        """The file's bytes. Raises `AttachmentNotFound` when somebody has deleted it."""
        found = self._files.read(attachment.digest)
        if found is None:
            raise AttachmentNotFound(id=attachment.id, reason="file", name=attachment.name)
        return found

    def write_down(self, attachment_id: str, text: str, owner: str = OWNER) -> Attachment:
        """What is heard in a sound, or seen in a picture, as a text: a model that cannot is given that."""
        self.get(attachment_id, owner)
        with self._database.write() as w:
            w.execute("UPDATE attachments SET text = ? WHERE id = ?", (text, attachment_id))
        return self.get(attachment_id, owner)

    def used_bytes(self, but: str = "") -> int:
        """Of all files, each counted once."""
        rows = self._database.read(
            "SELECT coalesce(sum(size_bytes), 0) FROM"
            " (SELECT max(size_bytes) AS size_bytes FROM attachments WHERE digest != ? GROUP BY digest)",
            but,
        )
        return int(rows[0][0])

    def release(self, attachment_ids: Iterable[str]) -> int:
        """Forget those of these that no message has. Bytes freed."""
        freed = 0
        for attachment_id in attachment_ids:
            freed += self._release(attachment_id)
        return freed

    def sweep(self, clock: float | None = None) -> int:
        """Forget what was sent and never used. Bytes freed."""
        before = (time.time() if clock is None else clock) - UNUSED_S
        rows = self._database.read(
            "SELECT id FROM attachments a WHERE created_at < ?"
            " AND NOT EXISTS (SELECT 1 FROM attached t WHERE t.attachment = a.id)",
            before,
        )
        return self.release(row["id"] for row in rows)

    def digests(self) -> set[str]:
        """Of every file that somebody has."""
        return {row["digest"] for row in self._database.read("SELECT DISTINCT digest FROM attachments")}

    def _release(self, attachment_id: str) -> int:
        with self._database.write() as w:
            if w.execute("SELECT 1 FROM attached WHERE attachment = ?", (attachment_id,)).fetchone():
                return 0
            row = w.execute("SELECT digest, size_bytes FROM attachments WHERE id = ?", (attachment_id,)).fetchone()
            if row is None:
                return 0
            w.execute("DELETE FROM attachments WHERE id = ?", (attachment_id,))
            shared = w.execute("SELECT 1 FROM attachments WHERE digest = ?", (row["digest"],)).fetchone()
        if shared:
            return 0
        self._files.drop(row["digest"])
        return int(row["size_bytes"])


class Folders:
    """Where chats are put."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, owner: str = OWNER) -> list[Folder]:
        rows = self._database.read(
            "SELECT f.*, (SELECT count(*) FROM chats c WHERE c.folder = f.id) AS chats FROM folders f"
            " WHERE owner = ? ORDER BY name COLLATE NOCASE, created_at",
            owner,
        )
        return [Folder(row["id"], row["name"], row["created_at"], row["chats"]) for row in rows]

    def get(self, folder_id: str, owner: str = OWNER) -> Folder:
        """Raises `FolderNotFound`."""
        found = next((f for f in self.list(owner) if f.id == folder_id), None)
        if found is None:
            raise FolderNotFound(id=folder_id[:80])
        return found

    def add(self, name: str, owner: str = OWNER, folder_id: str | None = None) -> Folder:
        """Raises `BadField` for a name that another one has."""
        self._free(name, owner, None)
        made = Folder(folder_id or new_id("folder"), name, time.time())
        with self._database.write() as w:
            w.execute("INSERT INTO folders VALUES (?, ?, ?, ?)", (made.id, owner, made.name, made.created_at))
        return made

    def rename(self, folder_id: str, name: str, owner: str = OWNER) -> Folder:
        self.get(folder_id, owner)
        self._free(name, owner, folder_id)
        with self._database.write() as w:
            w.execute("UPDATE folders SET name = ? WHERE id = ?", (name, folder_id))
        return self.get(folder_id, owner)

    def remove(self, folder_id: str, owner: str = OWNER) -> Folder:
        """Its chats stay, in no folder."""
        found = self.get(folder_id, owner)
        with self._database.write() as w:
            w.execute("DELETE FROM folders WHERE id = ?", (folder_id,))
        return found

    def _free(self, name: str, owner: str, but: str | None) -> None:
        if any(f.name.casefold() == name.casefold() and f.id != but for f in self.list(owner)):
            raise BadField(field="name", problem=name, reason="named_already")


class Presets:
    """Named system prompts and parameters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, owner: str = OWNER) -> list[Preset]:
        rows = self._database.read(
            "SELECT * FROM presets WHERE owner = ? ORDER BY name COLLATE NOCASE, created_at", owner
        )
        return [_preset(row) for row in rows]

    def get(self, preset_id: str, owner: str = OWNER) -> Preset:
        """Raises `PresetNotFound`."""
        rows = self._database.read("SELECT * FROM presets WHERE id = ? AND owner = ?", preset_id, owner)
        if not rows:
            raise PresetNotFound(id=preset_id[:80])
        return _preset(rows[0])

    def add(self, values: Mapping[str, Any], owner: str = OWNER, preset_id: str | None = None) -> Preset:
        """`name`, and `model`, `system`, `parameters` if wished. Raises `BadField` for a name that another one has."""
        self._free(values["name"], owner, None)
        now, made = time.time(), preset_id or new_id("preset")
        with self._database.write() as w:
            w.execute(
                "INSERT INTO presets VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(made, owner, values["name"], values.get("model"), values.get("system")),
                    *(json.dumps(values.get("parameters") or {}), now, now),
                ),
            )
        return self.get(made, owner)

    def change(self, preset_id: str, values: Mapping[str, Any], owner: str = OWNER) -> Preset:
        before = self.get(preset_id, owner).public()
        after = {k: values.get(k, before[k]) for k in ("name", "model", "system", "parameters")}
        self._free(after["name"], owner, preset_id)
        with self._database.write() as w:
            w.execute(
                "UPDATE presets SET name = ?, model = ?, system = ?, parameters = ?, updated_at = ? WHERE id = ?",
                (
                    *(after["name"], after["model"], after["system"], json.dumps(after["parameters"] or {})),
                    *(time.time(), preset_id),
                ),
            )
        return self.get(preset_id, owner)

    def remove(self, preset_id: str, owner: str = OWNER) -> Preset:
        found = self.get(preset_id, owner)
        with self._database.write() as w:
            w.execute("DELETE FROM presets WHERE id = ?", (preset_id,))
        return found

    def _free(self, name: str, owner: str, but: str | None) -> None:
        if any(p.name.casefold() == name.casefold() and p.id != but for p in self.list(owner)):
            raise BadField(field="name", problem=name, reason="named_already")


def _preset(row: sqlite3.Row) -> Preset:
    return Preset(
        *(row["id"], row["name"], row["created_at"], row["updated_at"], row["model"], row["system"]),
        json.loads(row["parameters"]),
    )
