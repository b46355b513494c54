"""What is to be expected of a model of which only the size is known; and what spares the Hub and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from domicile import fit, typical
from tests.conftest import Visiting
from tests.fakes.hub import FakeHub
from tests.shapes import EIGHT_B, GIB, laptop
from tests.test_cli import GRAINE


def test_a_model_of_its_size_is_near_the_real_one() -> None:
    real = fit.fit(EIGHT_B, laptop())
    guess = fit.fit(typical.facts(EIGHT_B.file_bytes, EIGHT_B.parameters), laptop())
    assert real.total_bytes is not None
    assert guess.total_bytes is not None
    assert abs(guess.total_bytes / real.total_bytes - 1) < 0.15
    assert guess.verdict == real.verdict
    assert not typical.facts(5 * GIB).exact


def test_a_mixture_is_quicker_than_a_dense_model_of_its_weight() -> None:
    dense = fit.fit(typical.facts(18 * GIB, 30_000_000_000), laptop()).tokens_per_second
    mixture = fit.fit(typical.facts(18 * GIB, 30_000_000_000, 3_000_000_000), laptop()).tokens_per_second
    assert dense.high is not None
    assert mixture.high is not None
    assert mixture.high > 2 * dense.high


async def _get(visiting: Visiting, path: str, **query: str) -> Mapping[str, Any]:
    async with visiting() as visit:
        answer = await visit.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        shown: Mapping[str, Any] = answer.json()
        return shown


@pytest.mark.anyio
async def test_recommended_models_are_judged_without_asking_anybody(visiting: Visiting, hub: FakeHub) -> None:
    models = (await _get(visiting, "/domicile/recommended"))["models"]
    judged = [m for m in models if m["here"]]
    assert len(judged) > len(models) / 2
    assert all(m["about_bytes"] < m["here"]["total_bytes"] for m in judged)
    assert all(m["here"] is None for m in models if "image" in m["needs"])
    assert hub.seen == []


@pytest.mark.anyio
async def test_cards_can_be_listed_and_named_again(visiting: Visiting) -> None:
    cards = (await _get(visiting, "/domicile/cards"))["cards"]
    names = {c["name"] for c in cards}
    assert {"RTX 4090", "RTX 3060"} <= names
    assert all(c["bandwidth_bytes_per_s"] > 0 for c in cards)
    found = await _get(visiting, "/domicile/fit", model=str(GRAINE), on="RTX 4090", quick="true")
    assert found["verdict"] == "fits"


@pytest.mark.anyio
async def test_a_fresh_answer_of_the_hub_is_not_asked_again(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    async with visiting() as visit:
        for context in ("2048", "4096", "8192"):
            query = {"model": "org/small-GGUF", "context": context, "fresh": "300"}
            assert (await visit.http.get("/domicile/repository", params=query)).status_code == 200
    assert sum(s.path == "/api/models/org/small-GGUF" for s in hub.seen) == 1


@pytest.mark.anyio
async def test_what_is_not_there_is_an_answer_to_who_asks_quietly(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": b"x"})
    card = await _get(visiting, "/domicile/repository/card", model="org/small-GGUF", quiet="true")
    assert card["html"] == ""
    async with visiting() as visit:
        loud = await visit.http.get("/domicile/repository/card", params={"model": "org/small-GGUF"})
        assert loud.status_code == 404
        ollama = await visit.http.get("/domicile/ollama", params={"quiet": "true"})
        assert ollama.status_code == 200
        assert ("trouble" in ollama.json()) == (ollama.json()["version"] is None)
