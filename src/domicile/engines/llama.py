"""The llama engine: GGUF models in children that hold llama.cpp's server, from the xllamacpp wheel or as a program.

Knows what llama.cpp is asked, what its log and its counters say, and how to pass a request through. How a child is
started, watched and ended is `ward`; the child itself is `llama_child.py`, or `become_child.py` that turns into a
`llama-server`. Nothing here imports the binding.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from domicile import llama_flags, ward
from domicile.engines import Awake, Counts, Launch, Prompts, Reply
from domicile.errors import DomicileError, EngineMissing, EngineUnfit, ModelFileMissing
from domicile.llama_prompts import LlamaPrompts
from domicile.ward import Ward

CHILD = Path(__file__).with_name("llama_child.py")
BECOME = Path(__file__).with_name("become_child.py")
ENVIRONMENT = {
    # glibc keeps what the loader freed (up to 20 MiB on a file with large tensors) unless told to give it back.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 20),
}
"""On top of what every child gets: with it the memory is what was predicted (measured, bench/RESULTS.md)."""
_DECODED = re.compile(r"\beval time =\s*([\d.]+) ms /\s*(\d+) tokens")
_COUNTED = re.compile(r"^llamacpp:(\w+_total) ([\d.e+]+)$", re.MULTILINE)
_COUNT_S = 2.0
_ENOUGH_TOKENS = 16
NO_MEMORY = (
    "failed to allocate",
    "unable to allocate",
    "bad_alloc",
    "cannot allocate memory",
    "out of memory",
    "resource temporarily unavailable",
)


class Llama:
    """The engine of GGUF."""

    name = "llama"
    formats = frozenset({"gguf"})
    tasks: frozenset[str] = frozenset()

    def __init__(self, child: Path = CHILD) -> None:
        self._child = child

    @asynccontextmanager
    async def awake(self, launch: Launch) -> AsyncIterator[Awake]:
        """See `Engine.awake`."""

        if not launch.model.path.is_file():
            raise ModelFileMissing(name=launch.model.name, path=launch.model.path.name)
        program = launch.build is not None and launch.build.program is not None
        task = _of_program(launch) if program else _of_wheel(launch, self._child)
        async with ward.raised(task) as child:
            yield _Awake(child)


def _of_wheel(launch: Launch, program: Path) -> ward.Task:
    def missing(_: str) -> DomicileError:
        return EngineMissing(engine="llama", name=launch.model.name, hint=_install_hint())

    if importlib.util.find_spec("xllamacpp") is None:
        raise missing("xllamacpp")
    return _task(launch, program, asked_of(launch), missing)


def _of_program(launch: Launch) -> ward.Task:
    assert launch.build is not None
    assert launch.build.program is not None
    path = str(launch.build.program)

    def missing(_: str) -> DomicileError:
        return EngineUnfit(program=path, reason="not_there")

    if not launch.build.program.is_file():
        raise missing(path)
    told = llama_flags.told(path, launch.build.flags, asked_of(launch))
    asked = {
        "program": path,
        "arguments": told.words,
        "environment": told.environment,
        "files": told.files,
        "stacks": launch.plan.n_parallel + 12 + 2 * launch.threads,
    }
    return _task(launch, BECOME, asked, missing, ends_with_stdin=False)


def _task(
    launch: Launch,
    program: Path,
    asked: Mapping[str, Any],
    missing: Callable[[str], DomicileError],
    *,
    ends_with_stdin: bool = True,
) -> ward.Task:
    return ward.Task(
        launch.model.name,
        (sys.executable, "-P", str(program)),
        asked,
        launch.log,
        launch.deadline_s,
        launch.memory_bytes,
        missing,
        ENVIRONMENT,
        no_memory=NO_MEMORY,
        complaint=complaint,
        health="/health",
        ends_with_stdin=ends_with_stdin,
    )


def asked_of(launch: Launch) -> dict[str, Any]:
    """What a child that holds llama.cpp's server is asked."""
    return {
        "model": str(launch.model.path),
        "alias": launch.model.name,
        "plan": asdict(launch.plan),
        "threads": launch.threads,
        "template": launch.template,
        "states": str(launch.states) if launch.states else None,
        "embedding": launch.embedding,
        "ranking": launch.ranking,
        "adapters": [str(path) for path in launch.adapters],
    }


class _Awake:
    """See `Awake`."""

    def __init__(self, child: Ward) -> None:
        self._ward = child
        self.pid = child.pid
        self.gone = child.gone
        self.sealed = child.sealed
        self.prompts: Prompts | None = LlamaPrompts(child.told)

    def resident_bytes(self) -> int | None:
        """See `Awake.resident_bytes`."""
        return self._ward.resident_bytes()

    def tokens_per_second(self) -> float | None:
        """See `Awake.tokens_per_second`: read from the engine's log, so that no answer has to be looked into."""
        for milliseconds, tokens in reversed(_DECODED.findall(self._ward.tail().replace("prompt eval", ""))):
            if int(tokens) >= _ENOUGH_TOKENS and float(milliseconds) > 0:
                return 1000 * int(tokens) / float(milliseconds)
        return None

    async def counts(self) -> Counts | None:
        """See `Awake.counts`: the engine's own counters."""
        if self.gone.is_set():
            return None
        try:
            async with asyncio.timeout(_COUNT_S):
                _, said = await self._ward.told("GET", "/metrics")
        except (DomicileError, TimeoutError):
            return None
        found = {name: int(float(number)) for name, number in _COUNTED.findall(said.decode("utf-8", "replace"))}
        return Counts(found.get("prompt_tokens_total", 0), found.get("tokens_predicted_total", 0))

    async def why_gone(self) -> DomicileError:
        """See `Awake.why_gone`."""
        return await self._ward.why_gone()

    @asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        """See `Awake.ask`."""
        async with self._ward.ask("POST", path, body) as answer:
            yield Reply(answer.status, answer.content_type, answer.body)


def sweep() -> None:
    """Remove the sockets' folders of houses that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("domicile-*-*"):
        owner = folder.name.split("-")[1]
        with contextlib.suppress(OSError):
            if owner.isdigit() and not _alive(int(owner)) and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def complaint(tail: str) -> str | None:
    """The line in which llama.cpp says what is wrong with the file."""
    for line in tail.splitlines():
        for mark in ("error loading model: ", "gguf_init_from_file_ptr: ", "gguf_init_from_file_impl: "):
            if mark in line and " E " in line[:24]:
                return line.split(mark, 1)[1][:300]
    return None


def _install_hint() -> str:
    """How this very installation gets the engine, in the version it was tested with."""
    wheel = next(
        (r.split(";")[0].strip() for r in requires("domicile") or () if r.startswith("xllamacpp")), "xllamacpp"
    )
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx inject domicile {wheel}"
    if {"uv", "tools"} <= set(Path(sys.prefix).parts):
        return f"uv pip install --python {sys.executable} {wheel}"
    return f"{sys.executable} -m pip install {wheel}"
