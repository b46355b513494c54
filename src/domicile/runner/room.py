"""Which models are awake: wakes one on first use when there is memory, lets it sleep when nobody needs it.

One task of the house owns each model that is not asleep, from its first request to the end of its child; callers
stand in line and count themselves in and out, so a caller who leaves breaks nothing for the others. Memory is given
out by one model at a time, in the order they asked. Knows engines by their contract; knows no dialect, and of a
model's settings only what they need. `runner.md` draws the states.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from domicile.engines import Awake, Engine, chosen
from domicile.errors import (
    DomicileError,
    EngineDied,
    EngineMissing,
    QueueFull,
    ShuttingDown,
    StillBusy,
    WaitedTooLong,
)
from domicile.runner.accounting import Bytes
from domicile.runner.admission import Admission, Prepare
from domicile.runner.deaths import WORTH_A_TRY, Health, kind_of
from domicile.runner.resident import AgainError, Prepared, Presence, Resident
from domicile.runner.turns import Turn
from domicile.types import Death, Installed, Reason, Terms, Ticket

_MORE_THAN_ANY = Bytes(1 << 60, (1 << 60,) * 32)
_NO_TERMS = Terms()
_UNPINNED_S = 30.0
"""How often a pinned model looks whether it still is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person allows. 0 is no limit."""

    keep_alive_s: float = 300.0
    memory_bytes: int = 0
    """Of all models together, in ordinary memory."""
    queue: int = 0
    """Requests that may wait at once."""
    queue_wait_s: float = math.inf


async def _unbounded() -> Bytes:
    return _MORE_THAN_ANY


def _ignore(_event: str, _model: str, _more: str) -> None:
    pass


class Runner:
    """Owner of the children."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        prepare: Prepare,
        limits: Limits,
        *,
        free: Callable[[], Awaitable[Bytes]] = _unbounded,
        pinned: Callable[[str], bool] = lambda _: False,
        tell: Callable[[str, str, str], None] = _ignore,
        before_sleep: Callable[[str, Awake], Awaitable[None]] | None = None,
    ) -> None:
        """`free`: what models may take now. `pinned`: who never leaves. `tell`: an event, its model, its kind."""
        self._engines = engines
        self._limits = limits
        self._pinned = pinned
        self._tell = tell
        self._before_sleep = before_sleep
        self._residents: dict[str, Resident] = {}
        self._admission = Admission(self._residents, prepare, free, pinned, tell, limits.memory_bytes)
        self._doors: dict[str, asyncio.Lock] = {}
        """Each model's: who waits for it to come back goes on in the order of coming, and nobody overtakes."""
        self._outside: list[Ticket] = []
        """Who stands at a door."""
        self._health: dict[str, Health] = {}
        self._pace_s: dict[str, float] = {}
        """How long a turn takes, by model: a moving average."""
        self._closing = False

    # -- who is here --

    def ps(self) -> list[Presence]:
        return [self._presence(r) for r in self._residents.values()]

    def note_of(self, name: str) -> Reason | None:
        """What must be said of how a model was woken."""
        resident = self._residents.get(name)
        return resident.note if resident else None

    def children(self) -> list[tuple[str, Awake]]:
        """The models that are awake now."""
        return [(r.name, r.child) for r in self._residents.values() if r.child is not None and not r.leaving]

    @property
    def waiting(self) -> int:
        """Requests that wait: for a waking, for a turn, or for a model to come back."""
        return len(self._outside) + sum(len(r.turns) + r.staying for r in self._residents.values())

    def _presence(self, r: Resident) -> Presence:
        plan = r.launch.plan if r.launch else None
        child = r.child
        left = self._sleeps_at(r) - time.monotonic()
        return Presence(
            r.name,
            r.state,
            r.engine.name,
            child.pid if child else None,
            r.busy,
            r.since,
            None if math.isinf(left) else max(0.0, left),
            waiting=len(r.turns) + r.staying,
            position=self._admission.line.index(r) + 1 if r in self._admission.line else None,
            held_bytes=r.held.total,
            used_bytes=r.used_bytes(),
            context=plan.context if plan else None,
            slots=plan.n_parallel if plan else None,
            pinned=self._pinned(r.name),
            draining=r.drained_by is not None,
            note=r.note,
            tokens_per_second=child.tokens_per_second() if child else None,
        )

    def _sleeps_at(self, r: Resident) -> float:
        return math.inf if self._pinned(r.name) else r.sleeps_at

    # -- sessions --

    @asynccontextmanager
    async def session(
        self,
        model: Installed,
        keep_alive_s: float | None = None,
        *,
        terms: Terms = _NO_TERMS,
        ticket: Ticket | None = None,
        turn: bool = True,
    ) -> AsyncIterator[Awake]:
        """The model, awake and at this caller's turn, for as long as the context lasts.

        `keep_alive_s` holds from now on (infinite: for ever). Without `turn` only the waking is waited for. Raises
        `QueueFull`, `WaitedTooLong`, `OutOfMemory`, `EngineUnwell`, and what the engine says of a waking.
        """
        resident, awake = await self._enter(model, terms, ticket or Ticket(), turn)
        if keep_alive_s is not None:
            resident.keep_alive_s, resident.keep_alive_given = keep_alive_s, True
        began = time.monotonic()
        if ticket is not None:
            ticket.began = began
        try:
            yield awake
        finally:
            resident.visits -= not turn
            resident.idle_since = time.monotonic()
            if turn:
                took = resident.idle_since - began
                before = self._pace_s.get(model.name, took)
                self._pace_s[model.name] = 0.8 * before + 0.2 * took
                resident.turns.give()
            self._stir(resident)

    async def _enter(self, model: Installed, terms: Terms, ticket: Ticket, turn: bool) -> tuple[Resident, Awake]:
        left_s = self._limits.queue_wait_s
        while True:
            resident, place, left_s = await self._at_door(model, terms, ticket, turn, left_s)
            try:
                if place is not None:
                    left_s = await self._own_turn(resident, place, ticket, left_s)
                else:
                    with _counted(resident):
                        await asyncio.shield(resident.awake)
            except AgainError:
                continue
            if resident.leaving:  # it died while this caller was being told that it may begin
                if turn:
                    resident.turns.give()
                continue
            resident.visits += not turn
            return resident, resident.awake.result()

    async def _at_door(
        self, model: Installed, terms: Terms, ticket: Ticket, turn: bool, left_s: float
    ) -> tuple[Resident, Turn | None, float]:
        """Join the model's resident, once there is one to join; through a door that keeps the order of coming."""
        door = self._doors.setdefault(model.name, asyncio.Lock())
        here = self._residents.get(model.name)
        limit = self._limits.queue
        if turn and limit and self.waiting >= limit and (door.locked() or here is None or not here.turns.free):
            self._tell("refused", model.name, "full")
            raise QueueFull(name=model.name, n=limit, retry_after=self._soon(model.name, limit))
        began = time.monotonic()
        self._outside.append(ticket)
        ticket.ahead = lambda: self._outside.index(ticket) if ticket in self._outside else 0
        try:
            async with asyncio.timeout(None if math.isinf(left_s) else max(0.0, left_s)):
                await door.acquire()
                try:
                    resident = await self._resident(model, terms)
                    place = resident.turns.join() if turn else None
                finally:
                    door.release()
        except TimeoutError as trouble:
            raise self._waited(model.name, self._outside.index(ticket)) from trouble
        finally:
            self._outside.remove(ticket)
            ticket.ahead = None
        return resident, place, left_s - (time.monotonic() - began)

    async def _own_turn(self, resident: Resident, place: Turn, ticket: Ticket, left_s: float) -> float:
        """Stand in line until it is this caller's turn. Returns the seconds it may still wait. Time that the model
        takes to load is not waiting in line: its own deadline counts that."""
        ticket.ahead = lambda: self._ahead(resident, place)
        try:
            while not place.done():
                loading = resident.state == "waking"
                began = time.monotonic()
                timeout = 1.0 if loading else None if math.isinf(left_s) else max(0.0, left_s)
                await asyncio.wait({place}, timeout=timeout)
                if not loading and resident.state != "waking":
                    left_s -= time.monotonic() - began
                if left_s <= 0 and not place.done() and resident.state != "waking":
                    raise self._waited(resident.name, self._ahead(resident, place))
            place.result()
        except BaseException:
            resident.turns.leave(place)
            self._stir(resident)
            raise
        finally:
            ticket.ahead = None
        return left_s

    def _waited(self, name: str, ahead: int) -> WaitedTooLong:
        self._tell("refused", name, "slow")
        seconds = self._limits.queue_wait_s
        return WaitedTooLong(name=name, seconds=seconds, n=ahead, retry_after=self._soon(name, ahead))

    def _ahead(self, resident: Resident, place: Turn) -> int:
        models = self._admission.line.index(resident) if resident in self._admission.line else 0
        return models + resident.turns.ahead(place)

    def _soon(self, name: str, ahead: int) -> int:
        """Seconds after which asking again makes sense."""
        resident = self._residents.get(name)
        slots = resident.launch.plan.n_parallel if resident and resident.launch else 1
        return max(1, min(120, math.ceil((ahead + 1) * self._pace_s.get(name, 1.0) / slots)))

    async def _resident(self, model: Installed, terms: Terms) -> Resident:
        """The model's resident that may be joined; a new one when it sleeps."""
        while True:
            if self._closing:
                raise ShuttingDown
            resident = self._residents.get(model.name)
            if resident is None:
                return self._begin(model, terms)
            if resident.leaving:
                # Its child is on the way out: let it go, then wake a new one. Several may wait here; the first one
                # to go on makes the new resident, the others find it.
                await asyncio.wait([_task_of(resident)])
                continue
            if resident.drained_by is None and self._too_small(resident, terms):
                resident.drain(by=resident.name)
                self._stir(resident)
            if resident.drained_by is None:
                return resident
            undrained = asyncio.create_task(resident.undrained.wait())
            try:
                await asyncio.wait({_task_of(resident), undrained}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                undrained.cancel()

    @staticmethod
    def _too_small(resident: Resident, terms: Terms) -> bool:
        """Was it woken with less context than is asked now, though it could have more?"""
        if terms.context is None or resident.launch is None or resident.child is None:
            return False
        wanted = min(terms.context, resident.context_limit or terms.context)
        return wanted > resident.launch.plan.context and wanted > (resident.terms.context or 0)

    def _begin(self, model: Installed, terms: Terms) -> Resident:
        engine = chosen(self._engines, model)
        if engine is None:
            raise EngineMissing(engine=model.format, name=model.name, reason="format")
        health = self._health.setdefault(model.name, Health())
        delay_s = health.delay_s(model.name)
        resident = Resident(model, engine, self._limits.keep_alive_s, replace(terms, careful=health.careful))
        self._residents[model.name] = resident
        resident.task = asyncio.create_task(self._own(resident, delay_s), name=f"model {model.name}")
        return resident

    # -- sleeping --

    async def sleep(self, name: str, *, force: bool = False) -> bool:
        """Put a model to sleep now; False when it slept already. Raises `StillBusy` unless forced."""
        resident = self._residents.get(name)
        if resident is None or resident.task is None:
            return False
        if resident.in_use and not force:
            raise StillBusy(name=name, n=resident.busy + len(resident.turns) + resident.staying)
        if resident.child is None:
            resident.task.cancel()
        resident.forced = True
        resident.asked_to_sleep = True
        resident.stirred.set()
        await asyncio.wait([resident.task])
        return True

    def forgive(self, name: str) -> None:
        """Forget how a model's children died: its settings or its file have changed."""
        self._health.pop(name, None)

    async def close(self) -> None:
        """All children gone."""
        self._closing = True
        tasks = [r.task for r in self._residents.values() if r.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _stir(self, resident: Resident) -> None:
        resident.stirred.set()
        self._admission.changed.set()

    # -- the life of a model --

    async def _own(self, resident: Resident, delay_s: float) -> None:
        """From the first request to the end of its child."""
        try:
            if delay_s:
                await asyncio.sleep(delay_s)
            await self._live(resident)
        except asyncio.CancelledError:
            resident.tell(ShuttingDown() if self._closing else EngineDied(name=resident.name, reason="stopped"))
        except AgainError:
            pass
        except DomicileError as trouble:
            if resident.child is not None:
                raise
            resident.tell(trouble)
        except Exception as trouble:
            resident.tell(trouble)
            raise
        finally:
            resident.held = Bytes(0)
            stopped = EngineDied(name=resident.name, reason="stopped")
            resident.tell(stopped if resident.forced else AgainError())
            resident.undrained.set()
            del self._residents[resident.name]
            self._admission.changed.set()

    async def _live(self, resident: Resident) -> None:
        """Wake, serve, sleep. A waking that dies of something that safer settings may mend is tried once more."""
        terms, trouble, tried = resident.terms, None, None
        while True:
            try:
                prepared = await self._admission.admitted(resident, terms)
            except DomicileError:
                if trouble is not None:
                    raise trouble from None
                raise
            settings = (prepared.launch.plan, prepared.launch.threads)
            if trouble is not None and terms.careful != "killed" and settings == tried:
                raise trouble  # there is nothing safer
            try:
                await self._awake(resident, prepared)
            except DomicileError as found:
                if resident.child is not None:
                    raise
                kind = kind_of(found)
                self._note_death(resident, kind)
                if trouble is not None or kind not in WORTH_A_TRY:
                    raise
                trouble, tried, terms = found, settings, replace(terms, careful=kind)
                resident.state, resident.held = "queued", Bytes(0)
                self._admission.changed.set()
            else:
                return

    async def _awake(self, resident: Resident, prepared: Prepared) -> None:
        resident.state, resident.launch, resident.note = "waking", prepared.launch, prepared.note
        resident.context_limit = prepared.context_limit
        if prepared.keep_alive_s is not None and not resident.keep_alive_given:
            resident.keep_alive_s = prepared.keep_alive_s
        async with resident.engine.awake(prepared.launch) as awake:
            resident.state, resident.idle_since = "awake", time.monotonic()
            resident.awake.set_result(awake)
            resident.turns.open(prepared.launch.plan.n_parallel)
            self._tell("wake", resident.name, prepared.note.key if prepared.note else "")
            self._admission.changed.set()
            await self._until_sleep(resident, awake)
            resident.state = "sleeping"
            if awake.gone.is_set() and not resident.asked_to_sleep:
                self._note_death(resident, kind_of(await awake.why_gone()))
            elif self._before_sleep is not None:
                await self._before_sleep(resident.name, awake)

    def _note_death(self, resident: Resident, kind: Death) -> None:
        self._health[resident.name].died(kind)
        self._tell("death", resident.name, kind)

    async def _until_sleep(self, resident: Resident, awake: Awake) -> None:
        gone = asyncio.create_task(awake.gone.wait())
        stirred = asyncio.create_task(resident.stirred.wait())
        try:
            while not awake.gone.is_set() and not resident.asked_to_sleep:
                if resident.drained_by == resident.name and not resident.in_use:
                    resident.asked_to_sleep = True
                    return
                left = self._sleeps_at(resident) - time.monotonic()
                if left <= 0:
                    return
                timeout = (_UNPINNED_S if self._pinned(resident.name) else None) if math.isinf(left) else left
                await asyncio.wait({gone, stirred}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if stirred.done():
                    resident.stirred.clear()
                    stirred = asyncio.create_task(resident.stirred.wait())
        finally:
            gone.cancel()
            stirred.cancel()


@contextmanager
def _counted(resident: Resident) -> Iterator[None]:
    resident.staying += 1
    try:
        yield
    finally:
        resident.staying -= 1


def _task_of(resident: Resident) -> asyncio.Task[None]:
    assert resident.task is not None
    return resident.task
