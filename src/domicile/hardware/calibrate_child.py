"""The child that measures: `python -m domicile.hardware.calibrate_child FOLDER THREADS CACHE [BUILD]`.

Knows how to time reading memory and decoding two samples, in turn, and writes `FOLDER/result.json`. It keeps
the best of its rounds: whatever else the machine is doing can only slow it. Knows nothing of the machine or
of where results are kept. The only process of the house, with the engines' own children, that imports the
engine.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from domicile.hardware import sample
from domicile.hardware.serving import REQUEST, serving, token_seconds
from domicile.seal import cut_off

ROUNDS = (6, 40)
"""At least and at most; between them, as many as MEASURING_S has room for."""
MEASURING_S = 1.8
BUFFER_BYTES = 256 * 2**20
_SAMPLE_BYTES = 40 * 10**6


def main(folder: Path, threads: int, cache_bytes: int, build: dict[str, Any] | None = None) -> None:
    """Measure and write the result. `cache_bytes`: the processor's last cache, which the samples must
    overflow. `build`: a `llama-server` (program and flags) that decodes; None for the wheel."""
    cut_off()
    started = time.perf_counter()
    wanted = min(max(_SAMPLE_BYTES, cache_bytes * 3 // 2), 4 * _SAMPLE_BYTES)
    legacy, k = (_write(folder, storage, wanted) for storage in ("Q8_0", "Q4_K"))
    with ThreadPoolExecutor(threads) as pool:
        read = _reader(pool, threads, min(max(BUFFER_BYTES, 2 * cache_bytes), 2 * BUFFER_BYTES))
        make = _decoder if build is None else partial(serving, build)
        decode_legacy, decode_k = make(legacy.path, threads), make(k.path, threads)
        bandwidth, token_legacy, token_k = 0.0, float("inf"), float("inf")
        others = _others()
        began, rounds = time.perf_counter(), 0
        while rounds < ROUNDS[0] or (rounds < ROUNDS[1] and time.perf_counter() - began < MEASURING_S):
            rounds += 1
            bandwidth = max(bandwidth, read())
            token_legacy = min(token_legacy, decode_legacy())
            token_k = min(token_k, decode_k())
    result = {
        "read_bandwidth_bytes_per_s": bandwidth,
        "eta_legacy": legacy.touched_bytes / (token_legacy * bandwidth),
        "eta_k": k.touched_bytes / (token_k * bandwidth),
        "others_busy": others(),
        "rounds": rounds,
        "took_s": time.perf_counter() - started,
    }
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def _others() -> Callable[[], float]:
    """Start a watch; called, it answers the share of all processors that other programs used since."""
    import psutil

    def used() -> float:
        now = psutil.cpu_times()
        idle = now.idle + getattr(now, "iowait", 0.0)
        return float(sum(now[:8]) - idle - time.process_time())

    began, before = time.perf_counter(), used()
    cores = psutil.cpu_count() or 1
    return lambda: min(1.0, max(0.0, (used() - before) / (time.perf_counter() - began) / cores))


def _write(folder: Path, storage: sample.Storage, wanted: int) -> sample.Sample:
    layers = max(1, round(wanted / sample.layer_bytes(storage)))
    return sample.write(folder / f"{storage}.gguf", storage, sample.Shape(layers))


def _reader(pool: ThreadPoolExecutor, threads: int, size: int) -> Callable[[], float]:
    """One pass over a buffer by all threads; the answer is bytes a second.

    `memchr` for a byte that is not there reads every byte and writes none, with the widest instructions the C
    library has, and ctypes lets go of the interpreter meanwhile. A copy would measure writing too.
    """
    libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    find = libc.memchr
    find.restype, find.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    part = size // threads
    buffer = ctypes.create_string_buffer(part * threads)
    # Fresh pages all show the same page of zeros, which sits in the cache: write them once.
    ctypes.memset(buffer, 1, part * threads)
    places = [ctypes.addressof(buffer) + n * part for n in range(threads)]

    def look(place: int) -> int | None:
        found: int | None = find(place, 0xFF, part)
        return found

    def read() -> float:
        assert len(buffer) == part * threads  # keeps the buffer alive as long as its reader
        began = time.perf_counter()
        list(pool.map(look, places))
        return part * threads / (time.perf_counter() - began)

    return lambda: max(read(), read())


def _decoder(path: Path, threads: int) -> Callable[[], float]:
    """Load a sample; each call decodes TOKENS and answers seconds a token."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_batch, params.n_ubatch = 256, 64, 64
    params.n_parallel, params.n_gpu_layers = 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib, params.n_ctx_checkpoints = 0, 0
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.warmup, params.fit_params, params.verbosity = True, False, -1
    if sys.platform != "win32":  # the engine insists on listening somewhere, and this child has no network
        params.hostnames = [str(path.with_suffix(".sock"))]
    params.api_keys = [secrets.token_hex(16)]
    server = xllamacpp.Server(params)
    return lambda: token_seconds(server.handle_completions(REQUEST))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]) if len(sys.argv) > 4 else None)
    # Taking the engine down in order may hang (seen once, for minutes); all there is to say is in the file.
    os._exit(0)
