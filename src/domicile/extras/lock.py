"""What the lock file of an extra says: its pins, and in its header what it costs and how to tell that it works.

The header is lines `# extra.<key>: <value>`, written by `tools/lock`; the costs in it were measured by installing it
(`python -m tools.extras measure`) on Linux with CPython 3.11 and are said to be about that elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path(__file__).parents[1] / "engines" / "locks"
TOOL_LOCKS = LOCKS / "tools"
"""What engines are compiled with, each in an environment of its own too."""
SOURCE = "llama.source"
"""In there: the source of llama.cpp, pinned (a requirement with its digest)."""
TORCH = "torch.txt"
"""The pin of torch, apart: which of its builds is taken depends on the machine."""
CUDA = "cuda.txt"
"""What torch needs beside an NVIDIA card, and nowhere else."""
_HEADER = re.compile(r"^# extra\.(\w+): (.*)$", re.MULTILINE)
_PIN = re.compile(r"^([a-zA-Z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file."""

    name: str
    path: Path
    digest: str
    """sha256 of everything that decides what is installed."""
    pins: Mapping[str, str]
    about: tuple[str, ...]
    """The packages a person knows it by."""
    check: str
    """Python that must run in its environment."""
    torch: bool
    download_bytes: int
    disk_bytes: int
    seconds: int
    """How long it took over a line of 100 Mbit/s, about."""


def every(folder: Path = LOCKS) -> Sequence[Lock]:
    """All extras, by name."""
    return [read(path) for path in sorted(folder.glob("*.txt")) if path.name not in {TORCH, CUDA}]


def read(path: Path) -> Lock:
    text = path.read_text("utf-8")
    said = dict(_HEADER.findall(text))
    torch = said.get("torch") == "yes"
    whole = text + ((path.parent / TORCH).read_text("utf-8") if torch else "")
    pins = "\n".join(line for line in whole.splitlines() if not line.startswith("#"))
    return Lock(
        name=path.stem,
        path=path,
        digest=hashlib.sha256(pins.encode()).hexdigest(),
        pins=dict(_PIN.findall(whole)),
        about=tuple(said.get("about", path.stem).split()),
        check=said["check"],
        torch=torch,
        download_bytes=int(said["download_bytes"]),
        disk_bytes=int(said["disk_bytes"]),
        seconds=int(said.get("seconds", "0")),
    )
