"""Going on with a conversation after its model slept, or the house was closed: what was read is not read again.

Before a question goes to a model that has just woken, the state on disk that has most of it already is put back;
when the model goes to sleep, and when nobody has asked it anything for a while, what it has read is kept. What
conversations have in common (a system prompt) is kept for itself. Only time depends on it: the engine compares the
tokens and reads whatever differs. Knows engines by `Prompts`; the files are `conversation_store`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import shutil
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from domicile import engines
from domicile.conversation_store import ConversationStore, State, binding, common
from domicile.engines import Awake, Engine, Launch, Prompts
from domicile.errors import DomicileError

MIN_TOKENS = 256
"""Less is read again faster than it is kept."""
IDLE_S = 10.0
"""Without a question for this long, what was read since the last time is kept."""
_TALKS = ("/v1/chat/completions", "/v1/completions")
_MIN_BYTES = 512
_GROWN_BYTES = 2048
"""New text in the conversation without which an idle save is not worth wearing the disk."""
_SLEEP_S = 3.0
"""Going to sleep may take this much longer; the house must close within eight seconds."""
_ROOM_BYTES = 256 << 20
"""Left free on the disk, whatever the limit says."""
_REMEMBERED = 64


@dataclass(eq=False)
class _Reading:
    """What is known of one child, from its waking to its sleep."""

    launch: Launch
    folder: Path
    prompts: Prompts
    resident_bytes: Callable[[], int | None]
    states: list[State]
    seen: dict[bytes, None] = field(default_factory=dict)
    """Conversations asked about since it woke (digests of their beginnings): the engine has them."""
    held: list[array[int]] = field(default_factory=list)
    """Prompts the engine is known to have read, in tokens."""
    busy: int = 0
    dirty: bool = False
    last_bytes: int = 0
    unsaved_bytes: int = 0
    """About how much text is new since the last save."""
    waiting: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def hold(self, tokens: array[int]) -> None:
        self.held = [*self.held[-_REMEMBERED:], tokens]


class Conversations:
    """One for a house. Off when the store's limit is 0."""

    def __init__(self, store: ConversationStore, *, min_tokens: int = MIN_TOKENS, idle_s: float = IDLE_S) -> None:
        self.store = store
        self._min_tokens = min_tokens
        self._idle_s = idle_s
        self._readings: dict[Awake, _Reading] = {}

    # -- waking and sleeping --

    async def folder_for(self, launch: Launch, kind: str) -> Path | None:
        """Where a model that is about to wake may keep what it reads; None when nothing is to be kept."""
        model, plan = launch.model, launch.plan
        if self.store.limit_bytes <= 0 or launch.embedding or plan.projector or model.format != "gguf":
            return None  # the engine keeps no state where images may be in it
        chosen = asdict(plan)
        depends = {key: chosen[key] for key in ("n_ctx", "n_parallel", "type_k", "type_v", "flash_attention")}
        build = engines.build(kind, launch)

        def work() -> Path:
            return self.store.open(
                model.name, binding((*(model.files or (model.path,)), *launch.adapters), depends | {"build": build})
            )

        try:
            return await asyncio.to_thread(work)
        except OSError:
            return None

    def keeping(self, engine: Engine) -> Engine:
        """The same engine, whose models keep what they have read when they go to sleep."""
        return _Keeping(engine, self)

    @asynccontextmanager
    async def life(self, launch: Launch, awake: Awake) -> AsyncIterator[None]:
        """From a child's waking to its sleep; what it has read is kept before it goes."""
        if launch.states is None or awake.prompts is None:
            yield
            return
        states = await asyncio.to_thread(self.store.states, launch.states)
        reading = _Reading(launch, launch.states, awake.prompts, awake.resident_bytes, states)
        self._readings[awake] = reading
        try:
            yield
        finally:
            del self._readings[awake]
            if reading.waiting is not None:
                reading.waiting.cancel()
            if reading.dirty and not awake.gone.is_set():
                with contextlib.suppress(TimeoutError, DomicileError, OSError):
                    async with asyncio.timeout(_SLEEP_S), reading.lock:
                        for slot, state in await self._save(reading):
                            await self._share(reading, slot, state)
            self.store.open_folders.discard(reading.folder)

    async def clear(self, model: str | None = None) -> tuple[int, int]:
        """Forget what is on disk, of one model or of all: how many states, and the bytes freed. What a model that is
        awake has in memory stays until it sleeps, and is not kept then unless it is asked again."""
        for reading in self._readings.values():
            if model is None or reading.launch.model.name == model:
                reading.dirty, reading.states = False, []
        return await asyncio.to_thread(self.store.clear, model)

    # -- around a question --

    @asynccontextmanager
    async def around(self, awake: Awake, path: str, body: bytes) -> AsyncIterator[None]:
        """A question to a model: put back what was read of it before, and afterwards mind what is new."""
        reading = self._readings.get(awake)
        if reading is None or path not in _TALKS:
            yield
            return
        reading.busy += 1
        try:
            if len(body) >= _MIN_BYTES:
                with contextlib.suppress(OSError):
                    await self._recall(reading, path, body)
            reading.dirty = True
            yield
        finally:
            reading.busy -= 1
            reading.unsaved_bytes += abs(len(body) - reading.last_bytes)
            reading.last_bytes = len(body)
            if reading.waiting is not None:
                reading.waiting.cancel()
            reading.waiting = asyncio.create_task(self._when_idle(reading), name="keep conversations")

    async def _recall(self, reading: _Reading, path: str, body: bytes) -> None:
        beginnings = list(_beginnings(json.loads(body)))
        went_on = any(digest in reading.seen for digest, talk in beginnings if talk)
        reading.seen.update((digest, None) for digest, _ in beginnings)
        if went_on or not reading.states:
            return
        found = await reading.prompts.tokens(path, body)
        if found is None:
            return
        tokens = array("i", found)
        async with reading.lock:
            await self._restore(reading, tokens)
        reading.hold(tokens)

    async def _restore(self, reading: _Reading, tokens: array[int]) -> None:
        """Put back the state that has most of these tokens, if the engine has not read as many already."""
        has = max((common(tokens, held) for held in reading.held), default=0)
        for state in sorted(reading.states, key=lambda s: -common(tokens, s.tokens)):
            if common(tokens, state.tokens) < has + self._min_tokens:
                return
            slot = next((n for n, free in enumerate(await reading.prompts.slots()) if free), None)
            if slot is None:
                return
            if not await asyncio.to_thread(self.store.whole, state):
                reading.states.remove(state)
                continue
            if reading.dirty:
                await self._save(reading)
            if await reading.prompts.restore(slot, state.file):
                reading.hold(state.tokens)
                return
            self.store.remove(state)
            reading.states.remove(state)

    # -- keeping --

    async def _when_idle(self, reading: _Reading) -> None:
        await asyncio.sleep(self._idle_s)
        if reading.dirty and not reading.busy and reading.unsaved_bytes >= _GROWN_BYTES:
            with contextlib.suppress(DomicileError, OSError):
                async with reading.lock:
                    await self._save(reading)

    async def _save(self, reading: _Reading) -> list[tuple[int, State]]:
        """Keep what each slot that is free has read. The slots and their states."""
        kept: list[tuple[int, State]] = []
        free = await asyncio.to_thread(shutil.disk_usage, reading.folder)
        if free.free < _ROOM_BYTES + (reading.resident_bytes() or 0):  # no state is larger than its model
            return kept
        reading.dirty, reading.unsaved_bytes = False, 0
        for slot, idle in enumerate(await reading.prompts.slots()):
            state = await self._save_slot(reading, slot) if idle else None
            if state is not None:
                kept.append((slot, state))
                reading.hold(state.tokens)
        return kept

    async def _save_slot(self, reading: _Reading, slot: int, *, shared: bool = False) -> State | None:
        part = f"{secrets.token_hex(8)}.part"
        if await reading.prompts.save(slot, part) < self._min_tokens:
            (reading.folder / part).unlink(missing_ok=True)
            return None
        name = reading.launch.model.name
        state = await asyncio.to_thread(self.store.keep, reading.folder, part, name, shared=shared)
        reading.states = await asyncio.to_thread(self.store.states, reading.folder)
        return state

    async def _share(self, reading: _Reading, slot: int, state: State) -> None:
        """Keep the beginning that another conversation has too, once, for those to come."""
        others = [s for s in reading.states if s.id != state.id and not s.shared]
        length = max((common(state.tokens, other.tokens) for other in others), default=0)
        known = any(s.shared and s.tokens == state.tokens[: len(s.tokens)] for s in reading.states)
        if length < self._min_tokens or known or length >= len(state.tokens):
            return
        if await reading.prompts.shorten(slot, state.tokens[:length]):
            await self._save_slot(reading, slot, shared=True)


class _Keeping:
    """An `Engine` around another."""

    def __init__(self, inner: Engine, conversations: Conversations) -> None:
        self._inner = inner
        self._conversations = conversations
        self.name = inner.name
        self.formats = inner.formats
        self.tasks = inner.tasks

    @asynccontextmanager
    async def awake(self, launch: Launch) -> AsyncIterator[Awake]:
        """See `Engine.awake`."""
        launch = replace(launch, states=await self._conversations.folder_for(launch, self.name))
        async with self._inner.awake(launch) as awake, self._conversations.life(launch, awake):
            yield awake


def _beginnings(data: dict[str, Any]) -> Iterator[tuple[bytes, bool]]:
    """A digest of the conversation up to each message, and whether somebody has spoken by then (instructions and
    tools alone are no conversation yet)."""
    digest = hashlib.sha256(json.dumps([data.get("tools"), data.get("chat_template_kwargs")]).encode())
    talk = False
    for message in data.get("messages") or [data.get("prompt")]:
        digest.update(json.dumps(message, sort_keys=True).encode())
        talk = talk or not isinstance(message, dict) or message.get("role") not in {"system", "developer"}
        yield digest.digest(), talk
