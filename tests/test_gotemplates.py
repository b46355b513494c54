"""Templates in the language of Ollama: what they write here is what Ollama would write, or they are refused by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from jinja2 import sandbox

from domicile.answering import whole
from domicile.app import House, open_house
from domicile.config import load
from domicile.dialects.modelfile import Recipe
from domicile.gotemplates import TEMPLATES, NotUnderstood, known, same, translated
from domicile.library import EMBEDDED_FILE
from domicile.recipes import applied
from domicile.templates import BUILT_IN, Templates, built_in
from tests.conftest import Visit, Visiting
from tests.fakes import stores

pytestmark = pytest.mark.anyio

Messages = list[dict[str, Any]]
CALL = {"function": {"name": "heure", "arguments": {"ville": "Paris"}}}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "heure",
        "description": "L'heure.",
        "parameters": {
            "type": "object",
            "properties": {"ville": {"type": "string", "description": "Où"}},
            "required": ["ville"],
        },
    },
}


def _turns(*said: str) -> Messages:
    """`s:` system, `u:` user, `a:` assistant, `t:` tool."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[one[0]], "content": one[2:]} for one in said]


def _rendered(go: str, messages: Messages, tools: Sequence[Any] | None = None, **more: Any) -> str:
    """As our sandbox and the engine set Jinja up."""
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    given = {"messages": messages, "add_generation_prompt": True, **more, **({"tools": tools} if tools else {})}
    return environment.from_string(translated(go)).render(given)


DOCUMENTED = {
    "layout": "{{- range .Messages }}\n{{ .Role }}: {{ .Content }}\n{{- end }}",
    "llama3": (
        "{{- if .System }}<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>\n{{- end }}"
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>\n"
        "{{- end }}<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "chatml": (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    ),
    "mistral": (
        '{{- range $index, $_ := .Messages }}\n{{- if eq .Role "user" }}\n'
        "{{- if and (le (len (slice $.Messages $index)) 2) $.Tools }}[AVAILABLE_TOOLS] {{ json $.Tools }}"
        "[/AVAILABLE_TOOLS]\n{{- end }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}"
        "{{ $.System }}\n\n{{ end }}{{ .Content }}[/INST]\n"
        '{{- else if eq .Role "assistant" }}\n{{- if .Content }} {{ .Content }}</s>\n'
        '{{- else if .ToolCalls }}[TOOL_CALLS] [\n{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", '
        '"arguments": {{ json .Function.Arguments }}}\n{{- end }}]</s>\n{{- end }}\n'
        '{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ .Content }}}[/TOOL_RESULTS]\n'
        "{{- end }}\n{{- end }}"
    ),
}
"""The examples of Ollama's documentation (docs/template.md)."""
TURN = "{{ if .System }}S:{{ .System }};{{ end }}{{ if .Prompt }}U:{{ .Prompt }};{{ end }}A:{{ .Response }}."
LAST = (
    "{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}{{ $m.Content }}"
    "{{ if $last }}!{{ else }},{{ end }}{{ end }}"
)
CHATML = DOCUMENTED["chatml"]
TALK = _turns("s:Bref.", "u:Un", "a:Oui.", "u:Deux")


@pytest.mark.parametrize(
    ("go", "messages", "wanted"),
    [
        (DOCUMENTED["layout"], TALK, "\nsystem: Bref.\nuser: Un\nassistant: Oui.\nuser: Deux"),
        (CHATML, TALK[3:], "<|im_start|>user\nDeux<|im_end|>\n<|im_start|>assistant\n"),
        (
            DOCUMENTED["llama3"],
            _turns("u:Un"),
            "<|start_header_id|>user<|end_header_id|>\n\nUn<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (DOCUMENTED["mistral"], TALK, "[INST] Un[/INST] Oui.</s>[INST] Bref.\n\nDeux[/INST]"),
        # Of System, Prompt and Response: once for each turn, and the last as far as the response.
        (TURN, TALK, "S:Bref.;U:Un;A:Oui..U:Deux;A:"),
        (TURN, _turns("u:Un"), "U:Un;A:"),
        (TURN, _turns("u:Un", "a:Oui"), "U:Un;A:Oui"),
        (TURN, _turns("u:Un", "u:Deux"), "U:Un\n\nDeux;A:"),
        (TURN, _turns("u:Un", "a:Oui.", "s:Bref.", "u:Deux"), "U:Un;A:Oui..S:Bref.;U:Deux;A:"),
        ("{{ .Prompt }}", TALK, "UnOui.Deux"),
        ("{{ .System }}|{{ if .Response }}[{{ .Response }}]{{ end }}|{{ .Prompt }}", _turns("s:S", "u:U"), "S|"),
        # Trimming, texts, comments.
        ("a \n {{- .Prompt -}} \n b{{ .Response }}", _turns("u:x"), "axb"),
        ("{{/* no */}}{{- /* no */ -}} {{ .Prompt }}{{ `raw \\n` }}{{ \"q\\n}}'\" }}", _turns("u:x"), "xraw \\nq\n}}'"),
        ("{{ .Prompt }}{% if x %}{{ \"{{\" }}", _turns("u:x"), "x{% if x %}{{"),
        ("{{ .Prompt }}it's \\ é\t", _turns("u:x"), "xit's \\ é\t"),
        # Variables, pipes, functions.
        (LAST, _turns("u:a", "a:b", "u:c"), "a,b,c!"),
        ('{{ $x := "a" }}{{ if .Prompt }}{{ $x = "b" }}{{ end }}{{ $x }}{{ .Response }}', _turns("u:x"), "b"),
        ('{{ $x := "a" }}{{ if .Prompt }}{{ $x := "b" }}{{ $x }}{{ end }}{{ $x }}{{ .Response }}', _turns("u:x"), "ba"),
        ("{{ with .Prompt }}<{{ . }}>{{ else }}none{{ end }}{{ .Response }}", _turns("u:x"), "<x>"),
        ("{{ (index .Messages 0).Content }}{{ len .Messages }}{{ eq 1 2 }}", _turns("u:x", "a:y"), "x2false"),
        ('{{ range .Messages }}{{ if eq .Role "a" "user" }}{{ .Content | json }}{{ end }}{{ end }}', TALK[:2], '"Un"'),
        ('{{ range .Messages }}{{ if ne .Role "user" }}{{ continue }}{{ end }}{{ .Content }}{{ break }}{{ end }}',
         TALK, "Un"),
        ('{{ range .Messages }}{{ if and (not .ToolCalls) (or .Thinking .Content) }}{{ .Content }}{{ end }}{{ end }}',
         _turns("u:x"), "x"),
        ("{{ range .Tools }}t{{ else }}no{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}", TALK[3:], "noDeux"),
        ("{{ if .Suffix }}<PRE>{{ .Suffix }}{{ else }}{{ .Prompt }}{{ end }}{{ .Response }}", _turns("u:x"), "x"),
        ("{{ print .Prompt 1 true }}{{ .Response }}", _turns("u:x"), "x1true"),
    ],
)  # fmt: skip
def test_a_translation_writes_what_ollama_writes(go: str, messages: Messages, wanted: str) -> None:
    assert _rendered(go, messages) == wanted


def test_tools_their_calls_and_what_they_said() -> None:
    talk: Messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    talk += _turns("t:12 h")
    assert _rendered(DOCUMENTED["mistral"], talk, [TOOL]).startswith(
        '[INST] ?[/INST][TOOL_CALLS] [{"name": "heure", "arguments": {"ville": "Paris"}}]</s>[TOOL_RESULTS]'
    )
    assert _rendered(DOCUMENTED["mistral"], talk[:1], [TOOL]) == (
        f"[AVAILABLE_TOOLS] {json.dumps([TOOL], ensure_ascii=False)}[/AVAILABLE_TOOLS][INST] ?[/INST]"
    )
    each = (
        "{{ range .Tools }}{{ .Function.Name }}: {{ .Function.Description }}{{ range $name, $p := "
        ".Function.Parameters.Properties }} {{ $name }}={{ $p.Type }}{{ end }} {{ .Function.Parameters.Required }}"
        "{{ .Function.Parameters }}{{ end }}{{ range .Messages }}{{ range $i, $c := .ToolCalls }}{{ $i }}"
        "{{ $c.Function.Arguments }}{{ end }}{{ end }}"
    )
    schema = json.dumps(TOOL["function"]["parameters"], ensure_ascii=False)
    assert _rendered(each, talk, [TOOL]) == f"heure: L'heure. ville=string [ville]{schema}0" + '{"ville": "Paris"}'


@pytest.mark.parametrize(
    ("go", "named"),
    [
        ("{{ .Prompt }}\n{{ printf \"%s\" .Prompt }}", "line 2: printf"),
        ("{{ .Secret }}", "line 1: .Secret"),
        ("{{ range .Messages }}{{ .Secret }}{{ end }}", "line 1: .Secret"),
        ("{{ define \"x\" }}{{ end }}", "line 1: {{ define }}"),
        ("{{ if .Prompt }}", "line 1: {{ if }} - {{ end }}"),
        ("{{ end }}", "line 1: {{ end }}"),
        ("{{ $x }}", "line 1: $x"),
        ("{{ .Prompt ", "line 1: {{"),
        ("{{ .Prompt % 2 }}", "line 1: % 2 }}"),
        ("{{ .Messages }}", "line 1: {{ list message }}"),
        ("{{ range .Prompt }}{{ end }}", "line 1: {{ range }} text"),
        ("{{ eq .Prompt }}", "line 1: eq (1)"),
        ("{{ break }}", "{{ break }}"),
        ("{{ if .Prompt }}" * 100, "> 60 x {{ if }}"),
        ("{{ " + "(" * 100 + " }}", "line 1: (("),
        ("x" * 300_000, "> 262144"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named_with_its_line(go: str, named: str) -> None:
    with pytest.raises(NotUnderstood) as refused:
        translated(go)
    assert str(refused.value) == named


@pytest.mark.parametrize("family", TEMPLATES, ids=lambda family: family.name)
def test_what_we_give_to_ollama_comes_back_as_the_same_family(family: Any) -> None:
    assert known(family.go) == family.name
    spaced = family.go.replace("{{ ", "{{   ").replace("\n", "\r\n")
    assert known(spaced) == family.name
    assert "Bonjour" in _rendered(family.go, _turns("u:Bonjour"))


def test_another_text_is_another_template() -> None:
    assert same("a {{- .X }}", "a{{ .X }}")
    assert not same("a {{ .X }}", "a{{ .X }}")
    assert known("{{ .Prompt }}") is None
    assert known("{{ broken") is None


async def test_a_translation_is_judged_in_the_sandbox_like_any_other(tmp_path: Path) -> None:
    async def facts_of(_: object) -> Any:
        raise AssertionError("not asked")

    room = Templates(tmp_path, facts_of, lambda *_: None)
    chatml = next(family for family in TEMPLATES if family.name == "chatml")
    assert (await room.over(chatml.go)).public() == {"how": "known", "name": "chatml", "problem": ""}
    for name, go in DOCUMENTED.items():
        assert (await room.over(go)).how == "translated", name
    silent = await room.over("no {{ .Response }}")
    assert (silent.how, silent.text, silent.problem) == ("refused", None, "user")


# -- in the house --


async def _prompt(house: House, name: str, body: Mapping[str, Any]) -> str:
    """What the engine makes of a conversation."""
    async with house.session(name) as (_, awake), awake.ask("/apply-template", json.dumps(body).encode()) as reply:
        return str(json.loads(await whole(reply.body))["prompt"])


async def test_the_engine_writes_the_same_as_the_sandbox() -> None:
    written = {"name": "heure", "arguments": '{"ville": "Paris"}'}
    call = {"id": "c1", "type": "function", "function": written}
    talk: Messages = [*TALK[:2], {"role": "assistant", "content": "", "tool_calls": [call]}]
    talk += [{"role": "tool", "tool_call_id": "c1", "content": "12 h"}, *_turns("u:Et là ?")]
    called = [*talk[:2], {**talk[2], "tool_calls": [CALL]}, *talk[3:]]
    async with open_house(load()) as house:
        for number, go in enumerate((DOCUMENTED["mistral"], TURN, LAST)):
            name = f"go{number}"
            await house.create(name, Recipe("graine", template=go))
            given: Any = talk if number == 0 else TALK
            wanted = called if number == 0 else TALK
            tools = [TOOL] if number == 0 else []
            body = {"messages": given, **({"tools": tools} if tools else {})}
            assert await asyncio.wait_for(_prompt(house, name, body), 60) == _rendered(go, wanted, tools), go
            await house.runner.sleep(name)
        await house.create("plain", Recipe("graine", system="Bref."))
        await house.create("broken", Recipe("graine", template="{{ printf .Prompt }}"))
        assert house.recipes.weights(house.library.get("plain")).name == "graine"
        assert house.recipes.weights(house.library.get("broken")).name == "graine"
        found = await house.template_of("broken")
        assert (found["used"], found["brought"]) == (
            "file", {"how": "refused", "name": None, "problem": "line 1: printf"},
        )  # fmt: skip


async def test_a_known_template_is_the_built_in_one_and_show_says_so(visiting: Visiting) -> None:
    phi = next(family for family in TEMPLATES if family.name == "phi3")
    async with visiting() as visit:
        await visit.house.create("phi", Recipe("graine", template=phi.go))
        await visit.http.post("/v1/chat/completions", json={"model": "phi", "messages": _turns("u:hi")})
        assert visit.parrot.awake_now[0].launch.template == built_in("phi3")
        shown = (await visit.http.get("/domicile/models/phi/template")).json()
        assert (shown["used"], shown["brought_text"]) == ("phi3", phi.go)
        assert "phi3" in BUILT_IN
        listed = (await visit.http.get("/domicile/models/phi")).json()["template"]
        assert listed["brought"] == {"how": "known", "name": "phi3", "problem": ""}


ADOPTED = {
    "template": TURN,
    "system": "Tu es un marin.",
    "params": {"temperature": 0.1, "stop": ["<|x|>"], "num_ctx": 2048, "num_thread": 3, "top_k": "odd"},
}


async def _adopt(visit: Visit, root: Path, settings: Mapping[str, Any]) -> None:
    stores.ollama(root, "marin:latest", EMBEDDED_FILE.read_bytes() + b"\0", settings)
    taken, refused = await visit.house.adoption.take(await visit.house.adoption.offers())
    assert not refused
    assert [one.model.name for one in taken] == ["marin:latest"]


async def test_what_ollama_adds_to_a_model_holds_here_too_unless_the_question_says_otherwise(
    visiting: Visiting, tmp_path: Path
) -> None:
    root = tmp_path / "ollama"
    async with visiting(ollama_models=str(root)) as visit:
        await _adopt(visit, root, ADOPTED)
        chat = {"model": "marin:latest", "messages": _turns("u:hi")}
        await visit.http.post("/v1/chat/completions", json=chat)
        bird = visit.parrot.awake_now[0]
        asked = json.loads(bird.asked[-1][1])
        assert asked["messages"][0] == {"role": "system", "content": "Tu es un marin."}
        assert (asked["temperature"], asked["stop"], "top_k" in asked) == (0.1, ["<|x|>"], False)
        assert bird.launch.plan.context == 2048
        assert bird.launch.template == translated(TURN)
        await visit.http.post("/v1/chat/completions", json={**chat, "temperature": 1, "messages": TALK})
        asked = json.loads(bird.asked[-1][1])
        assert (asked["temperature"], asked["messages"]) == (1, TALK)
        settings = (await visit.http.get("/domicile/models/marin:latest/settings")).json()
        brought = {one["name"]: one["value"] for one in settings["brought"]}
        assert brought == {
            "system": "Tu es un marin.", "temperature": 0.1, "stop": ["<|x|>"], "num_ctx": 2048, "num_thread": 3,
            "template": "brought",
        }  # fmt: skip
        assert {one["by"] for one in settings["brought"]} == {"model"}
        context = next(one for one in settings["settings"] if one["name"] == "context")
        assert (context["value"], context["by"]) == (2048, "model")
        show = (await visit.http.post("/api/show", json={"model": "marin:latest"})).json()
        assert (show["system"], show["template"]) == ("Tu es un marin.", TURN)
        assert show["details"]["parent_model"] == ""
        taken = await visit.http.post("/api/create", json={"model": "marin:latest", "from": "graine", "stream": False})
        assert taken.status_code == 400


async def test_a_model_of_ours_that_ollama_has_as_well_stays_as_it_is(visiting: Visiting, tmp_path: Path) -> None:
    root = tmp_path / "ollama"
    async with visiting(ollama_models=str(root)) as visit:
        file = tmp_path / "mine.gguf"
        file.write_bytes(EMBEDDED_FILE.read_bytes() + b"\0")
        visit.house.library.add_file(file)
        stores.ollama(root, "marin:latest", file.read_bytes(), ADOPTED)
        await visit.house.adoption.take(await visit.house.adoption.offers())
        assert [c.owner for c in visit.house.library.get("mine").copies] == ["ollama"]
        assert visit.house.recipes.of("mine") is None


def test_what_a_question_says_wins_over_what_comes_with_the_model() -> None:
    made = applied(Recipe("x", {"temperature": 0.1, "num_predict": 5}), {"max_completion_tokens": 9, "temperature": 0})
    assert made == {"max_completion_tokens": 9, "temperature": 0}
