"""Giving a model to Ollama: what is written for it says the same as the model, and its bytes are there once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from domicile.errors import BadField
from domicile.giving import store
from domicile.giving.modelfile import Recipe, text
from domicile.giving.ollama import address, default_name, is_here
from domicile.gotemplates import TEMPLATES, recognise
from domicile.stores import ollama as layout
from tests.conftest import Visit, Visiting
from tests.fakes import stores as fakes
from tests.fakes.gguf import gguf
from tests.fakes.ollama import FakeOllama, running

# -- templates: the translation says what the original says --

CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ORIGINALS = {
    "chatml": CHATML,
    "llama3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "(first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "phi3": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{# <|user|> <|assistant|> #}",
    "mistral": "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}{{ '[INST] ' + (first if loop.first else '') + m['content'] + "
    "' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
    "granite": "{% for m in messages %}{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + "
    "'<|end_of_text|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
    "zephyr": "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token + '\n' }}"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token + '\n' }}"
    "{% else %}{{ '<|assistant|>\n' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}
TALKS: list[list[tuple[str, str]]] = [
    [("user", "Bonjour")],
    [("system", "Be brief."), ("user", "Bonjour")],
    [("system", "Be brief."), ("user", "One?"), ("assistant", "1."), ("user", "Two?")],
]


def _go(template: str, **facts: str) -> str:
    """The little of Go's text/template that is used: `{{ .X }}` and `{{ if .X }}...{{ end }}`."""
    while found := re.search(
        r"\{\{ if \.(\w+) \}\}((?:(?!\{\{ if )(?!\{\{ end).)*?(?:\{\{ \.\w+ \}\}.*?)?)\{\{ end \}\}",
        template,
        re.DOTALL,
    ):
        template = template[: found.start()] + (found[2] if facts.get(found[1]) else "") + template[found.end() :]
    return re.sub(r"\{\{ \.(\w+) \}\}", lambda m: facts.get(m[1], ""), template)


def _as_ollama(template: str, talk: list[tuple[str, str]]) -> str:
    """As Ollama renders a template that has no loop over messages: turn by turn, the last one up to its answer."""
    said, system, prompt = "", "", ""
    for role, content in talk:
        if role == "system":
            system = content
        elif role == "user":
            prompt = content
        else:
            said += _go(template, System=system, Prompt=prompt, Response=content)
            system = prompt = ""
    return said + _go(template.split("{{ .Response }}", maxsplit=1)[0], System=system, Prompt=prompt)


@pytest.mark.parametrize("family", sorted(ORIGINALS))
@pytest.mark.parametrize("talk", TALKS, ids=["question", "system", "conversation"])
def test_a_translated_template_renders_what_the_original_renders(family: str, talk: list[tuple[str, str]]) -> None:
    known = recognise(ORIGINALS[family])
    assert known is not None
    assert known.name == family
    original = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(ORIGINALS[family])
    messages = [{"role": role, "content": content} for role, content in talk]
    wanted = original.render(messages=messages, add_generation_prompt=True, bos_token="", eos_token="</s>")
    assert _as_ollama(known.go, talk).rstrip(" ") == wanted.rstrip(" ")


def test_a_template_that_is_none_of_ours_gets_none() -> None:
    for unknown in (None, "", "{{ messages }}", "<|im_start|><|im_middle|><|im_end|>", "[gMASK]<|user|><|assistant|>"):
        assert recognise(unknown) is None


def test_every_template_is_balanced_stops_at_its_own_marks_and_ends_its_turns() -> None:
    assert len({k.name for k in TEMPLATES}) == len(TEMPLATES)
    for known in TEMPLATES:
        assert known.go.count("{{ if ") == known.go.count("{{ end }}")
        assert all(f"{{{{ .{word} }}}}" in known.go for word in ("System", "Prompt", "Response"))
        assert known.stop
        assert recognise(" ".join(known.marks)) is not None


# -- Modelfile --


def test_a_modelfile_says_each_thing_in_ollama_s_words() -> None:
    made = Recipe('{{ .Prompt }}"', "x", 'Say "hi"', {"stop": ["<a>", "<b>"], "temperature": 0.5, "seed": 3}, "mit")
    assert text("/models/my file.gguf", made) == (
        'FROM /models/my file.gguf\nTEMPLATE """{{ .Prompt }}"\n"""\nSYSTEM """Say "hi"\n"""\n'.replace(
            'hi"\n"""', 'hi"\n"""'
        )
        + 'PARAMETER stop """<a>"""\nPARAMETER stop """<b>"""\nPARAMETER temperature 0.5\nPARAMETER seed 3\n'
        'LICENSE """mit"""\n'
    )


def test_nothing_in_a_value_can_begin_an_instruction_of_its_own() -> None:
    made = Recipe(None, None, 'x"""\nFROM /etc/passwd\nSYSTEM """""""', {}, None)
    written = text("/m.gguf", made)
    assert written.count('"""') == 2
    assert written.startswith('FROM /m.gguf\nSYSTEM """x""')


# -- where Ollama is --


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("localhost", "http://localhost:11434"),
        (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("::", "http://[::1]:11434"),
        ("http://localhost", "http://localhost:80"),
        ("https://lab.example/ollama/", "https://lab.example:443/ollama"),
        ('"192.168.1.4"', "http://192.168.1.4:11434"),
    ],
)
def test_its_address_is_read_as_ollama_reads_it(said: str, url: str) -> None:
    assert address(said) == url


@pytest.mark.parametrize("said", ["ftp://x", "host:port", "host:99999", "a b", "user@host", "x?y", "http://[::1"])
def test_what_is_no_address_is_refused(said: str) -> None:
    with pytest.raises(BadField):
        address(said)


def test_only_this_machine_is_here() -> None:
    assert all(is_here(address(a)) for a in ("", "localhost", "127.1.2.3", "[::1]", "0.0.0.0"))
    assert not any(is_here(address(a)) for a in ("192.168.1.4", "lab.example", "localhost.evil", "127.0.0.1.evil"))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("org/Repo-GGUF:Q4_K_M", "repo-gguf:q4_k_m"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("My-model", "my-model:latest"),
        ("été", "t:latest"),
        ("..", "model:latest"),
    ],
)
def test_a_name_of_ours_becomes_one_of_ollama(ours: str, theirs: str) -> None:
    assert default_name(ours) == theirs


# -- giving --

MODEL = gguf("mine", template=CHATML, licence="mit", body=50_000)
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    with running(FakeOllama()) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        yield fake


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "person" / ".ollama" / "models"


def _mine(visit: Visit, content: bytes = MODEL) -> Path:
    """A model of our own store."""
    place = visit.house.settings.models / "org" / "mine" / "mine-Q8_0.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    visit.house.library.add_file(place)
    return place


async def _give(visit: Visit, **wanted: Any) -> dict[str, Any]:
    answer = await visit.http.post("/domicile/models/mine-Q8_0/export", json={"to": "ollama", **wanted})
    assert answer.status_code == 202, answer.text
    await visit.house.jobs.wait(answer.json()["id"])
    shown: dict[str, Any] = (await visit.http.get(f"/domicile/jobs/{answer.json()['id']}")).json()
    return shown


@pytest.mark.anyio
async def test_on_one_disk_ollama_gets_the_very_bytes_and_a_whole_model(visiting: Visiting, root: Path) -> None:
    root.mkdir(parents=True)
    async with visiting() as visit:
        place = _mine(visit)
        before = fakes.bytes_under(root, visit.house.settings.models)
        done = await _give(visit)
        assert done["status"] == "done", done["error"]
        given = done["result"]
        assert (given["name"], given["template"], given["digest"]) == ("mine-q8_0:latest", "chatml", f"sha256:{SHA256}")
        assert given["how"] in {"hardlink", "reflink"}
        grown = fakes.bytes_under(root, visit.house.settings.models) - before
        assert given["how"] == "reflink" or grown < 40_000  # small blobs of 4 KB, and none of the weights
        manifest = root / "manifests" / "registry.ollama.ai" / "library" / "mine-q8_0" / "latest"
        assert fakes.ollama_runs(manifest, root)
        (found,) = layout.scan(root)
        known = recognise(CHATML)
        assert known is not None
        assert found.settings == {"template": known.go, "parameters": {"stop": list(known.stop)}}
        assert found.licence == "mit"
        assert (await _give(visit))["result"]["how"] == "there"
        # Theirs stays when ours goes, and ours when theirs goes.
        (root / "blobs" / f"sha256-{SHA256}").unlink()
        assert place.read_bytes() == MODEL


@pytest.mark.anyio
async def test_a_model_that_sees_takes_its_projector_along(visiting: Visiting, root: Path, ollama: FakeOllama) -> None:
    root.mkdir(parents=True)
    eyes = b"GGUF and a projector"
    async with visiting() as visit:
        place = _mine(visit)
        beside = place.with_name("mmproj-F16.gguf")
        beside.write_bytes(eyes)
        model = visit.house.library.get("mine-Q8_0")
        visit.house.library.add(replace(model, files=(place, beside), size_bytes=len(MODEL) + len(eyes)))
        assert (await _give(visit))["status"] == "done"
        (found,) = layout.scan(root)
        digest = hashlib.sha256(eyes).hexdigest()
        assert found.settings["projector"] == [digest]
        assert (root / "blobs" / f"sha256-{digest}").read_bytes() == eyes
        sent = await _give(visit, **{"as": "other", "via": "api"})
    assert sent["status"] == "done", sent["error"]
    assert {f"sha256:{digest}", f"sha256:{SHA256}"} <= set(ollama.blobs)


@pytest.mark.anyio
async def test_a_name_that_ollama_has_for_another_model_is_not_taken_from_it(visiting: Visiting, root: Path) -> None:
    manifest = fakes.ollama(root, "mine-q8_0:latest", gguf("other"))
    kept = manifest.read_text()
    async with visiting() as visit:
        _mine(visit)
        refused = await _give(visit)
        assert (refused["status"], refused["error"]["code"]) == ("failed", "name_taken")
        assert manifest.read_text() == kept
        assert not (root / "blobs" / f"sha256-{SHA256}").exists()
        assert (await _give(visit, force=True))["status"] == "done"
        assert SHA256 in manifest.read_text()


@pytest.mark.anyio
async def test_without_its_folder_the_bytes_are_sent_to_its_server(visiting: Visiting, ollama: FakeOllama) -> None:
    async with visiting() as visit:
        _mine(visit)
        done = await _give(visit, **{"as": "lab/mine:q8"})
        assert done["status"] == "done", done["error"]
        assert (done["result"]["how"], done["result"]["name"]) == ("api", "lab/mine:q8")
        assert ollama.blobs == {f"sha256:{SHA256}": MODEL}
        made = ollama.models["lab/mine:q8"]
        assert made["files"] == {"mine-Q8_0.gguf": f"sha256:{SHA256}"}
        assert made["parameters"] == {"stop": ["<|im_start|>", "<|im_end|>"]}
        assert "<|im_start|>" in made["template"]
        assert (await _give(visit, **{"as": "lab/mine:q8"}))["error"]["code"] == "name_taken"
        await _give(visit, **{"as": "again", "force": True})
        assert [p for m, p in ollama.asked if m == "POST" and "blobs" in p] == [f"/api/blobs/sha256:{SHA256}"]


@pytest.mark.anyio
async def test_a_disk_that_cannot_share_falls_back_to_the_server(
    visiting: Visiting, ollama: FakeOllama, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir(parents=True)

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(store, "_reflink", lambda *_: False)
    async with visiting() as visit:
        _mine(visit)
        assert (await _give(visit, via="link"))["error"]["code"] == "not_exportable"
        assert (await _give(visit))["result"]["how"] == "api"
        assert list(root.rglob("sha256-*")) == []


@pytest.mark.anyio
async def test_the_modelfile_names_the_file_where_it_lies(visiting: Visiting) -> None:
    async with visiting() as visit:
        place = _mine(visit)
        made = (await visit.http.get("/domicile/models/mine-Q8_0/modelfile")).json()
        assert made["template"] == "chatml"
        assert made["modelfile"].startswith(f'FROM {place}\nTEMPLATE """')
        assert 'PARAMETER stop """<|im_end|>"""\n' in made["modelfile"]


@pytest.mark.anyio
async def test_a_model_that_ollama_had_keeps_what_ollama_said_of_it(visiting: Visiting, root: Path) -> None:
    fakes.ollama(
        root, "x:1", MODEL, {"template": "{{ .Prompt }}", "system": "Be kind.", "params": {"top_k": 3, "evil": 1}}
    )
    async with visiting() as visit:
        await visit.house.jobs.wait((await visit.house.adopt({"all": True})).id)
        made = (await visit.http.get("/domicile/models/x:1/modelfile")).json()
    assert made["template"] == "ollama"
    assert 'TEMPLATE """{{ .Prompt }}"""\nSYSTEM """Be kind."""\nPARAMETER top_k 3\n' in made["modelfile"]
    assert "evil" not in made["modelfile"]


@pytest.mark.anyio
async def test_what_ollama_cannot_read_is_refused_with_why(visiting: Visiting) -> None:
    async with visiting() as visit:
        place = _mine(visit)
        model = visit.house.library.get("mine-Q8_0")
        for name, given in (("two", {"files": (place, place)}), ("st", {"format": "safetensors"})):
            visit.house.library.add(replace(model, name=name, **given))
            answer = await visit.http.get(f"/domicile/models/{name}/modelfile")
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "not_exportable")
        for wrong in ({}, {"to": "mars"}, {"to": "ollama", "via": "post"}, {"to": "ollama", "force": "yes"}):
            assert (await visit.http.post("/domicile/models/mine-Q8_0/export", json=wrong)).status_code == 400
        assert (await _give(visit, **{"as": "../../x"}))["error"]["code"] == "bad_field"


# -- a running Ollama --


@pytest.mark.anyio
async def test_a_running_ollama_is_listed_pulled_into_shown_and_cleaned(visiting: Visiting, ollama: FakeOllama) -> None:
    ollama.registry["llama3.2:3b"] = 2_000_000_000
    async with visiting() as visit:
        assert (await visit.http.get("/domicile/ollama")).json() == {"url": ollama.url, "version": "0.14.0"}
        answer = await visit.http.post("/domicile/ollama/pull", json={"model": "llama3.2:3b"})
        states = [job async for _, job in visit.house.jobs.follow(answer.json()["id"])]
        assert (states[-1].status, states[-1].downloaded_bytes, states[-1].size_bytes) == (
            "done",
            2_000_000_000,
            2_000_000_000,
        )
        (listed,) = (await visit.http.get("/domicile/ollama/models")).json()["models"]
        assert (listed["name"], listed["size_bytes"], listed["parameters"]) == ("llama3.2:3b", 2_000_000_000, "3.2B")
        shown = (await visit.http.get("/domicile/ollama/models/llama3.2:3b")).json()
        assert shown["modelfile"] == "FROM llama3.2:3b"
        assert (await visit.http.delete("/domicile/ollama/models/llama3.2:3b")).json() == {"removed": "llama3.2:3b"}
        for method in ("GET", "DELETE"):
            gone = await visit.http.request(method, "/domicile/ollama/models/llama3.2:3b")
            assert (gone.status_code, gone.json()["error"]["code"]) == (404, "not_in_ollama")


@pytest.mark.anyio
@pytest.mark.parametrize(("known", "cut", "code"), [(False, False, "not_in_ollama"), (True, True, "ollama_said")])
async def test_a_pull_that_fails_in_the_middle_of_its_answer_fails(
    visiting: Visiting, ollama: FakeOllama, known: bool, cut: bool, code: str
) -> None:
    ollama.cut_pull = cut
    if known:
        ollama.registry["x"] = 1000
    async with visiting() as visit:
        job = await visit.house.jobs.wait((await visit.house.ollama_pull("x")).id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == code


@pytest.mark.anyio
async def test_an_ollama_that_is_silent_or_elsewhere_is_said(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with visiting() as visit:
        silent = await visit.http.get("/domicile/ollama/models")
        assert (silent.status_code, silent.json()["error"]["code"]) == (502, "ollama_silent")
    monkeypatch.setenv("OLLAMA_HOST", "192.0.2.1:11434")
    async with visiting() as visit:
        elsewhere = await visit.http.get("/domicile/ollama/models")
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (403, "ollama_elsewhere")
        assert "DOMICILE_OLLAMA_ELSEWHERE" in elsewhere.json()["error"]["hint"]


def test_nothing_is_written_outside_ollama_s_folder_whatever_the_name(tmp_path: Path) -> None:
    for name in ("x", "x:y", "lab/x:y"):
        assert store.manifest_path(tmp_path, name).is_relative_to(tmp_path / "manifests" / "registry.ollama.ai")
    store.enter(tmp_path, "x", [("model", SHA256, len(MODEL))], Recipe(system="s"), None)
    manifest = json.loads(store.manifest_path(tmp_path, "x").read_text())
    assert [layer["mediaType"].rsplit(".", 1)[1] for layer in manifest["layers"]] == ["model", "system"]
