"""Builds of llama.cpp side by side through Domicile's own engine: prompts and decoding, on models of real shapes.

    python -m bench.native [--server PROGRAM] [--shape qwen2.5-0.5b] [--quant Q4_K_M Q8_0] [--layers N] [--rounds 5]
                           [--read 256] [--written 48] [--threads 2]

`--server` names a `llama-server` (default: the build compiled here, else the one on PATH); the wheel is always the
reference. Both hold the same file of random weights at once and are asked in turn, in an order that turns; what is
printed is the median of each, the ratio of each round to the wheel's (median, least, most), and the processor seconds
of its process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from tools.random_gguf import SHAPES, write

from domicile.config import load
from domicile.engines import Awake, Launch
from domicile.engines.llama import Llama
from domicile.llama_builds import Build, Builds, wheel
from domicile.types import Installed, Plan

Ask = Callable[[list[int], int], Awaitable[tuple[float, float]]]
"""A prompt and how many tokens to write; the seconds of reading and of writing one token."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    pid: int
    ask: Ask


@asynccontextmanager
async def ours(build: Build, path: Path, options: Any, folder: Path) -> AsyncIterator[Side]:
    model = Installed(build.kind, path, "gguf", path.stat().st_size, "file", files=(path,))
    plan = Plan(1024, 1, 512, "f16", "f16", True, 0, (), 0, 0)
    launch = Launch(model, plan, options.threads, 0, 300.0, folder / f"{build.kind}.log", build=build)
    async with Llama().awake(launch) as awake:
        yield Side(f"{build.kind} ({build.version})", awake.pid, _completing(awake))


def _completing(awake: Awake) -> Ask:
    async def ask(prompt: list[int], tokens: int) -> tuple[float, float]:
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        async with awake.ask("/completion", json.dumps(body).encode()) as reply:
            said = json.loads(b"".join([chunk async for chunk in reply.body]))["timings"]
        return said["prompt_ms"] / 1000, said["predicted_ms"] / 1000 / (said["predicted_n"] - 1)

    return ask


async def compare(path: Path, builds: list[Build], options: Any, folder: Path, label: str) -> None:
    chance = random.Random(3)
    prompt = [1, *(chance.randrange(300, 500) for _ in range(options.read - 1))]
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(ours(build, path, options, folder)) for build in builds]
        read: dict[str, list[float]] = {side.name: [] for side in sides}
        written: dict[str, list[float]] = {side.name: [] for side in sides}
        spent = dict.fromkeys(read, 0.0)
        for number in range(options.rounds + 1):
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                before = _processor(side.pid)
                reading, writing = await side.ask(prompt, options.written)
                if number:  # the first round warms up
                    read[side.name].append(options.read / reading)
                    written[side.name].append(1 / writing)
                    spent[side.name] += _processor(side.pid) - before
    first = sides[0].name
    work = f"{options.read} tokens read, {options.written} written"
    print(f"\n{label}: {work}, {options.threads} threads, load {load_now()}")
    print("| build | reads (tokens/s) | against the wheel | writes (tokens/s) | against the wheel | processor (s) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for side in sides:
        name = side.name
        cells = [f"{statistics.median(read[name]):.1f}", _ratio(read[name], read[first])]
        cells += [
            f"{statistics.median(written[name]):.1f}",
            _ratio(written[name], written[first]),
            f"{spent[name]:.1f}",
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _ratio(mine: list[float], reference: list[float]) -> str:
    ratios = [a / b for a, b in zip(mine, reference, strict=True)]
    return f"x {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _processor(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def load_now() -> str:
    return ", ".join(f"{one:.1f}" for one in os.getloadavg())


def main() -> None:
    reader = argparse.ArgumentParser(description="Builds of llama.cpp side by side.")
    reader.add_argument("--server", default="")
    reader.add_argument("--shape", choices=sorted(SHAPES), default="qwen2.5-0.5b")
    reader.add_argument("--quant", nargs="+", default=["Q4_K_M", "Q8_0"])
    reader.add_argument("--layers", type=int)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--read", type=int, default=256)
    reader.add_argument("--written", type=int, default=48)
    reader.add_argument("--threads", type=int, default=2)
    options: Any = reader.parse_args()
    settings = load()
    found = Builds(replace(settings, llama_server=options.server) if options.server else settings)
    other = found.server() if options.server else found.native() or found.server()
    reference = wheel()
    assert reference is not None, "the wheel is not installed"
    assert other is not None, "no other build: --server, or domicile engine build llama"
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as name:
        folder = Path(name)
        for quant in options.quant:
            path = folder / f"{quant}.gguf"
            write(options.shape, quant, path, layers=options.layers)
            asyncio.run(compare(path, [reference, other], options, folder, f"{options.shape}, {quant}"))
            path.unlink()


if __name__ == "__main__":
    main()
