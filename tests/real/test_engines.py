"""Every engine, from an empty data folder with the one command: the real libraries from the real index, a tiny model
that the test makes, one question to each, and the room given back. `make test-engines`."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile import ears
from domicile.app import open_house
from domicile.config import load
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes import graphs, minilm, painters, tensors, whisper
from tests.fakes.hub import FakeHub
from tests.fakes.inside import InProcess

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.timeout(3600)]
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "DOMICILE_SELFTEST": "off", "PIP_NO_INPUT": "1", "DOMICILE_LANG": "en"}
QUESTION = [{"role": "user", "content": "Comment lister mes modèles ?"}]


def domicile(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "domicile", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, timeout=3500)


@dataclass(frozen=True)
class Case:
    """One model of an extra: how it is made, and what it is asked."""

    make: Callable[[Path], Path]
    ask: Callable[[httpx2.AsyncClient, str, Path], Awaitable[None]]
    task: str = "text-generation"
    """As the Hub says it."""


async def chats(http: httpx2.AsyncClient, model: str, _: Path) -> None:
    said = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    ours = await http.post("/v1/chat/completions", json=said, timeout=600)
    assert ours.status_code == 200, ours.text
    native = await http.post("/v1/chat/completions", json={**said, "model": "graine"}, timeout=600)
    assert ours.json()["choices"][0]["message"] == native.json()["choices"][0]["message"]  # one set of weights


async def embeds(http: httpx2.AsyncClient, model: str, _: Path) -> None:
    texts = ["a cat sits on the mat", "a kitten lies on a rug", "the price of shares fell"]
    answer = await http.post("/v1/embeddings", json={"model": model, "input": texts}, timeout=600)
    assert answer.status_code == 200, answer.text
    cat, kitten, shares = (row["embedding"] for row in answer.json()["data"])
    assert sum(map(lambda a, b: a * b, cat, kitten)) > sum(map(lambda a, b: a * b, cat, shares))


async def hears(http: httpx2.AsyncClient, model: str, place: Path) -> None:
    sound = whisper.wav(place / "a.wav", 3).read_bytes()
    data = {"model": model, "vad_filter": "false", "fallback": "false", "beam_size": "1", "language": "fr"}
    answer = await http.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound)}, data=data, timeout=600)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"]


async def draws(http: httpx2.AsyncClient, model: str, _: Path) -> None:
    wish = {"model": model, "prompt": "a cat", "size": "64x64", "steps": 2, "response_format": "b64_json"}
    answer = await http.post("/v1/images/generations", json=wish, timeout=600)
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")


def _minilm(_: Path) -> Path:
    return minilm.weights()


CASES: dict[str, dict[str, Case]] = {
    "onnx": {
        "text": Case(lambda place: graphs.graine(place / "graine"), chats),
        "encoder": Case(lambda place: graphs.bert(minilm.weights(), place / "mini"), embeds, "feature-extraction"),
    },
    "whisper": {
        "safetensors": Case(lambda place: whisper.transformers(place / "tiny"), hears, ears.HEARS),
    },
    "transformers": {
        "text": Case(lambda place: tensors.graine(place / "graine"), chats),
        "encoder": Case(_minilm, embeds, "sentence-similarity"),
    },
    "images": {
        "sd": Case(painters.folder, draws, "text-to-image"),
        "flux": Case(lambda place: painters.flowing(place, "FluxPipeline"), draws, "text-to-image"),
        "klein": Case(lambda place: painters.flowing(place, "Flux2KleinPipeline"), draws, "text-to-image"),
    },
}


@pytest.fixture(params=CASES)
def extra(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


async def test_from_an_empty_folder_with_the_one_command(hub: FakeHub, extra: str, tmp_path: Path) -> None:
    names: dict[str, str] = {}
    for what, case in CASES[extra].items():
        place = tmp_path / what
        place.mkdir()
        repository = f"org/{extra}-{what}"
        hub.add(repository, _files(case.make(place)), task=case.task)
        pulled = domicile("pull", repository, "--json")
        assert pulled.returncode == 0, pulled.stderr
        names[what] = repository
    began = time.monotonic()
    added = domicile("engine", "add", extra, "--yes")
    assert added.returncode == 0, added.stderr
    print(f"{extra}: installed in {time.monotonic() - began:.0f} s")
    assert domicile("engine", "doctor", extra).returncode == 0
    async with open_house(load(threads=1, selftest=False, context=512)) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            for what, case in CASES[extra].items():
                (model,) = [m.name for m in house.library.list() if m.repository == names[what]]
                await case.ask(http, model, tmp_path)
    assert domicile("engine", "remove", extra).returncode == 0


async def test_without_its_engine_the_one_command_is_said(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/graine", tensors.files(tensors.graine(tmp_path / "graine")))
    assert domicile("pull", "org/graine").returncode == 0
    missing: Any = domicile("run", "org/graine", "Bonjour")
    assert missing.returncode == 7
    assert "domicile engine add transformers" in missing.stderr
