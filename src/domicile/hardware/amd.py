"""AMD's cards and integrated graphics, by what the kernel's amdgpu driver shows in sysfs.

Knows /sys/class/drm: memory, load, temperature, power. Needs neither ROCm nor its library (amdsmi). Knows
nothing of whether ROCm is there: the backend says what such a card would be run with.
"""

from __future__ import annotations

from collections.abc import Iterator

from domicile.hardware.machine import Found, FoundLoad, Machine, clean, pci_name, where
from domicile.types import Gpu, GpuLoad, Reason

_VENDOR = "0x1002"
_SMALL = 2 * 2**30


def probe(machine: Machine) -> Found:
    """Every card with its memory. Integrated graphics borrow the system's: they say a small memory and a
    large GTT."""
    cards, unknown = [], []
    for folder in _devices(machine):
        name = _name(machine, folder)
        total = machine.whole(f"{folder}/mem_info_vram_total") or None
        used = machine.whole(f"{folder}/mem_info_vram_used")
        gtt = machine.whole(f"{folder}/mem_info_gtt_total") or 0
        unified = total is not None and total <= _SMALL and gtt > total
        if unified:
            total, used = gtt, machine.whole(f"{folder}/mem_info_gtt_used")
        free = None if total is None or used is None else max(0, total - used)
        driver = machine.read("sys/module/amdgpu/version")
        if total is None:
            unknown.append(Reason("unknown.vram", {"name": name, "where": f"/{folder}"}))
        cards.append(
            Gpu(
                name,
                "rocm",
                total,
                free,
                driver=clean(driver) or machine.release or None,
                unified=unified,
                why=where(f"/{folder}"),
            )
        )
    return Found(gpus=tuple(cards), unknown=tuple(unknown))


def load(machine: Machine) -> FoundLoad:
    """What each card is doing."""
    now = []
    for folder in _devices(machine):
        degrees = _sensor(machine, folder, "temp1_input")
        power = _sensor(machine, folder, "power1_average") or _sensor(machine, folder, "power1_input")
        busy = machine.whole(f"{folder}/gpu_busy_percent")
        now.append(
            GpuLoad(
                name=_name(machine, folder),
                busy_percent=None if busy is None else float(min(busy, 100)),
                vram_bytes=machine.whole(f"{folder}/mem_info_vram_total") or None,
                vram_used_bytes=machine.whole(f"{folder}/mem_info_vram_used"),
                temperature_celsius=None if degrees is None else degrees / 1000,
                power_watts=None if power is None else power / 1_000_000,
            )
        )
    return FoundLoad(tuple(now))


def _devices(machine: Machine) -> Iterator[str]:
    for card in machine.find("sys/class/drm/card[0-9]*"):
        folder = f"{machine.relative(card)}/device"
        # card0-DP-1 and the like are its sockets
        if card.name.removeprefix("card").isdigit() and machine.read(f"{folder}/vendor") == _VENDOR:
            yield folder


def _name(machine: Machine, folder: str) -> str:
    said = clean(machine.read(f"{folder}/product_name"))
    device = (machine.read(f"{folder}/device") or "").lower().removeprefix("0x")
    revision = (machine.read(f"{folder}/revision") or "").lower().removeprefix("0x")
    return said or pci_name(machine, "1002", device, revision) or clean(f"AMD {device}") or "AMD"


def _sensor(machine: Machine, folder: str, name: str) -> int | None:
    for file in machine.find(f"{folder}/hwmon/hwmon*/{name}"):
        return machine.whole(machine.relative(file))
    return None
