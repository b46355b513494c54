"""Which models are awake: wakes one on first use, lets it sleep when nobody has used it for a while.

A model is asleep, waking, awake or going to sleep. One task of the house owns each model that is not asleep, from
its first request to the end of its child; callers only count themselves in and out, so a caller who leaves breaks
nothing for the others. Knows engines by their contract; knows no dialect.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from domicile.engines import Awake, Engine, Launch
from domicile.errors import EngineDied, EngineMissing, ShuttingDown, StillBusy
from domicile.types import Installed

State = Literal["waking", "awake", "sleeping"]


class _Resident:
    """A model that is not asleep. Written to by its own task, but for `busy` and `until`, which sessions keep."""

    def __init__(self, model: Installed, engine: Engine, keep_alive: float) -> None:
        self.model = model
        self.engine = engine
        self.keep_alive = keep_alive
        self.state: State = "waking"
        self.busy = 0
        self.since = time.time()
        self.idle_since = time.monotonic()
        self.awake: asyncio.Future[Awake] = asyncio.get_running_loop().create_future()
        self.stirred = asyncio.Event()
        """Something changed that may bring its sleep nearer."""
        self.asked_to_sleep = False
        self.task: asyncio.Task[None] | None = None

    @property
    def sleeps_at(self) -> float:
        """Monotonic time; never while busy."""
        return math.inf if self.busy else self.idle_since + self.keep_alive


@dataclass(frozen=True, slots=True)
class Presence:
    """A line of `domicile ps`."""

    name: str
    state: State
    engine: str
    pid: int | None
    busy: int
    since: float
    sleeps_in_s: float | None
    """None while busy or for ever."""

    def public(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "engine": self.engine,
            "pid": self.pid,
            "busy": self.busy,
            "since": self.since,
            "sleeps_in_s": self.sleeps_in_s,
        }


class Runner:
    """Owner of the children. `launch_of` says with which settings a model is woken."""

    def __init__(
        self, engines: Mapping[str, Engine], launch_of: Callable[[Installed], Awaitable[Launch]], keep_alive_s: float
    ) -> None:
        self._engines = engines
        self._launch_of = launch_of
        self._keep_alive_s = keep_alive_s
        self._residents: dict[str, _Resident] = {}
        self._closing = False

    def ps(self) -> list[Presence]:
        now = time.monotonic()
        return [
            Presence(
                r.model.name,
                r.state,
                r.engine.name,
                r.awake.result().pid if _came_up(r) else None,
                r.busy,
                r.since,
                None if math.isinf(r.sleeps_at) else max(0.0, r.sleeps_at - now),
            )
            for r in self._residents.values()
        ]

    @asynccontextmanager
    async def session(self, model: Installed, keep_alive_s: float | None = None) -> AsyncIterator[Awake]:
        """The model, awake, for as long as the context lasts. `keep_alive_s` holds from now on (infinite: for ever)."""
        resident = await self._resident(model)
        if keep_alive_s is not None:
            resident.keep_alive = keep_alive_s
        resident.busy += 1
        try:
            # Shielded: the wake belongs to the house. Whoever waits may leave.
            yield await asyncio.shield(resident.awake)
        finally:
            resident.busy -= 1
            resident.idle_since = time.monotonic()
            resident.stirred.set()

    async def sleep(self, name: str, *, force: bool = False) -> bool:
        """Put a model to sleep now; False when it slept already. Raises `StillBusy` unless forced."""
        resident = self._residents.get(name)
        if resident is None or resident.task is None:
            return False
        if resident.busy and not force:
            raise StillBusy(name=name, n=resident.busy)
        if resident.state == "waking":
            resident.task.cancel()
        resident.asked_to_sleep = True
        resident.stirred.set()
        await asyncio.wait([resident.task])
        return True

    async def close(self) -> None:
        """All children gone."""
        self._closing = True
        tasks = [r.task for r in self._residents.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _resident(self, model: Installed) -> _Resident:
        if self._closing:
            raise ShuttingDown
        resident = self._residents.get(model.name)
        if resident is not None and (resident.state == "sleeping" or _ended(resident)):
            # Its child is on the way out: let it go, then wake a new one. Several may wait here; the first one
            # to go on makes the new resident, the others find it.
            if resident.task is not None:
                await asyncio.wait([resident.task])
            return await self._resident(model)
        if resident is None:
            engine = next((e for e in self._engines.values() if model.format in e.formats), None)
            if engine is None:
                raise EngineMissing(engine=model.format, name=model.name, reason="format")
            resident = _Resident(model, engine, self._keep_alive_s)
            self._residents[model.name] = resident
            resident.task = asyncio.create_task(self._own(resident), name=f"model {model.name}")
        return resident

    async def _own(self, resident: _Resident) -> None:
        """The life of a model that is not asleep."""
        try:
            async with resident.engine.awake(await self._launch_of(resident.model)) as awake:
                resident.state = "awake"
                resident.idle_since = time.monotonic()
                resident.awake.set_result(awake)
                await self._until_sleep(resident, awake)
                resident.state = "sleeping"
        except asyncio.CancelledError:
            if not resident.awake.done():
                why = ShuttingDown() if self._closing else EngineDied(name=resident.model.name, reason="stopped")
                resident.awake.set_exception(why)
                resident.awake.exception()  # nobody may be waiting: that is no fault
        except Exception as trouble:
            if resident.awake.done():
                raise
            resident.awake.set_exception(trouble)
            resident.awake.exception()
        finally:
            del self._residents[resident.model.name]

    async def _until_sleep(self, resident: _Resident, awake: Awake) -> None:
        gone = asyncio.create_task(awake.gone.wait())
        stirred = asyncio.create_task(resident.stirred.wait())
        try:
            while not awake.gone.is_set() and not resident.asked_to_sleep:
                left = resident.sleeps_at - time.monotonic()
                if left <= 0:
                    return
                timeout = None if math.isinf(left) else left
                await asyncio.wait({gone, stirred}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if stirred.done():
                    resident.stirred.clear()
                    stirred = asyncio.create_task(resident.stirred.wait())
        finally:
            gone.cancel()
            stirred.cancel()


def _came_up(resident: _Resident) -> bool:
    return resident.awake.done() and not resident.awake.cancelled() and resident.awake.exception() is None


def _ended(resident: _Resident) -> bool:
    return _came_up(resident) and resident.awake.result().gone.is_set()
