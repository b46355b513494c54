"""Bytes of one file: fetched in parallel beside their final name, hashed while they come, renamed when they are right.

A name under the models' folder is therefore always a whole, verified file. What a killed download leaves is gone on
with by any process: its blocks are hashed again and only what is missing is fetched. Knows URLs and digests, not
models. `fetch` is the one way in; the order at the end is: file on the disk, digest right, rename, folder on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx2

from domicile.download.checking import new_digest
from domicile.download.journal import LOCK, Partial, forget, journal_of, needed, partials, remove
from domicile.download.limiter import Limiter
from domicile.download.transfer import Stopped, Transfer, client_like
from domicile.download.wanted import BLOCK, PARTIAL, Judge, Noted, Patience, Told, Wanted
from domicile.errors import CorruptDownload, DomicileError, HomeNotWritable, NoRoom

__all__ = [
    "BLOCK",
    "PARTIAL",
    "Judge",
    "Limiter",
    "Noted",
    "Partial",
    "Patience",
    "Told",
    "Wanted",
    "check_room",
    "fetch",
    "forget",
    "needed",
    "partials",
]

_CHUNK = 1 << 20
_MARGIN = 1.05
_TELL_S = 0.1
_WAIT_S = 0.2
_LEAVE_S = 1.5
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_T = TypeVar("_T")


def _silent(_: str) -> None:
    pass


async def fetch(
    client: httpx2.AsyncClient,
    wanted: Wanted,
    told: Told,
    judge: Judge,
    *,
    limits: Limiter | None = None,
    patience: Patience | None = None,
    noted: Noted = _silent,
    block: int = BLOCK,
) -> None:
    """Leave exactly the wanted file at its target, or raise and leave nothing there.

    `client` gives its time-outs and its trust. Cancelled, it ends within two seconds and keeps what has come.
    Raises `CorruptDownload` when the bytes are not the announced ones even after a clean second try, `NoRoom` (what
    has come is kept), `DownloadPaused` when the source wants to be left alone for long, `RedirectRefused`,
    `HomeNotWritable`, `HubUnreachable`, and whatever `judge` raises.
    """
    traces = journal_of(wanted).exists() or wanted.partial.exists()
    if not traces and await _is_here(wanted):
        told.resumed(wanted.size_bytes)
        return
    try:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        async with _alone(wanted.partial, noted):
            if await _is_here(wanted):  # another process, which held the lock, has just finished it
                remove(wanted.partial)
                told.resumed(wanted.size_bytes)
                return
            transfer = Transfer(
                wanted,
                client_like(client),
                judge,
                limits or Limiter(),
                patience or Patience(),
                _marshalled(noted),
                block,
            )
            await _fetch_and_rename(wanted, transfer, told)
    except OSError as trouble:
        if trouble.errno in _FULL:
            raise NoRoom(missing=_lacking(wanted), path=str(wanted.target.parent)) from trouble
        raise HomeNotWritable(path=str(wanted.target.parent), problem=trouble.strerror) from trouble


def _marshalled(noted: Noted) -> Noted:
    """Called in a thread, heard in the loop."""
    loop = asyncio.get_running_loop()

    def note(key: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone: nobody listens any more
            loop.call_soon_threadsafe(noted, key)

    return note


async def _fetch_and_rename(wanted: Wanted, transfer: Transfer, told: Told) -> None:
    came = resumed = 0

    def tell() -> None:
        nonlocal came, resumed
        now_came, now_resumed = transfer.came, transfer.resumed
        if now_resumed != resumed:
            told.resumed(now_resumed - resumed)
        if now_came != came:
            told.came(now_came - came)
        came, resumed = now_came, now_resumed

    try:
        await _in_thread(transfer.run, transfer.stop, tell)
        await _in_thread(transfer.sync, transfer.stop, tell)
    except CorruptDownload:
        remove(wanted.partial)
        raise
    except DomicileError:
        if not came and not resumed:  # refused before its first byte: there is nothing to go on with
            remove(wanted.partial)
        raise
    finally:
        transfer.close()
    wanted.partial.replace(wanted.target)
    _sync_folder(wanted.target.parent)
    remove(wanted.partial)


def check_room(path: Path, size_bytes: int, free_bytes: int) -> None:
    """Refuse before the first byte what would not fit with 5 % to spare. Raises `NoRoom` with the missing bytes."""
    required = int(size_bytes * _MARGIN)
    if required > free_bytes:
        raise NoRoom(missing=required - free_bytes, path=str(path))


def _lacking(wanted: Wanted) -> int:
    """Bytes the disk lacks for the rest of this file."""
    try:
        return max(1, needed(wanted) - shutil.disk_usage(wanted.target.parent).free)
    except OSError:
        return wanted.size_bytes


async def _is_here(wanted: Wanted) -> bool:
    """Is the very file at its target already? Its bytes are read: a name and a size prove nothing."""
    if not wanted.target.is_file() or wanted.target.stat().st_size != wanted.size_bytes or not wanted.digest:
        return False
    stopped = threading.Event()

    def read() -> bool:
        digest = new_digest(wanted)
        with wanted.target.open("rb") as there:
            while not stopped.is_set() and (chunk := there.read(_CHUNK)):
                digest.update(chunk)
        return digest.hexdigest() == wanted.digest

    return await _in_thread(read, stopped.set)


async def _in_thread(work: Callable[[], _T], stop: Callable[[], None], beat: Callable[[], None] = lambda: None) -> _T:
    """Run blocking work in a thread that no exit waits for, with a beat in the loop meanwhile.

    Cancelled, it calls `stop` and gives the work a second to leave.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    outcome: list[tuple[_T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as failure:  # noqa: BLE001 - raised again where it is awaited
            outcome.append((None, failure))
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(over.set)

    threading.Thread(target=run, name="download", daemon=True).start()
    try:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _TELL_S)
            beat()
    except asyncio.CancelledError:
        stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _LEAVE_S)
        raise
    result, failure = outcome[0]
    if failure is not None:
        raise asyncio.CancelledError if isinstance(failure, Stopped) else failure
    return result  # type: ignore[return-value]


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@asynccontextmanager
async def _alone(partial: Path, noted: Noted) -> AsyncIterator[None]:
    """One process at a time on a partial file; another waits, and takes over when the holder is gone."""
    from filelock import FileLock, Timeout

    lock = FileLock(partial.with_name(partial.name + LOCK), thread_local=False)
    waited = False
    while True:
        try:
            lock.acquire(blocking=False)
            break
        except Timeout:
            if not waited:
                noted("waiting")
            waited = True
            await asyncio.sleep(_WAIT_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            Path(lock.lock_file).unlink()
        lock.release()
