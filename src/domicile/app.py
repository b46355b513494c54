"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from domicile import __version__, engines, i18n
from domicile.answering import Answer, Ask, checked
from domicile.away import Away
from domicile.config import Settings
from domicile.contents import Contents
from domicile.db import Database
from domicile.download import check_room, fetch
from domicile.egress import Egress, about
from domicile.engines import Awake, Engine, Launch
from domicile.engines.llama import sweep
from domicile.errors import (
    BadField,
    BadName,
    DomicileError,
    ModelNotFound,
    NoLog,
    NotAdoptable,
    OutsideRoots,
    StillDownloading,
)
from domicile.jobs import Jobs, Progress, Work
from domicile.library import Library, free_bytes
from domicile.outside import Places
from domicile.runner import Runner
from domicile.sources import Sources, choose, elsewhere
from domicile.sources.hub import Hub
from domicile.targets import Targets
from domicile.types import Facts, FitReport, Installed, Job, ModelRef
from domicile.updates import Updates

if TYPE_CHECKING:
    from domicile.adopt import Adoption
    from domicile.advice import Adviser
    from domicile.custom import Customs
    from domicile.giving import Giving, Via
    from domicile.watch import Notices


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `domicile doctor`: the key of its sentence, whether it is well, and the facts."""

    key: str
    well: bool
    facts: Mapping[str, object]
    error: DomicileError | None = None


class House:
    """All the rooms. Made by `open_house`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        egress: Egress,
        client: httpx2.AsyncClient,
        kinds: Mapping[str, Engine],
    ) -> None:
        self.settings = settings
        self.database = database
        self.egress = egress
        self.library = Library(settings, database)
        self.contents = Contents(database)
        self.jobs = Jobs(self._describe)
        self.runner = Runner(kinds, self.launch_of, settings.keep_alive)
        self.hub = Hub(settings, client, offline=settings.offline)
        self.away = Away(settings, Targets(database, settings.target_keys, settings.hub_token), egress, self._known)
        self.places = Places(database)
        self.sources = Sources(settings, client, self.places, self.hub, egress)
        self.updates = Updates(settings, database, self.library, self.sources)
        self._predicted: dict[str, tuple[FitReport, Facts]] = {}
        self.closing = asyncio.Event()
        """Set when the house begins to close: streams end by themselves."""
        self._client = client

    @cached_property
    def adviser(self) -> Adviser:
        """The room that knows before a download. Made when somebody asks: half of our start-up would be its imports."""
        from domicile.advice import Adviser

        return Adviser(self.settings, self.database, self.library, self.sources)

    @cached_property
    def customs(self) -> Customs:
        """The models a person has defined."""
        from domicile.custom import Customs

        return Customs(self.settings, self.database, self.library, self.sources)

    @cached_property
    def adoption(self) -> Adoption:
        """The room that takes in what other tools have."""
        from domicile.adopt import Adoption

        return Adoption(self.settings, self.library, self.contents)

    @cached_property
    def giving(self) -> Giving:
        """The room that gives models to Ollama."""
        from domicile.giving import Giving

        return Giving(self.settings, self.contents, self.egress)

    @cached_property
    def notices(self) -> Notices:
        """What came and went in the folders of models."""
        from domicile.watch import Notices

        return Notices()

    async def watch(self) -> None:
        """Watch the folders of models for as long as the house is open."""
        from domicile.watch import Watch

        await Watch(self.settings, self.library, self.adoption, self.notices).run()

    @property
    def lang(self) -> str:
        return i18n.choose(self.settings.lang) if self.settings.lang else i18n.of_environment()

    def _describe(self, error: DomicileError) -> Mapping[str, object]:
        """An error as a job shows it: its code and facts, so that each reader gets it in a language of theirs."""
        message, hint = i18n.error_text(self.lang, error)
        return {
            "code": error.code,
            "message": message,
            "hint": hint,
            "exit_code": error.exit_code,
            "facts": {k: v for k, v in error.facts.items() if isinstance(v, (str, int, float, bool, type(None)))},
        }

    # -- sentences --

    async def pull(self, text: str, *, name: str | None = None, folder: str | None = None) -> Job:
        """Have a model here: a job that resolves the name, downloads what is missing and enters it in the library.

        A name that does not live here is a custom model's id, or else, with a tag, one of Ollama's. `name` is what to
        call it, `folder` where its files go when that is not our store (within DOMICILE_DOWNLOAD_ROOTS).
        """
        ref = ModelRef.parse(text)
        if ref.kind == "house":
            with contextlib.suppress(DomicileError):
                here = self.library.ready(ref.name)
                return self.jobs.start("pull", here.name, _already(here))
            if custom := self.customs.find(ref.name):
                return await self.pull(custom.url, name=custom.id, folder=folder)
            ref = elsewhere(ref)
        self.sources.of(ref)
        if ref.kind == "file" and not Path(ref.name).expanduser().is_absolute():
            raise BadField(field="model", problem=ref.name[:200], reason="absolute")
        place = None if folder is None else self._allowed(folder)
        return self.jobs.start("pull", str(ref), lambda progress: self._pull(ref, progress, name, place))

    async def update(self, name: str) -> Job:
        """Have a model as it is now where it came from."""
        model, origin = self.updates.asked(name)
        (now,) = await self.updates.check(model.name)
        if now.state in {"current", "pinned"} and not model.missing:
            return self.jobs.start("pull", model.name, _already(model))
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

    async def _pull(
        self, ref: ModelRef, progress: Progress, name: str | None, folder: Path | None
    ) -> Mapping[str, object]:
        job = self._download_of(str(ref))
        with about("download", model=str(ref), job=job.id if job else None):
            return await self._fetch(ref, progress, name, folder)

    async def _fetch(
        self, ref: ModelRef, progress: Progress, name: str | None, folder: Path | None
    ) -> Mapping[str, object]:
        progress.step("resolve")
        source = self.sources.of(ref)
        repository = await source.describe(ref)
        variant = choose(repository, ref)
        progress.expect(variant.size_bytes)
        if repository.source == "file":
            model = self.library.add_file(Path(repository.id))
            progress.resumed(model.size_bytes)
            return {"name": model.name, "size_bytes": model.size_bytes, "verified": False}
        place = folder or source.folder(repository)
        kept = sum(p.stat().st_size for p in place.rglob("*.partial")) if place.is_dir() else 0
        check_room(place, variant.size_bytes, self._free(place) + kept)
        progress.step("download")
        files: dict[str, Path] = {}
        for file in variant.files:
            files[file.path] = place.joinpath(*file.path.split("/"))
            wanted = source.wanted(repository, file, files[file.path])
            await fetch(source.client, wanted, progress, source.judge, noted=progress.step)
        progress.settle()
        entry = source.entry(ref, repository, variant, files)
        entry = replace(entry, name=name) if name else entry
        model = await self.updates.entered(entry, ref, repository, variant, folder)
        verified = all(f.sha256 or f.git_sha1 for f in variant.files)
        return {"name": model.name, "size_bytes": model.size_bytes, "verified": verified}

    def _free(self, place: Path) -> int:
        """Room on the disk of a folder that need not exist yet."""
        return free_bytes(replace(self.settings, home=place))

    @asynccontextmanager
    async def session(self, name: str, keep_alive_s: float | None = None) -> AsyncIterator[tuple[Installed, Awake]]:
        """A model of the library, awake while the context lasts."""
        model = self.library.ready(name)
        async with self.runner.session(model, keep_alive_s) as awake:
            yield model, awake
            self._remember(model, awake)
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[Answer]:
        """What a model says to a question, here or, where the person wants it, elsewhere. Leaving the context stops
        the generation."""
        async with self.away.answer(ask, self._answer_at_home) as answer:
            yield answer

    @asynccontextmanager
    async def _answer_at_home(self, ask: Ask) -> AsyncIterator[Answer]:
        try:
            self.library.get(ask.model)
        except ModelNotFound:
            job = self._download_of(ask.model)
            if job is None:
                raise
            raise StillDownloading(name=ask.model, done=round(100 * (job.progress or 0.0)), job=job.id) from None
        async with self.session(ask.model, ask.keep_alive_s) as (model, awake), awake.ask(ask.path, ask.body) as reply:
            yield Answer(await checked(model.name, reply), model.name, "home")

    def _known(self, name: str) -> None:
        """Is this a model of ours, or one that is on its way here? Raises `ModelNotFound`."""
        try:
            self.library.get(name)
        except ModelNotFound:
            if self._download_of(name) is None:
                raise

    def _download_of(self, name: str) -> Job | None:
        """The download under way that brings a model."""
        try:
            asked = ModelRef.parse(name)
        except BadName:
            return None
        for job in self.jobs.list():
            coming = ModelRef.parse(job.model) if job.kind == "pull" and not job.over else None
            if coming is None or (coming.kind, coming.name.lower()) != (asked.kind, asked.name.lower()):
                continue
            choices = {(r.quantisation or r.path or "").lower() for r in (asked, coming)} - {""}
            if len(choices) < 2:
                return job
        return None

    async def remove(self, name: str, *, force: bool = False, also_files: bool = False) -> tuple[Installed, int]:
        """Put it to sleep, then forget it. Returns what it was, and the bytes freed.

        `also_files`: delete it from the other tools' folders too.
        """
        model = self.library.removable(name)
        await self.runner.sleep(model.name, force=force)
        also = self.adoption.leavings(model) if also_files else []
        return model, self.library.remove(model.name, also)

    def adopt(self, wanted: Mapping[str, object]) -> Job:
        """Take in what other tools have: `{"models": [id, ...]}`, `{"path": absolute}` or `{"all": true}`."""
        named = wanted.get("models")
        said = ", ".join(map(str, named)) if isinstance(named, list) else str(wanted.get("path") or "*")
        return self.jobs.start("adopt", said[:500], partial(self._adopt, wanted))

    async def _adopt(self, wanted: Mapping[str, object], progress: Progress) -> Mapping[str, object]:
        progress.step("adopt")
        named, path = wanted.get("models"), wanted.get("path")
        if isinstance(named, list):
            offers = [await self.adoption.named(str(name)) for name in named]
        else:
            offers = await self.adoption.offers(Path(str(path)) if path else None)
            if path and not offers:
                raise NotAdoptable(name=str(path), n=0, reason="path")
        taken, refused = await self.adoption.take(offers)
        if len(offers) == len(refused) == 1:
            raise refused[0][1]
        told = [{"id": offer.id, **self._describe(error)} for offer, error in refused]
        return {"adopted": [t.public() for t in taken], "refused": told}

    def export(self, name: str, wanted: Mapping[str, object]) -> Job:
        """Give a model to Ollama: `{"as": ..., "via": "auto" | "link" | "api", "force": false}`."""
        model = self.library.ready(name)
        return self.jobs.start("export", model.name, partial(self._export, {**wanted, "model": model.name}))

    async def _export(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        model = self.library.ready(wanted["model"])
        via: Via = wanted.get("via") or "auto"
        force = bool(wanted.get("force"))
        given = await self.giving.to_ollama(model, wanted.get("as"), progress, via=via, force=force)
        return {**given.public(), "size_bytes": model.size_bytes}

    def ollama_pull(self, name: str) -> Job:
        """Have the running Ollama download a model."""
        from domicile.giving import check_name

        check_name(name)
        return self.jobs.start("ollama_pull", name, partial(self._ollama_pull, {"model": name}))

    async def _ollama_pull(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        await self.giving.pull(wanted["model"], progress)
        return {"name": wanted["model"]}

    def log_of(self, name: str) -> Path:
        model = self.library.get(name)
        path = self._log_path(model.name)
        if not path.is_file():
            raise NoLog(name=model.name)
        return path

    def _log_path(self, name: str) -> Path:
        return self.settings.logs / ("".join(c if c.isalnum() or c in "._-" else "-" for c in name) + ".log")

    async def launch_of(self, model: Installed) -> Launch:
        """The settings a model is woken with: what was predicted is what is launched."""
        from domicile.hardware.calibrate import threads_for

        plan, report, facts = await self.adviser.launch(model)
        self._predicted[model.name] = (report, facts)
        machine = await self.adviser.machine()
        return Launch(
            model=model,
            plan=plan,
            threads=self.settings.threads or threads_for(machine),
            memory_bytes=self.settings.engine_memory or int((machine.ram_available_bytes or 1 << 40) * 0.9),
            deadline_s=self.settings.wake_timeout,
            log=self._log_path(model.name),
        )

    def _remember(self, model: Installed, awake: Awake) -> None:
        """After a model's first answer since it woke: what it really takes, beside what was predicted."""
        predicted = self._predicted.pop(model.name, None)
        actual, rate = awake.resident_bytes(), awake.tokens_per_second()
        if predicted is not None and actual is not None:
            self.adviser.remember(model, predicted[1], predicted[0], actual, rate)

    async def doctor(self) -> list[Check]:
        """What is well and what is not, each with what to do."""
        machine = await self.adviser.machine()
        checks = [
            Check("system", True, {"system": platform.platform(terse=True), "python": platform.python_version()}),
            Check("version", True, {"version": __version__}),
            Check("home", True, {"path": str(self.settings.home), "free": free_bytes(self.settings)}),
            Check(
                "memory",
                (machine.ram_available_bytes or 0) > 1 << 30,
                {"available": machine.ram_available_bytes, "cores": machine.physical_cores},
            ),
        ]
        missing = [m.name for m in self.library.list() if m.missing]
        checks.append(Check("library", not missing, {"n": len(self.library.list()), "missing": ", ".join(missing)}))
        checks.append(await self._doctor_engine())
        checks.append(await self._doctor_hub())
        return checks

    async def _doctor_engine(self) -> Check:
        """Ask the embedded model for a few tokens, for real."""
        body = b'{"messages":[{"role":"user","content":"Bonjour"}],"max_tokens":8}'
        try:
            async with self.session("graine") as (_, awake), awake.ask("/v1/chat/completions", body) as reply:
                async for _ in reply.body:
                    pass
                sealed = getattr(awake, "sealed", None) or "?"
                return Check("engine", reply.status == 200, {"engine": "llama", "sealed": sealed})
        except DomicileError as error:
            return Check("engine", False, {"engine": "llama"}, error)

    async def _doctor_hub(self) -> Check:
        host = httpx2.URL(self.settings.hub).host
        try:
            await self.hub.reach()
        except DomicileError as error:
            return Check("hub", False, {"host": host}, error)
        return Check("hub", True, {"host": host})


@asynccontextmanager
async def open_house(settings: Settings, kinds: Mapping[str, Engine] | None = None) -> AsyncIterator[House]:
    """Open the rooms; close them when the context is left."""
    sweep()
    database = Database(settings.database)
    timeout = httpx2.Timeout(settings.read_timeout, connect=settings.connect_timeout)
    egress = Egress(database, offline=settings.offline)
    try:
        async with egress.client("hub", timeout=timeout, follow_redirects=True, max_redirects=5) as client:
            house = House(settings, database, egress, client, engines.installed() if kinds is None else kinds)
            if database.set_aside is not None:
                sentence = i18n.say(house.lang, "house.set_aside", path=database.set_aside, n=len(house.library.list()))
                print(sentence, file=sys.stderr)
            elif house.library.rebuilt:
                print(i18n.say(house.lang, "house.rebuilt", n=house.library.rebuilt), file=sys.stderr)
            try:
                yield house
            finally:
                house.closing.set()
                await house.jobs.close()
                await house.runner.close()
                await house.sources.close()
    finally:
        await egress.aclose()
        database.close()


def _already(model: Installed) -> Work:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.expect(model.size_bytes)
        progress.resumed(model.size_bytes)
        return {"name": model.name, "size_bytes": model.size_bytes, "verified": True}

    return work
