"""What the lists of models cost with many of them. `python -m bench.lists [models]`.

A house of its own with 500 small GGUF files taken in, asked over its real API in this process: milliseconds of a
request, its JSON included. Goal: 100 ms at most.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx2
from tests.fakes.gguf import gguf
from tests.fakes.inside import InProcess

from domicile.app import open_house
from domicile.config import load
from domicile.web import build
from domicile.web.guard import Rules

GOAL_MS = 100
TIMES = 20
PATHS = {
    "the selector": "/domicile/choices",
    "the library": "/domicile/models",
    "OpenAI's list": "/v1/models",
    "Ollama's list": "/api/tags",
    "models a browser can run": "/domicile/tab",
    "what sixty of them can do": "/domicile/capabilities?" + "&".join(f"name=many-{n:03}" for n in range(60)),
}


async def main(models: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "many"
        folder.mkdir()
        for n in range(models):
            (folder / f"many-{n:03}.gguf").write_bytes(gguf(f"many-{n}", body=64))
        told = {"HOME": scratch, "HF_HOME": f"{scratch}/hf", "DOMICILE_HOME": f"{scratch}/home"}
        async with open_house(load(told), {}) as house:
            job = await house.adopt({"path": str(folder)})
            while not (await house.jobs.get(job.id)).over:
                await asyncio.sleep(0.1)
            transport = InProcess(build(house, Rules(frozenset({"house"}))))
            async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
                sys.stdout.write(f"{len(house.library.list())} models, load {os.getloadavg()[0]:.1f}\n")
                for name, path in PATHS.items():
                    took, answer = [], await http.get(path)
                    spent = time.process_time()
                    for _ in range(TIMES):
                        begun = time.perf_counter()
                        answer = await http.get(path)
                        took.append((time.perf_counter() - begun) * 1000)
                    cpu = (time.process_time() - spent) * 1000 / TIMES
                    middle, worst = statistics.median(took), max(took)
                    over = "" if middle <= GOAL_MS else "  OVER"
                    size, cpu_told = len(answer.content) / 1000, f"({cpu:.0f} ms of the processor)"
                    sys.stdout.write(
                        f"{name:28} {middle:6.1f} ms {cpu_told}, at worst {worst:6.1f} ms, {size:6.0f} kB{over}\n"
                    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
