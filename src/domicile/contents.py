"""What a file holds, by its sha256: whether two files, wherever they lie, are the same.

A digest is good as long as the file's size and time of change are those it was taken at. One that a store announces
by its layout (the name of a blob) is believed until somebody reads the file: `verify` does, and says when it lied.
Reading is slow (a second or more a gigabyte), so a few pieces are compared first, and a file is never read twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from domicile.db import Database
from domicile.errors import ModelFileMissing

_CHUNK = 1 << 20
_PIECE = 1 << 16
_PIECES = 16


class Contents:
    """The digests of a house, kept in its database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._samples: dict[tuple[str, int, int], str] = {}
        self._heard: dict[str, str] = {}

    def known(self, path: Path) -> str | None:
        """The digest of a file, if it is known without reading: read before, or announced."""
        row = self._row(path)
        if row is None:
            return self._heard.get(str(path))
        return None if row[1] == "wrong" else row[0]

    def verified(self, path: Path) -> bool | None:
        """Was it read and right, read and wrong, or (None) not read since it changed?"""
        row = self._row(path)
        return None if row is None or row[1] == "announced" else row[1] == "read"

    def _row(self, path: Path) -> tuple[str, str] | None:
        try:
            now = path.stat()
        except OSError:
            return None
        rows = self._database.read("SELECT * FROM contents WHERE path = ?", str(path))
        if not rows or (rows[0]["size_bytes"], rows[0]["mtime_ns"]) != (now.st_size, now.st_mtime_ns):
            return None
        return str(rows[0]["sha256"]), str(rows[0]["state"])

    def hear(self, path: Path, sha256: str) -> None:
        """Somebody says so, and it need not be kept: enough for a list."""
        self._heard[str(path)] = sha256

    def sample(self, paths: Iterable[Path]) -> None:
        """Read a few pieces of each file now, in whatever thread, so that `alike` need not."""
        for path in paths:
            with suppress(OSError):
                self._sample(path)

    def likeness(self, paths: Iterable[Path]) -> tuple[tuple[int, str], ...]:
        """Two sets of files that are alike have the same one: their sizes, with the samples that were taken."""
        found = []
        for path in paths:
            with suppress(OSError):
                at = path.stat()
                found.append((at.st_size, self._samples.get((str(path), at.st_size, at.st_mtime_ns), "")))
        return tuple(sorted(found))

    def announce(self, path: Path, sha256: str) -> None:
        """Somebody who should know says so: believed until the file is read."""
        self.announce_all([(path, sha256)])

    def announce_all(self, said: Iterable[tuple[Path, str]]) -> None:
        """The same for several files, in one transaction."""
        new = []
        for path, sha256 in said:
            row = self._row(path)
            if row is None or (row[1] == "read" and row[0] != sha256):
                with suppress(OSError):
                    new.append((path, path.stat(), sha256, "announced" if row is None else "wrong"))
        self._keep(*new)

    async def digest(self, path: Path, came: Callable[[int], None] | None = None) -> str:
        """The digest of what the file really holds; read now unless it was. `came` is told of the bytes read.

        Raises `ModelFileMissing`.
        """
        row = self._row(path)
        if row is not None and row[1] == "read":
            return row[0]
        try:
            before = path.stat()
            found = await asyncio.to_thread(_sha256, path, _beside(came))
            if path.stat().st_mtime_ns == before.st_mtime_ns:
                lied = row is not None and row[0] != found
                kept = row[0] if row is not None else found
                self._keep((path, before, kept, "wrong" if lied else "read"))
        except OSError as trouble:
            raise ModelFileMissing(name=path.name, path=str(path)) from trouble
        return found

    async def verify(self, path: Path, announced: str) -> bool:
        """Read a file, unless it was, to see whether it holds what is announced; the answer is kept."""
        self.announce(path, announced)
        held = self.verified(path)
        return held if held is not None else await self.digest(path) == announced

    def alike(self, ours: Sequence[Path], theirs: Sequence[Path]) -> bool:
        """Are these probably the same: the same files on the disk, or sizes, digests and samples that agree?"""
        return self._pairs(ours, theirs, self._alike) is not None

    async def same(self, ours: Sequence[Path], theirs: Sequence[Path]) -> bool:
        """Are these the same, byte for byte? Reads files whole only when everything cheaper agrees."""
        pairs = self._pairs(ours, theirs, self._alike)
        if pairs is None:
            return False
        for mine, other in pairs:
            if _one_file(mine, other):
                continue
            known = self.known(mine), self.known(other)
            if None not in known and known[0] == known[1]:
                continue
            if await self.digest(mine) != await self.digest(other):
                return False
        return True

    def _pairs(
        self, ours: Sequence[Path], theirs: Sequence[Path], alike: Callable[[Path, Path], bool]
    ) -> list[tuple[Path, Path]] | None:
        """Each of our files beside the one of theirs that it is like; None when one has no like."""
        if len(ours) != len(theirs):
            return None
        left, pairs = list(theirs), []
        for mine in ours:
            other = next((t for t in left if alike(mine, t)), None)
            if other is None:
                return None
            left.remove(other)
            pairs.append((mine, other))
        return pairs

    def _alike(self, mine: Path, other: Path) -> bool:
        try:
            a, b = mine.stat(), other.stat()
            if a.st_size != b.st_size:
                return False
            if os.path.samestat(a, b):
                return True
            known = self.known(mine), self.known(other)
            if None not in known:
                return known[0] == known[1]
            return self._sample(mine) == self._sample(other)
        except OSError:
            return False

    def _sample(self, path: Path) -> str:
        now = path.stat()
        key = (str(path), now.st_size, now.st_mtime_ns)
        if key not in self._samples:
            self._samples[key] = _sample(path, now.st_size)
        return self._samples[key]

    def _keep(self, *told: tuple[Path, os.stat_result, str, str]) -> None:
        if not told:
            return
        with self._database.write() as w:
            w.executemany(
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?)",
                [(str(path), at.st_size, at.st_mtime_ns, sha256, state) for path, at, sha256, state in told],
            )


def _one_file(a: Path, b: Path) -> bool:
    """One file under two names: a link."""
    try:
        return a.samefile(b)
    except OSError:
        return False


def _beside(came: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """`came` is called in the loop, whatever thread counts."""
    if came is None:
        return None
    loop = asyncio.get_running_loop()

    def told(count: int) -> None:
        loop.call_soon_threadsafe(came, count)

    return told


def _sha256(path: Path, came: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            if came is not None:
                came(len(piece))
    return digest.hexdigest()


def _sample(path: Path, size: int) -> str:
    """A digest of the size and of pieces spread over the file."""
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb", buffering=0) as file:
        for number in range(_PIECES + 1):
            file.seek(max(0, (size - _PIECE) * number // _PIECES))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()
