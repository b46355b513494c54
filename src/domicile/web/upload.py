"""A form with a file in it (`multipart/form-data`), written to disk as it comes, never whole in memory.

The file lies in a folder of the house's for the owner alone, under a name of ours, and is gone when its request is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from domicile.errors import BadField, BodyTooLarge, MissingField, NoRoom

FIELD_BYTES = 64 << 10
MOST_FIELDS = 64
_OVERHEAD = 1 << 20
_STALE_S = 24 * 3600.0


@dataclass
class Form:
    """What came. Leaving its context deletes the file."""

    path: Path
    name: str = ""
    """The file's own name, which says nothing reliable."""
    size_bytes: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def drop(self) -> None:
        """Delete the file; once is enough."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def one(self, name: str) -> str | None:
        """A field that may be given once. Raises `BadField`."""
        given = self.fields.get(name, [])
        if len(given) > 1:
            raise BadField(field=name, problem=f"{len(given)}", reason="text")
        return given[0] if given else None


async def form(request: Request, folder: Path, limit_bytes: int, *, file: str = "file") -> Form:
    """Read a form whose field `file` is a file. Raises `BadField`, `MissingField`, `BodyTooLarge`, `NoRoom`."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadField(field="Content-Type", problem=kind.decode("latin-1")[:80], reason="multipart")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit_bytes + _OVERHEAD:
        raise BodyTooLarge(limit=limit_bytes, size=int(announced))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(folder)
    made = Form(folder / f"{secrets.token_hex(12)}.part")
    try:
        with os.fdopen(os.open(made.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            reader = _Reader(made, opened, file, limit_bytes)
            parser = MultipartParser(boundary, reader.callbacks())
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        if not reader.came or not reader.ended:
            raise MissingField(field=file)
    except MultipartParseError as trouble:
        made.drop()
        raise BadField(field="body", problem=str(trouble)[:120], reason="multipart") from trouble
    except OSError as trouble:
        made.drop()
        missing = int(announced) - made.size_bytes if announced.isdigit() else 1 << 20
        raise NoRoom(missing=max(1 << 20, missing), path=folder.name) from trouble
    except BaseException:
        made.drop()
        raise
    return made


def _sweep(folder: Path) -> None:
    """Delete what a house that was killed left."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()


class _Reader:
    """The parser's callbacks: one part after the other."""

    def __init__(self, made: Form, opened: BinaryIO, file: str, limit_bytes: int) -> None:
        self._made, self._opened, self._file, self._limit = made, opened, file, limit_bytes
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[str, bytes] = {}
        self._name: str | None = None
        self._is_file = False
        self._text = bytearray()
        self.came = self.ended = False

    def callbacks(self) -> Any:
        names = ("on_part_begin", "on_part_data", "on_part_end", "on_header_field", "on_header_value")
        return {name: getattr(self, name) for name in (*names, "on_header_end", "on_headers_finished", "on_end")}

    def on_part_begin(self) -> None:
        self._headers, self._name, self._is_file = {}, None, False
        self._text.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:200]
        self._is_file = b"filename" in options
        if self._is_file:
            if self.came or self._name != self._file:
                raise BadField(field=self._name, problem="file", reason="one_file", allowed=self._file)
            self.came = True
            self._made.name = options[b"filename"].decode("utf-8", "replace")[-200:]
        elif sum(map(len, self._made.fields.values())) >= MOST_FIELDS:
            raise BadField(field=self._name, problem=str(MOST_FIELDS), reason="list")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._made.size_bytes += end - start
            if self._made.size_bytes > self._limit:
                raise BodyTooLarge(limit=self._limit, size=self._made.size_bytes)
            self._opened.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise BodyTooLarge(limit=FIELD_BYTES, size=len(self._text))

    def on_part_end(self) -> None:
        if not self._is_file and self._name:
            self._made.fields.setdefault(self._name, []).append(self._text.decode("utf-8", "replace"))

    def on_end(self) -> None:
        self.ended = True
