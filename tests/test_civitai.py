"""Civitai: names, what is taken and what is not, the key, the store behind the redirect; from a fake of the site."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from domicile.app import open_house
from domicile.config import load
from domicile.errors import BadName
from domicile.refs import ModelRef
from tests.fakes.civitai import FakeCivitai, running

pytestmark = pytest.mark.anyio


def lora(width: int = 4) -> bytes:
    """A file of safetensors with the tensors of an adapter."""
    data = b"\0" * (4 * width)
    names = ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight")
    head = json.dumps(
        {
            name: {"dtype": "F32", "shape": [1, width], "data_offsets": [n * len(data), (n + 1) * len(data)]}
            for n, name in enumerate(names)
        }
    ).encode()
    return struct.pack("<Q", len(head)) + head + data * 2


@pytest.fixture
def site() -> Iterator[FakeCivitai]:
    with running() as fake:
        yield fake


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("civitai:12345", "civitai:12345"),
        ("civitai:12345@67", "civitai:12345@67"),
        ("https://civitai.com/models/12345/a-name", "civitai:12345"),
        ("https://civitai.com/models/12345?modelVersionId=67", "civitai:12345@67"),
        ("civitai.com/models/12345/x?a=b&modelVersionId=67#top", "civitai:12345@67"),
        ("https://civitai.com/api/download/models/67?type=Model", "civitai:@67"),
        ("urn:air:sdxl:checkpoint:civitai:12345@67", "civitai:12345@67"),
    ],
)
def test_a_model_of_civitai_is_named_as_people_find_it(said: str, canonical: str) -> None:
    assert str(ModelRef.parse(said)) == canonical
    assert str(ModelRef.parse(canonical)) == canonical


@pytest.mark.parametrize(
    "said", ["civitai:", "civitai:../x", "civitai:12@x", "https://civitai.com/user/1", "civitai:1/2"]
)
def test_what_is_no_model_of_civitai_is_refused(said: str) -> None:
    with pytest.raises(BadName):
        ModelRef.parse(said)


async def _pull(site: FakeCivitai, name: str, **given: Any) -> dict[str, Any]:
    async with open_house(load(civitai=site.url, selftest=False, **given)) as house:
        job = await house.pull(name)
        state = [state async for _, state in house.jobs.follow(job.id, None)][-1]
        models = {m.name: m for m in house.library.list()}
        return {"status": state.status, "error": state.error, "models": models, "loras": house.studio.loras()}


async def test_a_lora_is_found_fetched_checked_and_known_for_one(site: FakeCivitai) -> None:
    site.add(5, 50, "style.safetensors", lora())
    async with open_house(load(civitai=site.url)) as house:
        found = await house.sources.civitai.search("model", "LORA")
    assert found["results"][0]["id"] == "civitai:5"
    came = await _pull(site, "civitai:5", civitai_key="a-secret-key")
    assert came["status"] == "done", came["error"]
    (model,) = came["loras"]
    assert (model.name, model.source, model.task) == ("civitai:5@50", "civitai", "lora")
    sent = dict(site.seen)
    assert sent["/api/v1/models/5"] == "Bearer a-secret-key"


async def test_the_key_goes_to_the_site_and_not_to_its_store(site: FakeCivitai) -> None:
    with running() as store:
        store.add(5, 50, "style.safetensors", lora())
        site.add(5, 50, "style.safetensors", lora())
        site.closed, site.onward = "a-secret-key", f"{store.url}/store/50"
        refused = await _pull(site, "civitai:5@50")
        assert refused["status"] == "failed"
        assert refused["error"]["code"] == "token_refused"
        came = await _pull(site, "civitai:5@50", civitai_key="a-secret-key")
        assert came["status"] == "done", came["error"]
        assert store.seen
        assert {said for _, said in store.seen} == {None}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "model.ckpt"}, "runs_code"),
        ({"name": "../../evil.safetensors"}, "nothing_to_run"),
        ({"hashes": {"AutoV2": "AB"}}, "nothing_to_run"),
        ({"hashes": {"SHA256": "0" * 64}}, "corrupt_download"),
        ({"sizeKB": -1}, "nothing_to_run"),
        ({"sizeKB": "many"}, "nothing_to_run"),
    ],
)
async def test_what_cannot_be_trusted_is_not_taken(site: FakeCivitai, change: dict[str, Any], code: str) -> None:
    site.add(5, 50, "style.safetensors", lora(), **change)
    came = await _pull(site, "civitai:5")
    assert (came["status"], came["error"]["code"]) == ("failed", code)
    assert list(came["models"]) == ["graine"]


async def test_a_key_that_others_may_read_is_not_used(site: FakeCivitai) -> None:
    site.add(5, 50, "style.safetensors", lora())
    settings = load(civitai=site.url)
    settings.home.mkdir(parents=True, exist_ok=True)
    key = settings.home / "civitai.key"
    key.write_text("a-secret-key")
    key.chmod(0o644)
    assert (await _pull(site, "civitai:5"))["error"]["code"] == "token_refused"
    key.chmod(0o600)
    site.closed = "a-secret-key"
    assert (await _pull(site, "civitai:5"))["status"] == "done"
