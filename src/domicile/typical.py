"""A model of which only the size is known, as a usual transformer of that size: for a first idea of memory and speed
before any header is read.

The shapes are those of common models (Qwen3, Llama 3, Gemma 3, Mistral) by their number of parameters. What comes of it
is said as "about": the key-value memory of two models of one size differs by a factor of up to four.
"""

from __future__ import annotations

from domicile.types import Facts, Layer

_BITS = 4.91
"""Bits a weight of the usual quantisation (Q4_K_M) takes, embeddings and scales included."""

_SHAPES: tuple[tuple[float, int, int, int, int], ...] = (
    (0.8e9, 26, 1024, 3072, 4),
    (2.2e9, 28, 2048, 6144, 6),
    (5e9, 32, 2560, 9728, 8),
    (10e9, 34, 4096, 12288, 8),
    (20e9, 42, 5120, 14336, 8),
    (40e9, 60, 5120, 25600, 8),
    (90e9, 80, 8192, 28672, 8),
)
"""Up to so many parameters: layers, width, inner width, key-value heads (of 128 each)."""
_LARGEST = (92, 8192, 28672, 8)


def size_of(parameters: int) -> int:
    """About the bytes of a file in the usual quantisation."""
    return int(parameters * _BITS / 8)


def facts(
    size_bytes: int, parameters: int | None = None, active: int | None = None, context: int | None = None
) -> Facts:
    """Stand-in facts for a GGUF of this size. `active`: the parameters each token touches, in a mixture of experts."""
    count = parameters or int(size_bytes * 8 / _BITS)
    layers, width, inner, heads = next((s[1:] for s in _SHAPES if count <= s[0]), _LARGEST)
    mixture = active is not None and active < count
    return Facts(
        format="gguf",
        file_bytes=size_bytes,
        weights_bytes=size_bytes,
        architecture="llama",
        parameters=count,
        active_parameters=active if mixture else None,
        quantisation="Q4_K_M",
        context_length=context,
        n_vocab=128_000,
        n_embd=width,
        n_ff=inner,
        n_expert=64 if mixture else None,
        n_expert_used=max(1, round(64 * (active or 0) / count)) if mixture else None,
        layers=(Layer("attention", width // 128, heads, 128, 128, n_ff=inner),) * layers,
        tied_embeddings=True,
        exact=False,
    )
