"""The rooms of the house, and how they are wired: each is made when somebody first comes to it, and so are its imports.

What rooms ask of one another goes through the small ways below; the sentences that cross rooms are in the modules
beside this one, each of which is a part of `House`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile import i18n
from domicile.config import Settings
from domicile.db import Database
from domicile.errors import DomicileError
from domicile.library import Library, free_bytes
from domicile.refs import EMBEDDED
from domicile.types import Facts, Installed, Load, Terms

if TYPE_CHECKING:
    import httpx2

    from domicile.accounts import Accounts
    from domicile.adopt import Adoption
    from domicile.advice import Adviser
    from domicile.answering import Answer, Ask
    from domicile.away import Away
    from domicile.blobs import Blobs
    from domicile.chats import Chats, Presence
    from domicile.contents import Contents
    from domicile.conversations import Conversations
    from domicile.custom import Customs
    from domicile.download import Limiter
    from domicile.egress import Egress
    from domicile.engines import Engine, Launch
    from domicile.giving import Giving
    from domicile.jobs import Jobs, Kind
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
    from domicile.voices import Voices
    from domicile.waking import Waker
    from domicile.watch import Notices


NO_TERMS = Terms()


class Rooms(ABC):
    """All the rooms, and nothing that crosses them."""

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
    def voices(self) -> Voices:
        """Sound in a conversation, written down by the model here that hears."""
        from domicile.voices import Voices

        return Voices(self.settings.sound, lambda: list(self.library.list()), self._hear)

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
        from domicile.jobs import Jobs, Policy
        from domicile.jobs.notices import Notices as JobNotices
        from domicile.jobs.sqlite_store import SqliteStore

        settings = self.settings
        store, launcher = self._queue or (SqliteStore(self.database), None)
        return Jobs(
            store,
            self._work(),
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

    @cached_property
    def notices(self) -> Notices:
        """What came and went in the folders of models."""
        from domicile.watch import Notices

        return Notices()

    @property
    def lang(self) -> str:
        return i18n.choose(self.settings.lang) if self.settings.lang else i18n.of_environment()

    def called(self, name: str) -> str:
        """A model's own name; one that does not live here stays as it is: it may be on its way, or elsewhere."""
        present = self.find(name)
        return present.name if present is not None else name

    def find(self, name: str) -> Installed | None:
        """The model of a name, if it lives here."""
        with contextlib.suppress(DomicileError):
            return self.library.get(name)
        return None

    def _presence(self, name: str) -> Presence | None:
        from domicile.chats import Presence

        own = self.called(name)
        return next((Presence(p.state, p.context) for p in self.runner.ps() if p.name == own), None)

    def _usual_model(self) -> str:
        """Who answers when nobody is named: the active model."""
        return next((m.name for m in self.library.list() if m.active and not m.missing), EMBEDDED)

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

    def _note_event(self, event: str, name: str, kind: str) -> None:
        """What happened to a model, counted, and said in its log where a person would look for it."""
        self.metrics.events.add(event, name, kind)
        sentences = {"death": f"its child died ({kind})", "evicted": f"sent to sleep: {kind} needs the memory"}
        if event == "wake" and kind:
            sentences["wake"] = "woken on safer settings after a death"
        if event in sentences:
            with contextlib.suppress(OSError), self._log_path(name).open("a", encoding="utf-8") as log:
                log.write(f"--- house: {sentences[event]} ---\n")

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

    # -- what parts of the house need of each other --

    @abstractmethod
    def answer(self, ask: Ask) -> AbstractAsyncContextManager[Answer]: ...

    @abstractmethod
    async def _hear(self, model: Installed, file: Path, wish: Mapping[str, Any]) -> str: ...

    @abstractmethod
    async def selftest(self, name: str, *, gentle: bool = False) -> dict[str, Any]: ...

    @abstractmethod
    async def _known(self, name: str) -> None: ...

    @abstractmethod
    def _work(self) -> Mapping[str, Kind]:
        """What each kind of job does."""


def _load() -> Load:
    from domicile import hardware

    return hardware.load()
