"""`domicile.json`: what the house knows of the models in a folder of its store, kept beside them.

A record is written whole before the database is, so that a database that is lost or damaged can be built again
from the files alone: names, licences, revisions, aliases, pins, and where adopted models lie. Knows how to read one
that may be damaged, and to replace one so that a crash leaves the old or the new; what it means is the library's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domicile.errors import HomeNotWritable

NAME = "domicile.json"
_LIMIT = 8 * 2**20
_DEEPEST = 6
_MOST_FOLDERS = 20_000


def read(folder: Path) -> dict[str, Any]:
    """The record of a folder; empty when there is none, or none that can be read."""
    place = folder / NAME
    try:
        if place.is_symlink() or not place.is_file() or place.stat().st_size > _LIMIT:
            return {}
        record = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace the record of a folder; an empty one is removed. On the disk when it returns."""
    place = folder / NAME
    try:
        if not record:
            place.unlink(missing_ok=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"{NAME}.{os.getpid()}.partial")
        with beside.open("w", encoding="utf-8") as out:
            json.dump({"version": 1, **record}, out, ensure_ascii=False, indent=1)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(place)
        _sync(folder)
    except OSError as trouble:
        raise HomeNotWritable(path=str(folder), problem=trouble.strerror or str(trouble)) from trouble


def folders(store: Path) -> Iterator[Path]:
    """Every folder of the store that may hold a record: the top, and those below, without following links."""
    waiting, seen = [(store, 0)], 0
    while waiting and seen < _MOST_FOLDERS:
        folder, depth = waiting.pop()
        seen += 1
        yield folder
        if depth >= _DEEPEST:
            continue
        try:
            with os.scandir(folder) as entries:
                below = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        waiting += [(b, depth + 1) for b in sorted(below, reverse=True)]


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
