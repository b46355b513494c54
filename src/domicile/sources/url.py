"""A file at an address that a person gave: looked at before it is fetched, and fetched from where it was looked at.

The client is the guarded one: no address of this machine or of a private network, each connection to the very address
that was checked, no redirect to another place. The first bytes say what the file is; a format that can run code is
refused whatever it is called. Where neither the person nor the server gives a sha256, the one of the file that came is
kept, so that a change is seen the next time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import httpx2

from domicile import __version__, names, outside
from domicile.config import Settings
from domicile.download import Wanted
from domicile.errors import FileNotOnHub, HubAnswer, HubUnreachable, RunsCode, TokenRefused, UnknownFormat
from domicile.plain import line
from domicile.refs import ModelRef, file_of, is_safe_path
from domicile.types import Format, Installed, RemoteFile, Repository, Variant

_HEAD = 64
_LARGEST = 2**50
_LARGEST_LIBRARY = 2**27
_RANGE = re.compile(r"bytes 0-(\d{1,4})/(\d{1,16})")
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_SAFE = re.compile(r"[^A-Za-z0-9._-]")


class Url:
    """The source of plain addresses."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._models = settings.models
        self.client = client

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """The file: its size and format by its first bytes. Raises `PlaceRefused`, `RunsCode`, `UnknownFormat`, ..."""
        name = file_of(ref.name)
        headers, size, head = await self._look(ref.name)
        form = format_of(name, head, size)
        digest = ref.revision or _announced(headers)
        etag = headers.get("ETag", "")
        file = RemoteFile(name, size, sha256=digest)
        hint = names.read(name)
        variant = Variant(hint.stem or name, hint.quantisation, (file,), form, hint.role)
        commit = digest or (etag if _STRONG.fullmatch(etag) else "")
        return Repository(ref.name, commit, (variant,), (file,), author=outside.host_of(ref.name), source="url")

    async def library(self, address: str) -> Repository:
        """A compiled library (WebAssembly) at an address. Raises `UnknownFormat` for anything else, as `describe`."""
        name = file_of(address)
        headers, size, head = await self._look(address)
        if head[:4] != b"\0asm" or not name.endswith(".wasm") or not is_safe_path(name) or size > _LARGEST_LIBRARY:
            raise UnknownFormat(files=line(name))
        etag = headers.get("ETag", "")
        commit = etag if _STRONG.fullmatch(etag) else ""
        file = RemoteFile(name, size, sha256=_announced(headers))
        return Repository(address, commit, (), (file,), author=outside.host_of(address), source="url")

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """The file at its address."""
        headers = {"User-Agent": f"domicile/{__version__}"}
        return Wanted(repository.id, target, file.size_bytes, file.sha256, headers=headers)

    def judge(self, answer: httpx2.Response) -> None:
        """Raise the named error of an answer that is not the file."""
        if answer.is_redirect:
            onward = answer.headers.get("Location", "")
            raise HubAnswer(host=answer.request.url.host, problem=line(onward, 200), reason="redirect")
        self._judge(answer.status_code, str(answer.request.url))

    def folder(self, repository: Repository) -> Path:
        """`models/urls/<host>/<digest of the address>/`: a host may have two files of one name."""
        place = outside.place_of(httpx2.URL(repository.id)).removesuffix(":443").removesuffix(":80")
        which = hashlib.sha256(repository.id.encode()).hexdigest()[:12]
        return self._models / "urls" / _SAFE.sub("_", place) / which

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        stem = _SAFE.sub("-", Path(variant.files[0].path).stem).strip(".-_")[:80] or "model"
        path = files[variant.files[0].path]
        return Installed(
            name=stem,
            path=path,
            format=variant.format,
            size_bytes=variant.size_bytes,
            source="url",
            files=(path,),
            repository=repository.id,
            revision=repository.commit or None,
            quantisation=variant.quantisation,
            digests=tuple(f.sha256 for f in variant.files),
        )

    async def _look(self, url: str) -> tuple[httpx2.Headers, int, bytes]:
        """The answer's head, the file's size, and its first bytes, for one small range."""
        head = bytearray()
        try:
            async with (
                asyncio.timeout(outside.ANSWER_S),
                outside.opened(self.client, url, {"Range": f"bytes=0-{_HEAD - 1}"}) as answer,
            ):
                self._judge(answer.status_code, url)
                ranged = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                told = answer.headers.get("Content-Length", "")
                if answer.status_code == 206 and ranged:
                    size = int(ranged[2])
                elif answer.status_code == 200 and told.isdigit() and len(told) < 17:
                    size = int(told)
                else:
                    raise HubAnswer(host=answer.url.host, problem="Content-Length", reason="size")
                async for chunk in answer.aiter_raw():
                    head += chunk
                    if len(head) >= _HEAD:
                        break
        except TimeoutError as trouble:
            raise HubUnreachable(
                host=outside.host_of(url), problem=f"> {outside.ANSWER_S:.0f} s", reason="slow"
            ) from trouble
        if not 0 < size < _LARGEST:
            raise HubAnswer(host=outside.host_of(url), problem=str(size), reason="size")
        return answer.headers, size, bytes(head[:_HEAD])

    def _judge(self, status: int, url: str) -> None:
        host = outside.host_of(url)
        if status in {404, 410}:
            raise FileNotOnHub(name=host, path=line(file_of(url)), reason="gone")
        if status in {401, 403}:
            raise TokenRefused(host=host, name=line(file_of(url)), reason="url")
        if error := outside.judged(status, host):
            raise error


def format_of(name: str, head: bytes, size: int) -> Format:
    """What a file is, by its first bytes, its name being a hint only. Raises `RunsCode` or `UnknownFormat`."""
    if head[:4] == b"GGUF":
        return "gguf"
    if head[:2] == b"\x80\x02" or (len(head) > 1 and head[0] == 0x80 and head[1] <= 5):
        raise RunsCode(file=name, kind="pickle")
    if head[:4] == b"PK\x03\x04":
        raise RunsCode(file=name, kind="zip")
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        raise RunsCode(file=name, kind="HDF5")
    if head[:4] == b"lmgg":
        return "whisper"
    if names.runs_code([name]):
        raise RunsCode(file=name, kind=Path(name).suffix)
    if len(head) > 8 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    # An ONNX file is a protobuf message whose first field is the version of its representation.
    if name.lower().endswith(".onnx") and head[:1] == b"\x08":
        return "onnx"
    raise UnknownFormat(files=line(name))


def _announced(headers: Mapping[str, str]) -> str | None:
    """The sha256 that the server gives (RFC 9530); the Hub's `X-Linked-Etag` would be another site's word for it."""
    found = re.search(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/=]{44}):", headers.get("Repr-Digest", ""))
    try:
        return base64.b64decode(found[1], validate=True).hex() if found else None
    except (ValueError, binascii.Error):
        return None
