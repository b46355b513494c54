"""Giving a model to Ollama: as a Modelfile, as links in its store, or through its API.

Knows which of the ways there are and in which order they are tried; how each is done is in the modules beside.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from domicile import formats, names, stores
from domicile.config import Settings
from domicile.contents import Contents
from domicile.egress import Egress
from domicile.errors import BadField, NameTaken, NotExportable
from domicile.giving import modelfile, store
from domicile.giving.ollama import Ollama, default_name
from domicile.stores import ollama as layout
from domicile.types import Facts, Installed

Via = Literal["auto", "link", "api"]
_NAME = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,79}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,79}(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,79})?"
)


class Told(Protocol):
    """What a job's progress has."""

    def step(self, key: str) -> None: ...
    def expect(self, size_bytes: int) -> None: ...
    def came(self, count: int) -> None: ...
    def settle(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Given:
    """How a model was given. `family` is the known template it went with; None: without one."""

    name: str
    how: str
    """`there`, `reflink`, `hardlink` or `api`."""
    family: str | None
    digest: str

    def public(self) -> dict[str, Any]:
        return {"name": self.name, "how": self.how, "template": self.family, "digest": f"sha256:{self.digest}"}


class Giving:
    """One for a house."""

    def __init__(self, settings: Settings, contents: Contents, egress: Egress) -> None:
        self._settings = settings
        self._egress = egress
        self._contents = contents

    async def as_modelfile(self, model: Installed) -> tuple[str, str | None]:
        """The Modelfile of a model, and which known template it has. Raises `NotExportable`."""
        made = modelfile.recipe(model, await self._facts(model))
        return modelfile.text(str(model.path), made), made.family

    async def to_ollama(
        self, model: Installed, name: str | None, told: Told, *, via: Via = "auto", force: bool = False
    ) -> Given:
        """Give a model to Ollama: linked into its store when that is on the same disk, else sent to its server.

        Raises `NotExportable`, `NameTaken`, `OllamaSilent`, `OllamaSaid`, `OllamaElsewhere`, `BadField`.
        """
        wanted = name or default_name(model.name)
        if not _NAME.fullmatch(wanted):
            raise BadField(field="name", problem=wanted[:100], reason="ollama_name")
        facts = await self._facts(model)
        made = modelfile.recipe(model, facts)
        told.step("hash")
        told.expect(model.size_bytes)
        digest = await self._contents.digest(model.path, told.came)
        eyes = _projector(model)
        seen = (eyes, await self._contents.digest(eyes, told.came)) if eyes else None
        told.settle()
        root = self._root()
        if via != "api" and root is not None:
            if not force and store.is_taken(root, wanted, digest):
                raise NameTaken(name=wanted, by="Ollama")
            try:
                told.step("link")
                how = store.share(model.path, root, digest)
                if seen is not None:
                    store.share(seen[0], root, seen[1])
            except store.CannotLink as trouble:
                if via == "link":
                    raise NotExportable(name=model.name, problem=str(trouble), reason="link") from trouble
            else:
                layers = [("model", digest, model.path.stat().st_size)]
                if seen is not None:
                    layers.append(("projector", seen[1], seen[0].stat().st_size))
                store.enter(root, wanted, layers, made, facts)
                return Given(wanted, how, made.family, digest)
        if via == "link":
            raise NotExportable(name=model.name, problem="OLLAMA_MODELS", reason="link")
        await self._send(
            Ollama(self._settings, self._egress), model, wanted, digest, made, told, force=force, seen=seen
        )
        return Given(wanted, "api", made.family, digest)

    async def _send(
        self,
        server: Ollama,
        model: Installed,
        name: str,
        digest: str,
        made: modelfile.Recipe,
        told: Told,
        *,
        force: bool,
        seen: tuple[Path, str] | None,
    ) -> None:
        full = name if ":" in name else f"{name}:latest"
        if not force and any(m["name"] == full for m in await server.models()):
            raise NameTaken(name=name, by="Ollama")
        for path, sha256 in [(model.path, digest), *([seen] if seen else [])]:
            if not await server.has_blob(sha256):
                told.step("send")
                await server.send_blob(sha256, path, told.came)
                told.settle()
        told.step("create")
        file = model.path.name if model.path.suffix == ".gguf" else "model.gguf"
        files = {file: f"sha256:{digest}"} | ({seen[0].name: f"sha256:{seen[1]}"} if seen else {})
        body: dict[str, Any] = {"model": name, "files": files}
        said = {
            "template": made.template,
            "system": made.system,
            "license": made.licence,
            "parameters": dict(made.parameters),
        }
        async for _ in server.create(body | {k: v for k, v in said.items() if v}):
            pass

    def _root(self) -> Path | None:
        """Ollama's store, if there is one that we may write to."""
        for root in layout.roots(stores.here(self._settings)):
            if root.is_dir() and all(os.access(p, os.W_OK) for p in (root, root / "blobs") if p.exists()):
                return root.resolve()
        return None

    async def _facts(self, model: Installed) -> Facts:
        """What its header says. Raises `NotExportable` for what Ollama cannot read."""
        if model.format != "gguf":
            raise NotExportable(name=model.name, problem=model.format, reason="format")
        weights = [p for p in model.files if p != _projector(model)]
        if len(weights) != 1:
            raise NotExportable(name=model.name, problem=str(len(weights)), reason="shards")
        if any(not c.isprintable() for c in str(model.path)):
            raise NotExportable(name=model.name, problem=ascii(str(model.path)), reason="link")
        return await formats.read({model.path.name: formats.LocalBytes(model.path)})

    # -- a running Ollama --

    async def pull(self, name: str, told: Told) -> None:
        """Have Ollama download a model, telling how far it is."""
        check_name(name)
        parts: dict[str, tuple[int, int]] = {}
        counted = 0
        told.step("ollama_pull")
        async for state in self._pulling(name):
            digest, total, completed = state.get("digest"), state.get("total"), state.get("completed", 0)
            if isinstance(digest, str) and isinstance(total, int) and isinstance(completed, int) and len(parts) < 1000:
                parts[digest] = (total, min(max(completed, 0), max(total, 0)))
                told.expect(sum(t for t, _ in parts.values()))
                done = sum(c for _, c in parts.values())
                told.came(done - counted)
                counted = done
        told.settle()

    def _pulling(self, name: str) -> AsyncIterator[dict[str, Any]]:
        return Ollama(self._settings, self._egress).pull(name)

    @property
    def server(self) -> Ollama:
        """The Ollama that the settings name. Raises `OllamaElsewhere`."""
        return Ollama(self._settings, self._egress)


def _projector(model: Installed) -> Path | None:
    """The file that a model of ours sees by."""
    said = names.projector_in(str(p) for p in model.files)
    return Path(said) if said else None


def check_name(name: str) -> None:
    """Raises `BadField` for what is no name of a model in Ollama (`model`, `model:tag`, `host/person/model:tag`)."""
    if not re.fullmatch(r"(?:[A-Za-z0-9_][A-Za-z0-9._:-]{0,127}/){0,2}[A-Za-z0-9_][A-Za-z0-9._:-]{0,200}", name):
        raise BadField(field="model", problem=name[:100], reason="ollama_name")
