"""Pictures through the real diffusers, in the house: pulled or taken in, drawn by OpenAI's client, kept, refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.app import House, open_house
from domicile.config import load
from domicile.types import Installed
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes import painters
from tests.fakes.environment import borrowed
from tests.fakes.hub import FakeHub
from tests.fakes.inside import InProcess
from tests.nursery import run

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]
QUICK = {"prompt": "un chat gris", "steps": 2, "seed": 7, "size": "64x64"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painters.folder(tmp_path_factory.mktemp("painters"))


class Home:
    """A house with its real engines, and a client at its door."""

    def __init__(self, house: House, http: httpx2.AsyncClient) -> None:
        self.house, self.http = house, http

    def take(self, model: Path, name: str = "tiny", **more: Any) -> Installed:
        """Enter a folder in the library where it lies."""
        paths = tuple(sorted(p for p in model.rglob("*") if p.is_file() or p.is_symlink()))
        index = next((p for p in paths if p.name == "model_index.json"), paths[0])
        size = sum(p.stat().st_size for p in paths)
        made = Installed(name, index, "diffusers", size, "file", files=paths, task="text-to-image", **more)
        return self.house.library.add(made)

    async def generate(self, **said: Any) -> httpx2.Response:
        return await self.http.post("/v1/images/generations", json={**QUICK, **said}, timeout=200)


@asynccontextmanager
async def home(**given: Any) -> AsyncIterator[Home]:
    settings = load(**{"threads": 1, "selftest": False, "context": 512, "wake_timeout": 200.0, **given})
    if not (settings.engines / "images").exists():
        borrowed(settings.engines, "images")
    async with open_house(settings) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            yield Home(house, http)


def png_of(answer: httpx2.Response, place: int = 0) -> bytes:
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][place]["b64_json"])


def texts_of(png: bytes) -> dict[str, str]:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return {k: str(v) for k, v in image.info.items()}


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_folder_of_the_hub_draws_the_same_for_the_same_seed_and_says_how_in_the_picture(
    hub: FakeHub, tiny: Path
) -> None:
    hub.add("domicile/tiny-sd", {**painters.files(tiny), "unet/diffusion_pytorch_model.bin": b"\x80\x04never"})
    async with home() as at:
        job = (await at.http.post("/domicile/pull", json={"model": "domicile/tiny-sd"})).json()
        told = await at.http.get(f"/domicile/jobs/{job['id']}/events")
        assert '"done"' in told.text, told.text[-1500:]
        (model,) = at.house.studio.models()
        fit = (await at.http.get("/domicile/fit", params={"model": model.name})).json()
        assert fit["verdict"] in {"fits", "tight"}
        report = await asyncio.to_thread(run, "fit", model.name)
        assert "in all, of" in report.stdout
        assert "context" not in report.stdout  # a picture has none

        first = png_of(await at.generate())  # no model is named: the one that is here draws
        assert first == png_of(await at.generate(model=model.name))
        assert first != png_of(await at.generate(seed=8))
        assert first != png_of(await at.generate(sampler="euler_a"))
        said = texts_of(first)["parameters"]
        assert said.startswith("un chat gris\nSteps: 2, Sampler: default, CFG scale: 7, Seed: 7, Size: 64x64, Model: ")
        both = await at.generate(n=2)
        assert png_of(both) == first
        assert png_of(both, 1) == png_of(await at.generate(seed=8))

        lent = (await at.generate(response_format="url")).json()["data"][0]["url"]
        assert (await at.http.get(lent)).content == first
        assert (await at.http.get("/domicile/images")).json()["pictures"] == []
        (row,) = [m for m in (await at.http.get("/domicile/ps")).json()["models"] if m["name"] == model.name]
        assert (row["engine"], row["state"]) == ("images", "awake")
        talk = await at.http.post(
            "/v1/chat/completions", json={"model": model.name, "messages": [{"role": "user", "content": "?"}]}
        )
        assert talk.status_code == 400
        assert "draws" in talk.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "usual"),
    [
        ("StableDiffusion3Pipeline", "Steps: 28, Sampler: default, CFG scale: 7"),
        ("FluxPipeline", "Steps: 4, Sampler: default, CFG scale: 0"),  # schnell
        ("ZImagePipeline", "Steps: 8, Sampler: default, CFG scale: 0"),
        ("Flux2KleinPipeline", "Steps: 4, Sampler: default, CFG scale: 1"),
    ],
)
async def test_a_model_that_follows_a_flow_draws_with_what_suits_it_and_from_a_picture(
    kind: str, usual: str, tmp_path: Path
) -> None:
    async with home() as at:
        at.take(painters.flowing(tmp_path / "made", kind))
        first = png_of(await at.generate(steps=None))
        assert usual in texts_of(first)["parameters"]
        assert first != png_of(await at.generate(steps=None, prompt="une maison"))  # what is said reaches the model
        files = {"image": ("a.png", first, "image/png")}
        asked = {"prompt": "la nuit", "steps": "2", "seed": "1", "size": "64x64"}
        edited = png_of(await at.http.post("/v1/images/edits", files=files, data=asked, timeout=200))
        again = png_of(await at.http.post("/v1/images/edits", files=files, data={**asked, "seed": "2"}, timeout=200))
        assert len({first, edited, again}) == 3


async def test_openais_own_client_generates_streams_and_edits(tiny: Path) -> None:
    from openai import AsyncOpenAI

    async with home() as at:
        at.take(tiny)
        client = AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=_as_httpx(at.http), timeout=200)
        made = await client.images.generate(
            model="tiny", prompt="une maison", size="auto", extra_body={"steps": 2, "seed": 1}
        )
        assert made.data is not None
        first = base64.b64decode(made.data[0].b64_json or "")
        assert texts_of(first)["parameters"].startswith("une maison\n")
        stream = await client.images.generate(
            model="tiny", prompt="une maison", stream=True, partial_images=1, extra_body={"steps": 3, "seed": 1}
        )
        kinds = [event.type async for event in stream]
        assert kinds == ["image_generation.partial_image", "image_generation.completed"]
        edited = await client.images.edit(
            model="tiny",
            prompt="la nuit",
            image=("a.png", first, "image/png"),
            mask=("m.png", first, "image/png"),
            extra_body={"steps": 2, "seed": 1, "strength": 0.5},
        )
        assert edited.data is not None
        other = base64.b64decode(edited.data[0].b64_json or "")
        assert other != first
        assert "Denoising strength: 0.5" in texts_of(other)["parameters"]


def _as_httpx(http: Any) -> Any:
    return http


async def test_a_drawing_goes_on_by_itself_is_watched_stopped_kept_and_deleted(tiny: Path) -> None:
    async with home() as at:
        at.take(tiny)
        begun = await at.http.post("/domicile/images", json={**QUICK, "steps": 4, "negative_prompt": "flou"})
        assert begun.status_code == 202, begun.text
        heard = events_of((await at.http.get(f"/domicile/images/drawings/{begun.json()['id']}/events")).text)
        kinds = [kind for kind, _ in heard]
        assert (kinds[0], kinds[-1]) == ("snapshot", "over")
        assert kinds.count("picture") == 1
        assert any(data.get("preview") for kind, data in heard if kind == "step")
        assert heard[-1][1]["state"] == "done", heard[-1]
        (kept,) = (await at.http.get("/domicile/images")).json()["pictures"]
        assert (kept["prompt"], kept["negative"], kept["seed"], kept["steps"]) == ("un chat gris", "flou", 7, 4)
        content = await at.http.get(kept["url"])
        assert content.headers["content-type"] == "image/png"
        assert "Negative prompt: flou" in texts_of(content.content)["parameters"]

        long = (await at.http.post("/domicile/images", json={**QUICK, "steps": 200})).json()
        drawing = at.house.studio.drawing(long["id"])
        async for event in at.house.studio.follow(drawing, None):
            if event.name == "step":
                break
        ended = (await at.http.post(f"/domicile/images/drawings/{long['id']}/stop")).json()
        assert (ended["state"], ended["pictures"]) == ("stopped", [])
        assert png_of(await at.generate())  # the child is free again

        again = await at.http.post(
            "/domicile/images",
            json={**QUICK, "image": "data:image/png;base64," + base64.b64encode(content.content).decode()},
        )
        await at.http.get(f"/domicile/images/drawings/{again.json()['id']}/events")
        assert len((await at.http.get("/domicile/images")).json()["pictures"]) == 2
        assert (await at.http.delete(f"/domicile/images/{kept['id']}")).status_code == 200
        assert (await at.http.get(kept["url"])).status_code == 404
        for name in ("..%2F..%2Fdomicile.db", "0" * 13 + "-" + "a" * 16, "lent"):
            assert (await at.http.get(f"/domicile/images/{name}/content")).status_code == 404


async def test_what_is_asked_wrongly_is_named(tiny: Path) -> None:
    async with home() as at:
        nobody = await at.generate()
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "no_picture_model")
        assert "domicile recommended --need image" in nobody.json()["error"]["hint"]
        words = await at.generate(model="graine")
        assert words.json()["error"]["code"] == "model_cannot"
        at.take(tiny)
        for field, value in [
            ("size", "huge"), ("size", "64x9000"), ("steps", 0), ("steps", 1000), ("n", 99), ("sampler", "magic"),
            ("guidance", "much"), ("seed", -5), ("seed", "a"), ("loras", ["nobody"]), ("response_format", "gif"),
            ("prompt", 3), ("partial_images", 9),
        ]:  # fmt: skip
            answer = await at.generate(**{field: value})
            assert answer.status_code == 400, (field, value, answer.text)
        pixels = _png(20_000, 20_000, b"")
        bomb = _png(64, 64, zlib.compress(b"\0" * (64 << 20)))
        for image in (pixels, bomb, b"\x80\x04pickle", b"<svg onload=alert(1)>"):
            answer = await at.http.post(
                "/v1/images/edits", data={"prompt": "x", "steps": "1"}, files={"image": ("a.png", image, "image/png")}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_image")
        answer = await at.http.post("/v1/images/edits", json={"prompt": "x"})
        assert answer.status_code == 400
        answer = await at.http.post("/v1/images/variations", json={})
        assert answer.status_code == 501
        assert at.house.runner.ps() == []  # none of it woke a model
        shutil.rmtree(at.house.settings.engines / "images")
        missing = await at.generate()
        assert missing.status_code == 501
        assert missing.json()["error"]["hint"] == "domicile engine add images"


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _code(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "unet": ["evil", "Pipeline"]}))


def _custom(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline.py", "Evil"]}))


def _pickle(model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.")


def _link(model: Path) -> None:
    target = model / "vae" / "diffusion_pytorch_model.safetensors"
    outside = model.parent / "outside.safetensors"
    target.rename(outside)
    target.symlink_to(outside)


def _header(model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{" + b" " * 64)


@pytest.mark.parametrize("spoil", [_code, _custom, _pickle, _link, _header])
async def test_a_hostile_folder_is_refused_and_the_house_stays(spoil: Any, tiny: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    spoil(model)
    async with home() as at:
        at.take(model)
        answer = await at.generate()
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["code"] in {"bad_model_file", "malformed", "runs_code", "unknown_format"}
        assert (await at.http.get("/domicile/health")).status_code == 200


async def test_who_leaves_ends_the_drawing(tiny: Path) -> None:
    async with home() as at:
        at.take(tiny)
        await at.generate()
        asking = asyncio.create_task(at.generate(steps=200, n=16))
        while not any(p.busy for p in at.house.runner.ps()):
            await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(60):
            assert png_of(await at.generate())


async def test_a_checkpoint_of_comfyui_is_adopted_and_draws_what_its_folder_does_with_a_lora_over_it(
    tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ComfyUI" / "models"
    for name in ("checkpoints", "loras"):
        (folder / name).mkdir(parents=True)
    painters.checkpoint(tiny, folder / "checkpoints" / "tiny.safetensors")
    style = painters.lora(tmp_path / "style.safetensors")
    (folder / "checkpoints" / "evil.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.")
    async with home(model_folders=(str(folder),)) as at:
        at.take(tiny)
        job = (await at.http.post("/domicile/adopt", json={"all": True})).json()
        await at.http.get(f"/domicile/jobs/{job['id']}/events")
        (made,) = [m for m in at.house.library.list() if m.format == "safetensors"]
        assert (made.task, made.source) == ("text-to-image", "adopted")
        at.house.library.add(
            Installed("style", style, "safetensors", style.stat().st_size, "file", files=(style,), task="lora")
        )
        asked = {**QUICK, "sampler": "euler"}
        plain = _pixels(png_of(await at.generate(model="tiny", **asked)))
        assert _pixels(png_of(await at.generate(model=made.name, **asked))) == plain
        laid = await at.generate(model=made.name, **asked, loras=[{"name": "style", "scale": 1.0}])
        assert _pixels(png_of(laid)) != plain
        assert "<lora:style:1>" in texts_of(png_of(laid))["parameters"]
        assert _pixels(png_of(await at.generate(model=made.name, **asked))) == plain  # it leaves no trace
        wrong = await at.generate(model="style")
        assert wrong.json()["error"]["code"] == "model_cannot"


async def test_the_command_saves_what_it_drew_and_never_over_another_file(tiny: Path, tmp_path: Path) -> None:
    async with home() as at:
        at.take(tiny)
        folder = at.house.settings.home
    (tmp_path / "phare.png").write_bytes(b"mine")
    words = (
        "image",
        "un",
        "phare",
        "--steps",
        "2",
        "--seed",
        "7",
        "--size",
        "64x64",
        "-o",
        "phare.png",
        "--lang",
        "fr",
    )
    env = {**os.environ, "DOMICILE_HOME": str(folder), "DOMICILE_THREADS": "1"}
    said = await asyncio.to_thread(lambda: run(*words, cwd=tmp_path, env=env))
    assert said.returncode == 0
    assert said.stdout.strip() == "phare-2.png (graine 7)"
    assert (tmp_path / "phare.png").read_bytes() == b"mine"
    assert texts_of((tmp_path / "phare-2.png").read_bytes())["parameters"].startswith("un phare\nSteps: 2,")


def _pixels(png: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return bytes(image.tobytes())
