"""TUNABLE: what can be set for one model, as one table: how each is read, and what may be written.

Knows the forms only; what they mean, and what is chosen where nothing is set, is `tuning.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from domicile import memory
from domicile.config import LLAMA_BUILDS, byte_count, seconds
from domicile.errors import BadField


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(str(value))
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(value)
        return number

    return read


def _one_of(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        said = str(value).strip().lower()
        if said not in allowed:
            raise ValueError(value)
        return said

    return read


def _switch(value: object) -> bool:
    said = str(value).strip().lower()
    if said in {"on", "true", "yes", "1"}:
        return True
    if said in {"off", "false", "no", "0"}:
        return False
    raise ValueError(value)


def _duration(value: object) -> float:
    found = seconds(value)
    return -1.0 if math.isinf(found) else found  # JSON knows no infinity


def _shares(value: object) -> list[float]:
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    found = [float(str(part)) for part in parts]
    if not found or any(not 0 <= part <= 1000 for part in found) or not sum(found):
        raise ValueError(value)
    return found


def _name(value: object) -> str:
    said = str(value).strip()
    if not said or len(said) > 500:
        raise ValueError(value)
    return said


TUNABLE: Mapping[str, tuple[Callable[[object], Any], str | tuple[int, int]]] = {
    "context": (_whole(256, 1 << 24), (256, 16777216)),
    "slots": (_whole(1, 64), (1, 64)),
    "kv": (_one_of(*memory.KV_TYPES), ", ".join(memory.KV_TYPES)),
    "gpu_layers": (_whole(0, 4096), (0, 4096)),
    "split": (_shares, "0.6,0.4"),
    "threads": (_whole(1, 512), (1, 512)),
    "batch": (_whole(16, 8192), (16, 8192)),
    "flash_attention": (_switch, "on, off"),
    "mmap": (_switch, "on, off"),
    "projector": (_switch, "on, off"),
    "low_memory": (_switch, "on, off"),
    "overflow": (_one_of("refuse", "trim"), "refuse, trim"),
    "cache": (byte_count, "0, 512MiB"),
    "speculation": (_one_of("off", "ngram", "draft"), "off, ngram, draft"),
    "draft": (_name, "org/repo:Q4_K_M"),
    "build": (_one_of(*LLAMA_BUILDS), ", ".join(LLAMA_BUILDS)),
    "keep_alive": (_duration, "0, 10m, -1"),
}
"""What can be set for one model (`domicile set`): how it is read, and what may be written (words, or a range)."""


def read(given: Mapping[str, object]) -> dict[str, Any]:
    """Settings as a person or a program writes them; None or an empty text gives the choice back to the house (and
    stays None here). Raises `BadField`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TUNABLE:
            raise BadField(field=name[:60], problem=name[:60], reason="tunable", allowed=", ".join(TUNABLE))
        if value is None or value == "":
            found[name] = None
            continue
        parse, allowed = TUNABLE[name]
        try:
            found[name] = parse(value)
        except (ValueError, TypeError, OverflowError) as trouble:
            problem = str(value)[:80]
            if isinstance(allowed, str):
                raise BadField(field=name, problem=problem, reason="one_of", allowed=allowed) from trouble
            least, most = allowed
            raise BadField(field=name, problem=problem, reason="between", least=least, most=most) from trouble
    return found
