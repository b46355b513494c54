"""Where each model came from, and which of them changed there since.

Keeps what was asked for (`org/repo@v1:Q4_K_M`, an address, a tag of Ollama's) and the digests of the files that came,
so that a new README is no update and a new file of the same length is one. Knows the sources and the library; downloads
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from domicile.config import Settings
from domicile.db import Database
from domicile.errors import BadName, DomicileError, NotFound
from domicile.library import Library
from domicile.refs import ModelRef
from domicile.sources import Sources, choose
from domicile.types import Installed, RemoteFile, Repository, Variant

State = Literal["current", "changed", "pinned", "gone", "unknown", "local"]
"""`pinned`: a commit or a digest was asked for, which cannot change. `gone`: no longer there, or no longer for us.
`unknown`: it cannot be told (what came was not kept, or the source does not answer). `local`: it came from nowhere."""

_AT_ONCE = 8
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """What was asked for when a model was got."""

    ref: ModelRef
    digests: Mapping[str, str]
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """How a model stands to where it came from."""

    name: str
    state: State
    ref: str | None = None
    revision: str | None = None
    latest: str | None = None
    files: tuple[str, ...] = ()
    """What is other than it was there, by path in the repository."""
    size_bytes: int = 0
    """Of those: what an update would fetch at most."""
    error: DomicileError | None = None

    def public(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "state": self.state,
            "ref": self.ref,
            "revision": self.revision,
            "latest": self.latest,
            "files": list(self.files),
            "size_bytes": self.size_bytes,
        }


class Updates:
    """The room that remembers origins."""

    def __init__(self, settings: Settings, database: Database, library: Library, sources: Sources) -> None:
        self._settings, self._database, self._library, self._sources = settings, database, library, sources

    # -- remembering --

    async def entered(
        self, model: Installed, ref: ModelRef, repository: Repository, variant: Variant, folder: Path | None
    ) -> Installed:
        """Enter a model whose files have just come, under a name of its own, and keep where from. Files of ours that
        an earlier state of the same model had, and this one has not, are deleted."""
        before = self._same(model)
        model = replace(model, name=before.name if before else self._free_name(model.name))
        digests = {f.path: f.sha256 or f.git_sha1 or "" for f in variant.files}
        # What comes after them (the compiled library of an MLC model) is of no variant, and has an address of its own.
        for file, path in zip(variant.files, model.files[: len(variant.files)], strict=True):
            if not digests[file.path]:
                digests[file.path] = await asyncio.to_thread(_sha256, path)
        added = self._library.add(model)
        with self._database.write() as w:
            w.execute(
                "INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?, ?)",
                (added.name, str(ref), _text(folder), json.dumps(digests), time.time()),
            )
        if before is not None:
            self._drop(set(before.files) - set(added.files))
        return added

    def _same(self, model: Installed) -> Installed | None:
        """The entry this one replaces: of its name, or of its very place elsewhere."""
        for known in self._library.list():
            if known.source != model.source or known.repository != model.repository:
                continue
            if known.name.lower() == model.name.lower() or (known.path == model.path and model.source == "url"):
                return known
        return None

    def _free_name(self, wanted: str) -> str:
        taken = {m.name.lower() for m in self._library.list()}
        name, number = wanted, 2
        while name.lower() in taken:
            name, number = f"{wanted}-{number}", number + 1
        return name

    def _drop(self, paths: set[Path]) -> None:
        """Delete superseded files, those of our own store that nobody else has."""
        store = self._settings.models.resolve()
        shared = {path for model in self._library.list() for path in model.files}
        for path in paths - shared:
            if path.parent.resolve().is_relative_to(store):
                with contextlib.suppress(OSError):
                    path.unlink()

    def origin(self, model: Installed) -> Origin | None:
        """Where a model came from; for one of the Hub that was got before this was kept, by its name."""
        rows = self._database.read("SELECT ref, folder, digests FROM origins WHERE model = ?", model.name)
        if rows:
            folder = Path(rows[0]["folder"]) if rows[0]["folder"] else None
            return Origin(ModelRef.parse(rows[0]["ref"]), json.loads(rows[0]["digests"]), folder)
        if model.source == "hub" and model.repository:
            with contextlib.suppress(DomicileError):
                return Origin(ModelRef.parse(model.name), {})
        return None

    # -- asking --

    async def check(self, name: str | None = None) -> list[Update]:
        """One model, or all that came from somewhere. Sources are asked eight at a time; one that does not answer
        hides none of the others."""
        gate = asyncio.Semaphore(_AT_ONCE)
        if name is not None:
            models = [self._library.get(name)]
        else:
            models = [m for m in self._library.list() if m.source not in {"embedded", "file"}]

        async def one(model: Installed) -> Update:
            async with gate:
                return await self._check(model)

        return list(await asyncio.gather(*(one(m) for m in models)))

    async def _check(self, model: Installed) -> Update:
        origin = self.origin(model)
        if origin is None:
            return Update(model.name, "local")
        ref = str(origin.ref)
        told = Update(model.name, "unknown", ref, model.revision)
        fixed = _COMMIT.fullmatch(origin.ref.revision or "") if origin.ref.kind == "hub" else origin.ref.kind == "url"
        if fixed and origin.ref.revision:
            return replace(told, state="pinned", latest=model.revision)
        try:
            repository = await self._sources.of(origin.ref).describe(origin.ref)
            variant = choose(repository, origin.ref)
            digests = origin.digests or await self._digests_then(model, origin.ref)
        except NotFound as error:
            return replace(told, state="gone", error=error)
        except DomicileError as error:
            return replace(told, error=error)
        changed = _changed(variant, digests, repository, model)
        if changed is None:
            return replace(told, latest=repository.commit or None)
        return replace(
            told,
            state="changed" if changed or _fewer(variant, digests) else "current",
            latest=repository.commit or None,
            files=tuple(f.path for f in changed),
            size_bytes=sum(f.size_bytes for f in changed),
        )

    async def _digests_then(self, model: Installed, ref: ModelRef) -> Mapping[str, str]:
        """What the files were at the commit that was installed: the Hub still knows."""
        if not _COMMIT.fullmatch(model.revision or ""):
            return {}
        repository = await self._sources.of(ref).describe(replace(ref, revision=model.revision), fresh_s=float("inf"))
        return {f.path: f.sha256 or f.git_sha1 or "" for f in choose(repository, ref).files}

    def asked(self, name: str) -> tuple[Installed, Origin]:
        """A model and what to ask for to have it as it is now. Raises `BadName` for one that came from nowhere."""
        model = self._library.get(name)
        origin = self.origin(model)
        if origin is None:
            raise BadName(name=model.name, reason="no_origin")
        return model, origin


def _changed(
    variant: Variant, digests: Mapping[str, str], repository: Repository, model: Installed
) -> list[RemoteFile] | None:
    """The files that are other now; None when it cannot be told. An address without digests is told by its validator
    where it has one, and by its size."""
    if not digests:
        return None
    changed, unsure = [], False
    for file in variant.files:
        now, then = file.sha256 or file.git_sha1, digests.get(file.path)
        if now is None and then is not None:
            same_size = file.size_bytes == model.size_bytes
            if not same_size or (repository.commit and model.revision and repository.commit != model.revision):
                changed.append(file)
            elif not repository.commit:
                unsure = True
        elif now != then:
            changed.append(file)
    return None if unsure and not changed else changed


def _fewer(variant: Variant, digests: Mapping[str, str]) -> bool:
    return bool(set(digests) - {f.path for f in variant.files})


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
