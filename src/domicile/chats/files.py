"""The files beside conversations, each kept once under its sha256, for the owner of the house alone.

Two shelves of one shape: a folder, and memory for what no disk shall see. Knows no table: who still uses a file is the
store's to say.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Protocol

from domicile.errors import AttachmentsFull


class Files(Protocol):
    """Bytes by digest."""

    def keep(self, digest: str, data: bytes, used_bytes: int) -> None:
        """Keep a file; `used_bytes` are those of all others. Raises `AttachmentsFull`."""
        ...

    def read(self, digest: str) -> bytes | None:
        """The bytes, or None where somebody has deleted them."""
        ...

    def drop(self, digest: str) -> None:
        """Delete a file; one that is gone already is no error."""
        ...


class Folder:
    """A folder: `ab/abcdef...`, modes 0700 and 0600. A file has its name once it is whole."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def keep(self, digest: str, data: bytes, used_bytes: int) -> None:
        """See `Files.keep`. A limit of 0 is none."""
        _check(len(data), used_bytes, self._limit_bytes)
        path = self._path(digest)
        if path.is_file() and path.stat().st_size == len(data):
            return
        for folder in (self._folder, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(f"{digest}.{secrets.token_hex(4)}.part")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as trouble:
            partial.unlink(missing_ok=True)
            raise AttachmentsFull(size=len(data), limit=0, reason="disk", problem=trouble.strerror) from trouble

    def read(self, digest: str) -> bytes | None:
        try:
            return self._path(digest).read_bytes()
        except OSError:
            return None

    def drop(self, digest: str) -> None:
        with contextlib.suppress(OSError):
            self._path(digest).unlink()
            self._path(digest).parent.rmdir()

    def kept(self) -> set[str]:
        """Every digest that is here."""
        return {p.name for p in self._folder.glob("??/*") if len(p.name) == 64}

    def sweep(self) -> None:
        """Delete what a house that was killed left half written."""
        for part in self._folder.glob("??/*.part"):
            with contextlib.suppress(OSError):
                part.unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


class InMemory:
    """Nothing on any disk."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: dict[str, bytes] = {}

    def keep(self, digest: str, data: bytes, used_bytes: int) -> None:
        _check(len(data), sum(map(len, self._kept.values())), self._limit_bytes)
        self._kept[digest] = data

    def read(self, digest: str) -> bytes | None:
        return self._kept.get(digest)

    def drop(self, digest: str) -> None:
        self._kept.pop(digest, None)


def _check(size_bytes: int, used_bytes: int, limit_bytes: int) -> None:
    if limit_bytes and used_bytes + size_bytes > limit_bytes:
        raise AttachmentsFull(size=size_bytes, limit=limit_bytes)
