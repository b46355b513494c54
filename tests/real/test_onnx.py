"""ONNX models through the real onnxruntime and onnxruntime-genai, in the house: the same words as llama.cpp's, what a
request may wish for, and graphs that reach for what is not theirs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.app import House, open_house
from domicile.child_life import UnfitError
from domicile.config import load
from domicile.onnx_folder import checked
from domicile.types import Installed
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes import graphs
from tests.fakes.environment import borrowed
from tests.fakes.hub import FakeHub
from tests.fakes.inside import InProcess
from tests.fakes.minilm import weights

pytestmark = [pytest.mark.anyio]
QUESTION = [{"role": "user", "content": "Comment lister mes modèles ?"}]
GREEDY = {"temperature": 0, "max_tokens": 48}


@pytest.fixture(scope="session")
def graine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.graine(tmp_path_factory.mktemp("graphs") / "graine")


class Home:
    """A house with its real engines, and a client at its door."""

    def __init__(self, house: House, http: httpx2.AsyncClient) -> None:
        self.house, self.http = house, http

    async def chat(self, model: str, messages: Any = QUESTION, **more: Any) -> httpx2.Response:
        asked = {"model": model, "messages": messages, **GREEDY, **more}
        return await self.http.post("/v1/chat/completions", json=asked, timeout=100)

    def take(self, folder: Path, name: str, task: str | None = None) -> Installed:
        """Enter a folder in the library where it lies."""
        paths = tuple(p for p in sorted(folder.rglob("*"), key=lambda p: (p.suffix != ".onnx", str(p))) if p.is_file())
        size = sum(p.stat().st_size for p in paths)
        return self.house.library.add(Installed(name, paths[0], "onnx", size, "file", files=paths, task=task))


@asynccontextmanager
async def home(**given: Any) -> AsyncIterator[Home]:
    settings = load(**{"threads": 1, "selftest": False, "context": 512, **given})
    if not (settings.engines / "onnx").exists():
        borrowed(settings.engines, "onnx")
    async with open_house(settings) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            yield Home(house, http)


def text(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


@pytest.mark.slow
async def test_pulled_from_the_hub_it_says_what_llama_cpp_says(hub: FakeHub, graine: Path) -> None:
    files = {str(p.relative_to(graine)): p.read_bytes() for p in sorted(graine.rglob("*")) if p.is_file()}
    body = files.pop("onnx/model.onnx")
    others = {
        f"onnx/decoder_{kind}.onnx": b"\x08\x08never"
        for kind in ("model", "with_past_model", "model_merged_fp16", "model_merged_q4")
    }
    hub.add("domicile/graine-onnx", {**files, **others, "onnx/decoder_model_merged_quantized.onnx": body})
    async with home(selftest=True) as at:
        answer = await at.http.post("/domicile/pull", json={"model": "domicile/graine-onnx"})
        events = await at.http.get(f"/domicile/jobs/{answer.json()['id']}/events")
        assert '"done"' in events.text, events.text[-1500:]
        (model,) = [m for m in at.house.library.list() if m.format == "onnx"]
        assert [p.name for p in model.files if p.suffix == ".onnx"] == ["decoder_model_merged_quantized.onnx"]
        assert model.self_test is not None
        assert model.self_test["passed"], model.self_test
        native, ours = await at.chat("graine"), await at.chat(model.name)
        assert text(ours) == text(native)
        assert text(ours)
        usage = ours.json()["usage"]
        assert usage["prompt_tokens"] == native.json()["usage"]["prompt_tokens"]
        assert ours.json()["choices"][0]["finish_reason"] == "stop"
        stream = await at.chat(model.name, stream=True, stream_options={"include_usage": True})
        chunks = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == text(native)
        (shown,) = [m for m in (await at.http.get("/domicile/ps")).json()["models"] if m["name"] == model.name]
        assert (shown["engine"], shown["state"]) == ("onnx", "awake")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "genai"])
async def test_what_a_request_may_wish_for(graine: Path, tmp_path: Path, runtime: str) -> None:
    folder = graine if runtime == "onnxruntime" else graphs.genai(graine, tmp_path / "genai")
    async with home(slots=3, context=512) as at:
        at.take(folder, "g", "text-generation")
        whole = text(await at.chat("g"))
        assert whole == text(await at.chat("graine"))
        stop = whole[8:12]
        cut = await at.chat("g", stop=[stop])
        assert text(cut) == whole[: whole.index(stop)]
        short = await at.chat("g", max_tokens=3)
        told = short.json()
        assert (told["usage"]["completion_tokens"], told["choices"][0]["finish_reason"]) == (3, "length")
        once, again, other = [text(await at.chat("g", temperature=3.0, seed=s)) for s in (1, 1, 2)]
        assert once == again
        assert once != other
        narrow = text(await at.chat("g", temperature=3.0, seed=5, top_k=1))
        assert narrow == whole
        several = await asyncio.gather(*[at.chat("g") for _ in range(4)])
        assert [text(one) for one in several] == [whole] * 4
        completed = await at.http.post("/v1/completions", json={"model": "g", "prompt": "Bonjour", **GREEDY})
        assert completed.status_code == 200, completed.text
        long = await at.chat("g", messages=[{"role": "user", "content": "mot " * 3000}])
        assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
        # who leaves in the middle frees the model: the next answer is as it was
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await at.chat("g", messages=QUESTION, max_tokens=400, ignore_eos=True)
        assert text(await at.chat("g")) == whole


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("../secret", "outside"),
        ("/etc/passwd", "outside"),
        ("a/../../secret", "outside"),
        ("C:\\secret", "outside"),
        ("linked", "not a plain file"),
        ("dir/secret", "link|not a plain file"),
        ("missing", "not a plain file"),
    ],
)
async def test_weights_outside_the_folder_are_never_opened(tmp_path: Path, location: str, why: str) -> None:
    folder, outside = tmp_path / "model", tmp_path / "elsewhere"
    folder.mkdir()
    outside.mkdir()
    (tmp_path / "secret").write_bytes(b"12345678")
    (outside / "secret").write_bytes(b"12345678")
    (folder / "linked").symlink_to(tmp_path / "secret")
    (folder / "dir").symlink_to(outside)
    with pytest.raises(UnfitError, match=why):
        checked(graphs.reaching(folder / "model.onnx", location), folder)


async def test_a_graph_with_plain_data_beside_it_is_fine_and_other_operators_or_nonsense_are_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.onnx.data").write_bytes(b"12345678")
    assert checked(graphs.reaching(tmp_path / "model.onnx", "model.onnx.data"), tmp_path)
    with pytest.raises(UnfitError, match=r"operators of 'evil\.ops'"):
        checked(graphs.reaching(tmp_path / "custom.onnx", "model.onnx.data", domain="evil.ops"), tmp_path)
    deep = b""
    for _ in range(40):  # a graph in an attribute of a node of a graph, and so on
        attribute = _field(6, deep)
        deep = _field(1, _field(5, attribute))
    hostile = {
        "deep": _field(7, deep),
        "long": b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\x00" * 8,
        "endless": b"\x08" + b"\xff" * 32,
        "name": _field(8, _field(1, b"x" * 5000)),
        "empty": b"",
        "group": b"\x0b" * 64,
    }
    for name, body in hostile.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(body)
        with pytest.raises(UnfitError):
            checked(path, tmp_path)
    os.link(tmp_path / "model.onnx", tmp_path / "second.onnx")
    assert checked(tmp_path / "second.onnx", tmp_path)
    (tmp_path / "link.onnx").symlink_to(tmp_path / "model.onnx")
    with pytest.raises(UnfitError, match="plain"):
        checked(tmp_path / "link.onnx", tmp_path)


def _field(number: int, body: bytes) -> bytes:
    length, at = b"", len(body)
    while True:
        length += bytes([at & 0x7F | (0x80 if at > 0x7F else 0)])
        at >>= 7
        if not at:
            return bytes([number << 3 | 2]) + length + body


@pytest.mark.slow
async def test_a_library_in_the_configuration_or_weights_elsewhere_are_refused_and_the_house_goes_on(
    graine: Path, tmp_path: Path
) -> None:
    custom = graphs.genai(graine, tmp_path / "custom", custom_ops_library="./evil.so")
    entry = graphs.genai(graine, tmp_path / "entry", config_entries={"ep.context_file_path": "/etc/passwd"})
    outside = graphs.genai(graine, tmp_path / "outside")
    (tmp_path / "secret").write_bytes(b"12345678")
    graphs.reaching(outside / "model.onnx", "../secret")
    named = graphs.genai(graine, tmp_path / "named")
    told = json.loads((named / "genai_config.json").read_text())
    told["model"]["decoder"]["filename"] = "../outside/model.onnx"
    (named / "genai_config.json").write_text(json.dumps(told))
    async with home() as at:
        for folder in (custom, entry, outside, named):
            at.take(folder, folder.name, "text-generation")
            refused = await at.chat(folder.name)
            assert refused.status_code in {400, 422, 500}, refused.text
            assert refused.json()["error"]["code"] in {"bad_model_file", "malformed"}, refused.text
        assert text(await at.chat("graine"))


@pytest.mark.slow
async def test_an_encoder_is_pulled_with_its_steps_and_one_graph_and_a_reranker_ranks(
    hub: FakeHub, tmp_path: Path
) -> None:
    folder = graphs.bert(weights(), tmp_path / "graph")
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    body = files["onnx/model.onnx"]
    kinds = ("model_O2", "model_qint8_avx512", "model_quint8_avx2")
    hub.add("org/mini-onnx", {**files, **{f"onnx/{kind}.onnx": b"\x08\x08never" for kind in kinds}})
    async with home() as at:
        answer = await at.http.post("/domicile/pull", json={"model": "org/mini-onnx"})
        events = await at.http.get(f"/domicile/jobs/{answer.json()['id']}/events")
        assert '"done"' in events.text, events.text[-1500:]
        (model,) = [m for m in at.house.library.list() if m.format == "onnx"]
        assert [(p.name, p.stat().st_size) for p in model.files if p.suffix == ".onnx"] == [("model.onnx", len(body))]
        assert "1_Pooling" in {p.parent.name for p in model.files}
        asked = ["How much memory does a model need?", "RAM of a language model", "The cat sleeps."]
        told = await at.http.post("/v1/embeddings", json={"model": model.name, "input": asked}, timeout=100)
        assert told.status_code == 200, told.text
        first, near, far = (row["embedding"] for row in told.json()["data"])
        assert _dot(first, near) > 0.5 > _dot(first, far)
        assert _dot(first, first) == pytest.approx(1, abs=1e-5)

        ranker = graphs.bert(weights(), tmp_path / "ranker", classes=1)
        shutil.rmtree(ranker / "1_Pooling")
        (ranker / "modules.json").unlink()
        config = json.loads((ranker / "config.json").read_text())
        config |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
        (ranker / "config.json").write_text(json.dumps(config))
        at.take(ranker, "ranker")
        ranked = await at.http.post(
            "/v1/rerank", json={"model": "ranker", "query": "memory", "documents": asked}, timeout=100
        )
        assert ranked.status_code == 200, ranked.text
        rows = ranked.json()["results"]
        assert sorted(row["index"] for row in rows) == [0, 1, 2]
        scores = [row["relevance_score"] for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == 3
        words = "word " * 700
        cut = await at.http.post(
            "/v1/rerank", json={"model": "ranker", "query": "memory", "documents": [words], "truncate": True}
        )
        assert cut.status_code == 200, cut.text
        assert "tokens" in cut.headers["X-Domicile-Context-Dropped"]


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
