"""The models that live here: list, find, add, activate, remove.

Knows the database's rows and the files they speak of; a file removed by hand shows `missing`, never an error.
The embedded model is always here. Knows nothing of downloads (they end with `add`) nor of engines.
"""

from __future__ import annotations

import difflib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from domicile import names
from domicile.config import Settings
from domicile.db import Database
from domicile.errors import BadModelFile, ModelFileMissing, ModelNotFound
from domicile.types import EMBEDDED, Installed, ModelRef, RemoteFile

EMBEDDED_FILE = Path(__file__).parent / "graine" / "graine.gguf"
_ACTIVE = "active_model"


class Library:
    """One for a house. Every change is on the disk when its method returns."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        if database.new:
            self._rebuild()

    # -- reading --

    def list(self) -> list[Installed]:
        """Every model, the active one first, then by name."""
        rows = self._database.read("SELECT * FROM models")
        models = [_embedded(), *(_installed(row) for row in rows)]
        chosen = self._database.kept(_ACTIVE)
        active = chosen if any(m.name == chosen for m in models) else EMBEDDED
        marked = [replace(m, active=m.name == active) for m in models]
        return sorted(marked, key=lambda m: (not m.active, m.name.lower()))

    def get(self, name: str) -> Installed:
        """The model of a name, as a person or a client gives it. Raises `ModelNotFound` with the nearest names.

        `org/repo` means its only installed variant; a quantisation is matched without regard to case; the
        tag `:latest`, which Ollama's clients add to everything, is understood.
        """
        models = self.list()
        said = name.strip()
        wanted = {said.lower(), said.lower().removesuffix(":latest"), _canonical(said).lower()}
        for model in models:
            if model.name.lower() in wanted:
                return model
        of_repository = [m for m in models if m.repository and m.repository.lower() in wanted]
        if len(of_repository) == 1:
            return of_repository[0]
        known = [m.name for m in models]
        nearest = _nearest(said, [m.name for m in of_repository] or known)
        raise ModelNotFound(name=said[:200], nearest=nearest, reason="near" if nearest else None)

    def active(self) -> Installed:
        """The model a bare `domicile run` talks to: the last one activated that is still here, else the embedded."""
        return next((m for m in self.list() if m.active and not m.missing), _embedded())

    def ready(self, name: str) -> Installed:
        """Like `get`, and the files are there. Raises `ModelFileMissing`."""
        model = self.get(name)
        if model.missing:
            raise ModelFileMissing(name=model.name, path=model.path.name)
        return model

    # -- changing --

    def add(self, model: Installed) -> Installed:
        """Enter a model whose files are whole. The same name again replaces the entry."""
        added = replace(model, added_at=model.added_at or time.time())
        with self._database.write() as w:
            w.execute(
                "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    added.name,
                    str(added.path),
                    added.format,
                    added.size_bytes,
                    added.source,
                    json.dumps([str(p) for p in added.files]),
                    added.repository,
                    added.revision,
                    added.quantisation,
                    added.licence,
                    added.added_at,
                    added.last_used_at,
                ),
            )
        return added

    def add_file(self, path: Path) -> Installed:
        """Enter a file where it lies, without copying it. Raises `BadModelFile` when it is no GGUF."""
        path = path.expanduser().absolute()
        try:
            with path.open("rb") as opened:
                magic = opened.read(4)
        except (OSError, ValueError) as trouble:  # not there, a folder, not for us to read, a name no file can have
            raise ModelFileMissing(name=path.name[:200], path=str(path)[:500], reason="never") from trouble
        if magic != b"GGUF":
            raise BadModelFile(name=path.name, reason="magic", problem=repr(magic))
        known = self.list()
        for model in known:
            if model.path == path:
                return model
        taken = {m.name.lower() for m in known}
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem).strip(".-")[:80] or "model"
        name, number = stem, 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}", number + 1
        size = path.stat().st_size
        return self.add(Installed(name, path, "gguf", size, "file", files=(path,)))

    def used(self, name: str) -> None:
        with self._database.write() as w:
            w.execute("UPDATE models SET last_used_at = ? WHERE name = ?", (time.time(), name))

    def activate(self, name: str) -> Installed:
        model = self.ready(name)
        self._database.keep(_ACTIVE, model.name)
        return replace(model, active=True)

    def remove(self, name: str) -> int:
        """Forget a model, and delete its files where they are ours. Returns the bytes freed."""
        model = self.get(name)
        if model.source == "embedded":
            raise BadModelFile(name=model.name, reason="embedded")
        with self._database.write() as w:
            w.execute("DELETE FROM models WHERE name = ?", (model.name,))
        shared = {path for other in self.list() for path in other.files}
        freed, store = 0, self._settings.models.resolve()
        for path in model.files:
            folder = path.parent.resolve()  # neither `..` nor a link leads out of the store
            if path not in shared and folder.is_relative_to(store) and path.is_file():
                freed += path.stat().st_size
                path.unlink()
                _drop_empty(folder, store)
        return freed

    # -- a damaged or lost database --

    def _rebuild(self) -> None:
        """Enter again every whole model under our own folder, by its place: models/org/repo/file."""
        store = self._settings.models
        for folder in sorted(store.glob("*/*/")) if store.is_dir() else ():
            repository = "/".join(folder.relative_to(store).parts)
            found = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() == ".gguf" and p.is_file()]
            files = [RemoteFile(p.relative_to(folder).as_posix(), p.stat().st_size) for p in found]
            for variant in names.variants(files):
                if not variant.missing:
                    paths = tuple(folder.joinpath(*f.path.split("/")) for f in variant.files)
                    self.add(
                        Installed(
                            f"{repository}:{variant.label}",
                            paths[0],
                            "gguf",
                            variant.size_bytes,
                            "hub",
                            files=paths,
                            repository=repository,
                            quantisation=variant.quantisation,
                        )
                    )


def folder_of(settings: Settings, repository: str) -> Path:
    """Where a repository's files live: real files under real names, `models/<org>/<repo>/`."""
    return settings.models.joinpath(*repository.split("/"))


def free_bytes(settings: Settings) -> int:
    """Room on the disk that holds the house (its folder need not exist yet)."""
    place = settings.home
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _embedded() -> Installed:
    size = EMBEDDED_FILE.stat().st_size if EMBEDDED_FILE.is_file() else 0
    return Installed(
        EMBEDDED,
        EMBEDDED_FILE,
        "gguf",
        size,
        "embedded",
        files=(EMBEDDED_FILE,),
        quantisation="Q8_0",
        licence="apache-2.0",
        missing=size == 0,
    )


def _installed(row: sqlite3.Row) -> Installed:
    files = tuple(Path(p) for p in json.loads(row["files"]))
    return Installed(
        row["name"],
        Path(row["path"]),
        row["format"],
        row["size_bytes"],
        row["source"],
        files=files,
        repository=row["repository"],
        revision=row["revision"],
        quantisation=row["quantisation"],
        licence=row["licence"],
        added_at=row["added_at"],
        last_used_at=row["last_used_at"],
        missing=not all(p.is_file() for p in files),
    )


def _canonical(said: str) -> str:
    """`hf.co/org/repo:q4_k_m` and `org/repo:Q4_K_M` are one name."""
    from domicile.errors import BadName

    try:
        return str(ModelRef.parse(said))
    except BadName:
        return said


def _nearest(said: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like the one typed, if one does; a part after the slash counts as well."""
    by_key: dict[str, str] = {}
    for name in known:
        by_key[name.lower()] = name
        by_key.setdefault(name.lower().rsplit("/", 1)[-1], name)
    found = difflib.get_close_matches(said.lower(), by_key, n=1, cutoff=0.6)
    return by_key[found[0]] if found else None


def _drop_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_relative_to(top) and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
