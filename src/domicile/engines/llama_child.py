"""The child that holds one GGUF model: llama.cpp's server, in a process of its own.

Run as a script; imports nothing of ours but `bond` (how a child is born and ends), so that it starts fast and knows no
secret. It has no network: it cuts itself off before the engine is loaded. llama.cpp's log goes to stderr.
"""

from __future__ import annotations

import os
import time
from typing import Any

from domicile.bond import Bond


def main() -> None:
    bond = Bond(stacks=lambda asked: _http_threads(asked) + 2 * int(asked["threads"]))
    try:
        import xllamacpp
    except ImportError as trouble:
        bond.answer(failed="missing", problem=str(trouble))
        os._exit(3)
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, bond.asked))
    except MemoryError:
        bond.answer(failed="memory", problem="MemoryError")
        os._exit(4)
    except (RuntimeError, ValueError, TypeError, OSError) as trouble:
        bond.answer(failed="load", problem=str(trouble))
        os._exit(5)
    bond.answer(ready=server.listening_address, sealed=bond.sealed)
    while True:
        time.sleep(3600)


def _http_threads(asked: dict[str, Any]) -> int:
    """A thread for each answer under way and a few for those who wait; the house lets the others wait outside."""
    return int(asked["plan"]["n_parallel"]) + 8


def _parameters(xllamacpp: Any, asked: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = asked["model"]
    params.model_alias = {asked["alias"]}
    params.hostnames = [asked["address"]]
    params.port = 0
    params.api_keys = [asked["key"]]
    params.ui = False
    params.endpoint_slots = True  # which of them are free; the door is ours alone
    params.ctx_shift = False  # a context that is full ends the answer (`length`): nothing is forgotten in silence
    if asked.get("template"):
        params.chat_template = asked["template"]
    if asked.get("states"):
        os.umask(0o077)
        params.slot_save_path = asked["states"] + os.sep
    params.endpoint_metrics = True
    params.cors_origins = ""
    params.offline = True
    params.n_threads_http = _http_threads(asked)
    # Everything that decides the memory is set here and chosen by nobody else, so that what was said is what runs.
    plan = asked["plan"]
    params.fit_params = False
    params.n_parallel = plan["n_parallel"]
    params.n_ctx = plan["n_ctx"]
    params.n_ubatch = plan["n_ubatch"]
    params.kv_unified = False
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{plan['type_k'].upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{plan['type_v'].upper()}")
    flash = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (
        flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if plan["flash_attention"] else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.cache_ram_mib = plan["cache_ram_bytes"] >> 20
    params.n_ctx_checkpoints = plan["checkpoints"]
    params.n_gpu_layers = plan["gpu_layers"]
    if plan["tensor_split"]:
        params.tensor_split = plan["tensor_split"] + [0.0] * (len(params.tensor_split) - len(plan["tensor_split"]))
    modes = xllamacpp.llama_load_mode  # mapped and repacked, weights count twice: only when asked
    params.load_mode = modes.LLAMA_LOAD_MODE_MMAP if plan["mmap"] else modes.LLAMA_LOAD_MODE_NONE
    _speculate(xllamacpp, params, plan)
    if plan["projector"]:
        params.mmproj.path = plan["projector"]
        params.mmproj_use_gpu = bool(plan["gpu_layers"])
    params.cpuparams.n_threads = asked["threads"]
    params.cpuparams_batch.n_threads = asked["threads"]
    if asked.get("embedding"):
        params.embedding = True
        params.n_batch = plan["n_ubatch"]  # a text is read in one batch, or not at all
        if asked.get("ranking"):
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    if asked.get("adapters"):
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in asked["adapters"]]
    return params


def _speculate(xllamacpp: Any, params: Any, plan: dict[str, Any]) -> None:
    """Guess ahead: from the text so far, or by a smaller model with the same vocabulary."""
    kinds = xllamacpp.common_speculative_type
    if plan["speculation"] == "ngram":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n = plan["ngram"][0]
        params.speculative.ngram_simple.size_m = plan["ngram"][1]
    elif plan["speculation"] == "draft" and plan["draft"]:
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = plan["draft"]
        params.speculative.draft.n_gpu_layers = plan["gpu_layers"]


if __name__ == "__main__":
    main()
