"""Taking in what other tools have, where it lies: no byte is copied, and each content is one model.

Knows how what the stores hold meets what the library has: what is new is offered, what is the same content is one more
copy of a model that is here. Before a model is taken in, its header is read within bounds. Digests that a store
announces are believed at first, and checked one file after the other while a house is open (`verify_next`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domicile import formats, stores
from domicile.config import Settings
from domicile.contents import Contents
from domicile.errors import DomicileError, NotAdoptable, RunsCode, UnknownFormat
from domicile.library import Library
from domicile.stores.found import Found
from domicile.types import Copy, Facts, Installed


@dataclass(frozen=True, slots=True)
class Offer:
    """A content that could be taken in, wherever it lies."""

    found: Found
    others: tuple[Found, ...] = ()
    """The same content in other places."""
    here: str | None = None
    """The model of the library that has this content already: taking it in notes one more owner."""

    @property
    def id(self) -> str:
        return f"{self.found.owner}/{self.found.title}"

    @property
    def every(self) -> tuple[Found, ...]:
        return (self.found, *self.others)

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.found.name,
            "owners": list(dict.fromkeys(f.owner for f in self.every)),
            "titles": [f"{f.owner}/{f.title}" for f in self.every],
            "format": self.found.format,
            "size_bytes": self.found.size_bytes,
            "quantisation": self.found.quantisation,
            "repository": self.found.repository,
            "files": [p.name for p in self.found.files],
            "place": str(self.found.root),
            "here": self.here,
            "runs_code": self.found.runs_code,
        }


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one place of an offer."""

    model: Installed
    found: Found
    new: bool
    """False: the content was here, and has one more owner now."""

    def public(self) -> dict[str, Any]:
        return {"name": self.model.name, "id": f"{self.found.owner}/{self.found.title}", "new": self.new}


class Adoption:
    """One for a house."""

    def __init__(self, settings: Settings, library: Library, contents: Contents) -> None:
        self._settings = settings
        self._library = library
        self._contents = contents

    async def offers(self, path: Path | None = None) -> list[Offer]:
        """What could be taken in: from every store, or from a folder or a file that somebody names."""
        if path is None:
            found = await asyncio.to_thread(stores.scan, stores.here(self._settings))
        else:
            found = await asyncio.to_thread(stores.scan_path, path)
        return await self._grouped(self._new(found))

    def _new(self, found: Iterable[Found]) -> list[Found]:
        """Without what the library has from that very place."""
        models = self._library.list()
        known = {(c.owner, str(c.root), c.title): c for m in models for c in m.copies}
        files = {_identity(p) for m in models if m.source != "adopted" for p in m.files} - {None}
        left = []
        for one in found:
            copy = known.get((one.owner, str(one.root), one.title))
            ours = one.owner == stores.OWN and any(_identity(p) in files for p in one.files)
            if not ours and (copy is None or copy.files != one.files):
                left.append(one)
        return left

    async def _grouped(self, found: Sequence[Found]) -> list[Offer]:
        """One offer a content. What looks the same is grouped; taking in makes sure."""
        models = [m for m in self._library.list() if not m.missing]
        for one in found:
            for path, digest in zip(one.files, one.digests, strict=False):
                if digest is not None:
                    self._contents.hear(path, digest)
        await asyncio.to_thread(self._contents.sample, _of_one_size(found, models))
        ours: dict[object, list[Installed]] = {}
        for model in models:
            ours.setdefault(self._contents.likeness(model.files), []).append(model)
        offers: list[Offer] = []
        places: dict[object, list[int]] = {}
        for one in found:
            key = self._contents.likeness(one.files)
            same = places.setdefault(key, [])
            place = next((i for i in same if self._contents.alike(offers[i].found.files, one.files)), None)
            if place is not None:
                offers[place] = replace(offers[place], others=(*offers[place].others, one))
                continue
            here = next((m.name for m in ours.get(key, ()) if self._contents.alike(m.files, one.files)), None)
            same.append(len(offers))
            offers.append(Offer(one, here=here))
        return offers

    async def named(self, wanted: str) -> Offer:
        """The offer of an id, or of a name or a title that only one has. Raises `NotAdoptable`."""
        offers = await self.offers()
        said = wanted.strip().lower()
        exact = [o for o in offers if said in {f"{f.owner}/{f.title}".lower() for f in o.every}]
        loose = [o for o in offers if said in {s.lower() for f in o.every for s in (f.name, f.title)}]
        for found in (exact, loose):
            if len(found) == 1:
                return found[0]
        raise NotAdoptable(name=wanted[:200], n=len(offers))

    async def take(self, offers: Sequence[Offer]) -> tuple[list[Taken], list[tuple[Offer, DomicileError]]]:
        """Take in contents from every place they lie at, all at once; and what was refused, with why.

        Each is compared with what the library has and with those before it; then one transaction enters them.
        """
        basket = _Basket(self._library.list())
        refused: list[tuple[Offer, DomicileError]] = []
        for offer in offers:
            for found in offer.every:
                try:
                    await self._weigh(found, basket)
                except DomicileError as error:
                    refused.append((offer, error))
                    break
        self._contents.announce_all(
            (path, digest)
            for found, _ in basket.taken
            for path, digest in zip(found.files, found.digests, strict=False)
            if digest is not None
        )
        self._library.add_many(basket.new.values(), basket.copies)
        models = {m.name: m for m in self._library.list()}
        return [Taken(models[name], found, new=(found in basket.first)) for found, name in basket.taken], refused

    async def _weigh(self, found: Found, basket: _Basket) -> None:
        """Put what was found in the basket: as a model of its own, or as one more copy of one.

        Raises `RunsCode`, `Malformed`.
        """
        if found.runs_code:
            raise RunsCode(file=found.files[0].name, kind="name")
        facts = await _facts(found)
        for path, digest in zip(found.files, found.digests, strict=False):
            if digest is not None:
                self._contents.hear(path, digest)
        for model in basket.models.get(found.size_bytes, ()):
            for files in _places(model):
                if await self._contents.same(files, found.files):
                    basket.add_copy(model, found)
                    return
        basket.add(found, _entry(found, facts, basket.name_for(found)))

    def leavings(self, model: Installed) -> list[tuple[Path, Path]]:
        """The files of other tools that would go with a model, each with its root."""
        return [(path, copy.root) for copy in model.copies for path in stores.leavings(copy)]

    # -- digests that were announced --

    def unverified(self) -> list[tuple[Path, str]]:
        """Files of adopted models whose announced digest nobody checked yet."""
        waiting = []
        for model in self._library.list():
            for copy in model.copies:
                for path in copy.files:
                    known = self._contents.known(path)
                    if known is not None and self._contents.verified(path) is None:
                        waiting.append((path, known))
        return waiting

    async def verify_next(self) -> bool:
        """Check one announced digest by reading the file. False when there is nothing left to check."""
        waiting = self.unverified()
        if not waiting:
            return False
        try:
            await self._contents.verify(*waiting[0])
        except (OSError, DomicileError):  # it went away meanwhile: the next look says so
            return False
        return True


class _Basket:
    """What is about to be entered, beside what the library has."""

    def __init__(self, models: Iterable[Installed]) -> None:
        self.models: dict[int, list[Installed]] = {}
        self.new: dict[str, Installed] = {}
        self.copies: list[tuple[str, Copy]] = []
        self.taken: list[tuple[Found, str]] = []
        self.first: list[Found] = []
        self._names: set[str] = set()
        self._gone: dict[tuple[str, str, str], str] = {}
        for model in models:
            self.models.setdefault(model.size_bytes, []).append(model)
            self._names |= {n.lower() for n in (model.name, *model.aliases)}
            if model.missing:
                self._gone |= {(c.owner, str(c.root), c.title): model.name for c in model.copies}

    def name_for(self, found: Found) -> str:
        """A name that is free; or that of a model whose tool has replaced its content by this one."""
        known = self._gone.get((found.owner, str(found.root), found.title))
        if known is not None:
            return known
        name, number = found.name, 2
        while name.lower() in self._names:
            name, number = f"{found.name}-{number}", number + 1
        return name

    def add(self, found: Found, model: Installed) -> None:
        self.new[model.name] = model
        self.models.setdefault(model.size_bytes, []).append(model)
        self._names.add(model.name.lower())
        self.first.append(found)
        self.taken.append((found, model.name))

    def add_copy(self, model: Installed, found: Found) -> None:
        if found.owner != stores.OWN:
            self.copies.append((model.name, found.copy))
        self.taken.append((found, model.name))


def _places(model: Installed) -> list[tuple[Path, ...]]:
    """Every place whose files are there, without saying one twice."""
    own = [] if model.missing else [model.files]
    return list(dict.fromkeys([*own, *(c.files for c in model.copies if not c.missing)]))


def _entry(found: Found, facts: Facts | None, name: str) -> Installed:
    ours = found.owner == stores.OWN
    copies: tuple[Copy, ...] = () if ours else (found.copy,)
    return Installed(
        name,
        found.path,
        found.format,
        found.size_bytes,
        "hub" if ours else "adopted",
        files=found.files,
        repository=found.repository,
        revision=found.revision,
        quantisation=found.quantisation or (facts.quantisation if facts else None),
        licence=found.licence or (facts.licence if facts else None),
        task=facts.task if facts else None,
        digests=found.digests if any(found.digests) else (),
        copies=copies,
    )


async def _facts(found: Found) -> Facts | None:
    """What its header says, read within bounds; None for a kind that no reader knows. Raises `Malformed`."""
    base = found.path if found.path.is_dir() else found.path.parent
    sources: Mapping[str, formats.Source] = {
        (p.relative_to(base).as_posix() if p.is_relative_to(base) else p.name): formats.LocalBytes(p)
        for p in found.files
    }
    try:
        return await formats.read(sources)
    except UnknownFormat:
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_dev, at.st_ino


def _of_one_size(found: Sequence[Found], models: Sequence[Installed]) -> list[Path]:
    """The files that share their size with another: only those need a look inside."""
    by_size: dict[int, list[Path]] = {}
    for path in [p for f in found for p in f.files] + [p for m in models for p in m.files]:
        try:
            at = path.stat()
        except OSError:
            continue
        by_size.setdefault(at.st_size, []).append(path)
    return [p for same in by_size.values() if len(same) > 1 for p in same]
