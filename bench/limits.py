"""Whether a limit of bandwidth is kept: bytes a second that came, against those that were allowed.

    python -m bench.limits [--seconds 12]

The real `fetch` from a Hub on this machine, unthrottled: one file under its own limit, one under that of the house,
two at once under that of the house, and one with a limit of its own inside the house's. `whole` is over the whole
transfer, hash and rename included; `worst second` the fullest of its seconds, by what the disk was given.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from bench.downloads import hub
from domicile.download import Limiter, Wanted, fetch

MB = 1_000_000


@dataclass
class Watched:
    """What came, and when."""

    came_at: list[tuple[float, int]] = field(default_factory=list)

    def resumed(self, count: int) -> None:
        pass

    def came(self, count: int) -> None:
        self.came_at.append((time.monotonic(), count))


def _judge(answer: httpx2.Response) -> None:
    answer.raise_for_status()


async def measure(rates: list[float], house: float | None, url: str, size: int, sha256: str) -> tuple[float, float]:
    """Bytes a second of all files together, over the whole and in the fullest second. `rates`: a file's own limits
    (0: none)."""
    watched = Watched()
    parent = Limiter(house)
    with tempfile.TemporaryDirectory() as scratch:
        async with httpx2.AsyncClient(timeout=30) as client:
            began = time.monotonic()
            await asyncio.gather(
                *(
                    fetch(
                        client,
                        Wanted(url, Path(scratch) / str(n) / "model.gguf", size, sha256),
                        watched,
                        _judge,
                        limits=Limiter(rate or None, parent),
                    )
                    for n, rate in enumerate(rates)
                )
            )
            took = time.monotonic() - began
    seconds: dict[int, int] = {}
    for at, count in watched.came_at:
        seconds[int(at - began)] = seconds.get(int(at - began), 0) + count
    return len(rates) * size / took, max(seconds.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each transfer should last")
    options = parser.parse_args()
    cases = [
        ("one file, its own limit", [2.0 * MB], None),
        ("one file, its own limit", [20.0 * MB], None),
        ("one file, the house's limit", [0.0], 8.0 * MB),
        ("two files, the house's limit", [0.0, 0.0], 8.0 * MB),
        ("its own limit within the house's", [4.0 * MB], 8.0 * MB),
    ]
    print("| limit | allowed (MB/s) | whole | worst second | within 10 % |\n|---|---|---|---|---|")
    for title, rates, house in cases:
        allowed = min(house or float("inf"), sum(rates) if all(rates) else float("inf"))
        size = int(allowed * options.seconds / len(rates))
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "source"
            source.write_bytes(b"\x5a" * size)
            sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
            with hub(source, sha256) as served:
                whole, worst = asyncio.run(measure(list(rates), house, served.file, size, sha256))
        kept = "yes" if abs(whole / allowed - 1) <= 0.10 else "**no**"
        print(f"| {title} | {allowed / MB:.0f} | {whole / MB:.2f} | {worst / MB:.2f} | {kept} |", flush=True)


if __name__ == "__main__":
    main()
