"""pip, run in a child with the person's own configuration: where it is, what it gets to know, and what the ledger says.

Knows how to start pip for an environment, and how anything started here is ended when nobody waits for it any more.
Knows no lock and no extra.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from domicile.egress import Egress
from domicile.engines.pychild import interpreter
from domicile.ledger import Entry

KEPT = re.compile(
    r"PATH|HOME|USERPROFILE|APPDATA|LOCALAPPDATA|SYSTEMROOT|SYSTEMDRIVE|WINDIR|LANG|LC_\w+|"
    r"PIP_\w+|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NETRC|XDG_C\w+",
    re.IGNORECASE,
)
"""What pip gets to know: where programs are, and how the person reaches an index. No token of ours."""
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


class Pip:
    """For one environment, which may not be there yet."""

    def __init__(self, place: Path, wheels: str, egress: Egress, index: str = "") -> None:
        """`index`: one to ask besides those that pip is set to."""
        self._index = index
        self._place = place
        self._wheels = wheels
        self._egress = egress
        self._wheel = None if importlib.util.find_spec("pip") else pip_of_python()
        self._indexes: Sequence[tuple[str, int]] = ()

    async def look(self) -> None:
        """Learn where pip will go, for the ledger. Before the first `written`."""
        self._indexes = [] if self._wheels else await asyncio.to_thread(self._sources)

    async def run(self, words: Sequence[str], log: Any) -> tuple[int, str]:
        """Its status and what it said."""
        python = str(interpreter(self._place))
        pip = [python, "-m", "pip"] if self._wheel else [sys.executable, "-m", "pip", "--python", python]
        asked = [*pip, "--no-input", "--disable-pip-version-check", *words]
        if self._wheels:
            asked += ["--no-index", "--find-links", self._wheels]
        elif self._index:
            asked += ["--extra-index-url", self._index]
        return await run(asked, log, self._environment(), self._place / "tmp")

    def _environment(self) -> dict[str, str]:
        """What pip gets to know, and where it is: never in the new environment, which has no use for it."""
        kept = {k: v for k, v in os.environ.items() if KEPT.fullmatch(k)}
        return kept | ({"PYTHONPATH": self._wheel} if self._wheel else {})

    @contextmanager
    def written(self, what: str) -> Iterator[list[Entry]]:
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
        python = str(interpreter(self._place)) if self._wheel else sys.executable
        try:
            said = subprocess.run(
                [python, "-c", _SOURCES], capture_output=True, check=True, timeout=60, env=self._environment()
            )
            urls = [urlsplit(str(url)) for url in [*json.loads(said.stdout), self._index]]
        except (subprocess.SubprocessError, OSError, ValueError):
            return [("pip", 443)]
        return [(u.hostname, u.port or (80 if u.scheme == "http" else 443)) for u in urls if u.hostname]


async def run(
    words: Sequence[str],
    log: Any,
    environment: Mapping[str, str],
    temporary: Path | None = None,
    *,
    given: bytes = b"",
    heard: Callable[[bytes], None] = lambda _: None,
) -> tuple[int, str]:
    """Run a program to its end; with everything it started it is gone when we are cancelled. Its status and what it
    said; `heard` is told each piece as it comes."""
    known = dict(environment) | {"PYTHONIOENCODING": "utf-8", "PIP_ROOT_USER_ACTION": "ignore"}
    if temporary is not None and temporary.is_dir():
        known["TMPDIR"] = str(temporary)
    log.write(f"--- {' '.join(words[1:])}\n".encode())
    log.flush()
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=known, start_new_session=True,
    )  # fmt: skip
    said = bytearray()
    assert process.stdout is not None
    try:
        if process.stdin is not None:
            process.stdin.write(given)
            process.stdin.write_eof()
        while chunk := await process.stdout.read(65536):
            log.write(chunk)
            log.flush()
            said += chunk
            heard(chunk)
        return await process.wait(), said.decode("utf-8", "replace")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL) if sys.platform != "win32" else process.kill()
            await process.wait()


def pip_of_python() -> str | None:
    """The pip that Python brings for the environments it makes, as a wheel: for a house that has none."""
    folders = [Path(ensurepip.__file__).parent / "_bundled"]
    if shared := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.append(Path(shared))
    return next((str(wheel) for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))), None)


def last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "?"


def complaint(said: str) -> str:
    """The line in which pip says what is wrong; of several, the first."""
    found = re.search(r"^\s*ERROR: (.+)$", said, re.MULTILINE)
    return found[1].strip()[:300] if found else last_line(said)


def byte_count(number: str, unit: str) -> int:
    scale: Mapping[str, int] = {"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9}
    return int(float(number) * scale.get(unit, 1))
