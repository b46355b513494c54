"""What a page of search costs: bytes from the Hub, requests, milliseconds. `python -m bench.search [models]`.

Over real HTTP on this machine, against the fake Hub of the tests filled with 2,000 models by a seed. Answers are
not checked here: the tests hold them against brute force. The network's own time is not in it: each request to the
real Hub adds a round trip.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx2
from tests.fakes.hub import FakeHub, running
from tests.fakes.shelf import DAY, START, fill

from domicile.config import load
from domicile.sources.hub import Hub, Query

QUERIES = {
    "text, by downloads": Query("qwen"),
    "format and licence (the Hub's filters)": Query(format="gguf", licence="mit"),
    "6 to 128 thousand million parameters": Query(parameters_min=6 * 10**9, parameters_max=128 * 10**9),
    "parameters 500 M to 7.7 G (exact here)": Query(parameters_min=500_000_000, parameters_max=7_700_000_000),
    "quantisation Q4_K_M": Query(format="gguf", quantisation="Q4_K_M"),
    "at most 5 GB, changed lately, by date": Query(
        size_max=5 * 10**9, updated_after=float(START + 900 * DAY), sort="updated"
    ),
    "nothing matches": Query(text="llama", size_max=1),
}


async def measure(hub: FakeHub, rounds: int = 5) -> None:
    settings = load({"HF_ENDPOINT": hub.url, "DOMICILE_HOME": tempfile.mkdtemp()})
    print(f"{'query':42} {'page':>4} {'results':>7} {'dropped':>7} {'requests':>8} {'kB':>8} {'ms':>7} {'again ms':>8}")
    async with httpx2.AsyncClient(timeout=30) as client:
        for name, query in QUERIES.items():
            for size in (20, 100):
                asked = replace(query, limit=size)
                fresh, again = [], []
                for number in range(rounds):
                    home = Path(tempfile.mkdtemp()) / str(number)
                    source = Hub(replace(settings, home=home), client)
                    requests, told = len(hub.seen), hub.told_bytes
                    started = time.perf_counter()
                    page = await source.search(asked)
                    fresh.append(time.perf_counter() - started)
                    requests, told = len(hub.seen) - requests, hub.told_bytes - told
                    started = time.perf_counter()
                    await source.search(asked)
                    again.append(time.perf_counter() - started)
                print(
                    f"{name:42} {size:4} {len(page.results):7} {page.filtered_out:7} {requests:8} {told / 1000:8.1f} "
                    f"{statistics.median(fresh) * 1000:7.1f} {statistics.median(again) * 1000:8.1f}"
                )


def main() -> None:
    hub = FakeHub()
    fill(hub, int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    with running(hub):
        asyncio.run(measure(hub))


if __name__ == "__main__":
    main()
