"""llama.cpp compiled for the processor it will run on: `llama-server` alone, from the source that is pinned.

The source is the sdist of llama-cpp-python (the tree of llama.cpp is in it), fetched by pip and held to its digest;
cmake and ninja are an extra of their own (`locks/tools`); the compiler is the system's. Compiling has no network: what
runs is what was pinned. It happens beside the final place and is renamed into it by `settle`, once somebody has found
that the program answers as it should (`llama_trial`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile import child
from domicile.config import Settings
from domicile.egress import Egress
from domicile.engines.pychild import interpreter
from domicile.errors import BuildFailed, Offline
from domicile.extras import Extras, erase, size_of
from domicile.extras.lock import SOURCE, TOOL_LOCKS
from domicile.extras.pip import Pip, complaint, run
from domicile.jobs import Progress
from domicile.llama_builds import NATIVE, NOTE, SERVER, Build, Builds

TOOLS = "llama-build"
DOWNLOAD_BYTES = 77 * 10**6
WORK_BYTES = 400 * 10**6
"""The source, its objects and the archive, for as long as it is compiled (measured)."""
KEPT_BYTES = 20 * 10**6
CORE_SECONDS = 900
"""Of one core, for the whole: 12 minutes of processor were measured, and two more for comparing and timing."""
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
)
"""No page, no TLS, no other programs started by it: the house alone speaks to it, over a socket."""
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
_BECOME = Path(__file__).parents[1] / "engines" / "become_child.py"
_STEP = re.compile(rb"\[(\d+)/(\d+)\]")
_LAST_LINES = 12
_COMPILERS = (("c++", "cc"), ("g++", "gcc"), ("clang++", "clang"))


class Compile:
    """One compilation, in `.llama-native.new` until it is settled."""

    def __init__(self, settings: Settings, egress: Egress, progress: Progress, locks: Path = TOOL_LOCKS) -> None:
        """`locks`: another folder than ours in tests."""
        self._settings = settings
        self._egress = egress
        self._progress = progress
        self._locks = locks
        self._final = settings.engines / NATIVE
        self._work = settings.engines / f".{NATIVE}.new"
        self._began = time.monotonic()
        self._done = 0
        self.log = settings.logs / "engine-llama.log"

    async def prepare(self) -> None:
        """Room, tools and source. Raises `BuildFailed`, `NoRoom`, `Offline`, `InstallFailed`."""
        able()
        tools = Extras(self._settings, self._egress, self._locks)
        if self._egress.offline and not self._settings.wheels:
            raise Offline(host="pip", purpose="engine", reason="build")
        self._progress.step("engine_prepare")
        await asyncio.to_thread(erase, self._work)
        await self._progress.reserve(DOWNLOAD_BYTES + WORK_BYTES, place=self._settings.engines)
        self._progress.step("engine_tools")
        await tools.add(TOOLS, Progress(lambda **_: None))
        self._work.mkdir(parents=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._progress.step("engine_source")
        with self.log.open("wb") as log:
            await self._source(log)

    async def _source(self, log: Any) -> None:
        place = self._settings.engines / TOOLS
        pip = Pip(place, self._settings.wheels, self._egress)
        await pip.look()
        asked = ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        asked += ["--progress-bar", "off", "-r", str(self._locks / SOURCE), "-d", str(self._work / "sdist")]
        with pip.written("llama.cpp's source") as entries:
            status, said = await pip.run(asked, log)
            found = sorted((self._work / "sdist").glob("*.tar.gz"))
            if status != 0 or len(found) != 1:
                raise BuildFailed(reason="source", problem=complaint(said))
            for entry in entries[:1]:
                entry.carried(down=found[0].stat().st_size)
        self._progress.came(found[0].stat().st_size)
        await asyncio.to_thread(self._unpack, found[0])
        await asyncio.to_thread(erase, self._work / "sdist")

    def _unpack(self, archive: Path) -> None:
        """The tree of llama.cpp alone; a member that points outside is refused by the filter."""
        with tarfile.open(archive) as tar:
            members = []
            for member in tar:
                _, _, inside = member.name.partition("/vendor/llama.cpp/")
                if inside and (member.isfile() or member.isdir()):
                    member.name = inside
                    members.append(member)
            if not members:
                raise BuildFailed(reason="source", problem=archive.name)
            tar.extractall(self._work / "source", members, filter="data")

    async def compile(self, threads: int, *, amx: bool = True) -> Build:
        """Compile, and have the program say what it is. Raises `BuildFailed`, `EngineUnfit`."""
        self._progress.step("engine_compile" if amx else "engine_compile_plain")
        await asyncio.to_thread(erase, self._work / "build")
        cpp, c = compiler()
        cmake, ninja = await self._tools()
        plain = [] if amx else [f"-DCMAKE_C_FLAGS={_NO_AMX}", f"-DCMAKE_CXX_FLAGS={_NO_AMX}"]
        configure = [
            cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}",
            f"-DCMAKE_CXX_COMPILER={cpp}", f"-DCMAKE_C_COMPILER={c}",
            "-S", str(self._work / "source"), "-B", str(self._work / "build"), *FLAGS, *plain,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            await self._sealed(configure, log)
            make = [ninja, "-C", str(self._work / "build"), "-j", str(max(1, threads)), "llama-server"]
            await self._sealed(make, log)
            _, told = await run([cpp, "--version"], log, child.environment())
        return await asyncio.to_thread(self._noted, told.splitlines()[0][:100] if told else "?", amx)

    async def _tools(self) -> tuple[str, str]:
        """Where cmake and ninja are. (Commands of an environment that was renamed name a Python that is not there.)"""
        python = interpreter(self._settings.engines / TOOLS)
        asked = "import cmake, ninja; print(cmake.CMAKE_BIN_DIR); print(ninja.BIN_DIR)"
        process = await asyncio.create_subprocess_exec(
            str(python), "-I", "-c", asked, stdout=asyncio.subprocess.PIPE, env=child.environment()
        )
        said, _ = await process.communicate()
        places = said.decode().splitlines()
        if process.returncode != 0 or len(places) != 2:
            raise BuildFailed(problem=f"cmake: {said.decode()[:200]}")
        return str(Path(places[0]) / "cmake"), str(Path(places[1]) / "ninja")

    async def _sealed(self, words: Sequence[str], log: Any) -> None:
        """Run a step without a network, gone with the house, and behind whoever else wants the processor."""
        folder = self._work / "bond"
        folder.mkdir(exist_ok=True)
        nice = shutil.which("nice")
        words = [nice, "-n", "10", *words] if nice else words
        asked: Mapping[str, object] = {
            "program": words[0],
            "arguments": list(words[1:]),
            "environment": {
                k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "CPATH", "LIBRARY_PATH"}
            },
            "files": {},
            "stacks": 0,
            "folder": str(folder),
            "address": "",
            "key": "",
            "house": os.getpid(),
            "memory_bytes": 0,
        }
        status, said = await run(
            [sys.executable, "-P", str(_BECOME)],
            log,
            child.environment(),
            given=json.dumps(asked).encode() + b"\n",
            heard=self._heard,
        )
        if status != 0:
            lines = [line for line in said.splitlines() if line.strip()]
            wrong = [line for line in lines if "error" in line.lower()]
            problem = (wrong or lines or ["?"])[-1].strip()[:300]
            raise BuildFailed(problem=problem, log=str(self.log), lines="\n".join(lines[-_LAST_LINES:]))

    def _heard(self, piece: bytes) -> None:
        """ninja says how far it is: of the whole, in bytes of the room it takes, for want of a better measure."""
        if steps := _STEP.findall(piece):
            done, whole = map(int, steps[-1])
            part = WORK_BYTES * done // max(1, whole)
            if part > self._done:
                self._progress.came(part - self._done)
                self._done = part

    def _noted(self, compiled_by: str, amx: bool) -> Build:
        made = next(
            (p for p in (self._work / "build" / "bin" / SERVER, self._work / "build" / SERVER) if p.is_file()), None
        )
        if made is None:
            raise BuildFailed(problem=SERVER)
        program = self._work / "bin" / SERVER
        program.parent.mkdir(exist_ok=True)
        shutil.copy2(made, program)
        pinned = (self._locks / SOURCE).read_text("utf-8").split()
        digest = hashlib.sha256(program.read_bytes()).hexdigest()
        version = pinned[0].partition("==")[2]
        note = {
            "identity": f"llama-native-{version}-{digest[:12]}",
            "version": version,
            "source": pinned[0],
            "compiler": compiled_by,
            "amx": amx,
            "at": time.time(),
            "seconds": round(time.monotonic() - self._began),
            "disk_bytes": program.stat().st_size,
        }
        (self._work / NOTE).write_text(json.dumps(note), "utf-8")
        build = Builds(self._settings).native(self._work)
        assert build is not None
        return build

    async def settle(self) -> None:
        """Put the program where models are woken from, and forget what it was made of."""
        await asyncio.to_thread(self._settle)

    def _settle(self) -> None:
        for part in ("source", "build", "bond"):
            erase(self._work / part)
        old = self._settings.engines / f".{NATIVE}.old"
        erase(old)
        if self._final.exists():
            self._final.rename(old)
        self._work.rename(self._final)
        erase(old)

    async def drop(self) -> None:
        """Forget it all."""
        await asyncio.to_thread(erase, self._work)


def able() -> None:
    """Raises `BuildFailed` where this system cannot speak to such a build, or has no compiler."""
    if not hasattr(os, "fork"):
        raise BuildFailed(reason="system", problem=sys.platform)
    compiler()


def compiler() -> tuple[str, str]:
    """The system's compilers of C++ and C. Raises `BuildFailed`, which says how they are had."""
    for names in _COMPILERS:
        found = [shutil.which(name) for name in names]
        if all(found):
            return str(found[0]), str(found[1])
    raise BuildFailed(reason="compiler", problem="c++", command=how_to_have_one())


def how_to_have_one() -> str:
    """The command that installs a compiler on this system."""
    if sys.platform == "darwin":
        return "xcode-select --install"
    for program, command in (
        ("apt-get", "sudo apt-get install g++"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("pacman", "sudo pacman -S gcc"),
        ("zypper", "sudo zypper install gcc-c++"),
        ("apk", "sudo apk add g++"),
    ):
        if shutil.which(program):
            return command
    return "g++"


def costs(settings: Settings, threads: int) -> dict[str, int]:
    """What a compilation takes, said before: bytes and seconds."""
    from domicile.extras.lock import read

    tools = read(TOOL_LOCKS / f"{TOOLS}.txt")
    there = (settings.engines / TOOLS).is_dir()
    return {
        "download_bytes": DOWNLOAD_BYTES + (0 if there else tools.download_bytes),
        "work_bytes": WORK_BYTES,
        "disk_bytes": KEPT_BYTES + (0 if there else tools.disk_bytes),
        "seconds": math.ceil(CORE_SECONDS / max(1, threads)) + (0 if there else tools.seconds),
    }


def removed(settings: Settings) -> int:
    """Take the native build away, with what compiled it. The bytes freed."""
    places = [settings.engines / name for name in (NATIVE, f".{NATIVE}.new", f".{NATIVE}.old", TOOLS)]
    return sum(erase(place) for place in places if place.exists())


def taken_bytes(settings: Settings) -> int:
    """What the native build and its tools take on the disk."""
    return sum(size_of(settings.engines / name) for name in (NATIVE, TOOLS))
