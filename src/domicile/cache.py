"""Answers kept on disk: what was asked, what came, when, and by which validator it can be asked again.

Bounded in size (the least recently written go first) and safe to lose: a damaged, half-written or foreign entry is
a miss. A file's name is a digest of the question, never text from outside. Answers that were given to somebody who
showed a token are kept apart: the scope is part of the question. Knows nothing of HTTP or of the Hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 64 * 2**20
_HEAD_LIMIT = 64 * 2**10
_FORM = 1
"""The form of an entry: one line of JSON, then the body. Another number is a miss."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was kept."""

    body: bytes
    at: float
    """When it was last known to be true: fetched, or confirmed by its validator."""
    etag: str | None = None
    next: str | None = None
    """Where the answer goes on, when it was one page of several."""


class Cache:
    """A folder of answers. Nothing is made on disk before the first `put`."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES, clock: Callable[[], float] | None = None) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._clock = clock or time.time

    def get(self, scope: str, question: str) -> Kept | None:
        """What was answered, or None."""
        path = self._path(scope, question)
        try:
            with path.open("rb") as file:
                head = json.loads(file.readline(_HEAD_LIMIT))
                body = file.read(self._limit_bytes + 1)
        except (OSError, ValueError, RecursionError):
            return None
        match head:
            case {"form": 1, "key": key, "sha256": digest, "at": int() | float() as at, "etag": etag, "next": onward}:
                if key != path.name or digest != hashlib.sha256(body).hexdigest():
                    return None
                if not all(isinstance(x, str | None) for x in (etag, onward)):
                    return None
                return Kept(body, min(float(at), self._clock()), etag, onward)
        return None

    def put(self, scope: str, question: str, kept: Kept) -> None:
        """Keep an answer. One that is larger than a quarter of the room is not kept; a full disk is no error."""
        if len(kept.body) > self._limit_bytes // 4:
            return
        path = self._path(scope, question)
        head = {
            "form": _FORM,
            "key": path.name,
            "sha256": hashlib.sha256(kept.body).hexdigest(),
            "at": kept.at,
            "etag": kept.etag,
            "next": kept.next,
        }
        line = json.dumps(head).encode()
        if len(line) >= _HEAD_LIMIT:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(path, line + b"\n" + kept.body)
            self._shrink()

    def age_s(self, kept: Kept) -> float:
        return max(0.0, self._clock() - kept.at)

    def now(self) -> float:
        return self._clock()

    def _path(self, scope: str, question: str) -> Path:
        return self._folder / hashlib.sha256(json.dumps([scope, question]).encode()).hexdigest()

    def _write(self, path: Path, content: bytes) -> None:
        """Whole or not at all. The temporary file is readable by its owner only, and so is the entry."""
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _shrink(self) -> None:
        """Remove the oldest until what is left fits."""
        entries = []
        with os.scandir(self._folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):  # another process may be tidying as well
                    state = entry.stat(follow_symlinks=False)
                    entries.append((state.st_mtime_ns, state.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, name in sorted(entries):
            if total <= self._limit_bytes:
                return
            Path(name).unlink(missing_ok=True)
            total -= size


def scope_of(token: str) -> str:
    """Who asked: nobody in particular, or the holder of a token. The token cannot be read back from it."""
    return hashlib.sha256(b"domicile hub token\0" + token.encode()).hexdigest() if token else ""
