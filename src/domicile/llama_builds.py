"""The builds of llama.cpp on this machine: the wheel, one compiled here, a `llama-server` that somebody put here.

Knows where each may be, what it calls itself and which flags it has (asked once for each, kept), and an identity for
what depends on the very build: calibrations, trials, states of conversations. Loads no model, and prefers none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from domicile import child
from domicile.config import Settings
from domicile.errors import EngineUnfit
from domicile.llama_flags import understood

Kind = Literal["wheel", "native", "server"]
NATIVE = "llama-native"
"""The folder of the build compiled here, beside the environments of extras."""
NOTE = "domicile.json"
SERVER = "llama-server.exe" if sys.platform == "win32" else "llama-server"
_BECOME = Path(__file__).with_name("engines") / "become_child.py"
_ASK_S = 20.0
_ASK_BYTES = 2 << 30
_FLAGS_AT_LEAST = 20
_NO_SET = frozenset({"LLAMAFILE", "OPENMP", "REPACK", "ACCELERATE", "KLEIDIAI"})


@dataclass(frozen=True, slots=True)
class Build:
    """One build of llama.cpp."""

    kind: Kind
    identity: str
    """The same as long as the program is; fit for a file name."""
    version: str
    program: Path | None = None
    """None: the wheel, which has no program."""
    variant: tuple[str, ...] = ()
    """The instruction sets it was compiled for, as it says itself: `AVX2`, `AVX512_VNNI`, `AMX_INT8` ..."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """As `llama_flags.understood`."""
    note: Mapping[str, Any] = field(default_factory=dict)
    """Of a native build: how it was made."""

    def public(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "identity": self.identity,
            "version": self.version,
            "program": str(self.program) if self.program else None,
            "variant": list(self.variant),
            **{k: self.note[k] for k in ("at", "seconds", "disk_bytes", "compiler", "amx") if k in self.note},
        }


def wheel() -> Build | None:
    """The build of the wheel, if that is installed; nothing is loaded to know it."""
    try:
        version = metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        return None
    return Build("wheel", f"xllamacpp-{version}", version)


class Builds:
    """Those of one house."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.native_folder = settings.engines / NATIVE

    def all(self) -> dict[Kind, Build]:
        """Every build that can be started. May take a second the first time that a program is met: it is asked what it
        is. A program that cannot say is left out (`named` tells why)."""
        found: dict[Kind, Build] = {}
        if (packaged := wheel()) is not None:
            found["wheel"] = packaged
        if not hasattr(os, "fork"):  # its door is a Unix socket
            return found
        for look in (self.native, self.server):
            with contextlib.suppress(EngineUnfit):
                if (build := look()) is not None:
                    found[build.kind] = build
        return found

    def native(self, folder: Path | None = None) -> Build | None:
        """The build compiled here (or another one in `folder`). Raises `EngineUnfit` where its program does not
        answer."""
        folder = folder or self.native_folder
        try:
            note = json.loads((folder / NOTE).read_text("utf-8"))
            identity, version = str(note["identity"]), str(note["version"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        program = folder / "bin" / SERVER
        if not program.is_file():
            return None
        said = self._described(program)
        return Build("native", identity, version, program, tuple(said["variant"]), said["flags"], note)

    def server(self) -> Build | None:
        """The `llama-server` that the settings name, else the first on PATH. Raises `EngineUnfit` where it does not
        answer as one does."""
        named = self._settings.llama_server
        place = Path(named).expanduser() if named else None
        if place is None:
            on_path = shutil.which(SERVER)
            place = Path(on_path) if on_path else None
        if place is None:
            return None
        if not place.is_file() or not os.access(place, os.X_OK):
            raise EngineUnfit(program=str(place), reason="not_there")
        program = place.resolve()
        said = self._described(program)
        version = str(said["version"])
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", version).strip("-")[:40]
        identity = f"llama-server-{plain}-{_stamp(program)}"
        return Build("server", identity, version, program, tuple(said["variant"]), said["flags"])

    def _described(self, program: Path) -> dict[str, Any]:
        """What a program says of itself, asked once for each build of it."""
        kept = self._settings.home / "cache" / "llama-server" / f"{_stamp(program)}.json"
        with contextlib.suppress(OSError, ValueError):
            said: dict[str, Any] = json.loads(kept.read_text("utf-8"))
            if len(said["flags"]) >= _FLAGS_AT_LEAST and "variant" in said:
                return said
        flags = understood(_heard(program, "--help"))
        if len(flags) < _FLAGS_AT_LEAST or "--model" not in flags:
            raise EngineUnfit(program=str(program), reason="not_one")
        found = re.search(r"^version: ?(.+)$", _heard(program, "--version"), re.MULTILINE)
        described = {"flags": flags, "version": found[1].strip() if found else "?", "variant": _variant(program)}
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(described), "utf-8")
        return described


def _stamp(program: Path) -> str:
    """Of the very file: an update of it is another build."""
    status = program.stat()
    return hashlib.sha256(f"{program}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:12]


def _variant(program: Path) -> list[str]:
    """What it was compiled for, which it tells on the way to a model that is not there; nothing where it does not."""
    with contextlib.suppress(EngineUnfit):
        said = _heard(program, "--host", "{folder}/x.sock", "--model", "{folder}/none", "-lv", "5", any_status=True)
        told = next((line for line in said.splitlines() if "system_info: " in line), "")
        return [name for name in re.findall(r"([A-Z][A-Z0-9_]+) = [1-9]", told) if name not in _NO_SET]
    return []


def _heard(program: Path, *words: str, any_status: bool = False) -> str:
    """What the program prints; it is run as its models are: without a network, bounded, with a deadline."""
    with tempfile.TemporaryDirectory(prefix=f"domicile-{os.getpid()}-") as folder:
        asked = {
            "program": str(program),
            "arguments": list(words),
            "environment": {},
            "files": {},
            "stacks": 64,
            "folder": folder,
            "address": "",
            "key": "",
            "house": os.getpid(),
            "memory_bytes": _ASK_BYTES,
        }
        try:
            ended = subprocess.run(
                [sys.executable, "-P", str(_BECOME)],
                input=json.dumps(asked).encode() + b"\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=child.environment(),
                timeout=_ASK_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as trouble:
            raise EngineUnfit(program=str(program), reason="not_one") from trouble
    said = ended.stdout.decode("utf-8", "replace")
    if ended.returncode != 0 and not any_status:
        raise EngineUnfit(program=str(program), reason="not_one", problem=said.strip().splitlines()[-1:] or "?")
    return said
