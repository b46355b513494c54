"""A model in another tool's folder, and how files in a folder fall into models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domicile import names
from domicile.stores import place
from domicile.types import Copy, Format, RemoteFile, Variant

WEIGHTS = (".gguf", ".safetensors", ".onnx", ".bin")


@dataclass(frozen=True, slots=True)
class Found:
    """What a store holds, before anybody takes it in. Nothing but names, sizes and small files was read."""

    owner: str
    title: str
    """What it is called there; unique in its store."""
    root: Path
    name: str
    """What it would be called here."""
    path: Path
    files: tuple[Path, ...]
    format: Format
    size_bytes: int
    digests: tuple[str | None, ...] = ()
    """The sha256 of each file, where the layout announces it."""
    repository: str | None = None
    revision: str | None = None
    quantisation: str | None = None
    licence: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    runs_code: bool = False
    """Its format can run a program when it is opened: shown, never taken in."""

    @property
    def copy(self) -> Copy:
        return Copy(self.owner, self.title, self.root, self.path, self.files, self.settings)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that holds the files of one repository, or of none that is known."""

    owner: str
    root: Path
    at: Path
    title: str
    """The repository, or the folder's name."""
    repository: str | None = None
    revision: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 by the path of the file in the folder."""


def models_in(folder: Folder, sizes: Mapping[str, os.stat_result], *, several: bool = True) -> Iterator[Found]:
    """The whole models among the files of a folder (paths from there); what is no model by itself is left out.

    `several`: the folder's name does not tell which model, so each is called `folder:variant`.
    """
    remote = [RemoteFile(p, s.st_size, folder.digests.get(p)) for p, s in sizes.items()]
    whole = [v for v in names.variants(remote) if v.role == "model" and not v.missing and _is_whole(folder, v, sizes)]
    for variant in whole:
        alone = variant.format != "gguf" and len(whole) == 1
        title = folder.title if alone or not several else f"{folder.title}:{variant.label}"
        if not several and len(whole) > 1:
            title = f"{folder.title}-{variant.label}"
        yield found_of(folder, variant, title)


def found_of(folder: Folder, variant: Variant, title: str) -> Found:
    paths = tuple(folder.at.joinpath(*f.path.split("/")) for f in variant.files)
    one = variant.format == "gguf" or len(paths) == 1
    return Found(
        folder.owner,
        title,
        folder.root,
        title,
        paths[0] if one else folder.at,
        paths,
        variant.format,
        variant.size_bytes,
        tuple(f.sha256 for f in variant.files),
        folder.repository,
        folder.revision,
        variant.quantisation,
    )


def _is_whole(folder: Folder, variant: Variant, sizes: Mapping[str, os.stat_result]) -> bool:
    """Does it hold weights, and are they what their name says?"""
    weights = [f for f in variant.files if f.path.lower().endswith(WEIGHTS) or variant.format == "gguf"]
    if not weights:
        return False
    if variant.format == "gguf":
        return all(place.starts_with(folder.at.joinpath(*f.path.split("/")), b"GGUF") for f in weights)
    return variant.format != "diffusers" or any("/" in f.path for f in weights)
