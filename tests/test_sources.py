"""Where models come from: Ollama's registry, plain addresses, files and every format of the Hub, pulled for real."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _auth
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from domicile import outside
from domicile.config import load
from domicile.refs import ModelRef
from domicile.sources.hub import stored_token
from domicile.sources.ollama import Ollama
from domicile.types import RemoteFile, Repository
from tests.conftest import Visit, Visiting
from tests.fakes.hub import COMMIT, FakeHub, served
from tests.fakes.registry import TOKEN, FakeRegistry, digest_of, ranged, running

WEIGHTS = b"GGUF" + b"w" * 500
LAYERS = {
    "model": WEIGHTS,
    "projector": b"GGUF" + b"p" * 50,
    "template": b"{{ .Prompt }}",
    "system": b"Be kind.",
    "params": b'{"stop":["<end>"]}',
    "license": b"\n  LLAMA 3.2 COMMUNITY LICENSE\nmore\n",
    "license#2": b"Use policy",
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    with running(FakeRegistry()) as fake:
        monkeypatch.setenv("DOMICILE_OLLAMA_REGISTRY", fake.url)
        yield fake


async def pulled(visit: Visit, name: str) -> dict[str, Any]:
    """A pull to its end, through the API."""
    answer = await visit.http.post("/domicile/pull", json={"model": name})
    if answer.status_code != 202:
        return {"status": "refused", "error": answer.json()["error"]}
    await visit.house.jobs.wait(answer.json()["id"])
    job: dict[str, Any] = (await visit.http.get(f"/domicile/jobs/{answer.json()['id']}")).json()
    return job


# -- Ollama's registry --


@pytest.mark.anyio
@pytest.mark.parametrize("said", ["llama3.2:3b", "ollama:llama3.2:3b", "https://ollama.com/library/llama3.2:3b"])
async def test_a_model_of_ollamas_registry_comes_with_its_texts(
    registry: FakeRegistry, visiting: Visiting, said: str
) -> None:
    registry.add("library/llama3.2", "3b", LAYERS)
    async with visiting() as visit:
        job = await pulled(visit, said)
        told = {k: v for k, v in job["result"].items() if k != "self_test"}
        assert told == {"name": "llama3.2:3b", "size_bytes": sum(map(len, LAYERS.values())), "verified": True}
        model = visit.house.library.get("llama3.2:3b")
        assert model.path.read_bytes() == WEIGHTS
        assert (model.source, model.quantisation, model.licence) == ("ollama", "Q4_K_M", "LLAMA 3.2 COMMUNITY LICENSE")
        assert {p.name: p.read_bytes() for p in model.files if p.suffix != ".gguf"} == {
            "template.txt": LAYERS["template"],
            "system.txt": LAYERS["system"],
            "params.json": LAYERS["params"],
            "license.txt": LAYERS["license"],
            "license-2.txt": LAYERS["license#2"],
        }
        assert (await pulled(visit, "llama3.2:3b"))["status"] == "done"  # it is here: nothing is asked


@pytest.mark.anyio
async def test_the_token_is_asked_for_at_the_registry_and_goes_nowhere_else(
    registry: FakeRegistry, visiting: Visiting
) -> None:
    registry.add("somebody/mine", "latest", {"model": WEIGHTS})
    registry.closed = True
    async with visiting() as visit:
        assert (await pulled(visit, "ollama:somebody/mine"))["result"]["name"] == "ollama:somebody/mine:latest"
        sent = {at.partition("/")[0] + ("/token" if "/token" in at else ""): said for at, said in registry.seen}
        assert sent == {"127.0.0.1": f"Bearer {TOKEN}", "127.0.0.1/token": None, "localhost": None}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "realm", ["http://evil.example/token", "http://127.0.0.1:9/token", "", "file:///etc/passwd", "\x00"]
)
async def test_a_realm_elsewhere_is_not_asked(registry: FakeRegistry, visiting: Visiting, realm: str) -> None:
    registry.add("library/x", "latest", {"model": WEIGHTS})
    registry.closed, registry.realm = True, realm.replace("\x00", "http://[::1/token")
    async with visiting() as visit:
        job = await pulled(visit, "ollama:x")
        assert job["error"]["code"] in {"hub_answer", "token_refused"}
        assert all("token" not in at for at, _ in registry.seen)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"digest": "sha256:../../../../etc/passwd"}, "nothing_to_run"),
        ({"digest": "sha256:" + "A" * 64}, "nothing_to_run"),
        ({"digest": "sha256:" + "a" * 64 + "\n"}, "nothing_to_run"),
        ({"digest": "md5:" + "a" * 64}, "nothing_to_run"),
        ({"size": -1}, "nothing_to_run"),
        ({"size": True}, "nothing_to_run"),
        ({"size": "9"}, "nothing_to_run"),
        ({"mediaType": 5}, "nothing_to_run"),
        ({"mediaType": "application/vnd.ollama.image.tensor"}, "nothing_to_run"),
        ({"size": 2**49}, "no_room"),
        ({"digest": digest_of(b"others")}, "hub_answer"),
    ],
)
async def test_a_layer_that_lies_is_never_fetched_as_a_model(
    registry: FakeRegistry, visiting: Visiting, change: dict[str, Any], code: str
) -> None:
    registry.add("library/x", "latest", {"model": WEIGHTS})["layers"][0].update(change)
    async with visiting() as visit:
        job = await pulled(visit, "ollama:x")
        assert job["error"]["code"] in {code, "repository_not_found"}
        assert [m.name for m in visit.house.library.list()] == ["graine"]
        assert not list(visit.house.settings.home.rglob("*.gguf"))


async def _endless(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (1 << 20)
            await asyncio.sleep(0)  # so that the server may see that nobody listens any more

    return StreamingResponse(body())


async def _dripping(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(body())


def _faults() -> list[tuple[str, Any, set[str]]]:
    """What a hostile or broken server may answer in the place of JSON, and the errors it may end in."""
    say = Response
    return [
        ("401", lambda r: say(status_code=401), {"token_refused", "repository_not_found"}),
        ("403", lambda r: say(status_code=403), {"token_refused", "gated"}),
        ("404", lambda r: say(status_code=404), {"repository_not_found", "file_not_on_hub"}),
        ("429", lambda r: say(status_code=429), {"hub_busy"}),
        ("500", lambda r: say(status_code=500), {"hub_answer"}),
        ("503", lambda r: say(status_code=503), {"hub_busy"}),
        ("418", lambda r: say(status_code=418), {"hub_answer"}),
        ("not JSON", lambda r: say("<html>"), {"hub_answer", "unknown_format"}),
        ("deep", lambda r: say("[" * 100_000), {"hub_answer", "unknown_format"}),
        ("a list", lambda r: say("[]"), {"hub_answer", "nothing_to_run", "unknown_format"}),
        ("a text", lambda r: say('"x"'), {"hub_answer", "nothing_to_run", "unknown_format"}),
        (
            "wrong types",
            lambda r: say('{"layers": {"a": 1}, "config": [], "siblings": 5, "sha": 7}'),
            {"hub_answer", "nothing_to_run", "unknown_format"},
        ),
        ("empty", lambda r: say(b""), {"hub_answer"}),
        ("a circle", lambda r: RedirectResponse(str(r.url)), {"hub_answer", "hub_unreachable"}),
        (
            "a redirect to nowhere",
            lambda r: RedirectResponse("http://127.0.0.1:9/x"),
            {"hub_answer", "hub_unreachable", "place_refused"},
        ),
        (
            "a redirect to a file",
            lambda r: RedirectResponse("file:///etc/passwd"),
            {"hub_answer", "hub_unreachable", "place_refused"},
        ),
        (
            "zip bomb",
            lambda r: say(b"\x1f\x8b" + b"0" * 99, headers={"Content-Encoding": "gzip"}),
            {"hub_answer", "hub_unreachable"},
        ),
        ("endless", _endless, {"hub_answer", "unknown_format"}),
        ("dripping", _dripping, {"hub_unreachable", "hub_answer"}),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("source", ["hub", "ollama", "url"])
@pytest.mark.parametrize(("fault", "answer", "codes"), _faults(), ids=[f[0] for f in _faults()])
async def test_a_hostile_answer_ends_in_a_clear_error_within_bounds(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch, source: str, fault: str, answer: Any, codes: set[str]
) -> None:
    patience = 0.5 if fault == "dripping" else 20.0  # what is bounded otherwise may take its time on a busy machine
    monkeypatch.setattr(outside, "ANSWER_S", patience)
    monkeypatch.setattr("domicile.sources.hub.ANSWER_S", patience)
    monkeypatch.setattr(outside.read, "__kwdefaults__", {**(outside.read.__kwdefaults__ or {}), "seconds": patience})

    async def serve(request: Request) -> Response:
        said = answer(request)
        made: Response = await said if asyncio.iscoroutine(said) else said
        return made

    with served(Starlette(routes=[Route("/{rest:path}", serve)])) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("DOMICILE_OLLAMA_REGISTRY", url)
        async with visiting() as visit:
            visit.house.places.add(url)
            name = {"hub": "org/repo", "ollama": "ollama:x:latest", "url": f"{url}/x.gguf"}[source]
            job = await pulled(visit, name)
            assert job["status"] == "failed"
            assert job["error"]["code"] in codes, job["error"]
            assert not list(visit.house.settings.home.rglob("x*.gguf*"))


# -- addresses --


class Shelf:
    """Files of somebody's server."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.seen: list[str] = []
        self.url = ""

    async def answer(self, request: Request) -> Response:
        self.seen.append(request.url.path)
        if request.url.path.startswith("/moved/"):
            return RedirectResponse(f"/{request.url.path.removeprefix('/moved/')}")
        if request.url.path.startswith("/away/"):
            return RedirectResponse(f"http://localhost:{request.url.port}/x.gguf")
        content = self.files.get(request.url.path.lstrip("/"))
        return Response(status_code=404) if content is None else ranged(request, content, self.headers)

    @property
    def place(self) -> str:
        return self.url.removeprefix("http://")


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    with served(Starlette(routes=[Route("/{rest:path}", made.answer, methods=["GET", "HEAD"])])) as url:
        made.url = url
        yield made


@pytest.mark.anyio
async def test_an_address_of_this_machine_is_asked_only_after_somebody_allowed_that_very_place(
    shelf: Shelf, visiting: Visiting
) -> None:
    shelf.files["x.gguf"] = WEIGHTS
    async with visiting() as visit:
        refused = await pulled(visit, f"{shelf.url}/x.gguf")
        assert refused["error"]["code"] == "place_refused"
        assert shelf.seen == []
        unconfirmed = await visit.http.post("/domicile/places", json={"place": shelf.place})
        assert unconfirmed.status_code == 400
        added = await visit.http.post("/domicile/places", json={"place": shelf.url, "confirmed": True})
        assert added.json() == {"place": shelf.place}
        job = await pulled(visit, f"{shelf.url}/x.gguf")
        assert (job["result"]["name"], job["result"]["verified"]) == ("x", False)
        assert visit.house.library.get("x").path.read_bytes() == WEIGHTS
        other = f"http://localhost:{shelf.place.rsplit(':', 1)[1]}/x.gguf"
        assert (await pulled(visit, other))["error"]["code"] == "place_refused"
        await visit.http.delete(f"/domicile/places/{shelf.place}")
        assert (await visit.http.get("/domicile/places")).json() == {"places": []}
        assert (await pulled(visit, f"{shelf.url}/x.gguf"))["error"]["code"] == "place_refused"


@pytest.mark.anyio
async def test_a_digest_in_the_address_is_held_to(shelf: Shelf, visiting: Visiting) -> None:
    shelf.files["x.gguf"] = WEIGHTS
    right = hashlib.sha256(WEIGHTS).hexdigest()
    async with visiting() as visit:
        visit.house.places.add(shelf.place)
        wrong = await pulled(visit, f"{shelf.url}/x.gguf#sha256={'0' * 64}")
        assert wrong["error"]["code"] == "corrupt_download"
        job = await pulled(visit, f"{shelf.url}/x.gguf#sha256={right}")
        assert job["result"]["verified"]
        (told,) = (await visit.http.get("/domicile/updates")).json()["models"]
        assert told["state"] == "pinned"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("x.gguf", b"\x80\x04pickle" * 9, "runs_code"),
        ("x.gguf", b"PK\x03\x04" + b"0" * 60, "runs_code"),
        ("x.safetensors", b"\x89HDF\r\n\x1a\n" + b"0" * 60, "runs_code"),
        ("x.pt", b"anything" * 9, "runs_code"),
        ("x.bin", b"anything" * 9, "runs_code"),
        ("x.gguf", b"<html>not a model</html>", "unknown_format"),
        ("x.onnx", b"<html>not a model</html>", "unknown_format"),
        ("x.txt", b"text", "unknown_format"),
    ],
)
async def test_a_file_is_what_its_first_bytes_say(
    shelf: Shelf, visiting: Visiting, name: str, content: bytes, code: str
) -> None:
    shelf.files[name] = content
    async with visiting() as visit:
        visit.house.places.add(shelf.place)
        assert (await pulled(visit, f"{shelf.url}/{name}"))["error"]["code"] == code
        assert not list(visit.house.settings.models.rglob("x*"))


@pytest.mark.anyio
async def test_an_address_is_followed_on_its_own_site_and_not_to_another(shelf: Shelf, visiting: Visiting) -> None:
    shelf.files["x.gguf"] = WEIGHTS
    async with visiting() as visit:
        visit.house.places.add(shelf.place)
        visit.house.places.add(f"localhost:{shelf.place.rsplit(':', 1)[1]}")
        away = await pulled(visit, f"{shelf.url}/away/x.gguf")
        assert away["error"]["code"] == "hub_answer"
        assert "localhost" in away["error"]["message"]


@pytest.mark.anyio
async def test_two_files_of_one_name_are_two_models(shelf: Shelf, visiting: Visiting) -> None:
    shelf.files |= {"a/x.gguf": WEIGHTS, "b/x.gguf": b"GGUF" + b"b" * 40}
    async with visiting() as visit:
        visit.house.places.add(shelf.place)
        names = [(await pulled(visit, f"{shelf.url}/{f}"))["result"]["name"] for f in ("a/x.gguf", "b/x.gguf")]
        assert names == ["x", "x-2"]
        assert visit.house.library.get("x").path.read_bytes() == WEIGHTS
        assert (await pulled(visit, f"{shelf.url}/a/x.gguf"))["result"]["name"] == "x"  # the same one again


# -- files --


@pytest.mark.anyio
async def test_a_file_is_used_where_it_lies(visiting: Visiting, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(WEIGHTS)
    async with visiting() as visit:
        assert (await pulled(visit, str(file)))["result"]["name"] == "mine"
        assert visit.house.library.get("mine").path == file
        assert not list(visit.house.settings.models.rglob("*.gguf"))
        relative = await visit.http.post("/domicile/pull", json={"model": "./mine.gguf"})
        assert relative.json()["error"]["code"] == "bad_field"


# -- the Hub: formats, revisions, tokens --

FOLDER = {"config.json": b"{}", "tokenizer.json": b"{}", "README.md": b"#"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("files", "said", "format_", "has", "lacks"),
    [
        (
            {**FOLDER, "model-00001-of-00002.safetensors": b"1", "model-00002-of-00002.safetensors": b"2",
             "model.safetensors.index.json": b"{}", "pytorch_model.bin": b"\x80", "consolidated.safetensors": b"3"},
            "org/repo", "safetensors",
            {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json", "tokenizer.json"},
            {"pytorch_model.bin", "consolidated.safetensors", "README.md"},
        ),
        (
            {**FOLDER, "onnx/model.onnx": b"1", "onnx/model_quantized.onnx": b"2", "onnx/model_q4.onnx": b"3"},
            "org/repo", "onnx", {"onnx/model_quantized.onnx", "config.json"}, {"onnx/model.onnx", "onnx/model_q4.onnx"},
        ),
        (
            {"cpu/int4/model.onnx": b"1", "cpu/int4/model.onnx.data": b"2", "cpu/int4/genai_config.json": b"{}",
             "gpu/int4/model.onnx": b"3", "gpu/int4/genai_config.json": b"{}"},
            "org/repo/cpu/int4/model.onnx", "onnx",
            {"cpu/int4/model.onnx", "cpu/int4/model.onnx.data", "cpu/int4/genai_config.json"},
            {"gpu/int4/model.onnx", "gpu/int4/genai_config.json"},
        ),
        (
            {"model_index.json": b"{}", "unet/config.json": b"{}", "unet/diffusion_pytorch_model.safetensors": b"32",
             "unet/diffusion_pytorch_model.fp16.safetensors": b"1", "unet/diffusion_pytorch_model.bin": b"x",
             "vae/diffusion_pytorch_model.safetensors": b"2", "tokenizer/vocab.json": b"{}", "big.safetensors": b"4"},
            "org/repo", "diffusers",
            {"model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors",
             "vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"},
            {"unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin", "big.safetensors"},
        ),
        (
            {"mlc-chat-config.json": b"{}", "ndarray-cache.json": b"{}", "params_shard_0.bin": b"1",
             "tokenizer.json": b"{}", "logo.png": b"x"},
            "org/repo", "mlc", {"mlc-chat-config.json", "ndarray-cache.json", "params_shard_0.bin"}, {"logo.png"},
        ),
        (
            {"model.bin": b"1", "vocabulary.json": b"[]", "config.json": b"{}", "tokenizer.json": b"{}"},
            "org/repo", "whisper", {"model.bin", "vocabulary.json", "config.json"}, set(),
        ),
        (
            {"a-Q4_K_M.gguf": WEIGHTS, "model.safetensors": b"1", **FOLDER},
            "org/repo", "gguf", {"a-Q4_K_M.gguf"}, {"model.safetensors", "config.json"},
        ),
        (
            {"a-Q4_K_M.gguf": WEIGHTS, "model.safetensors": b"1", **FOLDER},
            "org/repo/model.safetensors", "safetensors", {"model.safetensors", "config.json"}, {"a-Q4_K_M.gguf"},
        ),
    ],
)  # fmt: skip
async def test_the_right_files_of_each_format_come_and_never_a_pickle(
    hub: FakeHub, visiting: Visiting, files: dict[str, bytes], said: str, format_: str, has: set[str], lacks: set[str]
) -> None:
    hub.add("org/repo", files)
    async with visiting() as visit:
        job = await pulled(visit, said)
        assert job["status"] == "done", job["error"]
        model = visit.house.library.get(job["result"]["name"])
        there = {p.relative_to(visit.house.settings.models / "org" / "repo").as_posix() for p in model.files}
        assert model.format == format_
        assert has <= there
        assert not lacks & there
        if format_ != "gguf":
            talked = await visit.http.post(
                "/v1/chat/completions", json={"model": model.name, "messages": [{"role": "user", "content": "hi"}]}
            )
            assert talked.json()["error"]["code"] == "engine_missing"


@pytest.mark.anyio
async def test_a_repository_of_pickles_alone_says_so(hub: FakeHub, visiting: Visiting) -> None:
    hub.add("org/old", {"pytorch_model.bin": b"\x80", "config.json": b"{}"})
    async with visiting() as visit:
        job = await pulled(visit, "org/old")
        assert job["error"]["code"] == "runs_code"
        assert "pytorch_model.bin" in job["error"]["message"]


@pytest.mark.anyio
async def test_a_model_that_changed_upstream_is_named_and_updated(hub: FakeHub, visiting: Visiting) -> None:
    repo = hub.add("org/repo", {"m-Q8_0.gguf": WEIGHTS, "README.md": b"one"})
    hub.add("org/fixed", {"m-Q8_0.gguf": WEIGHTS})
    hub.add("org/left", {"m-Q8_0.gguf": WEIGHTS})
    async with visiting() as visit:
        for name in ("org/repo", f"org/fixed@{COMMIT}", "org/left"):
            await pulled(visit, name)
        states = {m["model"]: m["state"] for m in (await visit.http.get("/domicile/updates")).json()["models"]}
        assert states == {"org/repo:Q8_0": "current", "org/fixed:Q8_0": "pinned", "org/left:Q8_0": "current"}
        repo.files |= {"README.md": b"two"}
        told = (await visit.http.get("/domicile/updates", params={"model": "org/repo"})).json()
        assert told["models"][0]["state"] == "current"  # a new README is no new model
        repo.files |= {"m-Q8_0.gguf": b"GGUF" + b"n" * 500}
        del hub.repos["org/left"]
        states = {m["model"]: m["state"] for m in (await visit.http.get("/domicile/updates")).json()["models"]}
        assert states == {"org/repo:Q8_0": "changed", "org/fixed:Q8_0": "pinned", "org/left:Q8_0": "gone"}
        job = (await visit.http.post("/domicile/models/org/repo:Q8_0/update")).json()
        await visit.house.jobs.wait(job["id"])
        assert visit.house.library.get("org/repo").path.read_bytes() == b"GGUF" + b"n" * 500
        told = (await visit.http.get("/domicile/updates", params={"model": "org/repo"})).json()
        assert told["models"][0]["state"] == "current"


@pytest.mark.anyio
async def test_an_update_that_has_other_files_leaves_none_of_the_old_ones(hub: FakeHub, visiting: Visiting) -> None:
    repo = hub.add("org/repo", {"a-Q8_0.gguf": WEIGHTS})
    async with visiting() as visit:
        await pulled(visit, "org/repo:Q8_0")
        repo.files = {"b-Q8_0.gguf": b"GGUF" + b"n" * 9}
        job = (await visit.http.post("/domicile/models/org/repo:Q8_0/update")).json()
        await visit.house.jobs.wait(job["id"])
        folder = visit.house.settings.models / "org" / "repo"
        assert [p.name for p in folder.glob("*.gguf")] == ["b-Q8_0.gguf"]


@pytest.mark.anyio
async def test_a_tag_of_ollamas_and_an_address_that_change_are_seen(
    registry: FakeRegistry, shelf: Shelf, visiting: Visiting
) -> None:
    registry.add("library/x", "latest", {"model": WEIGHTS, "license": b"MIT"})
    shelf.files["y.gguf"], shelf.headers["ETag"] = WEIGHTS, '"one"'
    async with visiting() as visit:
        visit.house.places.add(shelf.place)
        await pulled(visit, "ollama:x")
        await pulled(visit, f"{shelf.url}/y.gguf")
        told = (await visit.http.get("/domicile/updates")).json()
        assert {m["state"] for m in told["models"]} == {"current"}
        registry.add("library/x", "latest", {"model": b"GGUF" + b"2" * 99, "license": b"MIT"})
        shelf.headers["ETag"] = '"two"'
        told = (await visit.http.get("/domicile/updates")).json()
        assert told["changed"] == 2
        assert {tuple(m["files"]) for m in told["models"]} == {("x-latest.gguf",), ("y.gguf",)}


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({}, "hf/token"),
        ({"HF_HOME": "elsewhere"}, "elsewhere/token"),
        ({"HF_TOKEN_PATH": "my/own"}, "my/own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/huggingface/token"),
        ({"HUGGING_FACE_HUB_TOKEN": " hf_old\n"}, None),
    ],
)
def test_the_stored_token_is_the_one_the_official_client_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], file: str | None
) -> None:
    made = {k: str(tmp_path / v) if k != "HUGGING_FACE_HUB_TOKEN" else v for k, v in environment.items()}
    home = {} if "XDG_CACHE_HOME" in made else {"HF_HOME": str(tmp_path / "hf")}
    made = {**home, **made}
    if file is not None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("hf_kept\r\n")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / file))
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    official = _auth._get_token_from_environment() or _auth._get_token_from_file()
    assert stored_token(made) == official
    assert stored_token({**made, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}) == ""


def test_a_stored_token_that_would_be_another_header_is_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_a\x01b\u2028c")
    assert stored_token({"HF_HOME": str(tmp_path)}) == ""


@pytest.mark.anyio
async def test_what_a_person_asks_before_a_download_is_answered_for_every_source(
    registry: FakeRegistry, visiting: Visiting
) -> None:
    """`fit` reads the header of a model of Ollama's as it reads the Hub's: by a range."""
    registry.add("library/x", "latest", LAYERS)
    async with visiting() as visit:
        told = await visit.http.get("/domicile/fit", params={"model": "x:latest", "quick": "true"})
        assert told.json()["error"]["code"] == "malformed"  # these weights are no real GGUF: their header was read
        async with httpx2.AsyncClient(follow_redirects=True) as client:
            described = await Ollama(load(), client).describe(ModelRef.parse("ollama:x"))
        assert [f.path for f in described.files][:2] == ["x-latest.gguf", "mmproj-x-latest.gguf"]


@pytest.mark.anyio
async def test_what_ollama_runs_on_its_own_servers_is_told_from_what_can_be_had(
    registry: FakeRegistry, visiting: Visiting
) -> None:
    registry.add("library/big", "cloud", {}, remote_model="big", remote_host="https://ollama.com")
    async with visiting() as visit:
        job = await pulled(visit, "big:cloud")
        assert (job["error"]["code"], "servers" in job["error"]["message"]) == ("nothing_to_run", True)
        assert (await pulled(visit, "nobody:3b"))["error"]["code"] == "repository_not_found"


def test_the_projector_of_a_model_is_its_own_in_half_precision() -> None:
    from domicile.sources.choice import choose, variants_of

    paths = ["a-7b-Q4_K_M.gguf", "b-2b-Q4_K_M.gguf", "mmproj-a-7b-Q8_0.gguf", "mmproj-a-7b-F16.gguf"]
    paths += ["mmproj-b-2b-BF16.gguf", "mmproj-b-2b-F32.gguf"]
    files = tuple(RemoteFile(path, 1) for path in paths)
    repository = Repository("org/repo", "0" * 40, variants_of(files), files)
    for own, eyes in ((paths[0], paths[3]), (paths[1], paths[4])):
        chosen = choose(repository, ModelRef.parse(f"org/repo/{own}"))
        assert [f.path for f in chosen.files] == [own, eyes]
    alone = choose(repository, ModelRef.parse("org/repo/mmproj-a-7b-Q8_0.gguf"))
    assert [f.path for f in alone.files] == ["mmproj-a-7b-Q8_0.gguf"]
