"""A model as the database and as a record beside its files write it; and back, however damaged the record is."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from domicile.refs import is_safe_path
from domicile.types import Copy, Installed

_LONGEST = 4096


def insert(connection: sqlite3.Connection, model: Installed) -> None:
    """Enter a model or replace the one of its name. What was marked on it stays, but for its self-test."""
    columns = (
        "name, path, format, size_bytes, source, files, repository, revision, quantisation, licence, added_at,"
        " last_used_at, task, digests"
    )
    connection.execute(
        f"INSERT OR REPLACE INTO models ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            model.name,
            str(model.path),
            model.format,
            model.size_bytes,
            model.source,
            json.dumps([str(p) for p in model.files]),
            model.repository,
            model.revision,
            model.quantisation,
            model.licence,
            model.added_at,
            model.last_used_at,
            model.task,
            json.dumps(list(model.digests)),
        ),
    )
    connection.execute("UPDATE marks SET self_test = NULL WHERE model = ?", (model.name,))


def insert_copy(connection: sqlite3.Connection, name: str, copy: Copy) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO copies (model, owner, title, root, path, files, settings) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            copy.owner,
            copy.title,
            str(copy.root),
            str(copy.path),
            json.dumps([str(p) for p in copy.files]),
            json.dumps(dict(copy.settings)),
        ),
    )


def installed(row: sqlite3.Row) -> Installed:
    """A row of `models`, its files looked for."""
    files = tuple(Path(p) for p in json.loads(row["files"]))
    return Installed(
        row["name"],
        Path(row["path"]),
        row["format"],
        row["size_bytes"],
        row["source"],
        files=files,
        repository=row["repository"],
        revision=row["revision"],
        quantisation=row["quantisation"],
        licence=row["licence"],
        added_at=row["added_at"],
        last_used_at=row["last_used_at"],
        missing=not all(p.is_file() for p in files),
        task=row["task"],
        digests=tuple(json.loads(row["digests"])),
    )


def copy_of(row: sqlite3.Row, wrong: frozenset[str]) -> Copy:
    """A row of `copies`; `wrong` are the paths known not to hold what they should."""
    files = tuple(Path(p) for p in json.loads(row["files"]))
    return Copy(
        row["owner"],
        row["title"],
        Path(row["root"]),
        Path(row["path"]),
        files,
        json.loads(row["settings"]),
        missing=not all(p.is_file() for p in files),
        damaged=any(str(p) in wrong for p in files),
    )


def best_place(model: Installed, wrong: frozenset[str]) -> Installed:
    """Where to open it: its own files when they are whole, else the first copy that is."""
    damaged = any(str(p) in wrong for p in model.files)
    if not model.missing and not damaged:
        return model
    for copy in model.copies:
        if not copy.missing and not copy.damaged:
            return replace(model, path=copy.path, files=copy.files, missing=False)
    return replace(model, damaged=damaged)


# -- records --


def recorded(model: Installed, folder: Path) -> dict[str, Any]:
    """A model as its record says it; paths relative where they are under the record's folder."""
    said: dict[str, Any] = {
        "name": model.name,
        "path": _written(model.path, folder),
        "files": [
            {"path": _written(p, folder), "sha256": model.digests[i] if i < len(model.digests) else None}
            for i, p in enumerate(model.files)
        ],
        "format": model.format,
        "size_bytes": model.size_bytes,
        "source": model.source,
        "repository": model.repository,
        "revision": model.revision,
        "quantisation": model.quantisation,
        "licence": model.licence,
        "task": model.task,
        "added_at": model.added_at,
        "aliases": list(model.aliases),
        "pinned": model.pinned,
        "self_test": dict(model.self_test) if model.self_test is not None else None,
        "copies": [
            {
                "owner": c.owner,
                "title": c.title,
                "root": str(c.root),
                "path": str(c.path),
                "files": [str(p) for p in c.files],
                "settings": dict(c.settings),
            }
            for c in model.copies
        ],
    }
    return {key: value for key, value in said.items() if value not in (None, [], False)}


def from_record(said: object, folder: Path, *, anywhere: bool) -> Installed | None:
    """A model of a record, or None where the record makes no sense. `anywhere`: its files may lie outside."""
    if not isinstance(said, dict):
        return None
    name, form, size = _text(said, "name"), _text(said, "format"), said.get("size_bytes")
    entries = said.get("files")
    if not name or len(name) > 300 or not form or not isinstance(size, int) or size < 0:
        return None
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        return None
    files = [_read_path(e.get("path"), folder, anywhere) for e in entries]
    path = _read_path(said.get("path"), folder, anywhere)
    added, pinned = said.get("added_at"), said.get("pinned") is True
    if (
        path is None
        or None in files
        or _text(said, "source") not in {"hub", "file", "adopted", "ollama", "civitai", "url"}
    ):
        return None
    digests = [e.get("sha256") for e in entries]
    aliases, test = said.get("aliases"), said.get("self_test")
    return Installed(
        name,
        path,
        form,
        size,
        said["source"],
        files=tuple(f for f in files if f is not None),
        repository=_text(said, "repository"),
        revision=_text(said, "revision"),
        quantisation=_text(said, "quantisation"),
        licence=_text(said, "licence"),
        added_at=float(added) if isinstance(added, (int, float)) and math.isfinite(added) else None,
        task=_text(said, "task"),
        digests=tuple(digests) if any(digests) and all(d is None or isinstance(d, str) for d in digests) else (),
        aliases=tuple(a for a in aliases if isinstance(a, str)) if isinstance(aliases, list) else (),
        pinned=pinned,
        copies=_copies(said.get("copies")),
        self_test=test if isinstance(test, dict) else None,
    )


def _copies(said: object) -> tuple[Copy, ...]:
    found = []
    for entry in said if isinstance(said, list) else ():
        if not isinstance(entry, dict):
            continue
        owner, title = _text(entry, "owner"), _text(entry, "title")
        root, path = (_read_path(entry.get(key), Path(), True) for key in ("root", "path"))
        listed, settings = entry.get("files"), entry.get("settings")
        files = [_read_path(p, Path(), True) for p in listed] if isinstance(listed, list) else [None]
        if owner and title and root and path and files and None not in files:
            whole = tuple(f for f in files if f is not None)
            found.append(Copy(owner, title, root, path, whole, settings if isinstance(settings, dict) else {}))
    return tuple(found)


def _written(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _read_path(said: object, folder: Path, anywhere: bool) -> Path | None:
    if not isinstance(said, str) or not 0 < len(said) <= _LONGEST or "\0" in said:
        return None
    if is_safe_path(said):
        return folder.joinpath(*said.split("/")) if folder != Path() else None
    if said == ".":
        return folder
    return Path(said) if anywhere and Path(said).is_absolute() and ".." not in Path(said).parts else None


def _text(said: Mapping[str, Any], key: str) -> str | None:
    value = said.get(key)
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable() else None


def aliases_of(rows: Sequence[sqlite3.Row]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for row in rows:
        found[row["model"]] = (*found.get(row["model"], ()), row["alias"])
    return found
