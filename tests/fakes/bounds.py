"""Does reading a hostile file stay within its bounds? Time, and memory of the process as the system counts
it."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from domicile.errors import FormatTrouble
from domicile.types import Facts

SECONDS = 2.0
MEMORY = 64 * 2**20

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def bounded(attempt: Callable[[], Facts]) -> Facts | FormatTrouble:
    """What it answers, within 2 s of processor and 64 MiB."""
    before = mark()
    if before is None:
        answer = _timed(attempt)
        tracemalloc.start()
        try:
            _answer(attempt)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
        return answer
    answer = _timed(attempt)
    assert peak() - before < MEMORY
    return answer


def mark() -> int | None:
    """Forget the high-water mark of memory; what is taken now. None where the system cannot do that.

    The system's mark sees what regular expressions and decoders take beneath Python's own allocator, and
    costs nothing; Python's own trace slows a parser several times.
    """
    try:
        _RESET.write_text("5")
    except OSError:
        return None
    return _bytes("VmRSS")


def peak() -> int:
    """The most memory taken since `mark`."""
    return _bytes("VmHWM")


def _timed(attempt: Callable[[], Facts]) -> Facts | FormatTrouble:
    start = time.process_time()  # of the processor: the machine may be busy with other things
    answer = _answer(attempt)
    assert time.process_time() - start < SECONDS
    return answer


def _answer(attempt: Callable[[], Facts]) -> Facts | FormatTrouble:
    try:
        return attempt()
    except FormatTrouble as trouble:
        return trouble


def _bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    assert found
    return int(found[1]) * 1024
