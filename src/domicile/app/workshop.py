"""The house, the part about engines: which extras there are, having one here, taking one away, what is wrong with one.

Crosses the rooms: an installation is a job, and an engine is neither replaced nor taken away under a model that is
awake. Knows extras by their room and models by the runner; knows no face.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from domicile.app.rooms import Rooms
from domicile.errors import Offline
from domicile.types import Job

if TYPE_CHECKING:
    from domicile.extras import Extra, Extras, Finding
    from domicile.jobs import Progress


class Workshop(Rooms):
    """What `House` does about engines. The rooms are its own."""

    @cached_property
    def extras(self) -> Extras:
        """The engines that are not in the light core. Made when somebody asks."""
        from domicile.extras import Extras

        return Extras(self.settings, self.egress)

    def engines(self) -> list[dict[str, Any]]:
        """Every extra, with the engines that need it and what they run."""
        from domicile import engines

        shown = []
        for extra in self.extras.list():
            rows = [row for row in engines.ROWS if row.extra == extra.name]
            runs = {
                "engines": [row.name for row in rows],
                "formats": sorted({form for row in rows for form in row.formats}),
                "tasks": sorted({task for row in rows for task in row.tasks}),
            }
            shown.append({**extra.public(), **runs})
        return shown

    async def add_engine(self, name: str) -> Job:
        """Have an extra here: a job. Raises `ExtraNotFound`, and `Offline` unless there is a folder of wheels."""
        extra = self.extras.get(name)
        if self.egress.offline and not self.settings.wheels and extra.state != "installed":
            raise Offline(host="pip", purpose="engine", reason="engine", name=extra.name)
        arguments: dict[str, Any] = {"extra": extra.name}
        if self.egress.offline and not self.settings.offline:  # as this request alone wishes
            arguments["offline"] = True
        return await self.jobs.start("engine", f"engine {extra.name}", arguments)

    async def _add_engine(self, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        from domicile.egress import about, offline

        shut = offline() if arguments.get("offline") else contextlib.nullcontext()
        with about("engine"), shut:
            extra = self.extras.get(arguments["extra"])
            if extra.state != "missing":
                await self._rest(extra)
            return await self.extras.add(extra.name, progress)

    async def remove_engine(self, name: str) -> tuple[Extra, int]:
        """Take an extra away, its models put to sleep first. Returns what it was and the bytes freed. Raises
        `ExtraNotFound`, `StillBusy`."""
        extra = self.extras.get(name)
        await self._rest(extra)
        return extra, await self.extras.remove(extra.name)

    async def _rest(self, extra: Extra) -> None:
        """Put the models of an extra's engines to sleep. Raises `StillBusy`."""
        from domicile import engines

        names = {row.name for row in engines.ROWS if row.extra == extra.name}
        for presence in self.runner.ps():
            if presence.engine in names:
                await self.runner.sleep(presence.name)

    async def examine_engine(self, name: str) -> Sequence[Finding]:
        """What is well with an extra and what is not."""
        return await self.extras.doctor(name)
