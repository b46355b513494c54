"""Watching the folders of models while a house is open: what came is offered, what went shows as missing.

Looks at the times of the folders every few seconds, which costs one `stat` each, and scans the stores only when one
changed. What it notices is a numbered notice, kept for whoever was cut off and goes on after the last one they saw.
Between two looks it reads one file whose announced digest nobody checked.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from domicile import stores
from domicile.adopt import Adoption
from domicile.config import Settings
from domicile.errors import DomicileError
from domicile.library import Library

_KEPT = 500


class Notices:
    """Numbered notices, the last ones kept."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Mapping[str, Any]]] = deque(maxlen=_KEPT)
        self._number = 0
        self._changed = asyncio.Event()

    def tell(self, kind: str, **facts: Any) -> None:
        self._number += 1
        self._kept.append((self._number, {"kind": kind, **facts}))
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Mapping[str, Any]]]:
        """Every notice after a number, then each new one, for ever. A number from another opening starts again."""
        seen = after if after <= self._number else 0
        while True:
            changed = self._changed
            for number, notice in list(self._kept):
                if number > seen:
                    seen = number
                    yield number, notice
            await changed.wait()


class Watch:
    """One for an open house. `look` is one round; `run` goes on until it is cancelled."""

    def __init__(self, settings: Settings, library: Library, adoption: Adoption, notices: Notices) -> None:
        self._settings = settings
        self._library = library
        self._adoption = adoption
        self._notices = notices
        self._times: dict[Path, int] | None = None
        self._offered: set[str] | None = None
        self._states: dict[str, str] | None = None

    async def run(self) -> None:
        if not 0 < self._settings.watch < math.inf:
            return
        while True:
            with suppress(DomicileError, OSError):  # a full disk, a folder that goes away meanwhile: at the next look
                await self.look()
                await self._adoption.verify_next()
            await asyncio.sleep(self._settings.watch)

    async def look(self) -> None:
        """Notice what changed since the last look. The first one only learns what is there."""
        states = {m.name: "missing" if m.missing else "damaged" if m.damaged else "back" for m in self._library.list()}
        before = self._states if self._states is not None else states
        for name, state in sorted(states.items()):
            if state != before.get(name, "back"):
                self._notices.tell(state, name=name)
        self._states = states
        times = await asyncio.to_thread(stores.watched, stores.here(self._settings))
        if times == self._times:
            return
        self._times = times
        offers = {o.id: o for o in await self._adoption.offers() if o.here is None and not o.found.runs_code}
        if self._offered is not None:
            for one in sorted(offers.keys() - self._offered):
                self._notices.tell("offered", **offers[one].public())
        self._offered = set(offers)
