"""The one seam between the probes and the machine: a folder to read and a way to run the system's own tools.

Knows how to read a small file, how to run a command with a deadline, and how to read a number out of doubtful
text. Knows nothing of processors or memory. Its fake is a folder of recorded files and a table of recorded
answers.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from domicile.types import Gpu, GpuLoad, Reason

System = Literal["linux", "macos", "windows"]
_FILE_LIMIT = 2**22
_OUTPUT_LIMIT = 2**22


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered. `text` is None when it did not, and then `trouble` is a word for it."""

    text: str | None
    trouble: Literal["", "missing", "failed", "too_slow"] = ""


Runner = Callable[[Sequence[str], float], Said]


def run_command(command: Sequence[str], timeout_s: float) -> Said:
    """Run one of the system's own tools, in English, with nothing to read and a deadline."""
    environment = {name: value for name, value in os.environ.items() if name not in {"HF_TOKEN", "DOMICILE_API_KEY"}}
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=environment | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        return Said(None, "missing")
    except subprocess.TimeoutExpired:
        return Said(None, "too_slow")
    except (OSError, ValueError):
        return Said(None, "failed")
    if done.returncode != 0:
        return Said(None, "failed")
    return Said(done.stdout[:_OUTPUT_LIMIT].decode("utf-8", "replace"))


def _this_system() -> System:
    return "macos" if sys.platform == "darwin" else "windows" if sys.platform == "win32" else "linux"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to look at. The default is this one."""

    root: Path = Path("/")
    run: Runner = run_command
    system: System = field(default_factory=_this_system)
    arch: str = field(default_factory=platform.machine)
    release: str = field(default_factory=platform.release)
    here: bool = True
    """Whether it is the one this process runs on, so that calls (affinity, psutil) may be asked too."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def read(self, path: str) -> str | None:
        """A small file's text without its last newline; None when it cannot be read."""
        try:
            with (self.root / path).open("rb") as file:
                return file.read(_FILE_LIMIT).decode("utf-8", "replace").rstrip("\n\0")
        except (OSError, ValueError):
            return None

    def whole(self, path: str) -> int | None:
        """A file that holds one number."""
        return whole(self.read(path))

    def find(self, pattern: str) -> list[Path]:
        """Paths below the root that match, in the order people count."""
        try:
            return sorted(self.root.glob(pattern), key=_natural)
        except (OSError, ValueError):
            return []

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]{1,9})", str(path))]


@dataclass(frozen=True, slots=True)
class Found:
    """What one probe has to say: fields of `Hardware` by their names, with where each was read; what is
    unknown."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, Reason] = field(default_factory=dict)
    gpus: tuple[Gpu, ...] = ()
    unknown: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundLoad:
    """What one probe sees happening now."""

    gpus: tuple[GpuLoad, ...] = ()


def where(path: str) -> Reason:
    """Read in that file, call or command."""
    return Reason("why.read", {"where": path})


def gaps(source: str, facts: Mapping[str, object]) -> tuple[Reason, ...]:
    """One reason for each fact that is None or empty: its name is the key."""
    return tuple(
        Reason(f"unknown.{name}", {"where": source}) for name, value in facts.items() if value is None or value == ()
    )


def whole(text: object) -> int | None:
    """The whole number that this text is; None when it is anything else (garbage, negative, absurdly
    long)."""
    said = str(text).strip() if text is not None else ""
    return int(said) if re.fullmatch(r"[0-9]{1,18}", said, re.ASCII) else None


def real(text: object) -> float | None:
    """The number that this text is; None for `N/A`, `[Not Supported]` and everything else."""
    said = str(text).strip() if text is not None else ""
    return float(said) if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", said, re.ASCII) else None


def clean(text: str | None) -> str | None:
    """A name fit to show: printable, one space between words, 120 characters; None when nothing is left."""
    if text is None:
        return None
    shown = " ".join("".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split())[:120]
    return shown or None


def pci_name(machine: Machine, vendor: str, device: str, revision: str | None = None) -> str | None:
    """A card's name by its numbers (hexadecimal, without 0x), from the lists a system keeps."""
    if vendor == "1002" and revision is not None:
        for line in (machine.read("usr/share/libdrm/amdgpu.ids") or "").splitlines():
            parts = [part.strip() for part in line.split(",", 2)]
            if len(parts) == 3 and parts[0].lower() == device and parts[1].lower() == revision:
                return clean(parts[2])
    for path in ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids"):
        inside = False
        for line in (machine.read(path) or "").splitlines():
            if line and line[0] not in "#\t":
                inside = line[:4].lower() == vendor
            elif inside and line.startswith(f"\t{device}"):
                name = line[5:].strip()
                inner = re.search(r"\[(.+)\]", name)
                return clean(inner[1] if inner else name)
    return None
