"""The models of the store, found again from the files alone.

First by the records beside them, which say everything; then, for files that no record names, by their place:
`models/org/repo/file` is `org/repo:quantisation`. No weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domicile import names, records
from domicile.library import rows
from domicile.types import Installed, RemoteFile


def recorded(store: Path) -> Iterator[Installed]:
    """Every model that a record of the store names, once each."""
    seen: set[str] = set()
    for folder in records.folders(store):
        listed = records.read(folder).get("models")
        for said in listed if isinstance(listed, list) else ():
            model = rows.from_record(said, folder, anywhere=folder == store)
            if model is not None and model.name.lower() not in seen:
                seen.add(model.name.lower())
                yield model


def kept(store: Path) -> dict[str, Any]:
    """What the record at the top says besides models: which one is active, marks of the embedded one, lists."""
    return {key: value for key, value in records.read(store).items() if key not in {"version", "models"}}


def by_place(store: Path, named: set[Path]) -> Iterator[Installed]:
    """Whole models in our own folder that nothing names yet."""
    for folder in sorted(store.glob("*/*/")) if store.is_dir() else ():
        repository = "/".join(folder.relative_to(store).parts)
        found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() == ".gguf" and p.is_file() and p not in named]
        files = [RemoteFile(p.relative_to(folder).as_posix(), p.stat().st_size) for p in found]
        for variant in names.variants(files):
            if not variant.missing:
                paths = tuple(folder.joinpath(*f.path.split("/")) for f in variant.files)
                yield Installed(
                    f"{repository}:{variant.label}",
                    paths[0],
                    "gguf",
                    variant.size_bytes,
                    "hub",
                    files=paths,
                    repository=repository,
                    quantisation=variant.quantisation,
                )
