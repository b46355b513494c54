"""Where models come from. Each source has one shape, `Source`, and the reference says which one it is.

`describe` what is under a reference, `wanted` a file of it to download, `judge` an answer that is not the file, and the
`entry` in the library when its files are here. Knows how to reach places; downloads nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx2

from domicile.config import Settings
from domicile.download import Wanted
from domicile.egress import Egress
from domicile.errors import BadName
from domicile.outside import GuardedClient, Places
from domicile.refs import ModelRef, SourceName
from domicile.sources.choice import choose
from domicile.sources.civitai import Civitai
from domicile.sources.file import File
from domicile.sources.hub import Hub
from domicile.sources.ollama import Ollama
from domicile.sources.url import Url
from domicile.types import Installed, RemoteFile, Repository, Variant

__all__ = ["Source", "Sources", "choose"]


class Source(Protocol):
    """One place models come from."""

    @property
    def client(self) -> httpx2.AsyncClient:
        """What its files are fetched with: it knows how far a redirect may lead."""
        ...

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """What is there: files, grouped into variants. `fresh_s`: an answer of the last seconds will do."""
        ...

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """Where a file that was described is fetched from."""
        ...

    def judge(self, answer: httpx2.Response) -> None:
        """Raise the named error of an answer that is not the file."""
        ...

    def folder(self, repository: Repository) -> Path:
        """Where its files live here."""
        ...

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        """How it is entered in the library once its files (by their path in the repository) are here."""
        ...


class Sources:
    """All of them, over one client for the places we chose, and a guarded one for addresses a person gives."""

    def __init__(
        self, settings: Settings, client: httpx2.AsyncClient, places: Places, hub: Hub, egress: Egress
    ) -> None:
        self.hub = hub
        timeout = httpx2.Timeout(settings.read_timeout, connect=settings.connect_timeout)
        self.guarded = GuardedClient(egress, places.list, timeout)
        self.civitai = Civitai(settings, client)
        self.url = Url(settings, self.guarded)
        self._all: Mapping[SourceName, Source] = {
            "hub": self.hub,
            "ollama": Ollama(settings, client),
            "civitai": self.civitai,
            "url": self.url,
            "file": File(client),
        }

    def of(self, ref: ModelRef) -> Source:
        """The source a reference names. Raises `BadName` for a name of the house that is nobody else's."""
        if ref.kind == "house":
            raise BadName(name=ref.name, reason="not_on_hub")
        return self._all[ref.kind]

    def named(self, name: SourceName) -> Source:
        return self._all[name]

    async def close(self) -> None:
        await self.guarded.aclose()


def elsewhere(ref: ModelRef) -> ModelRef:
    """What a name of the house means when nothing of that name lives here: with a tag, Ollama's model of that name
    (`llama3.2:3b`); without one nobody can tell, and it stays what it is."""
    if ref.kind == "house" and ":" in ref.name:
        return ModelRef.parse(f"ollama:{ref.name}")
    return ref
