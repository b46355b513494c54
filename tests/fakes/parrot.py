"""An engine that loads nothing and repeats what it hears, one word a chunk, in OpenAI's dialect.

Its gates stand in for time: a test decides when a model has finished waking, and when the next word comes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domicile.engines import Awake, Counts, Launch, Prompts, Reply
from domicile.errors import DomicileError, EngineDied
from domicile.types import Plan

PLAN = Plan(
    n_ctx=4096,
    n_parallel=1,
    n_ubatch=512,
    type_k="f16",
    type_v="f16",
    flash_attention=True,
    gpu_layers=0,
    tensor_split=(),
    cache_ram_bytes=0,
    checkpoints=4,
)


class Parrot:
    """An `Engine`."""

    name = "parrot"
    formats = frozenset({"gguf"})
    tasks: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.wakes = 0
        self.awake_now: list[Bird] = []
        self.hatching = asyncio.Event()
        self.hatching.set()
        """Cleared: models stay waking."""
        self.speaking = asyncio.Event()
        self.speaking.set()
        """Cleared: the second word does not come."""
        self.ill: DomicileError | None = None
        """Raised instead of waking."""
        self.weak: DomicileError | None = None
        """Raised instead of waking with a context above 2,048."""
        self.weight_bytes = 1_000_000
        self.launches: list[Launch] = []

    @asynccontextmanager
    async def awake(self, launch: Launch) -> AsyncIterator[Awake]:
        self.wakes += 1
        self.launches.append(launch)
        await self.hatching.wait()
        if self.ill is not None:
            raise self.ill
        if self.weak is not None and launch.plan.context > 2048:
            raise self.weak
        bird = Bird(self, launch)
        self.awake_now.append(bird)
        try:
            yield bird
        finally:
            bird.gone.set()
            self.awake_now.remove(bird)


class Bird:
    """An `Awake`."""

    def __init__(self, parrot: Parrot, launch: Launch) -> None:
        self.launch = launch
        self.pid = 1
        self.prompts: Prompts | None = None
        self.gone = asyncio.Event()
        self.asked: list[tuple[str, bytes]] = []
        self.answering = 0
        self.left = 0
        """Callers who went away before the end."""
        self.said = 0
        """Words."""
        self.death: DomicileError = EngineDied(name=launch.model.name, reason="killed", how="SIGKILL")
        self._parrot = parrot

    def resident_bytes(self) -> int | None:
        return self._parrot.weight_bytes

    async def counts(self) -> Counts | None:
        return Counts(len(self.asked), self.said)

    async def why_gone(self) -> DomicileError:
        return self.death

    def tokens_per_second(self) -> float | None:
        return None

    @asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        self.asked.append((path, body))
        self.answering += 1
        data = json.loads(body)
        said = data["messages"][-1]["content"] if "messages" in data else data["prompt"]
        try:
            if said.startswith("too long "):
                yield Reply(400, "application/json", _once(_too_long(int(said.split()[-1]))))
            elif data.get("stream"):
                yield Reply(200, "text/event-stream", self._words(said))
            else:
                yield Reply(200, "application/json", self._whole(said))
        finally:
            self.answering -= 1

    async def _words(self, said: str) -> AsyncIterator[bytes]:
        finished = False
        try:
            for number, word in enumerate(said.split(" ")):
                if number:
                    await self._next()
                self.said += 1
                chunk = {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]}
                yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
            finished = True
            yield b"data: [DONE]\n\n"
        finally:
            self.left += not finished

    async def _next(self) -> None:
        speaking = asyncio.ensure_future(self._parrot.speaking.wait())
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({speaking, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            speaking.cancel()
            gone.cancel()
        if self.gone.is_set():
            raise self.death

    async def _whole(self, said: str) -> AsyncIterator[bytes]:
        finished = False
        try:
            await self._next()
            message = {"role": "assistant", "content": said}
            yield json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
            finished = True
        finally:
            self.left += not finished


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def _too_long(tokens: int) -> bytes:
    error = {"code": 400, "type": "exceed_context_size_error", "message": "", "n_prompt_tokens": tokens, "n_ctx": 4096}
    return json.dumps({"error": error}).encode()
