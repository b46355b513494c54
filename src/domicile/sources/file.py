"""A model that is on this machine already: used where it lies, not copied, not fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio.to_thread
import httpx2

from domicile.download import Wanted
from domicile.errors import BadModelFile, BadName, ModelFileMissing
from domicile.refs import ModelRef
from domicile.types import Installed, RemoteFile, Repository, Variant


class File:
    """The source of paths. Nothing is ever wanted of it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """The file as a repository of one. Raises `ModelFileMissing`, or `BadModelFile` for what is no GGUF."""
        path, size = await anyio.to_thread.run_sync(_look, ref.name)
        file = RemoteFile(path.name, size)
        return Repository(str(path), "", (Variant(path.stem, None, (file,)),), (file,), source="file")

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """Nothing to fetch: it is here. Raises `BadName` when asked all the same."""
        raise BadName(name=repository.id, reason="is_file")

    def judge(self, answer: httpx2.Response) -> None:
        """No answer ever comes."""

    def folder(self, repository: Repository) -> Path:
        return Path(repository.id).parent

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        path = Path(repository.id)
        return Installed(path.stem, path, "gguf", variant.size_bytes, "file", files=(path,))


def _look(name: str) -> tuple[Path, int]:
    try:
        path = Path(name).expanduser().absolute()
        with path.open("rb") as opened:
            magic = opened.read(4)
        if magic != b"GGUF":
            raise BadModelFile(name=path.name, reason="magic", problem=repr(magic))
        return path, path.stat().st_size
    except (OSError, ValueError, RuntimeError) as trouble:
        raise ModelFileMissing(name=Path(name).name[:200], path=name[:500], reason="never") from trouble
