"""Safetensors models that see, through the real transformers: OpenAI's client shows them pictures in a house."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.conftest import OpenHouse
from tests.fakes import eyes, seers, tensors
from tests.fakes.environment import borrowed
from tests.fakes.hub import FakeHub

LLAVA = "org/llava:model"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("seers")
    words = tensors.graine(place / "words")
    return {kind: seers.folder(kind, words, place / kind) for kind in seers.SEERS}


@pytest.fixture
def client(
    folders: dict[str, Path], hub: FakeHub, open_house_process: Callable[..., OpenHouse]
) -> Iterator[openai.OpenAI]:
    borrowed(Path(os.environ["DOMICILE_HOME"]) / "engines", "transformers")
    house = open_house_process(
        DOMICILE_THREADS="1", OMP_WAIT_POLICY="passive", DOMICILE_SELFTEST="false", DOMICILE_CONTEXT="1024"
    )
    for kind, folder in folders.items():
        hub.add(f"org/{kind}", tensors.files(folder))
        job = httpx2.post(f"{house.url}/domicile/pull", json={"model": f"org/{kind}"}).raise_for_status().json()
        told = httpx2.get(f"{house.url}/domicile/jobs/{job['id']}/events", timeout=60).text
        assert '"done"' in told, told[-1000:]
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=100) as made:
        yield made


def asked(*pictures: bytes, kind: str = "png") -> list[Any]:
    shown = [f"data:image/{kind};base64,{base64.b64encode(data).decode()}" for data in pictures]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in shown]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]


def test_each_kind_is_shown_pictures_and_they_count(client: openai.OpenAI) -> None:
    for model in (f"org/{kind}:model" for kind in seers.SEERS):

        def said(*pictures: bytes, kind: str = "png", model: str = model) -> tuple[int, Any]:
            told = client.chat.completions.create(
                model=model, messages=asked(*pictures, kind=kind), temperature=0, max_tokens=4,
                extra_body={"ignore_eos": True, "logprobs": True, "top_logprobs": 1},
            )  # fmt: skip
            assert told.usage is not None
            assert told.usage.completion_tokens == 4
            return told.usage.prompt_tokens, told.choices[0].logprobs.content[0].top_logprobs[0].logprob  # type: ignore[index,union-attr,unused-ignore]

        alone, _ = said()
        one, red = said(seers.picture("PNG"))
        assert one > alone, model
        assert said(seers.picture("PNG"), seers.picture("PNG", colour=(0, 0, 250)))[0] > one, model
        assert said(seers.picture("PNG", colour=(0, 250, 0)))[1] != red, model
        assert said(seers.picture("WEBP"), kind="webp")[0] == one, model
        shown = httpx2.post(str(client.base_url.join("../api/show")), json={"model": model}).json()
        assert "vision" in shown["capabilities"], model


def test_pictures_that_attack_are_refused_and_it_sees_on(client: openai.OpenAI) -> None:
    bad = {
        "pixels": asked(eyes.png((0, 0, 0), said=(10_000, 10_000))),
        "bomb": asked(eyes.bomb(64 << 20)),
        "pixels of a webp": asked(seers.webp_of(16_384, 16_384), kind="webp"),
        "no picture": asked(b"RIFF\x24\0\0\0WEBPVP8 " + bytes(40), kind="webp"),
        "an address": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]}
        ],
    }
    for name, messages in bad.items():
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=LLAVA, messages=messages, max_tokens=2)
        assert refused.value.code, name
    broken = seers.picture("PNG")[:-30]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=LLAVA, messages=asked(broken), max_tokens=2)
    fine = client.chat.completions.create(model=LLAVA, messages=asked(seers.picture("JPEG"), kind="jpeg"), max_tokens=2)
    assert fine.usage is not None
