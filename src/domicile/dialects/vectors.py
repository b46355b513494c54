"""Vectors of texts: cut to fewer dimensions, and written as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from domicile.dialects.chat import bad, number

MOST_DIMENSIONS = 1 << 16


def dimensions(data: Mapping[str, Any]) -> int | None:
    """How many are wanted; None for all."""
    wanted = number(data, "dimensions")
    if wanted is None or wanted == 0:
        return None
    if not isinstance(wanted, int) or not 0 < wanted <= MOST_DIMENSIONS:
        raise bad("dimensions", wanted, "number")
    return wanted


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
