"""The llama engine: GGUF models in children that hold llama.cpp's server (the xllamacpp wheel).

Knows how to start a child with a deadline, no inherited secret, a memory ceiling and a private door (a Unix socket
in a folder of its own and a random key), how to read why one died, and how to pass a request through. The child
itself is `llama_child.py`. Nothing here imports the binding.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import requires
from pathlib import Path
from typing import IO

import psutil

from domicile import child
from domicile.door import Answer, Door, DoorClosed
from domicile.engines import Awake, Counts, Launch, Prompts, Reply
from domicile.errors import (
    BadModelFile,
    DomicileError,
    EngineDied,
    EngineMissing,
    ModelFileMissing,
    OutOfMemory,
    WakeTimeout,
)
from domicile.llama_prompts import LlamaPrompts

CHILD = Path(__file__).with_name("llama_child.py")
LOG_LIMIT = 1 << 20
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
_STOP_S = 2.0
_NO_MEMORY = (
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
        if importlib.util.find_spec("xllamacpp") is None:
            raise EngineMissing(engine="llama", name=launch.model.name, hint=_install_hint())
        if not launch.model.path.is_file():
            raise ModelFileMissing(name=launch.model.name, path=launch.model.path.name)
        folder = Path(tempfile.mkdtemp(prefix=f"domicile-{os.getpid()}-"))
        log = _open_log(launch.log)
        try:
            process = await _spawn(self._child, folder, log)
            awake = _Child(launch, process, folder)
            try:
                await awake.come_up()
                yield awake
            finally:
                await awake.stop()
        finally:
            log.close()
            shutil.rmtree(folder, ignore_errors=True)


async def _spawn(program: Path, folder: Path, log: IO[bytes]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env=child.environment() | ENVIRONMENT,
        cwd=folder,
        start_new_session=True,  # Ctrl-C in the terminal is for the house, which then closes its children
    )


class _Child:
    """One child and the private door to it."""

    def __init__(self, launch: Launch, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._launch = launch
        self._process = process
        self._folder = folder
        self._key = secrets.token_urlsafe(24)
        self._door: Door | None = None
        self._stopping = False
        self.sealed: str | None = None
        """How the child is kept from every network (`seal.cut_off`)."""
        self.prompts: Prompts | None = None
        self._kills = child.memory_kills()
        self.pid = process.pid
        self.gone = asyncio.Event()
        self._watch = asyncio.create_task(self._wait(), name=f"watch {launch.model.name}")

    async def _wait(self) -> None:
        await self._process.wait()
        self.gone.set()

    async def come_up(self) -> None:
        """Load the model, or raise why it cannot be loaded."""
        name = self._launch.model.name
        try:
            async with asyncio.timeout(self._launch.deadline_s):
                await self._send_parameters()
                line = await self._read_answer()
                if line is None:
                    raise await self._why_gone(loading=True)
                if "ready" not in line:
                    raise self._why_failed(line)
                self.sealed = line.get("sealed")
                self._door = Door(line["ready"], self._key)
                await self._until_healthy()
                self.prompts = LlamaPrompts(self._told)
        except TimeoutError as trouble:
            raise WakeTimeout(name=name, seconds=self._launch.deadline_s) from trouble

    async def _send_parameters(self) -> None:
        asked = {
            "model": str(self._launch.model.path),
            "alias": self._launch.model.name,
            "address": str(self._folder / "door.sock") if hasattr(os, "fork") else "127.0.0.1",
            "folder": str(self._folder),
            "key": self._key,
            "house": os.getpid(),
            "plan": asdict(self._launch.plan),
            "threads": self._launch.threads,
            "memory_bytes": self._launch.memory_bytes,
            "template": self._launch.template,
            "states": str(self._launch.states) if self._launch.states else None,
            "embedding": self._launch.embedding,
            "ranking": self._launch.ranking,
            "adapters": [str(path) for path in self._launch.adapters],
        }
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it is gone already: its exit says why
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            await self._process.stdin.drain()

    async def _read_answer(self) -> dict[str, str] | None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            return None
        answer: dict[str, str] = json.loads(line)
        return answer

    async def _until_healthy(self) -> None:
        assert self._door is not None
        while True:
            with contextlib.suppress(DoorClosed):
                async with self._door.ask("GET", "/health") as answer:
                    if answer.status == 200:
                        return
            if self.gone.is_set():
                raise await self._why_gone(loading=True)
            await asyncio.sleep(0.02)

    def resident_bytes(self) -> int | None:
        """See `Awake.resident_bytes`."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    def tokens_per_second(self) -> float | None:
        """See `Awake.tokens_per_second`: read from the engine's log, so that no answer has to be looked into."""
        for milliseconds, tokens in reversed(_DECODED.findall(_tail(self._launch.log).replace("prompt eval", ""))):
            if int(tokens) >= _ENOUGH_TOKENS and float(milliseconds) > 0:
                return 1000 * int(tokens) / float(milliseconds)
        return None

    async def counts(self) -> Counts | None:
        """See `Awake.counts`: the engine's own counters."""
        if self._door is None or self.gone.is_set():
            return None
        try:
            async with asyncio.timeout(_COUNT_S), self._door.ask("GET", "/metrics") as answer:
                text = b"".join([chunk async for chunk in answer.body]).decode("utf-8", "replace")
        except (DoorClosed, TimeoutError):
            return None
        found = {name: int(float(number)) for name, number in _COUNTED.findall(text)}
        return Counts(found.get("prompt_tokens_total", 0), found.get("tokens_predicted_total", 0))

    async def why_gone(self) -> DomicileError:
        """See `Awake.why_gone`."""
        return await self._why_gone(loading=False)

    @asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        """See `Awake.ask`."""
        assert self._door is not None
        try:
            async with self._door.ask("POST", path, body) as answer:
                yield Reply(answer.status, answer.content_type, self._body(answer))
        except DoorClosed as trouble:
            raise await self._why_gone(loading=False) from trouble

    async def _told(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """A short question to the server itself: status and the whole answer."""
        assert self._door is not None
        try:
            async with self._door.ask(method, path, body) as answer:
                return answer.status, b"".join([chunk async for chunk in answer.body])
        except DoorClosed as trouble:
            raise await self._why_gone(loading=False) from trouble

    async def _body(self, answer: Answer) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.body:
                yield chunk
        except DoorClosed as trouble:
            raise await self._why_gone(loading=False) from trouble

    async def _why_gone(self, *, loading: bool) -> DomicileError:
        """The child ended by itself: read its exit status and the end of its log."""
        name = self._launch.model.name
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.gone.wait()
        status = self._process.returncode
        if self._stopping:
            return EngineDied(name=name, reason="stopped")
        tail = _tail(self._launch.log)
        if any(mark in tail.lower() for mark in _NO_MEMORY):
            return OutOfMemory(name=name, limit=self._launch.memory_bytes)
        if status == -signal.SIGKILL and (child.memory_kills() or 0) > (self._kills or 0):
            return OutOfMemory(name=name, limit=self._launch.memory_bytes, reason="killed")
        if status is not None and status < 0:
            how = signal.Signals(-status).name
            if loading and -status in {
                signal.SIGSEGV,
                signal.SIGABRT,
                signal.SIGBUS,
                signal.SIGFPE,
                signal.SIGILL,
            }:
                return BadModelFile(name=name, reason="crash", problem=how)
            return EngineDied(name=name, reason="killed" if how in {"SIGKILL", "SIGTERM"} else "signal", how=how)
        return EngineDied(name=name, reason="ended", how=str(status))

    def _why_failed(self, answer: dict[str, str]) -> DomicileError:
        """The child said that it could not load."""
        name, tail = self._launch.model.name, _tail(self._launch.log)
        if answer.get("failed") == "missing":
            return EngineMissing(engine="llama", name=name, hint=_install_hint())
        if answer.get("failed") == "memory" or any(mark in tail.lower() for mark in _NO_MEMORY):
            return OutOfMemory(name=name, limit=self._launch.memory_bytes)
        return BadModelFile(name=name, reason="load", problem=_complaint(tail) or answer.get("problem", "?"))

    async def stop(self) -> None:
        """Close the child's stdin, which ends it; kill it when it does not end."""
        self._stopping = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await self.gone.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.gone.wait()
        await self._watch


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


def _open_log(path: Path) -> IO[bytes]:
    """Append to the model's log; what is older than the last megabyte is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > LOG_LIMIT:
        with path.open("rb") as old:
            old.seek(-LOG_LIMIT // 2, os.SEEK_END)
            kept = old.read()
        path.write_bytes(kept)
    log = path.open("ab")
    log.write(b"\n--- wake ---\n")
    log.flush()
    return log


def _tail(path: Path, limit: int = 16384) -> str:
    """The log of the last waking."""
    with path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - limit))
        return log.read().decode("utf-8", "replace").rpartition("--- wake ---")[2]


def _complaint(tail: str) -> str | None:
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
