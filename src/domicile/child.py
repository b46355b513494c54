"""A short program of ours run apart: it may crash, hang or eat memory, and the house goes on.

Knows how to start a module of this package with a deadline, an environment without secrets and an end to its
talk; and how a child puts a ceiling on its own memory. Knows nothing of what children do. (The engines that
stay awake are not started here: they have doors and lives of their own.)
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio
import anyio.abc

_OUTPUT_LIMIT = 2**20
_KEPT = frozenset(
    {
        *("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TMP", "TEMP", "TMPDIR"),
        *(
            "PYTHONPATH",
            "PYTHONHOME",
            "VIRTUAL_ENV",
            "LD_LIBRARY_PATH",
            "DYLD_LIBRARY_PATH",
            "XDG_RUNTIME_DIR",
        ),
        *("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
        *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"),
        *("OMP_NUM_THREADS", "GOMP_CPU_AFFINITY"),
    }
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. `status` is what the system says of it (negative: killed by that signal)."""

    how: Literal["itself", "enough", "quiet", "deadline", "not_started"]
    status: int | None
    output: str
    """The last of what it said on both channels, at most 1 MiB."""


def others_run() -> bool:
    """Do other programs want a processor now? A look of ten milliseconds; True where it cannot be seen."""
    ready = 0
    for _ in range(_LOOKS):
        time.sleep(0.002)
        try:
            said = Path("/proc/stat").read_text("ascii")
            ready += int(said.partition("procs_running ")[2].split("\n", 1)[0]) - 1  # one of them looks
        except (OSError, ValueError):
            return True
    return ready > _LOOKS // 2


_LOOKS = 5


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a child gets to know: where programs and devices are. Tokens and keys stay in the house."""
    kept = {name: value for name, value in environ.items() if name.upper() in _KEPT}
    # Threads that wait for each other spin, and then sleep: who spins for long is many times slower beside busy
    # programs, who sleeps at once is 2 to 3.5 times slower on a quiet machine (docs/why.md). libgomp reads the number,
    # other runtimes the policy. The engine otherwise starts a debugger on its own corpse.
    waits = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000" if others_run() else "300000"}
    return kept | waits | {"GGML_NO_BACKTRACE": "1", "PYTHONIOENCODING": "utf-8"}


async def run(
    module: str,
    arguments: Sequence[str],
    *,
    deadline_s: float,
    quiet_s: float = math.inf,
    enough: Callable[[bytes], bool] | None = None,
    given: bytes = b"",
) -> Ended:
    """Run `python -m module arguments` to its end, or kill it: at the deadline, once what it said is
    `enough`, or after `quiet_s` without a word (from its first word on: a busy machine may take seconds to
    start it). `given` is what it reads on its standard input. Always reaped; never raises for what the child does."""
    said = bytearray()
    try:
        process = await anyio.open_process(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
    except OSError as trouble:
        return Ended("not_started", None, str(trouble))
    how: Literal["itself", "enough", "quiet", "deadline"] = "deadline"
    try:
        with anyio.move_on_after(deadline_s):
            if process.stdin is not None:
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await process.stdin.send(given)
                    await process.stdin.aclose()
            how = await _listen(process, said, quiet_s, enough)
            if how == "itself":
                await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()
    return Ended(how, process.returncode, said.decode("utf-8", "replace"))


async def _listen(
    process: anyio.abc.Process, said: bytearray, quiet_s: float, enough: Callable[[bytes], bool] | None
) -> Literal["itself", "enough", "quiet"]:
    assert process.stdout is not None
    while True:
        piece = None
        with anyio.move_on_after(quiet_s if said else math.inf):
            try:
                piece = await process.stdout.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return "itself"
        if piece is None:
            return "quiet"
        said += piece
        del said[:-_OUTPUT_LIMIT]
        if enough is not None and enough(bytes(said)):
            return "enough"


def memory_kills(root: Path = Path("/")) -> int | None:
    """How often the system has killed a program for want of memory, here or in our own group; None where it does not
    say. One more since a child was started, and the child killed: that is what it died of."""
    found = []
    for pattern in ("proc/vmstat", "sys/fs/cgroup/memory.events", "sys/fs/cgroup/memory/memory.oom_control"):
        try:
            text = (root / pattern).read_text("ascii", "replace")
        except OSError:
            continue
        found += [int(count) for count in re.findall(r"^oom_kill (\d{1,18})$", text, re.MULTILINE)]
    return sum(found) if found else None


def limit_memory(size_bytes: int) -> bool:
    """Called by a child on itself: no more address space than this. False where the system has no such limit
    (Windows; macOS accepts it and does not enforce it)."""
    limited = False
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            limited = True
    return limited
