"""JSON from outside, within bounds.

Knows how deep, how long and how many values a document may have before it is worth parsing, and reads fields
of the type they should have. A document that breaks a bound is `Malformed`; a field of the wrong type is
unknown.
"""

from __future__ import annotations

import json
import re
from typing import Any

from domicile.errors import Malformed
from domicile.formats.window import Steps, whole

Document = dict[str, Any]

_MOST_BYTES = 4 * 2**20
"""Real configurations are under 100 KB, but Gemma's tokenizer_config.json is over a megabyte."""
_DEPTH = 64
_VALUES = 200_000
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


def document(file: str, size: int) -> Steps[Document]:
    """A JSON object, read whole."""
    data = yield from whole(file, size, _MOST_BYTES)
    return parse(file, data)


def parse(file: str, data: bytes) -> Document:
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _VALUES:
        raise Malformed(file=file, problem=f"more than {_VALUES} values")
    _check_depth(file, data)
    try:
        value = json.loads(data, parse_int=_integer, parse_constant=_constant)
    except (ValueError, RecursionError) as trouble:
        raise Malformed(file=file, problem=f"not JSON: {str(trouble)[:100]}") from trouble
    if not isinstance(value, dict):
        raise Malformed(file=file, problem="not a JSON object")
    return value


def _check_depth(file: str, data: bytes) -> None:
    """Before json.loads: it would recurse to the interpreter's limit, and on some builds beyond it."""
    if data.count(b"[") + data.count(b"{") <= _DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(data):
        mark = data[token.start()]
        if mark in b"[{":
            depth += 1
            if depth > _DEPTH:
                raise Malformed(file=file, problem=f"nested deeper than {_DEPTH}")
        elif mark in b"]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits) > 30:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def count(of: Document, *keys: str, most: int = 2**53) -> int | None:
    """The first of these keys that holds an integer from 0 to `most`."""
    for key in keys:
        value = of.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
    return None


def text(of: Document, *keys: str, most: int = 200) -> str | None:
    for key in keys:
        value = of.get(key)
        if isinstance(value, str) and value:
            return value[:most]
    return None


def inner(of: Document, key: str) -> Document:
    """The object under a key; empty when there is none."""
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def flag(of: Document, key: str) -> bool | None:
    value = of.get(key)
    return value if isinstance(value, bool) else None
