"""A file written and read at places, by several threads at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Sheet:
    """An open file. Where the system has no positioned reads and writes (Windows), a lock stands in for them."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        self._at = threading.Lock()
        self._writes = threading.Lock()
        """Systems let one thread write to a file at a time, and make the others spin for their turn (ext4: a fifth of
        the processor of a fast download). A lock lets them sleep."""

    def write(self, data: memoryview, at: int) -> None:
        with self._writes:
            while data:
                if hasattr(os, "pwrite"):
                    count = os.pwrite(self._file, data, at)
                else:
                    with self._at:
                        os.lseek(self._file, at, os.SEEK_SET)
                        count = os.write(self._file, data)
                data, at = data[count:], at + count

    def read(self, into: memoryview, at: int) -> int:
        """How many bytes came: fewer than asked for at the end of the file."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file, [into], at)
        with self._at:
            os.lseek(self._file, at, os.SEEK_SET)
            data = os.read(self._file, len(into))
        into[: len(data)] = data
        return len(data)

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size

    def cut(self, size: int) -> None:
        os.ftruncate(self._file, size)

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
