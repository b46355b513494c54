"""What runs models: the contract of an engine, and the list of them.

An engine wakes a model in a child process of its own and gives an `Awake`: a private door that speaks OpenAI's
HTTP dialect, the field's common tongue. Engines do not know each other, nor who asks. A heavy dependency is
imported by the child only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from domicile.errors import DomicileError
from domicile.llama_builds import Build
from domicile.types import Installed, Plan


@dataclass(frozen=True, slots=True)
class Launch:
    """A model and the settings it is woken with."""

    model: Installed
    plan: Plan
    threads: int
    memory_bytes: int
    """Ceiling of the child's own memory."""
    deadline_s: float
    log: Path
    template: str | None = None
    """The chat template (Jinja) that takes the place of the file's own; None for the file's."""
    states: Path | None = None
    """A folder of ours where the engine may write what it has read (`Prompts.save`); None for nowhere."""
    embedding: bool = False
    """Wake it to give vectors (`/v1/embeddings`) instead of words."""
    ranking: bool = False
    """Wake it to give scores (`/v1/rerank`), which is a way of `embedding`."""
    adapters: tuple[Path, ...] = ()
    """Low-rank adapters (GGUF) laid over its weights."""
    compute: str = ""
    """The arithmetic of a model that hears: `int8` or `float32`; empty for the engine's own."""
    build: Build | None = None
    """Which build of llama.cpp holds it; None for the wheel."""
    sound_s: float = 0.0
    """Seconds of sound that one file may hold; 0 for the engine's own limit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers, as it comes. `body` raises the engine's named error when it dies midway."""

    status: int
    content_type: str
    body: AsyncIterator[bytes]


class Prompts(Protocol):
    """What an engine knows of prompts: how long they are, and what it has read of them.

    What is read is in slots, one for each conversation at a time. Every method gives None (or 0) where the engine
    has no answer, and raises the engine's named error when it has died.
    """

    async def context(self) -> int | None:
        """Tokens that one conversation may hold, prompt and answer together."""
        ...

    async def count(self, path: str, body: bytes) -> int | None:
        """Tokens of a request's prompt, made with the model's own template; None: the engine refuses this request."""
        ...

    async def count_text(self, text: str) -> int | None:
        """Tokens of a plain text."""
        ...

    async def tokens(self, path: str, body: bytes) -> list[int] | None:
        """The very tokens of a request's prompt."""
        ...

    async def slots(self) -> Sequence[bool]:
        """For each slot, whether it is free now."""
        ...

    async def save(self, slot: int, file: str) -> int:
        """Write what a slot has read to a file of the launch's `states` folder. Tokens written."""
        ...

    async def restore(self, slot: int, file: str) -> int:
        """Read such a file back into a slot. The file must be whole: a cut one kills the engine. Tokens read."""
        ...

    async def shorten(self, slot: int, tokens: Sequence[int]) -> bool:
        """Leave just these tokens in a slot, the beginning of what it has read."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """What a child has done since it came up."""

    prompt_tokens: int
    generated_tokens: int

    def kinds(self) -> tuple[tuple[str, int], ...]:
        return (("prompt", self.prompt_tokens), ("generated", self.generated_tokens))


class Awake(Protocol):
    """A model that is awake."""

    pid: int
    prompts: Prompts | None
    """None for engines that have nothing to tell of prompts."""
    gone: asyncio.Event
    """Set when the child has ended, for whatever reason."""

    def resident_bytes(self) -> int | None:
        """The child's resident memory now; None where it cannot be read."""
        ...

    def tokens_per_second(self) -> float | None:
        """How fast the last answers of some length were decoded; None before the first one."""
        ...

    async def counts(self) -> Counts | None:
        """How many tokens it read and wrote; None where it does not say, or not now."""
        ...

    async def why_gone(self) -> DomicileError:
        """What it died of, once it is gone."""
        ...

    def ask(self, path: str, body: bytes) -> AbstractAsyncContextManager[Reply]:
        """POST a body to a route of OpenAI's dialect. Leaving the context stops the generation."""
        ...


class Engine(Protocol):
    """Something that wakes models of some formats."""

    name: str
    formats: frozenset[str]
    tasks: frozenset[str]
    """The Hub's names of what it does with them; empty: whatever the model is for."""

    def awake(self, launch: Launch) -> AbstractAsyncContextManager[Awake]:
        """A child with the model in it, ready; gone when the context is left.

        Raises `EngineMissing`, `BadModelFile`, `OutOfMemory`, `EngineDied` or `WakeTimeout`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """An engine that is a child program in Python, in the environment of an extra."""

    name: str
    extra: str
    """The lock of `locks/` whose environment it runs in (`domicile engine add EXTRA`)."""
    program: str
    """Its module in this package, whose `main` is `child_life.live(load)`."""
    formats: frozenset[str]
    tasks: frozenset[str]
    """As in `Engine`; a model whose task is not known goes to the first engine of its format."""
    runtime_bytes: int = 0
    """Memory its libraries take beside the model, measured; added to the ceiling of the child."""


ROWS: tuple[Row, ...] = (
    Row(
        "transformers",
        "transformers",
        "transformers_child",
        frozenset({"safetensors"}),
        frozenset({"text-generation", "text2text-generation", "image-text-to-text"}),
        runtime_bytes=2 << 30,
    ),
    Row(
        "encoder",
        "transformers",
        "encoder_child",
        frozenset({"safetensors"}),
        frozenset({"feature-extraction", "sentence-similarity"}),
        runtime_bytes=1 << 30,
    ),
    Row(
        "whisper",
        "whisper",
        "whisper_child",
        frozenset({"whisper", "safetensors"}),
        frozenset({"automatic-speech-recognition"}),
        runtime_bytes=2 << 30,
    ),
    Row(
        "images",
        "images",
        "images_child",
        frozenset({"diffusers", "safetensors"}),
        frozenset({"text-to-image", "image-to-image"}),
        runtime_bytes=2 << 30,
    ),
    Row(
        "onnx",
        "onnx",
        "onnx_child",
        frozenset({"onnx"}),
        frozenset(
            {"text-generation", "feature-extraction", "sentence-similarity", "text-ranking", "text-classification"}
        ),
        runtime_bytes=1 << 30,
    ),
)
"""Every engine of an extra. One row and one child program make an engine."""


def build(kind: str, launch: Launch) -> str:
    """The build of an engine: what it keeps on disk is readable by the same build only."""
    if kind != "llama":
        return kind
    from domicile.llama_builds import wheel

    found = launch.build or wheel()
    return f"{kind} {found.identity}" if found else kind


def chosen(engines: Mapping[str, Engine], model: Installed) -> Engine | None:
    """The engine that runs a model: of its format, and for what it does. None where there is none."""
    task = "automatic-speech-recognition" if model.format == "whisper" else model.task
    fitting = [e for e in engines.values() if model.format in e.formats]
    exact = [e for e in fitting if not e.tasks or task is None or task in e.tasks]
    return exact[0] if exact else None


def installed(environments: Path) -> Mapping[str, Engine]:
    """Every engine we have, by name; those of extras whether or not their environment is there. `environments` is the
    folder of these."""
    from domicile.engines.llama import Llama
    from domicile.engines.pychild import PythonEngine

    return {"llama": Llama(), **{row.name: PythonEngine(row, environments / row.extra) for row in ROWS}}
