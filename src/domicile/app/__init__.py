"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.

`rooms.py` makes the rooms; each part of the house is a module beside it: `answers` (a question to a model), `arrivals`
(downloads), `derived` (models made of models), `exchange` (other tools), `workshop` (engines), `foundry` (builds of
llama.cpp), `checkup` (the doctor).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from domicile import i18n
from domicile.app.answers import Answers
from domicile.app.arrivals import Arrivals
from domicile.app.checkup import Check, Checkup
from domicile.app.derived import Derived
from domicile.app.exchange import Exchange
from domicile.app.foundry import Foundry
from domicile.app.workshop import Workshop
from domicile.config import Settings
from domicile.db import Database
from domicile.errors import NoLog, StillBusy
from domicile.types import Installed

if TYPE_CHECKING:
    from domicile.engines import Engine
    from domicile.jobs import Kind
    from domicile.jobs.hands import Launcher, Takes
    from domicile.jobs.store import Store

__all__ = ["Check", "House", "open_house"]

_TEND_S = 300.0


class House(Checkup, Answers, Arrivals, Derived, Exchange, Workshop, Foundry):
    """All the rooms. Made by `open_house`."""

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

    async def watch(self) -> None:
        """Watch the folders of models for as long as the house is open."""
        from domicile.watch import Watch

        await Watch(self.settings, self.library, self.adoption, self.notices).run()

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

    def log_of(self, name: str) -> Path:
        model = self.library.get(name)
        path = self._log_path(model.name)
        if not path.is_file():
            raise NoLog(name=model.name)
        return path

    def _work(self) -> Mapping[str, Kind]:
        from domicile.jobs import Kind

        return {
            "pull": Kind(self._pull),
            "adopt": Kind(self._adopt, download=False),
            "export": Kind(self._export, download=False),
            "ollama_pull": Kind(self._ollama_pull, download=False),
            "engine": Kind(self._add_engine, download=False),
            "llama": Kind(self._build_llama, download=False),
        }


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
