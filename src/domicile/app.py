"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domicile import i18n
from domicile.arrivals import Arrivals
from domicile.checkup import Checkup
from domicile.config import Settings
from domicile.db import Database
from domicile.errors import (
    BadField,
    BadName,
    DomicileError,
    ModelNotFound,
    NoLog,
    NotAdoptable,
    StillBusy,
    StillDownloading,
)
from domicile.library import Library, free_bytes
from domicile.types import EMBEDDED, Facts, Installed, Job, Load, ModelRef, Terms, Ticket
from domicile.workshop import Workshop

if TYPE_CHECKING:
    import httpx2

    from domicile.accounts import Accounts
    from domicile.adopt import Adoption
    from domicile.advice import Adviser, Known
    from domicile.answering import Answer, Ask
    from domicile.away import Away
    from domicile.blobs import Blobs
    from domicile.chats import Chats, Presence
    from domicile.contents import Contents
    from domicile.context import Fitted
    from domicile.conversations import Conversations
    from domicile.custom import Customs
    from domicile.dialects.modelfile import Recipe
    from domicile.download import Limiter
    from domicile.egress import Egress
    from domicile.engines import Awake, Engine, Launch
    from domicile.giving import Giving, Via
    from domicile.jobs import Jobs, Progress
    from domicile.jobs.hands import Launcher, Takes
    from domicile.jobs.store import Store
    from domicile.live import Live, Metrics, Tally
    from domicile.outside import Places
    from domicile.recipes import Recipes
    from domicile.responses import Responses
    from domicile.runner import Runner
    from domicile.sources import Sources
    from domicile.sources.hub import Hub
    from domicile.studio import Studio
    from domicile.templates import Template, Templates
    from domicile.updates import Updates
    from domicile.waking import Waker
    from domicile.watch import Notices

_NO_TERMS = Terms()
_TALKS = frozenset({"/v1/chat/completions", "/v1/completions"})
_DRESSED = _TALKS | {"/v1/chat/completions/input_tokens"}
"""Routes whose questions get what a derived model adds."""
_TEND_S = 300.0


class House(Arrivals, Checkup, Workshop):
    """All the rooms. Made by `open_house`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        kinds: Mapping[str, Engine] | None = None,
        *,
        takes: Takes = "asked",
        queue: tuple[Store, Launcher | None] | None = None,
    ) -> None:
        """Almost nothing is made here: each room is made when somebody first comes to it, and so are its imports."""
        self.settings = settings
        self.database = database
        self.library = Library(settings, database)
        self.closing = asyncio.Event()
        """Set when the house begins to close: streams end by themselves."""
        self._kinds, self._takes, self._queue = kinds, takes, queue

    async def close(self) -> None:
        """The rooms that were made, in the right order: streams, jobs, children, connections."""
        self.closing.set()
        made = self.__dict__
        for room in ("live", "studio", "chats", "jobs", "runner", "sources"):
            if room in made:
                await made[room].close()
        for way in ("_client", "egress"):
            if way in made:
                await made[way].aclose()
        if "accounts" in made:
            made["accounts"].close()

    async def furnish(self) -> None:
        """Make the rooms that a question passes through, one by one, so that the first one asked does not pay."""
        for room in ("runner", "recipes", "away", "live", "metrics"):
            getattr(self, room)
            await asyncio.sleep(0)

    @cached_property
    def egress(self) -> Egress:
        """The one door to the world outside."""
        from domicile.egress import Egress

        return Egress(self.database, offline=self.settings.offline)

    @cached_property
    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        timeout = httpx2.Timeout(self.settings.read_timeout, connect=self.settings.connect_timeout)
        return self.egress.client("hub", timeout=timeout, follow_redirects=True, max_redirects=5)

    @cached_property
    def accounts(self) -> Accounts:
        """Who may come in where the house listens beyond this machine."""
        from domicile.accounts import Accounts

        return Accounts(self.settings.accounts, self.settings.session_idle, self.settings.session_life)

    @cached_property
    def recipes(self) -> Recipes:
        """What derived models add to the weights they share."""
        from domicile.recipes import Recipes

        return Recipes(self.database, self.library)

    @cached_property
    def responses(self) -> Responses:
        """Answers that are kept for whoever goes on from them."""
        from domicile.responses import Responses

        return Responses(self.database)

    @cached_property
    def blobs(self) -> Blobs:
        """Files by their digest."""
        from domicile.blobs import Blobs

        return Blobs(self.settings.models / "blobs")

    @cached_property
    def contents(self) -> Contents:
        """Digests of files that were read once."""
        from domicile.contents import Contents

        return Contents(self.database)

    @cached_property
    def _limiter(self) -> Limiter:
        from domicile.download import Limiter

        return Limiter(self.settings.download_limit or None)

    @cached_property
    def jobs(self) -> Jobs:
        """What takes its time."""
        from domicile.jobs import Jobs, Kind, Policy
        from domicile.jobs.notices import Notices as JobNotices
        from domicile.jobs.sqlite_store import SqliteStore

        settings = self.settings
        store, launcher = self._queue or (SqliteStore(self.database), None)
        return Jobs(
            store,
            {
                "pull": Kind(self._pull),
                "adopt": Kind(self._adopt, download=False),
                "export": Kind(self._export, download=False),
                "ollama_pull": Kind(self._ollama_pull, download=False),
                "engine": Kind(self._add_engine, download=False),
            },
            self._describe,
            policy=Policy(settings.downloads, settings.download_limit, settings.download_hours),
            takes=self._takes,
            launcher=launcher,
            free=lambda: free_bytes(settings),
            tell=JobNotices(settings, lambda: self.lang, self.egress).tell,
        )

    @cached_property
    def conversations(self) -> Conversations:
        """What engines keep of conversations on the disk."""
        from domicile.conversation_store import ConversationStore
        from domicile.conversations import Conversations

        return Conversations(ConversationStore(self.settings.conversations, self.settings.conversation_cache))

    @cached_property
    def templates(self) -> Templates:
        """The chat templates of files, judged apart."""
        from domicile.templates import Templates

        folder = self.settings.home / "cache" / "templates"
        return Templates(folder, self._facts_of, self._note_template, self._brought)

    @cached_property
    def metrics(self) -> Metrics:
        from domicile.live import Metrics

        return Metrics()

    @cached_property
    def tally(self) -> Tally:
        from domicile.live import Tally

        return Tally()

    @cached_property
    def waker(self) -> Waker:
        """How a model is woken."""
        from domicile.waking import Waker

        return Waker(self.settings, self.database, lambda: self.adviser, self._log_path, self._own, self._dressed)

    @cached_property
    def runner(self) -> Runner:
        """Owner of the engines' children."""
        from domicile import engines
        from domicile.engines.llama import sweep
        from domicile.runner import Limits, Runner

        sweep()
        settings, kinds = (
            self.settings,
            engines.installed(self.settings.engines) if self._kinds is None else self._kinds,
        )
        return Runner(
            {name: self.templates.guarding(self.conversations.keeping(e)) for name, e in kinds.items()},
            self.waker.prepare,
            Limits(settings.keep_alive, settings.models_memory, settings.queue, settings.queue_wait),
            free=self.waker.free,
            pinned=self.library.is_pinned,
            tell=self._note_event,
            before_sleep=self.tally.before_sleep,
        )

    @cached_property
    def live(self) -> Live:
        """The machine, once a second for whoever looks."""
        from domicile.live import Live

        return Live(_load, self.runner.children, lambda: self.runner.waiting, self.tally)

    @cached_property
    def hub(self) -> Hub:
        from domicile.sources.hub import Hub

        return Hub(self.settings, self._client, offline=self.settings.offline)

    @cached_property
    def away(self) -> Away:
        """Who else may answer."""
        from domicile.away import Away
        from domicile.targets import Targets

        targets = Targets(self.database, self.settings.target_keys, self.settings.hub_token)
        return Away(self.settings, targets, self.egress, self._known)

    @cached_property
    def places(self) -> Places:
        """Where a person allows us to go."""
        from domicile.outside import Places

        return Places(self.database)

    @cached_property
    def sources(self) -> Sources:
        """Where models come from."""
        from domicile.sources import Sources

        return Sources(self.settings, self._client, self.places, self.hub, self.egress)

    @cached_property
    def updates(self) -> Updates:
        """Which models have changed where they came from."""
        from domicile.updates import Updates

        return Updates(self.settings, self.database, self.library, self.sources)

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
    def chats(self) -> Chats:
        """The room of conversations, with what was said in them."""
        from domicile.chats import Chats

        made = Chats(self.settings, self.answer, self._presence, self.away.check_name, self._usual_model)
        if made.set_aside is not None:
            print(i18n.say(self.lang, "chats.set_aside", path=made.set_aside), file=sys.stderr)
        return made

    @cached_property
    def studio(self) -> Studio:
        """The room of pictures: who draws, what is being drawn, and what was kept."""
        from domicile.studio import Studio

        return Studio(self.settings, self.library, self.answer)

    def _presence(self, name: str) -> Presence | None:
        from domicile.chats import Presence

        own = self.called(name)
        return next((Presence(p.state, p.context) for p in self.runner.ps() if p.name == own), None)

    def _usual_model(self) -> str:
        """Who answers when nobody is named: the active model."""
        return next((m.name for m in self.library.list() if m.active and not m.missing), EMBEDDED)

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
        model = self.recipes.weights(self.library.ready(name))
        async with self.runner.session(model, keep_alive_s, terms=terms, ticket=ticket, turn=turn) as awake:
            yield model, awake
            self.waker.remember(model, awake)
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[Answer]:
        """What a model says to a question, here or, where the person wants it, elsewhere. Leaving the context stops
        the generation."""
        with self.metrics.elsewhere(self.called(ask.model)) as begun:
            async with self.away.answer(ask, self._answer_at_home) as answer:
                begun(answer)
                yield answer

    @asynccontextmanager
    async def _answer_at_home(self, ask: Ask) -> AsyncIterator[Answer]:
        from domicile.answering import Answer, checked
        from domicile.context import said_in
        from domicile.recipes import applied

        recipe = self.recipes.of(await self._is_here(ask.model))
        if recipe is not None and ask.path in _DRESSED:
            ask = replace(ask, body=json.dumps(applied(recipe, ask.data())).encode())
        from domicile import pictures

        if ask.path in _TALKS and pictures.may_have_images(ask.body):
            await self._look_at(ask)
        began, outcome, name = time.monotonic(), "left", ""
        try:
            async with self.session(ask.model, ask.keep_alive_s, terms=_terms(ask), ticket=ask.ticket) as (
                model,
                awake,
            ):
                name = model.name
                kept = await self._fitted(model, awake, ask)
                async with (
                    self.conversations.around(awake, ask.path, kept.body),
                    awake.ask(ask.path, kept.body) as reply,
                ):
                    known, notes = await checked(name, reply), self._notes(name)
                    self.metrics.first_byte.see(time.monotonic() - began, name, "home")
                    if kept.dropped is not None:
                        known = said_in(known, kept.dropped)
                        notes = {**notes, "Context-Dropped": kept.dropped.header()}
                    yield Answer(known, name, "home", notes)
                    outcome = "ok" if known.status < 400 else str(known.status)
        except DomicileError as trouble:
            outcome, name = trouble.code, str(trouble.facts.get("name", name))
            raise
        finally:
            self.metrics.requests.add(name, "home", outcome)
            if outcome == "ok":
                self.metrics.seconds.see(time.monotonic() - began, name, "home")

    async def _look_at(self, ask: Ask) -> None:
        """Raises `BadImage` for an image that no engine should be given, `ModelCannot` for a model without eyes."""
        from domicile import pictures

        if not await asyncio.to_thread(pictures.check, ask.body):
            return
        model = self.recipes.weights(self.library.ready(ask.model))
        if not await self.sees(model):
            here = (await self.adviser.known(model.name)).eyes
            raise pictures.refuse(model.name, here is not None and here.sees)

    async def sees(self, model: Installed, known: Known | None = None) -> bool:
        """May this model be shown images? It has a projector, and nobody has switched it off. `known`: its facts."""
        eyes = (known or await self.adviser.of(model)).eyes
        return eyes is not None and eyes.sees and self.waker.own(model.name).get("projector", True)

    async def _is_here(self, name: str) -> str:
        """A model's own name. Raises `StillDownloading` while it is on its way, `ModelNotFound` if it is not."""
        try:
            return self.library.get(name).name
        except ModelNotFound:
            job = await self._download_of(name)
            if job is None:
                raise
            raise StillDownloading(name=name, done=round(100 * (job.progress or 0.0)), job=job.id) from None

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
        from domicile.selftest import failed, trial

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

    async def _facts_of(self, model: Installed) -> Facts:
        return (await self.adviser.known(model.name)).facts

    def _note_template(self, model: Installed, template: Template) -> None:
        """Said in the model's log, where a person looks when its answers are odd."""
        from domicile.templates import told_of_template

        said = "\n--- ".join(told_of_template(self.lang, template.public()))
        path = self._log_path(model.name)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as log:
                log.write(f"--- {said}\n")

    def _brought(self, model: Installed) -> str | None:
        """The template that comes beside a model's file."""
        recipe = self.recipes.of(model.name)
        return recipe.template or None if recipe else None

    async def template_of(self, name: str, base: str | None = None) -> Mapping[str, object]:
        """A model's chat template, judged, and who speaks the same way: models here that were made of the same one,
        and the repository `base` on the Hub where one is named."""
        from domicile.templates import fingerprint

        model = self.library.ready(name)
        own = await self.templates.of(model)
        others: dict[str, str | None] = {}
        for other in self.library.list():
            if other.name != model.name and not other.missing and _kin(other) == _kin(model) is not None:
                others[other.name] = (await self.templates.of(other)).fingerprint
        if base is not None:
            text = (await self.adviser.known(base)).facts.chat_template
            others[base] = fingerprint(text) if text else None
        compared = [{"name": n, "fingerprint": f, "same": f == own.fingerprint} for n, f in others.items()]
        source = own.brought.source if own.brought else None
        shown = {"text": own.text, "used_text": own.used_text, "brought_text": source, "example": own.shown}
        return {"name": model.name, **own.public(), **shown, "compared": compared}

    async def _fitted(self, model: Installed, awake: Awake, ask: Ask) -> Fitted:
        """The question, or what of it the context holds."""
        from domicile.context import Fitted, fitted

        if ask.path not in _TALKS:
            return Fitted(ask.body)
        return await fitted(awake.prompts, model.name, ask.path, ask.body, self._overflow_way(model, ask))

    def _overflow_way(self, model: Installed, ask: Ask) -> str:
        """What the caller wants of a prompt that is too long: said in the body, beside it, or by its settings or
        everybody's."""
        from domicile.context import way_of

        said = ask.data().get("context") if b'"context"' in ask.body else None
        usual = self.waker.own(model.name).get("overflow", self.settings.context_overflow)
        return way_of(said if said is not None else ask.said.get("context"), usual)

    async def _known(self, name: str) -> None:
        """Is this a model of ours, or one that is on its way here? Raises `ModelNotFound`."""
        try:
            self.library.get(name)
        except ModelNotFound:
            if await self._download_of(name) is None:
                raise

    async def _download_of(self, name: str) -> Job | None:
        """The download under way that brings a model."""
        try:
            asked = ModelRef.parse(name)
        except BadName:
            return None
        for job in await self.jobs.list():
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
        self.recipes.forget(model.name)
        also = self.adoption.leavings(model) if also_files else []
        freed = self.library.remove(model.name, also)
        await self.conversations.clear(model.name)
        self.waker.forget(model.name)
        return model, freed

    async def adopt(self, wanted: Mapping[str, object]) -> Job:
        """Take in what other tools have: `{"models": [id, ...]}`, `{"path": absolute}` or `{"all": true}`."""
        named = wanted.get("models")
        said = ", ".join(map(str, named)) if isinstance(named, list) else str(wanted.get("path") or "*")
        return await self.jobs.start("adopt", said[:500], dict(wanted))

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

    async def export(self, name: str, wanted: Mapping[str, object]) -> Job:
        """Give a model to Ollama: `{"as": ..., "via": "auto" | "link" | "api", "force": false}`."""
        model = self.library.ready(name)
        return await self.jobs.start("export", model.name, {**wanted, "model": model.name})

    async def _export(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        model = self.library.ready(wanted["model"])
        via: Via = wanted.get("via") or "auto"
        force = bool(wanted.get("force"))
        given = await self.giving.to_ollama(model, wanted.get("as"), progress, via=via, force=force)
        return {**given.public(), "size_bytes": model.size_bytes}

    async def ollama_pull(self, name: str) -> Job:
        """Have the running Ollama download a model."""
        from domicile.giving import check_name

        check_name(name)
        return await self.jobs.start("ollama_pull", name, {"model": name})

    async def _ollama_pull(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        await self.giving.pull(wanted["model"], progress)
        return {"name": wanted["model"]}

    def called(self, name: str) -> str:
        """A model's own name; one that does not live here stays as it is: it may be on its way, or elsewhere."""
        present = self.find(name)
        return present.name if present is not None else name

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
        from domicile.dialects.modelfile import Recipe

        recipe = self.recipes.of(model.name) or Recipe(model.name)
        self.library.add(_derived(name, model))
        self.recipes.keep(name, recipe)
        return self.library.get(name)

    def _free_name(self, said: str) -> str:
        name = said.strip().removesuffix(":latest")
        if not _NEW_NAME.fullmatch(name):
            raise BadName(name=said[:200])
        present = self.find(name)
        if present is not None and (present.name.lower() != name.lower() or self.recipes.made(present.name) is None):
            raise BadField(field="model", problem=present.name, reason="not_made_here")
        return present.name if present else name

    def log_of(self, name: str) -> Path:
        model = self.library.get(name)
        path = self._log_path(model.name)
        if not path.is_file():
            raise NoLog(name=model.name)
        return path

    def _log_path(self, name: str) -> Path:
        return self.settings.logs / ("".join(c if c.isalnum() or c in "._-" else "-" for c in name) + ".log")

    def _own(self, name: str) -> Mapping[str, object]:
        """What a derived model wants to be woken with, beneath what a person set."""
        context = self.recipes.context(name)
        return {"context": context} if context else {}

    def _dressed(self, launch: Launch, facts: Facts) -> Launch:
        """How it is woken, with what is laid over its weights, and for vectors where that is what it gives."""
        recipe = self.recipes.of(launch.model.name)
        ranking = facts.task == "text-ranking"
        embedding = ranking or facts.task == "feature-extraction"
        adapters = tuple(self.blobs.get(digest) for digest in recipe.adapters) if recipe else ()
        return replace(launch, embedding=embedding, ranking=ranking, adapters=adapters)


@asynccontextmanager
async def open_house(
    settings: Settings, kinds: Mapping[str, Engine] | None = None, *, takes: Takes = "asked"
) -> AsyncIterator[House]:
    """Open the rooms; close them when the context is left.

    `takes`: which jobs this process runs: `all` that wait (the open house), those it was `asked` for (a command that
    opened one for itself), or `none` but those a worker takes up one by one.
    """
    database = Database(settings.database)
    try:
        queue = await _queue(settings, takes)
        house = House(settings, database, kinds, takes=takes, queue=queue)
        if queue is not None:
            house.jobs  # noqa: B018 - it owns the connection from here on
        if database.set_aside is not None:
            sentence = i18n.say(house.lang, "house.set_aside", path=database.set_aside, n=len(house.library.list()))
            print(sentence, file=sys.stderr)
        elif house.library.rebuilt:
            print(i18n.say(house.lang, "house.rebuilt", n=house.library.rebuilt), file=sys.stderr)
        tending = asyncio.create_task(house.tend(), name="tend the house")
        try:
            if takes == "all":
                house.jobs.open()
            yield house
        finally:
            tending.cancel()
            await house.close()
    finally:
        database.close()


def _load() -> Load:
    from domicile import hardware

    return hardware.load()


def _terms(ask: Ask) -> Terms:
    """What a request asks of the waking: `num_ctx`, a number of tokens; anything else there is not for us."""
    said = ask.said.get("num_ctx", "")
    return Terms(context=int(said)) if said.isdigit() and 0 < len(said) < 9 and int(said) else _NO_TERMS


async def _queue(settings: Settings, takes: Takes) -> tuple[Store, Launcher | None] | None:
    """The jobs of `DOMICILE_REDIS_URL`, which workers run. Raises `QueueUnreachable`."""
    if not settings.redis_url:
        return None
    from domicile.jobs.redis_store import RedisStore, prefix_of
    from domicile.jobs.rq_launcher import RqLauncher

    store = await RedisStore.connect(settings.redis_url, prefix_of(settings.home))
    return store, None if takes == "none" else RqLauncher(settings.redis_url, prefix_of(settings.home))


def _kin(model: Installed) -> str | None:
    """What its repository was made of, by its name: quantised copies are called after the model they come from."""
    if model.repository is None:
        return None
    return re.sub(r"[-_.](gguf|imatrix|i1|qat)$", "", model.repository.split("/")[-1].lower())


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
    from domicile.dialects.modelfile import Recipe

    return Recipe(
        under.base if under.adapters == () else base,
        {**under.parameters, **recipe.parameters},
        recipe.template or under.template,
        recipe.system or under.system,
        recipe.messages or under.messages,
        (*under.adapters, *recipe.adapters),
        recipe.licence or under.licence,
    )
