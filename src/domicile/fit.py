"""Will it fit: the memory of a model on a machine, in bytes, before a byte of its weights is downloaded.

Knows how llama.cpp shares memory out (weights, context, recurrent state, working buffers, tokenizer) and
gives a verdict with its reasons. Pure arithmetic: takes `Facts` and `Hardware`, touches no file, no engine
and no clock; a report takes microseconds, so that a slider can ask for one at every step. Knows nothing of
speed (that is `speed.py`) nor of any language: a reason is a key and its numbers.

Formulae: llama.cpp src/llama-kv-cache*.cpp, llama-memory-recurrent.cpp and llama-hparams.cpp for what is
kept; the working buffers were fitted to the engine's own log on 3,632 configurations (bench/RESULTS-fit.md
has the errors). One thing that is not memory of the model: a launch must be the one described by `Plan`, or
another number of bytes will be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from domicile import speed
from domicile.types import Facts, FitReport, Gpu, Hardware, Layer, Reason, Speed, Verdict

KIB, MIB, GIB = 1024, 1024**2, 1024**3

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

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 2048
"""Below this a conversation is not one: a model that only fits under it does not fit."""
CACHE_CEILING_BYTES = GIB
"""The optional prompt cache never gets more (nor more than a tenth of what is free)."""
CHECKPOINTS = 4
"""How many states of a conversation the engine may keep for models that cannot roll one back. Its own default
is 32: 32 x 19 MiB on Qwen3.5-0.8B."""

PROCESS_BYTES = 31 * MIB
"""A Python process with the engine loaded and one slot idle."""
TOKENIZER_FACTOR = 9.6
"""Resident bytes for one byte of the tokenizer's arrays in the header (hash tables of strings)."""
SCRATCH_BYTES = 272 / 256
"""The engine converts its widest activations before multiplying: bytes for each value of them (Q8_K)."""

RAM_RESERVE_BYTES = GIB
"""Left to the system, or a tenth of the memory when that is more."""
VRAM_RESERVE_BYTES = GIB
"""Left on each GPU for its driver, the screen and the runtime's own context (llama.cpp's --fit leaves the
same)."""
UNIFIED_SHARE = 0.75
"""macOS lets a GPU wire three quarters of the memory (two thirds below 36 GB)."""
GPU_HOST_BYTES = 180 * MIB
"""What a GPU runtime costs the process in ordinary memory. Assumed: no GPU was measured."""
TIGHT = 0.9
"""Above this share of what is available, a fit is called tight."""

_SANE = 1 << 44
"""No honest number in a header is larger (16 TiB)."""
_TWO_WIDE = frozenset(
    {"llama", "qwen2", "lfm2", "mistral3", "granite", "granitemoe", "gemma", "gemma2", "phi3"}
)
"""Architectures whose graph keeps two embedding-wide tensors alive on a GPU; the others keep four (those that
normalise queries and keys)."""
_NO_QUANTISED_KV = frozenset({"granitemoe"})
"""llama.cpp (2026-10) aborts on a quantised cache there: GGML hash set full, measured on three builds."""

RUNS_ON_A_CPU = frozenset({"fits", "tight"})


ENVIRONMENT: Mapping[str, str] = {
    "OMP_WAIT_POLICY": "passive",
    # glibc keeps what the loader freed (up to 20 MiB on a file with large tensors) unless told
    # to give it back.
    "MALLOC_MMAP_THRESHOLD_": str(MIB),
    "MALLOC_TRIM_THRESHOLD_": str(MIB),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start the engine so that it uses what was predicted. Sizes in bytes, contexts in tokens."""

    n_ctx: int
    """Of all slots together, as the engine counts."""
    n_parallel: int
    n_ubatch: int
    type_k: str
    type_v: str
    flash_attention: bool
    gpu_layers: int
    """Counting the output as one: the number of layers plus one is everything."""
    tensor_split: tuple[float, ...]
    """Share of the offloaded layers for each GPU of the machine; empty for one or none."""
    cache_ram_bytes: int
    checkpoints: int
    load_mode: str = "none"
    """Read into memory, not mapped: mapping and repacking together keep the weights twice."""
    environment: Mapping[str, str] = field(default_factory=lambda: ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class _Ask:
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
        return _up(self.context)


@dataclass(frozen=True, slots=True)
class _Widths:
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


def _up(tokens: int) -> int:
    return -(-tokens // 256) * 256


# -- one model -----------------------------------------------------------------------------------------------


def trouble(facts: Facts, type_k: str = "f16", type_v: str = "f16", flash: bool = True) -> Reason | None:
    """Why no estimate can be made of this file, or None."""
    missing = [
        name
        for name in ("weights_bytes", "n_embd", "n_vocab")
        if not isinstance(value := getattr(facts, name), int) or not 0 < value < _SANE
    ]
    if missing:
        return Reason("unknown_fact", {"fact": missing[0]})
    layers = facts.layers
    if not 0 < len(layers) <= 4096:
        return Reason("unknown_layers", {})
    for index, layer in enumerate(layers):
        numbers = (
            layer.n_head,
            layer.n_head_kv,
            layer.head_dim_k,
            layer.head_dim_v,
            layer.state_bytes,
            layer.n_ff,
        )
        if min(numbers) < 0 or max(numbers) >= _SANE or (layer.sliding_window or 1) < 0:
            return Reason("unknown_layer", {"layer": index})
        if layer.kind == "attention" and not (layer.n_head_kv and layer.head_dim_k):
            return Reason("unknown_heads", {"layer": index})
    for kind in (type_k, type_v):
        if kind not in KV_TYPES:
            return Reason("unknown_kv_type", {"type": kind})
    if KV_TYPES[type_v][1] > 1 and not flash:
        return Reason("kv_needs_flash", {"type": type_v})
    if KV_TYPES[type_k][1] > 1 and facts.architecture in _NO_QUANTISED_KV:
        return Reason("kv_aborts", {"type": type_k, "architecture": facts.architecture})
    return None


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
    ask = _Ask(context, kv_type_k, kv_type_v, slots, ubatch, True, 0)
    return _kv(_widths(facts, kv_type_k, kv_type_v), ask)


def _widths(facts: Facts, type_k: str, type_v: str) -> _Widths:
    (bytes_k, block_k), (bytes_v, block_v) = KV_TYPES[type_k], KV_TYPES[type_v]
    per_k, per_v = bytes_k / block_k, bytes_v / block_v
    full, state, heads, query, dense = 0.0, 0, 0, 0, 0
    windows: dict[int, float] = {}
    attends = recurs = False
    for layer in facts.layers:
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
        elif layer.kind == "recurrent":
            recurs = True
            state += layer.state_bytes
        if layer.n_ff > dense:
            dense = layer.n_ff
    embd, vocab = facts.n_embd or 0, facts.n_vocab or 0
    feed, scratch = _feed(facts, dense or facts.n_ff or 0, embd, 2 * query, recurs)
    return _Widths(
        full, tuple(windows.items()), state, attends, heads, embd, feed, max(scratch, query, embd), vocab
    )


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
    return int(value) if isinstance(value, int | float) and 0 <= value < _SANE else 0


def _kv(w: _Widths, ask: _Ask) -> int:
    cells = ask.cells
    total = cells * w.cell_bytes
    for window, cell in w.windows:
        total += min(cells, _up(window + ask.ubatch)) * cell
    return int(total * ask.slots)


def _masks(w: _Widths, ask: _Ask) -> int:
    if not w.attends:
        return 0
    batch = min(ask.ubatch, ask.cells * ask.slots)
    cells = ask.cells
    for window, _ in w.windows[:1]:
        cells = (ask.cells if w.cell_bytes else 0) + min(ask.cells, _up(window + ask.ubatch))
    return (2 if ask.flash else 4) * batch * cells


def _compute(w: _Widths, ask: _Ask, wide: int = 5) -> int:
    """The graph's working buffer. `wide`: embedding-wide tensors alive at once (5 on a CPU, 2 or 4 on a
    GPU)."""
    batch = min(ask.ubatch, ask.cells * ask.slots)
    base = wide * w.embd
    graph = 4 * max(batch * (base + w.feed), base * batch + w.vocab * ask.slots)
    if not ask.flash and w.attends:
        graph += 4 * batch * ask.cells * w.n_head
    return graph + _masks(w, ask)


def _output(w: _Widths, ask: _Ask) -> int:
    return 4 * w.vocab * ask.slots


def _overhead(facts: Facts, w: _Widths, ask: _Ask) -> int:
    """Process, tokenizer, and the scratch a multiplication needs."""
    tokenizer = facts.tokenizer_bytes
    if tokenizer is None:
        # A byte-pair vocabulary stores about 39 bytes a token in the header, merges included.
        tokenizer = 39 * w.vocab
    batch = min(ask.ubatch, ask.cells * ask.slots)
    return PROCESS_BYTES + int(TOKENIZER_FACTOR * tokenizer) + int(batch * w.scratch * SCRATCH_BYTES)


def checkpoint_bytes(facts: Facts, *, kv_type_k: str = "f16", kv_type_v: str = "f16") -> int:
    """One state of a conversation, kept where the model cannot go back: recurrent state and sliding
    windows."""
    return _checkpoint(_widths(facts, kv_type_k, kv_type_v))


def _checkpoint(w: _Widths) -> int:
    return w.state_bytes + int(sum(window * cell for window, cell in w.windows))


def _first_checkpoints(w: _Widths, ask: _Ask) -> int:
    """What a first prompt leaves: a state near its start and one near its end. Near the start a window is
    empty."""
    kept = 2 * w.state_bytes
    for window, cell in w.windows:
        kept += int(min(window, ask.context) * cell)
    return kept


# -- where it goes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shares:
    """Bytes of weights in each place where llama.cpp may put them."""

    layers: tuple[int, ...]
    embedding: int
    output: int
    """The output's own tensor, or the copy of the embedding that a GPU needs when both are one."""
    rest: int


def _shares(facts: Facts) -> _Shares:
    n = len(facts.layers)
    weights = facts.weights_bytes or 0
    embedding = facts.token_embedding_bytes or 0
    output = facts.output_bytes or 0
    if facts.tensors:
        layers = [0] * n
        rest = embedding = output = 0
        for tensor in facts.tensors:
            part = tensor.name.split(".", 2)
            if part[0] == "blk" and len(part) == 3 and part[1].isdigit() and int(part[1]) < n:
                layers[int(part[1])] += tensor.size_bytes
            elif tensor.name == "token_embd.weight":
                embedding = tensor.size_bytes
            elif tensor.name == "output.weight":
                output = tensor.size_bytes
            else:
                rest += tensor.size_bytes
        return _Shares(tuple(layers), embedding, output or embedding, rest)
    each = max(0, weights - embedding - output) // n
    return _Shares((each,) * n, embedding, output or embedding, 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where everything is: bytes in ordinary memory and on each GPU, and how the layers were shared."""

    gpu_layers: int
    host: int
    devices: tuple[int, ...]
    split: tuple[float, ...] = ()


def _on_gpus(
    facts: Facts, w: _Widths, ask: _Ask, gpu_layers: int, free: Sequence[int], shares: _Shares
) -> _Place:
    """Offload the last `gpu_layers` (the output counts as one), shared between GPUs by what is free in
    each."""
    n = len(facts.layers)
    gpu_layers = max(0, min(gpu_layers, n + 1))
    start = n + 1 - gpu_layers
    total_free = sum(free) or 1
    bounds = [sum(free[: i + 1]) / total_free for i in range(len(free))]
    wide = 2 if facts.architecture in _TWO_WIDE else 4
    devices = [_compute(w, ask, wide) if gpu_layers else 0 for _ in free]
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
    host += _overhead(facts, w, ask) + GPU_HOST_BYTES + _output(w, ask) + _first_checkpoints(w, ask)
    host += 4 * wide * w.embd * batch + _masks(w, ask) if gpu_layers > n else _compute(w, ask)
    devices[0] += ask.projector_bytes
    split = tuple(round(f / total_free, 4) for f in free) if len(free) > 1 else ()
    return _Place(gpu_layers, host, tuple(devices), split)


def _tied(facts: Facts, shares: _Shares) -> bool:
    return facts.tied_embeddings is not False and shares.output == shares.embedding


def _layer_kept(layer: Layer, ask: _Ask, per: tuple[float, float]) -> int:
    if layer.kind == "recurrent":
        return layer.state_bytes * ask.slots
    if layer.kind != "attention":
        return 0
    cells = ask.cells
    if layer.sliding_window:
        cells = min(cells, _up(layer.sliding_window + ask.ubatch))
    return int(cells * ask.slots * layer.n_head_kv * (layer.head_dim_k * per[0] + layer.head_dim_v * per[1]))


# -- what there is -------------------------------------------------------------------------------------------


def ram_room(hardware: Hardware) -> int | None:
    """Bytes of memory a model may take now: what is available less what the system keeps."""
    if hardware.ram_available_bytes is None:
        return None
    reserve = max(RAM_RESERVE_BYTES, (hardware.ram_bytes or 0) // 10)
    # On a small machine a reserve of a gigabyte would leave nothing: never keep more than a
    # quarter of what is free.
    return max(0, hardware.ram_available_bytes - min(reserve, hardware.ram_available_bytes // 4))


def vram_room(gpu: Gpu) -> int | None:
    """Bytes a model may take on this GPU now."""
    free = gpu.vram_free_bytes if gpu.vram_free_bytes is not None else gpu.vram_bytes
    return None if free is None else max(0, free - VRAM_RESERVE_BYTES)


def _discrete(hardware: Hardware) -> tuple[Gpu, ...]:
    return tuple(g for g in hardware.gpus if not g.unified and vram_room(g))


def _cache(wish: int | None, room: int | None, need: int) -> int:
    """The prompt cache's ceiling: what was asked, else what a comfortable fit leaves, within limits."""
    if wish is not None:
        return max(0, wish)
    if room is None:
        return 0
    left = int(room * TIGHT) - need
    return max(0, min(CACHE_CEILING_BYTES, room // 10, left)) // MIB * MIB


# -- the report ----------------------------------------------------------------------------------------------


def fit(
    facts: Facts,
    hardware: Hardware,
    *,
    context: int = DEFAULT_CONTEXT,
    kv_type_k: str = "f16",
    kv_type_v: str = "f16",
    slots: int = 1,
    ubatch: int = 512,
    flash_attention: bool = True,
    gpu_layers: int | None = None,
    projector_bytes: int = 0,
    cache_bytes: int | None = None,
    measured: Sequence[speed.Measured] = (),
) -> FitReport:
    """Will this model run on this machine, and why.

    `context` is of one conversation (each slot has as many). `gpu_layers` and `cache_bytes` are chosen
    when None.
    `measured` are runs seen on this machine; they narrow the speed.
    """
    context = max(1, context)
    ask = _Ask(
        context, kv_type_k, kv_type_v, max(1, slots), max(1, ubatch), flash_attention, max(0, projector_bytes)
    )
    problem = trouble(facts, kv_type_k, kv_type_v, flash_attention)
    if problem is not None:
        return _rough(facts, hardware, ask, problem)
    w = _widths(facts, kv_type_k, kv_type_v)
    devices = _discrete(hardware)
    if devices and gpu_layers != 0:
        return _report_gpu(facts, hardware, ask, w, devices, gpu_layers, cache_bytes, measured)
    return _report_ram(facts, hardware, ask, w, gpu_layers, cache_bytes, measured)


def _need(facts: Facts, w: _Widths, ask: _Ask) -> int:
    """The engine's resident memory after a first prompt, all in one memory."""
    return (
        (facts.weights_bytes or 0)
        + ask.projector_bytes
        + _kv(w, ask)
        + w.state_bytes * ask.slots
        + _compute(w, ask)
        + _output(w, ask)
        + _overhead(facts, w, ask)
        + _first_checkpoints(w, ask)
    )


def _report_ram(
    facts: Facts,
    hardware: Hardware,
    ask: _Ask,
    w: _Widths,
    gpu_layers: int | None,
    cache_bytes: int | None,
    measured: Sequence[speed.Measured],
) -> FitReport:
    """All in the system's memory: a CPU, or a GPU that shares it."""
    unified = next((g for g in hardware.gpus if g.unified), None)
    room = ram_room(hardware)
    on_gpu = unified is not None and gpu_layers != 0
    if on_gpu and room is not None and hardware.ram_bytes:
        room = min(room, int(hardware.ram_bytes * UNIFIED_SHARE))
    layers = (
        len(facts.layers) + 1
        if on_gpu and gpu_layers is None
        else min(gpu_layers or 0, len(facts.layers) + 1)
    )
    need = _need(facts, w, ask)
    cache = _cache(cache_bytes, room, need)
    growth = max(0, CHECKPOINTS - 2) * _checkpoint(w)
    largest = _largest(facts, w, ask, room, growth)
    why: list[Reason] = []
    verdict = _verdict(need + growth, room, ask.context, largest, why)
    touched = speed.touched_bytes(facts, context=ask.context // 2, kv_cell_bytes=w.cell_bytes)
    return FitReport(
        weights_bytes=facts.weights_bytes,
        kv_bytes=_kv(w, ask),
        state_bytes=w.state_bytes * ask.slots,
        compute_bytes=_compute(w, ask) + _output(w, ask),
        overhead_bytes=_overhead(facts, w, ask),
        projector_bytes=ask.projector_bytes,
        cache_bytes=cache,
        total_bytes=need,
        device_bytes=(need,) if on_gpu else (),
        available_bytes=room,
        verdict=verdict,
        context=ask.context,
        max_context=largest,
        gpu_layers=layers,
        tokens_per_second=speed.estimate(
            facts, hardware, touched=touched, gpu=unified if on_gpu else None, share=1.0, measured=measured
        ),
        why=(*why, *_notes(facts, w, ask)),
        checkpoint_bytes=_first_checkpoints(w, ask),
    )


def _report_gpu(
    facts: Facts,
    hardware: Hardware,
    ask: _Ask,
    w: _Widths,
    gpus: tuple[Gpu, ...],
    wish: int | None,
    cache_bytes: int | None,
    measured: Sequence[speed.Measured],
) -> FitReport:
    """On cards with their own memory, wholly or in part."""
    rooms = [vram_room(g) or 0 for g in gpus]
    ram = ram_room(hardware)
    shares = _shares(facts)
    everything = len(facts.layers) + 1
    place = _on_gpus(facts, w, ask, everything if wish is None else wish, rooms, shares)
    if wish is None and not _holds(place, rooms):
        place = _as_many(facts, w, ask, rooms, shares)
    if place.gpu_layers == 0:
        return _report_ram(facts, hardware, ask, w, 0, cache_bytes, measured)
    whole = place.gpu_layers == everything
    growth = max(0, CHECKPOINTS - 2) * _checkpoint(w)
    largest = _largest_gpu(facts, w, ask, rooms, ram, shares, whole)
    why: list[Reason] = []
    if not _holds(place, rooms) or (ram is not None and place.host + growth > ram):
        short = max(
            *(d - r for d, r in zip(place.devices, rooms, strict=True)), place.host + growth - (ram or 0)
        )
        verdict: Verdict = "smaller_context" if largest >= SMALLEST_CONTEXT else "no"
        why.append(Reason(verdict, {"missing": max(0, short), "context": largest}))
    elif not whole:
        verdict = "partly_on_gpu"
        why.append(Reason("partly_on_gpu", {"layers": place.gpu_layers - 1, "all": everything - 1}))
    else:
        full = max(d / r if r else 2.0 for d, r in zip(place.devices, rooms, strict=True))
        verdict = "tight" if full > TIGHT else "fits"
        why.append(Reason("on_gpu", {"name": gpus[0].name, "need": sum(place.devices), "room": sum(rooms)}))
    device_share = sum(place.devices) / max(1, sum(place.devices) + place.host) if not whole else 1.0
    listed = iter(place.devices)
    touched = speed.touched_bytes(facts, context=ask.context // 2, kv_cell_bytes=w.cell_bytes)
    return FitReport(
        weights_bytes=facts.weights_bytes,
        kv_bytes=_kv(w, ask),
        state_bytes=w.state_bytes * ask.slots,
        compute_bytes=_compute(w, ask, 2 if facts.architecture in _TWO_WIDE else 4) + _output(w, ask),
        overhead_bytes=_overhead(facts, w, ask) + GPU_HOST_BYTES,
        projector_bytes=ask.projector_bytes,
        cache_bytes=_cache(cache_bytes, ram, place.host),
        total_bytes=place.host + sum(place.devices),
        device_bytes=tuple(next(listed) if g in gpus else 0 for g in hardware.gpus),
        available_bytes=sum(rooms) + (0 if whole else ram or 0),
        verdict=verdict,
        context=ask.context,
        max_context=largest,
        gpu_layers=place.gpu_layers,
        tokens_per_second=speed.estimate(
            facts, hardware, touched=touched, gpu=gpus[0], share=device_share, measured=measured
        ),
        why=(*why, *_notes(facts, w, ask)),
        checkpoint_bytes=_first_checkpoints(w, ask),
    )


def _holds(place: _Place, rooms: Sequence[int]) -> bool:
    return all(used <= room for used, room in zip(place.devices, rooms, strict=True))


def _as_many(facts: Facts, w: _Widths, ask: _Ask, rooms: Sequence[int], shares: _Shares) -> _Place:
    """The most layers the cards hold."""
    low, high = 0, len(facts.layers)
    while low < high:
        middle = (low + high + 1) // 2
        if _holds(_on_gpus(facts, w, ask, middle, rooms, shares), rooms):
            low = middle
        else:
            high = middle - 1
    return _on_gpus(facts, w, ask, low, rooms, shares)


def _verdict(need: int, room: int | None, context: int, largest: int | None, why: list[Reason]) -> Verdict:
    if room is None:
        why.append(Reason("unknown_memory", {}))
        return "unknown"
    if need <= room:
        verdict: Verdict = "fits" if need <= TIGHT * room else "tight"
        why.append(Reason(verdict, {"need": need, "room": room}))
    elif largest is not None and SMALLEST_CONTEXT <= largest < context:
        verdict = "smaller_context"
        why.append(Reason(verdict, {"missing": need - room, "context": largest}))
    else:
        verdict = "no"
        why.append(Reason(verdict, {"missing": need - room, "need": need, "room": room}))
    return verdict


def _notes(facts: Facts, w: _Widths, ask: _Ask) -> Iterable[Reason]:
    """What is worth saying beside the verdict."""
    if not facts.exact:
        yield Reason("not_exact", {})
    if facts.context_length and ask.context > facts.context_length:
        yield Reason("beyond_training", {"context": ask.context, "trained": facts.context_length})
    if w.windows and w.cell_bytes:
        yield Reason("sliding_window", {"window": w.windows[0][0]})
    if w.state_bytes:
        yield Reason("recurrent", {"state": w.state_bytes})
    if facts.n_expert and facts.n_expert_used and facts.n_expert > facts.n_expert_used:
        yield Reason("mixture", {"used": facts.n_expert_used, "all": facts.n_expert})


# -- the largest context -------------------------------------------------------------------------------------


def max_context(
    facts: Facts,
    hardware: Hardware,
    *,
    kv_type_k: str = "f16",
    kv_type_v: str = "f16",
    slots: int = 1,
    ubatch: int = 512,
    flash_attention: bool = True,
    projector_bytes: int = 0,
) -> int | None:
    """The longest context that fits, never beyond what the model was trained for; None when unknown."""
    report = fit(
        facts,
        hardware,
        kv_type_k=kv_type_k,
        kv_type_v=kv_type_v,
        slots=slots,
        ubatch=ubatch,
        flash_attention=flash_attention,
        projector_bytes=projector_bytes,
        context=SMALLEST_CONTEXT,
    )
    return report.max_context


def _trained(facts: Facts) -> int:
    length = facts.context_length
    return length if length and 0 < length < 1 << 27 else 1 << 17


def _largest(facts: Facts, w: _Widths, ask: _Ask, room: int | None, growth: int) -> int | None:
    """By bisection: the need grows with the context, in steps of 256."""
    if room is None:
        return None
    top = _trained(facts)

    def holds(context: int) -> bool:
        return _need(facts, w, replace(ask, context=context)) + growth <= room

    return _bisect(top, holds)


def _largest_gpu(
    facts: Facts,
    w: _Widths,
    ask: _Ask,
    rooms: Sequence[int],
    ram: int | None,
    shares: _Shares,
    whole: bool,
) -> int:
    everything = len(facts.layers) + 1

    def holds(context: int) -> bool:
        asked = replace(ask, context=context)
        if whole:
            return _holds(_on_gpus(facts, w, asked, everything, rooms, shares), rooms)
        return _need(facts, w, asked) + GPU_HOST_BYTES <= sum(rooms) + (ram or 0)

    return _bisect(_trained(facts), holds)


def _bisect(top: int, holds: Callable[[int], bool]) -> int:
    if holds(top):
        return top
    low, high = 0, -(-top // 256)
    while low + 1 < high:
        middle = (low + high) // 2
        if holds(middle * 256):
            low = middle
        else:
            high = middle
    return low * 256


# -- files of which too little is known ----------------------------------------------------------------------


def _rough(facts: Facts, hardware: Hardware, ask: _Ask, problem: Reason) -> FitReport:
    """No estimate, with its reason. The weights are still said where they are known."""
    weights = facts.weights_bytes if facts.weights_bytes and 0 < facts.weights_bytes < _SANE else None
    return FitReport(
        weights_bytes=weights,
        kv_bytes=None,
        state_bytes=None,
        compute_bytes=None,
        overhead_bytes=None,
        projector_bytes=ask.projector_bytes,
        cache_bytes=0,
        total_bytes=None,
        device_bytes=(),
        available_bytes=ram_room(hardware),
        verdict="unknown",
        context=ask.context,
        max_context=None,
        gpu_layers=0,
        tokens_per_second=Speed(None, None, None, Reason("speed_unknown_model", {})),
        why=(problem,),
    )


# -- the seeds' rules, beside ours ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of thumb, what it says of this file, and what it does not count."""

    name: str
    bytes: int
    ours_bytes: int
    wrong: Reason

    @property
    def error(self) -> float:
        """Of the rule against ours; negative when it promises too little memory."""
        return self.bytes / self.ours_bytes - 1


def rules_of_thumb(facts: Facts, context: int = DEFAULT_CONTEXT) -> tuple[Rule, ...]:
    """What people are told elsewhere (size x 1.5, size x 2, parameters x bits / 8 x 1.2), and what is so."""
    if trouble(facts) is not None:
        return ()
    ask = _Ask(context, "f16", "f16", 1, 512, True, 0)
    w = _widths(facts, "f16", "f16")
    ours, kept, weights = _need(facts, w, ask), _kv(w, ask), facts.weights_bytes or 0
    said = [("size x 1.5", facts.file_bytes * 3 // 2), ("size x 2", facts.file_bytes * 2)]
    if facts.parameters:
        bits = nominal_bits(facts.quantisation)
        said.append(("P x Q/8 x 1.2", int(facts.parameters * bits / 8 * 1.2)))
    rules = []
    for name, size in said:
        if name.startswith("P"):
            real = round(8 * weights / (facts.parameters or 1), 2)
            wrong = Reason(
                "rule_bits", {"nominal": nominal_bits(facts.quantisation), "real": real, "kv": kept}
            )
        elif size < ours:
            wrong = Reason("rule_no_context", {"kv": kept, "context": context, "missing": ours - size})
        else:
            wrong = Reason("rule_share", {"extra": ours - weights, "rule": size - facts.file_bytes})
        rules.append(Rule(name, size, ours, wrong))
    return tuple(rules)


def nominal_bits(quantisation: str | None) -> int:
    """The number in the name, as the rule takes it: 4 for Q4_K_M, 16 for F16."""
    digits = "".join(c if c.isdigit() else " " for c in quantisation or "").split()
    return min(32, int(digits[0])) if digits else 4
