"""How every child that holds a model is born and ends: cut off, told what to do, bound to the house.

A child reads one JSON line (what is asked of it) on stdin, writes one JSON line on stdout (`ready` with the address, or
`failed` and why), and ends when stdin ends: the house holds the other end, so that even a kill -9 of the house leaves
no orphan. Whatever a library prints is log.

Standard library only, and the lightest of it: the llama child is awake in a fraction of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domicile.seal import cut_off

STACK_BYTES = 8 << 20
"""The kernel counts the whole stack of a thread, of which a few pages are ever touched."""


class Bond:
    """The child's side of what it has with the house."""

    def __init__(self, stacks: Callable[[dict[str, Any]], int] = lambda _: 0, *, watch: bool = True) -> None:
        """Call it first, while there is one thread. `stacks`: threads whose whole stack is granted beside the memory
        that was asked; `watch`: end with stdin (a program that is about to become another cannot)."""
        self.sealed = cut_off()
        """How this child is kept from every network."""
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.asked: dict[str, Any] = json.loads(sys.stdin.readline())
        _tie_to(self.asked["house"])
        _bound(self.asked["memory_bytes"], stacks(self.asked))
        if watch:
            threading.Thread(target=_end_with_stdin, args=(self.asked["folder"],), daemon=True).start()

    def answer(self, **said: str) -> None:
        """The one line."""
        self._answers.write(json.dumps(said) + "\n")
        self._answers.flush()


def _tie_to(house: int) -> None:
    """Die with the house, by the kernel's hand where it can (Linux): a library may hold Python's lock for long."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != house:
        os._exit(1)
    with contextlib.suppress(OSError):  # when memory runs out, this child goes before the house
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")


def _bound(memory_bytes: int, stacks: int) -> None:
    """A ceiling on the memory of our own (not on mapped files), and no core files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        with contextlib.suppress(OSError, ValueError):
            ceiling = memory_bytes + stacks * STACK_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def _end_with_stdin(folder: str) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
