"""What each dialect costs beside the bare engine: decode speed at 1, 8 and 16 clients, and the house's processor.

    python -m bench.dialects [--shape qwen2.5-0.5b] [--quant Q4_K_M] [--layers N] [--tokens 64] [--rounds 5]
                             [--clients 1 8 16] [--model FILE.gguf]

As `overhead.py`: one house and the engine that it holds, asked at its own door by the client process that asks the
house (bare, OpenAI, bare, Ollama ...). Each round gives a ratio for each dialect; the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from tools.random_gguf import SHAPES, write

from bench import overhead
from bench.overhead import Side, door_of, house, post

DIALECTS = ("openai", "ollama", "anthropic", "responses")
GOAL = {1: 0.98}
OTHERWISE = 0.97


class Asker:
    """The client process, the same one for every side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.dialect_streams"],
            cwd=overhead.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, side: Side, dialect: str, prompts: Sequence[str], tokens: int) -> list[dict[str, float]]:
        volley = {"url": side.url, "key": side.key, "model": side.model, "dialect": dialect}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**volley, "prompts": list(prompts), "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client ended while it asked {side.name} in {dialect}")
        streams: list[dict[str, float]] = json.loads(line)["streams"]
        return streams

    def close(self) -> None:
        self._process.communicate()


def rate(streams: Sequence[dict[str, float]]) -> float:
    """Tokens a second of all streams together, while all of them are written; a stream is taken for even."""
    began, ended = max(s["first"] for s in streams), min(s["last"] for s in streams)
    if ended <= began:
        raise SystemExit("the answers are too short: some had ended before others began")
    return sum((s["tokens"] - 1) / (s["last"] - s["first"]) for s in streams)


def spent_s(process: psutil.Process) -> float:
    """Processor time of a process so far: in nanoseconds where Linux counts them, for its clock ticks are coarse."""
    tasks = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if tasks:
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def first(streams: Sequence[dict[str, float]]) -> float:
    """Milliseconds to the first piece, the median of the streams."""
    return statistics.median((s["first"] - s["began"]) * 1000 for s in streams)


def prompts(number: int, count: int, side: str) -> list[str]:
    """Many, in one batch, so that no stream waits for another's prompt; as long for every side of a round, and never
    asked before: both sides may be one engine, which remembers."""
    return [f"{number}.{place} What do you ({side}) know of {overhead.SUBJECTS[place % 11]}?" for place in range(count)]


def measure(sides: tuple[Side, Side], process: psutil.Process, counts: Sequence[int], tokens: int, rounds: int) -> None:
    asker = Asker()
    plain, home = sides
    try:
        for dialect in DIALECTS:
            asker(home, dialect, prompts(0, 1, dialect), 8)
        asker(plain, "openai", prompts(0, 1, "bare"), 8)
        heads = ["clients", "dialect", "bare tokens/s", "house tokens/s", "ratio (range)", "goal"]
        heads += ["first token, ms more", "CPU s / 1,000 tokens"]
        print("| " + " | ".join(heads) + " |")
        print("| --- " * len(heads) + "|")
        for count in counts:
            rates: dict[str, list[tuple[float, float, float]]] = {d: [] for d in DIALECTS}
            spent: dict[str, list[float]] = {d: [] for d in DIALECTS}
            for number in range(1, rounds + 1):
                for place, dialect in enumerate(DIALECTS):  # each beside a bare one: a machine's mood lasts a second
                    bare, asked = (prompts(number * 10 + place, count, side) for side in ("one", "two"))
                    if (number + place) % 2:
                        a = asker(plain, "openai", bare, tokens)
                    before = spent_s(process)
                    b = asker(home, dialect, asked, tokens)
                    used = spent_s(process) - before
                    if not (number + place) % 2:
                        a = asker(plain, "openai", bare, tokens)
                    rates[dialect].append((rate(a), rate(b), first(b) - first(a)))
                    spent[dialect].append(used * 1000 / sum(s["tokens"] for s in b))
                print(f"{count} clients, round {number} of {rounds}", file=sys.stderr)
            for dialect in DIALECTS:
                print(_row(count, dialect, rates[dialect], spent[dialect]))
    finally:
        asker.close()


def _row(count: int, dialect: str, rates: Sequence[tuple[float, float, float]], spent: Sequence[float]) -> str:
    ratios = sorted(house_ / bare_ for bare_, house_, _ in rates)
    ratio, goal = statistics.median(ratios), GOAL.get(count, OTHERWISE)
    a, b, more = (statistics.median(r[place] for r in rates) for place in (0, 1, 2))
    verdict = f">= {goal}: {'yes' if ratio >= goal else 'no'}"
    return (
        f"| {count} | {dialect} | {a:.1f} | {b:.1f} | {ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) | {verdict} "
        f"| {more:+.1f} | {statistics.median(spent):.3f} |"
    )


def main() -> None:
    reader = argparse.ArgumentParser(description="What each dialect costs beside the bare engine.")
    reader.add_argument("--shape", choices=sorted(SHAPES), default="qwen2.5-0.5b")
    reader.add_argument("--quant", default="Q4_K_M")
    reader.add_argument("--layers", type=int)
    reader.add_argument("--model", type=Path)
    reader.add_argument("--tokens", type=int, default=64)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--clients", type=int, nargs="+", default=[1, 8, 16])
    asked: Any = reader.parse_args()
    overhead.SLOTS = max(asked.clients)
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as name:
        folder = Path(name)
        model = asked.model
        if model is None:
            model = folder / "model.gguf"
            write(asked.shape, asked.quant, model, layers=asked.layers)
        with house(folder / "home") as (side, process, _):
            entered = post(f"{side.url}/domicile/models", {"path": str(model)})
            home = Side(side.name, side.url, side.key, entered["name"])
            post(f"{side.url}/domicile/models/{quote(home.model)}/wake")
            plain = door_of(process.pid, home.model)
            measure((plain, home), psutil.Process(process.pid), asked.clients, asked.tokens, asked.rounds)


if __name__ == "__main__":
    main()
