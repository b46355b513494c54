"""The engine as the product starts it: one process, one model, a Unix socket. For measurements only.

python -m bench.engine_child '{"model": ..., "socket": ..., "n_ctx": 8192, "type_k": "f16", "type_v": "f16"}'
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import xllamacpp as engine

    asked = json.loads(sys.argv[1])
    types = {
        "f16": engine.ggml_type.GGML_TYPE_F16,
        "q8_0": engine.ggml_type.GGML_TYPE_Q8_0,
        "q4_0": engine.ggml_type.GGML_TYPE_Q4_0,
    }
    params = engine.CommonParams()
    params.model.path = asked["model"]
    params.n_ctx = asked["n_ctx"]
    params.n_parallel = 1
    params.cache_type_k, params.cache_type_v = types[asked["type_k"]], types[asked["type_v"]]
    params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.flash_attn_type = engine.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.warmup = True
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = asked["checkpoints"]
    params.ui = False
    params.fit_params = False
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked.get("threads", 2)
    params.hostnames = [asked["socket"]]
    params.verbosity = 4
    server = engine.Server(params)
    print("ready", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
