"""The child that reads and renders a chat template: `python -m domicile.template_child`, the template on its input.

A template is a program from a stranger. Here it can reach nothing (Jinja's immutable sandbox, no file, no socket) and
take little: a second of processor, 256 MiB, a mebibyte of text. It is rendered over conversations of several shapes,
and what it would only do on other days is looked for in its syntax. One line of JSON says how it went; whoever dies
without a word has gone beyond a limit. Knows no model and imports nothing of ours but `seal`.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from domicile.seal import cut_off

CPU_S = 1
MEMORY_BYTES = 256 << 20
OUTPUT_CHARACTERS = 1 << 20
_LARGE = 100_000
"""No template counts this far; a loop or a text of this many is a bomb."""
_SHOWN = 4000
_HARMLESS = frozenset({"os.listdir", "os.scandir"})
"""What finding a module of Python's own does."""
_DUNDER = re.compile(r"__\w+__")
_SPOKEN = "Bonjour à tous"
_CALL = {"id": "call_1", "type": "function", "function": {"name": "heure", "arguments": {"ville": "Paris"}}}
_TOOL = {
    "type": "function",
    "function": {
        "name": "heure",
        "description": "L'heure d'une ville.",
        "parameters": {"type": "object", "properties": {"ville": {"type": "string"}}, "required": ["ville"]},
    },
}


class Refused(Exception):
    """Why a template is not used: a reason (`code`, `too_much`, `endless`, `syntax`, `silent`) and a detail."""


def _user(text: str = _SPOKEN) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _said(text: str = "Oui.") -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "user": {"messages": [_user()]},
    "system": {"messages": [{"role": "system", "content": "Sois bref."}, _user()]},
    "talk": {"messages": [_user("Un"), _said(), _user()]},
    "long": {"messages": [*[_user("Un"), _said()] * 20, _user()]},
    "tools": {
        "messages": [
            _user(),
            {"role": "assistant", "content": "", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "name": "heure", "content": "12 h"},
        ],
        "tools": [_TOOL],
    },
    "open": {"messages": [_user(), _said()], "add_generation_prompt": False},
}
"""Conversations a template is rendered over. It must manage the first; it may refuse the others by itself."""


def main() -> None:
    cut_off()
    template = sys.stdin.buffer.read().decode("utf-8", "replace")
    environment = _environment()
    _limit()
    try:
        said: dict[str, Any] = {"verdict": "fine", "shapes": _judge(environment, template), "shown": _shown}
    except Refused as why:
        reason, detail = why.args
        said = {"verdict": "refused", "reason": reason, "problem": str(detail)[:300]}
    sys.stdout.write(json.dumps(said) + "\n")


_shown: dict[str, str] = {}


def _limit() -> None:
    """What is ours from here on: a second, little memory, and no file, socket or program but Python's own modules."""
    ours = tuple(path for path in (*sys.path, sys.prefix, sys.base_prefix) if path)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(("socket.", "subprocess.", "ctypes.", "shutil.", "os.")) and event not in _HARMLESS:
            raise Refused("code", event)
        if event == "open" and not (str(arguments[0]).startswith(ours) and arguments[1] in {"r", "rb", None}):
            raise Refused("code", "open")

    sys.addaudithook(watch)
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    for what, most in (
        (resource.RLIMIT_CPU, spent + CPU_S + 1),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def _judge(environment: Any, source: str) -> dict[str, bool]:
    """For each shape, whether the template renders it. Raises `Refused`."""
    import jinja2

    try:
        _look(environment.parse(source))
        template = environment.from_string(source)
    except jinja2.TemplateSyntaxError as trouble:
        raise Refused("syntax", trouble) from trouble
    except RecursionError as trouble:
        raise Refused("endless", "nesting") from trouble
    except (MemoryError, OverflowError) as trouble:
        raise Refused("too_much", type(trouble).__name__) from trouble
    return {name: _rendered(template, name, shape) for name, shape in SHAPES.items()}


def _rendered(template: Any, name: str, shape: Mapping[str, Any]) -> bool:
    import jinja2.exceptions

    facts = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_generation_prompt": True, **shape}
    text = ""
    try:
        for piece in template.generate(facts):
            text += piece
            if len(text) > OUTPUT_CHARACTERS:
                raise Refused("too_much", f"> {OUTPUT_CHARACTERS}")
    except jinja2.exceptions.SecurityError as trouble:
        raise Refused("code", trouble) from trouble
    except (MemoryError, OverflowError) as trouble:
        raise Refused("too_much", type(trouble).__name__) from trouble
    except RecursionError as trouble:
        raise Refused("endless", "recursion") from trouble
    except Refused:
        raise
    except Exception as trouble:
        if name == "user":
            raise Refused("silent", f"{type(trouble).__name__}: {trouble}") from trouble
        return False
    if name == "user" and _SPOKEN not in text:
        raise Refused("silent", "user")
    _shown[name] = text[:_SHOWN]
    return True


def _look(tree: Any) -> None:
    """What no chat template needs, wherever it stands: the insides of objects, other files, numbers for bombs."""
    from jinja2 import nodes

    for node in tree.find_all(nodes.Node):
        match node:
            case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends():
                raise Refused("code", type(node).__name__.lower())
            case nodes.Getattr(attr=str(attr)) if attr.startswith("_"):
                raise Refused("code", attr)
            case nodes.Const(value=str(text)) if _DUNDER.search(text) and _inside(text):
                raise Refused("code", text[:60])
            case nodes.Const(value=int(number)) if not isinstance(number, bool) and abs(number) > _LARGE:
                raise Refused("too_much", number if number < 10**30 else "10^30")
            case nodes.Pow():
                raise Refused("too_much", "**")


def _inside(text: str) -> bool:
    """Does a text name the insides of an object? (`__media__` in a longer text is a marker, not a name.)"""
    names = ("class", "mro", "base", "subclasses", "globals", "init", "import", "builtins", "dict", "getattribute")
    return any(f"__{name}" in text for name in names)


def _environment() -> Any:
    # jinja2 needs the first once something fails: by then nothing may be written, not even its bytecode.
    import jinja2.debug  # noqa: F401
    from jinja2 import ext, sandbox

    codecs.lookup("unicode_escape")

    class Generation(ext.Extension):
        """`{% generation %}` marks what the model said, for training; the text inside is text."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 wants it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: "2026-11-20"
    return environment


def _to_json(value: object, indent: int | None = None, ensure_ascii: bool = False, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, default=str)


def _raise(message: str) -> NoReturn:
    raise ValueError(message)


if __name__ == "__main__":
    main()
