"""A model that is not asleep: its state, its turns, what memory it holds; and how it is shown."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from domicile.engines import Awake, Engine, Launch
from domicile.runner.accounting import Bytes, Holding
from domicile.runner.turns import Turns
from domicile.types import Installed, Reason, Terms

State = Literal["queued", "waking", "awake", "sleeping"]


class AgainError(Exception):
    """The model went away before it was this caller's turn: ask again, a new child will answer."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """How a model would be woken in the room it may get, and the memory this takes."""

    launch: Launch
    need: Bytes
    """Without the optional prompt cache, which gets what is left, up to what the launch says."""
    context_limit: int | None = None
    """Tokens the model was made for: asking for more changes nothing."""
    keep_alive_s: float | None = None
    """The model's own; None for the house's."""
    note: Reason | None = None
    """What must be said of these settings: that they are safer ones, and why."""


class Resident:
    """One model that is not asleep. Written to by its own task; sessions count themselves in and out."""

    def __init__(self, model: Installed, engine: Engine, keep_alive_s: float, terms: Terms) -> None:
        self.model = model
        self.engine = engine
        self.keep_alive_s = keep_alive_s
        self.keep_alive_given = False
        """A request said how long; the model's own setting no longer counts."""
        self.terms = terms
        self.state: State = "queued"
        self.visits = 0
        """Sessions without a turn."""
        self.staying = 0
        """Sessions that wait for the waking, without a turn."""
        self.turns = Turns()
        self.held = Bytes(0)
        self.launch: Launch | None = None
        self.context_limit: int | None = None
        self.note: Reason | None = None
        self.since = time.time()
        self.idle_since = time.monotonic()
        self.awake: asyncio.Future[Awake] = asyncio.get_running_loop().create_future()
        self.stirred = asyncio.Event()
        """Something changed that may bring its sleep nearer."""
        self.asked_to_sleep = False
        self.forced = False
        self.drained_by: str | None = None
        """The model that waits for this one's memory (its own name: for a waking with a larger context)."""
        self.undrained = asyncio.Event()
        self.undrained.set()
        self.task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def busy(self) -> int:
        """Sessions that go on."""
        return self.turns.taken + self.visits

    @property
    def in_use(self) -> bool:
        return bool(self.busy or self.staying or len(self.turns))

    @property
    def sleeps_at(self) -> float:
        """Monotonic time; never while in use."""
        return math.inf if self.in_use else self.idle_since + self.keep_alive_s

    @property
    def child(self) -> Awake | None:
        """The model, if it came up."""
        done = self.awake.done() and not self.awake.cancelled() and self.awake.exception() is None
        return self.awake.result() if done else None

    @property
    def leaving(self) -> bool:
        """On its way out: nobody may join it."""
        child = self.child
        return self.state == "sleeping" or self.asked_to_sleep or (child is not None and child.gone.is_set())

    def used_bytes(self) -> int:
        """Resident memory of its child now; 0 before it is up."""
        child = self.child
        return (child.resident_bytes() or 0) if child is not None else 0

    def holding(self, pinned: bool) -> Holding:
        held = Bytes(max(self.held.ram, self.used_bytes()), self.held.devices)
        return Holding(self.name, held, self.in_use, pinned, self.idle_since)

    def drain(self, by: str) -> None:
        self.drained_by = by
        self.undrained.clear()

    def undrain(self) -> None:
        self.drained_by = None
        self.undrained.set()

    def tell(self, why: BaseException) -> None:
        """Whoever waits gets this error."""
        if not self.awake.done():
            self.awake.set_exception(why)
            self.awake.exception()  # nobody may be waiting: that is no fault
        self.turns.end(why)


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
    """None while in use or for ever."""
    waiting: int = 0
    """Requests that wait for its waking or for their turn."""
    position: int | None = None
    """Place among the models that wait for memory, 1 is next."""
    held_bytes: int = 0
    """Memory that is kept for it, in all."""
    used_bytes: int = 0
    """Memory its child has now, without graphics cards."""
    context: int | None = None
    slots: int | None = None
    pinned: bool = False
    draining: bool = False
    note: Reason | None = None
    tokens_per_second: float | None = None

    def public(self) -> dict[str, Any]:
        note: Mapping[str, Any] | None = None
        if self.note is not None:
            note = {"key": self.note.key, "facts": dict(self.note.facts)}
        return {
            "name": self.name,
            "state": self.state,
            "engine": self.engine,
            "pid": self.pid,
            "busy": self.busy,
            "waiting": self.waiting,
            "position": self.position,
            "since": self.since,
            "sleeps_in_s": self.sleeps_in_s,
            "held_bytes": self.held_bytes,
            "used_bytes": self.used_bytes,
            "context": self.context,
            "slots": self.slots,
            "pinned": self.pinned,
            "draining": self.draining,
            "tokens_per_second": self.tokens_per_second,
            "note": note,
        }
