"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx2

from domicile import __version__, engines, i18n
from domicile.answering import Answer, Ask, checked
from domicile.blobs import Blobs
from domicile.config import Settings
from domicile.contents import Contents
from domicile.db import Database
from domicile.dialects.modelfile import Recipe
from domicile.download import check_room, fetch, needed
from domicile.engines import Awake, Engine, Launch
from domicile.engines.llama import sweep
from domicile.errors import BadField, BadName, DomicileError, NoLog, NotAdoptable
from domicile.formats.architectures import encoder_only
from domicile.jobs import Jobs, Progress, Work
from domicile.library import Library, folder_of, free_bytes
from domicile.recipes import Recipes, applied
from domicile.responses import Responses
from domicile.runner import Runner
from domicile.sources.hub import Hub, choose
from domicile.types import Facts, FitReport, Installed, Job, ModelRef, Repository, Variant

if TYPE_CHECKING:
    from domicile.adopt import Adoption
    from domicile.advice import Adviser
    from domicile.giving import Giving, Via
    from domicile.watch import Notices

EMBEDDED_TOKENS = 8192
"""The longest text that an embedding model reads, as far as its context and memory go."""


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
        self, settings: Settings, database: Database, client: httpx2.AsyncClient, kinds: Mapping[str, Engine]
    ) -> None:
        self.settings = settings
        self.database = database
        self.library = Library(settings, database)
        self.recipes = Recipes(database, self.library)
        self.responses = Responses(database)
        self.blobs = Blobs(settings.models / "blobs")
        self.contents = Contents(database)
        self.jobs = Jobs(self._describe)
        self.runner = Runner(kinds, self.launch_of, settings.keep_alive)
        self.hub = Hub(settings, client)
        self._predicted: dict[str, tuple[FitReport, Facts]] = {}
        self.closing = asyncio.Event()
        """Set when the house begins to close: streams end by themselves."""
        self._client = client

    @cached_property
    def adviser(self) -> Adviser:
        """The room that knows before a download. Made when somebody asks: half of our start-up would be its imports."""
        from domicile.advice import Adviser

        return Adviser(self.settings, self.database, self.library, self.hub, self._client)

    @cached_property
    def adoption(self) -> Adoption:
        """The room that takes in what other tools have."""
        from domicile.adopt import Adoption

        return Adoption(self.settings, self.library, self.contents)

    @cached_property
    def giving(self) -> Giving:
        """The room that gives models to Ollama."""
        from domicile.giving import Giving

        return Giving(self.settings, self.contents)

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

    async def pull(self, text: str) -> Job:
        """Have a model here: a job that resolves the name, downloads what is missing and enters it in the library."""
        ref = ModelRef.parse(text)
        if ref.kind == "house":
            with contextlib.suppress(DomicileError):
                here = self.library.ready(ref.name)
                return self.jobs.start("pull", here.name, _already(here))
            raise BadName(name=text, reason="not_on_hub")
        if ref.kind == "file":
            raise BadName(name=text, reason="is_file")
        return self.jobs.start("pull", str(ref), lambda progress: self._pull(ref, progress))

    async def _pull(self, ref: ModelRef, progress: Progress) -> Mapping[str, object]:
        progress.step("resolve")
        repository = await self.hub.describe(ref)
        variant = choose(repository, ref)
        folder = folder_of(self.settings, repository.id)
        wanted = [self.hub.wanted(repository, f, folder.joinpath(*f.path.split("/"))) for f in variant.files]
        check_room(self.settings.models, sum(needed(w) for w in wanted), free_bytes(self.settings))
        progress.expect(variant.size_bytes)
        progress.step("download")
        for one in wanted:
            await fetch(self._client, one, progress, self.hub.judge, noted=progress.step)
        progress.settle()
        model = self.library.add(_from_hub(repository, variant, [w.target for w in wanted]))
        return {"name": model.name, "size_bytes": model.size_bytes}

    @asynccontextmanager
    async def session(self, name: str, keep_alive_s: float | None = None) -> AsyncIterator[tuple[Installed, Awake]]:
        """A model of the library, awake while the context lasts."""
        model = self.recipes.weights(self.library.ready(name))
        async with self.runner.session(model, keep_alive_s) as awake:
            yield model, awake
            self._remember(model, awake)
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[Answer]:
        """What a model says to a question. Leaving the context stops the generation."""
        recipe = self.recipes.of(self.library.get(ask.model).name)
        if recipe is not None:
            ask = replace(ask, body=json.dumps(applied(recipe, ask.data())).encode())
        async with self.session(ask.model, ask.keep_alive_s) as (model, awake), awake.ask(ask.path, ask.body) as reply:
            yield Answer(await checked(model.name, reply), model.name, "home")

    async def remove(self, name: str, *, force: bool = False, also_files: bool = False) -> tuple[Installed, int]:
        """Put it to sleep, then forget it. Returns what it was, and the bytes freed.

        `also_files`: delete it from the other tools' folders too.
        """
        model = self.library.removable(name)
        await self.runner.sleep(model.name, force=force)
        self.recipes.forget(model.name)
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

    def find(self, name: str) -> Installed | None:
        """The model of a name, if it lives here."""
        with contextlib.suppress(DomicileError):
            return self.library.get(name)
        return None

    async def create(self, name: str, recipe: Recipe, digest: str | None = None) -> Installed:
        """A derived model: it shares the files of the one it comes from, or is made of a file that was sent.
        Raises `BadField` for a name that is taken by a model that was not made so."""
        name = self._free_name(name)
        if digest is not None:
            path = self.blobs.get(digest)
            facts = (await self.adviser.known(str(path))).facts  # raises what is wrong with it
            size = path.stat().st_size
            made = Installed(name, path, "gguf", size, "file", files=(path,), quantisation=facts.quantisation)
            recipe = replace(recipe, base=str(path))
        else:
            base = self.library.ready(recipe.base)
            made = _derived(name, base)
            recipe = _over(recipe, base.name, self.recipes.of(base.name))
        self.library.add(made)
        self.recipes.keep(name, recipe)
        return self.library.get(name)

    def copy(self, source: str, name: str) -> Installed:
        """Another name for a model; its files are shared."""
        model = self.library.ready(source)
        name = self._free_name(name)
        recipe = self.recipes.of(model.name) or Recipe(model.name)
        self.library.add(_derived(name, model))
        self.recipes.keep(name, recipe)
        return self.library.get(name)

    def _free_name(self, said: str) -> str:
        name = said.strip().removesuffix(":latest")
        if not _NEW_NAME.fullmatch(name):
            raise BadName(name=said[:200])
        present = self.find(name)
        if present is not None and (present.name.lower() != name.lower() or self.recipes.of(present.name) is None):
            raise BadField(field="model", problem=present.name, reason="taken")
        return present.name if present else name

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

        plan, report, facts = await self.adviser.launch(model, self.recipes.context(model.name))
        self._predicted[model.name] = (report, facts)
        machine = await self.adviser.machine()
        recipe = self.recipes.of(model.name)
        embedding = facts.task == "feature-extraction"
        if embedding and encoder_only(facts.architecture or ""):  # it sees both ways: a text is one batch
            plan = replace(plan, n_ubatch=max(plan.n_ubatch, min(plan.n_ctx // plan.n_parallel, EMBEDDED_TOKENS)))
        return Launch(
            model=model,
            plan=plan,
            threads=self.settings.threads or threads_for(machine),
            memory_bytes=self.settings.engine_memory or int((machine.ram_available_bytes or 1 << 40) * 0.9),
            deadline_s=self.settings.wake_timeout,
            log=self._log_path(model.name),
            embedding=embedding,
            adapters=tuple(self.blobs.get(digest) for digest in recipe.adapters) if recipe else (),
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
                return Check("engine", reply.status == 200, {"engine": "llama"})
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
    try:
        async with httpx2.AsyncClient(timeout=timeout, follow_redirects=True, max_redirects=5) as client:
            house = House(settings, database, client, engines.installed() if kinds is None else kinds)
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
    finally:
        database.close()


def _already(model: Installed) -> Work:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.expect(model.size_bytes)
        progress.resumed(model.size_bytes)
        return {"name": model.name, "size_bytes": model.size_bytes}

    return work


_NEW_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}(/[A-Za-z0-9][\w.-]{0,79}){0,2}(:[\w.-]{1,80})?", re.ASCII)


def _derived(name: str, base: Installed) -> Installed:
    """A model of another name with the same files. It is no variant of the repository they came from."""
    source: Literal["hub", "file"] = "hub" if base.source == "hub" else "file"
    bare = replace(base, aliases=(), pinned=False, copies=(), self_test=None, added_at=None, last_used_at=None)
    return replace(bare, name=name, source=source, repository=None, active=False)


def _over(recipe: Recipe, base: str, under: Recipe | None) -> Recipe:
    """What a derived model adds, over what the one it comes from adds already."""
    if under is None:
        return replace(recipe, base=base)
    return Recipe(
        under.base if under.adapters == () else base,
        {**under.parameters, **recipe.parameters},
        recipe.template or under.template,
        recipe.system or under.system,
        recipe.messages or under.messages,
        (*under.adapters, *recipe.adapters),
        recipe.licence or under.licence,
    )


def _from_hub(repository: Repository, variant: Variant, files: list[Path]) -> Installed:
    return Installed(
        name=f"{repository.id}:{variant.label}",
        path=files[0],
        format="gguf",
        size_bytes=variant.size_bytes,
        source="hub",
        files=tuple(files),
        repository=repository.id,
        revision=repository.commit,
        quantisation=variant.quantisation,
        licence=repository.licence,
        task=repository.task,
        digests=tuple(f.sha256 for f in variant.files),
    )
