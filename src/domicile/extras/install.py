"""One installation: an environment beside the final one, filled by pip, checked, then renamed into place.

pip runs in a child with its own configuration (index, proxies, certificates are the person's), takes only wheels whose
digests are in the lock, and resolves nothing: the lock is whole. Cut at any moment it leaves a folder with a dot, which
the next installation deletes. torch is looked at before it is fetched: without an NVIDIA card a CUDA build is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.config import Settings
from domicile.egress import Egress
from domicile.engines.pychild import NOTE, interpreter
from domicile.errors import InstallFailed
from domicile.extras import Extra, erase, leftovers, size_of
from domicile.extras.lock import CUDA, TORCH, Lock
from domicile.extras.pip import KEPT, Pip, byte_count, complaint, last_line, run
from domicile.jobs import Progress

_CHECK_S = 300.0
_BEAT_S = 0.5
_TAIL = 4000


class Install:
    """One extra being installed."""

    def __init__(
        self, extra: Extra, settings: Settings, egress: Egress, progress: Progress, log: Path, torch_index: str = ""
    ) -> None:
        self._extra = extra
        self._folder = settings.engines
        self._progress = progress
        self._log = log
        self._place = self._folder / f".{extra.name}.new"
        self._pip = Pip(self._place, settings.wheels, egress, torch_index if extra.lock.torch else "")

    async def run(self) -> dict[str, Any]:
        """The note of the new environment. Raises `InstallFailed`, `Offline`."""
        began, name = time.monotonic(), self._extra.name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        for left in leftovers(self._folder, name):
            await asyncio.to_thread(erase, left)
        try:
            with self._log.open("wb") as log:
                self._progress.step("engine_environment")
                await self._venv(log)
                await self._pip.look()
                torch = await self._torch(log) if self._extra.lock.torch else None
                self._progress.step("engine_packages")
                await self._packages(log, torch)
                await asyncio.to_thread(erase, self._place / "tmp")
            self._progress.step("engine_check")
            await checked(self._place, self._extra.lock)
            return await asyncio.to_thread(self._settle, began, torch)
        finally:
            await asyncio.to_thread(erase, self._place)

    async def _venv(self, log: Any) -> None:
        status, said = await run(
            [sys.executable, "-m", "venv", "--without-pip", str(self._place)],
            log,
            {k: v for k, v in os.environ.items() if KEPT.fullmatch(k)},
        )
        if status != 0 or not interpreter(self._place).is_file():
            raise InstallFailed(name=self._extra.name, reason="venv", problem=last_line(said))
        (self._place / "tmp").mkdir()

    async def _torch(self, log: Any) -> str:
        """A requirement of torch, pinned to the very build that pip would take here. Raises for a CUDA build on a
        machine without an NVIDIA card."""
        pin = self._extra.lock.pins["torch"]
        asked = ["install", "--dry-run", "--quiet", "--no-deps", "--report", str(self._place / "tmp" / "torch.json")]
        with self._pip.written(f"look for torch {pin}"):
            status, said = await self._pip.run([*asked, f"torch=={pin}"], log)
        if status != 0:
            raise InstallFailed(name=self._extra.name, reason="pip", problem=last_line(said))
        found = json.loads((self._place / "tmp" / "torch.json").read_text("utf-8"))["install"][0]
        return torch_build(found, self._extra)

    async def _packages(self, log: Any, torch: str | None) -> None:
        lock = self._extra.lock
        files = [lock.path]
        if torch is not None:
            more = self._place / "tmp" / "torch.txt"
            more.write_text(torch, "utf-8")
            files.append(more)
            if self._extra.gpu and "+cpu" not in torch and sys.platform == "linux":
                files.append(lock.path.parent / CUDA)
        asked = ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off"]
        asked += [word for file in files for word in ("-r", str(file))]
        with self._pip.written(f"pip install {self._extra.name}") as entries:
            watch = asyncio.create_task(self._follow())
            try:
                status, said = await self._pip.run(asked, log)
            finally:
                watch.cancel()
            down = sum(
                byte_count(n, unit)
                for n, unit in re.findall(r"^\s*Downloading .*\(([\d.]+) (\w?B)\)", said, re.MULTILINE)
            )
            for entry in entries[:1]:
                entry.carried(down=down)
            if status != 0:
                raise InstallFailed(name=self._extra.name, reason="pip", problem=complaint(said), log=str(self._log))

    async def _follow(self) -> None:
        """Progress by what has come to the disk: pip's own talk differs from version to version."""
        before = 0
        while True:
            await asyncio.sleep(_BEAT_S)
            now = await asyncio.to_thread(size_of, self._place)
            if now > before:
                self._progress.came(now - before)
                before = now

    def _settle(self, began: float, torch: str | None) -> dict[str, Any]:
        """Note what was installed, and rename it into place."""
        extra, final = self._extra, self._folder / self._extra.name
        note = {
            "lock": extra.lock.digest,
            "at": time.time(),
            "seconds": round(time.monotonic() - began),
            "disk_bytes": size_of(self._place),
            "python": sys.version.split()[0],
            "build": "cuda" if torch is not None and extra.gpu and "+cpu" not in torch else "cpu",
        }
        (self._place / NOTE).write_text(json.dumps(note), "utf-8")
        old = self._folder / f".{extra.name}.old"
        if final.exists():
            final.rename(old)
        self._place.rename(final)
        erase(old)
        return note


def torch_build(found: Mapping[str, Any], extra: Extra, platform: str = sys.platform) -> str:
    """The requirement of the build of torch that pip found (an entry of its report), held to its digest.

    Raises `InstallFailed` for a CUDA build where there is no NVIDIA card, and for one of PyPI that is not of the lock;
    builds of other indexes (`+cpu`) have no digest of ours: theirs is noted and held to.
    """
    version = str(found["metadata"]["version"])
    digest = str(found["download_info"]["archive_info"]["hashes"]["sha256"])
    needs = " ".join(found["metadata"].get("requires_dist") or ())
    if platform == "linux" and "+cpu" not in version and re.search(r"nvidia|cuda", needs) and not extra.gpu:
        raise InstallFailed(name=extra.name, reason="cuda", problem=f"torch {version}")
    locked = set(re.findall(r"sha256:([0-9a-f]{64})", (extra.lock.path.parent / TORCH).read_text("utf-8")))
    if digest not in locked and "+" not in version:
        raise InstallFailed(name=extra.name, reason="digest", problem=f"torch {version} sha256:{digest}")
    return f"torch=={version} --hash=sha256:{digest}\n"


async def checked(environment: Path, lock: Lock) -> str:
    """Run the extra's own check in its environment, without a network. What it said. Raises `InstallFailed`."""
    boot = Path(__file__).parents[1] / "boot_child.py"
    sealed = f"import runpy; runpy.run_path({str(boot)!r})['reach'](); from domicile.seal import cut_off; cut_off()"
    process = await asyncio.create_subprocess_exec(
        str(interpreter(environment)), "-I", "-c", f"{sealed}\n{lock.check}",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={k: v for k, v in os.environ.items() if KEPT.fullmatch(k)} | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_CHECK_S):
            said, _ = await process.communicate()
    except TimeoutError as trouble:
        raise InstallFailed(name=lock.name, reason="check", problem=f"> {_CHECK_S:.0f} s") from trouble
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode("utf-8", "replace")
    if process.returncode != 0:
        raise InstallFailed(name=lock.name, reason="check", problem=last_line(text))
    return last_line(text)
