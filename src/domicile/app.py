"""The house: its rooms wired together, and the sentences that cross them.

`async with open_house(settings) as house` opens the database, the library, the jobs and the runner, and closes
them in the right order: streams, jobs, children, connections. Faces call these sentences and render what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from domicile import __version__, engines, i18n
from domicile.config import Settings
from domicile.db import Database
from domicile.download import check_room, fetch
from domicile.engines import Awake, Engine, Launch
from domicile.engines.llama import sweep
from domicile.errors import BadName, DomicileError, NoLog
from domicile.jobs import Jobs, Progress, Work
from domicile.library import Library, folder_of, free_bytes
from domicile.runner import Runner
from domicile.sources.hub import Hub, choose
from domicile.types import Installed, Job, ModelRef, Repository, Variant


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
        self.jobs = Jobs(self._describe)
        self.runner = Runner(kinds, self.launch_of, settings.keep_alive)
        self.hub = Hub(settings, client)
        self.closing = asyncio.Event()
        """Set when the house begins to close: streams end by themselves."""
        self._client = client

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
        check_room(
            self.settings.models,
            variant.size_bytes,
            free_bytes(self.settings) + self._partial_bytes(repository),
        )
        progress.expect(variant.size_bytes)
        progress.step("download")
        folder = folder_of(self.settings, repository.id)
        files = []
        for file in variant.files:
            target = folder.joinpath(*file.path.split("/"))
            await fetch(self._client, self.hub.wanted(repository, file, target), progress, self.hub.judge)
            files.append(target)
        progress.settle()
        model = self.library.add(_from_hub(repository, variant, files))
        return {"name": model.name, "size_bytes": model.size_bytes}

    def _partial_bytes(self, repository: Repository) -> int:
        folder = folder_of(self.settings, repository.id)
        return sum(p.stat().st_size for p in folder.rglob("*.partial")) if folder.is_dir() else 0

    @asynccontextmanager
    async def session(self, name: str, keep_alive_s: float | None = None) -> AsyncIterator[tuple[Installed, Awake]]:
        """A model of the library, awake while the context lasts."""
        model = self.library.ready(name)
        async with self.runner.session(model, keep_alive_s) as awake:
            yield model, awake
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    async def remove(self, name: str, *, force: bool = False) -> tuple[Installed, int]:
        """Put it to sleep, then forget it. Returns what it was, and the bytes freed."""
        model = self.library.get(name)
        await self.runner.sleep(model.name, force=force)
        return model, self.library.remove(model.name)

    def log_of(self, name: str) -> Path:
        model = self.library.get(name)
        path = self._log_path(model.name)
        if not path.is_file():
            raise NoLog(name=model.name)
        return path

    def _log_path(self, name: str) -> Path:
        return self.settings.logs / ("".join(c if c.isalnum() or c in "._-" else "-" for c in name) + ".log")

    def launch_of(self, model: Installed) -> Launch:
        """The settings a model is woken with."""
        return Launch(
            model=model,
            context=self.settings.context,
            slots=max(1, self.settings.slots),
            threads=self.settings.threads or usable_cores(),
            memory_bytes=self.settings.engine_memory or int(available_memory() * 0.9),
            deadline_s=self.settings.wake_timeout,
            log=self._log_path(model.name),
        )

    async def doctor(self) -> list[Check]:
        """What is well and what is not, each with what to do."""
        checks = [
            Check("system", True, {"system": platform.platform(terse=True), "python": platform.python_version()}),
            Check("version", True, {"version": __version__}),
            Check("home", True, {"path": str(self.settings.home), "free": free_bytes(self.settings)}),
            Check(
                "memory",
                available_memory() > 1 << 30,
                {"available": available_memory(), "cores": usable_cores()},
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
    )


def usable_cores() -> int:
    """Physical cores this process may use: a hyper-thread adds nothing to a matrix product."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    quota = _cgroup_cores()
    return max(1, min(physical, allowed, quota or physical))


def available_memory() -> int:
    """Bytes that can be used now without swapping: the system's, or what the container's limit leaves."""
    return min([psutil.virtual_memory().available, *_cgroup_memory_left()])


def _cgroup(name: str) -> Iterator[str]:
    """The values of a file of our control group (v2) and of those it is in."""
    with contextlib.suppress(OSError, IndexError):
        line = next(x for x in Path("/proc/self/cgroup").read_text("ascii").splitlines() if x.startswith("0::"))
        folder = Path("/sys/fs/cgroup") / line[3:].strip("/")
        while folder.is_relative_to("/sys/fs/cgroup"):
            file = folder / name
            if file.is_file():
                yield file.read_text("ascii").strip()
            folder = folder.parent


def _cgroup_cores() -> int | None:
    found = []
    for value in _cgroup("cpu.max"):
        quota, _, period = value.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(max(1, int(quota) // int(period)))
    return min(found) if found else None


def _cgroup_memory_left() -> list[int]:
    left = []
    for limit, used in zip(_cgroup("memory.max"), _cgroup("memory.current"), strict=False):
        if limit.isdigit() and used.isdigit():
            left.append(max(0, int(limit) - int(used)))
    return left
