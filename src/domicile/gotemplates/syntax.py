"""Reading a template of Ollama: the part of Go's text/template that chat templates are written in, as a tree.

Actions between `{{` and `}}`, with trim markers; `if`, `else if`, `with`, `range`, `break`, `continue`, variables,
pipelines, comments (pkg.go.dev/text/template). What is left out is refused by its name. Knows no field and no function:
`jinja` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_CHARACTERS = 1 << 18
_MOST_DEPTH = 60
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<number>[+-]?\d+(?:\.\d+)?\b)
    |(?P<field>(?:\.[A-Za-z_]\w*)+)
    |(?P<variable>\$\w*(?:\.[A-Za-z_]\w*)*)
    |(?P<dot>\.)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>:=|[=|,()])""",
    re.VERBOSE,
)
_END = re.compile(r"(?P<trim>\s-)?\}\}|\s+-\}\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


class NotUnderstood(Exception):
    """A template that is not read, or not translated: what stands there, and its line."""

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {what}" if line else what)


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`; no name at all is the dot itself."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name.A`; `$` alone, with an empty name, is what the template was given."""

    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """A function, `true`, `false` or `nil`."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Pipe:
    """`$a, $b := command | command`; `names` are what follows its closing parenthesis: `(index .X 0).Y`."""

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False
    """`=`, to a variable that is there already."""
    names: tuple[str, ...] = ()


Operand = Field | Variable | Word | Constant | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    pipe: Pipe
    line: int


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`; an `else if` is a Branch alone in `otherwise`."""

    kind: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Node = Text | Action | Branch | Jump
Token = tuple[str, str, bool]
"""Kind, text, and whether a space came before."""


def parse(source: str) -> tuple[Node, ...]:
    """The tree of a template. Raises `NotUnderstood`."""
    if len(source) > MOST_CHARACTERS:
        raise NotUnderstood(f"> {MOST_CHARACTERS}")
    reader = _Reader(list(_pieces(source.replace("\r\n", "\n"))))
    nodes, ended = reader.nodes(0)
    if ended is not None:
        raise NotUnderstood("{{ " + ended[0] + " }}", ended[1])
    return nodes


def same(one: str, other: str) -> bool:
    """Do two templates say the same, however they are trimmed and spaced?"""
    try:
        return _bare(parse(one)) == _bare(parse(other))
    except NotUnderstood:
        return False


def _bare(nodes: tuple[Node, ...]) -> object:
    """Without lines."""
    found: list[object] = []
    for node in nodes:
        if isinstance(node, Branch):
            found.append((node.kind, node.pipe, _bare(node.body), _bare(node.otherwise)))
        else:
            found.append(node.pipe if isinstance(node, Action) else node)
    return found


Piece = tuple[str | None, list[Token], int]
"""A text; or None and the tokens of an action. And its line."""


def _pieces(source: str) -> Iterator[Piece]:
    place, line, trim = 0, 1, False
    while True:
        begin = source.find("{{", place)
        text = source[place:] if begin < 0 else source[place:begin]
        shown = text.lstrip() if trim else text
        trims_before = begin >= 0 and re.match(r"-\s", source[begin + 2 : begin + 4]) is not None
        shown = shown.rstrip() if trims_before else shown
        if shown:
            yield shown, [], line
        if begin < 0:
            return
        line += text.count("\n")
        inside = begin + 2 + trims_before
        tokens, end, trim = _action(source, inside, line)
        if tokens is not None:
            yield None, tokens, line
        line += source.count("\n", begin, end)
        place = end


def _action(source: str, place: int, line: int) -> tuple[list[Token] | None, int, bool]:
    """The tokens of an action (None for a comment), where it ends, and whether what follows is trimmed."""
    comment = _COMMENT.match(source, place + (len(source[place:]) - len(source[place:].lstrip())))
    tokens: list[Token] | None = [] if comment is None else None
    if comment is not None:
        place = comment.end()
    space = False
    while True:
        end = _END.match(source, place)
        if end is not None:
            return tokens, end.end(), end[0] != "}}"
        found = _TOKEN.match(source, place)
        if found is None or (tokens is None and found.lastgroup != "space"):
            raise NotUnderstood(source[place : place + 20].split("\n", maxsplit=1)[0] or "{{", line)
        place = found.end()
        if found.lastgroup == "space":
            space = True
            continue
        assert tokens is not None
        tokens.append((str(found.lastgroup), found[0], space))
        space = False


class _Reader:
    """Pieces to nodes."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._at = 0

    def nodes(self, depth: int) -> tuple[tuple[Node, ...], tuple[str, int, list[Token]] | None]:
        """Until an `else` or an `end` that belongs to who asked: its word, its line and what stands after it."""
        if depth > _MOST_DEPTH:
            raise NotUnderstood(f"> {_MOST_DEPTH} x {{{{ if }}}}")
        found: list[Node] = []
        while self._at < len(self._pieces):
            text, tokens, line = self._pieces[self._at]
            self._at += 1
            if text is not None:
                found.append(Text(text))
                continue
            word = tokens[0][1] if tokens and tokens[0][0] == "word" else ""
            if word in {"else", "end"}:
                return tuple(found), (word, line, tokens[1:])
            if word in {"if", "with", "range"}:
                found.append(self._branch(word, tokens[1:], line, depth))
            elif word in {"break", "continue"} and len(tokens) == 1:
                found.append(Jump(word))
            elif word in {"define", "template", "block"}:
                raise NotUnderstood("{{ " + word + " }}", line)
            else:
                found.append(Action(_Pipes(tokens, line).whole(), line))
        return tuple(found), None

    def _branch(self, kind: str, tokens: list[Token], line: int, depth: int) -> Branch:
        pipe = _Pipes(tokens, line).whole()
        body, ended = self.nodes(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if ended is not None and ended[0] == "else":
            if ended[2]:
                word = ended[2][0][1]
                if word not in {"if", "with"}:
                    raise NotUnderstood("{{ else " + word + " }}", ended[1])
                return Branch(kind, pipe, body, (self._branch(word, ended[2][1:], ended[1], depth + 1),), line)
            otherwise, ended = self.nodes(depth + 1)
        if ended is None or ended[0] != "end":
            raise NotUnderstood("{{ " + kind + " }} - {{ end }}", line)
        return Branch(kind, pipe, body, otherwise, line)


class _Pipes:
    """Tokens to a pipeline."""

    def __init__(self, tokens: list[Token], line: int) -> None:
        self._tokens = tokens
        self._line = line
        self._at = 0

    def whole(self) -> Pipe:
        pipe = self._pipe(0)
        if self._at < len(self._tokens):
            raise NotUnderstood(self._tokens[self._at][1], self._line)
        return pipe

    def _peek(self, ahead: int = 0) -> Token:
        place = self._at + ahead
        return self._tokens[place] if place < len(self._tokens) else ("end", "", False)

    def _pipe(self, depth: int) -> Pipe:
        if depth > _MOST_DEPTH:
            raise NotUnderstood("((", self._line)
        variables, assigns = self._declared()
        commands: list[tuple[Operand, ...]] = []
        operands: list[Operand] = []
        while True:
            kind, text, space = self._peek()
            if kind in {"end", "sign"} and text != "(":
                if not operands:
                    raise NotUnderstood(text or "{{ }}", self._line)
                commands.append(tuple(operands))
                operands = []
                if text != "|":
                    return Pipe(tuple(commands), variables, assigns)
                self._at += 1
                continue
            if operands and not space:
                raise NotUnderstood(text, self._line)
            operands.append(self._operand(depth))

    def _declared(self) -> tuple[tuple[str, ...], bool]:
        """`$a :=`, `$a, $b :=`, `$a =`."""
        names, ahead = [], 0
        while self._peek(ahead)[0] == "variable" and "." not in self._peek(ahead)[1]:
            names.append(self._peek(ahead)[1][1:])
            sign = self._peek(ahead + 1)[1]
            ahead += 2
            if sign in {":=", "="}:
                self._at += ahead
                return tuple(names), sign == "="
            if sign != ",":
                break
        return (), False

    def _operand(self, depth: int) -> Operand:
        kind, text, _ = self._peek()
        self._at += 1
        match kind:
            case "string":
                return Constant(text[1:-1] if text[0] == "`" else _unquoted(text, self._line))
            case "number":
                return Constant(float(text) if "." in text else int(text))
            case "field":
                return Field(tuple(text[1:].split(".")))
            case "variable":
                name, *names = text[1:].split(".")
                return Variable(name, tuple(names))
            case "dot":
                return Field(())
            case "word":
                return Word(text)
            case _:
                inner = self._pipe(depth + 1)
                if self._peek()[1] != ")":
                    raise NotUnderstood("(", self._line)
                self._at += 1
                after = self._peek()
                if after[0] == "field" and not after[2]:
                    self._at += 1
                    return Pipe(inner.commands, inner.variables, inner.assigns, tuple(after[1][1:].split(".")))
                return inner


def _unquoted(text: str, line: int) -> str:
    try:
        return str(json.loads(text))
    except ValueError as trouble:
        raise NotUnderstood(text[:40], line) from trouble
