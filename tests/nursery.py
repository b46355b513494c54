"""`domicile` as a process of its own, without the second that importing it takes: forked from one that has.

A test's command is as real as one that is typed: its own process, environment, folder, pipes, signals and exit status.
Only its modules are there already, so nothing of this may show what a command imports (that is `test_light.py`'s).

    run("list", "--json").stdout               a command, to its end
    start("serve", "--json", "--port", "0")    one that goes on
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

COMMAND = (sys.executable, "-m", "domicile")
_APART = ("_child", ".__main__", ".textgen", ".hearing", ".drawing", ".encoding")
"""What only the children of a house import."""


class Process:
    """What of `subprocess.Popen` a test needs. Text is UTF-8."""

    def __init__(self, pid: int, ends: IO[str], stdin: IO[str] | None, stdout: IO[str], stderr: IO[str] | None) -> None:
        self.pid, self._ends = pid, ends
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended: its status, or minus the signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ends], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(COMMAND, timeout or 0)
            self.returncode = int(self._ends.readline())
            self._ends.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Everything it says until it ends."""
        end = None if timeout is None else time.monotonic() + timeout
        heard = ["", ""]

        def read(which: int, pipe: IO[str] | None) -> None:
            if pipe is not None:
                heard[which] = pipe.read()

        readers = [threading.Thread(target=read, args=at, daemon=True) for at in enumerate((self.stdout, self.stderr))]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(given or "")
                self.stdin.close()
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(COMMAND, timeout or 0)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        self.close()
        return heard[0], heard[1]

    def close(self) -> None:
        """Let go of its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def start(
    *words: str,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bool = False,
    stderr: bool = False,
) -> Process:
    """Type a command, and do not wait. `stdin`, `stderr`: have a pipe there too; else nothing is said to it, and what
    it complains of is seen among the test's own."""
    out, err, into = os.pipe(), os.pipe() if stderr else None, os.pipe() if stdin else None
    ends = os.pipe()
    silence = os.open(os.devnull, os.O_RDONLY)
    said = {"words": words, "env": dict(os.environ) if env is None else env, "cwd": str(cwd or Path.cwd())}
    given = [into[0] if into else silence, out[1], err[1] if err else 2, ends[1]]
    socket.send_fds(_mother(), [json.dumps(said).encode()], given)
    for theirs in {silence, *given} - {2}:
        os.close(theirs)
    told = os.fdopen(ends[0], "r", 1, encoding="ascii")
    return Process(
        int(told.readline()),
        told,
        os.fdopen(into[1], "w", encoding="utf-8") if into else None,
        os.fdopen(out[0], "r", encoding="utf-8", newline=""),
        os.fdopen(err[0], "r", encoding="utf-8", newline="") if err else None,
    )


def run(
    *words: str,
    given: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 100,
) -> subprocess.CompletedProcess[str]:
    """Type a command, and wait for its end."""
    process = start(*words, env=env, cwd=cwd, stdin=given is not None, stderr=True)
    try:
        out, err = process.communicate(given, timeout)
    except BaseException:
        process.kill()
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess([*COMMAND, *words], process.returncode, out, err)


@cache
def _mother() -> socket.socket:
    """The process that has imported everything; one for each worker of the tests, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_", "COV_"))}
    mother = subprocess.Popen(
        [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env=clean,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        mother.wait(10)

    atexit.register(end)
    return ours


@contextmanager
def serving(*words: str, env: dict[str, str] | None = None) -> Iterator[tuple[Process, dict[str, str]]]:
    """`domicile serve`, and what it says once it is open (`url`, `first_code` ...). Closed when the context is left."""
    process = start("serve", "--json", "--port", "0", *words, env=env)
    try:
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the house did not open"
            told += line
        yield process, json.loads(told)
    finally:
        process.terminate()
        process.wait(15)
        process.close()


# -- in the process that forks --


def _forks(door: socket.socket) -> None:
    """Fork a command for each that is asked, tell how each ends. Returns in no child."""
    running: dict[int, tuple[int, int]] = {}  # by pidfd: pid, where to tell
    with selectors.DefaultSelector() as awaited:
        awaited.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in awaited.select():
                if key.fileobj is not door:
                    pid, ends = running.pop(key.fd)
                    awaited.unregister(key.fd)
                    _tell(ends, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(ends)
                    os.close(key.fd)
                    continue
                asked, given, _, _ = socket.recv_fds(door, 1 << 20, 4)
                if not asked:
                    for pid, _ in running.values():
                        os.kill(pid, signal.SIGKILL)
                    return
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(asked), given[:3])
                _tell(given[3], pid)
                for theirs in given[:3]:
                    os.close(theirs)
                watched = os.pidfd_open(pid)
                running[watched] = (pid, given[3])
                awaited.register(watched, selectors.EVENT_READ)


def _tell(ends: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(ends, b"%d\n" % number)


def _become(asked: dict[str, object], pipes: list[int]) -> NoReturn:
    """The child: what a fresh interpreter would have, and then the command."""
    for ours, given in enumerate(pipes):
        os.dup2(given, ours)
    os.closerange(3, 1024)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    os.chdir(str(asked["cwd"]))
    tempfile.tempdir = None
    sys.argv = [str(Path(sys.modules["domicile"].__path__[0]) / "__main__.py"), *asked["words"]]  # type: ignore[misc]
    gc.enable()
    status = 1
    try:
        from domicile.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        status = 130
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _import_everything() -> None:
    import domicile

    def ignored(_: str) -> None:
        return

    for module in pkgutil.walk_packages(domicile.__path__, "domicile.", onerror=ignored):
        if not any(part in module.name for part in _APART):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(fileno=int(sys.argv[1])) as door:
        _import_everything()
        gc.collect()
        gc.freeze()
        assert threading.active_count() == 1
        _forks(door)
