"""What runs models: the contract of an engine, and the list of them.

An engine wakes a model in a child process of its own and gives an `Awake`: a private door that speaks OpenAI's
HTTP dialect, the field's common tongue. Engines do not know each other, nor who asks. A heavy dependency is
imported by the child only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
    embedding: bool = False
    """Wake it to give vectors (`/v1/embeddings`) instead of words."""
    adapters: tuple[Path, ...] = ()
    """Low-rank adapters (GGUF) laid over its weights."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers, as it comes. `body` raises the engine's named error when it dies midway."""

    status: int
    content_type: str
    body: AsyncIterator[bytes]


class Awake(Protocol):
    """A model that is awake."""

    pid: int
    gone: asyncio.Event
    """Set when the child has ended, for whatever reason."""

    def resident_bytes(self) -> int | None:
        """The child's resident memory now; None where it cannot be read."""
        ...

    def tokens_per_second(self) -> float | None:
        """How fast the last answers of some length were decoded; None before the first one."""
        ...

    def ask(self, path: str, body: bytes) -> AbstractAsyncContextManager[Reply]:
        """POST a body to a route of OpenAI's dialect. Leaving the context stops the generation."""
        ...


class Engine(Protocol):
    """Something that wakes models of some formats."""

    name: str
    formats: frozenset[str]

    def awake(self, launch: Launch) -> AbstractAsyncContextManager[Awake]:
        """A child with the model in it, ready; gone when the context is left.

        Raises `EngineMissing`, `BadModelFile`, `OutOfMemory`, `EngineDied` or `WakeTimeout`.
        """
        ...


def installed() -> Mapping[str, Engine]:
    """Every engine we have, by name."""
    from domicile.engines.llama import Llama

    return {"llama": Llama()}
