"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from domicile import __version__, engines, i18n
from domicile.answering import Answer, Ask, checked
from domicile.config import Settings
from domicile.contents import Contents
from domicile.db import Database
from domicile.download import check_room, fetch, needed
from domicile.engines import Awake, Engine
from domicile.engines.llama import sweep
from domicile.errors import BadName, DomicileError, NoLog, NotAdoptable, StillBusy
from domicile.jobs import Jobs, Progress, Work
from domicile.library import Library, folder_of, free_bytes
from domicile.live import Live, Metrics, Tally
from domicile.runner import Limits, Runner
from domicile.selftest import failed, trial
from domicile.sources.hub import Hub, choose
from domicile.types import Installed, Job, Load, ModelRef, Repository, Terms, Ticket, Variant
from domicile.waking import Waker

if TYPE_CHECKING:
    from domicile.adopt import Adoption
    from domicile.advice import Adviser
    from domicile.giving import Giving, Via
    from domicile.watch import Notices


_NO_TERMS = Terms()
_TEND_S = 300.0


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
        self.contents = Contents(database)
        self.jobs = Jobs(self._describe)
        self.metrics = Metrics()
        self.tally = Tally()
        self.waker = Waker(settings, database, lambda: self.adviser, self._log_path)
        self.runner = Runner(
            kinds,
            self.waker.prepare,
            Limits(settings.keep_alive, settings.models_memory, settings.queue, settings.queue_wait),
            free=self.waker.free,
            pinned=self.library.is_pinned,
            tell=self._note_event,
            before_sleep=self.tally.before_sleep,
        )
        self.live = Live(_load, self.runner.children, lambda: self.runner.waiting, self.tally)
        self.hub = Hub(settings, client)
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
        return {"name": model.name, "size_bytes": model.size_bytes, **await self._tried(model, progress)}

    async def _tried(self, model: Installed, progress: Progress) -> Mapping[str, object]:
        """The last step of a pull: try the model, if that disturbs nobody."""
        if not self.settings.selftest:
            return {}
        progress.step("selftest")
        return {"self_test": await self.selftest(model.name, gentle=True)}

    @asynccontextmanager
    async def session(
        self,
        name: str,
        keep_alive_s: float | None = None,
        *,
        terms: Terms = _NO_TERMS,
        ticket: Ticket | None = None,
        turn: bool = True,
    ) -> AsyncIterator[tuple[Installed, Awake]]:
        """A model of the library, awake and at our turn while the context lasts."""
        model = self.library.ready(name)
        async with self.runner.session(model, keep_alive_s, terms=terms, ticket=ticket, turn=turn) as awake:
            yield model, awake
            self.waker.remember(model, awake)
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[Answer]:
        """What a model says to a question. Leaving the context stops the generation."""
        began, outcome, name = time.monotonic(), "left", ""
        try:
            async with (
                self.session(ask.model, ask.keep_alive_s, terms=_terms(ask), ticket=ask.ticket) as (model, awake),
                awake.ask(ask.path, ask.body) as reply,
            ):
                name = model.name
                checked_reply = await checked(name, reply)
                self.metrics.first_byte.see(time.monotonic() - began, model.name)
                yield Answer(checked_reply, model.name, "home", self._notes(model.name))
                outcome = "ok" if checked_reply.status < 400 else str(checked_reply.status)
        except DomicileError as trouble:
            outcome, name = trouble.code, str(trouble.facts.get("name", name))
            raise
        finally:
            self.metrics.requests.add(name, outcome)
            if outcome == "ok":
                self.metrics.seconds.see(time.monotonic() - began, name)

    def _notes(self, name: str) -> Mapping[str, str]:
        """What must be said of how a model was woken."""
        note = self.runner.note_of(name)
        if note is None:
            return {}
        return {"Settings": "; ".join(["safer", *(f"{key}={value}" for key, value in note.facts.items())])}

    def _note_event(self, event: str, name: str, kind: str) -> None:
        """What happened to a model, counted, and said in its log where a person would look for it."""
        self.metrics.events.add(event, name, kind)
        sentences = {"death": f"its child died ({kind})", "evicted": f"sent to sleep: {kind} needs the memory"}
        if event == "wake" and kind:
            sentences["wake"] = "woken on safer settings after a death"
        if event in sentences:
            with contextlib.suppress(OSError), self._log_path(name).open("a", encoding="utf-8") as log:
                log.write(f"--- house: {sentences[event]} ---\n")

    async def selftest(self, name: str, *, gentle: bool = False) -> dict[str, Any]:
        """Try a model and keep the result. `gentle`: only if nobody has to sleep for it; None then says nothing."""
        model = self.library.ready(name)
        if not gentle:
            await self.adviser.machine(measure=True)  # without it there is no promise to hold its speed against
        try:
            tuning, facts, _ = await self.waker.tuning(model, Terms(gentle=gentle))
            async with self.session(model.name, terms=Terms(gentle=gentle)) as (_, awake):
                result = (await trial(awake, facts, tuning.report.tokens_per_second)).public()
        except DomicileError as trouble:
            result = failed(trouble)
        result["at"] = time.time()
        self.library.tested(model.name, result)
        return result

    async def tend(self, every_s: float = _TEND_S) -> None:
        """While the house is open: calibrate again, once nobody works, a machine that was calibrated amid work."""
        while True:
            await asyncio.sleep(every_s)
            asked = "adviser" in self.__dict__  # nobody asked it anything: it has no doubts
            if (
                asked
                and not any(p.busy or p.state != "awake" for p in self.runner.ps())
                and await self.adviser.doubts()
            ):
                await self.adviser.machine(measure=True)

    async def set_up(self, name: str, given: Mapping[str, object]) -> Installed:
        """Keep settings for a model (`tunable.TUNABLE`); they hold from its next waking on, which is now if nobody
        uses it."""
        model = self.library.get(name)
        self.waker.set(model.name, given)
        self.runner.forgive(model.name)
        with contextlib.suppress(StillBusy):
            await self.runner.sleep(model.name)
        return model

    async def remove(self, name: str, *, force: bool = False, also_files: bool = False) -> tuple[Installed, int]:
        """Put it to sleep, then forget it. Returns what it was, and the bytes freed.

        `also_files`: delete it from the other tools' folders too.
        """
        model = self.library.removable(name)
        await self.runner.sleep(model.name, force=force)
        also = self.adoption.leavings(model) if also_files else []
        freed = self.library.remove(model.name, also)
        self.waker.forget(model.name)
        return model, freed

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
            tending = asyncio.create_task(house.tend(), name="tend the house")
            try:
                yield house
            finally:
                tending.cancel()
                house.closing.set()
                await house.live.close()
                await house.jobs.close()
                await house.runner.close()
    finally:
        database.close()


def _load() -> Load:
    from domicile import hardware

    return hardware.load()


def _terms(ask: Ask) -> Terms:
    """What a request asks of the waking: `num_ctx`, a number of tokens; anything else there is not for us."""
    said = ask.said.get("num_ctx", "")
    return Terms(context=int(said)) if said.isdigit() and 0 < len(said) < 9 and int(said) else _NO_TERMS


def _already(model: Installed) -> Work:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.expect(model.size_bytes)
        progress.resumed(model.size_bytes)
        return {"name": model.name, "size_bytes": model.size_bytes}

    return work


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
