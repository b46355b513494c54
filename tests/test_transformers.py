"""Safetensors models through the real transformers, in the house: pulled, woken, asked in every dialect, refused."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
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
from tests import nursery
from tests.fakes import tensors
from tests.fakes.environment import borrowed
from tests.fakes.hub import FakeHub
from tests.fakes.inside import InProcess

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

QUESTION = [{"role": "user", "content": "Comment lister mes modèles ?"}]
GREEDY = {"temperature": 0, "max_tokens": 48}


@pytest.fixture(scope="session")
def graine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tensors.graine(tmp_path_factory.mktemp("tensors") / "graine")


class Home:
    """A house with its real engines, and a client at its door."""

    def __init__(self, house: House, http: httpx2.AsyncClient) -> None:
        self.house, self.http = house, http

    async def chat(self, model: str, messages: Any = QUESTION, **more: Any) -> httpx2.Response:
        return await self.http.post(
            "/v1/chat/completions", json={"model": model, "messages": messages, **GREEDY, **more}, timeout=100
        )

    def take(self, folder: Path, name: str, task: str | None = None) -> Installed:
        """Enter a folder in the library where it lies."""
        paths = tuple(sorted(folder.iterdir(), key=lambda p: (p.suffix != ".safetensors", p.name)))
        size = sum(p.stat().st_size for p in paths)
        return self.house.library.add(Installed(name, paths[0], "safetensors", size, "file", files=paths, task=task))


@asynccontextmanager
async def home(**given: Any) -> AsyncIterator[Home]:
    settings = load(**{"threads": 1, "selftest": False, "context": 512, **given})
    if not (settings.engines / "transformers").exists():
        borrowed(settings.engines, "transformers")
    async with open_house(settings) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            yield Home(house, http)


def text(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


async def test_pulled_from_the_hub_it_says_what_llama_cpp_says_in_every_dialect(hub: FakeHub, graine: Path) -> None:
    pickled = {"pytorch_model.bin": b"\x80\x04never", "modeling_graine.py": b"raise SystemExit"}
    hub.add("domicile/graine-hf", {**tensors.files(graine), **pickled})
    async with home(selftest=True) as at:
        answer = await at.http.post("/domicile/pull", json={"model": "domicile/graine-hf"})
        events = await at.http.get(f"/domicile/jobs/{answer.json()['id']}/events")
        assert '"done"' in events.text, events.text[-1500:]
        (model,) = [m for m in at.house.library.list() if m.format == "safetensors"]
        assert not {"pytorch_model.bin", "modeling_graine.py"} & {p.name for p in model.files}
        assert model.self_test is not None
        assert model.self_test["passed"], model.self_test

        native = await at.chat("graine")
        ours = await at.chat(model.name)
        assert text(ours) == text(native)
        assert text(ours)
        usage = ours.json()["usage"]
        assert usage["prompt_tokens"] == native.json()["usage"]["prompt_tokens"]
        assert ours.json()["choices"][0]["finish_reason"] == "stop"
        served = await at.http.post(
            "/api/chat",
            json={"model": model.name, "messages": QUESTION, "stream": False, "options": {"temperature": 0}},
        )
        assert served.json()["message"]["content"] == text(native)
        served = await at.http.post(
            "/v1/messages", json={"model": model.name, "messages": QUESTION, "max_tokens": 48, "temperature": 0}
        )
        assert served.json()["content"][0]["text"] == text(native)
        stream = await at.chat(model.name, stream=True, stream_options={"include_usage": True})
        chunks = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        assert said == text(native)
        assert chunks[-1]["usage"] == usage
        (shown,) = [m for m in (await at.http.get("/domicile/ps")).json()["models"] if m["name"] == model.name]
        assert (shown["engine"], shown["state"]) == ("transformers", "awake")


async def test_what_a_request_may_wish_for(graine: Path) -> None:
    async with home() as at:
        at.take(graine, "g", "text-generation")
        whole = text(await at.chat("g"))
        stop = whole[8:12]
        cut = await at.chat("g", stop=[stop])
        assert text(cut) == whole[: whole.index(stop)]
        assert cut.json()["choices"][0]["finish_reason"] == "stop"
        short = await at.chat("g", max_tokens=3)
        assert (short.json()["usage"]["completion_tokens"], short.json()["choices"][0]["finish_reason"]) == (
            3,
            "length",
        )
        once, again, other = [text(await at.chat("g", temperature=3.0, seed=s)) for s in (1, 1, 2)]
        assert once == again
        assert once != other
        told = (await at.chat("g", max_tokens=2, logprobs=True, top_logprobs=2)).json()["choices"][0]["logprobs"]
        first = told["content"][0]
        assert first["logprob"] == pytest.approx(first["top_logprobs"][0]["logprob"])
        assert len(first["top_logprobs"]) == 2
        completed = await at.http.post("/v1/completions", json={"model": "g", "prompt": "Bonjour", **GREEDY})
        assert completed.status_code == 200, completed.text
        counted = await at.http.post("/v1/messages/count_tokens", json={"model": "g", "messages": QUESTION})
        assert counted.json()["input_tokens"] == short.json()["usage"]["prompt_tokens"]
        words = [{"role": "user", "content": "mot " * 150}, {"role": "assistant", "content": "oui"}] * 4
        trimmed = await at.chat("g", messages=[*words, *QUESTION], context="trim", max_tokens=4)
        assert trimmed.status_code == 200, trimmed.text
        assert int(trimmed.headers["X-Domicile-Context-Dropped"].rpartition("=")[2]) > 0
        long = await at.chat("g", messages=[{"role": "user", "content": "mot " * 3000}])
        assert long.status_code == 400
        assert long.json()["error"]["code"] == "context_length_exceeded"
        picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        seen = await at.chat("g", messages=[{"role": "user", "content": picture}])
        assert seen.status_code == 400


async def test_together_each_gets_what_it_would_get_alone(graine: Path) -> None:
    questions = ["Comment lister mes modèles ?", "What is a GGUF file?", "Bonjour", "How do I download a model?"]
    async with home(slots=4, context=2048) as at:
        at.take(graine, "g", "text-generation")

        async def ask(question: str) -> str:
            return text(await at.chat("g", messages=[{"role": "user", "content": question}]))

        alone = [await ask(q) for q in questions]
        assert await asyncio.gather(*(ask(q) for q in questions)) == alone


async def test_who_leaves_frees_its_place(graine: Path) -> None:
    async with home(slots=1) as at:
        at.take(graine, "g", "text-generation")
        await at.chat("g", max_tokens=1)
        body = {"messages": QUESTION, "stream": True, "ignore_eos": True, "max_tokens": 400, "temperature": 0}
        async with (
            at.house.session("g") as (_, awake),
            awake.ask("/v1/chat/completions", json.dumps(body).encode()) as reply,
        ):
            await anext(reply.body)
        async with asyncio.timeout(5):
            assert text(await at.chat("g", max_tokens=1))
        async with at.house.session("g") as (_, awake):
            counts = await awake.counts()
        assert counts is not None
        assert counts.generated_tokens < 300


async def test_text_to_text(graine: Path, tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=json.loads((graine / "config.json").read_text())["vocab_size"],
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0,
    )  # fmt: skip
    folder = tensors.with_words_of(graine, tmp_path / "t5", T5ForConditionalGeneration(config))
    async with home() as at:
        at.take(folder, "t5", "text2text-generation")
        answer = await at.chat("t5", max_tokens=5, ignore_eos=True)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 5
        assert answer.json()["choices"][0]["finish_reason"] == "length"


async def test_a_cache_with_windows_goes_one_after_the_other(graine: Path, tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    vocab = json.loads((graine / "config.json").read_text())["vocab_size"]
    config = Gemma2Config(
        vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=16, eos_token_id=1,
    )  # fmt: skip
    folder = tensors.with_words_of(graine, tmp_path / "gemma", Gemma2ForCausalLM(config))
    async with home(slots=2) as at:
        at.take(folder, "windows", "text-generation")
        answers = await asyncio.gather(*(at.chat("windows", max_tokens=6, ignore_eos=True) for _ in range(2)))
        assert {a.json()["usage"]["completion_tokens"] for a in answers} == {6}
        assert len({text(a) for a in answers}) == 1


async def test_without_its_engine_the_one_command_is_said(graine: Path) -> None:
    async with home() as at:
        at.take(graine, "g", "text-generation")
        await at.house.remove_engine("transformers")
        answer = await at.chat("g")
        assert answer.status_code == 501
        assert answer.json()["error"]["hint"] == "domicile engine add transformers"


@pytest.fixture
def hostile(graine: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for file in graine.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


async def test_code_that_a_configuration_names_is_never_run(hostile: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (hostile / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    named = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    tensors.rewritten(
        hostile, "config.json", auto_map=named, trust_remote_code=True, _attn_implementation="evil/kernels",
        attn_implementation="evil/kernels", _attn_implementation_internal="evil/kernels",
        text_config_extra={"auto_map": named},
    )  # fmt: skip
    tensors.rewritten(hostile, "tokenizer_config.json", auto_map=named, tokenizer_file="/etc/passwd")
    async with home() as at:
        at.take(hostile, "evil", "text-generation")
        answer = await at.chat("evil", max_tokens=2)
        assert answer.status_code == 200, answer.text
        assert not mark.exists()


@pytest.mark.parametrize("kind", ["pickle", "zip", "header", "link", "index", "config"])
async def test_hostile_folders_are_refused_and_the_house_goes_on(hostile: Path, tmp_path: Path, kind: str) -> None:
    weights = hostile / "model.safetensors"
    if kind == "pickle":
        weights.write_bytes(b"\x80\x04\x95" + bytes(64))
    elif kind == "zip":
        weights.write_bytes(b"PK\x03\x04" + bytes(64))
    elif kind == "header":
        weights.write_bytes((1 << 40).to_bytes(8, "little") + b"{" + bytes(64))
    elif kind == "link":
        outside = tmp_path / "secret.json"
        outside.write_text('{"model_type": "llama"}')
        (hostile / "config.json").unlink()
        (hostile / "config.json").symlink_to(outside)
    elif kind == "index":
        index = {"metadata": {}, "weight_map": {"a": "../../etc/passwd"}}
        (hostile / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        (hostile / "config.json").write_text("[" * 100_000)
    async with home() as at:
        at.take(hostile, "evil", "text-generation")
        answer = await at.chat("evil", max_tokens=2)
        assert answer.status_code == 422, answer.text
        assert text(await at.chat("graine", max_tokens=2))


@pytest.mark.engines
@pytest.mark.timeout(1800)
async def test_from_an_empty_folder_with_the_one_command(hub: FakeHub, graine: Path) -> None:
    """The whole way, with the real libraries from the real index."""
    hub.add("domicile/graine-hf", tensors.files(graine))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "DOMICILE_SELFTEST": "off", "PIP_NO_INPUT": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return nursery.run(*words, env=environment, timeout=1700)

    assert run("pull", "domicile/graine-hf").returncode == 0
    asked = ("run", "domicile/graine-hf", "Comment lister mes modèles ?")
    missing = run(*asked)
    assert missing.returncode == 7
    assert "domicile engine add transformers" in missing.stderr
    added = run("engine", "add", "transformers")
    assert added.returncode == 0, added.stderr
    assert run("engine", "doctor", "transformers").returncode == 0
    answer = run(*asked)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
    assert run("engine", "remove", "transformers").returncode == 0
