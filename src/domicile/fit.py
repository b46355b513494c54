"""Will it fit: the memory of a model on a machine, in bytes, before a byte of its weights is downloaded.

Holds what a model needs (`memory.py`) against what a machine has, and gives a verdict with its reasons, the
largest context, the share of each GPU and the launch that uses what was predicted (`Plan`). Pure arithmetic:
touches no file, no engine and no clock; a report takes microseconds, so that a slider can ask for one at
every step. Knows nothing of how fast (that is `speed.py`) nor of any language: a reason is a key and its
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from domicile import memory, picture_memory, quality, runtime_memory, speed
from domicile.types import PICTURES, Facts, FitReport, Gpu, Hardware, Plan, Reason, Speed, Verdict

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 2048
"""Below this a conversation is not one: a model that only fits under it does not fit."""
CACHE_CEILING_BYTES = memory.GIB
"""The optional prompt cache never gets more (nor more than a tenth of what is free)."""
RAM_RESERVE_BYTES = memory.GIB
"""Left to the system, or a tenth of the memory when that is more."""
VRAM_RESERVE_BYTES = memory.GIB
"""Left on each GPU for its driver, the screen and the runtime's own context (llama.cpp's --fit leaves the
same)."""
UNIFIED_SHARE = 0.75
"""macOS lets a GPU wire three quarters of the memory (two thirds below 36 GB)."""
TIGHT = 0.9
"""Above this share of what is available, a fit is called tight."""


# -- what there is -------------------------------------------------------------------------------------------


def ram_room(hardware: Hardware) -> int | None:
    """Bytes of memory a model may take now: what is available less what the system keeps."""
    if hardware.room_bytes is not None:
        return max(0, hardware.room_bytes)
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
    return max(0, min(CACHE_CEILING_BYTES, room // 10, left)) // memory.MIB * memory.MIB


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
    busy: float | None = None,
    sound: str = "int8",
) -> FitReport:
    """Will this model run on this machine, and why.

    `context` is of one conversation (each slot has as many). `gpu_layers` and `cache_bytes` are chosen
    when None.
    `measured` are runs seen on this machine, which narrow the speed; `busy` is how many threads of other
    programs are ready to run for each core, which lowers it. `sound` is the arithmetic of a model that hears.
    """
    context = max(1, context)
    ask = memory.Ask(
        context, kv_type_k, kv_type_v, max(1, slots), max(1, ubatch), flash_attention, max(0, projector_bytes)
    )
    facts = memory.loaded(facts)
    problem = memory.trouble(facts, kv_type_k, kv_type_v, flash_attention)
    if facts.format != "gguf":
        return _other_engine(facts, hardware, ask, sound)
    if problem is not None:
        return _unknown(facts, hardware, ask, problem)
    w = memory.widths(facts, kv_type_k, kv_type_v)
    devices = _discrete(hardware)
    if devices and gpu_layers != 0:
        return _report_gpu(facts, hardware, ask, w, devices, gpu_layers, cache_bytes, measured, busy)
    return _report_ram(facts, hardware, ask, w, gpu_layers, cache_bytes, measured, busy)


def _need(facts: Facts, w: memory.Widths, ask: memory.Ask) -> int:
    """The engine's resident memory after a first prompt, all in one memory."""
    return (
        (facts.weights_bytes or 0)
        + ask.projector_bytes
        + memory.kept_bytes(w, ask)
        + w.state_bytes * ask.slots
        + memory.compute_bytes(w, ask)
        + memory.output_bytes(w, ask)
        + memory.overhead_bytes(facts, w, ask)
        + memory.first_checkpoints(w, ask)
    )


def _parts(facts: Facts, w: memory.Widths, ask: memory.Ask, wide: int = 5) -> FitReport:
    """The parts of a report that no machine changes; the rest is still unknown."""
    return FitReport(
        weights_bytes=facts.weights_bytes,
        kv_bytes=memory.kept_bytes(w, ask),
        state_bytes=w.state_bytes * ask.slots,
        compute_bytes=memory.compute_bytes(w, ask, wide) + memory.output_bytes(w, ask),
        overhead_bytes=memory.overhead_bytes(facts, w, ask),
        projector_bytes=ask.projector_bytes,
        cache_bytes=0,
        total_bytes=None,
        device_bytes=(),
        available_bytes=None,
        verdict="unknown",
        context=ask.context,
        max_context=None,
        gpu_layers=0,
        tokens_per_second=Speed(None, None, None, Reason("speed_unknown_model", {})),
        why=(),
        checkpoint_bytes=memory.first_checkpoints(w, ask),
    )


def _report_ram(
    facts: Facts,
    hardware: Hardware,
    ask: memory.Ask,
    w: memory.Widths,
    gpu_layers: int | None,
    cache_bytes: int | None,
    measured: Sequence[speed.Measured],
    busy: float | None,
) -> FitReport:
    """All in the system's memory: a CPU, or a GPU that shares it."""
    unified = next((g for g in hardware.gpus if g.unified), None)
    room = ram_room(hardware)
    on_gpu = unified is not None and gpu_layers != 0
    if on_gpu and room is not None and hardware.ram_bytes and unified is not None and unified.backend == "metal":
        room = min(room, int(hardware.ram_bytes * UNIFIED_SHARE))
    layers = len(facts.layers) + 1 if on_gpu and gpu_layers is None else min(gpu_layers or 0, len(facts.layers) + 1)
    need = _need(facts, w, ask)
    cache = _cache(cache_bytes, room, need)
    growth = max(0, memory.CHECKPOINTS - 2) * memory.one_checkpoint(w)
    largest = _largest(facts, w, ask, room, growth)
    why: list[Reason] = []
    verdict = _verdict(need + growth, room, ask.context, largest, why)
    touched = speed.touched_bytes(facts, context=ask.context // 2, kv_cell_bytes=w.cell_bytes)
    return replace(
        _parts(facts, w, ask),
        cache_bytes=cache,
        total_bytes=need,
        device_bytes=(need,) if on_gpu else (),
        available_bytes=room,
        verdict=verdict,
        max_context=largest,
        gpu_layers=layers,
        tokens_per_second=speed.estimate(
            facts,
            hardware,
            touched=touched,
            gpu=unified if on_gpu else None,
            measured=measured,
            busy=busy,
        ),
        why=(*why, *_notes(facts, w, ask)),
    )


def _report_gpu(
    facts: Facts,
    hardware: Hardware,
    ask: memory.Ask,
    w: memory.Widths,
    gpus: tuple[Gpu, ...],
    wish: int | None,
    cache_bytes: int | None,
    measured: Sequence[speed.Measured],
    busy: float | None,
) -> FitReport:
    """On cards with their own memory, wholly or in part."""
    rooms = [vram_room(g) or 0 for g in gpus]
    ram = ram_room(hardware)
    shares = memory.shares_of(facts)
    everything = len(facts.layers) + 1
    place = memory.on_gpus(facts, w, ask, everything if wish is None else wish, rooms, shares)
    if wish is None and not _holds(place, rooms):
        place = _as_many(facts, w, ask, rooms, shares)
    if place.gpu_layers == 0:
        return _report_ram(facts, hardware, ask, w, 0, cache_bytes, measured, busy)
    whole = place.gpu_layers == everything
    growth = max(0, memory.CHECKPOINTS - 2) * memory.one_checkpoint(w)
    largest = _largest_gpu(facts, w, ask, rooms, ram, shares, whole, growth)
    why: list[Reason] = []
    if not _holds(place, rooms) or (ram is not None and place.host + growth > ram):
        over = [d - r for d, r in zip(place.devices, rooms, strict=True)]
        short = max(over if ram is None else (*over, place.host + growth - ram))
        verdict: Verdict = "smaller_context" if largest >= SMALLEST_CONTEXT else "no"
        key = verdict if verdict == "smaller_context" else "too_large_gpu"
        why.append(Reason(key, {"missing": max(0, short), "context": largest}))
    elif not whole:
        verdict = "partly_on_gpu"
        why.append(Reason("partly_on_gpu", {"layers": place.gpu_layers - 1, "all": everything - 1}))
    else:
        full = max(d / r if r else 2.0 for d, r in zip(place.devices, rooms, strict=True))
        verdict = "tight" if full > TIGHT else "fits"
        why.append(Reason("on_gpu", {"name": gpus[0].name, "need": sum(place.devices), "room": sum(rooms)}))
    device_share = 1.0 if whole else memory.share_on_gpu(shares, place.gpu_layers)
    listed = iter(place.devices)
    touched = speed.touched_bytes(facts, context=ask.context // 2, kv_cell_bytes=w.cell_bytes)
    parts = _parts(facts, w, ask, 2 if facts.architecture in memory.TWO_WIDE else 4)
    return replace(
        parts,
        overhead_bytes=(parts.overhead_bytes or 0) + memory.GPU_HOST_BYTES,
        cache_bytes=_cache(cache_bytes, ram, place.host),
        total_bytes=place.host + sum(place.devices),
        device_bytes=tuple(next(listed) if g in gpus else 0 for g in hardware.gpus),
        available_bytes=sum(rooms) + (0 if whole else ram or 0),
        verdict=verdict,
        max_context=largest,
        gpu_layers=place.gpu_layers,
        tokens_per_second=speed.estimate(
            facts, hardware, touched=touched, gpu=gpus[0], share=device_share, measured=measured, busy=busy
        ),
        why=(*why, *_notes(facts, w, ask)),
    )


def _holds(place: memory.Place, rooms: Sequence[int]) -> bool:
    return all(used <= room for used, room in zip(place.devices, rooms, strict=True))


def _as_many(
    facts: Facts, w: memory.Widths, ask: memory.Ask, rooms: Sequence[int], shares: memory.Shares
) -> memory.Place:
    """The most layers the cards hold."""
    low, high = 0, len(facts.layers)
    while low < high:
        middle = (low + high + 1) // 2
        if _holds(memory.on_gpus(facts, w, ask, middle, rooms, shares), rooms):
            low = middle
        else:
            high = middle - 1
    return memory.on_gpus(facts, w, ask, low, rooms, shares)


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


def _notes(facts: Facts, w: memory.Widths, ask: memory.Ask) -> Iterable[Reason]:
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


def _largest(facts: Facts, w: memory.Widths, ask: memory.Ask, room: int | None, growth: int) -> int | None:
    """By bisection: the need grows with the context, in steps of 256."""
    if room is None:
        return None
    top = _trained(facts)

    def holds(context: int) -> bool:
        return _need(facts, w, replace(ask, context=context)) + growth <= room

    return _bisect(top, holds)


def _largest_gpu(
    facts: Facts,
    w: memory.Widths,
    ask: memory.Ask,
    rooms: Sequence[int],
    ram: int | None,
    shares: memory.Shares,
    whole: bool,
    growth: int,
) -> int:
    """Wholly on the cards the system's memory keeps the rest and the states of the conversation; in part, the
    layers move between the two as the context grows, and their sum decides."""
    everything = len(facts.layers) + 1

    def holds(context: int) -> bool:
        asked = replace(ask, context=context)
        if whole:
            place = memory.on_gpus(facts, w, asked, everything, rooms, shares)
            return _holds(place, rooms) and (ram is None or place.host + growth <= ram)
        return ram is None or _need(facts, w, asked) + memory.GPU_HOST_BYTES + growth <= sum(rooms) + ram

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


def _unknown(facts: Facts, hardware: Hardware, ask: memory.Ask, problem: Reason) -> FitReport:
    """No estimate, with its reason. The weights are still said where they are known."""
    return FitReport(
        weights_bytes=_weights(facts),
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


def not_estimated(facts: Facts, hardware: Hardware, context: int, problem: Reason) -> FitReport:
    """The report of a model that will not run here, whatever its memory: the engine said so."""
    return _unknown(facts, hardware, memory.Ask(context, "f16", "f16", 1, 512, True, 0), problem)


def _weights(facts: Facts) -> int | None:
    return facts.weights_bytes if facts.weights_bytes and 0 < facts.weights_bytes < memory.SANE else None


def _other_engine(facts: Facts, hardware: Hardware, ask: memory.Ask, sound: str) -> FitReport:
    """Files that llama.cpp does not run."""
    if _weights(facts) is None:
        return _unknown(facts, hardware, ask, Reason("unknown_weights", {}))
    if facts.task in PICTURES:
        return _pictures(facts, hardware, ask)
    need, measured = runtime_memory.need(facts, hardware, ask.context, ask.slots, sound)
    total = need.bytes + ask.projector_bytes
    room = ram_room(hardware)
    why: list[Reason] = []
    verdict = _verdict(total, room, ask.context, None, why)
    if not measured:
        why.append(Reason("rough", {"format": facts.format}))
    return FitReport(
        weights_bytes=need.weights,
        kv_bytes=need.kept,
        state_bytes=0,
        compute_bytes=need.work,
        overhead_bytes=need.process,
        projector_bytes=ask.projector_bytes,
        cache_bytes=0,
        total_bytes=total,
        device_bytes=(),
        available_bytes=room,
        verdict=verdict,
        context=ask.context,
        max_context=None,
        gpu_layers=0,
        tokens_per_second=Speed(None, None, None, Reason("speed_other_engine", {"format": facts.format})),
        why=tuple(why),
    )


def _pictures(facts: Facts, hardware: Hardware, ask: memory.Ask) -> FitReport:
    """A model that draws: for a picture of its usual size, in tiles when memory is short."""
    room = ram_room(hardware)
    modes = picture_memory.modes_for(facts, hardware, room)
    found = picture_memory.need_bytes(facts, hardware, tiled="vae_tiling" in modes)
    if found is None:
        return _unknown(facts, hardware, ask, Reason("unknown_weights", {}))
    weights, work = found
    need = weights + work + picture_memory.PROCESS_BYTES
    why: list[Reason] = []
    verdict = _verdict(need, room, ask.context, None, why)
    side = picture_memory.side_of(facts)
    why.append(Reason("picture_size", {"side": side}))
    half = picture_memory.width_of(hardware) == 2
    why.append(Reason("picture_half" if half else "picture_whole", {}))
    if modes:
        why.append(Reason("picture_tiles", {}))
    return FitReport(
        weights_bytes=weights,
        kv_bytes=0,
        state_bytes=0,
        compute_bytes=work,
        overhead_bytes=picture_memory.PROCESS_BYTES,
        projector_bytes=0,
        cache_bytes=0,
        total_bytes=need,
        device_bytes=(),
        available_bytes=room,
        verdict=verdict,
        context=ask.context,
        max_context=None,
        gpu_layers=0,
        tokens_per_second=Speed(None, None, None, Reason("speed_pictures", {})),
        why=tuple(why),
    )


# -- which file to take --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """The file of a repository that suits a machine best, with the report of every one of them."""

    best: str | None
    """Its label; None when none fits."""
    reason: Reason
    reports: Mapping[str, FitReport]
    """By label. A file too large has the verdict `smaller_quantisation` when a smaller one fits."""


def best(
    variants: Mapping[str, Facts],
    hardware: Hardware,
    *,
    context: int = DEFAULT_CONTEXT,
    kv_type: str = "f16",
    slots: int = 1,
    projector_bytes: int = 0,
    measured: Sequence[speed.Measured] = (),
    busy: float | None = None,
    enough: float = 8.0,
) -> Choice:
    """Which quantisation to recommend: the best quality that fits well and answers as fast as one reads.

    Quality is what `quality.py` says of each type; `enough` is in tokens a second. Where the speed is not
    known it does not count. Nothing above eight bits is recommended: it costs twice and nobody sees the gain.
    """
    reports = {
        label: fit(
            facts,
            hardware,
            context=context,
            kv_type_k=kv_type,
            kv_type_v=kv_type,
            slots=slots,
            projector_bytes=projector_bytes,
            measured=measured,
            busy=busy,
        )
        for label, facts in variants.items()
    }
    runs = [label for label, report in reports.items() if report.verdict in {"fits", "tight", "partly_on_gpu"}]
    if not runs:
        small = min(reports, key=lambda label: reports[label].total_bytes or 1 << 62, default=None)
        needed = reports[small].total_bytes if small is not None else None
        return Choice(None, Reason("best_none", {"label": small, "need": needed}), reports)
    judged = {
        label: replace(report, verdict="smaller_quantisation", why=(Reason("smaller_quantisation", {}), *report.why))
        if report.verdict in {"no", "smaller_context"}
        and any((reports[r].total_bytes or 0) < (report.total_bytes or 0) for r in runs)
        else report
        for label, report in reports.items()
    }

    def rank(label: str) -> tuple[bool, bool, bool, float, int]:
        report, bits = reports[label], quality.bits(label, variants[label])
        low = report.tokens_per_second.low
        return (
            report.verdict == "fits",
            low is None or low >= enough,
            bits <= quality.ENOUGH_BITS,
            -quality.loss(label, variants[label]),
            -(report.total_bytes or 0),
        )

    chosen = max(runs, key=rank)
    low = reports[chosen].tokens_per_second.low
    fast = low is None or low >= enough
    key = "best_quality" if reports[chosen].verdict == "fits" and fast else "best_of_what_runs"
    return Choice(chosen, Reason(key, {"label": chosen, "need": reports[chosen].total_bytes}), judged)


def plan(
    report: FitReport,
    hardware: Hardware,
    *,
    kv_type_k: str = "f16",
    kv_type_v: str = "f16",
    slots: int = 1,
    ubatch: int = 512,
    flash_attention: bool = True,
) -> Plan:
    """The launch of a report: start the engine so, and it uses what was predicted. Options as for `fit`."""
    cards = _discrete(hardware) if report.gpu_layers else ()
    rooms = [vram_room(card) or 0 for card in cards]
    total = sum(rooms)
    return Plan(
        n_ctx=memory.padded(report.context) * slots,
        n_parallel=slots,
        n_ubatch=ubatch,
        type_k=kv_type_k,
        type_v=kv_type_v,
        flash_attention=flash_attention,
        gpu_layers=report.gpu_layers,
        tensor_split=tuple(room / total for room in rooms) if len(rooms) > 1 and total else (),
        cache_ram_bytes=report.cache_bytes,
        checkpoints=memory.CHECKPOINTS,
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
    facts = memory.loaded(facts)
    if memory.trouble(facts) is not None:
        return ()
    ask = memory.Ask(context, "f16", "f16", 1, 512, True, 0)
    w = memory.widths(facts, "f16", "f16")
    ours, kept, weights = _need(facts, w, ask), memory.kept_bytes(w, ask), facts.weights_bytes or 0
    said = [("size x 1.5", facts.file_bytes * 3 // 2), ("size x 2", facts.file_bytes * 2)]
    if facts.parameters:
        bits = nominal_bits(facts.quantisation)
        said.append(("P x Q/8 x 1.2", int(facts.parameters * bits / 8 * 1.2)))
    rules = []
    for name, size in said:
        if name.startswith("P"):
            real = round(8 * weights / (facts.parameters or 1), 2)
            wrong = Reason("rule_bits", {"nominal": nominal_bits(facts.quantisation), "real": real, "kv": kept})
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
