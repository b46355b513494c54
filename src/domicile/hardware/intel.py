"""Intel's graphics, integrated and Arc, by what the i915 and xe drivers show in sysfs.

Knows the card's name (from the system's list of PCI numbers) and, where the driver shows it, its memory.
Knows that an integrated one has none of its own. Free memory is not shown by these drivers and stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

from domicile.hardware.machine import Found, FoundLoad, Machine, clean, pci_name, where
from domicile.types import Gpu, GpuLoad, Reason

_VENDOR = "0x8086"
# Arc: DG2 (56xx), DG1 (49xx) and Battlemage (e2xx); everything else of Intel's is part of a processor.
_DISCRETE = ("56", "49", "e2")


def probe(machine: Machine) -> Found:
    """Every card; memory where the driver says it."""
    cards, unknown = [], []
    for folder in _devices(machine):
        name, own = _name(machine, folder), _device(machine, folder).startswith(_DISCRETE)
        total, source = _memory(machine, folder) if own else (None, folder)
        if own:
            missing = "vram" if total is None else "vram_free"
            unknown.append(Reason(f"unknown.{missing}", {"name": name, "where": f"/{folder}"}))
        driver = clean((machine.read(f"{folder}/uevent") or "").partition("DRIVER=")[2].partition("\n")[0])
        cards.append(Gpu(name, "intel", total, driver=driver, unified=not own, why=where(f"/{source}")))
    return Found(gpus=tuple(cards), unknown=tuple(unknown))


def load(machine: Machine) -> FoundLoad:
    """Temperature only: these drivers show no load to an ordinary user."""
    now = []
    for folder in _devices(machine):
        degrees = next(
            (machine.whole(machine.relative(f)) for f in machine.find(f"{folder}/hwmon/hwmon*/temp*_input")),
            None,
        )
        now.append(GpuLoad(_name(machine, folder), temperature_celsius=None if degrees is None else degrees / 1000))
    return FoundLoad(tuple(now))


def _devices(machine: Machine) -> Iterator[str]:
    for card in machine.find("sys/class/drm/card[0-9]*"):
        folder = f"{machine.relative(card)}/device"
        if card.name.removeprefix("card").isdigit() and machine.read(f"{folder}/vendor") == _VENDOR:
            yield folder


def _device(machine: Machine, folder: str) -> str:
    return (machine.read(f"{folder}/device") or "").lower().removeprefix("0x")


def _name(machine: Machine, folder: str) -> str:
    device = _device(machine, folder)
    said = pci_name(machine, "8086", device) or device
    return clean(said if said.startswith("Intel") else f"Intel {said}") or "Intel"


def _memory(machine: Machine, folder: str) -> tuple[int | None, str]:
    """i915 and xe say it per tile; else the largest window on the card's bus, which shows all of it where the
    firmware allows (resizable BAR) and 256 MiB where it does not: then it says nothing."""
    sizes = [machine.whole(f"{folder}/{name}") for name in ("lmem_total_bytes", "tile0/physical_vram_size_bytes")]
    for size in sizes:
        if size:
            return size, folder
    windows = []
    for line in (machine.read(f"{folder}/resource") or "").splitlines():
        parts = line.split()
        try:
            first, last = int(parts[0], 16), int(parts[1], 16)
        except (ValueError, IndexError):
            continue
        windows.append(last - first + 1 if last > first else 0)
    largest = max(windows, default=0)
    return (largest, f"{folder}/resource") if 2**30 <= largest <= 2**40 else (None, folder)
