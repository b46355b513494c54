"""Chat templates are programs from strangers: judged apart and within limits, replaced where they are refused, said."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from domicile.answering import Ask, whole
from domicile.app import House, open_house
from domicile.config import load
from domicile.library import EMBEDDED_FILE
from domicile.templates import BUILT_IN, Template, Templates, built_in, family, fingerprint
from domicile.types import Facts
from tests.conftest import Visiting
from tests.fakes.hub import FakeHub

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"

HOSTILE = {
    "class walk": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals of a function": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "init of a helper": "{{ cycler.__init__.__globals__.os.system('touch /tmp/x') }}",
    "attr filter": "{{ ''|attr('__class__')|attr('__mro__') }}",
    "item": "{{ ''['__class__'] }}",
    "joined name": "{{ ''['__cl' ~ 'ass__']['__mro__'] }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "map attribute": "{{ messages|map(attribute='__class__')|list }}",
    "another file": "{% include '/etc/passwd' %}",
    "range": "{% for i in range(100000000000) %}x{% endfor %}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "long text": "{{ 'a' * 10000000000 }}",
    "doubling": "{% set n = namespace(t='xx') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "padding": "{{ 'a'|center(99999) * 9999 }}{% for i in range(9999) %}{{ 'a'|center(99999) }}{% endfor %}",
    "only later": PLAIN + "{% if messages|length > 1000 %}{{ ''.__class__ }}{% endif %}",
}
"""The seventeen of promises.md M4, in our words."""

ROOM = "{{ messages[0].content }}"


async def _judge(tmp_path: Path, text: str, **facts: Any) -> Template:
    async def facts_of(_: object) -> Facts:
        raise AssertionError("not asked")

    templates = Templates(tmp_path / "verdicts", facts_of, lambda *_: None)
    named = {"default": text, **facts.pop("more", {})}
    known = Facts(format="gguf", file_bytes=1, weights_bytes=1, chat_template=text, chat_templates=named, **facts)
    return await templates.judge(known)


def test_there_are_seventeen() -> None:
    assert len(HOSTILE) == 17


@pytest.mark.parametrize("group", [0, 1, 2])
async def test_hostile_templates_are_refused_and_a_named_one_takes_their_place(group: int, tmp_path: Path) -> None:
    chosen = list(HOSTILE.items())[group::3]
    found = [(name, await _judge(tmp_path, PLAIN + text)) for name, text in chosen]
    assert [(name, t.verdict, t.built_in) for name, t in found] == [(name, "refused", "chatml") for name, _ in chosen]
    # Only what burns time ends by a signal; everything else says what it was refused for.
    assert {t.reason for name, t in found if name != "nested loops"} <= {"code", "too_much", "endless"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for %}", "syntax"),
        ("Bonjour", "silent"),
        ("{{ raise_exception('no') }}", "silent"),
        ("{{ x.y.z }}", "silent"),
    ],
)
async def test_a_template_that_cannot_render_a_question_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    found = await _judge(tmp_path, text)
    assert (found.verdict, found.reason) == ("refused", reason)


@pytest.mark.parametrize("text", ["{% for %}", "{{ raise_exception('no') }}", "{{ x.y.z }}"])
def test_what_fails_is_not_taken_for_code_where_no_bytecode_is_kept_yet(tmp_path: Path, text: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "domicile.template_child"],
        input=text.encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""},
        check=True,
    )
    assert json.loads(ended.stdout)["reason"] in {"syntax", "silent"}


async def test_a_template_may_refuse_what_its_model_was_not_taught(tmp_path: Path) -> None:
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
    found = await _judge(tmp_path, text)
    assert found.verdict == "fine"
    assert found.shapes == {"user": True, "system": False, "talk": True, "long": True, "tools": True, "open": True}
    assert found.shown == "[user]Bonjour à tous"


async def test_what_real_templates_use_is_allowed(tmp_path: Path) -> None:
    text = (
        "{%- set ns = namespace(found=false) %}{%- if tools %}{%- for t in tools %}{{- t | tojson(indent=2) }}"
        "{%- endfor %}{%- endif %}{{- strftime_now('%d %b %Y') }}{%- for m in messages[::-1] %}{%- if loop.last %}"
        "{%- break %}{%- endif %}{%- endfor %}{%- for m in messages %}{% generation %}"
        "{{- (m.content or '').split('</think>')[-1].lstrip('\\n') }}"
        "{% endgeneration %}{%- endfor %}{%- macro f(x) %}{{ x | upper }}{%- endmacro %}{{ f('a') }}"
    )
    assert (await _judge(tmp_path, text)).verdict == "fine"


async def test_the_template_of_a_named_role_is_judged_as_well(tmp_path: Path) -> None:
    found = await _judge(tmp_path, PLAIN, more={"tool_use": PLAIN + HOSTILE["class walk"]})
    assert (found.verdict, found.reason, found.built_in) == ("refused", "code", "chatml")
    assert found.problem.startswith("tool_use: ")
    assert found.fingerprint == fingerprint(PLAIN)


async def test_a_template_too_long_to_keep_is_refused(tmp_path: Path) -> None:
    assert (await _judge(tmp_path, PLAIN, more={"tool_use": None})).reason == "too_long"


async def test_a_verdict_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await _judge(tmp_path, PLAIN)
    monkeypatch.setattr("domicile.child.run", None)
    assert await _judge(tmp_path, PLAIN) == first


async def test_the_built_in_templates_pass_their_own_judge(tmp_path: Path) -> None:
    for name in BUILT_IN:
        found = await _judge(tmp_path, built_in(name))
        assert found.verdict == "fine", name
        assert all(found.shapes.values()), name


@pytest.mark.parametrize(
    ("architecture", "name", "vocabulary", "wanted"),
    [
        ("qwen2", "Qwen2.5", 151936, "chatml"),
        ("llama", "Meta Llama 3.1", 128256, "llama3"),
        ("llama", "TinyLlama", 32000, "llama2"),
        ("llama", "Mistral 7B", 32768, "mistral"),
        ("mistral3", None, 131072, "mistral"),
        ("gemma3", None, 262144, "gemma"),
        ("phi3", None, 32064, "phi3"),
        ("llama", "SmolLM2", 49152, "chatml"),
        (None, None, None, "chatml"),
    ],
)
def test_the_built_in_one_is_of_the_models_family(
    architecture: str | None, name: str | None, vocabulary: int | None, wanted: str
) -> None:
    facts = Facts("gguf", 1, 1, architecture=architecture, name=name, n_vocab=vocabulary)
    assert family(facts) == wanted


def test_a_fingerprint_does_not_mind_line_ends() -> None:
    assert fingerprint("a\r\nb\n") == fingerprint("a\nb") != fingerprint("a\n b")


# -- in the house --


def poisoned(file: Path, text: str) -> None:
    """graine, with this template in its file: same length, so that nothing else moves."""
    data = bytearray(EMBEDDED_FILE.read_bytes())
    old = bytes(GGUFReader(EMBEDDED_FILE).fields["tokenizer.chat_template"].parts[-1])
    place = data.index(old)
    new = text.encode()
    assert len(new) <= len(old)
    data[place : place + len(old)] = new + b" " * (len(old) - len(new))
    file.write_bytes(data)


async def _ask(house: House, name: str) -> str:
    body = {"model": name, "messages": [{"role": "user", "content": "Bonjour, qui es-tu ?"}], "temperature": 0}
    async with house.answer(Ask(name, CHAT, json.dumps(body).encode())) as answer:
        said = json.loads(await whole(answer.reply.body))
    return str(said["choices"][0]["message"]["content"])


async def test_a_model_whose_template_is_refused_answers_with_a_built_in_one_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "poisoned.gguf"
    poisoned(file, PLAIN + "{{ 'a' * 10000000000 }}")
    async with open_house(load()) as house:
        house.library.add_file(file)
        # llama is what the file says it is; graine was taught ChatML.
        answer = await asyncio.wait_for(_ask(house, "poisoned"), 60)
        template = house.templates.known("poisoned")
        log = house.log_of("poisoned").read_text("utf-8")
    assert answer
    assert template is not None
    assert (template.verdict, template.reason) == ("refused", "too_much")
    assert f"built-in template {template.built_in} is used" in log


async def test_graines_own_template_is_used(tmp_path: Path) -> None:
    async with open_house(load()) as house:
        assert "graine" in await _ask(house, "graine")
        found = await house.template_of("graine")
    assert (found["verdict"], found["used"]) == ("fine", "file")
    assert found["text"] == found["used_text"]


async def test_ps_show_and_the_api_say_which_template_is_used(visiting: Visiting, tmp_path: Path) -> None:
    file = tmp_path / "poisoned.gguf"
    poisoned(file, PLAIN + "{{ ''.__class__ }}")
    async with visiting() as visit:
        visit.house.library.add_file(file)
        await visit.http.post(CHAT, json={"model": "poisoned", "messages": [{"role": "user", "content": "hi"}]})
        launch = visit.parrot.awake_now[0].launch
        awake = (await visit.http.get("/domicile/ps")).json()["models"]
        shown = (await visit.http.get("/domicile/models/poisoned")).json()["template"]
        whole_template = (await visit.http.get("/domicile/models/poisoned/template")).json()
    assert launch.template == built_in(awake[0]["template"])
    assert shown["used"] == awake[0]["template"] == whole_template["used"]
    assert shown["reason"] == "code"
    assert whole_template["text"].startswith(PLAIN)
    assert whole_template["used_text"] == launch.template


async def test_a_template_is_compared_with_that_of_the_base_repository(
    visiting: Visiting, hub: FakeHub, tmp_path: Path
) -> None:
    repository = hub.add("acme/copy-GGUF", {"copy-Q8_0.gguf": EMBEDDED_FILE.read_bytes()})
    assert repository is not None
    async with visiting() as visit:
        answer = await visit.http.get("/domicile/models/graine/template", params={"base": "acme/copy-GGUF"})
    (compared,) = answer.json()["compared"]
    assert compared["name"].startswith("acme/copy-GGUF")
    assert compared["same"] is True
