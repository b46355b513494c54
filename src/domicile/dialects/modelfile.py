"""Modelfile: what a derived model adds to the one it comes from, as Ollama writes it.

Instructions FROM, PARAMETER, TEMPLATE, SYSTEM, MESSAGE, ADAPTER, LICENSE, one a line, a text of several lines
between three quotes (github.com/ollama/ollama docs/modelfile.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from domicile.errors import BadField

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)[ \t]+")
_ROLES = ("system", "user", "assistant")
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a derived model adds."""

    base: str
    """`FROM`: the name of a model, a path, or a blob's digest."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Under Ollama's names; `stop` is a list."""
    template: str = ""
    system: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    adapters: tuple[str, ...] = ()
    licence: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str) -> Recipe:
        data = json.loads(text)
        known: dict[str, Any] = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        for name in ("messages", "adapters"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


def parse(text: str) -> Recipe:
    """Read a Modelfile. Raises `BadField` with the line."""
    if len(text) > MOST_BYTES:
        raise BadField(field="modelfile", problem=f"{len(text)} > {MOST_BYTES}")
    base, template, system = "", "", ""
    said: list[tuple[str, str]] = []
    messages: list[dict[str, Any]] = []
    adapters: list[str] = []
    licences: list[str] = []
    for line, name, value in _instructions(text):
        if name == "FROM":
            base = base or value
        elif name == "PARAMETER":
            key, _, given = value.partition(" ")
            said.append((key.lower(), _unquoted(given.strip())))
        elif name == "TEMPLATE":
            template = value
        elif name == "SYSTEM":
            system = value
        elif name == "MESSAGE":
            role, _, content = value.partition(" ")
            if role.lower() not in _ROLES:
                raise BadField(field="modelfile", problem=f"line {line}: MESSAGE {role}")
            messages.append({"role": role.lower(), "content": _unquoted(content.strip())})
        elif name == "ADAPTER":
            adapters.append(value)
        elif name == "LICENSE":
            licences.append(value)
        elif name != "REQUIRES":  # the least version of Ollama: we are not it
            raise BadField(field="modelfile", problem=f"line {line}: {name}")
    if not base:
        raise BadField(field="modelfile", problem="FROM")
    return Recipe(base, parameters(said), template, system, tuple(messages), tuple(adapters), "\n".join(licences))


def parameters(said: list[tuple[str, str]]) -> dict[str, Any]:
    """Values as numbers where they are; a parameter given twice is a list."""
    found: dict[str, Any] = {}
    for name, value in said:
        if name == "stop":
            found.setdefault("stop", []).append(value)
        else:
            found[name] = _value(value)
    return found


def write(recipe: Recipe, base: str) -> str:
    """The Modelfile of a recipe. `base` is what FROM says: an absolute path, or a name of a model."""
    lines = [f"FROM {base}"]
    if recipe.template:
        lines.append(f"TEMPLATE {_quoted(recipe.template)}")
    if recipe.system:
        lines.append(f"SYSTEM {_quoted(recipe.system)}")
    lines += [f"PARAMETER {name} {_written(value)}" for name, value in _each(recipe.parameters)]
    lines += [f"ADAPTER {adapter}" for adapter in recipe.adapters]
    lines += [f"MESSAGE {m['role']} {_quoted(str(m.get('content', '')))}" for m in recipe.messages]
    if recipe.licence:
        lines.append(f"LICENSE {_quoted(recipe.licence)}")
    return "\n".join(lines) + "\n"


def shown(values: Mapping[str, Any]) -> str:
    """Parameters as `/api/show` says them: a line each, names in a column."""
    pairs = _each(dict(sorted(values.items())))
    return "\n".join(f"{name:<30} {json.dumps(value, ensure_ascii=False)}" for name, value in pairs)


def _each(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            yield name, one


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(said: str) -> str:
    """In three quotes: the only form that may hold line breaks and quotes. Three inside cannot be written: two can."""
    while '"""' in said:
        said = said.replace('"""', '""')
    return f'"""{said}"""' if not said.endswith('"') else f'"""{said}\n"""'


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and value of each instruction."""
    place, line = 0, 1
    while place < len(text):
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        row = text[place:end]
        if not row.strip() or row.lstrip().startswith("#"):
            place, line = end + 1, line + 1
            continue
        found = _INSTRUCTION.match(row)
        if found is None:
            raise BadField(field="modelfile", problem=f"line {line}: {row.strip()[:60]}")
        rest = row[found.end() :]
        before, quotes, after = rest.partition('"""')
        if quotes and '"""' not in after:
            begin = place + found.end() + len(before) + 3
            close = text.find('"""', begin)
            if close < 0:
                raise BadField(field="modelfile", problem=f'line {line}: """')
            value = before + text[begin:close]
            stop = text.find("\n", close)
            end = len(text) if stop < 0 else stop
        else:
            value = rest.strip()
            if quotes:
                value = before + after.partition('"""')[0]
        yield line, found[1].upper(), value if quotes else _unquoted(value)
        line += text.count("\n", place, end) + 1
        place = end + 1


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value


def _value(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
