"""Extras: the engines that are not in the light core, each in an environment of its own.

An extra is a lock file of `engines/locks/` (every package pinned, with digests) and the folder it is installed in,
`engines/<extra>` of the house. Knows which there are, what they cost before they are installed, whether one is whole,
old or broken, and how to take one away; `install` puts one there. Knows no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domicile.config import Settings
from domicile.egress import Egress
from domicile.engines.pychild import NOTE, interpreter
from domicile.errors import ExtraNotFound, InstallFailed, Offline
from domicile.extras.lock import LOCKS, Lock, every
from domicile.jobs import Progress

State = Literal["missing", "installed", "old", "broken"]


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra, as it stands."""

    name: str
    lock: Lock
    state: State
    note: Mapping[str, Any]
    """What was noted of the installation; empty where there is none."""
    gpu: bool
    """Whether the libraries for an NVIDIA card come with it here: there is one, or the person wants them."""

    def public(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "packages": {name: self.lock.pins[name] for name in self.lock.about if name in self.lock.pins},
            "download_bytes": self.lock.download_bytes,
            "disk_bytes": self.lock.disk_bytes,
            "seconds": self.lock.seconds,
            "build": "cuda" if self.gpu and self.lock.torch else "cpu",
            "installed": {k: self.note[k] for k in ("at", "disk_bytes", "seconds", "python", "build") if k in self.note}
            or None,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `domicile engine doctor`: the key of its sentence, whether it is well, and the facts."""

    key: str
    well: bool
    facts: Mapping[str, object]


class Extras:
    """One for a house. `locks` is where lock files are; another folder than ours in tests."""

    def __init__(self, settings: Settings, egress: Egress, locks: Path = LOCKS) -> None:
        self._settings = settings
        self._egress = egress
        self._locks = locks
        self.folder = settings.engines
        self.torch_index = settings.torch_index
        """An index for torch beside pip's own."""
        self.torch_build = settings.torch_build

    def list(self) -> Sequence[Extra]:
        """Every extra, by name."""
        return [self._as_it_stands(lock) for lock in every(self._locks)]

    def get(self, name: str) -> Extra:
        """One extra. Raises `ExtraNotFound`."""
        extras = self.list()
        found = next((extra for extra in extras if extra.name == name.strip().lower()), None)
        if found is None:
            raise ExtraNotFound(name=name[:100], there=", ".join(extra.name for extra in extras))
        return found

    def _as_it_stands(self, lock: Lock) -> Extra:
        place = self.folder / lock.name
        note: Mapping[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            said = json.loads((place / NOTE).read_text("utf-8"))
            note = said if isinstance(said, dict) else {}
        state: State = "missing"
        if place.exists():
            state = "installed" if note.get("lock") == lock.digest else "old"
            if not note or not interpreter(place).is_file():
                state = "broken"
        gpu = has_nvidia() if self.torch_build == "auto" else self.torch_build == "cuda"
        return Extra(lock.name, lock, state, note, gpu)

    async def add(self, name: str, progress: Progress, job: str | None = None) -> dict[str, Any]:
        """Install an extra, or bring it up to its lock. What stands there stays until the new one has passed its self
        check. Raises `NoRoom`, `Offline`, `InstallFailed`."""
        from domicile.extras.install import Install

        extra = self.get(name)
        if extra.state == "installed":
            return {"name": extra.name, "state": "installed", "already": True, **extra.note}
        if self._egress.offline and not self._settings.wheels:
            raise Offline(host="pip", purpose="engine", reason="engine", name=extra.name)
        progress.step("engine_prepare")
        await progress.reserve(extra.lock.disk_bytes + extra.lock.download_bytes, place=self.folder)
        log = self.log_of(extra.name)
        install = Install(extra, self._settings, self._egress, progress, log, self.torch_index)
        note = await install.run()
        return {"name": extra.name, "state": "installed", **note}

    async def remove(self, name: str) -> int:
        """Take an extra away. Returns the bytes freed."""
        extra = self.get(name)
        gone = 0
        for place in (self.folder / extra.name, *leftovers(self.folder, extra.name)):
            gone += await asyncio.to_thread(erase, place)
        return gone

    async def doctor(self, name: str) -> Sequence[Finding]:
        """What is well with an extra and what is not: its environment, its lock, and its own check, run for real."""
        from domicile.extras.install import checked

        extra = self.get(name)
        place = self.folder / extra.name
        facts = {"name": extra.name}
        found = [Finding(f"engine_{extra.state}", extra.state == "installed", facts)]
        if extra.state in {"installed", "old"}:
            try:
                said = await checked(place, extra.lock)
                found.append(Finding("engine_check", True, {**facts, "said": said}))
            except InstallFailed as trouble:
                found.append(
                    Finding("engine_check_failed", False, {**facts, "said": trouble.facts.get("problem", "?")})
                )
        left = leftovers(self.folder, extra.name)
        if left:
            size = await asyncio.to_thread(lambda: sum(size_of(place) for place in left))
            found.append(Finding("engine_leftovers", False, {**facts, "size": size}))
        return found

    def log_of(self, name: str) -> Path:
        """Where an installation is told."""
        return self._settings.logs / f"engine-{name}.log"


def has_nvidia() -> bool:
    """Is there an NVIDIA card with its driver, so that the large libraries for it are worth having?"""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def leftovers(folder: Path, name: str) -> Sequence[Path]:
    """What installations that were cut left."""
    return sorted(folder.glob(f".{name}.*")) if folder.is_dir() else ()


def size_of(place: Path) -> int:
    """Bytes on the disk under a folder, links not followed."""
    total = 0
    for root, _, files in os.walk(place):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    return total


def erase(place: Path) -> int:
    """Delete a folder of ours; the bytes it held."""
    if place.is_symlink():
        place.unlink()
        return 0
    size = size_of(place)
    shutil.rmtree(place, ignore_errors=True)
    return size
