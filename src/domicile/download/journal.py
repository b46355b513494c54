"""What is kept of a file that is not whole yet, written beside it so that any process can go on with it.

`NAME.partial` holds bytes at their places; `NAME.partial.journal` says which blocks of it are whole, with a digest
each: one line when a block is done, appended, so that a kill costs at most a torn last line. Where everything before
a block's end is there, its digest is that of the file up to there (a by-product of hashing the whole); elsewhere it
is the block's own sha256. Nothing is trusted that does not match its digest again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from domicile.download.wanted import BLOCK, PARTIAL, Wanted

JOURNAL = ".journal"
LOCK = ".lock"
_LONGEST = 64 * 2**20
"""Bytes of a journal that are read at most: a file of 2 TB has about half of that."""

Kind = Literal["upto", "own"]


@dataclass(frozen=True, slots=True)
class Kept:
    """The digest of a block that is done."""

    kind: Kind
    digest: str


@dataclass(frozen=True, slots=True)
class Partial:
    """A file that is not whole yet, as `domicile ls --partial` shows it."""

    target: Path
    size_bytes: int
    kept_bytes: int
    url: str
    at: float
    """When something was last written to it, seconds since the epoch."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def journal_of(wanted: Wanted) -> Path:
    """Where the journal of a file is while the file is not whole."""
    return wanted.partial.with_name(wanted.partial.name + JOURNAL)


class Journal:
    """The journal of one file. `etag` is the strong validator its blocks came under, where there was one."""

    def __init__(self, wanted: Wanted, block: int = BLOCK) -> None:
        self.path = journal_of(wanted)
        self.etag: str | None = None
        self._head: dict[str, Any] = {
            "url": wanted.url,
            "oid": wanted.digest,
            "size": wanted.size_bytes,
            "block": block,
        }
        self._file: int | None = None

    def open(self) -> dict[int, Kept]:
        """The blocks that are kept, if what the journal tells of is the file that is wanted; else none, begun anew."""
        head, blocks = _read(self.path)
        ours = all(head.get(k) == v for k, v in self._head.items() if k != "url")
        # Without a digest to hold the whole against, the same address must have vouched for the same version.
        if not self._head["oid"]:
            ours = ours and head.get("url") == self._head["url"] and isinstance(head.get("etag"), str)
        if not ours:
            self.begin(None)
            return {}
        self.etag = head.get("etag")
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(self._file, b"\n")  # ends a line that a kill has torn
        count = -(-int(self._head["size"]) // int(self._head["block"]))
        return {index: kept for index, kept in blocks.items() if 0 <= index < count}

    def begin(self, etag: str | None) -> None:
        """Nothing is kept: a journal with its first line only."""
        self.close()
        self.etag = etag
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        self._line({**self._head, "etag": etag})

    def under(self, etag: str) -> None:
        """The version the blocks belong to has become known."""
        self.etag = etag
        self._line({"etag": etag})

    def keep(self, index: int, kept: Kept) -> None:
        self._line([index, kept.kind, kept.digest])

    def lose(self, index: int) -> None:
        self._line([index])

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _line(self, value: object) -> None:
        assert self._file is not None
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            os.write(self._file, b"\n")  # the next write says that the disk is full


def _read(path: Path) -> tuple[dict[str, Any], dict[int, Kept]]:
    """Head and blocks of a journal; what cannot be read is left out."""
    head: dict[str, Any] = {}
    blocks: dict[int, Kept] = {}
    try:
        with path.open("rb") as file:
            lines = file.read(_LONGEST).split(b"\n")
    except OSError:
        return {}, {}
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        match entry:
            case dict():
                head |= entry
            case [int(index)]:
                blocks.pop(index, None)
            case [int(index), ("upto" | "own") as kind, str(digest)]:
                blocks[index] = Kept(kind, digest)
    return head, blocks


def partials(folder: Path) -> list[Partial]:
    """Every file under a folder that is not whole yet, newest first."""
    found = []
    for path in folder.rglob(f"*{PARTIAL}") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_file():
                continue
            head, blocks = _read(path.with_name(path.name + JOURNAL))
            size, url = head.get("size"), head.get("url")
            found.append(
                Partial(
                    target=path.with_name(path.name.removesuffix(PARTIAL)),
                    size_bytes=size if isinstance(size, int) else path.stat().st_size,
                    kept_bytes=_kept_bytes(head, blocks),
                    url=url if isinstance(url, str) else "",
                    at=path.stat().st_mtime,
                )
            )
    return sorted(found, key=lambda p: p.at, reverse=True)


def forget(partial: Partial) -> int:
    """Remove a partial file with its journal; the bytes freed. Raises `StillBusy` while a process fetches it."""
    from filelock import FileLock, Timeout

    from domicile.errors import StillBusy

    path = partial.target.with_name(partial.target.name + PARTIAL)
    if not path.is_file():
        return 0
    lock = FileLock(path.with_name(path.name + LOCK))
    try:
        lock.acquire(blocking=False)
    except Timeout as held:
        raise StillBusy(name=partial.target.name) from held
    try:
        freed = allocated(path)
        remove(path)
        return freed
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def remove(partial: Path) -> None:
    """A partial file and its journal, gone."""
    partial.unlink(missing_ok=True)
    partial.with_name(partial.name + JOURNAL).unlink(missing_ok=True)


def needed(wanted: Wanted) -> int:
    """Bytes still to fetch: what the disk must still hold for this file. What is kept has not been checked yet."""
    with contextlib.suppress(OSError):
        if wanted.target.stat().st_size == wanted.size_bytes:
            return 0
    head, blocks = _read(journal_of(wanted))
    if head.get("oid") != wanted.digest or head.get("size") != wanted.size_bytes or not wanted.partial.is_file():
        return wanted.size_bytes
    return wanted.size_bytes - _kept_bytes(head, blocks)


def allocated(path: Path) -> int:
    """Bytes of the disk a file takes: a partial file has holes."""
    stat = path.stat()
    return getattr(stat, "st_blocks", -(-stat.st_size // 512)) * 512


def _kept_bytes(head: Mapping[str, Any], blocks: Mapping[int, Kept]) -> int:
    size, block = head.get("size"), head.get("block")
    if not isinstance(size, int) or not isinstance(block, int) or block <= 0:
        return 0
    return sum(_lengths(size, block, blocks))


def _lengths(size: int, block: int, indices: Mapping[int, Kept]) -> Iterator[int]:
    for index in indices:
        yield max(0, min(block, size - index * block)) if index >= 0 else 0
