"""The house, the part where models arrive: pulled, updated, gone on with, and what a stopped download left.

Turns what a person asked for into a job, and a job into files, a row of the library and a trial. Knows sources by
their contract and jobs by what they may be told; knows no face.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile.app.rooms import Rooms
from domicile.errors import BadField, DomicileError, OutsideRoots, PartialNotFound, StillBusy
from domicile.library import free_bytes
from domicile.refs import ModelRef
from domicile.types import Installed, Job, Repository

if TYPE_CHECKING:
    from domicile.download import Limiter, Partial, Wanted
    from domicile.jobs import Limits, Progress


class Arrivals(Rooms):
    """What `House` does so that models come. The rooms are its own."""

    async def pull(
        self,
        text: str,
        *,
        name: str | None = None,
        folder: str | None = None,
        priority: int | None = None,
        limit: int | None = None,
        hours: str | None = None,
        stay: bool = True,
    ) -> Job:
        """Have a model here: a job that resolves the name, downloads what is missing and enters it in the library.

        A name that does not live here is a custom model's id, or else, with a tag, one of Ollama's. `name` is what to
        call it, `folder` where its files go when that is not our store (within DOMICILE_DOWNLOAD_ROOTS). `limit` in
        bytes a second, `hours` as `config.hours` reads them; not `stay`: nobody here will wait for it.
        """
        from domicile.sources import elsewhere

        ref = ModelRef.parse(text)
        if ref.kind == "house":
            with contextlib.suppress(DomicileError):
                here = self.library.ready(ref.name)
                return await self._already(here)
            if custom := self.customs.find(ref.name):
                return await self.pull(
                    custom.url,
                    name=custom.id,
                    folder=folder,
                    priority=priority,
                    limit=limit,
                    hours=hours,
                    stay=stay,
                )
            ref = elsewhere(ref)
        self.sources.of(ref)
        if ref.kind == "file" and not Path(ref.name).expanduser().is_absolute():
            raise BadField(field="model", problem=ref.name[:200], reason="absolute")
        arguments: dict[str, Any] = {"model": str(ref)}
        if name:
            arguments["name"] = name
        if folder is not None:
            arguments["folder"] = str(self._allowed(folder))
        if self.egress.offline and not self.settings.offline:  # as this request alone wishes
            arguments["offline"] = True
        return await self.jobs.start(
            "pull", str(ref), arguments, priority=priority, limit=limit, hours=hours, stay=stay
        )

    async def _already(self, model: Installed) -> Job:
        result = {"name": model.name, "size_bytes": model.size_bytes, "verified": True}
        return await self.jobs.done("pull", model.name, result, model.size_bytes)

    async def update(self, name: str) -> Job:
        """Have a model as it is now where it came from."""
        model, origin = self.updates.asked(name)
        (now,) = await self.updates.check(model.name)
        if now.state in {"current", "pinned"} and not model.missing:
            return await self._already(model)
        return await self.pull(str(origin.ref), name=model.name, folder=str(origin.folder) if origin.folder else None)

    def _allowed(self, folder: str) -> Path:
        """A folder that downloads may go to, links resolved. Raises `OutsideRoots`, the same whether it is there."""
        roots = [self.settings.models, *(Path(r).expanduser() for r in self.settings.download_roots)]
        place = Path(folder)
        if (
            "\0" in folder
            or not place.is_absolute()
            or not any(place.resolve().is_relative_to(root.resolve()) for root in roots)
        ):
            raise OutsideRoots(folder=folder[:200].replace("\0", "?"), roots=", ".join(str(r) for r in roots))
        return place.resolve()

    async def _pull(self, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        from domicile.egress import about, offline

        shut = offline() if arguments.get("offline") else contextlib.nullcontext()
        with about("download", model=arguments["model"]), shut:
            return await self._fetch(arguments, progress)

    async def _fetch(self, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        from domicile import download
        from domicile.download import check_room, fetch, needed
        from domicile.sources import choose

        ref, name = ModelRef.parse(arguments["model"]), arguments.get("name")
        folder = Path(arguments["folder"]) if arguments.get("folder") else None
        progress.step("resolve")
        source = self.sources.of(ref)
        repository = await source.describe(ref)
        variant = choose(repository, ref)
        if repository.source == "file":
            model = self.library.add_file(Path(repository.id))
            progress.expect(model.size_bytes)
            progress.resumed(model.size_bytes)
            return {"name": model.name, "size_bytes": model.size_bytes, "verified": False}
        place = folder or source.folder(repository)
        files = {file.path: place.joinpath(*file.path.split("/")) for file in variant.files}
        wanted = [source.wanted(repository, file, files[file.path]) for file in variant.files]
        compiled = await self._library(repository, name, place) if variant.format == "mlc" else None
        library = compiled if isinstance(compiled, download.Wanted) else None
        whole = variant.size_bytes + (library.size_bytes if library else 0)
        here = whole - sum(needed(w) for w in (*wanted, *((library,) if library else ())))
        if folder is not None:  # perhaps on another disk than the one whose room is shared among jobs
            check_room(place, whole - here, self._free(place))
        await progress.reserve(whole, here, place=place)
        limiter = self._limiter_of(progress)
        progress.step("download")
        for one in wanted:
            await fetch(source.client, one, progress, source.judge, limits=limiter, noted=progress.step)
        if library is not None:
            await fetch(self.sources.guarded, library, progress, self.sources.url.judge, limits=limiter)
        progress.settle()
        entry = source.entry(ref, repository, variant, files)
        entry = replace(entry, name=name) if name else entry
        entry = replace(entry, task=await _task_of(entry))
        if library is not None:
            entry = replace(
                entry,
                files=(*entry.files, library.target),
                size_bytes=whole,
                digests=(*entry.digests, library.sha256) if entry.digests else (),
            )
        model = await self.updates.entered(entry, ref, repository, variant, folder)
        verified = all(f.sha256 or f.git_sha1 for f in variant.files)
        done = {"name": model.name, "size_bytes": model.size_bytes, "verified": verified}
        if isinstance(compiled, DomicileError):
            done["no_library"] = compiled.code
        return {**done, **await self._tried(model, progress)}

    async def _library(self, repository: Repository, name: str | None, place: Path) -> Wanted | DomicileError:
        """What runs an MLC model in a browser: the library its definition names, if a person made one."""
        from domicile import compiled

        custom = self.customs.find(name) if name else None
        return await compiled.wanted(repository, custom.model_lib if custom else None, self.sources, place)

    async def _tried(self, model: Installed, progress: Progress) -> Mapping[str, object]:
        """The last step of a pull: try the model, if that disturbs nobody."""
        if not self.settings.selftest:
            return {}
        progress.step("selftest")
        return {"self_test": await self.selftest(model.name, gentle=True)}

    def _free(self, place: Path) -> int:
        """Room on the disk of a folder that need not exist yet."""
        return free_bytes(replace(self.settings, home=place))

    def _limiter_of(self, progress: Progress) -> Limiter:
        """The speed limit of one job, below the one of all, which a person may change while it runs."""
        from domicile.download import Limiter

        limiter = Limiter(parent=self._limiter)

        def hear(limits: Limits) -> None:
            limiter.rate, self._limiter.rate = limits.job, limits.house

        progress.heed(hear)
        return limiter

    def partials(self) -> list[Partial]:
        """What downloads that were stopped or cut have left: to go on with, or to forget."""
        from domicile.download import partials

        return partials(self.settings.models)

    def partial_name(self, partial: Partial) -> str:
        """What a person calls it, and pulls to go on with it: `org/repo/file`."""
        return partial.target.relative_to(self.settings.models).as_posix()

    async def forget_partial(self, name: str) -> tuple[str, int]:
        """Delete what a download left. Returns its name, and the bytes freed. Raises `PartialNotFound`, and
        `StillBusy` while a job works on it."""
        from domicile.download import PARTIAL, forget

        said = name.removesuffix(PARTIAL)
        found = next((p for p in self.partials() if self.partial_name(p) == said), None)
        if found is None:
            raise PartialNotFound(name=name[:200])
        try:
            return said, await asyncio.to_thread(forget, found)
        except StillBusy as busy:
            raise StillBusy(name=said, reason="download") from busy


async def _task_of(entry: Installed) -> str | None:
    """What it does. A folder of diffusers, and a file without a configuration, say themselves that they draw or are an
    adapter. Else what its source says; where that says nothing, the class that its configuration names."""
    from domicile import formats
    from domicile.types import LORA, PICTURES

    root = entry.path.parent
    bare = entry.format == "safetensors" and not any(path.suffix.lower() == ".json" for path in entry.files)
    silent = entry.format == "safetensors" and entry.task is None
    if not bare and entry.format != "diffusers" and not silent:
        return entry.task
    inside = [path for path in entry.files if path.is_relative_to(root)]
    facts = await formats.read({path.relative_to(root).as_posix(): formats.LocalBytes(path) for path in inside})
    return facts.task if silent or facts.task in PICTURES or facts.task == LORA else entry.task
