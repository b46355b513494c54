"""Reading another tool's folder: everything there is input from outside.

Knows how to look without being led astray: entries and bytes are counted, a link may not leave the root, nothing but
a regular file is opened, a digest is a digest from end to end before it meets the disk.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from domicile.config import Settings

MOST_ENTRIES = 50_000
DEEPEST = 8
JSON_BYTES = 2**20
_UNFINISHED = (".partial", ".part", ".incomplete", ".downloading", ".tmp", ".crdownload", ".lock", ".aria2")
_SHA256 = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Where:
    """What says where the tools of this machine keep things."""

    settings: Settings
    person: Path
    """The home folder of whoever asks."""
    platform: str
    """As `sys.platform` says it."""
    environ: dict[str, str] = field(default_factory=dict)

    def cache(self) -> Path:
        """The folder for caches, as the XDG rules and the other systems have it."""
        if self.platform == "darwin":
            return self.person / "Library" / "Caches"
        if self.platform == "win32":
            return self.local()
        return _absolute(self.environ.get("XDG_CACHE_HOME", "")) or self.person / ".cache"

    def data(self) -> Path:
        """The folder for data of programs."""
        if self.platform == "darwin":
            return self.person / "Library" / "Application Support"
        if self.platform == "win32":
            return self.local()
        return _absolute(self.environ.get("XDG_DATA_HOME", "")) or self.person / ".local" / "share"

    def local(self) -> Path:
        return _absolute(self.environ.get("LOCALAPPDATA", "")) or self.person / "AppData" / "Local"

    def named(self, said: str) -> Path | None:
        """A folder that a setting names; None when it names none."""
        if not said:
            return None
        return Path(said.replace("~", str(self.person), 1) if said.startswith("~/") else said).absolute()


def _absolute(said: str) -> Path | None:
    return Path(said) if said and Path(said).is_absolute() else None


def digest_in(said: object) -> str | None:
    """The 64 hexadecimal digits of `sha256:...` or `sha256-...`; None for anything else."""
    found = _SHA256.fullmatch(said) if isinstance(said, str) else None
    return found[1] if found else None


def regular(path: Path, root: Path) -> os.stat_result | None:
    """A regular file under the root, itself or at the end of a link that stays there; None for anything else."""
    try:
        found = path.lstat()
        real = _real(str(path.parent)) / path.name
        if stat.S_ISLNK(found.st_mode):
            real, found = path.resolve(strict=True), path.stat()
    except (OSError, ValueError, RuntimeError):
        return None
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return None
    return found if real.is_relative_to(_real(str(root))) else None


@lru_cache(maxsize=4096)
def _real(folder: str) -> Path:
    """Where a folder really is. Looked up once a scan: most of the cost of reading a large cache was this."""
    return Path(folder).resolve()


def look_again() -> None:
    """Links may have changed since the last scan."""
    _real.cache_clear()


def small(path: Path, root: Path, limit: int = JSON_BYTES) -> bytes | None:
    """A small file whole; None when it is none, too large or not to be read."""
    found = regular(path, root)
    if found is None or found.st_size > limit:
        return None
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return None


def text(path: Path, root: Path, limit: int = JSON_BYTES) -> str | None:
    data = small(path, root, limit)
    return None if data is None else data.decode("utf-8", "replace")


def json_object(path: Path, root: Path) -> dict[str, Any]:
    """A JSON object in a small file; empty for anything else."""
    try:
        said = json.loads(small(path, root) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, hidden and unfinished ones left out; none where it cannot be read."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_ENTRIES:
                    break
                if not entry.name.startswith(".") and _sayable(entry.name) and not _is_unfinished(entry.name):
                    found.append(entry)
    except OSError:
        return []
    return sorted(found, key=lambda e: e.name)


def folders(folder: Path) -> Iterator[Path]:
    """The folders in a folder. Links are not followed: where they lead inside the store is read there."""
    for entry in listed(folder):
        try:
            if entry.is_dir(follow_symlinks=False):
                yield folder / entry.name
        except OSError:
            continue


def files(folder: Path, root: Path) -> dict[str, os.stat_result]:
    """The regular files of a folder, by name."""
    found = {}
    for entry in listed(folder):
        at = regular(folder / entry.name, root)
        if at is not None:
            found[entry.name] = at
    return found


def below(folder: Path, root: Path, deepest: int = DEEPEST) -> dict[str, os.stat_result]:
    """Every regular file under a folder, by its path from there (POSIX)."""
    found: dict[str, os.stat_result] = {}
    waiting = [(folder, "", 0)]
    while waiting and len(found) < MOST_ENTRIES:
        at, before, depth = waiting.pop()
        found |= {before + name: stat_ for name, stat_ in files(at, root).items()}
        if depth < deepest:
            waiting += [(f, f"{before}{f.name}/", depth + 1) for f in folders(at)]
    return found


def is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_unfinished(name: str) -> bool:
    return name.lower().endswith(_UNFINISHED) or name.startswith("incomplete-")


def _sayable(name: str) -> bool:
    """Can the name be written down: is it text?"""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.isprintable()
