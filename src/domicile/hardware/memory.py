"""The machine's memory: how much there is, how much is left, and what a container allows.

Knows /proc/meminfo, sysctl and vm_stat, psutil for Windows, and the memory limits of cgroup v1 and v2. Knows
nothing of graphics memory.
"""

from __future__ import annotations

import re

from domicile.hardware.cpu import group_folders, sysctl
from domicile.hardware.machine import Found, Machine, gaps, where, whole
from domicile.types import Reason


def probe(machine: Machine) -> Found:
    """Total, available now, and the container's limit."""
    if machine.system == "macos":
        total, left, source = *_macos(machine), "sysctl, vm_stat"
    elif machine.system == "windows":
        total, left, source = *_windows(machine), "psutil"
    else:
        total, left, source = *_linux(machine), "/proc/meminfo"
    limit = container_limit(machine, total) if machine.system == "linux" else None
    why = {"ram_bytes": where(source), "ram_available_bytes": where(source)}
    if limit is not None:
        why["container_limit_bytes"] = where(limit.source)
        if left is None or limit.left_bytes < left:
            left, why["ram_available_bytes"] = (
                limit.left_bytes,
                Reason("why.container", {"where": limit.source, "size": limit.limit_bytes}),
            )
    return Found(
        fields={
            "ram_bytes": total,
            "ram_available_bytes": left,
            "container_limit_bytes": limit.limit_bytes if limit else None,
        },
        why=why,
        unknown=gaps(source, {"ram": total, "ram_available": left}),
    )


def _linux(machine: Machine) -> tuple[int | None, int | None]:
    text = machine.read("proc/meminfo") or ""
    kib = {name: whole(count) for name, count in re.findall(r"^(\w+):\s*(\d+) kB$", text, re.MULTILINE)}
    total, left = kib.get("MemTotal"), kib.get("MemAvailable")
    if left is None and kib.get("MemFree") is not None:  # before Linux 3.14
        left = sum(kib.get(name) or 0 for name in ("MemFree", "Buffers", "Cached"))
    total_bytes = total * 1024 if total else None
    return total_bytes, None if left is None else min(left * 1024, total_bytes or left * 1024)


def _macos(machine: Machine) -> tuple[int | None, int | None]:
    total = whole(sysctl(machine, "hw.memsize").get("hw.memsize"))
    said = machine.run(["vm_stat"], 3.0).text or ""
    page = re.search(r"page size of (\d{3,6}) bytes", said)
    pages = {name: whole(count) for name, count in re.findall(r"^([A-Z][\w -]+):\s+(\d+)\.$", said, re.MULTILINE)}
    free, inactive = pages.get("Pages free"), pages.get("Pages inactive")
    if page is None or free is None or inactive is None:
        return total, None
    return total, (free + inactive + (pages.get("Pages speculative") or 0)) * int(page[1])


def _windows(machine: Machine) -> tuple[int | None, int | None]:
    if not machine.here:
        return None, None
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


class _Limit:
    """One group's ceiling and what it leaves."""

    def __init__(self, limit_bytes: int, used_bytes: int, source: str) -> None:
        self.limit_bytes, self.source = limit_bytes, source
        self.left_bytes = max(0, limit_bytes - used_bytes)


def container_limit(machine: Machine, total: int | None) -> _Limit | None:
    """The group that leaves least, from ours to the top. File pages a group has read count as used though the
    kernel takes them back when asked: those that are not in use are given back to what is left."""
    found: list[_Limit] = []
    for folder in group_folders(machine, "memory"):
        for limit_name, used_name, inactive in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.high", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = machine.whole(f"{folder}/{limit_name}")
            # "max" is no number; v1 says "no limit" by one near 2^63; one above the machine's memory limits
            # nothing.
            if limit is None or limit >= 2**60 or (total is not None and limit >= total):
                continue
            used = machine.whole(f"{folder}/{used_name}") or 0
            stat = re.search(rf"^{inactive} (\d{{1,18}})$", machine.read(f"{folder}/memory.stat") or "", re.MULTILINE)
            idle = int(stat[1]) if stat else 0
            found.append(_Limit(limit, max(0, used - idle), f"/{folder}/{limit_name}"))
    return min(found, key=lambda each: each.left_bytes, default=None)
