"""The gate to the memory: one model at a time looks at what is free, and holds what it needs, in the order of asking.

Knows who holds what and who could give way; what giving way means (`accounting.decide`) it does not decide itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from domicile.errors import OutOfMemory
from domicile.runner.accounting import Bytes, Holding, decide, reachable
from domicile.runner.resident import AgainError, Prepared, Resident
from domicile.types import Installed, Terms

_LOOK_AGAIN_S = 2.0
"""Whoever waits for memory looks again this often: other programs give some back without telling."""

Prepare = Callable[[Installed, Terms, Bytes], Awaitable[Prepared]]
"""How a model would be woken on these terms, were that much memory free."""


class Admission:
    """The one place where memory is given out. `residents` is the runner's own table."""

    def __init__(
        self,
        residents: Mapping[str, Resident],
        prepare: Prepare,
        free: Callable[[], Awaitable[Bytes]],
        pinned: Callable[[str], bool],
        tell: Callable[[str, str, str], None],
        limit_bytes: int,
    ) -> None:
        self.line: list[Resident] = []
        """Models that wait for memory, in the order they asked."""
        self.changed = asyncio.Event()
        """Somebody came, left, or sleeps: whoever waits for memory looks again."""
        self._gate = asyncio.Lock()
        self._residents = residents
        self._prepare = prepare
        self._free = free
        self._pinned = pinned
        self._tell = tell
        self._limit = limit_bytes

    async def admitted(self, resident: Resident, terms: Terms) -> Prepared:
        """Wait for memory in the order of asking, and hold it. The one place where memory is given out."""
        self.line.append(resident)
        drained: set[Resident] = set()
        try:
            async with self._gate:
                while True:
                    self.changed.clear()
                    if not resident.in_use:  # everybody left: nobody goes to sleep for nobody
                        raise AgainError
                    prepared = await self._try(resident, terms, drained)
                    if prepared is not None:
                        return prepared
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_AGAIN_S):
                            await self.changed.wait()
        finally:
            self.line.remove(resident)
            for other in drained:
                other.undrain()

    async def _try(self, resident: Resident, terms: Terms, drained: set[Resident]) -> Prepared | None:
        """Hold the memory if it is there; else see to it that it will be. Raises `OutOfMemory` when it never will."""
        free, settling = await self._room()
        movable = [h for h in self._holdings(resident) if not h.pinned]
        reach = reachable(free, movable)
        prepared = await self._prepare(resident.model, terms, reach)
        # Who is in use may have changed meanwhile; from here on nothing does.
        decision = decide(prepared.need, free, self._holdings(resident))
        if decision.go:
            return self._hold(resident, prepared, free)
        if terms.gentle:
            raise self._refusal(resident, prepared, free, "gentle")
        if settling or (decision.never and self.changed.is_set()):
            return None
        if decision.never:
            self._tell("refused", resident.name, "memory")
            raise self._refusal(resident, prepared, reach, "refused")
        for name in decision.evict:
            self._tell("evicted", name, resident.name)
            self._residents[name].asked_to_sleep = True
            self._residents[name].stirred.set()
        for name in decision.drain:
            other = self._residents[name]
            if other.drained_by is None:
                other.drain(by=resident.name)
                drained.add(other)
        return None

    def _hold(self, resident: Resident, prepared: Prepared, free: Bytes) -> Prepared:
        """The prompt cache gets what is left, and no more than the model itself."""
        plan = prepared.launch.plan
        spare = min(plan.cache_ram_bytes, prepared.need.ram, free.ram - prepared.need.ram)
        cache = max(0, spare) >> 20 << 20
        resident.held = prepared.need + Bytes(cache)
        return replace(prepared, launch=replace(prepared.launch, plan=replace(plan, cache_ram_bytes=cache)))

    @staticmethod
    def _refusal(resident: Resident, prepared: Prepared, room: Bytes, reason: str) -> OutOfMemory:
        return OutOfMemory(
            name=resident.name,
            need=prepared.need.total,
            limit=max(0, room.total),
            reason=reason,
            retry_after=30,
        )

    def _holdings(self, but: Resident) -> list[Holding]:
        return [r.holding(self._pinned(r.name)) for r in self._residents.values() if r is not but and r.held.total]

    async def _room(self) -> tuple[Bytes, bool]:
        """What is free for one more, and whether that is about to change: a model is waking or going to sleep.

        What is promised to a model and not used yet is not free; what its child uses already, the system counts.
        """
        free = await self._free()
        settling, all_held = False, 0
        for other in self._residents.values():
            if not other.held.total:
                continue
            used = other.used_bytes()
            coming = other.held.devices if other.state == "waking" else ()
            free = free - Bytes(max(0, other.held.ram - used), coming)
            all_held += max(other.held.ram, used)
            settling = settling or other.state in {"waking", "sleeping"} or other.asked_to_sleep
        if self._limit:
            free = replace(free, ram=min(free.ram, self._limit - all_held))
        return free, settling
