"""NVIDIA's cards: by NVML where its Python module is installed, else by nvidia-smi, else by what /proc shows.

Knows names, memory, driver, compute capability, and the memory's bandwidth from its clock and width (NVML
only). Knows nothing of CUDA: whether an engine can use a card is the engine's word (vulkan lists what it
sees).
"""

from __future__ import annotations

import re
from typing import Any

from domicile.hardware.machine import Found, FoundLoad, Machine, clean, real, where, whole
from domicile.types import Gpu, GpuLoad, Reason

_MIB = 2**20
_FIELDS = ("name", "memory.total", "memory.free", "driver_version", "compute_cap")
_LOAD_FIELDS = ("name", "utilization.gpu", "memory.total", "memory.used", "temperature.gpu", "power.draw")
_WSL = "/usr/lib/wsl/lib/nvidia-smi"


def probe(machine: Machine) -> Found:
    """Every card, with what is free on it now."""
    cards = _by_nvml() if machine.here else ()
    if cards:
        return Found(gpus=cards)
    said, trouble = _smi(machine, _FIELDS)
    if said is None and trouble == "failed":
        # Drivers before 2021 do not know compute_cap, and then answer nothing at all.
        said, trouble = _smi(machine, _FIELDS[:-1])
    cards = tuple(
        _card([*row, ""]) for row in said or () if len(row) in {len(_FIELDS), len(_FIELDS) - 1} and clean(row[0])
    )
    if cards:
        gaps = [
            Reason("unknown.vram", {"name": card.name, "where": "nvidia-smi"})
            for card in cards
            if card.vram_bytes is None
        ]
        return Found(gpus=cards, unknown=tuple(gaps))
    shown = _by_proc(machine)
    unknown = tuple(Reason("unknown.vram", {"name": card.name, "where": "/proc/driver/nvidia"}) for card in shown)
    if not shown and trouble in {"failed", "too_slow", "garbage"}:
        unknown = (Reason("unknown.nvidia", {"where": "nvidia-smi", "problem": trouble}),)
    return Found(gpus=shown, unknown=unknown)


def load(machine: Machine) -> FoundLoad:
    """What each card is doing."""
    now = _load_by_nvml() if machine.here else ()
    if not now:
        rows = _smi(machine, _LOAD_FIELDS)[0] or ()
        now = tuple(
            GpuLoad(
                name=clean(row[0]) or "NVIDIA",
                busy_percent=real(row[1]),
                vram_bytes=_mib(row[2]),
                vram_used_bytes=_mib(row[3]),
                temperature_celsius=real(row[4]),
                power_watts=real(row[5]),
            )
            for row in rows
            if len(row) == len(_LOAD_FIELDS)
        )
    return FoundLoad(now)


def _smi(machine: Machine, fields: tuple[str, ...]) -> tuple[list[list[str]] | None, str]:
    """The rows of nvidia-smi, and a word of trouble when there are none."""
    trouble = ""
    for program in ("nvidia-smi", _WSL):
        said = machine.run([program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], 5.0)
        if said.text is not None:
            rows = [[part.strip() for part in line.split(",")] for line in said.text.splitlines() if line.strip()]
            good = [row for row in rows if len(row) == len(fields)]
            return good or None, "" if good else "garbage"
        trouble = said.trouble
        if said.trouble != "missing":
            break
    return None, trouble


def _mib(text: str) -> int | None:
    count = whole(text)
    return None if count is None else count * _MIB


def _card(row: list[str]) -> Gpu:
    name, total, free, driver, capability = row[:5]
    return Gpu(
        name=clean(name) or "NVIDIA",
        backend="cuda",
        vram_bytes=_mib(total) or None,
        vram_free_bytes=_mib(free),
        driver=driver if re.fullmatch(r"[\d.]{1,20}", driver) else None,
        compute_capability=capability if re.fullmatch(r"\d{1,2}\.\d", capability) else None,
        why=where("nvidia-smi"),
    )


def _by_proc(machine: Machine) -> tuple[Gpu, ...]:
    """Name and driver only: the driver shows no memory here."""
    version = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", machine.read("proc/driver/nvidia/version") or "")
    cards = []
    for file in machine.find("proc/driver/nvidia/gpus/*/information"):
        model = re.search(r"^Model:\s*(.+)$", machine.read(machine.relative(file)) or "", re.MULTILINE)
        name = clean(model[1]) if model else None
        driver = version[1] if version else None
        cards.append(Gpu(name or "NVIDIA", "cuda", driver=driver, why=where("/proc/driver/nvidia")))
    return tuple(cards)


def _nvml() -> Any:
    """The module, started; None without it or without a driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def _asked(nvml: Any, call: str, *arguments: Any) -> Any:
    """One question; None when this card or driver does not answer it."""
    try:
        return getattr(nvml, call)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def _words(value: Any) -> str | None:
    return clean(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def _by_nvml() -> tuple[Gpu, ...]:
    nvml = _nvml()
    if nvml is None:
        return ()
    cards = []
    for number in range(_asked(nvml, "nvmlDeviceGetCount") or 0):
        handle = _asked(nvml, "nvmlDeviceGetHandleByIndex", number)
        if handle is None:
            continue
        memory = _asked(nvml, "nvmlDeviceGetMemoryInfo", handle)
        capability = _asked(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
        width = _asked(nvml, "nvmlDeviceGetMemoryBusWidth", handle)
        clock = _asked(nvml, "nvmlDeviceGetMaxClockInfo", handle, getattr(nvml, "NVML_CLOCK_MEM", 2))
        cards.append(
            Gpu(
                name=_words(_asked(nvml, "nvmlDeviceGetName", handle)) or "NVIDIA",
                backend="cuda",
                vram_bytes=memory.total if memory else None,
                vram_free_bytes=memory.free if memory else None,
                driver=_words(_asked(nvml, "nvmlSystemGetDriverVersion")),
                compute_capability="{}.{}".format(*capability) if capability else None,
                # MHz, two transfers a clock, bits: RTX 3090 = 9751 x 2 x 384 / 8 = 936 GB/s.
                bandwidth_bytes_per_s=clock * 1e6 * 2 * width / 8 if clock and width else None,
                why=where("NVML"),
            )
        )
    _asked(nvml, "nvmlShutdown")
    return tuple(cards)


def _load_by_nvml() -> tuple[GpuLoad, ...]:
    nvml = _nvml()
    if nvml is None:
        return ()
    now = []
    for number in range(_asked(nvml, "nvmlDeviceGetCount") or 0):
        handle = _asked(nvml, "nvmlDeviceGetHandleByIndex", number)
        if handle is None:
            continue
        memory = _asked(nvml, "nvmlDeviceGetMemoryInfo", handle)
        busy = _asked(nvml, "nvmlDeviceGetUtilizationRates", handle)
        power = _asked(nvml, "nvmlDeviceGetPowerUsage", handle)
        now.append(
            GpuLoad(
                name=_words(_asked(nvml, "nvmlDeviceGetName", handle)) or "NVIDIA",
                busy_percent=float(busy.gpu) if busy else None,
                vram_bytes=memory.total if memory else None,
                vram_used_bytes=memory.used if memory else None,
                temperature_celsius=_asked(
                    nvml, "nvmlDeviceGetTemperature", handle, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)
                ),
                power_watts=None if power is None else power / 1000,
            )
        )
    _asked(nvml, "nvmlShutdown")
    return tuple(now)
