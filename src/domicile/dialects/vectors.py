"""Vectors of texts: cut to fewer dimensions, and written as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from domicile.dialects.chat import bad, number
from domicile.errors import BadField, MissingField

MOST_DIMENSIONS = 1 << 16
MOST_INPUTS = 2048
"""In one request: OpenAI's own limit."""
ENCODINGS = ("float", "base64")


def dimensions(data: Mapping[str, Any]) -> int | None:
    """How many are wanted; None for all."""
    wanted = number(data, "dimensions")
    if wanted is None or wanted == 0:
        return None
    if not isinstance(wanted, int) or not 0 < wanted <= MOST_DIMENSIONS:
        raise bad("dimensions", wanted, "number")
    return wanted


def inputs(data: Mapping[str, Any]) -> list[str | list[int]]:
    """What to make vectors of: texts or lists of tokens, at most `MOST_INPUTS`, as OpenAI's dialect has them. An empty
    one is refused there, and here. Raises `MissingField` or `BadField`."""
    said = data.get("input")
    if said is None:
        raise MissingField(field="input")
    if isinstance(said, str) or (isinstance(said, list) and said and _is_token(said[0])):
        said = [said]
    if not isinstance(said, list) or not said:
        raise bad("input", said, "input")
    if len(said) > MOST_INPUTS:
        raise BadField(field="input", problem=str(len(said)), reason="most_inputs", limit=MOST_INPUTS)
    for place, one in enumerate(said):
        tokens = isinstance(one, list) and all(_is_token(token) for token in one)
        if not (isinstance(one, str) or tokens):
            raise bad(f"input[{place}]", one, "input")
        if not one:
            raise BadField(field=f"input[{place}]", problem="", reason="empty_input")
    return said


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def encoding(data: Mapping[str, Any]) -> str:
    """`float` or `base64`."""
    said = data.get("encoding_format")
    if said is None:
        return "float"
    if said not in ENCODINGS:
        raise BadField(field="encoding_format", problem=str(said)[:40], reason="one_of", allowed=", ".join(ENCODINGS))
    return str(said)


def check_width(wanted: int | None, width: int) -> None:
    """Raises `BadField` where more numbers are wanted than a vector has."""
    if wanted is not None and wanted > width:
        raise BadField(field="dimensions", problem=str(wanted), reason="range", low=1, high=width)


def cut(vector: Sequence[float], wanted: int | None) -> list[float]:
    """The first dimensions, at length one again (models of the Matryoshka kind are trained for it)."""
    if wanted is None or wanted >= len(vector):
        return list(vector)
    kept = vector[:wanted]
    length = math.sqrt(sum(x * x for x in kept))
    return [x / length for x in kept] if length else list(kept)


def in_base64(vector: Sequence[float]) -> str:
    """32-bit floats, little end first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def numbers(said: str | list[float]) -> list[float]:
    """A vector as an engine gave it: in base64, or (one that does not know that) as numbers. Raises `ValueError`."""
    if isinstance(said, list):
        return said
    body = base64.b64decode(said, validate=True)
    return list(struct.unpack(f"<{len(body) // 4}f", body[: len(body) // 4 * 4]))
