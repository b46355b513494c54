"""The child that asks the engine: `python -m domicile.engines.probe_child JSON`.

Starts the engine on a file with its memory counted and not taken (`no_alloc`), under a ceiling, and lets it
talk: the answer is in its log. It always ends badly, see below. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

from domicile import child
from domicile.seal import cut_off


def _sleep_instead_of_dying() -> None:
    """After the last line we want, the engine clears the cache it did not take, and the process gets SIGSEGV.
    Its log is written by another thread: dying at once loses the lines (33 times of 40, measured). With
    `pause` as the handler the thread that faulted sleeps, the other one finishes, and the house ends us.
    Python's own handlers will not do: they run in the interpreter, which the fault never returns to.
    """
    if sys.platform != "win32":
        import ctypes
        import signal

        libc = ctypes.CDLL(None)
        pause = ctypes.cast(libc.pause, ctypes.c_void_p)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        for number in (signal.SIGSEGV, signal.SIGBUS):
            libc.signal(int(number), pause)


def main(asked: dict[str, Any]) -> None:
    """`asked`: path, context, slots, ubatch, kv_k, kv_v, gpu_layers, memory_bytes, folder (for a socket)."""
    cut_off()
    child.limit_memory(asked["memory_bytes"])
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.no_alloc = True
    params.n_ctx, params.n_parallel = asked["context"], asked["slots"]
    params.n_ubatch = asked["ubatch"]
    params.n_batch = max(params.n_batch, asked["ubatch"])
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked['kv_k'].upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{asked['kv_v'].upper()}")
    params.n_gpu_layers = asked["gpu_layers"]
    # Mapped, a hole of many gigabytes would count against the ceiling.
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.warmup, params.fit_params = False, False
    params.verbosity = 4
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 1
    if sys.platform != "win32":
        params.hostnames = [f"{asked['folder']}/door.sock"]
    params.api_keys = [secrets.token_hex(16)]
    _sleep_instead_of_dying()
    xllamacpp.Server(params)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
