"""The processor: model, real cores, the instruction sets an engine cares about, and how much of it is ours.

Knows /proc/cpuinfo and sysfs, sysctl, the Windows variables, affinity, and the quotas of containers (cgroup
v1 and v2, nested). Knows nothing of speed: that is measured (calibrate).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from domicile.hardware.machine import Found, Machine, clean, gaps, where, whole
from domicile.types import Reason

# Our names, and the kernel's.
_X86 = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4_2": "sse4_2",
    "avx": "avx",
    "f16c": "f16c",
    "fma": "fma",
    "bmi2": "bmi2",
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512_vbmi": "avx512vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
_ARM = {
    "neon": ("asimd", "neon"),
    "fp16": ("asimdhp", "fphp"),
    "dotprod": ("asimddp",),
    "i8mm": ("i8mm",),
    "bf16": ("bf16",),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sme": ("sme",),
}
_APPLE = {
    "neon": "neon",
    "fp16": "FEAT_FP16",
    "dotprod": "FEAT_DotProd",
    "i8mm": "FEAT_I8MM",
    "bf16": "FEAT_BF16",
    "sme": "FEAT_SME",
}
# MIDR part numbers of the cores that people run models on (the kernel gives no name on ARM).
_ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd49": "Neoverse N2",
    "0xd4f": "Neoverse V2",
}


def probe(machine: Machine) -> Found:
    """Model, cores, features, and how many cores are ours."""
    match machine.system:
        case "macos":
            return _macos(machine)
        case "windows":
            return _windows(machine)
    return _linux(machine)


def _linux(machine: Machine) -> Found:
    entries = _cpuinfo(machine.read("proc/cpuinfo") or "")
    name = _linux_name(machine, entries)
    logical = sum("processor" in entry for entry in entries) or None
    physical, physical_where = _physical(machine, entries, logical)
    flags = _flags(entries)
    features = tuple(ours for ours, theirs in _X86.items() if theirs in flags)
    features += tuple(ours for ours, theirs in _ARM.items() if not features and flags.intersection(theirs))
    usable, usable_why = _usable(machine, logical)
    return Found(
        fields={
            "cpu": name,
            "logical_cores": logical,
            "physical_cores": physical,
            "usable_cores": usable,
            "features": features,
        },
        why={
            "cpu": where("/proc/cpuinfo"),
            "physical_cores": where(physical_where),
            "features": where("/proc/cpuinfo"),
            "usable_cores": usable_why,
        },
        unknown=gaps(
            "/proc/cpuinfo",
            {"cpu": name, "logical_cores": logical, "physical_cores": physical, "features": features},
        ),
    )


def _cpuinfo(text: str) -> list[dict[str, str]]:
    """Paragraphs of `key : value`. On ARM a last one, without a processor, may name the board."""
    entries: list[dict[str, str]] = []
    for paragraph in re.split(r"\n\s*\n", text):
        pairs = (line.split(":", 1) for line in paragraph.splitlines() if ":" in line)
        # "Processor" with a capital is old ARM's word for the model, not a processor's number.
        entry = {
            "model name" if key.strip() == "Processor" else key.strip().lower(): value.strip() for key, value in pairs
        }
        if entry:
            entries.append(entry)
    return entries


def _linux_name(machine: Machine, entries: list[dict[str, str]]) -> str | None:
    for key in ("model name", "cpu model", "uarch"):
        for entry in entries:
            if re.search("[a-z]", entry.get(key, ""), re.IGNORECASE):
                return clean(entry[key])
    cores = {_ARM_CORES.get(entry.get("cpu part", "").lower()) for entry in entries}
    named = " + ".join(sorted(core for core in cores if core))
    lines = [entry["model"] for entry in entries if "processor" not in entry and "model" in entry]
    board = clean(machine.read("proc/device-tree/model")) or next(iter(lines), None)
    if board:
        return clean(f"{board} ({named})" if named else board)
    return named or None


def _flags(entries: list[dict[str, str]]) -> set[str]:
    """What every core has: a big core's instructions do not help a thread that lands on a small one."""
    lists = [set((e.get("flags") or e.get("features") or "").lower().split()) for e in entries if "processor" in e]
    return set.intersection(*lists) if lists else set()


def _physical(machine: Machine, entries: list[dict[str, str]], logical: int | None) -> tuple[int | None, str]:
    """Real cores: by the pairs the kernel prints; else by who shares a core in sysfs; else, on ARM, all of
    them."""
    pairs = {(e["physical id"], e["core id"]) for e in entries if "physical id" in e and "core id" in e}
    if pairs and logical is not None and len(pairs) <= logical:
        return len(pairs), "/proc/cpuinfo"
    shared = {
        machine.read(machine.relative(file))
        for file in machine.find("sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
    } - {None, ""}
    if shared:
        return len(shared), "/sys/devices/system/cpu"
    if machine.arch.lower() in {"aarch64", "arm64", "armv7l"}:
        return logical, "/proc/cpuinfo"
    return None, "/proc/cpuinfo"


def _usable(machine: Machine, logical: int | None) -> tuple[float | None, Reason]:
    allowed: int | None = None
    if machine.here and hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        said = re.search(r"^Cpus_allowed_list:\s*([\d,\-]+)$", machine.read("proc/self/status") or "", re.MULTILINE)
        allowed = _count(said[1]) if said else None
    count = min((n for n in (allowed, logical) if n), default=None)
    quota = cpu_quota(machine)
    if quota is not None and (count is None or quota[0] < count):
        return quota[0], Reason("why.cpu_quota", {"where": quota[1], "cores": quota[0]})
    if count is not None and logical is not None and count < logical:
        return float(count), Reason("why.affinity", {"cores": count})
    return None if count is None else float(count), where("sched_getaffinity" if machine.here else "/proc/cpuinfo")


def _count(ranges: str) -> int | None:
    """`0-3,8` is 5."""
    total = 0
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        first, last = whole(low), whole(high or low)
        if first is None or last is None or last < first or last > 65535:
            return None
        total += last - first + 1
    return total or None


def cpu_quota(machine: Machine) -> tuple[float, str] | None:
    """The tightest limit in cores from our group up to the top, and the file that says so. A group's quota
    binds all below it, and a container often sees only itself at the top: so every level counts."""
    found: list[tuple[float, str]] = []
    for folder in group_folders(machine, "cpu"):
        said = (machine.read(f"{folder}/cpu.max") or "").split()
        quota, period = (whole(said[0]), whole(said[1])) if len(said) == 2 else (None, None)
        source = f"/{folder}/cpu.max"
        if not said:
            quota = whole(machine.read(f"{folder}/cpu.cfs_quota_us"))  # -1 is "no limit" and no whole number
            period, source = whole(machine.read(f"{folder}/cpu.cfs_period_us")), f"/{folder}/cpu.cfs_quota_us"
        if quota and period:
            found.append((quota / period, source))
    return min(found, default=None)


def group_folders(machine: Machine, controller: str) -> Iterator[str]:
    """Where our control group's files may be, from ours to the top: v2's one tree, v1's tree of that
    controller, each below every place it is mounted on. The path in /proc/self/cgroup may be the host's,
    invisible inside a container: folders that are not there are simply not read."""
    paths = {"": "/", controller: "/"}
    for line in (machine.read("proc/self/cgroup") or "").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            for name in parts[1].split(","):
                if name in paths and ".." not in parts[2].split("/"):
                    paths[name] = parts[2]
    mounts = {"": ["sys/fs/cgroup", "sys/fs/cgroup/unified"], controller: [f"sys/fs/cgroup/{controller}"]}
    if controller == "cpu":
        mounts[controller] += ["sys/fs/cgroup/cpu,cpuacct"]
    seen: set[str] = set()
    for name, tops in mounts.items():
        inner = PurePosixPath(paths[name].lstrip("/"))
        for top in tops:
            for level in (inner, *inner.parents):
                folder = str(PurePosixPath(top) / level)
                if folder not in seen:
                    seen.add(folder)
                    yield folder


def sysctl(machine: Machine, *names: str) -> dict[str, str]:
    """macOS's answers by name; those it does not know are left out."""
    said = machine.run(["sysctl", *names], 3.0).text
    if said is None:  # one unknown name fails them all on some releases
        said = "\n".join(machine.run(["sysctl", name], 3.0).text or "" for name in names)
    pairs = (line.split(":", 1) for line in said.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _macos(machine: Machine) -> Found:
    keys = [f"hw.optional.{'arm.' if theirs.startswith('FEAT') else ''}{theirs}" for theirs in _APPLE.values()]
    said = sysctl(machine, "machdep.cpu.brand_string", "hw.physicalcpu", "hw.logicalcpu", "hw.perflevel0.physicalcpu")
    intel = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    lists = [sysctl(machine, key).get(key, "") for key in intel]
    flags = {name.lower().replace("_", "").replace(".", "") for name in " ".join(lists).split()}
    features = tuple(ours for ours in _X86 if (ours.replace("_", "") if ours != "avx" else "avx10") in flags)
    if not features:
        has = {key for key in keys if sysctl(machine, key).get(key) == "1"}
        features = tuple(ours for ours, key in zip(_APPLE, keys, strict=True) if key in has)
    name = clean(said.get("machdep.cpu.brand_string"))
    physical, logical = whole(said.get("hw.physicalcpu")), whole(said.get("hw.logicalcpu"))
    # The small cores of Apple's chips hold the big ones back at every barrier.
    fast = whole(said.get("hw.perflevel0.physicalcpu"))
    usable = fast if fast and physical and fast < physical else logical
    return Found(
        fields={
            "cpu": name,
            "physical_cores": physical,
            "logical_cores": logical,
            "features": features,
            "usable_cores": None if usable is None else float(usable),
        },
        why={
            **{what: where("sysctl") for what in ("cpu", "physical_cores", "features", "usable_cores")},
            **({"usable_cores": Reason("why.fast_cores", {"cores": fast})} if usable and usable == fast else {}),
        },
        unknown=gaps(
            "sysctl",
            {"cpu": name, "physical_cores": physical, "logical_cores": logical, "features": features},
        ),
    )


def _windows(machine: Machine) -> Found:
    """What needs no driver and no service: the registry's name, psutil's cores, the kernel's list of
    features."""
    name, physical = clean(machine.environ.get("PROCESSOR_IDENTIFIER")), None
    logical = whole(machine.environ.get("NUMBER_OF_PROCESSORS"))
    said = machine.run(
        ["reg", "query", r"HKLM\HARDWARE\DESCRIPTION\System\CentralProcessor\0", "/v", "ProcessorNameString"],
        3.0,
    ).text
    match = re.search(r"ProcessorNameString\s+REG_SZ\s+(.+)", said or "")
    source = "registry" if match else "PROCESSOR_IDENTIFIER"
    name = clean(match[1]) if match else name
    if machine.here:
        import psutil

        physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count() or logical
    features = _windows_features() if machine.here else ()
    return Found(
        fields={
            "cpu": name,
            "physical_cores": physical,
            "logical_cores": logical,
            "features": features,
            "usable_cores": None if logical is None else float(logical),
        },
        why={
            "cpu": where(source),
            "physical_cores": where("psutil"),
            "usable_cores": where("psutil"),
            "features": where("IsProcessorFeaturePresent"),
        },
        unknown=gaps(source, {"cpu": name, "physical_cores": physical, "logical_cores": logical, "features": features}),
    )


def _windows_features() -> tuple[str, ...]:
    import ctypes

    kernel = getattr(getattr(ctypes, "windll", None), "kernel32", None)
    if kernel is None:
        return ()
    numbers = {
        "sse3": 13,
        "ssse3": 36,
        "sse4_2": 38,
        "avx": 39,
        "avx2": 40,
        "avx512f": 41,
        "neon": 19,
        "dotprod": 43,
    }
    return tuple(name for name, number in numbers.items() if kernel.IsProcessorFeaturePresent(number))
