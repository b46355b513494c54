"""What a model needs: bytes of weights, context, state and working buffers, as llama.cpp shares them out.

Knows the engine's arithmetic for one file: exact for weights, keys, values and recurrent state, fitted for
the working buffers and the process. Pure: takes `Facts` and what is asked, knows no machine and gives no
verdict (that is `fit.py`).

Sources: llama.cpp src/llama-kv-cache*.cpp, llama-memory-recurrent.cpp, llama-hparams.cpp for what is kept;
the working buffers were fitted to the engine's log on 3,632 configurations; the process was measured with
the child the product runs (bench/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from domicile.types import Facts, Layer, Reason

MIB, GIB = 1024**2, 1024**3

KV_TYPES: Mapping[str, tuple[int, int]] = {
    "f32": (4, 1),
    "f16": (2, 1),
    "bf16": (2, 1),
    "q8_0": (34, 32),
    "q5_1": (24, 32),
    "q5_0": (22, 32),
    "q4_1": (20, 32),
    "q4_0": (18, 32),
    "iq4_nl": (18, 32),
}
"""What a cache of keys or values may be stored as: bytes of a block, and how many values it holds."""

CHECKPOINTS = 4
"""How many states of a conversation the engine may keep for models that cannot roll one back. Its own default
is 32: 32 x 19 MiB on Qwen3.5-0.8B."""

PROCESS_BYTES = {"bpe": 32 * MIB, "spm": 24 * MIB}
"""A Python process with the engine loaded and one slot idle; byte-pair tokenizers bring Unicode tables."""
TOKENIZER_FACTOR = {"bpe": 9.3, "spm": 8.6}
"""Resident bytes for one byte of the tokenizer's arrays in the header (hash tables of strings)."""
SCRATCH_BYTES = 272 / 256
"""The engine converts its widest activations before multiplying: bytes for each value of them (Q8_K)."""

GPU_HOST_BYTES = 180 * MIB
"""What a GPU runtime costs the process in ordinary memory. Assumed: no GPU was measured."""
SANE = 1 << 44
"""No honest number in a header is larger (16 TiB)."""
TWO_WIDE = frozenset({"llama", "qwen2", "lfm2", "mistral3", "granite", "granitemoe", "gemma", "gemma2", "phi3"})
"""Architectures whose graph keeps two embedding-wide tensors alive on a GPU; the others keep four (those that
normalise queries and keys)."""
_NO_QUANTISED_KV = frozenset({"granitemoe"})
"""llama.cpp (2026-10) aborts on a quantised cache there: GGML hash set full, measured on three builds."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one report is about."""

    context: int
    type_k: str
    type_v: str
    slots: int
    ubatch: int
    flash: bool
    projector_bytes: int

    @property
    def cells(self) -> int:
        """Of one slot: the engine rounds up to 256."""
        return padded(self.context)


@dataclass(frozen=True, slots=True)
class Widths:
    """A model's layers added up: what one cell of context weighs, and how wide its graph is. Bytes where
    said."""

    cell_bytes: float
    """One token of context in the layers that look at all of it."""
    windows: tuple[tuple[int, float], ...]
    """Sliding windows: tokens looked at, and bytes of one cell in all the layers with that window."""
    state_bytes: int
    """Recurrent state of one sequence."""
    attends: bool
    n_head: int
    embd: int
    feed: int
    """Values alive in the widest feed-forward, attention or recurrent step of a layer."""
    scratch: int
    """Values of the widest activation that is converted before a multiplication."""
    vocab: int


def padded(tokens: int) -> int:
    return -(-tokens // 256) * 256


# -- one model -----------------------------------------------------------------------------------------------


_NEEDED = {"weights_bytes": "unknown_weights", "n_embd": "unknown_width", "n_vocab": "unknown_vocabulary"}


def trouble(facts: Facts, type_k: str = "f16", type_v: str = "f16", flash: bool = True) -> Reason | None:
    """Why no estimate can be made of this file, or None."""
    for name, key in _NEEDED.items():
        value = getattr(facts, name)
        if not isinstance(value, int) or not 0 < value < SANE:
            return Reason(key, {})
    layers = facts.layers
    if not 0 < len(layers) <= 4096:
        return Reason("unknown_layers", {})
    for index, layer in enumerate(layers):
        if not (
            0 <= layer.n_head < SANE
            and 0 <= layer.n_head_kv < SANE
            and 0 <= layer.head_dim_k < SANE
            and 0 <= layer.head_dim_v < SANE
            and 0 <= layer.state_bytes < SANE
            and 0 <= layer.n_ff < SANE
            and 0 <= (layer.sliding_window or 0) < SANE
        ):
            return Reason("unknown_layer", {"layer": index})
        # No heads of its own for keys and values is honest: such a layer reads those of another.
        if layer.kind == "attention" and not (layer.n_head and (layer.head_dim_k or not layer.n_head_kv)):
            return Reason("unknown_heads", {"layer": index})
    for kind in (type_k, type_v):
        if kind not in KV_TYPES:
            return Reason("unknown_kv_type", {"type": kind})
    if KV_TYPES[type_v][1] > 1 and not flash:
        return Reason("kv_needs_flash", {"type": type_v})
    if KV_TYPES[type_k][1] > 1 and facts.architecture in _NO_QUANTISED_KV:
        return Reason("kv_aborts", {"type": type_k, "architecture": facts.architecture})
    return None


def loaded(facts: Facts) -> Facts:
    """The part of a file the engine loads: without the layers that predict further tokens (MTP, NextN), which
    come last and are skipped unless asked for (llama.cpp, TENSOR_SKIP)."""
    ahead = _extra(facts, "nextn_predict_layers")
    kept = (_extra(facts, "block_count") or len(facts.layers)) - ahead
    if not ahead or kept <= 0:
        return facts
    skipped = sum(t.size_bytes for t in facts.tensors if _block(t.name) >= kept)
    if not facts.tensors:
        skipped = _extra(facts, "nextn_bytes")
    return replace(
        facts,
        layers=facts.layers[:kept],
        tensors=tuple(t for t in facts.tensors if _block(t.name) < kept),
        weights_bytes=None if facts.weights_bytes is None else facts.weights_bytes - skipped,
    )


def _block(name: str) -> int:
    """The layer a tensor belongs to; -1 for the ones of no layer."""
    part = name.split(".", 2)
    return int(part[1]) if len(part) == 3 and part[0] == "blk" and part[1].isdecimal() else -1


def kv_bytes(
    facts: Facts,
    context: int,
    *,
    kv_type_k: str = "f16",
    kv_type_v: str = "f16",
    slots: int = 1,
    ubatch: int = 512,
) -> int:
    """What the context costs, exactly: keys and values of `context` tokens in each slot."""
    ask = Ask(context, kv_type_k, kv_type_v, slots, ubatch, True, 0)
    return kept_bytes(widths(facts, kv_type_k, kv_type_v), ask)


def widths(facts: Facts, type_k: str, type_v: str) -> Widths:
    (bytes_k, block_k), (bytes_v, block_v) = KV_TYPES[type_k], KV_TYPES[type_v]
    per_k, per_v = bytes_k / block_k, bytes_v / block_v
    full, state, heads, query, dense = 0.0, 0, 0, 0, 0
    windows: dict[int, float] = {}
    attends = recurs = False
    for layer in facts.layers:
        if layer.state_bytes:  # some architectures keep a state beside their attention
            recurs = True
            state += layer.state_bytes
        if layer.kind == "attention":
            attends = True
            cell = layer.n_head_kv * (layer.head_dim_k * per_k + layer.head_dim_v * per_v)
            if layer.sliding_window:
                windows[layer.sliding_window] = windows.get(layer.sliding_window, 0.0) + cell
            else:
                full += cell
            if layer.n_head > heads:
                heads = layer.n_head
            if layer.n_head * layer.head_dim_k > query:
                query = layer.n_head * layer.head_dim_k
        if layer.n_ff > dense:
            dense = layer.n_ff
    embd, vocab = facts.n_embd or 0, facts.n_vocab or 0
    feed, scratch = _feed(facts, dense or facts.n_ff or 0, embd, 2 * query, recurs)
    return Widths(full, tuple(windows.items()), state, attends, heads, embd, feed, max(scratch, query, embd), vocab)


def _feed(facts: Facts, dense: int, embd: int, query: int, recurs: bool) -> tuple[int, int]:
    """Values alive in the widest step of a layer, for one token; and the widest activation that is
    converted."""
    mixture = 0
    if facts.n_expert and facts.n_expert_used:
        # Without leading dense layers the header's feed-forward length belongs to no tensor.
        expert = facts.n_ff_expert or facts.n_ff or dense
        used = facts.n_expert_used * expert
        every = facts.n_expert_used * embd
        mixture = 3 * used + (every if every > 2 * used else 0)
        if not _extra(facts, "leading_dense_block_count"):
            dense = 0
    step = 0
    gated = 0
    if recurs:
        inner, state = _extra(facts, "ssm.inner_size"), _extra(facts, "ssm.state_size")
        groups = _extra(facts, "ssm.group_count")
        if (facts.architecture or "").startswith(("qwen35", "qwen3next")) and groups:
            gated = 2 * groups * state + inner
            step = 2 * gated + inner // 4
        elif inner:
            step = 10 * embd
    return max(3 * dense, mixture, query, step), max(dense, 4 * gated)


def _extra(facts: Facts, key: str) -> int:
    """A whole number of the header, under its own key or with the architecture before it; 0 when absent."""
    value = facts.extra.get(key, facts.extra.get(f"{facts.architecture}.{key}", 0))
    return int(value) if isinstance(value, int | float) and 0 <= value < SANE else 0


def kept_bytes(w: Widths, ask: Ask) -> int:
    cells = ask.cells
    total = cells * w.cell_bytes
    for window, cell in w.windows:
        total += min(cells, padded(window + ask.ubatch)) * cell
    return int(total * ask.slots)


def _masks(w: Widths, ask: Ask) -> int:
    if not w.attends:
        return 0
    batch = min(ask.ubatch, ask.cells * ask.slots)
    cells = ask.cells
    for window, _ in w.windows[:1]:
        cells = (ask.cells if w.cell_bytes else 0) + min(ask.cells, padded(window + ask.ubatch))
    return (2 if ask.flash else 4) * batch * cells


def compute_bytes(w: Widths, ask: Ask, wide: int = 5) -> int:
    """The graph's working buffer. `wide`: embedding-wide tensors alive at once (5 on a CPU, 2 or 4 on a
    GPU)."""
    batch = min(ask.ubatch, ask.cells * ask.slots)
    base = wide * w.embd
    graph = 4 * max(batch * (base + w.feed), base * batch + w.vocab * ask.slots)
    if not ask.flash and w.attends:
        graph += 4 * batch * ask.cells * w.n_head
    return graph + _masks(w, ask)


def output_bytes(w: Widths, ask: Ask) -> int:
    return 4 * w.vocab * ask.slots


def overhead_bytes(facts: Facts, w: Widths, ask: Ask) -> int:
    """Process, tokenizer, and the scratch a multiplication needs."""
    kind = "spm" if (facts.tokenizer or "").startswith("llama") else "bpe"
    tokenizer = facts.tokenizer_bytes
    if tokenizer is None:
        # A byte-pair vocabulary stores about 39 bytes a token in the header, merges included.
        tokenizer = (39 if kind == "bpe" else 28) * w.vocab
    batch = min(ask.ubatch, ask.cells * ask.slots)
    return PROCESS_BYTES[kind] + int(TOKENIZER_FACTOR[kind] * tokenizer) + int(batch * w.scratch * SCRATCH_BYTES)


def one_checkpoint(w: Widths) -> int:
    """One state of a conversation, kept where the model cannot go back: recurrent state and windows."""
    return w.state_bytes + int(sum(window * cell for window, cell in w.windows))


def first_checkpoints(w: Widths, ask: Ask) -> int:
    """What a first prompt leaves: a state near its start and one near its end. Near the start a window is
    empty."""
    kept = 2 * w.state_bytes
    for window, cell in w.windows:
        kept += int(min(window, ask.context) * cell)
    return kept


# -- eyes --

PROJECTOR_BYTES = 5 * MIB
"""What the engine takes for images besides the projector's weights and its graph."""
_GROWING = (
    "qwen2vl",
    "qwen2.5vl",
    "qwen3vl",
    "pixtral",
    "kimi",
    "lfm2",
    "dots",
    "paddle",
    "hunyuan",
    "glm4v",
    "gemma4",
)
_MANY_PATCHES = 4096
"""Patches of an image for the projectors that take more of them for a larger image: about 900 by 900 pixels. Such a
projector may take several times as many for a larger one; the memory for that is given back after each image."""


def projector_bytes(facts: Facts) -> int | None:
    """What a projector adds to its model: weights, and what its graph keeps alive for one image. None where its header
    does not say. Fitted to the engine's resident memory on five sizes (bench/RESULTS.md)."""
    if facts.weights_bytes is None:
        return None
    patch, side = _extra(facts, "vision.patch_size"), _extra(facts, "vision.image_size")
    patches = (side // patch) ** 2 if patch else 0
    kind = str(facts.extra.get("vision.projector_type", facts.extra.get("projector_type", "")))
    if kind.startswith(_GROWING):
        patches = max(patches, _MANY_PATCHES)
    wide = _extra(facts, "vision.feed_forward_length") + 7 * _extra(facts, "vision.embedding_length")
    work = patches * (4 * wide + 8 * _extra(facts, "vision.projection_dim"))
    return facts.weights_bytes + PROJECTOR_BYTES + min(work, SANE)


def sees(projector: Facts) -> bool:
    """Are these eyes (and not ears alone)?"""
    return projector.extra.get("has_vision_encoder") is True


# -- where it goes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes of weights in each place where llama.cpp may put them."""

    layers: tuple[int, ...]
    embedding: int
    output: int
    """The output's own tensor, or the copy of the embedding that a GPU needs when both are one."""
    rest: int


def shares_of(facts: Facts) -> Shares:
    n = len(facts.layers)
    weights = facts.weights_bytes or 0
    embedding = facts.token_embedding_bytes or 0
    output = facts.output_bytes or 0
    if facts.tensors:
        layers = [0] * n
        rest = embedding = output = 0
        for tensor in facts.tensors:
            block = _block(tensor.name)
            if 0 <= block < n:
                layers[block] += tensor.size_bytes
            elif tensor.name == "token_embd.weight":
                embedding = tensor.size_bytes
            elif tensor.name == "output.weight":
                output = tensor.size_bytes
            else:
                rest += tensor.size_bytes
        return Shares(tuple(layers), embedding, output or embedding, rest)
    each = max(0, weights - embedding - output) // n
    return Shares((each,) * n, embedding, output or embedding, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is: bytes in ordinary memory and on each GPU, and how the layers were shared."""

    gpu_layers: int
    host: int
    devices: tuple[int, ...]
    split: tuple[float, ...] = ()


def on_gpus(facts: Facts, w: Widths, ask: Ask, gpu_layers: int, free: Sequence[int], shares: Shares) -> Place:
    """Offload the last `gpu_layers` (the output counts as one), shared between GPUs by what is free in
    each."""
    n = len(facts.layers)
    gpu_layers = max(0, min(gpu_layers, n + 1))
    start = n + 1 - gpu_layers
    total_free = sum(free) or 1
    bounds = [sum(free[: i + 1]) / total_free for i in range(len(free))]
    wide = 2 if facts.architecture in TWO_WIDE else 4
    devices = [compute_bytes(w, ask, wide) if gpu_layers else 0 for _ in free]
    per = KV_TYPES[ask.type_k][0] / KV_TYPES[ask.type_k][1], KV_TYPES[ask.type_v][0] / KV_TYPES[ask.type_v][1]
    host = shares.embedding + shares.rest
    for index in range(n + 1):
        weight = shares.output if index == n else shares.layers[index]
        kept = 0 if index == n else _layer_kept(facts.layers[index], ask, per)
        if index < start:
            # At home the output needs no copy of a tied embedding.
            host += kept + (weight if index < n or not _tied(facts, shares) else 0)
        else:
            at = (index - start) / gpu_layers
            device = next((d for d, bound in enumerate(bounds) if at < bound), len(free) - 1)
            devices[device] += weight + kept
    batch = min(ask.ubatch, ask.cells * ask.slots)
    host += overhead_bytes(facts, w, ask) + GPU_HOST_BYTES + output_bytes(w, ask) + first_checkpoints(w, ask)
    host += 4 * wide * w.embd * batch + _masks(w, ask) if gpu_layers > n else compute_bytes(w, ask)
    devices[0] += ask.projector_bytes
    split = tuple(round(f / total_free, 4) for f in free) if len(free) > 1 else ()
    return Place(gpu_layers, host, tuple(devices), split)


def share_on_gpu(shares: Shares, gpu_layers: int) -> float:
    """Of the weights that a token reads, the part on the cards when the last layers are there (0 to 1)."""
    read = (*shares.layers, shares.output)
    return sum(read[max(0, len(read) - gpu_layers) :]) / max(1, sum(read)) if gpu_layers > 0 else 0.0


def _tied(facts: Facts, shares: Shares) -> bool:
    return facts.tied_embeddings is not False and shares.output == shares.embedding


def _layer_kept(layer: Layer, ask: Ask, per: tuple[float, float]) -> int:
    state = layer.state_bytes * ask.slots
    if layer.kind != "attention":
        return state
    cells = ask.cells
    if layer.sliding_window:
        cells = min(cells, padded(layer.sliding_window + ask.ubatch))
    return state + int(cells * ask.slots * layer.n_head_kv * (layer.head_dim_k * per[0] + layer.head_dim_v * per[1]))
