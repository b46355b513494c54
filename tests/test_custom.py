"""Models that a person defines: the form, what its address holds, files in and out, links that only propose."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domicile import catalogue, mlc_libs
from domicile.custom import definitions, link, of_link, read
from domicile.errors import BadField, MissingField
from tests.conftest import Visiting
from tests.fakes.hub import FakeHub, served
from tests.fakes.registry import ranged
from tests.nursery import run

FORM = {"id": "mine", "name": "Mon modèle", "url": "https://example.org/m/x.gguf", "size": "~1.5 GB", "kind": "gguf"}
CONFIG = {
    "model_type": "llama",
    "quantization": "q4f16_1",
    "vocab_size": 128256,
    "model_config": {"hidden_size": 2048, "num_hidden_layers": 16, "vocab_size": 128256},
}
MLC = {
    "mlc-chat-config.json": json.dumps(CONFIG).encode(),
    "ndarray-cache.json": b'{"records": []}',
    "params_shard_0.bin": b"1",
    "tokenizer.json": b"{}",
}


class Server:
    """Somebody's folder of files, with or without CORS."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cors: str | None = "*"
        self.url = ""

    async def answer(self, request: Request) -> Response:
        if request.url.path == "/v1/models":
            return JSONResponse({"object": "list", "data": []})
        content = self.files.get(request.url.path.lstrip("/"))
        headers = {} if self.cors is None else {"Access-Control-Allow-Origin": self.cors}
        return Response(status_code=404) if content is None else ranged(request, content, headers)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with served(Starlette(routes=[Route("/{rest:path}", made.answer)])) as url:
        made.url = url
        yield made


@pytest.mark.parametrize("field", ["id", "name", "url"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_three_fields_are_needed(field: str, value: str | None) -> None:
    with pytest.raises(MissingField) as refused:
        read({**FORM, field: value})
    assert refused.value.facts["field"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "-x"), ("id", "a b"), ("id", "x" * 300), ("id", "x\u202ey"), ("id", "<b>"), ("id", 5), ("id", ["x"]),
        ("name", "x" * 201), ("name", "a\u202eb"), ("name", "a\x1b[31m"), ("name", {}),
        ("url", "example.org/x"), ("url", "ftp://x/y"), ("url", "javascript:alert(1)"), ("url", "file:///etc/passwd"),
        ("url", "https://user:word@x/y"), ("url", "https://x y/z"), ("url", "https://x\\@y/z"), ("url", "data:,x"),
        ("size", "x" * 61), ("description", "x" * 1001), ("kind", "pickle"), ("model_lib", "javascript:alert(1)"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_named(field: str, value: object) -> None:
    with pytest.raises(BadField) as refused:
        read({**FORM, field: value})
    assert refused.value.facts["field"] == field


@pytest.mark.anyio
async def test_an_id_that_is_taken_is_refused_with_the_sentence_of_the_field(visiting: Visiting) -> None:
    standard = catalogue.webllm()[0]["model_id"]
    async with visiting() as visit:
        assert (await visit.http.post("/domicile/custom", json={**FORM, "unchecked": True})).status_code == 201
        for taken in ("mine", "MINE", "graine"):
            answer = await visit.http.post(
                "/domicile/custom", json={**FORM, "id": taken, "unchecked": True}, headers={"Accept-Language": "fr"}
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "id"
            assert "existe déjà" in answer.json()["error"]["message"]
        for other in (standard, "graine", "nobody"):
            gone = await visit.http.delete(f"/domicile/custom/{other}")
            assert gone.json()["error"]["code"] == "custom_not_found"
        assert (await visit.http.delete("/domicile/custom/mine")).json()["removed"]["id"] == "mine"
        assert (await visit.http.get("/domicile/custom")).json() == {"models": []}


@pytest.mark.anyio
async def test_an_mlc_folder_is_looked_at_and_given_a_library(server: Server, visiting: Visiting) -> None:
    form = {"id": "My-Llama-q4f16_1-MLC", "name": "Mine", "url": f"{server.url}/m"}
    async with visiting() as visit:
        refused = await visit.http.post("/domicile/custom", json=form)
        assert refused.json()["error"]["code"] == "place_refused"
        visit.house.places.add(server.url)
        missing = await visit.http.post("/domicile/custom", json=form)
        assert missing.json()["error"]["code"] == "file_not_on_hub"
        assert "mlc-chat-config.json" in missing.json()["error"]["message"]
        server.files = {f"m/resolve/main/{name}": content for name, content in MLC.items()}
        told = (await visit.http.post("/domicile/custom/check", json=form)).json()
        assert {c["check"]: c["well"] for c in told["checks"]} == dict.fromkeys(
            ("reachable", "files", "cors", "lib"), True
        )
        assert (await visit.http.get("/domicile/custom")).json() == {"models": []}  # a check adds nothing
        added = (await visit.http.post("/domicile/custom", json=form)).json()
        assert added["kind"] == "mlc"
        assert added["record"]["model_lib"].endswith("Llama-3.2-1B-Instruct-q4f16_1_cs1k-webgpu.wasm")
        server.cors = None
        told = (await visit.http.post(f"/domicile/custom/{form['id']}/check")).json()
        assert {c["check"] for c in told["checks"] if not c["well"]} == {"no_cors"}
        server.files = {f"m/{name}": content for name, content in MLC.items()}
        told = (await visit.http.post(f"/domicile/custom/{form['id']}/check")).json()
        assert "no_resolve" in {c["check"] for c in told["checks"]}


@pytest.mark.anyio
async def test_each_kind_is_what_its_address_holds(server: Server, hub: FakeHub, visiting: Visiting) -> None:
    server.files = {"x.gguf": b"GGUF" + b"x" * 90, "p.gguf": b"\x80\x04" + b"x" * 90}
    hub.add("org/mlc", MLC)
    hub.add("org/half", {k: v for k, v in MLC.items() if k != "params_shard_0.bin"})
    hub.add("org/st", {"model.safetensors": b"x", "config.json": b"{}"})
    hub.add("org/pickle", {"pytorch_model.bin": b"x"})
    async with visiting() as visit:
        visit.house.places.add(server.url)

        async def add(url: str, **more: Any) -> dict[str, Any]:
            form = {"id": f"m{len(visit.house.customs.list())}", "name": "m", "url": url, **more}
            told: dict[str, Any] = (await visit.http.post("/domicile/custom", json=form)).json()
            return told

        assert (await add(f"{server.url}/x.gguf"))["kind"] == "gguf"
        assert (await add(f"{server.url}/x.gguf", kind="onnx"))["error"]["param"] == "kind"
        assert (await add(f"{server.url}/p.gguf"))["error"]["code"] == "runs_code"
        assert (await add(f"{server.url}/none.gguf"))["error"]["code"] == "file_not_on_hub"
        assert (await add(f"{server.url}/v1", kind="remote"))["kind"] == "remote"
        assert (await add("https://huggingface.co/org/mlc"))["record"]["model"] == "https://huggingface.co/org/mlc"
        assert (await add("https://huggingface.co/org/half", kind="mlc"))["error"]["code"] == "file_not_on_hub"
        assert (await add("https://huggingface.co/org/st"))["kind"] == "safetensors"
        assert (await add("https://huggingface.co/org/st", kind="gguf"))["error"]["param"] == "kind"
        assert (await add("https://huggingface.co/org/pickle"))["error"]["code"] == "runs_code"
        assert (await add("https://huggingface.co/org/nobody"))["error"]["code"] == "repository_not_found"


@pytest.mark.anyio
async def test_a_custom_model_is_pulled_by_its_id(server: Server, visiting: Visiting) -> None:
    server.files = {"some-Q8_0.gguf": b"GGUF" + b"x" * 90}
    async with visiting() as visit:
        visit.house.places.add(server.url)
        form = {"id": "my-own", "name": "Mine", "url": f"{server.url}/some-Q8_0.gguf"}
        assert (await visit.http.post("/domicile/custom", json=form)).status_code == 201
        job = (await visit.http.post("/domicile/pull", json={"model": "my-own"})).json()
        done = await visit.house.jobs.wait(job["id"])
        assert done.result["name"] == "my-own"
        assert (await visit.http.delete("/domicile/custom/my-own")).status_code == 200
        assert visit.house.library.get("my-own").path.is_file()  # what was downloaded is the library's


BROWSER = [
    {
        "id": "Mistral-7B-Instruct-v0.2-q4f16_1-MLC",
        "name": "Mistral 7B Instruct v0.2",
        "url": "https://huggingface.co/mlc-ai/Mistral-7B-Instruct-v0.2-q4f16_1-MLC",
        "size": "~4.2 GB",
        "description": "Modèle Mistral 7B optimisé pour les instructions, excellente qualité",
        "recommended": False,
        "custom": True,
    },
    {
        "id": "b",
        "name": "B",
        "url": "https://example.org/b",
        "size": "",
        "description": "",
        "recommended": False,
        "custom": True,
    },
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "file",
    [
        BROWSER,
        {"customModels": BROWSER},
        {"customModels": json.dumps(BROWSER)},
        {"models": BROWSER},
        {"models": json.dumps(json.dumps(BROWSER))},
        {"version": 3, "conversations": [], "customModels": BROWSER},
    ],
)
async def test_what_a_browser_keeps_goes_in_and_comes_out_as_it_was(visiting: Visiting, file: Any) -> None:
    assert definitions(file) == BROWSER
    async with visiting() as visit:
        body = file if isinstance(file, dict) else {"models": file}
        came = (await visit.http.post("/domicile/custom/import", json=body)).json()
        assert [c["id"] for c in came["added"]] == [c["id"] for c in BROWSER]
        again = (await visit.http.post("/domicile/custom/import", json=body)).json()
        assert (again["added"], [left["id"] for left in again["left_out"]]) == ([], [c["id"] for c in BROWSER])
        out = await visit.http.get("/domicile/custom/export", params={"shape": "customModels"})
        assert out.json() == BROWSER
        ours = (await visit.http.get("/domicile/custom/export")).json()
    async with visiting() as visit:
        for model in BROWSER:
            await visit.http.delete(f"/domicile/custom/{model['id']}")
        came = (await visit.http.post("/domicile/custom/import", json=ours)).json()
        assert len(came["added"]) == 2


@pytest.mark.anyio
async def test_a_file_with_bad_entries_loses_those_alone(visiting: Visiting) -> None:
    bad: list[Any] = [
        5,
        None,
        "x",
        {"id": "x"},
        {"id": "<b>", "name": "n", "url": "https://x/y"},
        {**FORM, "url": "javascript:1"},
    ]
    async with visiting() as visit:
        came = (await visit.http.post("/domicile/custom/import", json={"models": [*bad, FORM]})).json()
        assert [c["id"] for c in came["added"]] == ["mine"]
        assert len(came["left_out"]) == len(bad)
        for nothing in ({}, {"models": 5}, {"models": "not json"}, {"customModels": {"a": 1}}):
            assert (await visit.http.post("/domicile/custom/import", json=nothing)).status_code == 400


@pytest.mark.anyio
async def test_a_link_proposes_and_adds_nothing(visiting: Visiting) -> None:
    async with visiting() as visit:
        await visit.http.post("/domicile/custom", json={**FORM, "unchecked": True})
        shared = (await visit.http.get("/domicile/custom/mine/share")).json()["link"]
        assert "#custom=" in shared
        await visit.http.delete("/domicile/custom/mine")
        told = (await visit.http.post("/domicile/custom/link", json={"link": shared})).json()
        assert (told["proposed"]["url"], told["taken"]) == (FORM["url"], False)
        assert (await visit.http.get("/domicile/custom")).json() == {"models": []}


@pytest.mark.parametrize(
    "said", ["", "#custom=", "#custom=%%%", "#custom=bm90IGpzb24", "#custom=" + "A" * 20_000, "#custom=W10"]
)
def test_a_link_that_carries_no_model_is_refused(said: str) -> None:
    with pytest.raises(BadField):
        of_link(said)


def test_a_link_is_read_back_as_what_was_shared() -> None:
    custom = read(FORM)
    assert of_link(link(custom, "http://127.0.0.1:11435/")) == custom


@pytest.mark.parametrize(
    ("change", "lib"),
    [
        ({}, "Llama-3.2-1B-Instruct-q4f16_1_cs1k-webgpu.wasm"),
        ({"quantization": "q4f32_1"}, "Llama-3.2-1B-Instruct-q4f32_1_cs1k-webgpu.wasm"),
        ({"quantization": "q3f16_1"}, None),
        ({"quantization": "../../x"}, None),
        ({"model_type": "unknown"}, None),
        ({"model_config": 5}, None),
        ({"model_config": {"hidden_size": 4096, "num_hidden_layers": 32}}, "Llama-3"),
        ({"model_type": "qwen2", "model_config": {"hidden_size": 3584, "num_hidden_layers": 28}}, "Qwen2-7B-Instruct"),
    ],
)  # fmt: skip
def test_a_library_is_proposed_for_the_same_shape_and_quantisation(change: dict[str, Any], lib: str | None) -> None:
    found = mlc_libs.propose({**CONFIG, **change}, "mine")
    assert found is None if lib is None else found is not None and lib in found


def test_among_libraries_of_one_shape_the_name_tells() -> None:
    shape = {"model_config": {"hidden_size": 4096, "num_hidden_layers": 32}}
    for name, lib in (("Llama-3.1-8B-x", "Llama-3"), ("Llama-3-8B-x", "Llama-3-8B")):
        assert lib in (mlc_libs.propose({**CONFIG, **shape}, name) or "")


def test_every_library_of_the_table_is_in_the_list_of_web_llm() -> None:
    there = [str(r["model_lib"]).rsplit("/", 1)[-1] for r in catalogue.webllm()]
    assert [name for name in mlc_libs._SHAPES if not any(lib.startswith(f"{name}-q") for lib in there)] == []


def test_the_command_line_defines_gives_out_and_takes_in(tmp_path: Path) -> None:
    def domicile(*words: str) -> subprocess.CompletedProcess[str]:
        return run(*words)

    form = ["--name", "Mine", "--url", FORM["url"], "--kind", "gguf", "--unchecked"]
    assert domicile("custom", "add", "mine", *form).returncode == 0
    assert domicile("custom", "export", str(tmp_path / "out.json"), "--browser").returncode == 0
    (kept,) = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (kept["id"], kept["custom"]) == ("mine", True)
    shared = domicile("custom", "share", "mine").stdout.strip()
    assert domicile("custom", "rm", "mine").returncode == 2  # nobody is there to confirm
    assert domicile("custom", "rm", "mine", "--yes").returncode == 0
    assert domicile("custom", "import", shared).returncode == 2
    assert domicile("custom", "import", str(tmp_path / "out.json")).returncode == 0
    assert "Mine" in domicile("custom").stdout
