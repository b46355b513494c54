"""Memory that a library has freed, given back to the system: glibc keeps it for itself.

Called by children when a model has been loaded, and where an answer leaves large blocks behind: what a child takes is
then what its model needs, whatever was read or converted on the way.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys


def give_back() -> None:
    """Nothing where the C library is another one."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
