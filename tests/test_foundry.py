"""`domicile engine build llama`, whole: real pip and real children, with a compiler, a cmake and a llama-server that
are toys. (The true compilation takes minutes: `make test-engines`.)"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from domicile import llama_builds, llama_trial
from domicile.config import load
from domicile.db import Database
from domicile.egress import Egress
from domicile.errors import BuildFailed
from domicile.extras.compile import Compile, how_to_have_one
from domicile.extras.lock import SOURCE
from domicile.hardware import sample
from domicile.jobs import Progress
from tests.conftest import Visit, Visiting
from tests.fakes.environment import borrowed
from tests.fakes.llama_server import placed
from tests.fakes.wheels import lock, wheel

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CMAKE = """
import os, socket, sys
from pathlib import Path
words = sys.argv[1:]
source, build = Path(words[words.index("-S") + 1]), Path(words[words.index("-B") + 1])
build.mkdir(parents=True)
(build / "flags").write_text(" ".join(words))
(build / "source").write_text(str(source))
try:
    socket.create_connection(("127.0.0.1", 9), 1)
    print("error: there is a network")
    sys.exit(1)
except ConnectionRefusedError:
    print("error: there is a network")
    sys.exit(1)
except OSError:
    pass
"""
NINJA = """
import shutil, sys
from pathlib import Path
build = Path(sys.argv[2])
source = Path((build / "source").read_text())
print("[1/2] compiling", flush=True)
if (source / "broken").exists():
    print("server.cpp:7:1: error: expected a semicolon")
    sys.exit(1)
(build / "bin").mkdir()
for part in ("llama-server", "wishes.json"):
    shutil.copy2(source / part, build / "bin" / part)
print("[2/2] linking", flush=True)
"""
BACKEND = """
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    from pathlib import Path
    info = Path(folder) / "little_llama-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: little-llama\\nVersion: 1.0\\n")
    return info.name
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(*_, **__):
    raise SystemExit(1)
"""


class Works:
    """Wheels of toy tools, the source of a toy, and where a program of it will be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels, self.locks = folder / "wheels", folder / "locks"
        self.modules = {"cmake": f"CMAKE_BIN_DIR = {str(folder)!r}", "ninja": f"BIN_DIR = {str(folder)!r}"}
        for name, program in (("cmake", CMAKE), ("ninja", NINJA)):
            (folder / name).write_text(f"#!{sys.executable}\n{program}")
            (folder / name).chmod(0o755)
        pins = {f"{name}==1.0": wheel(self.wheels, name, "1.0", text) for name, text in self.modules.items()}
        lock(self.locks, "llama-build", pins, "import cmake, ninja")
        self.source()

    def tools(self, engines: Path) -> None:
        """What compiles is there already."""
        place = borrowed(engines, "llama-build", locks=self.locks)
        for packages in place.glob("lib/*/site-packages"):
            for name, text in self.modules.items():
                (packages / f"{name}.py").write_text(text)

    def source(self, *, broken: bool = False, **wishes: object) -> None:
        """The sdist, whose llama-server does as it is wished."""
        program = placed(self.folder / "made", **wishes)
        text = program.read_text()
        here, there = str(program.parent), str(self.folder / "made")
        files = {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": BACKEND,
            "PKG-INFO": "Metadata-Version: 2.1\nName: little-llama\nVersion: 1.0\n",
            "vendor/llama.cpp/llama-server": text.replace(here, there),
            "vendor/llama.cpp/wishes.json": json.dumps(wishes),
            **({"vendor/llama.cpp/broken": ""} if broken else {}),
        }
        archive = self.wheels / "little_llama-1.0.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(f"little_llama-1.0/{name}")
                member.size, member.mode = len(content.encode()), 0o755
                tar.addfile(member, io.BytesIO(content.encode()))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        (self.locks / SOURCE).write_text(f"little-llama==1.0 --hash=sha256:{digest}\n")

    @asynccontextmanager
    async def house(self, visiting: Visiting, *, bare: bool = False, **more: Any) -> AsyncIterator[Visit]:
        async with visiting(wheels=str(self.wheels), **more) as visit:
            visit.house.tool_locks = self.locks
            if not bare:
                self.tools(visit.house.settings.engines)
            yield visit


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    """Toys, on a machine with a compiler; and a short trial."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("c++", "cc"):
        (tools / name).write_text("#!/bin/sh\necho toy compiler 1.0\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools) + os.pathsep + os.environ["PATH"])
    monkeypatch.setattr(sample, "STORAGES", ("Q4_0",))
    monkeypatch.setattr(llama_trial, "LARGE_BYTES", 1)
    monkeypatch.setattr(llama_trial, "ROUNDS", 1)
    return Works(tmp_path)


async def done(visit: Visit, act: str, within_s: float = 90) -> dict[str, Any]:
    answer = await visit.http.post(f"/domicile/engines/llama/{act}")
    assert answer.status_code == 202, answer.text
    async with asyncio.timeout(within_s):
        while True:
            job: dict[str, Any] = (await visit.http.get(f"/domicile/jobs/{answer.json()['id']}")).json()
            if job["status"] in {"done", "failed"}:
                return job
            await asyncio.sleep(0.05)


async def test_it_is_compiled_without_a_network_and_kept_when_it_is_the_faster(
    works: Works, visiting: Visiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_builds, "wheel", lambda: None)  # a toy cannot answer as the wheel does
    works.source(speed=3.0)
    other = placed(tmp_path / "other", speed=1.0)
    async with works.house(visiting, bare=True, llama_server=str(other)) as visit:
        before = (await visit.http.get("/domicile/engines/llama")).json()
        assert [one["kind"] for one in before["builds"]] == ["server"]
        assert before["chosen"]["k"]["build"] == "server"
        assert before["costs"]["seconds"] > 60
        job = await done(visit, "build")
        assert job["status"] == "done", job["error"]
        assert job["result"]["kept"] is True
        engines = visit.house.settings.engines
        assert sorted(p.name for p in engines.iterdir()) == ["llama-build", "llama-native"]
        assert sorted(p.name for p in (engines / "llama-native").iterdir()) == ["bin", "domicile.json"]
        after = (await visit.http.get("/domicile/engines/llama", headers={"accept-language": "fr"})).json()
        native = next(one for one in after["builds"] if one["kind"] == "native")
        assert (native["version"], native["compiler"], native["wakes"]) == ("1.0", "toy compiler 1.0", ["legacy", "k"])
        assert native["pace"]["k"]["read"] == 300
        assert "3 fois" in after["chosen"]["k"]["why"]
        machine = (await visit.http.get("/domicile/machine")).json()
        assert machine["calibration"]["engine"] == native["identity"]
        doctor = (await visit.http.get("/domicile/engines/llama/doctor")).json()
        assert {c["check"]: c["well"] for c in doctor["checks"]}["llama_tried"]
        told = (await visit.http.get("/domicile/models/graine/settings")).json()["settings"]
        (one,) = [s for s in told if s["name"] == "build"]
        assert (one["value"], one["by"]) == ("native", "house")
        gone = (await visit.http.delete("/domicile/engines/llama")).json()
        assert (gone["was"], gone["freed_bytes"] > 0) == ("installed", True)
        assert list(engines.iterdir()) == []


async def test_a_slower_one_is_dropped_and_said(
    works: Works, visiting: Visiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_builds, "wheel", lambda: None)
    works.source(speed=1.0)
    async with works.house(visiting, llama_server=str(placed(tmp_path / "other", speed=2.0))) as visit:
        job = await done(visit, "build")
        assert job["result"]["kept"] is False
        assert not (visit.house.settings.engines / "llama-native").exists()
        told = (await visit.http.get("/domicile/engines/llama")).json()
        assert told["chosen"]["legacy"]["build"] == "server"


@pytest.mark.skipif(llama_builds.wheel() is None, reason="no wheel")
async def test_one_that_does_not_answer_as_the_wheel_is_not_kept(works: Works, visiting: Visiting) -> None:
    async with works.house(visiting) as visit:
        job = await done(visit, "build")
        assert job["status"] == "failed"
        assert job["error"]["code"] == "build_failed"
        assert "Q4_0" in job["error"]["message"]
        engines = visit.house.settings.engines
        assert sorted(p.name for p in engines.iterdir()) == ["llama-build"]
        again = await done(visit, "try")
        assert again["error"]["facts"]["reason"] == "alone"


async def compiled(works: Works, **given: Any) -> None:
    settings = load(**{"wheels": str(works.wheels), **given})
    database = Database(settings.database)
    egress = Egress(database, offline=settings.offline)
    works.tools(settings.engines)
    work = Compile(settings, egress, Progress(lambda **_: None), works.locks)
    try:
        await work.prepare()
        await work.compile(1)
    finally:
        await work.drop()
        await egress.aclose()
        database.close()
        assert not (settings.engines / ".llama-native.new").exists()


async def test_what_the_compiler_says_is_the_error_and_the_log_is_kept(works: Works) -> None:
    works.source(broken=True)
    with pytest.raises(BuildFailed) as failed:
        await compiled(works)
    assert failed.value.facts["problem"] == "server.cpp:7:1: error: expected a semicolon"
    assert "[1/2]" in str(failed.value.facts["lines"])
    assert "expected a semicolon" in (load().logs / "engine-llama.log").read_text()


async def test_a_source_that_is_not_the_pinned_one_is_refused(works: Works) -> None:
    (works.locks / SOURCE).write_text(f"little-llama==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(BuildFailed) as failed:
        await compiled(works)
    assert failed.value.facts["reason"] == "source"


async def test_without_a_compiler_or_a_network_it_is_said_at_once(
    works: Works, visiting: Visiting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with visiting(offline=True) as visit:
        answer = await visit.http.post("/domicile/engines/llama/build")
        assert answer.json()["error"]["code"] == "offline"
    monkeypatch.setenv("PATH", str(tmp_path))
    async with works.house(visiting) as visit:
        answer = await visit.http.post("/domicile/engines/llama/build")
        assert answer.status_code == 502
        assert answer.json()["error"]["hint"] == how_to_have_one()


@pytest.mark.engines
@pytest.mark.timeout(3 * 3600)
async def test_the_true_compilation_answers_as_the_wheel_does(visiting: Visiting) -> None:
    async with visiting() as visit:
        job = await done(visit, "build", 3 * 3600)
        assert job["status"] == "done", job["error"]
        (made,) = [one for one in job["result"]["builds"].values() if one["kind"] == "native"]
        assert made["same"] is True, made["problem"]
        assert set(made["pace"]) == {"legacy", "k"}
