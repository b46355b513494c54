"""Models that see: the real engine with a projector, asked with images in three dialects, from pull to removal."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import OpenHouse
from tests.fakes import eyes
from tests.fakes.hub import FakeHub

Opening = Callable[..., OpenHouse]
pytestmark = pytest.mark.slow

RED, BLUE = (255, 0, 0), (0, 0, 255)
ONE_THREAD = {"DOMICILE_THREADS": "1", "OMP_WAIT_POLICY": "passive", "DOMICILE_SELFTEST": "false"}


def _url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _asked(model: str, *urls: str, **more: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "user", "content": [{"type": "text", "text": "Which colour?"}, *parts]}
    return {"model": model, "messages": [message], "temperature": 0, "max_tokens": 4, **more}


def _said(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def _error(answer: httpx2.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@pytest.fixture
def vision(hub: FakeHub, tmp_path: Path) -> dict[str, bytes]:
    files = {
        "see-Q8_0.gguf": eyes.seer(tmp_path / "seer.gguf").read_bytes(),
        "mmproj-see-F16.gguf": eyes.projector(tmp_path / "mmproj.gguf").read_bytes(),
        "mmproj-see-Q4_0.gguf": b"GGUF and then nothing that is wanted",
    }
    hub.add("org/see-GGUF", files)
    return files


@pytest.fixture
def house(open_house_process: Opening, vision: dict[str, bytes]) -> OpenHouse:
    return open_house_process(**ONE_THREAD)


@pytest.fixture
def api(house: OpenHouse) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        yield client


def pulled(house: OpenHouse, model: str) -> dict[str, Any]:
    """Pull a model to the end; the job as it was last told."""
    job = httpx2.post(f"{house.url}/domicile/pull", json={"model": model}).json()
    with httpx2.stream("GET", f"{house.url}/domicile/jobs/{job['id']}/events", timeout=60) as events:
        told = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["status"] == "done", told[-1]
    return dict(told[-1])


def test_a_model_that_sees_from_pull_to_removal(
    house: OpenHouse, api: httpx2.Client, vision: dict[str, bytes], tmp_path: Path
) -> None:
    table = api.get("/domicile/repository", params={"model": "org/see-GGUF"}).json()
    assert table["projector"]["file"] == "mmproj-see-F16.gguf"
    row = table["variants"][0]
    assert row["total_bytes"] >= row["projector_bytes"] > len(vision["mmproj-see-F16.gguf"])
    job = pulled(house, "org/see-GGUF:Q8_0")
    assert job["size_bytes"] == len(vision["see-Q8_0.gguf"]) + len(vision["mmproj-see-F16.gguf"])
    shown = api.get("/domicile/models/org/see-GGUF:Q8_0").json()
    assert shown["files"] == ["see-Q8_0.gguf", "mmproj-see-F16.gguf"]
    assert "vision" in shown["capabilities"]
    assert shown["projector"]["file"] == "mmproj-see-F16.gguf"
    assert "vision" in api.post("/api/show", json={"model": "org/see-GGUF:Q8_0"}).json()["capabilities"]

    # OpenAI's, Ollama's and Anthropic's dialects
    name = "org/see-GGUF:Q8_0"
    assert _said(api.post("/v1/chat/completions", json=_asked(name, _url(eyes.png(RED))))) == "red"
    assert _said(api.post("/v1/chat/completions", json=_asked(name, _url(eyes.png(BLUE, 70, 30))))) == "blue"
    assert _said(api.post("/v1/chat/completions", json=_asked(name))) == "?"
    image = base64.b64encode(eyes.png(BLUE)).decode()
    turn: Any = {"role": "user", "content": "Colour?", "images": [image]}
    told = api.post(
        "/api/chat", json={"model": name, "messages": [turn], "stream": False, "options": {"temperature": 0}}
    )
    assert told.json()["message"]["content"] == "blue"
    told = api.post("/api/generate", json={"model": name, "prompt": "Colour?", "images": [image], "stream": False})
    assert told.json()["response"] == "blue"
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}
    turn = {"role": "user", "content": [block, {"type": "text", "text": "Colour?"}]}
    told = api.post("/v1/messages", json={"model": name, "max_tokens": 4, "messages": [turn]})
    assert told.json()["content"][0]["text"] == "blue"
    part = {"type": "input_image", "image_url": _url(eyes.png(RED))}
    turn = {"role": "user", "content": [part, {"type": "input_text", "text": "Colour?"}]}
    told = api.post("/v1/responses", json={"model": name, "input": [turn], "store": False, "temperature": 0})
    assert told.json()["output"][-1]["content"][0]["text"] == "red"

    # the memory that was said is what it takes
    report = api.get("/domicile/fit", params={"model": name}).json()
    (awake,) = api.get("/domicile/ps").json()["models"]
    assert report["projector_bytes"] == shown["projector"]["need_bytes"]
    assert abs(awake["used_bytes"] - report["total_bytes"]) < 12 << 20

    # switched off, then on again
    api.patch(f"/domicile/models/{name}/settings", json={"projector": "off"}).raise_for_status()
    status, code, message = _error(api.post("/v1/chat/completions", json=_asked(name, _url(eyes.png(RED)))))
    assert (status, code) == (400, "model_cannot")
    assert "switched off" in message
    assert _said(api.post("/v1/chat/completions", json=_asked(name))) == "?"
    api.patch(f"/domicile/models/{name}/settings", json={"projector": None}).raise_for_status()
    assert _said(api.post("/v1/chat/completions", json=_asked(name, _url(eyes.png(RED))))) == "red"

    api.delete(f"/domicile/models/{name}", params={"force": "true"}).raise_for_status()
    assert not list((tmp_path / "home" / "models").rglob("*.gguf"))


def test_images_that_no_engine_is_given(house: OpenHouse, api: httpx2.Client) -> None:
    pulled(house, "org/see-GGUF:Q8_0")
    fine = _url(eyes.png(RED))
    wave = b"RIFF\x24\0\0\0WEBPVP8 "
    refused = {
        "address": "https://example.org/cat.png",
        "file": "file:///etc/passwd",
        "bare": "iVBORw0KGgo=",
        "no base64": "data:image/png;base64,***",
        "hundred megapixels": _url(eyes.png(RED, said=(10000, 10000))),
        "bomb": _url(eyes.bomb()),
        "webp": _url(wave, "webp"),
        "text": _url(b"hello, I am no image at all"),
        "empty": _url(b""),
    }
    for what, url in refused.items():
        status, code, _ = _error(api.post("/v1/chat/completions", json=_asked("org/see-GGUF:Q8_0", url)))
        assert (what, status, code) == (what, 400, "bad_image")
    status, code, message = _error(api.post("/v1/chat/completions", json=_asked("org/see-GGUF:Q8_0", *[fine] * 33)))
    assert (status, code) == (400, "bad_image")
    assert "32" in message
    hidden = json.dumps(_asked("org/see-GGUF:Q8_0", refused["bomb"])).replace("image_url", "image\\u005furl")
    assert _error(api.post("/v1/chat/completions", content=hidden.encode()))[:2] == (400, "bad_image")
    assert api.get("/domicile/ps").json()["models"] == []  # nothing was woken for any of it
    smuggled = {"model": "org/see-GGUF:Q8_0", "prompt": [{"prompt_string": "x", "multimodal_data": ["AAAA"]}]}
    assert _error(api.post("/v1/completions", json=smuggled))[:2] == (400, "bad_field")
    # a header that is right and a body that is not: the engine says so, and lives
    cut = eyes.png(RED, 400, 400)[:-40]
    assert api.post("/v1/chat/completions", json=_asked("org/see-GGUF:Q8_0", _url(cut))).status_code in {200, 400}
    assert _said(api.post("/v1/chat/completions", json=_asked("org/see-GGUF:Q8_0", fine, _url(eyes.png(RED))))) == "red"
    assert api.get("/domicile/health").json() == {"status": "ok"}
    status, code, message = _error(api.post("/v1/chat/completions", json=_asked("graine", fine)))
    assert (status, code) == (400, "model_cannot")
    assert "does not support images" in message


def test_a_projector_beside_a_file_of_ones_own_is_used_when_it_suits(api: httpx2.Client, tmp_path: Path) -> None:
    for folder, width in (("suits", eyes.WIDTH), ("other", 64)):
        place = tmp_path / folder
        place.mkdir()
        eyes.seer(place / f"{folder}.gguf")
        eyes.projector(place / "mmproj-F16.gguf", width=width)
        api.post("/domicile/models", json={"path": str(place / f"{folder}.gguf")}).raise_for_status()
    assert _said(api.post("/v1/chat/completions", json=_asked("suits", _url(eyes.png(BLUE))))) == "blue"
    assert _error(api.post("/v1/chat/completions", json=_asked("other", _url(eyes.png(BLUE)))))[:2] == (
        400,
        "model_cannot",
    )
    assert _said(api.post("/v1/chat/completions", json=_asked("other"))) == "?"


def test_the_clients_of_openai_and_ollama_show_images(house: OpenHouse, vision: dict[str, bytes]) -> None:
    import ollama
    import openai

    pulled(house, "org/see-GGUF")
    image = eyes.png(RED)
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=60) as of_openai:
        asked: Any = _asked("org/see-GGUF", _url(image))
        assert of_openai.chat.completions.create(**asked).choices[0].message.content == "red"
    with ollama.Client(house.url, timeout=60) as of_ollama:
        message = {"role": "user", "content": "Which colour?", "images": [image]}
        said = of_ollama.chat("org/see-GGUF", [message], options={"temperature": 0, "num_predict": 4})
        assert said.message.content == "red"


@pytest.mark.anyio
async def test_why_a_webp_is_refused_of_a_gguf(tmp_path: Path) -> None:
    """The engine's own answer to one, behind the house's back: its decoder (stb_image) does not know them."""
    from domicile.app import open_house
    from domicile.config import load
    from domicile.types import Installed
    from tests.fakes import seers

    files = (eyes.seer(tmp_path / "see-Q8_0.gguf"), eyes.projector(tmp_path / "mmproj-see-F16.gguf"))
    async with open_house(load(threads=1, selftest=False)) as house:
        size = sum(file.stat().st_size for file in files)
        house.library.add(Installed("see", files[0], "gguf", size, "file", files=files))
        async with house.session("see") as (_, awake):
            for form, status in (("PNG", 200), ("WEBP", 400)):
                url = _url(seers.picture(form), form.lower())
                async with awake.ask("/v1/chat/completions", json.dumps(_asked("see", url)).encode()) as reply:
                    told = b"".join([piece async for piece in reply.body])
                    assert reply.status == status, told
        assert b"image" in told
