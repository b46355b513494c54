"""The words in both languages: the same keys, the same facts, every one used and none missing."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from domicile import i18n
from domicile.errors import BadField, EngineMissing, Gated, ModelNotFound, NoRoom

SOURCE = Path(i18n.__file__).parent

FAMILIES = {
    "error": "errors.py: `error.<code>`, `error.<code>.<reason>` (test_errors)",
    "hint": "errors.py: `hint.<code>`, `hint.<code>.<reason>` (test_errors)",
    "can": "web/capabilities.py: what a model can do",
    "cmd": "cli.py: COMMANDS",
    "opt": "cli.py: option()",
    "arg": "cli.py: argument()",
    "head": "cli.py: heads of tables",
    "state": "cli.py: the states of a model",
    "role": "accounts: what somebody may do (ROLES)",
    "source": "cli.py: where a model is from",
    "template": "templates.py: verdicts, `template.refused.<reason>`",
    "owner": "stores: whose files a model is",
    "list": "cli.py: the marks of a model",
    "export": "giving: how a model was given",
    "step": "output.py: the steps of a job",
    "job": "commands/jobs.py: the states of a job",
    "engine": "commands/engines.py: the states of an engine that is added",
    "notice": "jobs/notices.py: how a job ended",
    "doctor": "web/api.py: checks",
    "reach": "targets.Reach: where a target is",
    "strategy": "config.STRATEGIES",
    "purpose": "egress: why something left",
    "by": "tuning.By: who chose a setting",
    "death": "types.Death: what a child died of",
    "why": "types.Reason: of reports, of what was read",
    "unknown": "hardware: what could not be read",
    "rule": "fit.Rule: its name",
    "verdict": "types.Verdict",
    "prefill": "types.Speed: the class of a prompt's speed",
    "trap": "gpus.py: what to know of a card",
    "fit": "commands/discover.py: the parts of a report",
    "need": "catalogue.py: NEEDS",
    "scan": "types.Scan",
    "update": "updates.State",
    "custom": "custom_probe.py: what was looked at",
    "hf": "web/fragments.py: the states of a job",
    "setting": "config.py: SETTINGS (test_config)",
    "page": "web/static/js and web/templates (tests/web/test_words)",
}
"""Keys that are put together from a part that is known only when they are said."""


def _literal_and_built() -> tuple[set[str], set[str]]:
    """The keys said as they are in the code, and the first parts of those put together there."""
    literal: set[str] = set()
    built: set[str] = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                first = node.values[0]
                if isinstance(first, ast.Constant) and (found := re.match(r"([a-z]+)\.", str(first.value))):
                    built.add(found[1])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                literal.add(node.value)
    return literal, built


def _said() -> Iterator[tuple[str, str]]:
    """Every key that a call of `say` names outright: (where, key)."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "say":
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        yield f"{file.name}:{node.lineno}", str(argument.value)


def _known(key: str) -> bool:
    return key in i18n.words("en") or f"{key}.other" in i18n.words("en")


def test_both_languages_have_the_same_keys() -> None:
    assert i18n.words("en").keys() == i18n.words("fr").keys()


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
def test_no_sentence_is_empty_and_every_one_can_be_filled_in(lang: str) -> None:
    for key, text in i18n.words(lang).items():
        assert text.strip(), key
        list(string.Formatter().parse(text))


def test_a_sentence_needs_the_same_facts_in_both_languages() -> None:
    def facts(text: str) -> set[tuple[str, str | None]]:
        return {(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None}

    for key, text in i18n.words("en").items():
        assert facts(text) == facts(i18n.words("fr")[key]), key


def test_no_word_is_written_twice() -> None:
    for lang in ("en", "fr"):
        pairs = json.loads((SOURCE / "locale" / f"{lang}.json").read_text("utf-8"), object_pairs_hook=list)
        assert len(pairs) == len(dict(pairs)), lang


def test_every_placeholder_has_a_form_we_know() -> None:
    for key, text in i18n.words("en").items():
        for _, name, spec, conversion in string.Formatter().parse(text):
            assert name is None or (
                name.isidentifier() and spec in {"", "bytes", "number", "rate", "duration", "date"}
            ), key
            assert conversion is None


def test_french_is_written_with_its_own_quotes_and_spaces() -> None:
    for key, text in i18n.words("fr").items():
        assert "“" not in text, key
        assert not re.search(r"«[^ \u00a0\u202f]|[^ \u00a0\u202f]»", text), key


def test_every_key_the_code_says_has_its_words() -> None:
    said = list(_said())
    assert len(said) >= 30
    assert [(where, key) for where, key in said if not _known(key)] == []


def test_every_word_is_said_somewhere() -> None:
    literal, built = _literal_and_built()
    unsaid = []
    for key in i18n.words("en"):
        family = key.split(".")[0]
        if family in FAMILIES and family in built | {"setting"}:
            continue
        if key not in literal and key.removesuffix(".one").removesuffix(".other") not in literal:
            unsaid.append(key)
    assert unsaid == []


def test_every_family_of_keys_is_built_in_the_code() -> None:
    _, built = _literal_and_built()
    assert set(FAMILIES) - {"setting"} <= built


def test_every_family_holds_exactly_what_its_list_holds() -> None:
    from domicile.cli import build
    from domicile.grammar import COMMANDS
    from domicile.updates import State

    def keys(family: str) -> set[str]:
        return {k.removeprefix(f"{family}.") for k in i18n.words("en") if k.startswith(f"{family}.")}

    assert keys("cmd") == {c.name for c in COMMANDS} | {"domicile", "also"}
    options, arguments = set(), set()
    group = build("en")
    for command in [group, *(group.commands[c.name] for c in COMMANDS)]:
        for param in command.params:
            if param.param_type_name == "argument":
                arguments.add(str(param.name))
            else:
                options.add(str(getattr(param, "help", "")))
    assert {i18n.words("en")[f"opt.{key}"] for key in keys("opt")} == options
    assert keys("arg") == arguments
    assert keys("state") == {"asleep", "queued", "waking", "awake", "sleeping"}
    assert keys("source") == {"embedded", "file", "hub", "adopted", "ollama", "url"}
    assert keys("update") - {"done"} == set(get_args(State))


def test_the_commands_speak_french_as_well() -> None:
    from domicile.cli import build

    assert build("fr").commands["list"].help == "Les modèles qui habitent ici."
    assert build("en").commands["list"].help == "The models that live here."


def test_a_key_without_words_shows_as_itself() -> None:
    assert i18n.say("fr", "no.such.key", n=3) == "no.such.key"


@pytest.mark.parametrize(
    ("lang", "n", "form"),
    [
        *[("en", 0, "other"), ("en", 1, "one"), ("en", 2, "other"), ("en", 1.5, "other"), ("en", -1, "one")],
        *[("fr", 0, "one"), ("fr", 1, "one"), ("fr", 2, "other"), ("fr", 1.5, "one"), ("fr", -2, "other")],
    ],
)
def test_a_plural_follows_the_rules_of_its_language(lang: str, n: float, form: str) -> None:
    assert i18n.plural(lang, n) == form


def test_a_sentence_takes_the_form_of_its_number() -> None:
    assert i18n.say("en", "house.set_aside", n=0, path="x").endswith("with 0 models.")
    assert i18n.say("en", "house.set_aside", n=1, path="x").endswith("with 1 model.")
    assert i18n.say("fr", "house.set_aside", n=0, path="x").endswith("avec 0 modèle.")
    assert i18n.say("fr", "house.set_aside", n=2, path="x").endswith("avec 2 modèles.")


@pytest.mark.parametrize(
    ("count", "english", "french"),
    [
        (0, "0 B", "0\u00a0o"),
        (999, "999 B", "999\u00a0o"),
        (1000, "1.00 kB", "1,00\u00a0ko"),
        (9_994, "9.99 kB", "9,99\u00a0ko"),
        (9_996, "10.0 kB", "10,0\u00a0ko"),
        (99_960, "100 kB", "100\u00a0ko"),
        (999_499, "999 kB", "999\u00a0ko"),
        (999_999, "1.00 MB", "1,00\u00a0Mo"),
        (4_920_739_232, "4.92 GB", "4,92\u00a0Go"),
        (2 * 10**15, "2000 TB", "2000\u00a0To"),
    ],
)
def test_a_size_is_written_as_the_language_writes_it(count: int, english: str, french: str) -> None:
    assert (i18n.size("en", count), i18n.size("fr", count)) == (english, french)


@pytest.mark.parametrize(
    ("value", "english", "french"),
    [
        (0, "0", "0"),
        (999, "999", "999"),
        (12345, "12,345", "12\u202f345"),
        (1234567, "1,234,567", "1\u202f234\u202f567"),
    ],
)
def test_a_number_is_written_as_the_language_writes_it(value: int, english: str, french: str) -> None:
    assert (i18n.number("en", value), i18n.number("fr", value)) == (english, french)


@pytest.mark.parametrize(
    ("seconds", "english"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (8, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (float("inf"), "∞"),
    ],
)
def test_a_duration_is_written_in_the_units_people_count_in(seconds: float, english: str) -> None:
    assert i18n.duration("en", seconds) == english
    assert i18n.duration("fr", seconds).replace("\u00a0", " ") == english


def test_facts_are_shown_in_the_form_the_sentence_asks_for() -> None:
    message, _ = i18n.error_text("fr", NoRoom(missing=4_920_739_232, path="/x"))
    assert "4,92\u00a0Go" in message
    message, _ = i18n.error_text("en", ModelNotFound(name=None))
    assert "“?”" in message


def test_a_fact_from_outside_is_never_read_as_a_placeholder() -> None:
    message, _ = i18n.error_text("en", ModelNotFound(name="{nearest} {0} {name.__class__}"))
    assert "{nearest} {0} {name.__class__}" in message


def test_an_error_is_told_by_its_reason_where_that_reason_has_words() -> None:
    plain = i18n.error_text("en", Gated(name="o/r", url="u"))
    forbidden = i18n.error_text("en", Gated(name="o/r", url="u", reason="forbidden"))
    unheard = i18n.error_text("en", Gated(name="o/r", url="u", reason="unheard of"))
    assert plain != forbidden
    assert plain == unheard


def test_a_hint_given_by_the_error_itself_comes_first_and_a_missing_one_is_none() -> None:
    assert i18n.error_text("en", EngineMissing(engine="x", name="y", hint="pip install x"))[1] == "pip install x"
    assert i18n.error_text("en", BadField(field="x", problem="y"))[1] is None


@pytest.mark.parametrize(
    ("wishes", "chosen"),
    [
        ((None,), "en"),
        (("",), "en"),
        (("fr",), "fr"),
        (("FR",), "fr"),
        (("fr_FR.UTF-8",), "fr"),
        (("fr-CA",), "fr"),
        (("fr.UTF-8",), "fr"),
        (("fr-CH, fr;q=0.9, en;q=0.8",), "fr"),
        (("en-GB,en;q=0.9,fr;q=0.8",), "en"),
        (("de-DE,de;q=0.9,fr;q=0.8",), "fr"),
        (("de",), "en"),
        (("C.UTF-8", "fr"), "fr"),
        ((None, "", "*", "fr"), "fr"),
        (("frisian",), "en"),
        ((";;,,==\x00",), "en"),
    ],
)
def test_the_first_wish_that_is_a_language_of_ours_is_taken(wishes: tuple[str | None, ...], chosen: str) -> None:
    assert i18n.choose(*wishes) == chosen


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_US", "LC_MESSAGES": "fr_BE"}, "fr"),
        ({"LC_ALL": "", "LANG": "fr"}, "fr"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "de:fr:en"}, "fr"),
        ({"LANG": "fr_FR", "DOMICILE_LANG": "en"}, "en"),
        ({"LANG": "en_US", "DOMICILE_LANG": "fr"}, "fr"),
        ({"LC_ALL": "C.UTF-8"}, "en"),
    ],
)
def test_a_terminal_speaks_the_language_of_its_environment(environment: dict[str, str], chosen: str) -> None:
    assert i18n.of_environment(environment) == chosen


def test_a_rate_has_decimals_below_ten_alone() -> None:
    assert [i18n.rate("fr", r) for r in (8.44, 12.5, 2080.1)] == ["8,4", "12", "2\u202f080"]
    assert i18n.say("en", "selftest.slower", rate=405.9, low=992.0, high=2080.1).startswith("406 tokens/s, less")


def test_a_number_in_a_sentence_is_written_as_the_language_writes_it() -> None:
    facts = {"physical": 2, "usable": 1.5}
    assert "1,5" in i18n.say("fr", "machine.cores", **facts)
    assert "1.5" in i18n.say("en", "machine.cores", **facts)
    assert "2 usable" in i18n.say("en", "machine.cores", physical=2, usable=2.0)
