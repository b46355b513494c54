"""Apple's chips: graphics that share the system's memory, up to what the system lets them wire.

Knows sysctl and system_profiler. Knows nothing of Intel Macs' cards beyond their names and memory.
"""

from __future__ import annotations

import json
import re
from typing import Any

from domicile.hardware.cpu import sysctl
from domicile.hardware.machine import Found, FoundLoad, Machine, clean, where, whole
from domicile.types import Gpu, Reason

_MIB = 2**20


def probe(machine: Machine) -> Found:
    """The graphics of a Mac; nothing elsewhere."""
    if machine.system != "macos":
        return Found()
    said = machine.run(["system_profiler", "-json", "SPDisplaysDataType"], 10.0)
    try:
        shown = json.loads(said.text or "")["SPDisplaysDataType"]
        displays: list[dict[str, Any]] = [each for each in shown if isinstance(each, dict)]
    except (ValueError, LookupError, TypeError, RecursionError):
        displays = []
    if machine.arch == "arm64":
        return _unified(machine, displays, said.trouble)
    cards = tuple(
        Gpu(
            name=clean(str(each.get("sppci_model", ""))) or "GPU",
            backend="metal",
            vram_bytes=_size(each.get("spdisplays_vram") or each.get("_spdisplays_vram")),
            unified="spdisplays_vram_shared" in each,
            why=where("system_profiler"),
        )
        for each in displays
    )
    unknown = (
        () if cards else (Reason("unknown.apple", {"where": "system_profiler", "problem": said.trouble or "garbage"}),)
    )
    return Found(gpus=cards, unknown=unknown)


def load(machine: Machine) -> FoundLoad:
    """Nothing: powermetrics asks for the administrator, and what is free is the system's memory."""
    return FoundLoad()


def _unified(machine: Machine, displays: list[dict[str, Any]], trouble: str) -> Found:
    answers = sysctl(machine, "machdep.cpu.brand_string", "hw.memsize", "iogpu.wired_limit_mb")
    memory, wired = whole(answers.get("hw.memsize")), whole(answers.get("iogpu.wired_limit_mb"))
    model = clean(str(displays[0].get("sppci_model", ""))) if displays else None
    name = model or clean(answers.get("machdep.cpu.brand_string"))
    unknown = [] if memory else [Reason("unknown.vram", {"name": name or "Apple", "where": "sysctl"})]
    if name is None:
        unknown.append(Reason("unknown.apple", {"where": "system_profiler", "problem": trouble or "garbage"}))
    limit, why = None, where("sysctl hw.memsize")
    if wired:
        limit, why = (
            wired * _MIB,
            Reason("why.wired_limit", {"where": "iogpu.wired_limit_mb", "size": wired * _MIB}),
        )
    elif memory:
        # What Metal recommends as its working set when nobody set a limit: two thirds up to 36 GiB, three
        # quarters above.
        limit = memory * 2 // 3 if memory <= 36 * 2**30 else memory * 3 // 4
        why = Reason("why.wired_default", {"where": "hw.memsize", "size": limit})
    cores = whole(displays[0].get("sppci_cores")) if displays else None
    shown = f"{name or 'Apple'} ({cores} cores)" if cores else name or "Apple"
    driver = clean(str(displays[0].get("spdisplays_mtlgpufamilysupport", ""))) if displays else None
    return Found(gpus=(Gpu(shown, "metal", limit, None, driver=driver, unified=True, why=why),), unknown=tuple(unknown))


def _size(text: object) -> int | None:
    match = re.fullmatch(r"(\d{1,6}) (MB|GB)", str(text or ""))
    return int(match[1]) * (_MIB if match[2] == "MB" else 2**30) if match else None
