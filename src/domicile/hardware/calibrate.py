"""How fast this machine reads its memory, and what share of that the engine reaches: measured once, kept.

Knows where results are kept (`<home>/calibration/<machine>-<engine build>.json`, one for each build of llama.cpp),
when one still counts, and how to start the child that measures. Knows nothing of the measuring (calibrate_child)
nor of what it is for (fit).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from domicile import child
from domicile.llama_builds import Build, wheel
from domicile.types import Calibration, Hardware, Reason

_DEADLINE_S = 20.0
NOISY = 0.2
"""Share of the processors used by others above which a measurement is doubtful."""
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Outcome:
    """A calibration, or why there is none."""

    calibration: Calibration | None
    trouble: Reason | None = None


def machine_id(hardware: Hardware) -> str:
    """The same as long as processor, cores and memory are; says nothing of the person or the place."""
    gib = None if hardware.ram_bytes is None else round(hardware.ram_bytes / 2**30)
    facts = (hardware.cpu, hardware.arch, hardware.physical_cores, hardware.usable_cores, gib)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def engine_build() -> str | None:
    """The engine that would be measured where no build is named, as installed; nothing is loaded to know it."""
    found = wheel()
    return found.identity if found else None


def threads_for(hardware: Hardware) -> int:
    """As many as there are real cores to run on: a second thread on the same core only gets in the way."""
    cores = hardware.physical_cores or hardware.logical_cores or 1
    usable = cores if hardware.usable_cores is None else math.floor(hardware.usable_cores)
    return max(1, min(cores, usable))


def kept(
    home: Path, hardware: Hardware, threads: int | None = None, *, build: Build | None = None
) -> Calibration | None:
    """What was measured before on this machine with this engine build (None: the wheel) and as many threads; None if
    nothing sound was."""
    engine = build.identity if build else engine_build()
    if engine is None:
        return None
    try:
        raw = json.loads(_place(home, hardware, engine).read_text("utf-8"))
        found = Calibration(
            engine=str(raw["engine"]),
            read_bandwidth_bytes_per_s=float(raw["read_bandwidth_bytes_per_s"]),
            eta_legacy=float(raw["eta_legacy"]),
            eta_k=float(raw["eta_k"]),
            threads=int(raw["threads"]),
            measured_at=float(raw["measured_at"]),
            others_busy=_share(raw.get("others_busy")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    wanted = threads_for(hardware) if threads is None else threads
    return found if found.engine == engine and found.threads == wanted and _sound(found) else None


def doubtful(found: Calibration | None) -> bool:
    """Was it measured while other programs worked, so that its numbers are too low?"""
    return found is not None and (found.others_busy or 0.0) > NOISY


async def calibrate(
    home: Path,
    hardware: Hardware,
    *,
    threads: int | None = None,
    again: bool = False,
    quieter: bool = False,
    cache_bytes: int | None = None,
    deadline_s: float = _DEADLINE_S,
    build: Build | None = None,
) -> Outcome:
    """What was measured before; else measure now (about 3 s) and keep it. `again`: measure anyway. `quieter`: measure
    again what is doubtful, and keep the one that was disturbed less. `build`: another one than the wheel."""
    threads = threads_for(hardware) if threads is None else threads
    before = kept(home, hardware, threads, build=build)
    if before is not None and not again and not (quieter and doubtful(before)):
        return Outcome(before)
    engine = build.identity if build else engine_build()
    if engine is None:
        return Outcome(None, Reason("calibration.no_engine"))
    if hardware.ram_available_bytes is not None and hardware.ram_available_bytes < 1.5 * _GB:
        return Outcome(None, Reason("calibration.no_memory", {"size": hardware.ram_available_bytes}))
    last_cache = _last_cache_bytes() if cache_bytes is None else cache_bytes
    with tempfile.TemporaryDirectory(prefix="domicile-", ignore_cleanup_errors=True) as folder:
        arguments = [folder, str(threads), str(last_cache)]
        if build is not None and build.program is not None:
            arguments.append(json.dumps({"program": str(build.program), "flags": dict(build.flags)}))
        ended = await child.run("domicile.hardware.calibrate_child", arguments, deadline_s=deadline_s)
        found = await anyio.to_thread.run_sync(_read, Path(folder), engine, threads)
    if found is None:
        facts = {
            "how": ended.how,
            "status": ended.status,
            "seconds": deadline_s,
            "said": _last_words(ended.output),
        }
        key = "calibration.too_slow" if ended.how == "deadline" else "calibration.failed"
        return Outcome(None if again else before, Reason(key, facts))
    if before is not None and not again and (found.others_busy or 0.0) >= (before.others_busy or 0.0):
        return Outcome(before)
    trouble = await anyio.to_thread.run_sync(_keep, _place(home, hardware, engine), found)
    return Outcome(found, trouble)


def composed(found: Mapping[str, Calibration | None]) -> Calibration | None:
    """One calibration of those of the builds that wake each family of weights (`legacy`, `k`)."""
    legacy, k = found.get("legacy"), found.get("k")
    if legacy is None or k is None or legacy == k:
        return legacy if legacy == k else None
    bandwidth = max(legacy.read_bandwidth_bytes_per_s or 0.0, k.read_bandwidth_bytes_per_s or 0.0)

    def share(eta: float | None, own: float | None) -> float | None:
        return eta * own / bandwidth if eta is not None and own else None

    return replace(
        legacy if legacy.measured_at < k.measured_at else k,
        engine=f"{legacy.engine}, {k.engine}",
        read_bandwidth_bytes_per_s=bandwidth or None,
        eta_legacy=share(legacy.eta_legacy, legacy.read_bandwidth_bytes_per_s),
        eta_k=share(k.eta_k, k.read_bandwidth_bytes_per_s),
        others_busy=max(legacy.others_busy or 0.0, k.others_busy or 0.0),
    )


def _place(home: Path, hardware: Hardware, engine: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", engine)
    return home / "calibration" / f"{machine_id(hardware)}-{safe}.json"


def _read(folder: Path, engine: str, threads: int) -> Calibration | None:
    try:
        raw = json.loads((folder / "result.json").read_text("utf-8"))
        found = Calibration(
            engine=engine,
            read_bandwidth_bytes_per_s=float(raw["read_bandwidth_bytes_per_s"]),
            eta_legacy=float(raw["eta_legacy"]),
            eta_k=float(raw["eta_k"]),
            threads=threads,
            measured_at=time.time(),
            others_busy=_share(raw.get("others_busy")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return found if _sound(found) else None


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _sound(found: Calibration) -> bool:
    """Possible on some machine: 0.1 to 10,000 GB/s, shares above nothing and not many times the whole."""
    bandwidth, shares = found.read_bandwidth_bytes_per_s, (found.eta_legacy, found.eta_k)
    if bandwidth is None or not 0.1 * _GB <= bandwidth <= 10_000 * _GB:
        return False
    return all(share is not None and 0.001 <= share <= 5 for share in shares)


def _keep(place: Path, found: Calibration) -> Reason | None:
    """Write it beside and rename: a reader never sees half a file. A full disk costs the memory of it, not
    the result."""
    beside = place.with_name(f"{place.name}.{os.getpid()}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(asdict(found), indent=1), "utf-8")
        beside.replace(place)
    except OSError as trouble:
        with contextlib.suppress(OSError):
            beside.unlink()
        return Reason("calibration.not_kept", {"problem": str(trouble)})
    return None


def _last_cache_bytes(root: Path = Path("/")) -> int:
    """The largest cache of the first core, by sysfs; 0 when it is not said (the samples are then their plain
    size)."""
    sizes = [0]
    for file in root.glob("sys/devices/system/cpu/cpu0/cache/index*/size"):
        try:
            said = file.read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        match = re.fullmatch(r"(\d{1,9})([KMG]?)", said)
        if match:
            sizes.append(int(match[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match[2]])
    return min(max(sizes), 2**30)


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
