"""Write `docs/reference/` from the code: the command line, the API, the settings and the errors, in two languages;
and the table of modules in `CONTRIBUTING.md`.

    python tools/reference.py            write what has changed
    python tools/reference.py --check    exit 1 and name what is stale

Knows the four lists of the product (the click group, ROUTES, SETTINGS, the tree of errors) and the words of the
locale; adds no fact of its own but the names of the exit statuses, which the tree must confirm.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import click

from domicile import cli, config, errors, i18n
from domicile.web import ROUTES, Route
from domicile.web.openapi import BODIES
from domicile.web.trouble import _CODES as OPENAI_CODES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
PACKAGE = Path(cli.__file__).parent
LAYOUT = ROOT / "CONTRIBUTING.md"

_WORDS: Mapping[str, Mapping[str, str]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))


def _say(lang: str, key: str) -> str:
    return _WORDS[lang][key]


def _labelled(lang: str, key: str, text: str) -> str:
    return f"{_say(lang, key)}\u00a0: {text}" if lang == "fr" else f"{_say(lang, key)}: {text}"


def _start(lang: str, page: str) -> Iterator[str]:
    yield f"# {_say(lang, page)}"
    yield f"<!-- {_say(lang, 'made')} -->"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
                     for row in lines)  # fmt: skip


# -- the command line --


def cli_page(lang: str) -> Iterator[str]:
    """Every command of the real group, in its order."""
    group = cli.build(lang)
    yield from _start(lang, "cli")
    yield str(group.help)
    yield _say(lang, "cli.answers")
    yield _say(lang, "cli.common")
    common = set.intersection(*({name for p in c.params for name in p.opts} for c in group.commands.values()))
    yield _options(lang, [p for p in group.params if common & set(p.opts)])
    yield _say(lang, "cli.bare")
    yield _options(lang, [p for p in group.params if not common & set(p.opts)])
    with click.Context(group, info_name="domicile") as parent:
        for name in group.list_commands(parent):
            command = group.get_command(parent, name)
            assert command is not None
            yield from _command(lang, parent, command, common)
    yield f"## {_say(lang, 'cli.exit')}"
    rows = [(str(status), _say(lang, f"exit.{status}")) for status in exit_statuses()]
    yield _table((_say(lang, "status"), _say(lang, "meaning")), rows)


def _command(lang: str, parent: click.Context, command: click.Command, common: set[str]) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, parent=parent)
    yield f"## domicile {command.name}"
    yield f"```\n{context.command_path} {' '.join(_usage(context, command))}\n```"
    yield str(command.help)
    if command.epilog:
        yield command.epilog
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    rows = [(f"`{p.make_metavar(context)}`", ", ".join(_argument(lang, p))) for p in arguments]
    if any(words for _, words in rows):
        yield _table((_say(lang, "argument"), ""), rows)
    own = [p for p in command.params if isinstance(p, click.Option) and not common & set(p.opts)]
    if own:
        yield _options(lang, own)


def _usage(context: click.Context, command: click.Command) -> Iterator[str]:
    """The pieces of click's usage line, with brackets about whatever may be left out."""
    for piece in command.collect_usage_pieces(context):
        argument = next((p for p in command.params if p.make_metavar(context) == piece), None)
        bare = argument is not None and not argument.required and not piece.startswith("[")
        yield f"[{piece}]" if bare else piece


def _argument(lang: str, param: click.Argument) -> Iterator[str]:
    if isinstance(param.type, click.Choice):
        yield _labelled(lang, "choices", ", ".join(f"`{c}`" for c in param.type.choices))
    if param.nargs == -1:
        yield _say(lang, "cli.several")
    if not param.required:
        yield _say(lang, "cli.optional")


def _options(lang: str, params: Iterable[click.Parameter]) -> str:
    rows = []
    for param in params:
        assert isinstance(param, click.Option)
        names = ", ".join(f"`{name}`" for name in param.opts)
        value = "" if param.is_flag else f" `{_value(param)}`"
        default = _labelled(lang, "default", f"`{param.default}`.") if _has_default(param) else ""
        rows.append((names + value, f"{param.help} {default}".strip()))
    return _table((_say(lang, "option"), ""), rows)


def _value(param: click.Option) -> str:
    return "|".join(param.type.choices) if isinstance(param.type, click.Choice) else param.type.name.upper()


def _has_default(param: click.Option) -> bool:
    return not param.is_flag and isinstance(param.default, (str, int, float))


# -- the API --


def api_page(lang: str) -> Iterator[str]:
    """Every row of ROUTES, in its order, under the dialect it belongs to."""
    yield from _start(lang, "api")
    yield _say(lang, "api.words")
    yield _say(lang, "api.key")
    rows = [(f"`{r.method}`", f"[`{_path(r)}`](#{_anchor(r)})", _docstring(r).split("\n")[0]) for r in ROUTES]
    yield _table(("", "", ""), rows)
    for route in ROUTES:
        yield f"## {route.method} {_path(route)}"
        yield _docstring(route)
        if route.body is not None:
            yield from _body(lang, BODIES[route.body])
        kinds = ", ".join(f"`{kind.strip()}`" for kind in route.gives.split(","))
        yield _labelled(lang, "api.gives", f"{route.status}, {kinds}.")


def _path(route: Route) -> str:
    return route.path.replace(":path}", "}")


def _anchor(route: Route) -> str:
    """The anchor GitHub gives the heading."""
    heading = f"{route.method} {_path(route)}".lower()
    return "".join(c for c in heading if c.isalnum() or c in " -_").replace(" ", "-")


def _docstring(route: Route) -> str:
    return inspect.getdoc(route.function) or ""


def _body(lang: str, schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", [])
    rows = [
        (f"`{name}`", _type(field), _say(lang, "required") if name in required else "")
        for name, field in schema["properties"].items()
    ]
    yield _table((_say(lang, "field"), _say(lang, "type"), ""), rows)
    if schema.get("additionalProperties"):
        yield _say(lang, "api.more")


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema in a few words: `array of string, at most 64`."""
    if "oneOf" in schema:
        return " or ".join(_type(s) for s in schema["oneOf"])
    kind = schema["type"]
    said = kind if isinstance(kind, str) else " or ".join(kind)
    if "items" in schema:
        said += f" of {_type(schema['items'])}"
    inner = schema.get("properties")
    if inner:
        said += " (" + ", ".join(f"`{name}`: {_type(field)}" for name, field in inner.items()) + ")"
    bounds = {"minimum": "≥", "maximum": "≤", "minItems": "at least", "maxItems": "at most"}
    return ", ".join([said, *(f"{word} {schema[key]}" for key, word in bounds.items() if key in schema)])


# -- the settings --


def settings_page(lang: str) -> Iterator[str]:
    """Every row of SETTINGS, in its order."""
    yield from _start(lang, "settings")
    yield _say(lang, "settings.words")
    yield _say(lang, "settings.home")
    yield _say(lang, "settings.forms")
    rows = []
    for setting in config.SETTINGS:
        sentence = i18n.say(lang, f"setting.{setting.name}")
        sentence += f" {_say(lang, 'secret')}" if setting.secret else ""
        kind = _say(lang, f"kind.{_KINDS[setting.read]}")
        rows.append((f"`{setting.env}`", f"`{setting.name}`", kind, _default(lang, setting), sentence))
    yield _table(tuple(_say(lang, k) for k in ("variable", "key", "type", "default", "meaning")), rows)


_KINDS: Mapping[Callable[[object], Any], str] = {
    config._text: "text",
    config._count: "number",
    config._port: "number",
    config._overflow: "overflow",
    config._names: "list",
    config._folders: "list",
    config._flag: "flag",
    config._folders: "list",
    config._folder: "text",
    config.seconds: "duration",
    config.byte_count: "size",
    config._flag: "flag",
    config._strategy: "choice",
    config._build: "choice",
    config._torch_build: "choice",
    config.rate: "rate",
    config.hours: "hours",
    config._web_address: "address",
    config._index: "address",
    config._notices: "text",
    config._hours_of_sound: "number",
    config._compute: "choice",
}


def _default(lang: str, setting: config.Setting) -> str:
    value = setting.default
    if value == "" or value == ():
        return _say(lang, "none")
    if setting.read is config._flag:
        return f"`{str(value).lower()}`"
    if setting.read is config.seconds:
        return _say(lang, "forever") if math.isinf(value) else i18n.duration(lang, value)
    if setting.read is config.byte_count and value and value % 2**20 == 0:
        return f"{value // 2**20} {'Mio' if lang == 'fr' else 'MiB'}"
    return f"`{value}`"


# -- the errors --


def errors_page(lang: str) -> Iterator[str]:
    """Every leaf of the tree, in the order it is written, under its branch."""
    yield from _start(lang, "errors")
    yield _say(lang, "errors.words")
    yield _say(lang, "errors.shape")
    for branch in errors.DomicileError.__subclasses__():
        yield f"## {branch.__name__}"
        yield _labelled(lang, "errors.exit", f"{branch.exit_code}, {_say(lang, f'exit.{branch.exit_code}')}.")
        for leaf in leaves(branch):
            yield f"### {leaf().code}"
            openai = OPENAI_CODES.get(leaf().code)
            yield f"HTTP {leaf.status}" + (f", {_say(lang, 'errors.openai')} `{openai}`" if openai else "") + "."
            yield "\n".join(_sentences(lang, leaf().code))


def leaves(branch: type[errors.DomicileError]) -> Iterator[type[errors.DomicileError]]:
    """Every error below a branch."""
    for child in branch.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from leaves(child)


def exit_statuses() -> list[int]:
    """Every exit status of the command line, in order. A new one lacks its words, and says so with a KeyError."""
    return sorted({leaf.exit_code for leaf in leaves(errors.DomicileError)} | {0, 1, cli.INTERRUPTED})


def _sentences(lang: str, code: str) -> Iterator[str]:
    """The sentence and its forms for particular reasons; then the hint they share, unless one has its own."""
    words = i18n.words(lang)
    shared = words.get(f"hint.{code}")
    for key in (k for k in words if k == f"error.{code}" or k.startswith(f"error.{code}.")):
        reason = key.removeprefix(f"error.{code}")
        own = words.get(f"hint.{code}{reason}") if reason else None
        yield f"- {_plain(words[key])}" + (f"\n  → {_plain(own)}" if own else "")
    if shared:
        yield f"\n→ {_plain(shared)}"


def _plain(text: str) -> str:
    """A sentence with its facts as `{name}`, and nothing that Markdown would read."""
    shown = []
    for literal, name, _, _ in Formatter().parse(text):
        shown.append(re.sub(r"([<*_])", r"\\\1", literal))
        shown.append("" if name is None else f"`{{{name}}}`")
    return "".join(shown)


# -- the layout --


def layout() -> str:
    """CONTRIBUTING.md, with the table of modules as they describe themselves."""
    before, _, rest = LAYOUT.read_text("utf-8").partition("<!-- layout -->")
    after = rest.partition("<!-- /layout -->")[2]
    rows = [(f"`{path.relative_to(PACKAGE)}`", _first_sentence(path)) for path in modules()]
    return f"{before}<!-- layout -->\n{_table(('Module', ''), rows)}\n<!-- /layout -->{after}"


def modules() -> list[Path]:
    """Every module of the package, folders after the files beside them."""
    return sorted(PACKAGE.rglob("*.py"), key=lambda p: (p.parent != PACKAGE, p))


def _first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0]


# -- writing --

PAGES: Mapping[str, Callable[[str], Iterator[str]]] = {
    "cli": cli_page,
    "api": api_page,
    "settings": settings_page,
    "errors": errors_page,
}


def pages() -> dict[Path, str]:
    """Every file of the reference and what it should hold."""
    reference = {
        FOLDER / (f"{name}.md" if lang == "en" else f"{name}.{lang}.md"): "\n\n".join(page(lang)) + "\n"
        for name, page in PAGES.items()
        for lang in i18n.LANGUAGES
    }
    return {**reference, LAYOUT: layout()}


def main() -> None:
    wanted = pages()
    stale = [p for p, text in wanted.items() if not p.is_file() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)} (make docs)", file=sys.stderr)
        raise SystemExit(1 if stale else 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
