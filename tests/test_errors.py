"""The tree of what can go wrong: its drawing, its words in both languages, its codes."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from domicile import errors, i18n
from domicile.errors import DomicileError

SOURCE = Path(errors.__file__).parent
ABSTRACT = {
    "BadInput",
    "NotFound",
    "Refused",
    "SourceTrouble",
    "FormatTrouble",
    "DiskTrouble",
    "EngineTrouble",
    "HouseTrouble",
}
"""The branches: nobody raises them, so they need no words."""


def _below(kind: type[DomicileError]) -> Iterator[type[DomicileError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _below(child)


TREE = {kind.__name__: kind for kind in _below(DomicileError)}
LEAVES = {name: kind for name, kind in TREE.items() if name not in ABSTRACT}


def _drawing() -> dict[str, tuple[str, int | None]]:
    """From the docstring: name -> (its branch, the status drawn beside it)."""
    drawn: dict[str, tuple[str, int | None]] = {}
    branch, shared = "DomicileError", None
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<marks>[ │├└─]*[├└]── )(?P<names>(?:[A-Z]\w+ *)+)(?P<status>\d{3})?", line)
        if not found:
            continue
        status = int(found["status"]) if found["status"] else None
        if re.match(r" {4}[├└]", line):
            (branch,) = found["names"].split()
            shared = status
            drawn[branch] = ("DomicileError", status)
        else:
            drawn |= dict.fromkeys(found["names"].split(), (branch, status or shared))
    return drawn


def test_the_drawing_of_the_errors_is_the_tree_with_its_statuses() -> None:
    drawn = _drawing()
    assert set(drawn) == set(TREE)
    for name, (branch, status) in drawn.items():
        assert TREE[name].__mro__[1].__name__ == branch
        assert TREE[name].status == status, name


def test_every_status_is_one_of_http_and_every_branch_has_an_exit_status_of_its_own() -> None:
    assert all(400 <= kind.status < 600 for kind in TREE.values())
    assert len({TREE[name].exit_code for name in ABSTRACT}) == len(ABSTRACT)
    for branch in (TREE[name] for name in ABSTRACT):
        assert all(leaf.exit_code == branch.exit_code for leaf in _below(branch))


def test_no_two_errors_share_a_code_and_a_code_is_snake_case() -> None:
    codes = {kind().code for kind in TREE.values()}
    assert len(codes) == len(TREE)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert errors.BadJSON().code == "bad_json"
    assert errors.EngineDied().code == "engine_died"


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_error_has_its_sentence(name: str, lang: str) -> None:
    assert f"error.{LEAVES[name]().code}" in i18n.words(lang)


def test_every_sentence_and_hint_is_of_an_error_that_exists() -> None:
    codes = {kind().code for kind in LEAVES.values()}
    keys = [key for key in i18n.words("en") if key.startswith(("error.", "hint.")) and key != "error.next"]
    assert {key.split(".")[1] for key in keys} == codes


def _placeholders(text: str) -> set[str]:
    return {f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


def test_a_sentence_names_the_same_facts_in_both_languages() -> None:
    for key, text in i18n.words("en").items():
        if key.startswith(("error.", "hint.")):
            assert _placeholders(text) == _placeholders(i18n.words("fr")[key]), key


def _made() -> Iterator[tuple[str, str, set[str], list[str | None]]]:
    """Every place that makes an error: (where, which, the facts it gives, the reasons it may give)."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in LEAVES:
                continue
            facts = {word.arg for word in node.keywords if word.arg}
            reasons: list[str | None] = [None]
            for word in node.keywords:
                if word.arg == "reason":
                    reasons = [
                        c.value if isinstance(c.value, str) else None
                        for c in ast.walk(word.value)
                        if isinstance(c, ast.Constant)
                    ]
            yield f"{file.name}:{node.lineno}", node.func.id, facts, reasons


def test_whoever_raises_an_error_gives_every_fact_its_sentence_and_hint_need() -> None:
    seen = set()
    for where, name, facts, reasons in _made():
        seen.add(name)
        for reason in reasons:
            words, code = i18n.words("en"), LEAVES[name]().code
            for key in ("error", "hint"):
                if key == "hint" and "hint" in facts:
                    continue
                text = words.get(f"{key}.{code}.{reason}", words.get(f"{key}.{code}", ""))
                needed = {said.split(":")[0] for said in _placeholders(text)}
                assert needed <= facts, f"{where} {name} {key} lacks {needed - facts}"
    # Both are made by other ways (a variable, a class without call) as well: they must not escape this test.
    assert {"BadField", "ModelNotFound", "FileNotOnHub"} <= seen


def test_every_error_is_raised_somewhere() -> None:
    text = "\n".join(f.read_text("utf-8") for f in SOURCE.rglob("*.py") if f.name != "errors.py")
    assert [name for name in LEAVES if not re.search(rf"(?:raise|return|=|\() ?{name}\b", text)] == []


def test_an_error_tells_its_facts_to_a_developer() -> None:
    assert str(errors.JobNotFound(id="x")) == "job_not_found(id='x')"
