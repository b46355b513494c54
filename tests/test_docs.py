"""The documentation says what is: its reference is the code's, its commands parse, its links lead somewhere.

And the house is built as `pyproject.toml` draws it: the contracts between layers hold, and can fail.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from starlette.routing import compile_path
from tools import reference

from domicile import cli, config, errors, grammar, i18n
from domicile.web import ROUTES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "domicile"
READMES = (ROOT / "README.md", ROOT / "README.fr.md")
GUIDES = (ROOT / "docs" / "guide.md", ROOT / "docs" / "guide.fr.md")
MARKDOWN = [
    p for p in sorted(ROOT.rglob("*.md")) if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
]
HOME = "DOMICILE_HOME"
"""Says where the settings are, so it is not one of them."""


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- the reference --


def test_the_reference_is_what_the_code_says() -> None:
    stale = [_named(p) for p, text in reference.pages().items() if not p.is_file() or p.read_text("utf-8") != text]
    assert stale == [], "make docs"


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
def test_every_command_route_setting_and_error_is_in_the_reference(lang: str) -> None:
    cli_page, api_page, settings_page, errors_page = ("\n\n".join(page(lang)) for page in reference.PAGES.values())
    for name, command in cli.build(lang).commands.items():
        assert f"## domicile {name}\n" in cli_page
        for option in (o for p in command.params if isinstance(p, click.Option) for o in p.opts):
            assert f"`{option}`" in cli_page
    for alias in (a for c in grammar.COMMANDS for a in c.aliases):
        assert alias in cli_page
    for route in ROUTES:
        assert f"## {route.method} {route.path.replace(':path', '')}\n" in api_page
    for setting in config.SETTINGS:
        assert f"`{setting.env}` | `{setting.name}`" in settings_page
        assert i18n.say(lang, f"setting.{setting.name}") in settings_page
    for leaf in (e for e in reference.leaves(errors.DomicileError) if not e.__subclasses__()):
        assert f"### {leaf().code}\n\nHTTP {leaf.status}" in errors_page


def test_every_route_says_what_it_does() -> None:
    assert [r.path for r in ROUTES if not (r.function.__doc__ or "").strip()] == []


def test_a_new_setting_makes_the_reference_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    new = config.Setting("new", "DOMICILE_NEW", "")
    monkeypatch.setattr(config, "SETTINGS", (*config.SETTINGS, new))
    stale = {p.name for p, text in reference.pages().items() if p.read_text("utf-8") != text}
    assert stale == {"settings.md", "settings.fr.md"}


def test_the_check_names_what_is_stale_and_writing_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "docs" / "reference")
    assert _reference_main(monkeypatch, "--check") == 1
    assert "docs/reference/cli.fr.md" in capsys.readouterr().err.replace(os.sep, "/")
    assert _reference_main(monkeypatch) is None
    assert _reference_main(monkeypatch, "--check") == 0
    (tmp_path / "docs" / "reference" / "api.md").write_text("old", "utf-8")
    capsys.readouterr()
    assert _reference_main(monkeypatch, "--check") == 1
    assert capsys.readouterr().err.count("stale") == 1


def _reference_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["reference.py", *arguments])
    try:
        reference.main()
    except SystemExit as end:
        return end.code
    return None


# -- what is shown works --


def _blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def _prose(path: Path) -> str:
    """Without blocks of code, HTML comments and code in a line."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|<!--.*?-->", "", text)


def _shell_lines(path: Path) -> list[str]:
    return [line for kind, text in _blocks(path) if kind == "sh" for line in text.splitlines() if line.strip()]


def _commands(line: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Each command of a line of shell: what is set before it, and its words."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "|"]:
        if word.strip("|;&>"):
            words.append(word)
            continue
        settings = {}
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            settings[name] = value
        if words:
            yield settings, words
        words = []


def _parse(arguments: list[str]) -> None:
    """What click does with a command line, but for the work itself."""
    group = cli.build("en")
    for command in group.commands.values():
        command.callback = lambda **_: None
    group.main(arguments, "domicile", standalone_mode=False, obj={})


@pytest.mark.parametrize("path", [*READMES, *GUIDES], ids=_named)
def test_every_command_line_shown_is_one_that_domicile_understands(path: Path) -> None:
    shown = 0
    for line in _shell_lines(path):
        for settings, words in _commands(line):
            config.load({**settings, HOME: "/nowhere"})
            if Path(words[0]).name == "domicile":
                _parse(words[1:])
                shown += 1
    assert shown >= 5


@pytest.mark.parametrize("path", MARKDOWN, ids=_named)
def test_every_command_named_in_a_sentence_exists(path: Path) -> None:
    for words in re.findall(r"`domicile ([^`\n]+)`", path.read_text("utf-8")):
        with contextlib.suppress(click.MissingParameter):  # `domicile pull`, spoken of without a model
            _parse(shlex.split(words.replace("...", "")))


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in (["fly"], ["run", "--wings"], ["pull"], ["serve", "--port", "here"]):
        with pytest.raises(click.UsageError):
            _parse(wrong)


@pytest.mark.parametrize("path", MARKDOWN, ids=_named)
def test_every_make_target_named_exists(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    text = path.read_text("utf-8")
    named = re.findall(r"(?:^|`)make ([a-z-]+)(?=`|\s*#|$)", text, re.MULTILINE)
    assert set(named) <= set(targets)


def test_both_readmes_show_the_two_commands() -> None:
    for path in READMES:
        assert ("sh", "make run\nmake test\n") in _blocks(path)


@pytest.mark.parametrize(
    "path", [*MARKDOWN, PACKAGE / "locale" / "en.json", PACKAGE / "locale" / "fr.json"], ids=_named
)
def test_every_variable_named_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\b(?:DOMICILE|HF|HTTP)_[A-Z_]+\b", path.read_text("utf-8")))
    assert named <= {HOME, *(s.env for s in config.SETTINGS)}


@pytest.mark.parametrize("path", [*READMES, *GUIDES], ids=_named)
def test_every_address_shown_is_a_route_of_the_house(path: Path) -> None:
    port = next(s.default for s in config.SETTINGS if s.name == "port")
    shown = 0
    for line in _shell_lines(path):
        for _, words in _commands(line):
            if words[0] != "curl":
                continue
            method = "POST" if "-d" in words else "GET"
            place = next(w for w in words if w.startswith("http")).removeprefix(f"http://127.0.0.1:{port}")
            assert any(r.method == method and compile_path(r.path)[0].match(place) for r in ROUTES), line
            shown += 1
    assert shown
    assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", path.read_text("utf-8"))) == {str(port)}


@pytest.mark.parametrize("path", READMES, ids=_named)
def test_the_python_shown_is_python(path: Path) -> None:
    programs = [text for kind, text in _blocks(path) if kind == "python"]
    assert programs
    for program in programs:
        compile(program, path.name, "exec")


# -- the pages among themselves --


@pytest.mark.parametrize("path", MARKDOWN, ids=_named)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        place, _, anchor = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists(), f"{target} in {_named(path)}"
        if anchor:
            assert anchor in _anchors(found), f"{target} in {_named(path)}"


def _anchors(path: Path) -> set[str]:
    """The names GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize(("english", "french"), [READMES, GUIDES], ids=["README", "guide"])
def test_a_page_has_the_same_headings_in_both_languages(english: Path, french: Path) -> None:
    levels = [[len(h) for h in re.findall(r"^(#+) ", _prose(p), re.MULTILINE)] for p in (english, french)]
    assert levels[0] == levels[1]
    assert len(_blocks(english)) == len(_blocks(french))


def test_both_readmes_show_the_same_code() -> None:
    assert _blocks(READMES[0]) == _blocks(READMES[1])


@pytest.mark.parametrize("path", [READMES[1], GUIDES[1]], ids=_named)
def test_french_pages_have_the_spaces_of_french(path: Path) -> None:
    wrong = re.findall(r".{0,20}(?: [:;!?»](?!\w)|« |[^\s\u00a0\u202f)*_][;!?]\s).{0,10}", _prose(path))
    assert wrong == []


# -- the layers --


def _lint(config_file: Path, source: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", str(config_file), *chosen],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=config_file.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_layers_hold() -> None:
    found = _lint(ROOT / "pyproject.toml", ROOT / "src")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("layers", "types.py", "from domicile import advice"),
        ("layers", "engines/llama.py", "from domicile.sources import hub"),
        ("layers", "runner.py", "from domicile import advice"),
        ("layers", "utils.py", "from domicile import errors"),
        ("light", "app/__init__.py", "import numpy"),
        ("binding", "engines/llama.py", "import xllamacpp"),
        ("child", "app/__init__.py", "from domicile.engines import llama_child"),
        ("child-alone", "engines/llama_child.py", "from domicile import errors"),
        ("engines", "engines/llama.py", "from domicile.engines import llama_child"),
    ],
)
def test_a_house_built_otherwise_is_noticed(tmp_path: Path, contract: str, module: str, line: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "domicile", ignore=lambda _, names: [n for n in names if n == "__pycache__"])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert _lint(tmp_path / "pyproject.toml", tmp_path, contract).returncode == 0
    with (tmp_path / "domicile" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    assert _lint(tmp_path / "pyproject.toml", tmp_path, contract).returncode == 1
