"""The devices the engine itself lists: what it would really run on, whatever the drivers say.

Knows how to ask it, in a child with a deadline: a broken driver may crash or hang whoever loads it. Knows
nothing of drivers. The house never imports the engine.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any, Literal

from domicile.hardware.machine import Found, FoundLoad, Machine, clean, where
from domicile.types import Gpu, Reason

PROGRAM = """
import json, xllamacpp
keys = ("name", "description", "memory_free", "memory_total")
found = [{key: d.get(key) for key in keys} | {"type": d["type"].name} for d in xllamacpp.get_device_info()]
print("devices " + json.dumps(found))
"""
_BACKENDS: dict[str, Literal["cuda", "rocm", "metal", "vulkan", "intel"]] = {
    "cuda": "cuda",
    "rocm": "rocm",
    "hip": "rocm",
    "metal": "metal",
    "mtl": "metal",
    "vulkan": "vulkan",
    "sycl": "intel",
}


def probe(machine: Machine) -> Found:
    """The engine's graphics devices. Its processor is in its list too, and not here."""
    if machine.here and importlib.util.find_spec("xllamacpp") is None:
        return Found(unknown=(Reason("unknown.engine_missing"),))
    said = machine.run([sys.executable, "-c", PROGRAM], 10.0)
    line = next((line for line in (said.text or "").splitlines() if line.startswith("devices ")), None)
    try:
        listed = json.loads((line or "").removeprefix("devices "))
        cards = tuple(card for each in listed if (card := _card(each)) is not None)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        problem = said.trouble or "garbage"
        return Found(unknown=(Reason("unknown.engine_devices", {"where": "xllamacpp", "problem": problem}),))
    return Found(gpus=cards)


def load(machine: Machine) -> FoundLoad:
    """Nothing: asking costs a child, and the drivers' own probes say more."""
    return FoundLoad()


def _card(each: dict[str, Any]) -> Gpu | None:
    kind = str(each["type"])
    if not kind.endswith(("_GPU", "_IGPU")):
        return None
    name = str(each["name"])
    if "llvmpipe" in str(each.get("description")).lower():  # a processor that draws: slower than itself
        return None
    backend = _BACKENDS.get(name.rstrip("0123456789").lower())
    total, free = each.get("memory_total"), each.get("memory_free")
    return Gpu(
        name=clean(str(each.get("description") or name)) or "GPU",
        backend=backend or "vulkan",
        vram_bytes=total if isinstance(total, int) and total > 0 else None,
        vram_free_bytes=free if isinstance(free, int) and free >= 0 else None,
        unified=kind.endswith("_IGPU"),
        engine=True,
        why=where(f"xllamacpp ({clean(name)})"),
    )
