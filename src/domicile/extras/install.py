"""One installation: an environment beside the final one, filled by pip, checked, then renamed into place.

pip runs in a child with its own configuration (index, proxies, certificates are the person's), takes only wheels whose
digests are in the lock, and resolves nothing: the lock is whole. Cut at any moment it leaves a folder with a dot, which
the next installation deletes. torch is looked at before it is fetched: without an NVIDIA card a CUDA build is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ensurepip
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from domicile.config import Settings
from domicile.egress import Egress
from domicile.engines.pychild import NOTE, interpreter
from domicile.errors import InstallFailed
from domicile.extras import Extra, erase, leftovers, size_of
from domicile.extras.lock import CUDA, TORCH, Lock
from domicile.jobs import Progress
from domicile.ledger import Entry

_KEPT = re.compile(
    r"PATH|HOME|USERPROFILE|APPDATA|LOCALAPPDATA|SYSTEMROOT|SYSTEMDRIVE|WINDIR|LANG|LC_\w+|"
    r"PIP_\w+|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NETRC|XDG_C\w+",
    re.IGNORECASE,
)
"""What pip gets to know: where programs are, and how the person reaches an index. No token of ours."""
_CHECK_S = 300.0
_BEAT_S = 0.5
_TAIL = 4000
_SOURCES = """
import json
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
c = Configuration(isolated=False); c.load(); said = {}
for name, value in c.items():
    pairs = value.items() if isinstance(value, dict) else [(name, value)]
    said |= {k.rpartition('.')[2].replace('_', '-'): v for k, v in pairs}
first = said.get('index-url') or PyPI.simple_url
more = said.get('extra-index-url', '')
print(json.dumps([first, *(more.split() if isinstance(more, str) else more)]))
"""
"""Where pip will look, by its own rules."""


class Install:
    """One extra being installed."""

    def __init__(
        self, extra: Extra, settings: Settings, egress: Egress, progress: Progress, log: Path, torch_index: str = ""
    ) -> None:
        self._extra = extra
        self._torch_index = torch_index if extra.lock.torch else ""
        self._wheels = settings.wheels
        self._folder = settings.engines
        self._egress = egress
        self._progress = progress
        self._log = log
        self._place = self._folder / f".{extra.name}.new"
        self._indexes: Sequence[tuple[str, int]] = ()
        self._pip_wheel = None if importlib.util.find_spec("pip") else pip_of_python()

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
                self._indexes = [] if self._wheels else await asyncio.to_thread(self._sources)
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
        status, said = await self._child([sys.executable, "-m", "venv", "--without-pip", str(self._place)], log)
        if status != 0 or not interpreter(self._place).is_file():
            raise InstallFailed(name=self._extra.name, reason="venv", problem=_last_line(said))
        (self._place / "tmp").mkdir()

    async def _torch(self, log: Any) -> str:
        """A requirement of torch, pinned to the very build that pip would take here. Raises for a CUDA build on a
        machine without an NVIDIA card."""
        pin = self._extra.lock.pins["torch"]
        asked = ["install", "--dry-run", "--quiet", "--no-deps", "--report", str(self._place / "tmp" / "torch.json")]
        with self._written(f"look for torch {pin}"):
            status, said = await self._pip([*asked, f"torch=={pin}"], log)
        if status != 0:
            raise InstallFailed(name=self._extra.name, reason="pip", problem=_last_line(said))
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
        with self._written(f"pip install {self._extra.name}") as entries:
            watch = asyncio.create_task(self._follow())
            try:
                status, said = await self._pip(asked, log)
            finally:
                watch.cancel()
            down = sum(
                _bytes(n, unit) for n, unit in re.findall(r"^\s*Downloading .*\(([\d.]+) (\w?B)\)", said, re.MULTILINE)
            )
            for entry in entries[:1]:
                entry.carried(down=down)
            if status != 0:
                raise InstallFailed(name=self._extra.name, reason="pip", problem=_complaint(said), log=str(self._log))

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

    # -- pip --

    async def _pip(self, words: Sequence[str], log: Any) -> tuple[int, str]:
        python = str(interpreter(self._place))
        pip = [python, "-m", "pip"] if self._pip_wheel else [sys.executable, "-m", "pip", "--python", python]
        asked = [*pip, "--no-input", "--disable-pip-version-check", *words]
        if self._wheels:
            asked += ["--no-index", "--find-links", self._wheels]
        elif self._torch_index:
            asked += ["--extra-index-url", self._torch_index]
        return await self._child(asked, log)

    async def _child(self, words: Sequence[str], log: Any) -> tuple[int, str]:
        """Run to its end; with everything it started it is gone when we are cancelled. Its status and what it said."""
        environment = self._environment()
        environment |= {
            "TMPDIR": str(self._place / "tmp"),
            "PYTHONIOENCODING": "utf-8",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        if not (self._place / "tmp").is_dir():
            del environment["TMPDIR"]
        log.write(f"--- {' '.join(words[1:])}\n".encode())
        log.flush()
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=environment, start_new_session=True,
        )  # fmt: skip
        said = bytearray()
        assert process.stdout is not None
        try:
            while chunk := await process.stdout.read(65536):
                log.write(chunk)
                log.flush()
                said += chunk
            return await process.wait(), said.decode("utf-8", "replace")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL) if sys.platform != "win32" else process.kill()
                await process.wait()

    def _environment(self) -> dict[str, str]:
        """What pip gets to know, and where it is: never in the new environment, which has no use for it."""
        kept = {k: v for k, v in os.environ.items() if _KEPT.fullmatch(k)}
        return kept | ({"PYTHONPATH": self._pip_wheel} if self._pip_wheel else {})

    @contextmanager
    def _written(self, what: str) -> Iterator[list[Entry]]:
        """The ledger's lines: one for each index that pip may ask. Raises `Offline` where the door is shut."""
        entries = [self._egress.note(host, port, what, "engine") for host, port in self._indexes]
        error = "InstallFailed"
        try:
            yield entries
            error = ""
        finally:
            for entry in entries:
                entry.end(error or None)

    def _sources(self) -> Sequence[tuple[str, int]]:
        """Host and port of the indexes that pip is set to ask; folders of this machine are none."""
        python = str(interpreter(self._place)) if self._pip_wheel else sys.executable
        try:
            said = subprocess.run(
                [python, "-c", _SOURCES], capture_output=True, check=True, timeout=60, env=self._environment()
            )
            urls = [urlsplit(str(url)) for url in [*json.loads(said.stdout), self._torch_index]]
        except (subprocess.SubprocessError, OSError, ValueError):
            return [("pip", 443)]
        return [(u.hostname, u.port or (80 if u.scheme == "http" else 443)) for u in urls if u.hostname]


def pip_of_python() -> str | None:
    """The pip that Python brings for the environments it makes, as a wheel: for a house that has none."""
    folders = [Path(ensurepip.__file__).parent / "_bundled"]
    if shared := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(shared))
    return next((str(wheel) for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))), None)


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
        env={k: v for k, v in os.environ.items() if _KEPT.fullmatch(k)} | {"HF_HUB_OFFLINE": "1"},
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
        raise InstallFailed(name=lock.name, reason="check", problem=_last_line(text))
    return _last_line(text)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "?"


def _complaint(said: str) -> str:
    """The line in which pip says what is wrong; of several, the first."""
    found = re.search(r"^\s*ERROR: (.+)$", said, re.MULTILINE)
    return found[1].strip()[:300] if found else _last_line(said)


def _bytes(number: str, unit: str) -> int:
    scale: Mapping[str, int] = {"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9}
    return int(float(number) * scale.get(unit, 1))
