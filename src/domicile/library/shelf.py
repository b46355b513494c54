"""What the library knows, kept twice: in the database, and in the records beside the files, written first.

Knows which record a model belongs to (beside its files in our store, else at the store's top), how a change reaches
both, and how a database that was lost is built again. Knows nothing of what a change means.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from domicile import records
from domicile.config import Settings
from domicile.db import Database
from domicile.library import rows
from domicile.refs import EMBEDDED
from domicile.types import Copy, Installed

ACTIVE = "active_model"
_LISTS = "record."
_EMBEDDED = Installed(EMBEDDED, Path(), "gguf", 0, "embedded")
"""Stands for the embedded model, of which only the marks are kept."""


class Shelf:
    """The rows and the records of a library."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    def marked(self, models: Iterable[Installed], wrong: frozenset[str] = frozenset()) -> Iterator[Installed]:
        read = self._database.read
        aliases = rows.aliases_of(read("SELECT * FROM aliases ORDER BY alias"))
        marks = {row["model"]: row for row in read("SELECT * FROM marks")}
        copies: dict[str, tuple[Copy, ...]] = {}
        for row in read("SELECT * FROM copies ORDER BY rowid"):
            copies[row["model"]] = (*copies.get(row["model"], ()), rows.copy_of(row, wrong))
        for model in models:
            mark = marks.get(model.name)
            yield replace(
                model,
                aliases=aliases.get(model.name, ()),
                copies=copies.get(model.name, ()),
                pinned=bool(mark and mark["pinned"]),
                self_test=json.loads(mark["self_test"]) if mark and mark["self_test"] else None,
            )

    def every(self) -> list[Installed]:
        """Every model as it was entered (`Library.list` may give the place of a copy)."""
        return list(self.marked(rows.installed(row) for row in self._database.read("SELECT * FROM models")))

    @contextmanager
    def changing(self, *names: str) -> Iterator[sqlite3.Connection]:
        """One transaction, and the records that it changes: they are on the disk before it is."""
        with self._database.write() as w:
            folders = {self._settings.models, *self._record_folders(names)}
            yield w
            for folder in folders | self._record_folders(names):
                self._write_record(folder)

    def _record_folders(self, names: Iterable[str]) -> set[Path]:
        """Where the records of models are: beside their files in our store, else at the store's top."""
        found = [self._database.read("SELECT path FROM models WHERE name = ?", name) for name in dict.fromkeys(names)]
        return {self._beside(Path(row["path"])) for rows_ in found for row in rows_}

    def _beside(self, path: Path) -> Path:
        store = self._settings.models
        try:
            inside = path.parent.resolve().is_relative_to(store.resolve())
        except OSError:
            inside = False
        return path.parent if inside and path.parent != store and ".." not in path.parts else store

    def _write_record(self, folder: Path) -> None:
        models = [m for m in self.every() if self._beside(m.path) == folder]
        record: dict[str, Any] = {}
        if folder == self._settings.models:
            record = self._top()
        if models:
            record["models"] = [rows.recorded(m, folder) for m in models]
        if not record and not folder.is_dir():
            return
        if record != {k: v for k, v in records.read(folder).items() if k != "version"}:
            records.write(folder, record)

    def _top(self) -> dict[str, Any]:
        (embedded,) = self.marked([_EMBEDDED])
        marks = {"aliases": list(embedded.aliases), "pinned": embedded.pinned, "self_test": embedded.self_test}
        said = {"active": self._database.kept(ACTIVE), "embedded": {k: v for k, v in marks.items() if v}}
        for row in self._database.read("SELECT * FROM kept WHERE key LIKE ?", f"{_LISTS}%"):
            said[row["key"].removeprefix(_LISTS)] = json.loads(row["value"])
        return {key: value for key, value in said.items() if value}

    def keep_list(self, name: str, value: Sequence[Mapping[str, Any]]) -> None:
        """Keep a small list that must survive the database (custom models): in the record at the store's top."""
        with self.changing() as w:
            w.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (_LISTS + name, json.dumps(list(value))))

    def kept_list(self, name: str) -> list[dict[str, Any]]:
        """What `keep_list` kept, also after the database was rebuilt."""
        value = json.loads(self._database.kept(_LISTS + name) or "[]")
        return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []

    def rebuild(self) -> int:
        """Enter again everything that the records and the files of our folder say."""
        store = self._settings.models
        from domicile.library import rebuild

        found = list(rebuild.recorded(store))
        taken = {m.name.lower() for m in found} | {EMBEDDED}
        for model in rebuild.by_place(store, {p for m in found for p in m.files}):
            if model.name.lower() not in taken:
                taken.add(model.name.lower())
                found.append(model)
        top = rebuild.kept(store)
        embedded = top.pop("embedded", None)
        marked = [*found, *_embedded_marks(embedded)]
        if not marked and not top:
            return 0
        with self._database.write() as w:
            for model in found:
                rows.insert(w, replace(model, added_at=model.added_at or time.time()))
            for model in marked:
                for alias in model.aliases:
                    w.execute("INSERT OR IGNORE INTO aliases VALUES (?, ?)", (alias, model.name))
                for copy in model.copies:
                    rows.insert_copy(w, model.name, copy)
                if model.pinned or model.self_test is not None:
                    test = None if model.self_test is None else json.dumps(dict(model.self_test))
                    w.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (model.name, int(model.pinned), test))
            for key, value in top.items():
                if key == "active" and isinstance(value, str):
                    w.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (ACTIVE, value))
                elif isinstance(value, list):
                    w.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (_LISTS + key, json.dumps(value)))
        return len(found)


def _embedded_marks(said: object) -> list[Installed]:
    if not isinstance(said, dict):
        return []
    aliases, test = said.get("aliases"), said.get("self_test")
    return [
        replace(
            _EMBEDDED,
            aliases=tuple(a for a in aliases if isinstance(a, str)) if isinstance(aliases, list) else (),
            pinned=said.get("pinned") is True,
            self_test=test if isinstance(test, dict) else None,
        )
    ]
