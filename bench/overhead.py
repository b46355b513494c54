"""What the house costs: Domicile's HTTP API beside the bare engine that it holds.

    python -m bench.overhead [--shape qwen2.5-0.5b] [--quant Q4_K_M] [--tokens 64] [--rounds 4] [--engines 3]
                             [--layers N] [--clients 1 8] [--model FILE.gguf]

One run holds three sides, which one client process asks in an order that changes: a house (`domicile serve`); the
very engine it holds, asked at its own door; and another engine, the same program with the same parameters, started
without any of the house's choices of how threads wait. Each round gives one ratio and the median of the ratios is the
answer, so that a machine that is slow for a minute is slow for all. Two processes that do the same differ by up to 7 %
for as long as they live (where their memory lies; `default` beside `default`, docs/why.md), so what the house adds is
read beside the very engine, and the other one, which is started anew several times, says whether the house starts
engines well. Then alone: how fast the house opens, what it holds in memory when every model is asleep, what
`domicile list` costs.

Weights are random (`tools/random_gguf.py`): they weigh and compute like real ones. Prints a table for `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from domicile import child
from domicile.app import open_house
from domicile.config import load
from domicile.engines import Launch
from domicile.engines.llama import CHILD, ENVIRONMENT
from domicile.types import Terms

ROOT = Path(__file__).resolve().parents[1]
OPEN_CHILD = f"""
import runpy, domicile.seal
domicile.seal.cut_off = lambda: "open"
runpy.run_path({str(CHILD)!r}, run_name="__main__")
"""
"""The child as it is, but for its network: the bare engine is asked over loopback."""
KEY = secrets.token_urlsafe(24)
HOUSE = f"""
import runpy, secrets, sys
from domicile import ward
ward.secrets.token_urlsafe = lambda size: {KEY!r}
runpy.run_module("domicile", run_name="__main__", alter_sys=True)
"""
"""The house as it is, but for the key of its engine's door, which the client knows too."""
SLOTS = 8
CONTEXT = 1024
PROBES = 8
"""Short questions a round: their prompt is in the cache, so that the first token is one step of the model."""
SUBJECTS = ("rivers", "bread", "clocks", "bridges", "maps", "glass", "salt", "letters", "winds", "stairs", "bees")


@dataclass(frozen=True, slots=True)
class Side:
    """A server that can be asked."""

    name: str
    url: str
    key: str
    model: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `well` is None for a row that promises nothing."""

    question: str
    bare: str
    house: str
    difference: str
    accepted: str
    well: bool | None


# -- the two sides --


@contextlib.contextmanager
def house(home: Path) -> Iterator[tuple[Side, subprocess.Popen[bytes], float]]:
    """`domicile serve` on a home of its own; the process, and seconds from its start to its first health."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOUSE, "serve", "--port", str(port), "--quiet"],
        env=_environment(home),
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _healthy(port):
            if process.poll() is not None:
                raise SystemExit("the house did not open")
            time.sleep(0.002)
        yield Side("Domicile", url, "any", ""), process, time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""How threads wait is our choice, which the bare engine does not make."""


def _environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_"))}
    return {
        **kept,
        "DOMICILE_HOME": str(home),
        "DOMICILE_SLOTS": str(SLOTS),
        "DOMICILE_CONTEXT": str(CONTEXT),
        "DOMICILE_KEEP_ALIVE": "-1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }


def _healthy(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as door:
        door.sendall(f"GET /domicile/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return b" 200 " in door.recv(64)
    return False


async def _launch(model: Path, folder: Path) -> Launch:
    """What the house would wake this model with."""
    environ = {"DOMICILE_HOME": str(folder / "plan"), "DOMICILE_CONTEXT": str(CONTEXT), "DOMICILE_SLOTS": str(SLOTS)}
    async with open_house(load(environ)) as house:
        model_here = house.library.add_file(model)
        return (await house.waker.prepare(model_here, Terms(), await house.waker.free())).launch


@contextlib.contextmanager
def bare(model: Path, folder: Path) -> Iterator[Side]:
    """The engine's own program with the parameters the house gives it, at a TCP port instead of a Unix socket."""
    launch = asyncio.run(_launch(model, folder))
    asked = {
        "model": str(model),
        "alias": "bare",
        "address": "127.0.0.1",
        "key": KEY,
        "folder": str(folder / "bare"),
        "house": os.getpid(),
        "plan": asdict(launch.plan),
        "threads": launch.threads,
        "memory_bytes": launch.memory_bytes,
    }
    with (folder / "bare.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", OPEN_CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={k: v for k, v in child.environment().items() if k not in OURS} | ENVIRONMENT,
            start_new_session=True,  # as the house does: Linux shares the processor between sessions
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline() or b"{}")
        if "ready" not in answer:
            raise SystemExit(f"the bare engine did not load: {answer}")
        yield Side("another engine", answer["ready"], KEY, "bare")
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def door_of(house: int, model: str) -> Side:
    """Where the house's only engine listens."""
    (door,) = Path(tempfile.gettempdir()).glob(f"domicile-{house}-*/door.sock")
    return Side("its engine", f"unix:{door}", KEY, model)


def post(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body or {}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


# -- the client --


@dataclass(frozen=True, slots=True)
class Stream:
    """One answer: when it was asked for, when each chunk of text came, how many tokens, the engine's own speed."""

    began: float
    came: Sequence[float]
    tokens: float
    own: float


class Asker:
    """The client process, the same one for both sides."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("streams.py"))
        self._process = subprocess.Popen(
            [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, side: Side, prompts: Sequence[str], tokens: int, *, cached: bool) -> list[Stream]:
        volley = {
            "url": side.url,
            "key": side.key,
            "model": side.model,
            "prompts": list(prompts),
            "tokens": tokens,
            "cached": cached,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(volley) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client ended while it asked the {side.name}")
        return [Stream(**said) for said in json.loads(line)["streams"]]

    def close(self) -> None:
        self._process.communicate()


def _rate(streams: Sequence[Stream]) -> float:
    """Tokens a second of all streams together, while all of them are written: from the moment the last one has begun
    to the moment the first one ends. Before and after, an engine also reads prompts, or writes for fewer."""
    began, ended = max(s.came[0] for s in streams), min(s.came[-1] for s in streams)
    if ended <= began:
        raise SystemExit("the answers are too short: some had ended before others began")
    written = sum(sum(began < at <= ended for at in s.came) * s.tokens / len(s.came) for s in streams)
    return written / (ended - began)


def _whole(streams: Sequence[Stream]) -> float:
    """Tokens a second from the moment of asking to the last token: with the reading of the prompts, and the way in."""
    began, ended = min(s.began for s in streams), max(s.came[-1] for s in streams)
    return sum(s.tokens for s in streams) / (ended - began)


def _first(streams: Sequence[Stream]) -> float:
    """Milliseconds to the first token, the median of the streams."""
    return statistics.median((s.came[0] - s.began) * 1000 for s in streams)


# -- the questions --


@dataclass(frozen=True, slots=True)
class Sides:
    house: Side
    direct: Side
    """The engine that the house holds, at its own door."""
    other: Side
    """An engine that the house has not started."""

    def shuffled(self) -> list[tuple[str, Side]]:
        sides = [("house", self.house), ("direct", self.direct), ("other", self.other)]
        random.shuffle(sides)
        return sides


class Streaming:
    """Decode speed and time to the first token, side by side, and what the house's own process took meanwhile."""

    def __init__(self, counts: Sequence[int], tokens: int) -> None:
        self._counts, self._tokens, self._number = counts, tokens, 0
        self._taken: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
        """Microseconds of processor a token: of the house, and of its engine."""
        self._said: dict[int, list[dict[str, list[Stream]]]] = {count: [] for count in counts}
        """What each side said in a round."""
        self._probes: list[tuple[float, float]] = []

    def ask(self, sides: Sides, process: psutil.Process, rounds: int) -> None:
        """Some rounds with two engines that have just begun."""
        asker = Asker()
        try:
            for _, side in sides.shuffled():  # all awake, warm, and with the short question in their cache
                asker(side, _prompts(0, SLOTS), 8, cached=False)
            for _ in range(rounds):
                self._number += 1
                self._round(asker, sides, process)
                print(f"round {self._number}", file=sys.stderr)
        finally:
            asker.close()

    def _round(self, asker: Asker, sides: Sides, process: psutil.Process) -> None:
        for count in self._counts:
            asked = _prompts(self._number, count)
            said: dict[str, list[Stream]] = {}
            for name, side in sides.shuffled():
                before = _used(process)
                said[name] = asker(side, asked, self._tokens, cached=False)
                if name == "house":
                    written = sum(s.tokens for s in said[name])
                    spent = zip(_used(process), before, strict=True)
                    here, engine = ((now - then) * 1e6 / written for now, then in spent)
            self._said[count].append(said)
            self._taken[count].append((engine, here))
        pair = (sides.direct, sides.house)
        for side in pair:  # the long questions have taken the slots: bring the short one back
            asker(side, ["Hello"], 4, cached=True)
        for number in range(PROBES):
            took = {side.name: _first(asker(side, ["Hello"], 4, cached=True)) for side in pair[:: 1 - 2 * (number % 2)]}
            self._probes.append((took[sides.direct.name], took[sides.house.name]))

    def _pairs(self, count: int, figure: Callable[[Sequence[Stream]], float], beside: str) -> list[tuple[float, float]]:
        return [(figure(said[beside]), figure(said["house"])) for said in self._said[count]]

    def rows(self) -> Iterator[Row]:
        for count in self._counts:
            yield _ratio_row(f"decode, {_clients(count)} (tokens/s)", self._pairs(count, _rate, "direct"))
        for count in self._counts:
            told = _ratio_row(f"the same, beside another engine, {_clients(count)}", self._pairs(count, _rate, "other"))
            yield replace(told, accepted="", well=None)
        for count in self._counts:  # from asking to the last token
            told = _ratio_row(f"whole answers, {_clients(count)} (tokens/s)", self._pairs(count, _whole, "direct"))
            yield replace(told, accepted="", well=None)
        for count in self._counts:
            engine, here = (statistics.median(pair[side] for pair in self._taken[count]) for side in (0, 1))
            said = f"{here / engine:.1%} of its engine's {engine:.0f}"
            yield Row(f"processor of the house, {_clients(count)} (µs a token)", "", f"{here:.0f}", said, "", None)
        yield _added_row("time to first token, prompt in the cache (ms)", self._probes, promised=True)
        for count in self._counts:
            name = f"time to first token, new prompt, {_clients(count)} (ms)"
            yield _added_row(name, self._pairs(count, _first, "direct"), promised=False)


def _used(process: psutil.Process) -> tuple[float, float]:
    """Seconds of processor: of the house's own process, and of its engine's."""
    (engine,) = process.children()
    times = [p.cpu_times() for p in (process, engine)]
    here, there = (t.user + t.system for t in times)
    return here, there


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _prompts(number: int, count: int) -> list[str]:
    """New ones each round, so that no cache answers; the same for both sides."""
    return [
        f"{number}.{place} Write what you know about {SUBJECTS[(number + place) % len(SUBJECTS)]}, slowly and in order."
        for place in range(count)
    ]


def _ratio_row(question: str, pairs: Sequence[tuple[float, float]]) -> Row:
    ratios = sorted(house_ / bare_ for bare_, house_ in pairs)
    ratio = statistics.median(ratios)
    a, b = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    quarter = len(ratios) // 4
    shown = f"x {ratio:.3f} (half of {len(ratios)}: {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"
    return Row(question, f"{a:.1f}", f"{b:.1f}", shown, "ratio >= 0.97", ratio >= 0.97)


def _added_row(question: str, pairs: Sequence[tuple[float, float]], *, promised: bool) -> Row:
    added = sorted(house_ - bare_ for bare_, house_ in pairs)
    median = statistics.median(added)
    a, b = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    shown = f"{median:+.1f} ({added[0]:+.1f} to {added[-1]:+.1f})"
    accepted = "added <= 5 ms" if promised else ""
    return Row(question, f"{a:.1f}", f"{b:.1f}", shown, accepted, median <= 5 if promised else None)


def opening(home: Path, times: int = 5) -> Row:
    """Process start to the first health."""
    found = []
    for _ in range(times):
        with house(home) as (_, _, seconds):
            found.append(seconds)
    spread = f"{min(found):.2f} to {max(found):.2f}"
    return Row(
        "the house opens (s, process start to first health)", "", f"{statistics.median(found):.2f}", spread, "", None
    )


def idle(side: Side, process: subprocess.Popen[bytes], requests: int = 30) -> Row:
    """Resident memory of the house's own process after some work, with every model asleep."""
    asker = Asker()
    try:
        for number in range(requests):
            asker(side, [f"Question {number}"], 4, cached=False)
    finally:
        asker.close()
    post(f"{side.url}/domicile/models/{quote(side.model)}/sleep")
    time.sleep(1)
    rss = psutil.Process(process.pid).memory_info().rss
    shown = f"{rss / 1e6:.1f} MB ({rss / 2**20:.1f} MiB)"
    return Row(f"memory of the house, idle after {requests} requests (RSS)", "", shown, "", "<= 90 MB", rss <= 90e6)


def listing(home: Path, times: int = 7) -> Row:
    """User and system time of `domicile list`, no house open. As installed: the first one, which is not counted, keeps
    the bytecode that an installer would have made."""
    found = []
    kept = {**_environment(home), "PYTHONPYCACHEPREFIX": str(home / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    for number in range(times + 1):
        process = subprocess.Popen([sys.executable, "-m", "domicile", "list"], env=kept, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit("`domicile list` failed")
        if number:
            found.append(used.ru_utime + used.ru_stime)
    median = statistics.median(found)
    spread = f"{min(found):.2f} to {max(found):.2f}"
    return Row("`domicile list` (s of CPU)", "", f"{median:.2f}", spread, "<= 0.4 s", median <= 0.4)


# -- the run --


def measure(asked: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        folder = Path(temporary)
        model = asked.model.absolute() if asked.model else _weights(asked, folder)
        home = folder / "home"
        rows = [listing(home), opening(home)]
        with house(home) as (door, process, _):
            name = post(f"{door.url}/domicile/models", {"path": str(model)})["name"]
            side = Side(door.name, door.url, door.key, name)
            seen = Streaming(asked.clients, asked.tokens)
            for _ in range(asked.engines):
                post(f"{door.url}/domicile/models/{quote(name)}/sleep")
                post(f"{door.url}/domicile/models/{quote(name)}/wake")
                with bare(model, folder) as engine:
                    seen.ask(Sides(side, door_of(process.pid, name), engine), psutil.Process(process.pid), asked.rounds)
            rows = [*seen.rows(), *rows]
            rows.append(idle(side, process))
    return rows


def _weights(asked: argparse.Namespace, folder: Path) -> Path:
    path = folder / f"{asked.shape}-{asked.quant}.gguf"
    layers = ["--layers", str(asked.layers)] if asked.layers else []
    program = str(ROOT / "tools" / "random_gguf.py")
    subprocess.run([sys.executable, program, asked.shape, asked.quant, str(path), *layers], check=True, stdout=2)
    return path


def _machine() -> str:
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    load = ", ".join(f"{x:.1f}" for x in psutil.getloadavg())
    return (
        f"{name}, {psutil.cpu_count(logical=False)} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, load {load}"
    )


def report(rows: Sequence[Row], machine: str) -> str:
    heads = ("question", "engine", "Domicile", "difference", "accepted", "")
    verdict = {True: "kept", False: "**missed**", None: ""}
    cells = [(r.question, r.bare, r.house, r.difference, r.accepted, verdict[r.well]) for r in rows]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *cells))
    command = " ".join(["python -m bench.overhead", *sys.argv[1:]])
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"## What the house costs\n\n{when}; {machine}; Python {platform.python_version()}.\n`{command}`\n\n{table}\n"
    )


def main() -> None:
    reader = argparse.ArgumentParser(description="Domicile's HTTP API beside the bare engine, interleaved.")
    reader.add_argument("--shape", default="qwen2.5-0.5b")
    reader.add_argument("--quant", default="Q4_K_M")
    reader.add_argument("--tokens", type=int, default=64)
    reader.add_argument("--rounds", type=int, default=4, help="with each pair of engines")
    reader.add_argument("--engines", type=int, default=3, help="pairs of engines, started anew")
    reader.add_argument("--layers", type=int, help="fewer layers than the real shape, for a quick look")
    reader.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    reader.add_argument("--model", type=Path, help="a GGUF file instead of random weights")
    asked = reader.parse_args()
    machine = _machine()
    print(report(measure(asked), machine))


if __name__ == "__main__":
    main()
