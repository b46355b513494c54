"""Files that a client gives us piece by piece, each under its own sha256: what `/api/create` makes models of.

A file gets its name once its digest is right. One that no model uses is removed a day after it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from domicile.errors import BlobNotFound, NoRoom, WrongDigest

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
UNUSED_S = 86400.0
RESERVE_BYTES = 1 << 30
"""Room that an upload leaves on the disk."""


class Blobs:
    """A folder of files, one folder each, so that the library finds them again by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the file of a digest is, or will be. Raises `WrongDigest` for what is no digest."""
        found = _DIGEST.fullmatch(digest)
        if found is None:
            raise WrongDigest(expected="sha256:<64 hex>", got=digest[:80])
        return self._folder / f"sha256-{found[1].lower()}" / "model.gguf"

    def get(self, digest: str) -> Path:
        """The file of a digest. Raises `BlobNotFound`."""
        path = self.path(digest)
        if not path.is_file():
            raise BlobNotFound(digest=digest[:80])
        return path

    async def receive(self, digest: str, chunks: AsyncIterator[bytes], announced: int | None) -> Path:
        """Write what comes; it gets its name when its sha256 is the one announced. Raises `WrongDigest`, `NoRoom`."""
        path = self.path(digest)
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free - RESERVE_BYTES
        partial = path.with_name(f"upload-{os.urandom(4).hex()}.partial")
        counted, came = hashlib.sha256(), 0
        try:
            if (announced or 0) > free:
                raise NoRoom(missing=(announced or 0) - free, path=str(self._folder))
            with partial.open("wb") as file:
                async for chunk in chunks:
                    came += len(chunk)
                    if came > free:
                        raise NoRoom(missing=came - free, path=str(self._folder))
                    await asyncio.to_thread(file.write, chunk)
                    counted.update(chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            got = f"sha256:{counted.hexdigest()}"
            if got != f"sha256:{path.parent.name.removeprefix('sha256-')}":
                raise WrongDigest(expected=digest, got=got)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty: it is there
                path.parent.rmdir()
        return path

    def prune(self, used: Collection[Path], clock: float | None = None) -> int:
        """Remove what no model uses and came more than a day ago. Returns the bytes freed."""
        freed, old = 0, (time.time() if clock is None else clock) - UNUSED_S
        for path in [*self._folder.glob("sha256-*/model.gguf"), *self._folder.glob("sha256-*/*.partial")]:
            with contextlib.suppress(OSError):
                if path not in used and path.stat().st_mtime < old:
                    freed += path.stat().st_size
                    path.unlink()
                    path.parent.rmdir()
        return freed
