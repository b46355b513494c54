"""Which of web-llm's compiled libraries runs an MLC model that is not in its list.

A library is made for an architecture, a shape and a quantisation, and runs every fine-tune that keeps them (web-llm
itself runs DeepSeek's distillations with Qwen2's and Llama's). Here are the shapes of the libraries in the list, from
the `config.json` of the models they were made for; the addresses are the list's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from domicile import catalogue

# (model_type, hidden size, layers, vocabulary or None where the first three tell) of a library, by its name.
_SHAPES: Mapping[str, tuple[str, int, int, int | None]] = {
    "Llama-3.2-1B-Instruct": ("llama", 2048, 16, None),
    "Llama-3.2-3B-Instruct": ("llama", 3072, 28, None),
    "Llama-3_1-8B-Instruct": ("llama", 4096, 32, 128256),
    "Llama-3-8B-Instruct": ("llama", 4096, 32, 128256),
    "Llama-3_1-70B-Instruct": ("llama", 8192, 80, 128256),
    "Llama-3-70B-Instruct": ("llama", 8192, 80, 128256),
    "Llama-2-7b-chat-hf": ("llama", 4096, 32, 32000),
    "Llama-2-13b-chat-hf": ("llama", 5120, 40, 32000),
    "TinyLlama-1.1B-Chat-v1.0": ("llama", 2048, 22, None),
    "TinyLlama-1.1B-Chat-v0.4": ("llama", 2048, 22, None),
    "SmolLM2-135M-Instruct": ("llama", 576, 30, None),
    "SmolLM2-360M-Instruct": ("llama", 960, 32, None),
    "SmolLM2-1.7B-Instruct": ("llama", 2048, 24, 49152),
    "Mistral-7B-Instruct-v0.3": ("mistral", 4096, 32, 32768),
    "Qwen2-0.5B-Instruct": ("qwen2", 896, 24, None),
    "Qwen2-1.5B-Instruct": ("qwen2", 1536, 28, None),
    "Qwen2.5-3B-Instruct": ("qwen2", 2048, 36, None),
    "Qwen2-7B-Instruct": ("qwen2", 3584, 28, None),
    "Qwen3-0.6B": ("qwen3", 1024, 28, None),
    "Qwen3-1.7B": ("qwen3", 2048, 28, None),
    "Qwen3-4B": ("qwen3", 2560, 36, None),
    "Qwen3-8B": ("qwen3", 4096, 36, None),
    "gemma-2b-it": ("gemma", 2048, 18, None),
    "gemma-2-2b-it": ("gemma2", 2304, 26, None),
    "gemma-2-2b-jpn-it": ("gemma2", 2304, 26, None),
    "gemma-2-9b-it": ("gemma2", 3584, 42, None),
    "gemma3-1b-it": ("gemma3", 1152, 26, None),
    "phi-1_5": ("phi", 2048, 24, None),
    "phi-2": ("phi", 2560, 32, None),
    "Phi-3-mini-4k-instruct": ("phi3", 3072, 32, 32064),
    "Phi-3.5-mini-instruct": ("phi3", 3072, 32, 32064),
    "Phi-4-mini-instruct": ("phi3", 3072, 32, 200064),
    "OLMo-2-0425-1B-Instruct": ("olmo2", 2048, 16, None),
    "OLMo-2-1124-7B-Instruct": ("olmo2", 4096, 32, None),
    "RedPajama-INCITE-Chat-3B-v1": ("gpt_neox", 2560, 32, None),
    "stablelm-2-zephyr-1_6b": ("stablelm", 2048, 24, None),
}
_QUANTISATION = re.compile(r"q[0-9]f(?:16|32)(?:_[0-9])?")


def propose(config: Mapping[str, Any], name: str) -> str | None:
    """The address of a library for a model, by its `mlc-chat-config.json`; None when none of the list was made for its
    shape. Among several of one shape, the one whose name begins most like the model's."""
    quantisation = config.get("quantization")
    inner = config.get("model_config")
    if not isinstance(quantisation, str) or not _QUANTISATION.fullmatch(quantisation) or not isinstance(inner, dict):
        return None
    kind = str(config.get("model_type") or inner.get("model_type") or "").lower()
    within = inner.get("text_config")
    inner = within if isinstance(within, dict) else inner
    kind = {"phi-msft": "phi", "gemma3_text": "gemma3"}.get(kind, kind)
    hidden = _first(inner, "hidden_size", "n_embd")
    layers = _first(inner, "num_hidden_layers", "n_layer")
    vocabulary = _first(config, "vocab_size") or _first(inner, "vocab_size")
    fitting = [
        lib
        for lib, (family, wide, deep, words) in _SHAPES.items()
        if (family, wide, deep) == (kind, hidden, layers) and (words is None or words == vocabulary)
    ]
    found = [(lib, address) for lib in fitting if (address := _address(lib, quantisation)) is not None]
    if not found:
        return None
    return max(found, key=lambda item: _alike(item[0].lower(), name.lower()))[1]


def _address(lib: str, quantisation: str) -> str | None:
    for record in catalogue.webllm():
        address = str(record["model_lib"])
        if re.match(rf"{re.escape(lib)}-{quantisation}[_-](?:cs|ctx)", address.rsplit("/", 1)[-1]):
            return address
    return None


def _alike(one: str, other: str) -> int:
    """How many characters two names begin with together."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _first(said: Mapping[str, Any], *names: str) -> int | None:
    return next((v for n in names if isinstance(v := said.get(n), int) and not isinstance(v, bool)), None)
