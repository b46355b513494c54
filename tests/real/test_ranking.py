"""A reranker of random weights in the real engine: `/v1/rerank` in the shapes its clients know, and embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import httpx2
import pytest

from tests.conftest import OpenHouse
from tests.fakes.models import encoder
from tests.real.test_eyes import ONE_THREAD

pytestmark = pytest.mark.slow
DOCUMENTS = ["the cat sleeps", "memory", "a long text about nothing at all"]


@pytest.fixture
def api(open_house_process: Callable[..., OpenHouse], tmp_path: Path) -> Iterator[httpx2.Client]:
    house = open_house_process(**ONE_THREAD)
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        for name, pooling in (("ranker", gguf.PoolingType.RANK), ("encoder", gguf.PoolingType.MEAN)):
            path = encoder(tmp_path / f"{name}.gguf", pooling=pooling)
            client.post("/domicile/models", json={"path": str(path)}).raise_for_status()
        yield client


def _rank(api: httpx2.Client, path: str = "/v1/rerank", **asked: Any) -> httpx2.Response:
    return api.post(path, json={"model": "ranker", "query": "memory", "documents": DOCUMENTS, **asked})


def _refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_documents_are_ranked_in_every_shape_and_what_cannot_be_is_said(api: httpx2.Client) -> None:
    whole = _rank(api).json()
    rows = whole["results"]
    assert [sorted(r) for r in rows] == [["index", "relevance_score"]] * 3
    assert sorted(r["index"] for r in rows) == [0, 1, 2]
    scores = [r["relevance_score"] for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < s < 1 for s in scores)
    assert whole["usage"]["prompt_tokens"] > 10
    raw = {r["index"]: r["relevance_score"] for r in _rank(api, raw_scores=True).json()["results"]}
    for row in rows:
        assert row["relevance_score"] == pytest.approx(1 / (1 + math.exp(-raw[row["index"]])))
    objects: Any = [{"text": text} for text in DOCUMENTS]
    two = _rank(api, "/v2/rerank", documents=objects, top_n=2, return_documents=True).json()["results"]
    assert [(r["index"], r["document"]["text"]) for r in two] == [(r["index"], DOCUMENTS[r["index"]]) for r in rows[:2]]
    plain = api.post("/rerank", json={"model": "ranker", "query": "memory", "texts": DOCUMENTS}).json()
    assert [r["index"] for r in plain] == [r["index"] for r in rows]

    assert _refused(_rank(api, documents=["word " * 90])) == (400, "context_length_exceeded")
    cut = _rank(api, documents=["word " * 90], truncate=True)
    assert cut.status_code == 200
    assert "tokens" in cut.headers["X-Domicile-Context-Dropped"]
    assert _rank(api, documents=["word " * 90], max_tokens_per_doc=20).status_code == 200
    wrongs: list[dict[str, Any]] = [{"documents": []}, {"documents": [1]}, {"top_n": 0}, {"documents": ["x"] * 2049}]
    for wrong in wrongs:
        assert _refused(_rank(api, **wrong)) == (400, "bad_field")
    assert _refused(_rank(api, query=" ")) == (400, "missing_field")
    for model in ("graine", "encoder"):
        assert _refused(_rank(api, model=model)) == (501, "not_supported")
    assert _refused(api.post("/v1/embeddings", json={"model": "ranker", "input": "x"})) == (501, "not_supported")
    assert api.get("/domicile/models/ranker").json()["capabilities"] == ["rerank"]
    assert api.post("/api/show", json={"model": "encoder"}).json()["capabilities"] == ["embedding"]

    wrong_inputs: list[dict[str, Any]] = [
        {"input": [{"prompt_string": "x", "multimodal_data": ["AAAA"]}]},
        {"input": ["x"] * 2049},
        {"input": ["x", ""]},
        {"input": "x", "encoding_format": "binary"},
        {"input": "x", "dimensions": 65},
    ]
    for body in wrong_inputs:
        assert _refused(api.post("/v1/embeddings", json={"model": "encoder", **body})) == (400, "bad_field")
    both = api.post("/v1/embeddings", json={"model": "encoder", "input": [[7, 8, 9], [10]]}).json()
    assert [len(row["embedding"]) for row in both["data"]] == [64, 64]
