"""The house, the part about builds of llama.cpp: which are here, compiling one, holding them against one another.

Crosses the rooms: compiling and trying are jobs, models sleep meanwhile, and what was measured decides from then on
which build wakes which model. Knows no face.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domicile.app.rooms import Rooms
from domicile.errors import BuildFailed, EngineUnfit, Offline, StillBusy
from domicile.types import Job

if TYPE_CHECKING:
    from domicile.extras import Finding
    from domicile.jobs import Progress
    from domicile.llama_builds import Build
    from domicile.llama_choice import Record

_ANSWERS_S = 600.0
"""As long as an answer may take: what was compiled is not thrown away because somebody is being answered."""


class Foundry(Rooms):
    """What `House` does about builds. The rooms are its own."""

    tool_locks: Path | None = None
    """Where the locks of what compiles are; another folder than ours in tests."""

    async def llama(self) -> dict[str, Any]:
        """Every build that is here, what was measured of it, which one wakes which weights and why; and what compiling
        one would cost."""
        from domicile.extras import compile as compiling
        from domicile.hardware import calibrate
        from domicile.llama_cards import idle
        from domicile.llama_choice import read

        machine, chooser = await self.adviser.machine(), self.adviser.chooser
        builds = await chooser.all()
        record = await asyncio.to_thread(read, chooser.place(machine))
        chosen = await chooser.of_families(machine)
        tried = record.builds if record else {}
        return {
            "builds": [
                {
                    **build.public(),
                    "wakes": [name for name, one in chosen.items() if one.build == build],
                    "same": tried[build.identity].same if build.identity in tried else None,
                    "problem": tried[build.identity].problem if build.identity in tried else "",
                    "pace": {name: asdict(pace) for name, pace in tried[build.identity].pace.items()}
                    if build.identity in tried
                    else {},
                    "tried_at": record.at if record and build.identity in tried else None,
                }
                for build in builds.values()
            ],
            "chosen": chosen,
            "cards": [card.public() for card in await asyncio.to_thread(idle, machine.gpus)],
            "costs": await asyncio.to_thread(compiling.costs, self.settings, calibrate.threads_for(machine)),
        }

    async def build_llama(self, act: Literal["build", "try"]) -> Job:
        """Compile llama.cpp for this processor, or hold the builds that are here against one another: a job. Raises
        `Offline`, and `BuildFailed` where this system cannot, or there is no compiler."""
        from domicile.extras.compile import able

        if act == "build":
            able()
            if self.egress.offline and not self.settings.wheels:
                raise Offline(host="pip", purpose="engine", reason="build")
        arguments: dict[str, Any] = {"act": act}
        if self.egress.offline and not self.settings.offline:
            arguments["offline"] = True
        return await self.jobs.start("llama", f"llama {act}", arguments)

    async def _build_llama(self, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        from domicile.egress import about, offline

        shut = offline() if arguments.get("offline") else contextlib.nullcontext()
        with about("engine"), shut:
            if arguments["act"] == "build":
                return await self._compile_llama(progress)
            builds = list((await self.adviser.chooser.all()).values())
            return self._told_of(await self._trial_of(builds, progress), kept=None)

    async def _compile_llama(self, progress: Progress) -> Mapping[str, object]:
        from domicile.extras.compile import Compile
        from domicile.extras.lock import TOOL_LOCKS
        from domicile.hardware import calibrate

        machine = await self.adviser.machine()
        threads = calibrate.threads_for(machine)
        work = Compile(self.settings, self.egress, progress, self.tool_locks or TOOL_LOCKS)
        try:
            await work.prepare()
            build = await work.compile(threads)
            others = [b for kind, b in (await self.adviser.chooser.all()).items() if kind != "native"]
            record = await self._trial_of([*others, build], progress, keep=False)
            if record.builds[build.identity].same is False and any(f.startswith("amx") for f in machine.features):
                build = await work.compile(threads, amx=False)
                record = await self._trial_of([*others, build], progress, keep=False)
            verdict = record.builds[build.identity]
            if verdict.same is False:
                raise BuildFailed(reason="wrong", problem=verdict.problem)
            kept = await self._worth_keeping(record, build)
            if kept:
                await self._sleep_all()
                await work.settle()
            await asyncio.to_thread(record.keep, self.adviser.chooser.place(machine))
            if kept:
                progress.step("engine_calibrate")
                await self.adviser.machine(measure=True)
            return self._told_of(record, kept=kept)
        finally:
            await work.drop()

    async def _worth_keeping(self, record: Record, build: Build) -> bool:
        """Is it the fastest for any kind of weights, or the only one?"""
        from domicile.llama_choice import FAMILIES, choose

        builds = {**await self.adviser.chooser.all(), "native": build}
        return any(choose(builds, record, family).build == build for family in FAMILIES)

    async def _trial_of(self, builds: Sequence[Build], progress: Progress, *, keep: bool = True) -> Record:
        """Raises `BuildFailed` where there is nothing to compare."""
        from domicile.hardware import calibrate
        from domicile.llama_trial import Trial

        if len(builds) < 2 and keep:
            raise BuildFailed(reason="alone", problem=", ".join(build.kind for build in builds) or "-")
        await self._sleep_all()
        machine = await self.adviser.machine()
        log = self.settings.logs / "engine-llama-trial.log"
        steps: list[str] = []

        def step(key: str, _done: int, _whole: int) -> None:
            if key not in steps:
                steps.append(key)
                progress.step(key)

        record = await Trial(builds, calibrate.threads_for(machine), log, step).run()
        if keep:
            await asyncio.to_thread(record.keep, self.adviser.chooser.place(machine))
            progress.step("engine_calibrate")
            await self.adviser.machine(measure=True)
        return record

    async def _sleep_all(self) -> None:
        """Models of llama.cpp go to sleep: they would disturb what is measured, and wake on the build that is chosen.
        Waits for their answers. Raises `StillBusy` where they do not come to an end."""
        until = time.monotonic() + _ANSWERS_S
        for presence in self.runner.ps():
            while presence.engine == "llama":
                try:
                    await self.runner.sleep(presence.name)
                    break
                except StillBusy:
                    if time.monotonic() > until:
                        raise
                    await asyncio.sleep(0.5)

    @staticmethod
    def _told_of(record: Record, *, kept: bool | None) -> Mapping[str, object]:
        return {"kept": kept, "at": record.at, "builds": {name: asdict(one) for name, one in record.builds.items()}}

    async def remove_llama(self) -> int:
        """Take the build that was compiled here away, with what compiled it. The bytes freed. Raises `StillBusy`."""
        from domicile.extras.compile import removed

        await self._sleep_all()
        return await asyncio.to_thread(removed, self.settings)

    async def examine_llama(self) -> Sequence[Finding]:
        """What is well with the builds of llama.cpp and what is not."""
        from domicile.extras import Finding
        from domicile.llama_builds import wheel

        told = await self.llama()
        found = []
        if wheel() is None:
            found.append(Finding("llama_no_wheel", False, {}))
        builds = self.adviser.chooser.builds
        for look in (builds.native, builds.server):
            try:
                await asyncio.to_thread(look)
            except EngineUnfit as trouble:
                found.append(Finding("llama_unfit", False, {"program": trouble.facts["program"]}))
        found += [
            Finding("llama_card" if card["command"] else "llama_card_alone", False, card) for card in told["cards"]
        ]
        for one in told["builds"]:
            facts = {"kind": one["kind"], "version": one["version"], "problem": one["problem"], "at": one["tried_at"]}
            if one["same"] is False:
                found.append(Finding("llama_wrong", False, facts))
            elif one["tried_at"] is None and len(told["builds"]) > 1:
                found.append(Finding("llama_untried", False, facts))
            else:
                found.append(Finding("llama_tried" if one["tried_at"] else "llama_here", True, facts))
        return found
