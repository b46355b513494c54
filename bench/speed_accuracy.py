"""How right is speed: intervals against published and measured tokens a second.

    PYTHONPATH=src python -m bench.speed_accuracy [--public]     --public skips this machine

On the public table one device is left out at a time: its constants come from the others. On this machine the
two small calibration files are decoded first, then larger ones, with nothing else running and beside a busy
process; what counts is the share of measured values inside the interval that was stated before.
"""

from __future__ import annotations

import csv
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from tools.random_gguf import write

from bench.engine import engine
from bench.fit_accuracy import MACHINE, table
from bench.random_facts import facts_of
from domicile import memory, speed
from domicile.types import Calibration, Facts, Hardware

DATA = Path(__file__).parent / "data"
CONTEXT_SETTING = 4000.0
"""Rows whose context is the middle of an 8k setting and not of what was filled: their cache was not read."""


@dataclass(frozen=True, slots=True)
class Point:
    device: str
    bandwidth: float
    touched: float
    layers: int
    tps: float
    llmfit: float


def points(backend: str) -> list[Point]:
    rows = csv.DictReader((DATA / "public_speed.csv").read_text("utf-8").splitlines())
    return [
        Point(
            r["hardware"],
            float(r["bw_gbps"]) * 1e9,
            float(r["touched_gb"]) * 1e9,
            int(r["n_layer"]),
            float(r["tg_tps"]),
            float(r["err_llmfit"]),
        )
        for r in rows
        if r["backend"].startswith(backend) and r["n_gpu"] == "1" and float(r["ctx_mid"]) < CONTEXT_SETTING
    ]


def derive(some: Sequence[Point], layers: bool = True) -> tuple[float, float]:
    """Share and layer cost with the least mean absolute error of the logarithm."""
    seconds = np.array([1 / p.tps for p in some])
    read = np.array([p.touched / p.bandwidth for p in some])
    deep = np.array([p.layers for p in some])
    shares = np.linspace(0.3, 1.05, 76)
    costs = np.linspace(0.0, 0.35e-3, 36) if layers else np.zeros(1)
    guess = read[None, None] / shares[:, None, None] + deep * costs[None, :, None]
    loss = np.abs(np.log(guess / seconds)).mean(axis=2)
    best = np.unravel_index(int(loss.argmin()), loss.shape)
    return float(shares[best[0]]), float(costs[best[1]])


def left_out(name: str, some: Sequence[Point], shipped: str, layers: bool = True) -> tuple[object, ...]:
    ratios: list[float] = []
    for device in sorted({p.device for p in some}):
        others = [p for p in some if p.device != device]
        share, cost = derive(others, layers)
        constants = speed.Constants(share, cost, 1, 1, 0)
        ratios += [
            p.tps * speed.seconds_per_token(p.touched, p.layers, p.bandwidth, constants)
            for p in some
            if p.device == device
        ]
    errors = sorted(abs(1 / r - 1) for r in ratios)
    ships = speed.CONSTANTS[shipped]
    inside = sum(
        ships.low <= p.tps * speed.seconds_per_token(p.touched, p.layers, p.bandwidth, ships) <= ships.high
        for p in some
    )
    share, cost = derive(some, layers)
    return (
        name,
        f"{len(some)} / {len({p.device for p in some})}",
        round(share, 2),
        f"{1000 * cost:.3f}",
        f"{100 * statistics.median(errors):.1f} %",
        f"{100 * errors[int(0.9 * len(errors))]:.0f} %",
        f"{100 * statistics.median(abs(p.llmfit) for p in some):.1f} %",
        f"{100 * inside / len(some):.0f} %",
        f"{np.quantile(ratios, 0.1):.2f} - {np.quantile(ratios, 0.9):.2f}",
    )


def public() -> None:
    hbm = ("A100", "H100")
    cuda = points("CUDA")
    rows = [
        left_out("CUDA", [p for p in cuda if not p.device.startswith(hbm)], "cuda"),
        left_out("CUDA, stacked memory", [p for p in cuda if p.device.startswith(hbm)], "cuda_hbm"),
        left_out("Metal", points("Metal"), "metal"),
        left_out("Vulkan and ROCm", [*points("Vulkan"), *points("ROCm")], "rocm"),
        left_out("CPU, one factor", points("CPU"), "cpu", layers=False),
    ]
    print("## Public table, one device left out at a time\n")
    head = ("backend", "points / devices", "share", "ms a layer", "median", "p90", "llmfit median",
            "inside the interval shipped", "middle 80 % of measured / estimate")  # fmt: skip
    table([head, *rows])


def by_processor_time() -> None:
    """Files decoded on one core, by processor time: nobody else counts. Calibrated by two of them."""
    rows = list(csv.DictReader((DATA / "cpu_speed.csv").read_text("utf-8").splitlines()))
    told = []
    for name, build in (("x", "AVX2 wheel (shipped)"), ("v", "AVX512 and AMX build")):
        mine = [r for r in rows if r["eng"] == name]
        share = {
            "legacy": next(float(r["eta"]) for r in mine if r["model"].startswith("mha-0.4b")),
            "k": next(float(r["eta"]) for r in mine if r["model"] == "qwen2.5-0.5b-Q4_K_M.gguf"),
        }
        rest = [r for r in mine if not r["model"].startswith(("mha-0.4b", "qwen2.5-0.5b-Q4_K_M"))]
        ratios = [float(r["eta"]) / share[speed.family(r["q"])] for r in rest]
        ships = speed.CONSTANTS["cpu"]
        inside = sum(ships.low <= ratio <= ships.high for ratio in ratios)
        spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
        error = 100 * statistics.median(abs(1 / ratio - 1) for ratio in ratios)
        told.append((build, len(rest), f"{error:.1f} %", spread, f"{inside} of {len(rest)}"))
    print("## One core by processor time (cpu_speed.csv), calibrated by two files of it\n")
    table([("build", "files", "median error", "measured / estimate", "inside the interval"), *told])


# -- this machine --------------------------------------------------------------------------------------------

CALIBRATION = (("qwen3-0.6b", "Q8_0", 4, 6000), ("qwen3-0.6b", "Q4_K_M", 6, 6000))
FILES = (
    ("smollm2-135m", "Q8_0"),
    ("smollm2-360m", "Q5_K_M"),
    ("qwen2.5-0.5b", "Q8_0"),
    ("qwen2.5-0.5b", "Q4_K_M"),
    ("qwen3-0.6b", "Q4_K_M"),
    ("qwen3-0.6b", "Q6_K"),
    ("llama-3.2-1b", "Q4_K_M"),
    ("llama-3.2-1b", "Q8_0"),
    ("gemma-3-270m", "Q8_0"),
    ("lfm2-350m", "Q4_K_M"),
    ("mamba-130m", "Q8_0"),
    ("granite-3.1-1b-a400m", "Q4_K_M"),
)
PROMPT, ANSWER, THREADS = 4, 40, 2


def bandwidth(threads: int = 2) -> float:
    """Bytes a second read from memory by this many threads."""
    arrays = [np.ones(32_000_000, np.uint64) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(np.sum, arrays))
            best = max(best, sum(a.nbytes for a in arrays) / (time.perf_counter() - start))
    return best


def decode(path: Path) -> tuple[float, float]:
    """Tokens a second by the clock, and by processor time: what they would be with nobody else about."""
    with engine(path, n_ctx=1024, threads=THREADS) as started:
        started.complete(PROMPT, 4)
        process = psutil.Process(started.pid)
        before = sum(process.cpu_times()[:2])
        rate = float(started.complete(PROMPT, ANSWER)["predicted_per_second"])
        spent = sum(process.cpu_times()[:2]) - before
    return rate, (PROMPT + ANSWER) * THREADS / spent


def touched(facts: Facts) -> float:
    cells = memory.widths(facts, "f16", "f16")
    whole = cells.cell_bytes + sum(cell for _, cell in cells.windows)
    return speed.touched_bytes(facts, context=PROMPT + ANSWER // 2, kv_cell_bytes=whole) or 0.0


def calibrate(folder: Path) -> Hardware:
    read = bandwidth()
    etas = []
    for shape, quant, layers, vocab in CALIBRATION:
        path = folder / f"calibration-{quant}.gguf"
        facts = facts_of(write(shape, quant, path, layers=layers, vocab=vocab))
        # By processor time, the best of two: a calibration others disturbed would promise too little.
        etas.append(max(decode(path)[1] for _ in range(2)) * touched(facts) / read)
    told = Calibration("llama", read, etas[0], etas[1], 2, 0.0)
    print(f"Calibration: {read / 1e9:.1f} GB/s read, shares {etas[0]:.2f} (legacy) and {etas[1]:.2f} (K).\n")
    return replace(MACHINE, calibration=told)


def burn() -> None:
    while True:
        sum(i * i for i in range(10_000))


def others() -> float:
    """Threads of other programs that are ready to run, for each core: two seconds of looks at /proc/stat."""
    ready = 0
    for _ in range(40):
        ready += int(Path("/proc/stat").read_text().split("procs_running ")[1].split()[0]) - 1
        time.sleep(0.05)
    return ready / 40 / (psutil.cpu_count() or 1)


def here(loaded: bool) -> None:
    burner = multiprocessing.Process(target=burn, daemon=True)
    inside = after = 0
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        machine = calibrate(folder)
        if loaded:
            burner.start()
        seen: list[speed.Measured] = []
        for shape, quant in FILES:
            path = folder / "model.gguf"
            facts = facts_of(write(shape, quant, path))
            busy = others()
            read = touched(facts)
            told = speed.estimate(facts, machine, touched=read, busy=busy)
            better = speed.estimate(facts, machine, touched=read, measured=seen, busy=busy)
            rate, free = decode(path)
            assert None not in (told.low, told.high, better.low, better.high)
            hit = (told.low or 0) <= rate <= (told.high or 0)
            inside += hit
            after += (better.low or 0) <= rate <= (better.high or 0)
            interval = f"{told.low:.1f} - {told.high:.1f}"
            rows.append(
                (
                    f"{shape} {quant}",
                    f"{busy:.1f}",
                    interval,
                    round(rate, 1),
                    round(free, 1),
                    "yes" if hit else "no",
                )
            )
            seen.append(speed.Measured(read, len(facts.layers), free, speed.family(facts.quantisation)))
            print(rows[-1], file=sys.stderr, flush=True)
    if loaded:
        burner.terminate()
        burner.join()
    print(f"## This machine, {'beside one more busy process' if loaded else 'as it was'}\n")
    table([("file", "others ready a core", "stated tokens/s", "measured", "by CPU time", "inside"), *rows])
    n = len(FILES)
    print(f"Inside: {inside} of {n} ({100 * inside / n:.0f} %); narrowed by the runs before: {after} of {n}.\n")


def main() -> None:
    public()
    by_processor_time()
    if "--public" not in sys.argv:
        here(loaded=False)
        here(loaded=True)


if __name__ == "__main__":
    main()
