"""What each layer of a GGUF model keeps, from its hyper-parameters.

Knows the shapes llama.cpp gives the memory of each architecture: grouped heads, sliding windows, latent and
recurrent layers. Most of it stands in the header; the tables below are what stands only in llama.cpp's
loaders. An architecture whose memory is shaped otherwise gets no layers: unknown is better than wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from domicile.types import Layer

Kind = Literal["attention", "recurrent", "none"]

MOST_LAYERS = 1024
_MOST_HEADS = 2**16
_MOST_WIDTH = 2**20

# (period, does the full layer come first?). A header that has `attention.sliding_window_pattern` replaces the
# period only. Period 1 is "no layer slides": phi3 declares a window that llama.cpp does not use.
_SLIDING: dict[str, tuple[int, bool]] = {
    "afmoe": (4, False),
    "cohere2": (4, False),
    "exaone-moe": (4, False),
    "exaone4": (4, False),
    "gemma-embedding": (6, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gpt-oss": (2, False),
    "laguna": (4, True),
    "llama4": (4, False),
    "modern-bert": (3, True),
    "olmo2": (4, False),
    "phi3": (1, False),
    "plamo3": (8, False),
    "smallthinker": (4, True),
}
_WINDOWS = {"gemma2": 4096, "llama4": 8192, "smallthinker": 4096}
"""Windows that apply when the header names none."""

_INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""One layer in `full_attention_interval` (4) attends, the others are a gated delta net."""
_ALL_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_BOTH = frozenset({"falcon-h1"})
"""Attention and a recurrent state in every layer."""
_NO_MEMORY = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert"}
    | {"eurobert", "gemma-embedding", "t5encoder", "dream", "llada", "llada-moe", "rnd1"}
)
"""Read their text at once: nothing is kept between tokens."""
_INDEXED = frozenset({"deepseek32", "glm-dsa"})
"""Latent attention that also keeps one key of an index for each token."""
_OTHERWISE = frozenset({"deepseek4", "minimax-m3", "t5", "clip"})
"""Compressed, indexed or crossed caches that `Layer` has no words for."""


def encoder_only(architecture: str) -> bool:
    return architecture in _NO_MEMORY


@dataclass(frozen=True, slots=True)
class Hyper:
    """The header's values, by key without the architecture's prefix."""

    architecture: str
    values: Mapping[str, Any]

    def number(self, key: str, most: int = 2**31) -> int | None:
        value = self.values.get(f"{self.architecture}.{key}")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
        return None

    def array(self, key: str) -> tuple[Any, ...] | None:
        value = self.values.get(f"{self.architecture}.{key}")
        return value if isinstance(value, tuple) else None

    def widest(self, key: str) -> int | None:
        """The header's number, or the largest of its array."""
        given = self.array(key)
        if given is None:
            return self.number(key)
        return max((v for v in given if isinstance(v, int) and 0 <= v <= _MOST_WIDTH), default=None)

    def each(self, key: str, n: int, most: int, default: int | None = None) -> tuple[int, ...] | None:
        """One number for each layer: the header's array, or its single number for all."""
        given = self.array(key)
        if given is not None:
            good = len(given) >= n and all(isinstance(v, int) and 0 <= v <= most for v in given[:n])
            return tuple(int(v) for v in given[:n]) if good else None
        if f"{self.architecture}.{key}" in self.values:
            default = self.number(key, most)
        return None if default is None else (default,) * n


def layers(hyper: Hyper) -> tuple[Layer, ...]:
    """Every layer that is loaded, or nothing when the header does not say enough."""
    arch = hyper.architecture
    n = hyper.number("block_count", MOST_LAYERS)
    if not n or arch in _OTHERWISE or (hyper.number("num_loops") or 1) > 1:
        return ()
    n -= min(hyper.number("nextn_predict_layers") or 0, n - 1)  # prediction heads are loaded only when asked for
    recurrent = arch in _ALL_RECURRENT
    heads = hyper.each("attention.head_count", n, _MOST_HEADS, default=0 if recurrent else None)
    feed = hyper.each("feed_forward_length", n, _MOST_WIDTH, default=0)
    if heads is None or feed is None:
        return ()
    kv_heads = (0,) * n if recurrent else hyper.each("attention.head_count_kv", n, _MOST_HEADS)
    if kv_heads is None:
        if f"{arch}.attention.head_count_kv" in hyper.values:
            return ()
        kv_heads = heads
    kinds = _kinds(hyper, n, kv_heads, feed)
    if kinds is None:
        return ()
    state = _state_bytes(hyper, max(heads)) if arch in _BOTH or "recurrent" in kinds else 0
    widths = _Widths.of(hyper, max(heads))
    if state is None or ("attention" in kinds and (widths is None or not all(_attends(heads, kinds)))):
        return ()
    windows = _windows(hyper, n)
    owners = n - _shared(hyper, n)
    made = []
    for i, kind in enumerate(kinds):
        if kind != "attention" or widths is None:
            kept = state if kind == "recurrent" else 0
            made.append(Layer(kind=kind, n_head=heads[i], state_bytes=kept, n_ff=feed[i]))
            continue
        k, v = widths.sliding if windows[i] else widths.full
        made.append(
            Layer(
                n_head=heads[i],
                n_head_kv=0 if i >= owners else 1 if widths.latent else kv_heads[i],
                head_dim_k=k,
                head_dim_v=v,
                sliding_window=windows[i],
                state_bytes=state if arch in _BOTH else 0,
                n_ff=feed[i],
            )
        )
    return tuple(made)


def _attends(heads: tuple[int, ...], kinds: list[Kind]) -> list[int]:
    return [h for h, kind in zip(heads, kinds, strict=True) if kind == "attention"]


def _kinds(hyper: Hyper, n: int, kv_heads: tuple[int, ...], feed: tuple[int, ...]) -> list[Kind] | None:
    arch = hyper.architecture
    if arch in _NO_MEMORY:
        return ["none"] * n
    if arch in _ALL_RECURRENT:
        return ["recurrent"] * n
    marked = hyper.array("attention.recurrent_layers")
    if marked is not None:
        return ["recurrent" if m else "attention" for m in marked[:n]] if len(marked) >= n else None
    if arch in _INTERVAL:
        interval = hyper.number("full_attention_interval", MOST_LAYERS) or 4
        return ["attention" if (i + 1) % interval == 0 else "recurrent" for i in range(n)]
    if all(kv_heads):
        return ["attention"] * n
    if arch.startswith("nemotron_h"):  # its layers are one thing each: a state, an attention, or a feed-forward
        return ["attention" if kv else "none" if ff else "recurrent" for kv, ff in zip(kv_heads, feed, strict=True)]
    hybrid = any(hyper.number(key) for key in ("ssm.conv_kernel", "shortconv.l_cache", "kda.head_dim"))
    return ["attention" if kv else "recurrent" if hybrid else "none" for kv in kv_heads]


def _state_bytes(hyper: Hyper, n_head: int) -> int | None:
    """What one sequence keeps in one recurrent layer: always in F32."""
    arch, width = hyper.architecture, hyper.number("embedding_length", _MOST_WIDTH)
    get = hyper.number
    if "rwkv" in arch:
        shift, head = get("token_shift_count") or 2, get("wkv.head_size", _MOST_WIDTH)
        return None if width is None or head is None else 4 * (shift * width + width * head)
    if cache := get("shortconv.l_cache", _MOST_WIDTH):
        return None if width is None else 4 * width * (cache - 1)
    kernel = get("ssm.conv_kernel", _MOST_WIDTH)
    if head := get("kda.head_dim", _MOST_WIDTH):
        return 4 * (3 * (kernel - 1) * n_head * head + head * head * n_head) if kernel else None
    inner, size = get("ssm.inner_size", _MOST_WIDTH), get("ssm.state_size", _MOST_WIDTH)
    if not kernel or inner is None or size is None:
        return None
    groups = get("ssm.group_count", _MOST_WIDTH) or 0
    return 4 * ((kernel - 1) * (inner + 2 * groups * size) + size * inner)


@dataclass(frozen=True, slots=True)
class _Widths:
    """(K, V) of one head."""

    full: tuple[int, int]
    sliding: tuple[int, int]
    latent: bool

    @classmethod
    def of(cls, hyper: Hyper, n_head: int) -> _Widths | None:
        embedding = hyper.number("embedding_length", _MOST_WIDTH)
        per_head = embedding // n_head if embedding and n_head else None
        k = hyper.number("attention.key_length", _MOST_WIDTH) or per_head
        v = hyper.number("attention.value_length", _MOST_WIDTH) or per_head
        if hyper.number("attention.key_length_mla") and hyper.number("attention.value_length_mla"):
            rank, rope = (
                hyper.number("attention.kv_lora_rank", _MOST_WIDTH),
                hyper.number("rope.dimension_count"),
            )
            k = rank + rope if rank and rope else k
            if k is None:
                return None
            index = hyper.number("attention.indexer.key_length", _MOST_WIDTH) or 0
            k += index if hyper.architecture in _INDEXED else 0
            return cls((k, 0), (k, 0), latent=True)
        if k is None or v is None:
            return None
        sliding = (
            hyper.number("attention.key_length_swa", _MOST_WIDTH) or k,
            hyper.number("attention.value_length_swa", _MOST_WIDTH) or v,
        )
        return cls((k, v), sliding, latent=False)


def _windows(hyper: Hyper, n: int) -> tuple[int | None, ...]:
    arch = hyper.architecture
    declared = hyper.number("attention.sliding_window")
    window = _WINDOWS.get(arch) if declared is None else declared
    if declared and arch == "llama4":
        window = _WINDOWS[arch]  # the loader ignores the header's number, not its zero
    if not window:
        return (None,) * n
    flags = hyper.array("attention.sliding_window_pattern")
    if flags is not None:
        return tuple(window if i < len(flags) and flags[i] else None for i in range(n))
    period, first = _SLIDING.get(arch, (1, False))
    if arch != "phi3":
        period = hyper.number("attention.sliding_window_pattern", MOST_LAYERS) or period
    full = 0 if first else period - 1
    return tuple(None if i % period == full else window for i in range(n))


def _shared(hyper: Hyper, n: int) -> int:
    """How many of the last layers use the keys and values of an earlier one."""
    if hyper.architecture == "gemma3n" and "gemma3n.attention.shared_kv_layers" not in hyper.values:
        return max(0, n - 20)
    return min(n, hyper.number("attention.shared_kv_layers") or 0)
