"""Translating a template of Ollama into Jinja, which engines and our sandbox read.

What a template is given, and how often it is run, is Ollama's own way (github.com/ollama/ollama docs/template.md and
template/template.go): one that names `.Messages` is run once; an older one, of `.System`, `.Prompt` and `.Response`,
once for each turn, the last time only as far as `.Response`. Each expression carries its type, because Go writes a list
of tools as JSON and `true` in small letters. Jinja's JSON has spaces after commas and colons, where Go's has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from domicile.gotemplates.syntax import (
    Action,
    Branch,
    Constant,
    Field,
    Jump,
    Node,
    NotUnderstood,
    Operand,
    Pipe,
    Text,
    Variable,
    Word,
    parse,
)

_SAID = "({0}.content if {0}.content is string else '')"
_FIELDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "message": {
        "Role": ("({0}.role | replace('developer', 'system'))", "text"),
        "Content": (_SAID, "text"),
        "Thinking": ("({0}.reasoning_content or '')", "text"),
        "ToolCalls": ("({0}.tool_calls or [])", "list call"),
        "ToolName": ("({0}.name or '')", "text"),
        "ToolCallID": ("({0}.tool_call_id or '')", "text"),
        "Images": ("[]", "list text"),
    },
    "call": {"ID": ("({0}.id or '')", "text"), "Function": ("{0}.function", "called")},
    "called": {"Name": ("{0}.name", "text"), "Arguments": ("{0}.arguments", "arguments")},
    "tool": {"Type": ("{0}.type", "text"), "Function": ("{0}.function", "function")},
    "function": {
        "Name": ("{0}.name", "text"),
        "Description": ("({0}.description or '')", "text"),
        "Parameters": ("{0}.parameters", "schema"),
    },
    "schema": {
        "Type": ("{0}.type", "text"),
        "Required": ("({0}.required or [])", "list text"),
        "Properties": ("({0}.properties or {{}})", "map property"),
    },
    "property": {
        "Type": ("{0}.type", "text"),
        "Description": ("({0}.description or '')", "text"),
        "Enum": ("({0}.enum or [])", "list text"),
    },
}
_ROOT: Mapping[str, tuple[str, str]] = {
    "System": ("ns.system", "text"),
    "Prompt": ("ns.prompt", "text"),
    "Response": ("ns.response", "text"),
    "Suffix": ("''", "text"),
    "Messages": ("messages", "list message"),
    "Tools": ("(tools or [])", "list tool"),
    "Think": ("(enable_thinking is defined and enable_thinking)", "bool"),
    "IsThinkSet": ("(enable_thinking is defined)", "bool"),
    "ThinkLevel": ("(reasoning_effort or '')", "text"),
}
_AS_JSON = frozenset({"tool", "function", "schema", "property", "call", "called"})
_COMPARED = {"ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@dataclass(frozen=True, slots=True)
class _Value:
    """A Jinja expression, and what it holds: `text`, `number`, `bool`, `any`, `root`, `list X`, `map X`, a kind of
    `_FIELDS`."""

    code: str
    kind: str


_ROOT_VALUE = _Value("", "root")


@lru_cache(maxsize=64)
def usable(source: str) -> str | None:
    """The translation; None where there is none."""
    try:
        return translated(source)
    except NotUnderstood:
        return None


def translated(source: str) -> str:
    """The template in Jinja. Raises `NotUnderstood`, which names what is not."""
    nodes = parse(source)
    named = _named(nodes)
    if "Messages" in named:
        return _ONCE + _Writer().written(nodes)
    if "Response" not in named:
        nodes = (*nodes, Action(Pipe(((Field(("Response",)),),)), 0))
    turn, last = _Writer().written(nodes), _Writer().written(_until_response(nodes)[0])
    again = "{%- set ns.system = '' -%}{%- set ns.prompt = '' -%}{%- set ns.response = '' -%}"
    return _EACH_TURN.replace("<turn>", turn + again) + last


_ONCE = (
    "{%- set ns = namespace(system='', prompt='', response='') -%}"
    "{%- for message in messages -%}{%- if message.role in ['system', 'developer'] -%}"
    f"{{%- set said = {_SAID.format('message')} -%}}"
    "{%- set ns.system = (ns.system ~ '\\n\\n' ~ said) if ns.system else said -%}"
    "{%- endif -%}{%- endfor -%}"
)
_EACH_TURN = (
    "{%- set ns = namespace(system='', prompt='', response='', before='') -%}"
    "{%- for message in messages -%}"
    f"{{%- set said = {_SAID.format('message')} -%}}"
    "{%- if message.role in ['system', 'developer'] -%}"
    "{%- if ns.prompt or ns.response -%}<turn>{%- endif -%}"
    "{%- set ns.system = (ns.system ~ '\\n\\n' ~ said) if ns.before == 'system' and ns.system else said -%}"
    "{%- set ns.before = 'system' -%}"
    "{%- elif message.role == 'user' -%}"
    "{%- if ns.response -%}<turn>{%- endif -%}"
    "{%- set ns.prompt = (ns.prompt ~ '\\n\\n' ~ said) if ns.before == 'user' and ns.prompt else said -%}"
    "{%- set ns.before = 'user' -%}"
    "{%- elif message.role == 'assistant' -%}"
    "{%- set ns.response = (ns.response ~ '\\n\\n' ~ said) if ns.before == 'assistant' and ns.response else said -%}"
    "{%- set ns.before = 'assistant' -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
)


def _named(nodes: Sequence[Node]) -> set[str]:
    """Every field that is named in what is written or decided."""
    found: set[str] = set()

    def look(operand: Operand) -> None:
        match operand:
            case Field(names) | Variable(_, names):
                found.update(names)
            case Pipe(commands, names=names):
                found.update(names)
                for command in commands:
                    for one in command:
                        look(one)

    for node in nodes:
        if isinstance(node, (Action, Branch)):
            look(node.pipe)
        if isinstance(node, Branch):
            found |= _named(node.body) | _named(node.otherwise)
    return found


def _until_response(nodes: Sequence[Node]) -> tuple[tuple[Node, ...], bool]:
    """The template as far as what it writes of `.Response`; and whether that was in it."""
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Branch):
            body, cut = _until_response(node.body)
            otherwise, cut_else = ((), False) if cut else _until_response(node.otherwise)
            kept.append(replace(node, body=body, otherwise=otherwise))
            if cut or cut_else:
                return tuple(kept), True
            continue
        kept.append(node)
        if isinstance(node, Action) and "Response" in _named([node]):
            return tuple(kept), True
    return tuple(kept), False


class _Writer:
    """Nodes to Jinja. Every variable of Go is an attribute of one namespace, since Go's outlive the block they are
    set in, and Jinja's do not."""

    def __init__(self) -> None:
        self._scopes: list[dict[str, _Value]] = [{}]
        self._dot = _ROOT_VALUE
        self._count = 0
        self._line = 0
        self._loops = 0

    def written(self, nodes: Sequence[Node]) -> str:
        return "".join(self._node(node) for node in nodes)

    def _node(self, node: Node) -> str:
        match node:
            case Text(text):
                return "{{- " + _quoted(text) + " -}}"
            case Jump(kind):
                if not self._loops:
                    raise NotUnderstood("{{ " + kind + " }}", self._line)
                return "{%- " + kind + " -%}"
            case Action(pipe, line):
                self._line = line
                return self._action(pipe)
            case Branch(_, _, _, _, line):
                self._line = line
                return self._loop(node) if node.kind == "range" else self._choice(node)

    def _action(self, pipe: Pipe) -> str:
        value = self._value(pipe)
        if pipe.variables:
            return self._set(pipe, value)
        return "{{- " + self._shown(value) + " -}}"

    def _set(self, pipe: Pipe, value: _Value) -> str:
        if len(pipe.variables) != 1:
            raise NotUnderstood(", ".join(f"${v}" for v in pipe.variables), self._line)
        target = self._variable(pipe.variables[0]) if pipe.assigns else self._declare(pipe.variables[0], value.kind)
        if target.kind != value.kind:
            raise NotUnderstood(f"${pipe.variables[0]} = {value.kind}", self._line)
        return "{%- set " + target.code + " = " + value.code + " -%}"

    def _choice(self, node: Branch) -> str:
        self._scopes.append({})
        value, before = self._value(node.pipe), self._dot
        out = ""
        if node.pipe.variables:
            out = self._set(node.pipe, value)
            value = self._scopes[-1].get(node.pipe.variables[0], value)
        if node.kind == "with":
            self._dot = value
        out += "{%- if " + value.code + " -%}" + self._block(node.body)
        self._dot = before
        if node.otherwise:
            out += "{%- else -%}" + self._block(node.otherwise)
        self._scopes.pop()
        return out + "{%- endif -%}"

    def _loop(self, node: Branch) -> str:
        value = self._value(replace(node.pipe, variables=()))
        what, _, of = value.kind.partition(" ")
        if what not in {"list", "map"} or node.pipe.assigns or len(node.pipe.variables) > 2:
            raise NotUnderstood("{{ range }} " + value.kind, self._line)
        self._count += 1
        number, before = self._count, self._dot
        item, key = _Value(f"one_{number}", of), f"key_{number}"
        over = f"{key}, {item.code} in {value.code}.items()" if what == "map" else f"{item.code} in {value.code}"
        self._scopes.append({})
        out = "{%- for " + over + " -%}"
        names = node.pipe.variables
        if names:
            self._scopes[-1][names[-1]] = item
        if len(names) == 2:
            if what == "list":
                out += "{%- set " + key + " = loop.index0 -%}"
            self._scopes[-1][names[0]] = _Value(key, "text" if what == "map" else "number")
        self._dot, self._loops = item, self._loops + 1
        out += self._block(node.body)
        self._dot, self._loops = before, self._loops - 1
        self._scopes.pop()
        if node.otherwise:
            out += "{%- else -%}" + self._block(node.otherwise)
        return out + "{%- endfor -%}"

    def _block(self, nodes: Sequence[Node]) -> str:
        self._scopes.append({})
        out = self.written(nodes)
        self._scopes.pop()
        return out

    # -- variables --

    def _declare(self, name: str, kind: str) -> _Value:
        self._count += 1
        self._scopes[-1][name] = _Value(f"ns.v{self._count}", kind)
        return self._scopes[-1][name]

    def _variable(self, name: str) -> _Value:
        if not name:
            return _ROOT_VALUE
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        raise NotUnderstood(f"${name}", self._line)

    # -- values --

    def _value(self, pipe: Pipe) -> _Value:
        value: _Value | None = None
        for command in pipe.commands:
            value = self._command(command, value)
        assert value is not None
        return self._fields(value, pipe.names)

    def _command(self, command: Sequence[Operand], piped: _Value | None) -> _Value:
        first = command[0]
        if isinstance(first, Word) and first.name not in {"true", "false", "nil"}:
            given = [self._operand(one) for one in command[1:]] + ([piped] if piped else [])
            return self._called(first.name, given)
        if len(command) > 1 or piped is not None:
            raise NotUnderstood("{{ " + " ".join(type(one).__name__ for one in command) + " }}", self._line)
        return self._operand(first)

    def _operand(self, operand: Operand) -> _Value:
        match operand:
            case Field(names):
                return self._fields(self._dot, names)
            case Variable(name, names):
                return self._fields(self._variable(name), names)
            case Constant(str(text)):
                return _Value(_quoted(text), "text")
            case Constant(number):
                return _Value(str(number), "number")
            case Word("true" | "false" as said):
                return _Value(said, "bool")
            case Word("nil"):
                return _Value("none", "any")
            case Word(name):
                return self._called(name, [])
            case Pipe():
                if operand.variables:
                    raise NotUnderstood("(... :=)", self._line)
                inner = self._value(operand)
                return inner if operand.names else _Value(f"({inner.code})", inner.kind)

    def _fields(self, value: _Value, names: Sequence[str]) -> _Value:
        for name in names:
            known = _ROOT if value.kind == "root" else _FIELDS.get(value.kind, {})
            if name not in known:
                raise NotUnderstood(f".{name}", self._line)
            code, kind = known[name]
            value = _Value(code if value.kind == "root" else code.format(value.code), kind)
        return value

    def _called(self, name: str, given: Sequence[_Value]) -> _Value:
        made = _FUNCTIONS.get(name)
        if made is None:
            raise NotUnderstood(name, self._line)
        if any(one.kind == "root" for one in given):
            raise NotUnderstood(f"{name} $", self._line)
        try:
            return made(name, given, self._shown)
        except (IndexError, ValueError) as trouble:
            raise NotUnderstood(f"{name} ({len(given)})", self._line) from trouble

    def _shown(self, value: _Value) -> str:
        """As Go writes it."""
        what, _, of = value.kind.partition(" ")
        if value.kind in {"text", "number", "any"}:
            return value.code
        if value.kind == "bool":
            return f"('true' if {value.code} else 'false')"
        if value.kind == "arguments":
            return f"({value.code} if {value.code} is string else ({value.code} | tojson))"
        if value.kind == "list text":
            return f"('[' ~ ({value.code} | join(' ')) ~ ']')"
        if what in _AS_JSON or of in _AS_JSON:
            return f"({value.code} | tojson)"
        raise NotUnderstood("{{ " + (value.kind if value.kind != "root" else ".") + " }}", self._line)


_Made = Callable[[str, Sequence[_Value], Callable[[_Value], str]], _Value]


def _equal(_: str, given: Sequence[_Value], __: object) -> _Value:
    first, *others = given
    if not others:
        raise ValueError(len(given))
    return _Value("(" + " or ".join(f"{first.code} == {one.code}" for one in others) + ")", "bool")


def _compare(name: str, given: Sequence[_Value], __: object) -> _Value:
    one, other = given
    return _Value(f"({one.code} {_COMPARED[name]} {other.code})", "bool")


def _any_or_all(name: str, given: Sequence[_Value], __: object) -> _Value:
    kinds = {one.kind for one in given}
    joined = f" {name} ".join(one.code for one in given)
    return _Value(f"({given[0].code and joined})", kinds.pop() if len(kinds) == 1 else "any")


def _not(_: str, given: Sequence[_Value], __: object) -> _Value:
    (one,) = given
    return _Value(f"(not {one.code})", "bool")


def _length(_: str, given: Sequence[_Value], __: object) -> _Value:
    (one,) = given
    return _Value(f"({one.code} | length)", "number")


def _slice(_: str, given: Sequence[_Value], __: object) -> _Value:
    one, begin, *end = given
    if len(end) > 1 or not one.kind.startswith(("list", "text")):
        raise ValueError(one.kind)
    return _Value(f"{one.code}[{begin.code}:{end[0].code if end else ''}]", one.kind)


def _index(_: str, given: Sequence[_Value], __: object) -> _Value:
    one, place = given
    what, _, of = one.kind.partition(" ")
    if what not in {"list", "map", "arguments"}:
        raise ValueError(one.kind)
    return _Value(f"{one.code}[{place.code}]", of or "any")


def _json(_: str, given: Sequence[_Value], shown: Callable[[_Value], str]) -> _Value:
    (one,) = given
    return _Value(shown(one) if one.kind == "arguments" else f"({one.code} | tojson)", "text")


def _print(_: str, given: Sequence[_Value], shown: Callable[[_Value], str]) -> _Value:
    return _Value("(" + " ~ ".join(["''", *map(shown, given)]) + ")", "text")


def _today(_: str, given: Sequence[_Value], __: object) -> _Value:
    if given:
        raise ValueError(len(given))
    return _Value("strftime_now('%Y-%m-%d')", "text")


_FUNCTIONS: Mapping[str, _Made] = {
    "eq": _equal,
    **dict.fromkeys(_COMPARED, _compare),
    "and": _any_or_all,
    "or": _any_or_all,
    "not": _not,
    "len": _length,
    "slice": _slice,
    "index": _index,
    "json": _json,
    "print": _print,
    "currentDate": _today,
}


def _quoted(text: str) -> str:
    """A text as a Jinja string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return "'" + escaped.replace("\t", "\\t") + "'"
