"""A child that holds a model: started, told what to do, watched, asked, and ended; and what it died of.

Knows how to start a program with a deadline, no inherited secret, and a private door (a Unix socket in a folder of its
own and a random key), and how to read from its exit and its log why it is gone. Knows no model, no engine, and no
dialect. How the program at the other end is born is `bond`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from domicile import child
from domicile.door import Answer, Door, DoorClosed
from domicile.errors import BadModelFile, DomicileError, EngineDied, OutOfMemory, WakeTimeout

LOG_LIMIT = 1 << 20
MARK = "--- wake ---"
_STOP_S = 2.0
_HEALTH_S = 0.02
_CRASHES = frozenset(
    number for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL") if (number := getattr(signal, name, None))
)
NO_MEMORY = ("cannot allocate memory", "can't allocate memory", "bad_alloc", "memoryerror", "out of memory")


@dataclass(frozen=True, slots=True)
class Task:
    """A child to start, and what it is asked."""

    name: str
    """The model's, for errors."""
    command: tuple[str, ...]
    asked: Mapping[str, Any]
    """As JSON; `address`, `folder`, `key` and `house` are added."""
    log: Path
    deadline_s: float
    memory_bytes: int
    missing: Callable[[str], DomicileError]
    """The error when the program lacks a library, given which."""
    environment: Mapping[str, str]
    """On top of what every child gets."""
    no_memory: tuple[str, ...] = NO_MEMORY
    """What its log says when memory ran out, in lower case."""
    complaint: Callable[[str], str | None] = lambda _: None
    """The line of its log that says what is wrong with the file; None where there is none."""
    health: str | None = None
    """A path that answers 200 once the model is loaded; None for a program that is `ready` then."""
    ends_with_stdin: bool = True
    """Whether closing its stdin ends it; else it is told to end (SIGTERM)."""


@asynccontextmanager
async def raised(task: Task) -> AsyncIterator[Ward]:
    """The child, ready; gone when the context is left.

    Raises `BadModelFile`, `OutOfMemory`, `EngineDied`, `WakeTimeout`, or what `missing` gives.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"domicile-{os.getpid()}-"))
    log = _open_log(task.log)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *task.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**child.environment(), **task.environment},
                cwd=folder,
                start_new_session=True,  # Ctrl-C in the terminal is for the house, which then closes its children
            )
        except OSError as trouble:
            raise task.missing(str(trouble)) from trouble
        ward = Ward(task, process, folder)
        try:
            await ward.come_up()
            yield ward
        finally:
            await ward.stop()
    finally:
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


class Ward:
    """One child and the private door to it. Made by `raised`."""

    def __init__(self, task: Task, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._task = task
        self._process = process
        self._folder = folder
        self._key = secrets.token_urlsafe(24)
        self._door: Door | None = None
        self._stopping = False
        self._kills = child.memory_kills()
        self.sealed: str | None = None
        """How the child is kept from every network (`seal.cut_off`)."""
        self.pid = process.pid
        self.gone = asyncio.Event()
        self._watch = asyncio.create_task(self._wait(), name=f"watch {task.name}")

    async def _wait(self) -> None:
        await self._process.wait()
        self.gone.set()

    async def come_up(self) -> None:
        """Load the model, or raise why it cannot be loaded."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._task.deadline_s):
                await self._send()
                line = await self._process.stdout.readline()
                if not line:
                    raise await self.why_gone(loading=True)
                said: dict[str, str] = json.loads(line)
                if "ready" not in said:
                    raise self._why_failed(said)
                self.sealed = said.get("sealed")
                self._door = Door(said["ready"], self._key)
                if self._task.health is not None:
                    await self._until_healthy(self._task.health)
        except TimeoutError as trouble:
            raise WakeTimeout(name=self._task.name, seconds=self._task.deadline_s) from trouble

    async def _send(self) -> None:
        asked = {
            **self._task.asked,
            "address": str(self._folder / "door.sock") if hasattr(os, "fork") else "127.0.0.1",
            "folder": str(self._folder),
            "key": self._key,
            "house": os.getpid(),
            "memory_bytes": self._task.memory_bytes,
        }
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it is gone already: its exit says why
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            await self._process.stdin.drain()

    async def _until_healthy(self, path: str) -> None:
        assert self._door is not None
        while True:
            with contextlib.suppress(DoorClosed):
                async with self._door.ask("GET", path) as answer:
                    if answer.status == 200:
                        return
            if self.gone.is_set():
                raise await self.why_gone(loading=True)
            await asyncio.sleep(_HEALTH_S)

    def resident_bytes(self) -> int | None:
        """Its resident memory now; None where it cannot be read."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    @asynccontextmanager
    async def ask(self, method: str, path: str, body: bytes = b"") -> AsyncIterator[Answer]:
        """One request. Leaving the context stops its work. Raises what the child died of."""
        assert self._door is not None
        try:
            async with self._door.ask(method, path, body) as answer:
                yield Answer(answer.status, answer.content_type, self._body(answer))
        except DoorClosed as trouble:
            raise await self.why_gone() from trouble

    async def _body(self, answer: Answer) -> AsyncIterator[bytes]:
        try:
            async for chunk in answer.body:
                yield chunk
        except DoorClosed as trouble:
            raise await self.why_gone() from trouble

    async def told(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """A short question: status and the whole answer."""
        async with self.ask(method, path, body) as answer:
            return answer.status, b"".join([chunk async for chunk in answer.body])

    async def why_gone(self, *, loading: bool = False) -> DomicileError:
        """The child ended by itself: its exit status and the end of its log say of what."""
        name = self._task.name
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.gone.wait()
        status = self._process.returncode
        if self._stopping:
            return EngineDied(name=name, reason="stopped")
        tail = self.tail()
        if self._no_memory_in(tail):
            return OutOfMemory(name=name, limit=self._task.memory_bytes)
        if status == -signal.SIGKILL and (child.memory_kills() or 0) > (self._kills or 0):
            return OutOfMemory(name=name, limit=self._task.memory_bytes, reason="killed")
        if status is not None and status < 0:
            how = signal.Signals(-status).name
            if loading and -status in _CRASHES:
                return BadModelFile(name=name, reason="crash", problem=how)
            return EngineDied(name=name, reason="killed" if how in {"SIGKILL", "SIGTERM"} else "signal", how=how)
        if loading and (problem := self._task.complaint(tail)):
            return BadModelFile(name=name, reason="load", problem=problem)
        return EngineDied(name=name, reason="ended", how=str(status))

    def _why_failed(self, said: Mapping[str, str]) -> DomicileError:
        """The child said that it could not load."""
        name, problem, tail = self._task.name, said.get("problem", "?"), self.tail()
        if said.get("failed") == "missing":
            return self._task.missing(problem)
        if said.get("failed") == "memory" or self._no_memory_in(tail):
            return OutOfMemory(name=name, limit=self._task.memory_bytes)
        return BadModelFile(name=name, reason="load", problem=self._task.complaint(tail) or problem)

    def _no_memory_in(self, tail: str) -> bool:
        return any(mark in tail.lower() for mark in self._task.no_memory)

    def tail(self, limit: int = 16384) -> str:
        """The end of the log, of this waking alone."""
        with self._task.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - limit))
            return log.read().decode("utf-8", "replace").rpartition(MARK)[2]

    async def stop(self) -> None:
        """Close the child's stdin, which ends it, or tell it to end; kill it when it does not."""
        self._stopping = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self._task.ends_with_stdin:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await self.gone.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.gone.wait()
        await self._watch


def _open_log(path: Path) -> IO[bytes]:
    """Append to the model's log; what is older than the last megabyte is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > LOG_LIMIT:
        with path.open("rb") as old:
            old.seek(-LOG_LIMIT // 2, os.SEEK_END)
            kept = old.read()
        path.write_bytes(kept)
    log = path.open("ab")
    log.write(f"\n{MARK}\n".encode())
    log.flush()
    return log
