"""Before a download: what this machine is, what fits it, how fast and why, over the API and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domicile.hardware import sample
from tests.conftest import Visiting
from tests.fakes.hub import FakeHub
from tests.test_cli import GRAINE, domicile

PARTS = ("weights_bytes", "kv_bytes", "state_bytes", "compute_bytes", "overhead_bytes", "checkpoint_bytes")


def _sample(folder: Path) -> Path:
    return sample.write(folder / "small.gguf", "Q8_0", sample.Shape(2), hollow=True).path


async def _fit(visiting: Visiting, **query: str) -> dict[str, Any]:
    async with visiting() as visit:
        answer = await visit.http.get("/domicile/fit", params=query)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


@pytest.mark.anyio
async def test_a_header_followed_by_a_hole_is_enough_to_know(visiting: Visiting, tmp_path: Path) -> None:
    found = await _fit(visiting, model=str(_sample(tmp_path)), context="2048", quick="true")
    assert found["verdict"] == "fits"
    assert found["kv_bytes"] == 2 * 2048 * 8 * 64 * 2 * 2
    assert found["total_bytes"] == sum(found[part] for part in PARTS) + found["projector_bytes"]
    assert found["max_context"] >= 2048
    assert found["why"]
    assert {"low", "high"} == found["tokens_per_second"].keys()


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_engine_itself_is_asked_and_agrees(visiting: Visiting, tmp_path: Path) -> None:
    found = await _fit(visiting, model=str(_sample(tmp_path)), context="2048")
    assert found["engine"]["trouble"] is None
    assert abs(found["engine"]["kv_bytes"] - found["kv_bytes"]) < 1 << 14
    assert found["total_bytes"] == sum(found[part] for part in PARTS) + found["projector_bytes"]


@pytest.mark.anyio
async def test_the_same_file_has_the_same_figures_here_and_on_the_hub(
    visiting: Visiting, hub: FakeHub, tmp_path: Path
) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    query = {"context": "2048", "quick": "true", "on": "RTX 4090"}
    here = await _fit(visiting, model=str(GRAINE), **query)
    there = await _fit(visiting, model="org/small-GGUF:Q8_0", **query)
    assert here["fetched"] == {"bytes": 0, "requests": 0}
    assert 0 < there["fetched"]["bytes"] < len(GRAINE.read_bytes()) // 4
    assert {k: here[k] for k in PARTS} == {k: there[k] for k in PARTS}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_kind_of_model_that_the_engine_does_not_know_is_not_estimated(
    visiting: Visiting, tmp_path: Path
) -> None:
    odd = tmp_path / "odd-Q8_0.gguf"
    odd.write_bytes(GRAINE.read_bytes().replace(b"llama", b"zzzzz"))
    found = await _fit(visiting, model=str(odd))
    assert (found["verdict"], found["total_bytes"]) == ("unknown", None)
    assert "zzzzz" in found["why"][0]
    assert found["weights_bytes"]


@pytest.mark.anyio
async def test_a_gated_repository_says_so_before_a_header_is_read(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("org/gated-GGUF", {"m-Q8_0.gguf": GRAINE.read_bytes()}, gated=True)
    async with visiting() as visit:
        for path in ("/domicile/fit", "/domicile/repository"):
            refused = await visit.http.get(path, params={"model": "org/gated-GGUF"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "gated")


@pytest.mark.anyio
async def test_a_file_that_never_was_is_not_called_gone(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        refused = await visit.http.get("/domicile/fit", params={"model": str(tmp_path / "never.gguf")})
    assert refused.status_code == 409
    assert "domicile rm" not in refused.json()["error"]["hint"]


@pytest.mark.anyio
async def test_a_repository_is_judged_for_one_range_of_64_kib(visiting: Visiting, hub: FakeHub) -> None:
    content = GRAINE.read_bytes()
    hub.add("org/small-GGUF", {f"small-{q}.gguf": content for q in ("Q8_0", "Q4_K_M", "F16")})
    async with visiting() as visit:
        found = (await visit.http.get("/domicile/repository", params={"model": "org/small-GGUF"})).json()
    assert found["fetched"] == {"bytes": 65536, "requests": 1}
    assert {row["label"] for row in found["variants"]} == {"Q8_0", "Q4_K_M", "F16"}
    assert found["best"] in {"Q8_0", "Q4_K_M", "F16"}


@pytest.mark.anyio
async def test_another_machine_is_a_card_of_the_table_by_its_exact_name(visiting: Visiting) -> None:
    found = await _fit(visiting, model=str(GRAINE), on="RTX 4090", quick="true")
    assert found["gpu_layers"] > 0
    assert len(found["device_bytes"]) == 1
    async with visiting() as visit:
        refused = await visit.http.get("/domicile/fit", params={"model": str(GRAINE), "on": "RTX 4091"})
        cards = (await visit.http.get("/domicile/fit/cards", params={"model": str(GRAINE)})).json()["cards"]
    assert refused.status_code == 404
    assert "RTX 4090" in refused.json()["error"]["nearest"]
    assert any(c["name"] == "RTX 4090" and c["whole"] for c in cards)


@pytest.mark.parametrize(
    ("query", "field"),
    [({}, "model"), ({"context": "0"}, "context"), ({"context": "lots"}, "context"), ({"kv": "q9"}, "kv")],
)
@pytest.mark.anyio
async def test_a_wish_that_cannot_be_read_names_its_field(
    visiting: Visiting, query: dict[str, str], field: str
) -> None:
    named = {"model": str(GRAINE)} if query else {}
    async with visiting() as visit:
        refused = await visit.http.get("/domicile/fit", params={**named, **query})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == field


@pytest.mark.anyio
async def test_what_was_predicted_is_kept_beside_what_it_took(visiting: Visiting, tmp_path: Path) -> None:
    path = _sample(tmp_path)
    async with visiting() as visit:
        name = visit.house.library.add_file(path).name
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
        await visit.http.post("/v1/chat/completions", json=body)
        found = (await visit.http.get("/domicile/fit", params={"model": name, "quick": "true"})).json()
    assert found["last_run"]["actual_bytes"] == 1_000_000
    assert found["last_run"]["predicted_bytes"] > 0


@pytest.mark.anyio
async def test_the_hub_is_searched_and_only_what_fits_may_be_asked_for(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    hub.add("org/papers", {"README.md": b"# Papers\n<script>alert(1)</script>"})
    async with visiting() as visit:
        every = (await visit.http.get("/domicile/search")).json()
        fits = (await visit.http.get("/domicile/search", params={"fits": "true"})).json()
        bad = await visit.http.get("/domicile/search", params={"format": "zip"})
        card = (await visit.http.get("/domicile/repository/card", params={"model": "org/papers"})).json()
    assert {one["id"] for one in every["results"]} == {"org/small-GGUF", "org/papers"}
    assert [one["id"] for one in fits["results"]] == ["org/small-GGUF"]
    assert fits["results"][0]["best"]["verdict"] == "fits"
    assert bad.json()["error"]["param"] == "format"
    assert "<script" not in card["html"]


@pytest.mark.slow
def test_fit_machine_compare_and_recommended_speak_both_languages(hub: FakeHub) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    shown = json.loads(domicile("fit", str(GRAINE), "--context", "2048", "--json").stdout)
    assert shown["verdict"] == "fits"
    told = domicile("fit", "org/small-GGUF", "--lang", "fr", "--quick").stdout
    assert "contexte (KV)" in told
    assert "Lu sur le Hub" in told
    assert "Processeur" in domicile("machine", "--lang", "fr").stdout
    assert "org/small-GGUF:Q8_0" in domicile("compare", "graine", "org/small-GGUF").stdout
    assert "* Q8_0" in domicile("variants", "org/small-GGUF").stdout
    assert "org/small-GGUF" in domicile("search", "small").stdout
    assert "Qwen" in domicile("recommended", "--need", "code").stdout
    assert domicile("fit", "graine", "--on", "RTX 4091").returncode == 3


def test_a_file_that_is_refused_is_one_line_and_a_status(tmp_path: Path) -> None:
    (tmp_path / "noise.gguf").write_bytes(b"GGUF" + bytes(range(256)) * 20)
    told = domicile("fit", str(tmp_path / "noise.gguf"))
    assert told.returncode == 9
    assert "Traceback" not in told.stderr
    assert len(told.stderr.strip().splitlines()) <= 2
