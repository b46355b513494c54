"""How fast a model answers: an interval of tokens a second, never one number.

Knows that writing a token reads the weights it uses once: time = bytes read / (share x bandwidth) + layers
x a fixed cost, with two constants for each kind of processor, and how far published measurements scatter
around that. Pure arithmetic. Knows no machine: the bandwidth comes with `Hardware`, measured
(`Calibration`), read from a table of cards (`gpus.py`), or unknown, and then so is the speed.

Constants: our own fit on bench/data/public_speed.csv, by mean absolute error of the logarithm; `python -m
bench.speed_accuracy` derives them again and leaves one device out at a time. The intervals hold the middle
80 % of those leave-one-out errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from domicile.types import Facts, Gpu, Hardware, Reason, Speed


@dataclass(frozen=True, slots=True)
class Constants:
    """Of one kind of processor."""

    share: float
    """Of the memory bandwidth that decoding reaches."""
    layer_seconds: float
    """Cost of a layer whatever its size."""
    low: float
    high: float
    """The interval, as factors of the estimate."""
    flop_per_byte: float
    """Arithmetic for each byte of bandwidth, for the class of the prompt's speed."""
    token_seconds: float = 0.0
    """Cost of a token whatever the model: threads that meet, sampling, the answer's way out."""


CONSTANTS: Mapping[str, Constants] = {
    "cuda": Constants(0.84, 0.050e-3, 0.80, 1.22, 55.0),
    "cuda_hbm": Constants(0.60, 0.100e-3, 0.75, 1.25, 60.0),
    "metal": Constants(0.92, 0.21e-3, 0.84, 1.14, 18.0),
    "rocm": Constants(0.82, 0.050e-3, 0.60, 1.35, 45.0),
    "vulkan": Constants(0.82, 0.050e-3, 0.60, 1.35, 35.0),
    "intel": Constants(0.60, 0.080e-3, 0.50, 1.40, 35.0),
    "cpu": Constants(0.57, 0.0, 0.62, 1.30, 0.0, 0.3e-3),
}
"""`intel` is assumed: no published measurement is in the table. `cpu` is used without calibration of a
family. Its cost of a token was measured with `graine`, 4 MB, whose weights are read in less than that. Its interval is
that of the clock, for a calibration by processor time: the median of twelve files was 0.90 of it."""

HBM_BYTES_PER_S = 1.3e12
"""From here up a CUDA card has stacked memory, which decoding one sequence cannot saturate (A100, H100)."""
CPU_GFLOPS_A_CORE = {"amx_int8": 150e9, "avx512f": 90e9, "avx2": 70e9, "neon": 40e9}
"""Arithmetic of one core on a prompt, by its best instruction set (measured on one x86 machine,
cpu_speed.csv)."""
_PLAIN_CORE = 4e9
SCAN_LOW = 0.6
"""A scan over a recurrent state takes time that no weight pays for: Mamba-130M reached 0.44 to 0.65
of the estimate."""
_LEGACY = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")

Prefill = Literal["slow", "fair", "fast", "very_fast"]
_CLASSES: tuple[tuple[float, Prefill], ...] = ((25.0, "slow"), (120.0, "fair"), (800.0, "fast"))
"""Tokens of a prompt a second: under 25 a page of text takes more than half a minute."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run seen on this machine."""

    touched_bytes: float
    layers: int
    tokens_per_second: float
    family: str
    """`legacy` or `k`: see `family`."""
    device: str = "cpu"
    """`cpu`, or the name of the GPU."""


def family(quantisation: str | None) -> Literal["legacy", "k"]:
    """Which of the two calibrations speaks for this file: whole-byte and plain types, or K and IQ types."""
    return "legacy" if (quantisation or "").upper().startswith(_LEGACY) else "k"


def touched_bytes(facts: Facts, *, context: int = 0, kv_cell_bytes: float = 0.0) -> float | None:
    """Bytes read to write one token, `context` tokens into a conversation.

    The embedding is one row unless it is the output as well; of a mixture of experts, only those used.
    """
    weights = facts.weights_bytes
    if weights is None or weights <= 0:
        return None
    read = float(weights)
    if facts.token_embedding_bytes and facts.tied_embeddings is False:
        read -= facts.token_embedding_bytes
    read -= _idle_experts(facts, read)
    return max(0.0, read) + max(0, context) * kv_cell_bytes


def _idle_experts(facts: Facts, weights: float) -> float:
    if not facts.n_expert or not facts.n_expert_used or facts.n_expert_used >= facts.n_expert:
        return 0.0
    idle = 1.0 - facts.n_expert_used / facts.n_expert
    if facts.tensors:
        return idle * sum(t.size_bytes for t in facts.tensors if "_exps." in t.name)
    counted = facts.extra.get("expert_bytes")
    if isinstance(counted, int | float) and 0 < counted < weights:
        return idle * counted
    if facts.parameters and facts.active_parameters and facts.active_parameters < facts.parameters:
        return weights * (1.0 - facts.active_parameters / facts.parameters)
    experts = facts.n_expert * 3 * (facts.n_ff_expert or facts.n_ff or 0) * (facts.n_embd or 0) * len(facts.layers)
    if not facts.parameters or experts >= facts.parameters:
        return 0.0
    return weights * idle * experts / facts.parameters


def seconds_per_token(touched: float, layers: int, bandwidth: float, constants: Constants) -> float:
    return touched / (constants.share * bandwidth) + layers * constants.layer_seconds + constants.token_seconds


def constants_for(gpu: Gpu) -> Constants:
    """The constants of a GPU's backend, and of its memory."""
    if gpu.backend == "cuda" and (gpu.bandwidth_bytes_per_s or 0) > HBM_BYTES_PER_S and not _consumer(gpu.name):
        return CONSTANTS["cuda_hbm"]
    return CONSTANTS[gpu.backend]


def _consumer(name: str) -> bool:
    return any(word in name.upper().split() for word in ("RTX", "GTX", "GEFORCE"))


def estimate(
    facts: Facts,
    hardware: Hardware,
    *,
    touched: float | None,
    gpu: Gpu | None = None,
    share: float = 1.0,
    measured: Sequence[Measured] = (),
    busy: float | None = None,
) -> Speed:
    """Tokens a second on this machine. `share` is the part of the model on `gpu`; `busy`
    is how many threads of other programs are ready to run for each core (None: not known)."""
    if touched is None or not facts.layers:
        return Speed(None, None, None, Reason("speed_unknown_model", {}))
    layers = len(facts.layers)
    if gpu is None:
        return _on_cpu(facts, hardware, touched, layers, measured, busy)
    prefill = _prefill_gpu(facts, gpu)
    if not gpu.bandwidth_bytes_per_s:
        return Speed(None, None, prefill, Reason("speed_unknown_gpu", {"name": gpu.name}))
    constants = constants_for(gpu)
    seconds = seconds_per_token(touched, layers, gpu.bandwidth_bytes_per_s, constants)
    if share < 1.0:
        cpu = _on_cpu(facts, hardware, touched, layers, measured, busy)
        if cpu.low is None or cpu.high is None:
            return Speed(None, None, prefill, Reason("speed_partly_unknown", {"name": gpu.name}))
        low = 1 / (share * seconds / constants.low + (1 - share) / cpu.low)
        high = 1 / (share * seconds / constants.high + (1 - share) / cpu.high)
        return Speed(low, high, cpu.prefill, Reason("speed_partly", {"name": gpu.name, "share": round(100 * share)}))
    narrowed = _narrow(1 / seconds, measured, gpu.name, None, layers, gpu.bandwidth_bytes_per_s, constants)
    if narrowed is not None:
        return Speed(*narrowed, prefill, Reason("speed_measured", {"n": _runs(measured, gpu.name, None)}))
    gbps = round(gpu.bandwidth_bytes_per_s / 1e9)
    return Speed(
        constants.low / seconds,
        constants.high / seconds,
        prefill,
        Reason("speed_bandwidth", {"name": gpu.name, "gbps": gbps}),
    )


def _on_cpu(
    facts: Facts,
    hardware: Hardware,
    touched: float,
    layers: int,
    measured: Sequence[Measured],
    busy: float | None,
) -> Speed:
    prefill = _prefill_cpu(facts, hardware)
    calibration = hardware.calibration
    kind = family(facts.quantisation)
    bandwidth = calibration.read_bandwidth_bytes_per_s if calibration else None
    if calibration is None or not bandwidth:
        return Speed(None, None, prefill, Reason("speed_not_calibrated", {}))
    share = calibration.eta_legacy if kind == "legacy" else calibration.eta_k
    base = CONSTANTS["cpu"]
    constants = base if share is None else replace(base, share=share)
    rate = 1 / seconds_per_token(touched, layers, bandwidth, constants)
    narrowed = _narrow(rate, measured, "cpu", kind, layers, bandwidth, constants)
    low, high = narrowed or (base.low * rate, base.high * rate)
    if narrowed is None and facts.extra.get("ssm.state_size"):
        low *= SCAN_LOW
    if busy:
        # A fair scheduler leaves 1 / (1 + busy), but threads that wait for one another advance only while all of
        # them run: beside the first busy thread most is lost already (measured: 0.16 to 0.27 of the calm speed
        # beside half a thread a core). The others may stop at any moment, so the upper end hardly moves.
        low /= 1.0 + 8.0 * busy / (1.0 + 0.65 * busy)
        high /= 1.0 + 0.2 * busy
        return Speed(low, high, prefill, Reason("speed_busy", {"busy": round(busy, 1)}))
    if narrowed:
        return Speed(low, high, prefill, Reason("speed_measured", {"n": _runs(measured, "cpu", kind)}))
    return Speed(low, high, prefill, Reason("speed_calibrated", {"gbps": round(bandwidth / 1e9)}))


# -- narrowed by what was seen -------------------------------------------------------------------------------


def _same(run: Measured, device: str, kind: str | None) -> bool:
    return run.device == device and kind in (None, run.family) and run.tokens_per_second > 0 < run.touched_bytes


def _runs(measured: Sequence[Measured], device: str, kind: str | None) -> int:
    return sum(_same(run, device, kind) for run in measured)


def _narrow(
    rate: float,
    measured: Sequence[Measured],
    device: str,
    kind: str | None,
    layers: int,
    bandwidth: float,
    constants: Constants,
) -> tuple[float, float] | None:
    """The estimate moved to where this machine's runs were, and an interval that shrinks as they agree."""
    ratios = [
        run.tokens_per_second * seconds_per_token(run.touched_bytes, run.layers, bandwidth, constants)
        for run in measured
        if _same(run, device, kind)
    ]
    if not ratios:
        return None
    middle = median(ratios)
    # One run says where, not how far: after one, published machines scatter by 5 to 10 % (median).
    around = 0.18 if len(ratios) == 1 else 0.12
    low = min(middle * (1 - around), *ratios)
    high = max(middle * (1 + around), *ratios)
    return rate * low, rate * high


# -- the prompt ----------------------------------------------------------------------------------------------


def _active(facts: Facts) -> float | None:
    count = facts.active_parameters or facts.parameters
    if count:
        return float(count)
    return facts.weights_bytes * 8 / 4.9 if facts.weights_bytes else None


def _class(rate: float) -> Prefill:
    for bound, name in _CLASSES:
        if rate < bound:
            return name
    return "very_fast"


def _prefill_gpu(facts: Facts, gpu: Gpu) -> Prefill | None:
    active = _active(facts)
    if not active or not gpu.bandwidth_bytes_per_s:
        return None
    return _class(constants_for(gpu).flop_per_byte * gpu.bandwidth_bytes_per_s / (2 * active))


def _prefill_cpu(facts: Facts, hardware: Hardware) -> Prefill | None:
    active = _active(facts)
    cores = hardware.usable_cores or hardware.physical_cores
    if not active or not cores:
        return None
    core = next((flops for name, flops in CPU_GFLOPS_A_CORE.items() if name in hardware.features), _PLAIN_CORE)
    return _class(core * min(cores, hardware.physical_cores or cores) / (2 * active))
