"""Bytes of one file: fetched beside their final name, hashed while they come, renamed only when they are right.

A name under the models' folder is therefore always a whole, verified file. A partial file survives a kill and is
gone on with; what it holds is hashed again first, so that nothing is trusted. Knows URLs and digests, not models.

The seam of the full downloader (parallel ranges, a journal of blocks) is `fetch`: same arguments, same promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx2

from domicile.errors import CorruptDownload, HomeNotWritable, HubUnreachable, NoRoom

PARTIAL = ".partial"
_CHUNK = 1 << 20
_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch. Of the two digests, the sha256 (LFS object id) is used where it is known."""

    url: str
    target: Path
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Partial:
    """What a download has left: the name its file would have (`org/repo/file`), and what is there of it."""

    name: str
    path: Path
    kept_bytes: int
    changed_at: float
    size_bytes: int | None = None
    """Of the whole file, where that is known."""


class Told(Protocol):
    """What a download says while it goes on."""

    def resumed(self, count: int) -> None: ...
    def came(self, count: int) -> None: ...


Judge = Callable[[httpx2.Response], None]
"""Raises the named error of an answer that is not the file."""


async def fetch(client: httpx2.AsyncClient, wanted: Wanted, told: Told, judge: Judge) -> None:
    """Leave exactly the wanted file at its target, or raise and leave nothing there.

    Raises `CorruptDownload` when the bytes are not the announced ones even after a clean second try, `NoRoom`,
    `HomeNotWritable`, `HubUnreachable`, and whatever `judge` raises.
    """
    if await _is_here(wanted):
        told.resumed(wanted.size_bytes)
        return
    partial = wanted.target.with_name(wanted.target.name + PARTIAL)
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        async with _alone(partial):
            if await _is_here(wanted):  # another process, which held the lock, has just finished it
                partial.unlink()
                told.resumed(wanted.size_bytes)
                return
            await _fetch_and_rename(client, wanted, partial, told, judge)
    except OSError as trouble:
        if trouble.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoRoom(missing=_left(wanted, partial), path=str(wanted.target.parent)) from trouble
        raise HomeNotWritable(path=str(wanted.target.parent), problem=trouble.strerror) from trouble


async def _fetch_and_rename(
    client: httpx2.AsyncClient, wanted: Wanted, partial: Path, told: Told, judge: Judge
) -> None:
    found = ""
    for _ in range(2):
        with partial.open("r+b") as out:
            digest = await _fill(client, wanted, out.fileno(), told, judge)
            found = digest.hexdigest()
            if found == _expected(wanted):
                os.fsync(out.fileno())
                break
            out.truncate(0)
    else:
        partial.unlink()
        raise CorruptDownload(file=wanted.target.name, expected=_expected(wanted), got=found)
    partial.rename(wanted.target)
    _sync_folder(wanted.target.parent)


async def _fill(client: httpx2.AsyncClient, wanted: Wanted, out: int, told: Told, judge: Judge) -> hashlib._Hash:
    """Append what is missing to the partial file; the digest of all of it."""
    digest = _new_digest(wanted)
    kept = os.fstat(out).st_size
    if kept > wanted.size_bytes:
        os.ftruncate(out, 0)
        kept = 0
    await _hash_file(digest, out)
    told.resumed(kept)
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if kept == wanted.size_bytes:
        return digest
    if kept:
        headers["Range"] = f"bytes={kept}-"
    try:
        async with client.stream("GET", wanted.url, headers=headers) as answer:
            judge(answer)
            if kept and answer.status_code == 206:
                if answer.headers.get("Content-Range") != f"bytes {kept}-{wanted.size_bytes - 1}/{wanted.size_bytes}":
                    os.ftruncate(out, 0)
                    raise CorruptDownload(file=wanted.target.name, expected=f"bytes {kept}-", got="Content-Range")
            elif kept:  # the server ignored the range: this is the file from its start
                os.ftruncate(out, 0)
                told.resumed(-kept)
                digest, kept = _new_digest(wanted), 0
            os.lseek(out, kept, os.SEEK_SET)
            async for chunk in answer.aiter_raw(_CHUNK):
                kept += len(chunk)
                if kept > wanted.size_bytes:
                    os.ftruncate(out, 0)
                    raise CorruptDownload(
                        file=wanted.target.name, expected=str(wanted.size_bytes), got=f">{wanted.size_bytes}"
                    )
                digest.update(chunk)
                _write_all(out, chunk)
                told.came(len(chunk))
    except httpx2.HTTPError as trouble:
        raise HubUnreachable(host=httpx2.URL(wanted.url).host, problem=type(trouble).__name__) from trouble
    if kept < wanted.size_bytes:
        raise HubUnreachable(host=httpx2.URL(wanted.url).host, problem=f"{kept} / {wanted.size_bytes}")
    return digest


def partials(folder: Path) -> list[Partial]:
    """Every partial file under a folder, by name."""
    found = []
    for path in sorted(folder.rglob("*" + PARTIAL)) if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # finished meanwhile
            there = path.stat()
            name = path.relative_to(folder).as_posix().removesuffix(PARTIAL)
            found.append(Partial(name, path, there.st_size, there.st_mtime))
    return found


def forget(partial: Partial) -> bool:
    """Delete a partial file, unless a download works on it."""
    with contextlib.suppress(FileNotFoundError), partial.path.open("rb") as there:
        try:
            import fcntl

            fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: an open file cannot be deleted anyway
            pass
        except BlockingIOError:
            return False
        partial.path.unlink(missing_ok=True)
    return True


def check_room(path: Path, size_bytes: int, free_bytes: int) -> None:
    """Refuse before the first byte what would not fit with 5 % to spare. Raises `NoRoom` with the missing bytes."""
    needed = int(size_bytes * _MARGIN)
    if needed > free_bytes:
        raise NoRoom(missing=needed - free_bytes, path=str(path))


def _write_all(out: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(out, view) :]


def _expected(wanted: Wanted) -> str:
    return wanted.sha256 or wanted.git_sha1 or ""


def _new_digest(wanted: Wanted) -> hashlib._Hash:
    if wanted.sha256:
        return hashlib.sha256()
    # A small file's id on the Hub is git's: sha1 over a header and the content.
    return hashlib.sha1(b"blob %d\0" % wanted.size_bytes, usedforsecurity=False)


async def _is_here(wanted: Wanted) -> bool:
    """Is the very file at its target already? Its bytes are read: a name and a size prove nothing."""
    if not wanted.target.is_file() or wanted.target.stat().st_size != wanted.size_bytes:
        return False
    digest = _new_digest(wanted)
    with wanted.target.open("rb") as there:
        await _hash_file(digest, there.fileno())
    return digest.hexdigest() == _expected(wanted)


async def _hash_file(digest: hashlib._Hash, file: int) -> None:
    def work() -> None:
        place = 0
        while chunk := os.pread(file, _CHUNK, place):
            digest.update(chunk)
            place += len(chunk)

    await asyncio.to_thread(work)


def _left(wanted: Wanted, partial: Path) -> int:
    kept = partial.stat().st_size if partial.exists() else 0
    return max(0, wanted.size_bytes - kept)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@asynccontextmanager
async def _alone(partial: Path) -> AsyncIterator[None]:
    """One process at a time on a partial file; another waits, and takes over when the holder is gone."""
    try:
        import fcntl
    except ImportError:  # Windows: the rename at the end keeps the promise, the bytes may come twice
        partial.touch()
        yield
        return
    while True:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder may have renamed the file we waited for: then this is no longer the partial file.
            if partial.exists() and os.fstat(handle).st_ino == partial.stat().st_ino:
                try:
                    yield
                finally:
                    os.close(handle)
                return
            os.close(handle)
        except BlockingIOError:
            os.close(handle)
            await asyncio.sleep(0.2)
