"""The bytes of one file, a piece at a time, for parsers that never touch a disk or a network.

Knows how a parser asks (`Want`) and where in the file it stands (`Window`). A parser is a generator: it
yields what it wants and is sent the bytes, so a local file and a range request cannot give different facts.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from domicile.errors import Malformed, RunsCode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Want:
    """A part of a file, by its name among the files of the model."""

    file: str
    offset: int
    length: int


Steps = Generator[Want, bytes, T]
"""A parser: yields `Want`, is sent exactly those bytes, returns what it learnt."""

HEAD_BYTES = 64 * 1024
"""The first request for any file: enough for a badge."""


class Window:
    """A cursor over a file of known size, holding only the bytes around it."""

    __slots__ = ("at", "ceiling", "chunk", "data", "file", "grows", "left", "size", "start")

    def __init__(
        self,
        file: str,
        size: int,
        *,
        head: bytes = b"",
        chunk: int,
        ceiling: int | None = None,
        grows: bool = False,
        most_read: int = 2**62,
    ) -> None:
        self.file, self.size, self.chunk = file, size, chunk
        self.data, self.start, self.at = head, 0, 0
        self.ceiling = size if ceiling is None else min(size, ceiling)
        """No cursor goes beyond: the end of the file, or the largest header worth believing."""
        self.grows = grows
        """For a header with weights in it: small pieces after a jump, larger ones as reading goes on."""
        self.left = most_read

    @property
    def offset(self) -> int:
        return self.start + self.at

    def bad(self, problem: str, **reason: str) -> Malformed:
        """`reason` names a sentence of its own; without one the problem itself is shown."""
        return Malformed(file=self.file, problem=problem, **reason)

    def _too_far(self, end: int) -> Malformed:
        if end > self.size:
            return self.bad("ends too early", reason="cut")
        return self.bad(f"header beyond {self.ceiling} bytes")

    def has(self, n: int) -> bool:
        return self.at + n <= len(self.data)

    def need(self, n: int) -> Steps[None]:
        """Have `n` bytes at the cursor, or be `Malformed`."""
        have = len(self.data) - self.at
        if 0 <= n <= have:
            return
        end = self.offset + n
        if n < 0 or end > self.ceiling:
            raise self._too_far(end)
        if have < 0:  # the cursor jumped ahead of what was read
            self.start, self.at, self.data, have = self.offset, 0, b"", 0
            self.chunk = 2**13 if self.grows else self.chunk
        elif self.grows:
            self.chunk = min(2 * self.chunk, 2**20)
        length = min(max(n - have, self.chunk), self.size - self.offset - have)
        self.left -= length
        if self.left < 0:
            raise self.bad("a header in too many pieces")
        more = yield Want(self.file, self.offset + have, length)
        if len(more) != length:
            raise self.bad("shorter than announced", reason="cut")
        self.data = self.data[self.at :] + more
        self.start, self.at = self.offset, 0

    def take(self, n: int) -> Steps[bytes]:
        yield from self.need(n)
        piece = self.data[self.at : self.at + n]
        self.at += n
        return piece

    def skip(self, n: int) -> None:
        """Go on without reading. The bytes may not be there: `need` finds out."""
        if n < 0 or self.offset + n > self.ceiling:
            raise self._too_far(self.offset + n)
        self.at += n

    def unpack(self, form: struct.Struct) -> Steps[tuple[Any, ...]]:
        yield from self.need(form.size)
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values


def whole(file: str, size: int, limit: int) -> Steps[bytes]:
    """A small file entirely."""
    if size > limit:
        raise Malformed(file=file, problem=f"{size} bytes, more than {limit}")
    data = (yield Want(file, 0, size)) if size else b""
    if len(data) != size:
        raise Malformed(file=file, problem="shorter than announced", reason="cut")
    return data


_CODE_NAMES = (
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".h5",
    ".hdf5",
    ".keras",
    ".joblib",
    ".npy",
    ".npz",
)


def refuse_code(file: str, head: bytes | None = None) -> None:
    """Raise `RunsCode` for what opening would execute: by name, or by magic whatever the name.

    A zip holds a torch pickle; protocol 2 and later of pickle start with 0x80 and a small number. Nothing
    here opens them to be sure: not opening is the point.
    """
    if head is None:
        if file.lower().endswith(_CODE_NAMES):
            raise RunsCode(file=file, kind="name")
        return
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"}:
        raise RunsCode(file=file, kind="zip")
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        raise RunsCode(file=file, kind="pickle")
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        raise RunsCode(file=file, kind="HDF5")
