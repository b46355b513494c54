"""The life of a Python child: cut off, bound to the house, loaded, then serving until the house lets go of it.

Every child program of an extra's environment is `main() -> live(load)`: it reads one JSON line (what is asked of it) on
stdin, writes one JSON line on stdout (`ready` with the address, or `failed` and why), and ends when stdin ends: the
house holds the other end, so that even a kill -9 of the house leaves no orphan. Whatever a library prints is log.

Runs with the extra's Python: standard library only, and of ours only what stands beside it at the bottom.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domicile.child_http import Handler, out_of_memory, serve
from domicile.seal import cut_off

Load = Callable[[dict[str, Any]], dict[str, Handler]]
"""Given what is asked (`model`, `folder`, `threads`, `plan` ...), the routes: `POST /v1/...` and who answers."""


class UnfitError(Exception):
    """Raised by a child program: this model is refused, and why, in a line."""


def live(load: Load) -> None:
    """The whole life. Never returns."""
    sealed = cut_off()  # first: threads and the bond to the house come after
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    _tie_to(asked["house"])
    _bound(asked["memory_bytes"])
    threading.Thread(target=_end_with_stdin, args=(asked["folder"],), daemon=True).start()

    def answer(**said: str) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    try:
        routes = load(asked)
    except ImportError as trouble:
        traceback.print_exc()
        answer(failed="missing", problem=str(trouble))
    except UnfitError as trouble:
        answer(failed="load", problem=str(trouble))
    except BaseException as trouble:  # noqa: BLE001 - a library may raise anything; the log has its trace
        traceback.print_exc()
        answer(
            failed="memory" if out_of_memory(trouble) else "load", problem=f"{type(trouble).__name__}: {trouble}"[:300]
        )
    else:
        asyncio.run(serve(asked["address"], asked["key"], routes, lambda at: answer(ready=at, sealed=sealed)))
    sys.stderr.flush()
    os._exit(5)


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


def _bound(memory_bytes: int) -> None:
    """A ceiling on the memory of our own (not on mapped files), and no core files."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _end_with_stdin(folder: str) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
