"""What a model's files say of themselves before anything is loaded.

Knows the readers (READERS), which of them a set of files is for, and where bytes come from: a file here, or a
range of one elsewhere. A reader never sees the difference. What it learns is `Facts`; what it refuses is a
`FormatTrouble`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import httpx2

from domicile.errors import Malformed, RangeRefused, UnknownFormat
from domicile.formats import diffusers, gguf, mlc, onnx, safetensors, whisper
from domicile.formats.gguf_header import MAGIC, Vocabularies
from domicile.formats.window import Steps, T, Want, refuse_code
from domicile.types import Facts


class Source(Protocol):
    """The bytes of one file."""

    @property
    def size_bytes(self) -> int: ...

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, or an error of ours."""
        ...


class LocalBytes:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    async def read(self, offset: int, length: int) -> bytes:
        return await anyio.to_thread.run_sync(self._read, offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        pieces = []
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(offset)
                while length and (piece := file.read(length)):
                    pieces.append(piece)
                    length -= len(piece)
        except OSError as trouble:
            raise Malformed(file=self._path.name, problem=trouble.strerror or str(trouble)) from trouble
        return b"".join(pieces)


class RangedBytes:
    """A file elsewhere, read by range requests. Counts what that cost, and stops at `limit_bytes`.

    The client brings the redirects, the token and the time limits: whoever made it knows which origin may see
    what.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        size_bytes: int,
        *,
        headers: Mapping[str, str] | None = None,
        limit_bytes: int = 128 * 2**20,
        judge: Callable[[httpx2.Response], None] = lambda answer: None,
    ) -> None:
        """`judge` raises the named error of an answer that it knows: gated, gone, busy."""
        self._client, self._url, self.size_bytes = client, url, size_bytes
        self._headers, self._limit, self._judge = dict(headers or {}), limit_bytes, judge
        self._etag: str | None = None
        self.bytes_fetched = 0
        self.requests = 0

    async def read(self, offset: int, length: int) -> bytes:
        if not length:
            return b""
        last = offset + length - 1
        if self.bytes_fetched + length > self._limit:
            raise self._refused(f"more than {self._limit} bytes of header")
        asked = {"Range": f"bytes={offset}-{last}", "Accept-Encoding": "identity"}
        self.requests += 1
        try:
            async with self._client.stream("GET", self._url, headers=self._headers | asked) as answer:
                self._check(answer, f"bytes {offset}-{last}/{self.size_bytes}")
                body = bytearray()
                async for piece in answer.aiter_raw():
                    body += piece
                    self.bytes_fetched += len(piece)
                    if len(body) > length:
                        raise self._refused(f"more than the {length} bytes asked for")
        except httpx2.HTTPError as trouble:
            raise self._refused(type(trouble).__name__) from trouble
        if len(body) != length:
            raise self._refused(f"{len(body)} bytes of {length}")
        return bytes(body)

    def _check(self, answer: httpx2.Response, expected: str) -> None:
        """206 and the very range asked for, of the file first met: anything else is another file's bytes."""
        if answer.status_code >= 400 and answer.status_code != httpx2.codes.RANGE_NOT_SATISFIABLE:
            self._judge(answer)
        if answer.status_code != httpx2.codes.PARTIAL_CONTENT:
            raise self._refused(f"status {answer.status_code}")
        if answer.headers.get("content-range", "").strip() != expected:
            raise self._refused(f"range {answer.headers.get('content-range', '')[:80]!r}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise self._refused("compressed")
        etag = answer.headers.get("etag")
        if self._etag and etag != self._etag:
            raise self._refused("the file changed meanwhile")
        self._etag = etag

    def _refused(self, problem: str) -> RangeRefused:
        return RangeRefused(file=self._url.split("?")[0].rsplit("/", 1)[-1][:200], problem=problem)


@dataclass(frozen=True, slots=True)
class Reader:
    """One family of files. `claims` looks at names only; `steps` may ask for bytes."""

    name: str
    claims: Callable[[Collection[str]], bool]
    steps: Callable[[Mapping[str, int], bool, Vocabularies | None], Steps[Facts]]


READERS: tuple[Reader, ...] = (
    Reader("gguf", gguf.claims, gguf.steps),
    Reader("diffusers", diffusers.claims, diffusers.steps),
    Reader("mlc", mlc.claims, mlc.steps),
    Reader("onnx", onnx.claims, onnx.steps),
    Reader("whisper", whisper.claims, whisper.steps),
    Reader("safetensors", safetensors.claims, safetensors.steps),
)
"""In the order they are asked: the more particular first (a diffusers folder holds safetensors too)."""


async def read(files: Mapping[str, Source], *, badge: bool = False, vocabularies: Vocabularies | None = None) -> Facts:
    """The facts of one variant: its files by their path in the repository, with the small ones beside them.

    `badge` asks for what one request of 64 KB tells; the weights are then the files' sizes. `vocabularies`
    remembers tokenizers between calls.
    """
    sizes = {name: source.size_bytes for name, source in files.items()}
    facts, spent = await _drive(files, _steps(sizes, badge, vocabularies))
    return replace(facts, bytes_read=spent)


async def rewrite_probe(files: Mapping[str, Source], target: Path, vocabularies: Vocabularies | None = None) -> int:
    """Write a GGUF without weights that the engine can be asked about; gives its logical size.

    A few kilobytes on disk: the rest is a hole. (On NTFS a hole must be asked for before, or it is reserved.)
    """
    sizes = {name: source.size_bytes for name, source in files.items()}
    made, _ = await _drive(files, gguf.probe(sizes, vocabularies))

    def write() -> None:
        with target.open("wb") as file:
            file.write(made.head)
            file.truncate(made.size_bytes)

    await anyio.to_thread.run_sync(write)
    return made.size_bytes


async def _drive(files: Mapping[str, Source], steps: Steps[T]) -> tuple[T, int]:
    """Give a parser what it wants until it is done; and how many bytes that took."""
    spent, want = 0, None
    try:
        want = next(steps)
        while True:
            spent += want.length
            # not kept in a name here: a header may be 25 MB, and would be in memory as long as it is parsed
            want = steps.send(await files[want.file].read(want.offset, want.length))
    except StopIteration as done:
        result: T = done.value
        return result, spent
    finally:
        steps.close()


def _steps(sizes: Mapping[str, int], badge: bool, vocabularies: Vocabularies | None) -> Steps[Facts]:
    reader = next((r for r in READERS if r.claims(sizes.keys())), None)
    if reader is None:
        if len(sizes) != 1:
            for name in sizes:
                refuse_code(name)
            raise UnknownFormat(files=", ".join(sorted(sizes))[:200])
        reader = yield from _sniff(*next(iter(sizes.items())))
    return (yield from reader.steps(sizes, badge, vocabularies))


def _sniff(name: str, size: int) -> Steps[Reader]:
    """A file without a telling name: an Ollama blob, something a person renamed."""
    head = (yield Want(name, 0, min(16, size))) if size else b""
    if head[:4] == MAGIC:
        return READERS[0]
    refuse_code(name, head)
    if whisper.is_ggml(head):
        return READERS[4]
    refuse_code(name)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return READERS[5]
    raise UnknownFormat(files=name[:200])
