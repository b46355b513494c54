"""Random weights in the shapes of real models: GGUF files an engine loads, that say nothing sensible.

Knows the tensors, hyper-parameters and tokenizer sizes of some real models, how llama-quantize mixes types,
and what random bytes must look like to be valid blocks (finite scales, weights near zero). Knows no model's
weights: nothing is downloaded, and one seed always gives one file.

    python tools/random_gguf.py qwen2.5-0.5b Q4_K_M /tmp/half.gguf [--layers 4] [--vocab 8000] [--seed 0]

Shapes and names of tensors: llama.cpp src/models/*.cpp (as vendored in llama-cpp-python 0.3.36); the mix:
src/llama-quant.cpp, `llama_tensor_get_type_impl`; block layouts: ggml/src/ggml-common.h.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

QUANTISATIONS = ("F16", "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K")
_ALIAS = {"Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_FILE_TYPE = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}

# ggml type: number in the file, weights a block, bytes a block.
TYPES: Mapping[str, tuple[int, int, int]] = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
}
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_ALIGNMENT = 32
_SPREAD = 0.02
"""Standard deviation of the weights: about what trained models have, so that nothing overflows."""

Fill = Literal["matrix", "one", "zero", "decay"]


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor to write. `dims` in GGUF order, fastest first."""

    name: str
    dims: tuple[int, ...]
    fill: Fill = "matrix"
    type: str = "F32"

    @property
    def size_bytes(self) -> int:
        _, block, size = TYPES[self.type]
        count = 1
        for dim in self.dims:
            count *= dim
        return count // block * size


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer's size: how many tokens, how many merges, and which way it cuts text before merging."""

    kind: Literal["bpe", "spm"]
    n_vocab: int
    n_merges: int = 0
    pre: str = "gpt-2"


@dataclass(frozen=True, slots=True)
class Shape:
    """The hyper-parameters of one model. Zero where the architecture has no such thing."""

    arch: str
    layers: int
    embd: int
    heads: int
    heads_kv: int
    head_dim: int
    ff: int
    tokens: Tokens
    tied: bool = True
    context: int = 32768
    rope_base: float = 10000.0
    experts: int = 0
    experts_used: int = 0
    ff_expert: int = 0
    ff_shared: int = 0
    window: int = 0
    attention_layers: tuple[int, ...] = ()
    """Hybrids: the layers with attention; the others are recurrent."""
    attention_every: int = 0
    conv: int = 0
    inner: int = 0
    state: int = 0
    groups: int = 0
    dt_rank: int = 0
    lora_kv: int = 0
    lora_q: int = 0
    rope_dim: int = 0
    dense_lead: int = 0

    def attends(self, layer: int) -> bool:
        """Is this layer attention (and not recurrent)?"""
        if self.arch == "mamba":
            return False
        if self.attention_every:
            return (layer + 1) % self.attention_every == 0
        return not self.attention_layers or layer in self.attention_layers

    @property
    def conv_dim(self) -> int:
        """Channels of the gated delta net's convolution."""
        return 2 * self.groups * self.state + self.inner


_GPT2 = Tokens("bpe", 50280, 50009, "gpt-2")
_QWEN = Tokens("bpe", 151936, 151387, "qwen2")
_QWEN35 = Tokens("bpe", 248320, 247587, "qwen35")
_LLAMA3 = Tokens("bpe", 128256, 280147, "llama-bpe")
_SMOL = Tokens("bpe", 49152, 48900, "smollm")
_GRANITE = Tokens("bpe", 49155, 48891, "refact")
_DEEPSEEK = Tokens("bpe", 102400, 99757, "deepseek-llm")
_LFM2 = Tokens("bpe", 65536, 63683, "lfm2")
_GEMMA = Tokens("spm", 262144)
_SPM32K = Tokens("spm", 32000)
_LFM2_ATTENTION = (2, 5, 8, 10, 12, 14)

SHAPES: Mapping[str, Shape] = {
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 64, 1536, _SMOL, context=8192, rope_base=1e5),
    "smollm2-360m": Shape("llama", 32, 960, 15, 5, 64, 2560, _SMOL, context=8192, rope_base=1e5),
    "tinyllama-1.1b": Shape("llama", 22, 2048, 32, 4, 64, 5632, _SPM32K, tied=False, context=2048),
    "llama-3.2-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, _LLAMA3, context=131072, rope_base=5e5),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 14, 2, 64, 4864, _QWEN, rope_base=1e6),
    "qwen2.5-1.5b": Shape("qwen2", 28, 1536, 12, 2, 128, 8960, _QWEN, rope_base=1e6),
    "qwen3-0.6b": Shape("qwen3", 28, 1024, 16, 8, 128, 3072, _QWEN, context=40960, rope_base=1e6),
    "gemma-3-270m": Shape("gemma3", 18, 640, 4, 1, 256, 2048, _GEMMA, window=512, rope_base=1e6),
    "gemma-3-1b": Shape("gemma3", 26, 1152, 4, 1, 256, 6912, _GEMMA, window=512, rope_base=1e6),
    # Phi-3-mini has 32 layers; 8 keep its plain multi-head attention and fit a small machine.
    "phi3-mini-8l": Shape(
        "phi3", 8, 3072, 32, 32, 96, 8192, Tokens("spm", 32064), tied=False, context=4096, window=2047
    ),
    "granite-3.1-1b-a400m": Shape(
        "granitemoe", 24, 1024, 16, 8, 64, 512, _GRANITE, experts=32, experts_used=8, context=131072
    ),
    # Qwen3-30B-A3B has 48 layers of 128 experts.
    "qwen3-moe-6l": Shape(
        "qwen3moe", 6, 2048, 32, 4, 128, 6144, _QWEN, False, 40960, 1e6, 32, 8, 768,
    ),
    # DeepSeek-V2-Lite has 27 layers of 64 experts and no low-rank queries; llama.cpp expects those
    # queries at any other depth.
    "deepseek2-6l": Shape(
        "deepseek2", 6, 2048, 16, 1, 192, 10944, _DEEPSEEK, tied=False, experts=16, experts_used=6,
        ff_expert=1408, ff_shared=2816, lora_kv=512, lora_q=1536, rope_dim=64, dense_lead=1,
    ),
    "mamba-130m": Shape("mamba", 24, 768, 0, 0, 0, 0, _GPT2, conv=4, inner=1536, state=16, dt_rank=48),
    "mamba-1.4b": Shape("mamba", 48, 2048, 0, 0, 0, 0, _GPT2, conv=4, inner=4096, state=16, dt_rank=128),
    "mamba-370m": Shape("mamba", 48, 1024, 0, 0, 0, 0, _GPT2, conv=4, inner=2048, state=16, dt_rank=64),
    "lfm2-350m": Shape(
        "lfm2", 16, 1024, 16, 8, 64, 4608, _LFM2, context=128000, rope_base=1e6,
        attention_layers=_LFM2_ATTENTION, conv=3,
    ),
    "lfm2-1.2b": Shape(
        "lfm2", 16, 2048, 32, 8, 64, 8192, _LFM2, context=128000, rope_base=1e6,
        attention_layers=_LFM2_ATTENTION, conv=3,
    ),
    "qwen3.5-0.8b": Shape(
        "qwen35", 24, 1024, 8, 2, 256, 3584, _QWEN35, context=262144, rope_base=1e7,
        attention_every=4, conv=4, inner=2048, state=128, groups=16, dt_rank=16, rope_dim=64,
    ),
    # Qwen3-Next-80B-A3B has 48 layers of 512 experts.
    "qwen3next-8l": Shape(
        "qwen3next", 8, 2048, 16, 2, 256, 5120, _QWEN, False, 262144, 1e7, 32, 10, 512, 512,
        attention_every=4, conv=4, inner=4096, state=128, groups=16, dt_rank=32, rope_dim=64,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vocabulary:
    tokens: tuple[bytes, ...]
    types: tuple[int, ...]
    merges: tuple[bytes, ...] = ()
    scores: tuple[float, ...] = ()
    bos: int = 0
    eos: int = 0


Value = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything of a file but its random bytes: what a test needs to know without reading the file back."""

    name: str
    quantisation: str
    shape: Shape
    tensors: tuple[Weights, ...]
    hyper: Mapping[str, int | float | list[int]]
    """Under their own names, without the architecture's prefix."""
    vocabulary: Vocabulary = field(repr=False)
    header: bytes = field(repr=False)
    tokenizer_bytes: int
    """Of the tokenizer's arrays in the header."""

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)


def blueprint(
    shape: str, quant: str, *, seed: int = 0, layers: int | None = None, vocab: int | None = None
) -> Blueprint:
    """What `write` would write. Fewer `layers` or a smaller `vocab` shrink the real shape."""
    quant = _ALIAS.get(quant, quant)
    if quant not in QUANTISATIONS:
        raise ValueError(f"{quant} is not one of {', '.join(QUANTISATIONS)}")
    real = SHAPES[shape]
    if layers is not None:
        real = replace(real, layers=layers)
    if vocab is not None:
        merges = min(real.tokens.n_merges, max(0, vocab - 260))
        real = replace(real, tokens=replace(real.tokens, n_vocab=vocab, n_merges=merges))
    vocabulary = _vocabulary(real.tokens, seed)
    tensors = tuple(_quantised(real, quant, tuple(_tensors(real))))
    hyper = dict(_hyper(real))
    header, tokenizer_bytes = _header(shape, real, quant, hyper, vocabulary, tensors)
    return Blueprint(shape, quant, real, tensors, hyper, vocabulary, header, tokenizer_bytes)


def write(
    shape: str, quant: str, path: Path, *, seed: int = 0, layers: int | None = None, vocab: int | None = None
) -> Blueprint:
    """Write one file, and say what is in it."""
    plan = blueprint(shape, quant, seed=seed, layers=layers, vocab=vocab)
    rng = np.random.default_rng(seed)
    pools = {kind: _pool(kind, rng) for kind in sorted({t.type for t in plan.tensors if t.fill == "matrix"})}
    with path.open("wb") as out:
        out.write(plan.header)
        for tensor in plan.tensors:
            _pour(out, tensor, pools, rng)
            out.write(b"\0" * (-tensor.size_bytes % _ALIGNMENT))
    return plan


# -- tensors -----------------------------------------------------------------------------------------------


def _tensors(s: Shape) -> Iterator[Weights]:
    yield Weights("token_embd.weight", (s.embd, s.tokens.n_vocab))
    norm = "token_embd_norm" if s.arch == "lfm2" else "output_norm"
    yield Weights(f"{norm}.weight", (s.embd,), "one")
    if not s.tied:
        yield Weights("output.weight", (s.embd, s.tokens.n_vocab))
    if s.arch == "llama" and s.rope_base >= 5e5:
        yield Weights("rope_freqs.weight", (s.head_dim // 2,), "one")
    for i in range(s.layers):
        at = f"blk.{i}."
        yield Weights(f"{at}attn_norm.weight", (s.embd,), "one")
        if s.arch == "deepseek2":
            yield from _latent_attention(s, at)
        elif s.attends(i):
            yield from _attention(s, at)
        else:
            yield from _recurrent(s, at)
        if s.arch != "mamba":
            yield from _feed_forward(s, at, i)


def _attention(s: Shape, at: str) -> Iterator[Weights]:
    q, kv = s.heads * s.head_dim, s.heads_kv * s.head_dim
    gate = 2 if s.arch in {"qwen35", "qwen3next"} else 1
    if s.arch == "phi3":
        yield Weights(f"{at}attn_qkv.weight", (s.embd, q + 2 * kv))
    else:
        for part, width in (("q", q * gate), ("k", kv), ("v", kv)):
            yield Weights(f"{at}attn_{part}.weight", (s.embd, width))
            if s.arch == "qwen2":
                yield Weights(f"{at}attn_{part}.bias", (width,), "zero")
    if s.arch in {"qwen3", "qwen3moe", "gemma3", "lfm2", "qwen35", "qwen3next"}:
        yield Weights(f"{at}attn_q_norm.weight", (s.head_dim,), "one")
        yield Weights(f"{at}attn_k_norm.weight", (s.head_dim,), "one")
    yield Weights(f"{at}attn_output.weight", (q, s.embd))


def _latent_attention(s: Shape, at: str) -> Iterator[Weights]:
    value = 128
    nope = s.head_dim - s.rope_dim
    if s.layers in {26, 27}:  # llama.cpp tells the lite models by their depth
        yield Weights(f"{at}attn_q.weight", (s.embd, s.heads * s.head_dim))
    else:
        yield Weights(f"{at}attn_q_a.weight", (s.embd, s.lora_q))
        yield Weights(f"{at}attn_q_a_norm.weight", (s.lora_q,), "one")
        yield Weights(f"{at}attn_q_b.weight", (s.lora_q, s.heads * s.head_dim))
    yield Weights(f"{at}attn_kv_a_norm.weight", (s.lora_kv,), "one")
    yield Weights(f"{at}attn_kv_a_mqa.weight", (s.embd, s.lora_kv + s.rope_dim))
    yield Weights(f"{at}attn_k_b.weight", (nope, s.lora_kv, s.heads))
    yield Weights(f"{at}attn_v_b.weight", (s.lora_kv, value, s.heads))
    yield Weights(f"{at}attn_output.weight", (s.heads * value, s.embd))


def _recurrent(s: Shape, at: str) -> Iterator[Weights]:
    if s.arch == "lfm2":
        yield Weights(f"{at}shortconv.conv.weight", (s.conv, s.embd))
        yield Weights(f"{at}shortconv.in_proj.weight", (s.embd, 3 * s.embd))
        yield Weights(f"{at}shortconv.out_proj.weight", (s.embd, s.embd))
    elif s.arch == "mamba":
        yield Weights(f"{at}ssm_in.weight", (s.embd, 2 * s.inner))
        yield Weights(f"{at}ssm_conv1d.weight", (s.conv, s.inner))
        yield Weights(f"{at}ssm_conv1d.bias", (s.inner,), "zero")
        yield Weights(f"{at}ssm_x.weight", (s.inner, s.dt_rank + 2 * s.state))
        yield Weights(f"{at}ssm_dt.weight", (s.dt_rank, s.inner))
        yield Weights(f"{at}ssm_dt.bias", (s.inner,), "zero")
        yield Weights(f"{at}ssm_a", (s.state, s.inner), "decay")
        yield Weights(f"{at}ssm_d", (s.inner,), "one")
        yield Weights(f"{at}ssm_out.weight", (s.inner, s.embd))
    else:
        yield Weights(f"{at}attn_qkv.weight", (s.embd, s.conv_dim))
        yield Weights(f"{at}attn_gate.weight", (s.embd, s.inner))
        yield Weights(f"{at}ssm_conv1d.weight", (s.conv, s.conv_dim))
        yield Weights(f"{at}ssm_dt.bias", (s.dt_rank,), "zero")
        yield Weights(f"{at}ssm_a", (s.dt_rank,), "decay")
        if s.arch == "qwen3next":
            yield Weights(f"{at}ssm_ba.weight", (s.embd, 2 * s.dt_rank))
        else:
            yield Weights(f"{at}ssm_beta.weight", (s.embd, s.dt_rank))
            yield Weights(f"{at}ssm_alpha.weight", (s.embd, s.dt_rank))
        yield Weights(f"{at}ssm_norm.weight", (s.state,), "one")
        yield Weights(f"{at}ssm_out.weight", (s.inner, s.embd))


def _feed_forward(s: Shape, at: str, layer: int) -> Iterator[Weights]:
    if s.arch in {"qwen35", "qwen3next", "gemma3"}:
        yield Weights(f"{at}post_attention_norm.weight", (s.embd,), "one")
    if s.arch not in {"qwen35", "qwen3next"}:
        yield Weights(f"{at}ffn_norm.weight", (s.embd,), "one")
    if not s.experts or layer < s.dense_lead:
        if s.arch == "phi3":
            yield Weights(f"{at}ffn_up.weight", (s.embd, 2 * s.ff))
        else:
            yield Weights(f"{at}ffn_gate.weight", (s.embd, s.ff))
            yield Weights(f"{at}ffn_up.weight", (s.embd, s.ff))
        yield Weights(f"{at}ffn_down.weight", (s.ff, s.embd))
    else:
        wide = s.ff_expert or s.ff
        yield Weights(f"{at}ffn_gate_inp.weight", (s.embd, s.experts))
        yield Weights(f"{at}ffn_gate_exps.weight", (s.embd, wide, s.experts))
        yield Weights(f"{at}ffn_up_exps.weight", (s.embd, wide, s.experts))
        yield Weights(f"{at}ffn_down_exps.weight", (wide, s.embd, s.experts))
        if s.ff_shared:
            if s.arch == "qwen3next":
                yield Weights(f"{at}ffn_gate_inp_shexp.weight", (s.embd,), "zero")
            yield Weights(f"{at}ffn_gate_shexp.weight", (s.embd, s.ff_shared))
            yield Weights(f"{at}ffn_up_shexp.weight", (s.embd, s.ff_shared))
            yield Weights(f"{at}ffn_down_shexp.weight", (s.ff_shared, s.embd))
    if s.arch == "gemma3":
        yield Weights(f"{at}post_ffw_norm.weight", (s.embd,), "one")


# -- llama-quantize's mix ----------------------------------------------------------------------------------


def _quantised(s: Shape, quant: str, tensors: tuple[Weights, ...]) -> Iterator[Weights]:
    mixed = _Mix(s, quant, sum(_is_value(t.name) for t in tensors))
    for tensor in tensors:
        kept = tensor.fill != "matrix" or len(tensor.dims) < 2
        kept |= any(part in tensor.name for part in ("ffn_gate_inp.", "ssm_conv1d", "shortconv.conv."))
        yield tensor if kept else replace(tensor, type=mixed.type_of(tensor))


def _is_value(name: str) -> bool:
    return "attn_v.weight" in name or "attn_qkv.weight" in name


@dataclass(slots=True)
class _Mix:
    """Counts values and down projections as llama-quantize does."""

    shape: Shape
    quant: str
    n_value: int
    i_value: int = 0
    i_down: int = 0

    def type_of(self, tensor: Weights) -> str:
        wanted = self._wanted(tensor.name)
        if tensor.dims[0] % TYPES[wanted][1]:
            wanted = _FALLBACK.get(wanted, "F16")
        return "F16" if tensor.dims[0] % TYPES[wanted][1] else wanted

    def _wanted(self, name: str) -> str:
        if self.quant in {"F16", "Q8_0"}:
            return self.quant
        kind = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K"}.get(self.quant, self.quant)
        if name == "output.weight" or (self.shape.tied and name == "token_embd.weight"):
            return "Q6_K"
        eight = self.shape.experts == 8
        if _is_value(name):
            more = kind != self.quant and _more_bits(self.i_value, self.n_value)
            self.i_value += 1
            return "Q8_0" if eight else "Q6_K" if more else kind
        if "attn_k.weight" in name and eight:
            return "Q8_0"
        if "ffn_down" in name:
            layer = int(name.split(".")[1]) if self.shape.experts > 1 else self.i_down
            self.i_down += 1
            return "Q6_K" if kind != self.quant and _more_bits(layer, self.shape.layers) else kind
        return "Q5_K" if "attn_output.weight" in name and eight and self.quant == "Q4_K_M" else kind


def _more_bits(layer: int, n: int) -> bool:
    return layer < n // 8 or layer >= 7 * n // 8 or (layer - n // 8) % 3 == 2


# -- random bytes that are valid blocks --------------------------------------------------------------------

_POOL_BLOCKS = 16381
"""A prime: rows of a tensor never start at the same block of the pool twice in a row."""


def _halves(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return values.astype(np.float16).view(np.uint8).reshape(len(values), 2)


def _pool(kind: str, rng: np.random.Generator) -> bytes:
    """Random blocks of a type whose weights spread like a trained model's."""
    if kind in {"F16", "F32"}:
        values = rng.normal(0.0, _SPREAD, _POOL_BLOCKS * 64 + 1)
        return values.astype(np.float16 if kind == "F16" else np.float32).tobytes()
    size = TYPES[kind][2]
    blocks = rng.integers(0, 256, (_POOL_BLOCKS, size), dtype=np.uint8)
    # How far the integers of one block spread, so that scale * spread is _SPREAD.
    spread = {
        "Q4_0": 4.6,
        "Q5_0": 9.2,
        "Q5_1": 9.2,
        "Q8_0": 74.0,
        "Q4_K": 190.0,
        "Q5_K": 380.0,
        "Q6_K": 1370.0,
    }
    scale = _SPREAD / spread[kind] * rng.uniform(0.8, 1.2, _POOL_BLOCKS)
    if kind == "Q6_K":
        blocks[:, -2:] = _halves(scale)
        return blocks.tobytes()
    blocks[:, :2] = _halves(scale)
    # Types with a minimum need one that brings the mean to zero: half of the range, below.
    centre = {"Q5_1": -15.5, "Q4_K": 7.5, "Q5_K": 15.5}.get(kind)
    if centre is not None:
        blocks[:, 2:4] = _halves(scale * centre)
    return blocks.tobytes()


def _pour(out: BinaryIO, tensor: Weights, pools: Mapping[str, bytes], rng: np.random.Generator) -> None:
    left = tensor.size_bytes
    if tensor.fill != "matrix":
        count = left // 4
        values = {
            "one": np.ones(count, np.float32),
            "zero": np.zeros(count, np.float32),
            "decay": -rng.uniform(0.5, 8.0, count).astype(np.float32),
        }[tensor.fill]
        out.write(values.tobytes())
        return
    pool = memoryview(pools[tensor.type])
    size = TYPES[tensor.type][2]
    start = int(rng.integers(0, len(pool) // size)) * size
    while left:
        piece = pool[start : start + left]
        out.write(piece)
        left -= len(piece)
        start = 0


# -- vocabulary --------------------------------------------------------------------------------------------

_TEXT = (
    "the of and to in is it you that he was for on are with as his they be at one have this from or had "
    "by not but what some we can out other were all there when up use your how said an each she which "
    "do their time if will way about many then them write would like so these her long make thing see "
    "him two has look more day could go come did number sound no most people my over know water than "
    "call first who may down side been now find any new work le la les de des du un une et en est que "
    "qui dans pour pas sur au aux avec ce ces il elle nous vous ils je ne se son sa ses par plus mais "
    "ou donc bonjour merci monde maison fichier modèle mémoire langue mot texte réponse system user "
    "assistant hello world computer file model memory language word text answer question"
)

_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes (`bytes_to_unicode`)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


@cache
def _vocabulary(tokens: Tokens, seed: int) -> Vocabulary:
    return _bpe(tokens, seed) if tokens.kind == "bpe" else _spm(tokens, seed)


def _bpe(tokens: Tokens, seed: int) -> Vocabulary:
    letters = _byte_letters()
    listed = list(letters)
    known = set(listed)
    merges: list[str] = []
    n_normal = tokens.n_vocab - 3

    def merge(left: str, right: str) -> None:
        merges.append(f"{left} {right}")
        if left + right not in known:
            known.add(left + right)
            listed.append(left + right)

    for word in _TEXT.split():
        pieces = ["".join(letters[b] for b in c.encode()) for c in f" {word}"]
        for piece in pieces:
            if len(piece) == 2 and piece not in known:
                merge(piece[0], piece[1])
        whole = pieces[0]
        for piece in pieces[1:]:
            if len(listed) < n_normal and whole + piece not in known:
                merge(whole, piece)
            whole += piece
    del listed[n_normal:]
    rng = np.random.default_rng(seed + 1)
    # Joined from short ones, so that the arrays weigh about what real ones do (nine bytes a string).
    short = [token for token in listed if len(token) <= 5]
    while len(listed) < n_normal:
        for left, right in rng.integers(0, len(short), (4096, 2)).tolist():
            a, b = short[left], short[right]
            if a + b not in known:
                merge(a, b)
                if len(a) + len(b) <= 4:
                    short.append(a + b)
                if len(listed) == n_normal:
                    break
    del merges[tokens.n_merges :]
    while len(merges) < tokens.n_merges:  # some tokenizers know several ways to the same token
        token = listed[len(listed) // 2 + len(merges) % (len(listed) // 2)]
        cut = 1 + len(merges) % (len(token) - 1) if len(token) > 1 else 0
        if cut:
            merges.append(f"{token[:cut]} {token[cut:]}")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    types = (_NORMAL,) * n_normal + (_CONTROL,) * 3
    return Vocabulary(
        tuple(t.encode() for t in [*listed, *special]),
        types,
        tuple(m.encode() for m in merges),
        bos=tokens.n_vocab - 3,
        eos=tokens.n_vocab - 1,
    )


def _spm(tokens: Tokens, seed: int) -> Vocabulary:
    listed = [
        "<unk>",
        "<s>",
        "</s>",
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        *(f"<0x{b:02X}>" for b in range(256)),
    ]
    types = [_UNKNOWN, *[_CONTROL] * 5, *[_BYTE] * 256]
    known = set(listed)
    rng = np.random.default_rng(seed + 1)
    alphabet = [chr(c) for c in (*range(32, 127), *range(0xC0, 0x180))]
    pieces = ["▁" if c == " " else c for c in alphabet]
    for word in _TEXT.split():
        pieces += [f"▁{word[:end]}" for end in range(1, len(word) + 1)]
    start = len(pieces)
    while len(listed) + len(pieces) < tokens.n_vocab * 2:
        pieces += [pieces[int(a)] + pieces[int(b)] for a, b in rng.integers(0, min(len(pieces), 4 * start), (4096, 2))]
    for piece in pieces:
        if len(listed) < tokens.n_vocab and piece not in known and len(piece) <= 10:
            known.add(piece)
            listed.append(piece)
            types.append(_NORMAL)
    for spare in range(tokens.n_vocab - len(listed)):
        listed.append(f"[unused{spare}]")
        types.append(_NORMAL)
    scores = [0.0] * 262 + [-float(i) for i in range(len(listed) - 262)]
    return Vocabulary(tuple(t.encode() for t in listed), tuple(types), scores=tuple(scores), bos=1, eos=4)


# -- the file's header -------------------------------------------------------------------------------------


def _hyper(s: Shape) -> Iterator[tuple[str, int | float | list[int]]]:
    yield "block_count", s.layers
    yield "context_length", s.context
    yield "embedding_length", s.embd
    yield "feed_forward_length", s.ff
    yield "attention.head_count", s.heads
    yield "attention.layer_norm_rms_epsilon", 1e-6
    if s.arch == "mamba":
        yield from _ssm(s)
        return
    if s.attention_layers:
        yield "attention.head_count_kv", [s.heads_kv if s.attends(i) else 0 for i in range(s.layers)]
    else:
        yield "attention.head_count_kv", s.heads_kv
    yield "rope.freq_base", s.rope_base
    yield "rope.dimension_count", s.rope_dim or s.head_dim
    if s.arch == "deepseek2":
        yield "attention.key_length", s.lora_kv + s.rope_dim
        yield "attention.value_length", s.lora_kv
        yield "attention.key_length_mla", s.head_dim
        yield "attention.value_length_mla", 128
        yield "attention.kv_lora_rank", s.lora_kv
        if s.layers not in {26, 27}:
            yield "attention.q_lora_rank", s.lora_q
        yield "leading_dense_block_count", s.dense_lead
        yield "expert_shared_count", s.ff_shared // s.ff_expert
        yield "expert_weights_scale", 1.0
    else:
        yield "attention.key_length", s.head_dim
        yield "attention.value_length", s.head_dim
    if s.window:
        yield "attention.sliding_window", s.window
    if s.experts:
        yield "expert_count", s.experts
        yield "expert_used_count", s.experts_used
    if s.ff_expert:
        yield "expert_feed_forward_length", s.ff_expert
    if s.arch == "granitemoe":
        yield "logit_scale", 6.0
        yield "attention.scale", 1.0 / s.head_dim
    if s.arch == "lfm2":
        yield "shortconv.l_cache", s.conv
    if s.arch in {"qwen35", "qwen3next"}:
        yield from _ssm(s)
        yield "full_attention_interval", s.attention_every
    if s.arch == "qwen35":
        yield "rope.dimension_sections", [11, 11, 10, 0]
    if s.arch == "qwen3next":
        yield "expert_shared_feed_forward_length", s.ff_shared


def _ssm(s: Shape) -> Iterator[tuple[str, int]]:
    yield "ssm.conv_kernel", s.conv
    yield "ssm.inner_size", s.inner
    yield "ssm.state_size", s.state
    yield "ssm.time_step_rank", s.dt_rank
    if s.groups:
        yield "ssm.group_count", s.groups


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _entry(key: str, value: Value) -> bytes:
    """One key and its value, in the type a converter would give it."""
    at = _string(key.encode())
    if isinstance(value, bool):
        return at + struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return at + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return at + struct.pack("<If", 6, value)
    if isinstance(value, str):
        return at + struct.pack("<I", 8) + _string(value.encode())
    first = value[0] if value else b""
    if isinstance(first, bytes):
        body = b"".join(_string(v) for v in value if isinstance(v, bytes))
        return at + struct.pack("<IIQ", 9, 8, len(value)) + body
    if isinstance(first, float):
        return at + struct.pack("<IIQ", 9, 6, len(value)) + np.asarray(value, "<f4").tobytes()
    return at + struct.pack("<IIQ", 9, 5, len(value)) + np.asarray(value, "<i4").tobytes()


def _header(
    name: str,
    shape: Shape,
    quant: str,
    hyper: Mapping[str, Value],
    vocabulary: Vocabulary,
    tensors: tuple[Weights, ...],
) -> tuple[bytes, int]:
    entries = [
        _entry("general.architecture", shape.arch),
        _entry("general.name", f"{name} (random weights)"),
        _entry("general.file_type", _FILE_TYPE[quant]),
        _entry("general.quantization_version", 2),
        *(_entry(f"{shape.arch}.{key}", value) for key, value in hyper.items()),
        _entry("tokenizer.ggml.model", "gpt2" if vocabulary.merges else "llama"),
        _entry("tokenizer.ggml.pre", shape.tokens.pre if vocabulary.merges else "default"),
    ]
    arrays = [
        _entry("tokenizer.ggml.tokens", vocabulary.tokens),
        _entry("tokenizer.ggml.token_type", vocabulary.types),
    ]
    if vocabulary.merges:
        arrays.append(_entry("tokenizer.ggml.merges", vocabulary.merges))
    else:
        arrays.append(_entry("tokenizer.ggml.scores", vocabulary.scores))
    after = [
        _entry("tokenizer.ggml.bos_token_id", vocabulary.bos),
        _entry("tokenizer.ggml.eos_token_id", vocabulary.eos),
        _entry("tokenizer.ggml.add_bos_token", False),
        _entry("tokenizer.chat_template", _TEMPLATE),
    ]
    infos: list[bytes] = []
    offset = 0
    for tensor in tensors:
        dims = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
        infos.append(_string(tensor.name.encode()) + dims + struct.pack("<IQ", TYPES[tensor.type][0], offset))
        offset += tensor.size_bytes + -tensor.size_bytes % _ALIGNMENT
    pairs = [*entries, *arrays, *after]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(infos)
    return head + b"\0" * (-len(head) % _ALIGNMENT), sum(len(a) for a in arrays)


def main() -> None:
    reader = argparse.ArgumentParser(description="Random weights in the shape of a real model, as GGUF.")
    reader.add_argument("shape", choices=sorted(SHAPES))
    reader.add_argument("quant", choices=[*QUANTISATIONS, *_ALIAS])
    reader.add_argument("out", type=Path)
    reader.add_argument("--layers", type=int)
    reader.add_argument("--vocab", type=int)
    reader.add_argument("--seed", type=int, default=0)
    asked = reader.parse_args()
    plan = write(asked.shape, asked.quant, asked.out, seed=asked.seed, layers=asked.layers, vocab=asked.vocab)
    digest = zlib.crc32(plan.header)
    print(f"{asked.out}: {plan.weights_bytes:,} bytes of weights, header {len(plan.header):,} ({digest:08x})")


if __name__ == "__main__":
    main()
