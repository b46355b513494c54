"""The models that live here: list, find, add, adopt, alias, pin, activate, remove.

Knows the database's rows, the records beside the files (`domicile.json`, written first), and the files they speak of;
a file removed by hand shows `missing`, never an error, and a model with a copy elsewhere is opened there. The
embedded model is always here. Knows nothing of downloads (they end with `add`) nor of engines.
"""

from __future__ import annotations

import difflib
import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from domicile.config import Settings
from domicile.db import Database
from domicile.errors import (
    BadModelFile,
    BadName,
    ModelFileMissing,
    ModelNotFound,
    NameTaken,
    NoSuchAlias,
    Pinned,
)
from domicile.library import rows
from domicile.library.shelf import ACTIVE, Shelf
from domicile.refs import EMBEDDED, ModelRef
from domicile.types import Copy, Installed

EMBEDDED_FILE = Path(__file__).parent.parent / "graine" / "graine.gguf"


class Library:
    """One for a house. Every change is on the disk when its method returns."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._shelf = Shelf(settings, database)
        self.rebuilt = 0
        """How many models were entered again, from the files alone, when the database was made."""
        if database.new:
            self.rebuilt = self._shelf.rebuild()
        if database.read("SELECT 1 FROM removing LIMIT 1"):
            self._finish_removing()

    # -- reading --

    def list(self) -> list[Installed]:
        """Every model, the active one first, then by name."""
        models = self._all()
        chosen = self._database.kept(ACTIVE)
        active = chosen if any(m.name == chosen for m in models) else EMBEDDED
        marked = [m if m.active == (m.name == active) else replace(m, active=m.name == active) for m in models]
        return sorted(marked, key=lambda m: (not m.active, m.name.lower()))

    def _all(self) -> Sequence[Installed]:
        """Every model with what is marked on it, opened at the best place it has."""
        read = self._database.read
        wrong = frozenset(str(row["path"]) for row in read("SELECT path FROM contents WHERE state = 'wrong'"))
        models = [_embedded(), *(rows.installed(row) for row in read("SELECT * FROM models"))]
        return [rows.best_place(m, wrong) for m in self._shelf.marked(models, wrong)]

    def get(self, name: str) -> Installed:
        """The model of a name, as a person or a client gives it. Raises `ModelNotFound` with the nearest names.

        A name is the model's own, an alias, or what another tool that has it calls it. `org/repo` means its only
        installed variant; a quantisation is matched without regard to case; the tag `:latest`, which Ollama's
        clients add to everything, is understood.
        """
        models = self.list()
        said = name.strip()
        wanted = {said.lower(), said.lower().removesuffix(":latest"), _canonical(said).lower()}
        for model in models:
            if model.name.lower() in wanted:
                return model
        for model in models:
            if wanted & {a.lower() for a in model.aliases}:
                return model
        of_repository = [m for m in models if m.repository and m.repository.lower() in wanted]
        if len(of_repository) == 1:
            return of_repository[0]
        elsewhere = [m for m in models if wanted & {c.title.lower().removesuffix(":latest") for c in m.copies}]
        if len(elsewhere) == 1:
            return elsewhere[0]
        known = [n for m in models for n in (m.name, *m.aliases)]
        nearest = _nearest(said, [m.name for m in of_repository] or known)
        raise ModelNotFound(name=said[:200], nearest=nearest, reason="near" if nearest else None)

    def active(self) -> Installed:
        """The model a bare `domicile run` talks to: the last one activated that is still here, else the embedded."""
        return next((m for m in self.list() if m.active and not m.missing), _embedded())

    def ready(self, name: str) -> Installed:
        """Like `get`, and the files are there and right. Raises `ModelFileMissing`, `BadModelFile`."""
        model = self.get(name)
        if model.missing:
            raise ModelFileMissing(name=model.name, path=model.path.name)
        if model.damaged:
            raise BadModelFile(name=model.name, reason="digest")
        return model

    # -- changing --

    def add(self, model: Installed) -> Installed:
        """Enter a model whose files are whole, with the copies it has. The same name again replaces the entry."""
        (added,) = self.add_many([model])
        return added

    def add_many(self, models: Iterable[Installed], copies: Iterable[tuple[str, Copy]] = ()) -> Sequence[Installed]:
        """Enter several at once, and note what other tools have of these or of others by their names."""
        added = [replace(m, added_at=m.added_at or time.time()) for m in models]
        noted = [*((m.name, copy) for m in added for copy in m.copies), *copies]
        with self._shelf.changing(*(m.name for m in added), *(name for name, _ in noted)) as w:
            for model in added:
                before = w.execute("SELECT files FROM models WHERE name = ?", (model.name,)).fetchone()
                if before is not None and json.loads(before["files"]) != [str(p) for p in model.files]:
                    w.execute("DELETE FROM copies WHERE model = ?", (model.name,))  # of what it was
                rows.insert(w, model)
            for name, copy in noted:
                rows.insert_copy(w, name, copy)
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
        for model in self.list():
            if model.path == path:
                return model
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem).strip(".-")[:80] or "model"
        return self.add(Installed(self.free_name(stem), path, "gguf", path.stat().st_size, "file", files=(path,)))

    def free_name(self, wish: str) -> str:
        """The name wished for, or with a number when it is taken."""
        taken = {n.lower() for m in self.list() for n in (m.name, *m.aliases)}
        name, number = wish, 2
        while name.lower() in taken:
            name, number = f"{wish}-{number}", number + 1
        return name

    def used(self, name: str) -> None:
        with self._database.write() as w:
            w.execute("UPDATE models SET last_used_at = ? WHERE name = ?", (time.time(), name))

    def activate(self, name: str) -> Installed:
        """Make a model the one a bare `domicile run` talks to."""
        model = self.ready(name)
        with self._shelf.changing() as w:
            w.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (ACTIVE, model.name))
        return replace(model, active=True)

    def alias(self, name: str, alias: str) -> Installed:
        """Call a model by another name too. Raises `BadName`, `NameTaken`."""
        model = self.get(name)
        said = alias.strip()
        if ModelRef.parse(said).kind != "house":
            raise BadName(name=alias[:200], reason="form")
        for other in self.list():
            names_of = {n.lower() for n in (other.name, *other.aliases)}
            if said.lower() in names_of and not (other.name == model.name and said.lower() != other.name.lower()):
                raise NameTaken(name=said, by=other.name)
        with self._shelf.changing(model.name) as w:
            w.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (said, model.name))
        return self.get(model.name)

    def unalias(self, alias: str) -> Installed:
        """Take an alias away. Raises `NoSuchAlias`."""
        found = self._database.read("SELECT model FROM aliases WHERE alias = ?", alias.strip())
        if not found:
            raise NoSuchAlias(name=alias[:200])
        with self._shelf.changing(found[0]["model"]) as w:
            w.execute("DELETE FROM aliases WHERE alias = ?", (alias.strip(),))
        return self.get(found[0]["model"])

    def pin(self, name: str, pinned: bool) -> Installed:
        """Keep a model: it is not removed, nor evicted, until it is unpinned."""
        model = self.get(name)
        self._mark(model.name, "pinned", int(pinned))
        return self.get(model.name)

    def is_pinned(self, name: str) -> bool:
        """Of a model's own name; cheap, for whoever asks often."""
        found = self._database.read("SELECT pinned FROM marks WHERE model = ?", name)
        return bool(found and found[0]["pinned"])

    def tested(self, name: str, result: Mapping[str, Any] | None) -> None:
        """Keep what a self-test found, whatever it says, as JSON."""
        self._mark(self.get(name).name, "self_test", None if result is None else json.dumps(dict(result)))

    def _mark(self, name: str, column: str, value: object) -> None:
        assert column in {"pinned", "self_test"}
        with self._shelf.changing(name) as w:
            w.execute("INSERT OR IGNORE INTO marks (model) VALUES (?)", (name,))
            w.execute(f"UPDATE marks SET {column} = ? WHERE model = ?", (value, name))  # noqa: S608 - one of two

    def removable(self, name: str) -> Installed:
        """Like `get`, and it may be removed. Raises `BadModelFile`, `Pinned`."""
        model = self.get(name)
        if model.source == "embedded":
            raise BadModelFile(name=model.name, reason="embedded")
        if model.pinned:
            raise Pinned(name=model.name)
        return model

    def remove(self, name: str, also: Sequence[tuple[Path, Path]] = ()) -> int:
        """Forget a model, and delete its files where they are ours. Returns the bytes that the disk has more.

        `also` are files of other tools to delete with it, each with the root it must lie under: a person said so.
        What a crash leaves is deleted at the next start. Raises `Pinned`.
        """
        asked = self.removable(name)
        model = next(m for m in self._shelf.every() if m.name == asked.name)  # as entered: a copy is not ours to delete
        store = self._settings.models.resolve()
        shared = {path for other in self._shelf.every() if other.name != model.name for path in _files_of(other)}
        doomed = [(path, store) for path in model.files if path not in shared]
        doomed += [(path, root.resolve()) for path, root in also if path not in shared]
        with self._shelf.changing(model.name) as w:
            for table, column in (("models", "name"), ("aliases", "model"), ("marks", "model"), ("copies", "model")):
                w.execute(f"DELETE FROM {table} WHERE {column} = ?", (model.name,))  # noqa: S608 - the four above
            for path, root in doomed:
                if path.parent.resolve().is_relative_to(root):  # neither `..` nor a link leads out of it
                    w.execute("INSERT OR REPLACE INTO removing VALUES (?, ?)", (str(path), str(root)))
        return self._finish_removing()

    def _finish_removing(self) -> int:
        """Delete what was decided to be deleted, now or before a crash."""
        freed = 0
        wanted = {path for model in self._shelf.every() for path in _files_of(model)}
        store = self._settings.models.resolve()
        for row in self._database.read("SELECT * FROM removing"):
            path, root = Path(row["path"]), Path(row["root"])
            if path not in wanted and path.parent.resolve().is_relative_to(root):
                with suppress(OSError):
                    freed += _unlink(path)
                    if root == store:  # the folders of other tools are theirs
                        _drop_empty(path.parent.resolve(), root)
            if path in wanted or not path.is_file():
                with self._database.write() as w:
                    w.execute("DELETE FROM removing WHERE path = ?", (row["path"],))
        return freed

    # -- small lists that must survive the database (custom models) --

    def keep_list(self, name: str, value: Sequence[Mapping[str, Any]]) -> None:
        """Keep a list of JSON objects, in the database and in the record at the store's top."""
        self._shelf.keep_list(name, value)

    def kept_list(self, name: str) -> Sequence[dict[str, Any]]:
        """What `keep_list` kept, also after the database was rebuilt."""
        return self._shelf.kept_list(name)


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


def _canonical(said: str) -> str:
    """`hf.co/org/repo:q4_k_m` and `org/repo:Q4_K_M` are one name."""
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


def _files_of(model: Installed) -> set[Path]:
    """Its files at every place it lies."""
    return {*model.files, *(path for copy in model.copies for path in copy.files)}


def _unlink(path: Path) -> int:
    """Delete a file; the bytes that the disk has more (none while another name of it stands)."""
    if not path.is_file():
        path.unlink(missing_ok=True)  # a link that leads nowhere
        return 0
    at = path.lstat()
    path.unlink()
    return at.st_size if at.st_nlink == 1 and not path.is_symlink() else 0


def _drop_empty(folder: Path, top: Path) -> None:
    while folder != top and folder.is_relative_to(top) and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
