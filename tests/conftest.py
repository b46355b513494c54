"""What every test may ask for: a home of its own, a Hub of its own, a house with a parrot in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from domicile.app import House, open_house
from domicile.config import Settings, load
from domicile.web import build
from domicile.web.guard import Rules
from tests import nursery
from tests.fakes.hub import FakeHub, running
from tests.fakes.inside import InProcess
from tests.fakes.parrot import Parrot


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings, the models or the tokens of whoever runs it."""
    others = ("DOMICILE_", "HF_", "OLLAMA_", "LLAMA_", "XDG_", "LC_", "LANG")
    for name in [n for n in os.environ if n.startswith(others)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOMICILE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def settings() -> Settings:
    return load()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub over real HTTP, which `HF_ENDPOINT` names."""
    with running(FakeHub()) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


@dataclass
class Visit:
    """A house with a parrot, and a client at its door."""

    house: House
    parrot: Parrot
    http: httpx2.AsyncClient


Visiting = Callable[..., AbstractAsyncContextManager[Visit]]


@pytest.fixture
def visiting() -> Visiting:
    """`async with visiting() as visit`: a house whose engine is a parrot, over its real API, in this process."""

    @asynccontextmanager
    async def visit(**given: Any) -> AsyncIterator[Visit]:
        parrot = Parrot()
        async with open_house(load(**given), {"parrot": parrot}) as house:
            transport = InProcess(build(house, Rules(frozenset({"house"}))))
            async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
                yield Visit(house, parrot, http)

    return visit


@dataclass
class OpenHouse:
    """`domicile serve` in a process of its own."""

    process: nursery.Process
    url: str

    def children(self) -> list[int]:
        """The engines' processes."""
        return [c.pid for c in psutil.Process(self.process.pid).children()]


@pytest.fixture
def open_house_process() -> Iterator[Callable[..., OpenHouse]]:
    """Open a real house: `open_house_process("--host", ...)`. Closed at the end of the test if it still is open."""
    with ExitStack() as opened:

        def start(*arguments: str, **environment: str) -> OpenHouse:
            process, said = opened.enter_context(nursery.serving(*arguments, env={**os.environ, **environment}))
            return OpenHouse(process, said["url"])

        yield start


@dataclass
class RedisServer:
    """A real redis-server, on a socket of its own."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine (make redis installs it where it may)")
    folder = Path(tempfile.mkdtemp(prefix="redis"))  # a socket's path is short
    words = [program, "--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([*words, "--appendonly", "no"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while b"eady to accept connections" not in (line := process.stdout.readline()):
        assert line, "redis-server did not start"
    yield RedisServer(f"unix://{folder / 's'}", process)
    process.terminate()
    process.wait(10)
    process.stdout.close()
    shutil.rmtree(folder)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
