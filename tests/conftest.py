"""What every test may ask for: a home of its own, a Hub of its own, a house with a parrot in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.app import House, open_house
from domicile.client import InProcess
from domicile.config import Settings, load
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes.hub import FakeHub, running
from tests.fakes.parrot import Parrot


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings, the models or the tokens of whoever runs it."""
    for name in [n for n in os.environ if n.startswith(("DOMICILE_", "HF_", "LC_", "LANG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOMICILE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
