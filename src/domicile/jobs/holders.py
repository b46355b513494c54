"""Who runs a job: a process, by a name another process can judge to be dead or alive."""

from __future__ import annotations

import os
import platform
import uuid
from functools import cache

SILENT_S = 8.0
"""A holder that gave no sign of life for so long is dead: with the look every second, a job waits ten at most."""


def name() -> str:
    """A name for this process as a holder: where it runs, which it is, and a word that no other has."""
    return f"{_place()}|{os.getpid()}|{_born(os.getpid())}|{uuid.uuid4().hex[:8]}"


def is_dead(holder: str, beat: float, now: float) -> bool:
    """Gave it no sign of life for too long, or is it a process of this machine that is gone?"""
    if now - beat > SILENT_S:
        return True
    place, pid, born, _ = [*holder.split("|"), "", "", ""][:4]
    return place == _place() and pid.isdigit() and _born(int(pid)) != born


@cache
def _place() -> str:
    """This machine, or this container of it: where a process number means the same process."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link that leads nowhere a Path could follow
    except OSError:
        space = 0
    return f"{platform.node()}-{space}".replace("|", "-")


def _born(pid: int) -> str:
    """When the process began, as far as the system says: the number alone may be another's by now. Empty: not there."""
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.1f}"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "?"
