"""Facts for the tests of fit, speed and gpus: real shapes, as a reader of their headers would give them."""

from __future__ import annotations

from dataclasses import replace

from domicile.types import Calibration, Facts, Gpu, Hardware, Layer

MIB = 1 << 20
GIB = 1 << 30


def facts(
    *,
    layers: int = 16,
    heads: int = 32,
    kv: int = 8,
    dim: int = 64,
    embd: int = 2048,
    ff: int = 8192,
    vocab: int = 128256,
    weights: int = 762_810_000,
    architecture: str = "llama",
    quantisation: str = "Q4_K_M",
) -> Facts:
    """Llama-3.2-1B Q4_K_M unless said otherwise."""
    return Facts(
        format="gguf",
        file_bytes=weights + 8_000_000,
        weights_bytes=weights,
        architecture=architecture,
        parameters=1_235_800_000,
        quantisation=quantisation,
        context_length=131072,
        n_vocab=vocab,
        n_embd=embd,
        n_ff=ff,
        layers=(Layer("attention", heads, kv, dim, dim, n_ff=ff),) * layers,
        tied_embeddings=True,
        token_embedding_bytes=215_000_000,
        tokenizer="gpt2/llama-bpe",
        tokenizer_bytes=7_800_000,
    )


EIGHT_B = replace(
    facts(layers=32, heads=32, kv=8, dim=128, embd=4096, ff=14336, weights=4_920_000_000),
    parameters=8_030_000_000,
    tied_embeddings=False,
    token_embedding_bytes=300_000_000,
    output_bytes=430_000_000,
)
"""Llama-3.1-8B Q4_K_M."""


def laptop(
    *,
    ram_gib: float = 16.0,
    free_gib: float | None = None,
    gpus: tuple[Gpu, ...] = (),
    calibrated: bool = True,
) -> Hardware:
    """A machine with this much memory; calibrated at 30 GB/s."""
    told = Calibration("llama", 30e9, 0.7, 0.6, 4, 0.0) if calibrated else None
    return Hardware(
        os="linux",
        cpu="test",
        arch="x86_64",
        physical_cores=4,
        logical_cores=8,
        usable_cores=4.0,
        features=("avx2",),
        ram_bytes=int(ram_gib * GIB),
        ram_available_bytes=int((free_gib if free_gib is not None else ram_gib * 0.8) * GIB),
        container_limit_bytes=None,
        gpus=gpus,
        disk_free_bytes=None,
        calibration=told,
    )


def card(name: str = "RTX 4090", gib: float = 24.0, gbps: float = 1008.0) -> Gpu:
    return Gpu(name, "cuda", int(gib * GIB), int(gib * GIB), bandwidth_bytes_per_s=gbps * 1e9)
