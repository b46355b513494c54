"""Taking in what other tools have: nothing is copied, each content is one model, and theirs stays theirs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domicile.types import Installed
from domicile.watch import Watch
from tests.conftest import Visit, Visiting
from tests.fakes import stores as fakes
from tests.fakes.gguf import gguf

ONE = gguf("one", licence="mit")
TWO = gguf("two")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    return tmp_path / "person"


def _five(person: Path, content: bytes) -> dict[str, Callable[[], bool]]:
    """One content in the stores of five tools; whether each still works."""
    ollama = person / ".ollama" / "models"
    manifest = fakes.ollama(ollama, "tiny:1b", content)
    snapshot = fakes.huggingface(person.parent / "hf" / "hub", "org/tiny-GGUF", {"tiny-Q4_K_M.gguf": content})
    studio = fakes.lmstudio(person / ".lmstudio" / "models", "org/tiny-GGUF", {"tiny-Q4_K_M.gguf": content})
    flat = fakes.llamacpp(person / ".cache" / "llama.cpp", "org/tiny-GGUF", "tiny-Q4_K_M.gguf", content)
    nomic = fakes.gpt4all(person / ".local" / "share" / "nomic.ai" / "GPT4All", "tiny.Q4_K_M.gguf", content)
    return {
        "ollama": lambda: fakes.ollama_runs(manifest, ollama),
        "huggingface": lambda: (snapshot / "tiny-Q4_K_M.gguf").read_bytes() == content,
        "lmstudio": lambda: (studio / "tiny-Q4_K_M.gguf").read_bytes() == content,
        "llamacpp": lambda: flat.read_bytes() == content,
        "gpt4all": lambda: nomic.read_bytes() == content,
    }


async def _adopt(visit: Visit, **wanted: Any) -> dict[str, Any]:
    answer = await visit.http.post("/domicile/adopt", json=wanted)
    assert answer.status_code == 202, answer.text
    job = await visit.house.jobs.wait(answer.json()["id"])
    shown: dict[str, Any] = (await visit.http.get(f"/domicile/jobs/{job.id}")).json()
    return shown


async def _models(visit: Visit) -> dict[str, dict[str, Any]]:
    listed = (await visit.http.get("/domicile/models")).json()["models"]
    return {m["name"]: m for m in listed if m["source"] != "embedded"}


async def _offers(visit: Visit, **query: str) -> dict[str, dict[str, Any]]:
    return {o["id"]: o for o in (await visit.http.get("/domicile/adoptable", params=query)).json()["adoptable"]}


@pytest.mark.anyio
async def test_one_content_in_five_stores_is_one_model_no_byte_more_and_removing_it_leaves_them_all(
    visiting: Visiting, person: Path, tmp_path: Path
) -> None:
    works = _five(person, ONE)
    async with visiting() as visit:
        (offer,) = (await _offers(visit)).values()
        assert set(offer["owners"]) == set(works)
        before = fakes.bytes_under(person, tmp_path / "hf", visit.house.settings.models)
        done = await _adopt(visit, all=True)
        assert done["status"] == "done"
        assert len(done["result"]["adopted"]) == 5
        ((name, model),) = (await _models(visit)).items()
        assert set(model["owners"]) == set(works)
        assert (model["source"], model["licence"], model["size_bytes"]) == ("adopted", "mit", len(ONE))
        record = visit.house.settings.models / "domicile.json"
        grown = fakes.bytes_under(person, tmp_path / "hf", visit.house.settings.models) - before
        assert grown == record.stat().st_blocks * 512  # our own note of it, and no byte of theirs
        assert await _offers(visit) == {}
        async with visit.house.session(name) as (served, _):
            assert served.path.read_bytes() == ONE
        gone = (await visit.http.delete(f"/domicile/models/{name}")).json()
        assert gone["freed_bytes"] == 0
        assert await _models(visit) == {}
        assert {owner: check() for owner, check in works.items()} == dict.fromkeys(works, True)


@pytest.mark.anyio
async def test_removing_the_files_too_frees_what_each_tool_had_and_leaves_the_rest_of_it(
    visiting: Visiting, person: Path
) -> None:
    works = _five(person, ONE)
    ollama = person / ".ollama" / "models"
    other = fakes.ollama(ollama, "other:1b", TWO)
    async with visiting() as visit:
        await _adopt(visit, all=True)
        name = next(n for n, m in (await _models(visit)).items() if len(m["owners"]) == 5)
        gone = (await visit.http.delete(f"/domicile/models/{name}", params={"also_files": "true"})).json()
        assert gone["freed_bytes"] >= 5 * len(ONE)
        assert len(await _models(visit)) == 1
    left = {}
    for owner, check in works.items():
        try:
            left[owner] = check()
        except FileNotFoundError:
            left[owner] = False
    assert left == dict.fromkeys(works, False)
    assert fakes.ollama_runs(other, ollama)


@pytest.mark.anyio
async def test_a_model_goes_on_by_the_copy_of_another_tool_when_its_own_file_is_gone(
    visiting: Visiting, person: Path
) -> None:
    studio = fakes.lmstudio(person / ".lmstudio" / "models", "org/tiny", {"tiny-Q4_K_M.gguf": ONE})
    flat = fakes.gpt4all(person / ".local" / "share" / "nomic.ai" / "GPT4All", "tiny.gguf", ONE)
    async with visiting() as visit:
        await _adopt(visit, all=True)
        assert (await _models(visit))["org/tiny:Q4_K_M"]["owners"] == ["lmstudio", "gpt4all"]
        (studio / "tiny-Q4_K_M.gguf").unlink()
        model = (await _models(visit))["org/tiny:Q4_K_M"]
        assert (model["missing"], model["owners"]) == (False, ["gpt4all"])
        assert visit.house.library.ready("org/tiny:Q4_K_M").path == flat
        flat.unlink()
        assert (await _models(visit))["org/tiny:Q4_K_M"]["missing"]


@pytest.mark.anyio
async def test_what_is_here_already_is_told_and_gets_one_more_owner(visiting: Visiting, person: Path) -> None:
    async with visiting() as visit:
        own = visit.house.settings.models / "org" / "tiny"
        own.mkdir(parents=True)
        (own / "tiny-Q4_K_M.gguf").write_bytes(ONE)
        (offer,) = (await _offers(visit)).values()
        assert (offer["owners"], offer["name"]) == (["house"], "org/tiny:Q4_K_M")  # put there by hand
        await _adopt(visit, models=[offer["id"]])
        assert (await _models(visit))["org/tiny:Q4_K_M"]["source"] == "hub"
        fakes.ollama(person / ".ollama" / "models", "small:latest", ONE)
        (offer,) = (await _offers(visit)).values()
        assert offer["here"] == "org/tiny:Q4_K_M"
        done = await _adopt(visit, models=["small:latest"])
        assert done["result"]["adopted"] == [{"name": "org/tiny:Q4_K_M", "id": "ollama/small:latest", "new": False}]
        assert list(await _models(visit)) == ["org/tiny:Q4_K_M"]
        assert visit.house.library.get("small").name == "org/tiny:Q4_K_M"  # by what Ollama calls it
        gone = (await visit.http.delete("/domicile/models/org/tiny:Q4_K_M")).json()
        assert gone["freed_bytes"] == len(ONE)
        assert not own.exists()
        assert len(await _offers(visit)) == 1


@pytest.mark.anyio
async def test_files_of_one_size_and_one_beginning_are_told_apart(visiting: Visiting, person: Path) -> None:
    folder = person / ".lmstudio" / "models"
    large = gguf("large", body=3_000_000)
    other = large[:1_500_000] + b"!" + large[1_500_001:]
    fakes.lmstudio(folder, "org/a", {"a-Q4_K_M.gguf": large})
    fakes.lmstudio(folder, "org/b", {"b-Q4_K_M.gguf": other})
    fakes.lmstudio(folder, "org/c", {"c-Q4_K_M.gguf": large})
    async with visiting() as visit:
        await _adopt(visit, all=True)
        assert list(await _models(visit)) == ["org/a:Q4_K_M", "org/b:Q4_K_M"]


@pytest.mark.anyio
async def test_a_blob_that_does_not_hold_what_its_name_announces_is_found_out(visiting: Visiting, person: Path) -> None:
    root = person / ".ollama" / "models"
    fakes.ollama(root, "tiny:1b", ONE)
    blob = next(b for b in (root / "blobs").iterdir() if b.read_bytes() == ONE)
    blob.write_bytes(ONE[:-1] + b"?")
    async with visiting() as visit:
        await _adopt(visit, all=True)
        assert not (await _models(visit))["tiny:1b"]["damaged"]  # believed at first
        assert await visit.house.adoption.verify_next()
        assert (await _models(visit))["tiny:1b"]["damaged"]
        answer = await visit.http.post("/domicile/models/tiny:1b/wake", json={})
        assert answer.status_code == 422
        assert "digest" in answer.json()["error"]["message"]
        assert not await visit.house.adoption.verify_next()


@pytest.mark.anyio
async def test_what_cannot_be_read_is_refused_by_name_and_the_others_are_taken_in(
    visiting: Visiting, person: Path
) -> None:
    folder = person / "ComfyUI" / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "bad.gguf").write_bytes(ONE[:60])
    (folder / "good.gguf").write_bytes(ONE)
    (folder / "old.ckpt").write_bytes(b"PK\x03\x04")
    async with visiting() as visit:
        offers = await _offers(visit)
        assert [o["id"] for o in offers.values() if o["runs_code"]] == ["folder/checkpoints/old"]
        done = await _adopt(visit, all=True)
        assert list(await _models(visit)) == ["checkpoints/good"]
        refused = {r["id"]: r["code"] for r in done["result"]["refused"]}
        assert refused == {"folder/checkpoints/bad": "malformed", "folder/checkpoints/old": "runs_code"}
        alone = await _adopt(visit, models=["folder/checkpoints/old"])
        assert (alone["status"], alone["error"]["code"]) == ("failed", "runs_code")


@pytest.mark.anyio
async def test_a_place_that_somebody_names_is_taken_in_and_an_empty_one_says_so(
    visiting: Visiting, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "mine.gguf").write_bytes(ONE)
    (folder / "other.gguf").write_bytes(TWO)
    async with visiting() as visit:
        assert (await visit.http.get("/domicile/adoptable", params={"path": "relative"})).status_code == 400
        assert len(await _offers(visit, path=str(folder))) == 2
        await _adopt(visit, path=str(folder / "mine.gguf"))
        assert list(await _models(visit)) == ["mine"]
        nowhere = await _adopt(visit, path=str(tmp_path / "nowhere"))
        assert nowhere["error"]["code"] == "not_adoptable"
        wishes: list[dict[str, Any]] = [
            {},
            {"models": []},
            {"models": [3]},
            {"models": "x"},
            {"path": "x"},
            {"all": "yes"},
        ]
        for wrong in wishes:
            assert (await visit.http.post("/domicile/adopt", json=wrong)).status_code == 400


@pytest.mark.anyio
async def test_adopted_models_come_back_when_the_database_is_lost(visiting: Visiting, person: Path) -> None:
    _five(person, ONE)
    async with visiting() as visit:
        await _adopt(visit, all=True)
        (name,) = await _models(visit)
        await visit.http.post(f"/domicile/models/{name}/aliases", json={"alias": "petit"})
        before = await _models(visit)
    for file in (person.parent / "home").glob("domicile.db*"):
        file.unlink()
    async with visiting() as visit:
        assert await _models(visit) == before
        assert visit.house.library.rebuilt == 1


@pytest.mark.anyio
async def test_a_watched_folder_tells_what_comes_and_what_goes(visiting: Visiting, person: Path) -> None:
    studio = fakes.lmstudio(person / ".lmstudio" / "models", "org/tiny", {"tiny-Q4_K_M.gguf": ONE})
    async with visiting() as visit:
        house = visit.house
        await _adopt(visit, all=True)
        watch = Watch(house.settings, house.library, house.adoption, house.notices)
        heard: list[dict[str, Any]] = []

        async def listen() -> None:
            async with visit.http.stream("GET", "/domicile/library/events") as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        heard.append(json.loads(line[5:]))
                        if len(heard) == 3:
                            return

        listener = asyncio.create_task(listen())
        await watch.look()
        fakes.lmstudio(person / ".lmstudio" / "models", "org/new", {"new-Q8_0.gguf": TWO})
        await watch.look()
        (studio / "tiny-Q4_K_M.gguf").rename(person / "away")
        await watch.look()
        (person / "away").rename(studio / "tiny-Q4_K_M.gguf")
        await watch.look()
        await watch.look()
        await asyncio.wait_for(listener, 20)
        assert [(n["kind"], n["name"]) for n in heard] == [
            ("offered", "org/new:Q8_0"),
            ("missing", "org/tiny:Q4_K_M"),
            ("back", "org/tiny:Q4_K_M"),
        ]
        late = house.notices.follow(2)
        assert (await anext(late))[1]["kind"] == "back"
        await late.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_what_a_tool_replaced_by_another_version_keeps_its_name_here(visiting: Visiting, person: Path) -> None:
    root = person / ".ollama" / "models"
    fakes.ollama(root, "tiny:1b", ONE)
    async with visiting() as visit:
        await _adopt(visit, all=True)
        await visit.http.post("/domicile/models/tiny:1b/aliases", json={"alias": "petit"})
        for blob in (root / "blobs").iterdir():
            blob.unlink()
        fakes.ollama(root, "tiny:1b", TWO)
        assert (await _models(visit))["tiny:1b"]["missing"]
        await _adopt(visit, all=True)
        ((name, model),) = (await _models(visit)).items()
        assert (name, model["missing"], model["aliases"]) == ("tiny:1b", False, ["petit"])
        assert visit.house.library.ready("petit").path.read_bytes() == TWO


@pytest.mark.anyio
async def test_a_model_that_is_pulled_over_an_adopted_one_does_not_keep_its_copies(
    visiting: Visiting, person: Path
) -> None:
    fakes.lmstudio(person / ".lmstudio" / "models", "org/tiny", {"tiny-Q4_K_M.gguf": ONE})
    async with visiting() as visit:
        await _adopt(visit, all=True)
        place = visit.house.settings.models / "org" / "tiny" / "tiny-Q4_K_M.gguf"
        place.parent.mkdir(parents=True)
        place.write_bytes(TWO)
        pulled = Installed("org/tiny:Q4_K_M", place, "gguf", len(TWO), "hub", (place,), "org/tiny")
        assert visit.house.library.add(pulled).owners == ()
        assert visit.house.library.get("org/tiny").copies == ()
        assert (await visit.http.delete("/domicile/models/org/tiny")).json()["freed_bytes"] == len(TWO)
