"""How steady is the calibration? `python -m bench.calibration [ROUNDS]`

Measures this machine in turn quiet and with one core kept busy, ROUNDS times each (5), and prints each result
and the spread. The number that a speed is predicted from is bandwidth x share: its spread is what matters.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domicile.hardware import calibrate, detect
from domicile.types import Calibration


@contextmanager
def busy_core(busy: bool) -> Iterator[None]:
    """One process that computes without end, while the block runs."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def spread(values: list[float]) -> str:
    middle = statistics.median(values)
    return f"median {middle:8.2f}  -{1 - min(values) / middle:5.1%}  +{max(values) / middle - 1:5.1%}"


async def main(rounds: int) -> None:
    results: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        machine = detect(Path(folder))
        print(machine.cpu, f"{calibrate.threads_for(machine)} threads", calibrate.engine_build())
        names = f"{'read GB/s':>16}{'legacy':>8}{'K':>6}{'legacy GB/s':>13}{'K GB/s':>8}{'s':>6}"
        print(f"{names}  others")
        for _ in range(rounds):
            for busy in (False, True):
                clock = asyncio.get_running_loop().time
                with busy_core(busy):
                    began = clock()
                    outcome = await calibrate.calibrate(Path(folder), machine, again=True, deadline_s=60)
                    took = clock() - began
                if outcome.calibration is None:
                    print("no result:", outcome.trouble)
                    continue
                row = numbers(outcome.calibration)
                results[busy].append(row)
                name, others = "busy" if busy else "quiet", outcome.calibration.others_busy or 0
                reach = f"{row[0] * row[1]:13.1f}{row[0] * row[2]:8.1f}"
                print(f"{name:6}{row[0]:10.1f}{row[1]:8.2f}{row[2]:6.2f}{reach}{took:6.1f}{others:8.0%}")
    for busy, rows in results.items():
        if rows:
            name = "one core busy" if busy else "quiet"
            print(f"{name:14} read GB/s       {spread([r[0] for r in rows])}")
            print(f"{name:14} legacy GB/s     {spread([r[0] * r[1] for r in rows])}")
            print(f"{name:14} K GB/s          {spread([r[0] * r[2] for r in rows])}")


def numbers(found: Calibration) -> tuple[float, float, float]:
    assert found.read_bandwidth_bytes_per_s is not None
    assert found.eta_legacy is not None
    assert found.eta_k is not None
    return found.read_bandwidth_bytes_per_s / 1e9, found.eta_legacy, found.eta_k


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
