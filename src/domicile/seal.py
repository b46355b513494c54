"""A child that cannot reach any network: called by the child on itself, before anything else of it starts.

The strongest that the system allows: a network namespace of its own with nothing in it (Linux), else a filter in
the kernel that refuses every socket but a Unix one (Linux in most containers, where namespaces are forbidden), else a
refusal by Python (which stops Python code, not native code). Unix sockets stay: that is where the house listens in.

Standard library only, nothing of ours: a child loads it before it knows anything. Numbers are those of
`linux/sched.h`, `linux/seccomp.h`, `linux/bpf_common.h` and the system call tables of the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in `struct seccomp_data`."""
_X32 = 0x40000000
_IO_URING_SETUP = 425
_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine: its AUDIT_ARCH, and the number of `socket`."""


def cut_off() -> str:
    """Leave every network for good. Returns how: `namespace`, `filter` or `refusal`.

    Must be called while the process has one thread (the kernel asks it of those who change their namespaces).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return _namespace()
        with contextlib.suppress(OSError, AttributeError, KeyError):
            return _filter()
    sys.addaudithook(_refuse)
    return "refusal"


def _namespace() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) == 0:  # root, or whoever has the right
        return "namespace"
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with contextlib.suppress(OSError):  # the same user as before; without it everything is owned by nobody
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")
    return "namespace"


def _filter() -> str:
    """`socket` for AF_UNIX alone; nothing through io_uring; nothing by another architecture's numbers."""
    architecture, socket_call = _CALLS[platform.machine()]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 7, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, 5, 0, _X32),
        (_JUMP_IF_EQUAL, 4, 0, _IO_URING_SETUP),
        (_JUMP_IF_EQUAL, 0, 2, socket_call),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, 1),  # AF_UNIX
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    whole = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(whole)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return "filter"


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: names are not looked up, and nothing but a Unix socket is connected."""
    if event == "socket.getaddrinfo" or (
        event in {"socket.connect", "socket.sendto", "socket.sendmsg"} and isinstance(arguments[-1], tuple)
    ):
        raise PermissionError(13, "this process has no network")
