"""What this machine is, and what it is doing now.

`detect` puts together what each of PROBES found; `load` reads what is happening. Nothing raises for what a
machine is like: what cannot be read is None, with a reason in `unknown`. Knows nothing of models, nor of how
fast this machine is (calibrate).
"""

from __future__ import annotations

import shutil
import time
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from domicile.hardware import amd, apple, cpu, intel, memory, nvidia, vulkan
from domicile.hardware.machine import Found, Machine, where
from domicile.types import Gpu, GpuLoad, Hardware, Load, Reason

PROBES: tuple[ModuleType, ...] = (cpu, memory, nvidia, amd, intel, apple, vulkan)
"""Each has `probe(machine) -> Found`; those of graphics also `load(machine) -> FoundLoad`. Drivers come
before the engine's own list: they know more of the same cards."""

_VENDORS = {
    "cuda": ("nvidia",),
    "rocm": ("amd", "radeon"),
    "intel": ("intel",),
    "metal": ("apple", "amd", "intel"),
}


def detect(disk: Path, machine: Machine | None = None) -> Hardware:
    """All of it: about half a second, most of it asking the engine for its devices. `disk`: where models
    would go."""
    machine = machine or Machine()
    known: dict[str, Any] = {}
    why: dict[str, Reason] = {}
    gpus: list[Gpu] = []
    unknown: list[Reason] = []
    for each in PROBES:
        found = _ask(each, machine)
        known |= found.fields
        why |= found.why
        unknown += found.unknown
        gpus = _merged(gpus, found.gpus) if each is vulkan else [*gpus, *found.gpus]
    filled = {gpu.name for gpu in gpus if gpu.vram_bytes is not None and gpu.vram_free_bytes is not None}
    unknown = [each for each in unknown if each.facts.get("name") not in filled]
    free, trouble = disk_free(disk)
    why["disk_free_bytes"] = where(str(disk))
    hardware = Hardware(
        os=f"{machine.system} {machine.release}".strip(),
        arch=machine.arch,
        gpus=tuple(gpus),
        disk_free_bytes=free,
        unknown=tuple(unknown) + ((trouble,) if trouble else ()),
        why=why,
        **{name: known.get(name) for name in _FROM_PROBES} | {"features": known.get("features") or ()},
    )
    return _shared(hardware)


def refresh(hardware: Hardware, disk: Path, machine: Machine | None = None) -> Hardware:
    """The same machine with what is free in it now: memory, cards and disk are read again, the rest is
    kept."""
    machine = machine or Machine()
    found = _ask(memory, machine)
    # Two cards of one name cannot be told apart by it: they are read in the same order as before.
    again = [gpu for each in (nvidia, amd) for gpu in _ask(each, machine).gpus]
    gpus = []
    for gpu in hardware.gpus:
        same = next((one for one in again if (one.name, one.backend) == (gpu.name, gpu.backend)), None)
        if same is not None:
            again.remove(same)
        gpus.append(replace(gpu, vram_free_bytes=same.vram_free_bytes if same else None))
    return _shared(
        replace(
            hardware,
            gpus=tuple(gpus),
            ram_available_bytes=found.fields.get("ram_available_bytes"),
            disk_free_bytes=disk_free(disk)[0],
        )
    )


def load(machine: Machine | None = None) -> Load:
    """What it is doing now. The processor's share is since the call before; the first call has none to
    compare with."""
    machine = machine or Machine()
    gpus: list[GpuLoad] = []
    for each in PROBES:
        if hasattr(each, "load"):
            gpus += _ask_load(each, machine)
    found = _ask(memory, machine).fields
    total, left = found.get("ram_bytes"), found.get("ram_available_bytes")
    limit = found.get("container_limit_bytes")
    ceiling = limit if limit is not None else total
    return Load(
        measured_at=time.time(),
        cpu_percent=_cpu_percent() if machine.here else None,
        ram_bytes=ceiling,
        ram_used_bytes=None if ceiling is None or left is None else max(0, ceiling - left),
        cpu_temperature_celsius=_cpu_temperature(machine),
        gpus=tuple(gpus),
    )


def disk_free(disk: Path) -> tuple[int | None, Reason | None]:
    """Free for an ordinary person where `disk` is or will be: folders that are not made yet are looked for
    above."""
    place = disk.absolute()
    for level in (place, *place.parents):
        try:
            return shutil.disk_usage(level).free, None
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as trouble:
            return None, Reason("unknown.disk", {"where": str(level), "problem": str(trouble)})
    return None, Reason("unknown.disk", {"where": str(place), "problem": "missing"})


_FROM_PROBES = tuple(
    f.name
    for f in fields(Hardware)
    if f.name not in {"os", "arch", "gpus", "disk_free_bytes", "unknown", "why", "features", "calibration"}
)
# Each probe reads what it knows with care. This is for the machine that nobody has seen yet: its house opens
# too.
_SURPRISES = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def _ask(probe: ModuleType, machine: Machine) -> Found:
    try:
        found: Found = probe.probe(machine)
    except _SURPRISES as trouble:
        name = probe.__name__.rpartition(".")[2]
        return Found(unknown=(Reason("unknown.probe", {"where": name, "problem": repr(trouble)[:200]}),))
    return found


def _ask_load(probe: ModuleType, machine: Machine) -> tuple[GpuLoad, ...]:
    try:
        now: tuple[GpuLoad, ...] = probe.load(machine).gpus
    except _SURPRISES:
        return ()
    return now


def _merged(native: list[Gpu], listed: tuple[Gpu, ...]) -> list[Gpu]:
    """The drivers' cards, and those that only the engine sees. A card of a vendor whose driver already spoke
    is the same card again; where the driver had no memory to show, the engine's number fills the gap."""
    gpus = list(native)
    for card in listed:
        said = card.name.lower()
        same = [
            n
            for n, gpu in enumerate(gpus)
            if gpu.backend == card.backend or any(vendor in said for vendor in _VENDORS.get(gpu.backend, ()))
        ]
        if not same:
            gpus.append(card)
            continue
        seen = next((n for n in same if not gpus[n].engine), same[0])
        gpus[seen] = replace(gpus[seen], engine=True)
        for n in same:
            gpu = gpus[n]
            if not gpu.unified and card.vram_bytes is not None and None in (gpu.vram_bytes, gpu.vram_free_bytes):
                free = card.vram_free_bytes
                gpus[n] = replace(gpu, vram_bytes=card.vram_bytes, vram_free_bytes=free, why=card.why)
                break
    return gpus


def _shared(hardware: Hardware) -> Hardware:
    """Graphics that share the system's memory have free what it has free, up to their limit."""
    left = hardware.ram_available_bytes
    gpus = []
    for gpu in hardware.gpus:
        if gpu.unified and gpu.vram_bytes is not None and left is not None:
            own = gpu.vram_bytes if gpu.vram_free_bytes is None else gpu.vram_free_bytes
            gpu = replace(gpu, vram_free_bytes=min(own, left))  # noqa: PLW2901
        gpus.append(gpu)
    return replace(hardware, gpus=tuple(gpus))


def _cpu_percent() -> float | None:
    import psutil

    try:
        return float(psutil.cpu_percent())
    except (OSError, psutil.Error):
        return None


def _cpu_temperature(machine: Machine) -> float | None:
    """The processor package's sensor, by the kernel's name for it."""
    for file in machine.find("sys/class/hwmon/hwmon*/name"):
        if machine.read(machine.relative(file)) in {"coretemp", "k10temp", "zenpower", "cpu_thermal"}:
            degrees = machine.whole(machine.relative(file.parent / "temp1_input"))
            return None if degrees is None else degrees / 1000
    for file in machine.find("sys/class/thermal/thermal_zone*/type"):
        if (machine.read(machine.relative(file)) or "").startswith(("x86_pkg_temp", "cpu")):
            degrees = machine.whole(machine.relative(file.parent / "temp"))
            return None if degrees is None else degrees / 1000
    return None
