"""Does the runner keep its promises: five models in a memory that holds two or three, at random; a thousand at once.

    python -m bench.runner [--seeds 1 2 3] [--operations 200] [--limit 420MB] [--at-once 1000]

A house (`domicile serve`) on a home of its own gets five models of random weights and a limit for all of them
together. Loads, chats, unloads and deletions come at random, some at the same time; then a thousand chats at once.
Counted: children killed or dead, streams that did not end whole, answers out of their order, the most memory that
children really used, processes left at the end. Prints a table for `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from domicile.child import memory_kills
from domicile.config import byte_count
from domicile.hardware import sample

MODELS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
"""Name and layers: 12 MB each in Q8_0, beside the embedding and the process."""
APART_S = 0.5
"""Requests sent further apart than this must be answered in their order."""


@dataclass
class Tally:
    """What one seed showed."""

    done: collections.Counter[str] = field(default_factory=collections.Counter)
    broken: list[str] = field(default_factory=list)
    sent: list[tuple[str, float, float]] = field(default_factory=list)
    """Model, when it was sent, when its first byte came."""
    used_bytes: int = 0

    def out_of_order(self) -> int:
        """Pairs of one model answered the other way round."""
        wrong = 0
        for name in MODELS:
            mine = sorted((s, f) for m, s, f in self.sent if m == name)
            wrong += sum(
                first > later + APART_S
                for place, (sent, first) in enumerate(mine)
                for after, later in mine[place + 1 :]
                if after - sent > APART_S
            )
        return wrong


@contextlib.contextmanager
def house(home: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    environ = {**os.environ, "DOMICILE_HOME": str(home), "DOMICILE_SELFTEST": "false", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "domicile", "serve", "--json", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            told += process.stdout.readline()
        yield json.loads(told)["url"], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(15)


async def chaos(url: str, files: dict[str, Path], seed: int, operations: int, process: psutil.Process) -> Tally:
    chance = random.Random(seed)
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=300, trust_env=False, limits=limits) as http:
        storm = _Storm(http, files, chance)
        watching = asyncio.create_task(storm.watch(process))
        tasks = []
        for _ in range(operations):
            tasks.append(asyncio.create_task(storm.act()))
            await asyncio.sleep(chance.expovariate(1 / 0.08))
        await asyncio.gather(*tasks)
        storm.over.set()
        await watching
    return storm.tally


class _Storm:
    """What is done to the house, by chance, and what came of it."""

    def __init__(self, http: httpx2.AsyncClient, files: dict[str, Path], chance: random.Random) -> None:
        self._http, self._files, self._chance = http, files, chance
        self.tally, self.over = Tally(), asyncio.Event()

    async def act(self) -> None:
        name, http, done = self._chance.choice(list(MODELS)), self._http, self.tally.done
        match self._chance.choices(["chat", "load", "unload", "delete"], [6, 2, 2, 1])[0]:
            case "chat":
                await self._chat(name)
            case "load":
                answer = await http.post(f"/domicile/models/{name}/wake", json={"keep_alive": "5s"})
                done[f"load {answer.status_code}"] += 1
            case "unload":
                answer = await http.post(f"/domicile/models/{name}/sleep")
                done[f"unload {answer.status_code}"] += 1
            case "delete":
                answer = await http.delete(f"/domicile/models/{name}")
                done[f"delete {answer.status_code}"] += 1
                await http.post("/domicile/models", json={"path": str(self._files[name])})

    async def _chat(self, name: str) -> None:
        tally = self.tally
        body = {"model": name, "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 24}
        sent = time.monotonic()
        async with self._http.stream("POST", "/v1/chat/completions", json={**body, "ignore_eos": True}) as answer:
            if answer.status_code != 200:
                error = json.loads(await answer.aread())["error"]["code"]
                tally.done[f"chat {answer.status_code} {error}"] += 1
                if error not in {"model_not_found", "model_file_missing"}:
                    tally.broken.append(error)
                return
            text, first = "", 0.0
            async for piece in answer.aiter_text():
                if "data:" in piece and not first:
                    first = time.monotonic()
                text += piece
        tally.sent.append((name, sent, first))
        whole = "[DONE]" in text and '"error"' not in text
        tally.done["chat whole" if whole else "chat broken"] += 1
        if not whole:
            tally.broken.append(text[-200:])

    async def watch(self, process: psutil.Process) -> None:
        """The most memory that engines take together."""
        while not self.over.is_set():
            used = 0
            for child in process.children():
                with contextlib.suppress(psutil.Error):
                    if "llama_child" in " ".join(child.cmdline()):  # others list devices, for a moment
                        used += child.memory_info().rss
            self.tally.used_bytes = max(self.tally.used_bytes, used)
            await asyncio.sleep(0.05)


async def crowd(url: str, count: int) -> tuple[collections.Counter[int], int]:
    """So many chats at once; statuses, and how many refusals did not say when to come back."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"model": "graine", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4}).encode()

    async def one() -> tuple[int, bool]:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
        headers = answer.partition(b"\r\n\r\n")[0].lower()
        return int(headers.split()[1]), b"retry-after" in headers

    answers = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
    statuses = collections.Counter(0 if isinstance(a, BaseException) else a[0] for a in answers)
    silent = sum(not isinstance(a, BaseException) and a[0] != 200 and not a[1] for a in answers)
    return statuses, silent


def _health(url: str, over: threading.Event, took: list[float]) -> None:
    while not over.wait(0.05):
        began = time.monotonic()
        urllib.request.urlopen(f"{url}/domicile/health", timeout=60).read()
        took.append(time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--limit", default="420MB")
    parser.add_argument("--at-once", type=int, default=1000)
    asked = parser.parse_args()
    print("| seed | operations | answers whole | interrupted | out of order | dead children | memory kills | most used "
          f"of {asked.limit} | evictions | orphans |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, layers in MODELS.items():
            files[name] = Path(folder, f"{name}.gguf")
            sample.write(files[name], "Q8_0", sample.Shape(layers))
        for seed in asked.seeds:
            _one_seed(Path(folder), files, seed, asked)
        _at_once(Path(folder, "crowd"), asked.at_once)


def _one_seed(folder: Path, files: dict[str, Path], seed: int, asked: argparse.Namespace) -> None:
    kills = memory_kills() or 0
    settings = {"DOMICILE_MODELS_MEMORY": asked.limit, "DOMICILE_CONTEXT": "1024", "DOMICILE_KEEP_ALIVE": "3s"}
    with house(folder / f"home-{seed}", **settings) as (url, process):
        for path in files.values():
            httpx2.post(f"{url}/domicile/models", json={"path": str(path)}).raise_for_status()
        tally = asyncio.run(chaos(url, files, seed, asked.operations, process))
        metrics = httpx2.get(f"{url}/metrics").text.splitlines()
        children = process.children()

    def events(kind: str) -> int:
        return sum(int(float(x.split()[-1])) for x in metrics if f'events_total{{event="{kind}"' in x)

    orphans = sum(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children)
    print(f"| {seed} | {asked.operations} | {tally.done['chat whole']} | {len(tally.broken)} | {tally.out_of_order()} "
          f"| {events('death')} | {(memory_kills() or 0) - kills} | {tally.used_bytes / 1e6:.0f} MB "
          f"| {events('evicted')} | {orphans} |", flush=True)  # fmt: skip
    if tally.used_bytes > byte_count(asked.limit):
        print("<!-- more than the limit! -->")
    others = {k: v for k, v in sorted(tally.done.items()) if k != "chat whole"}
    print(f"<!-- {others} {tally.broken[:3]} -->", flush=True)


def _at_once(home: Path, count: int) -> None:
    with house(home) as (url, process):
        httpx2.post(f"{url}/domicile/models/graine/wake", json={}, timeout=60)
        files, cpu = process.num_fds(), sum(process.cpu_times()[:2])
        over, took = threading.Event(), list[float]()
        watcher = threading.Thread(target=_health, args=(url, over, took))
        watcher.start()
        began = time.monotonic()
        statuses, silent = asyncio.run(crowd(url, count))
        wall = time.monotonic() - began
        over.set()
        watcher.join()
        time.sleep(1)
        spent = sum(process.cpu_times()[:2]) - cpu
        took.sort()
        print(f"\n{count} at once in {wall:.1f} s: {dict(statuses)}; refusals without Retry-After {silent}; health "
              f"median {took[len(took) // 2] * 1000:.0f} ms, worst {took[-1]:.2f} s of {len(took)}; descriptors "
              f"{files} before, {process.num_fds()} after; processor time of the house {spent:.2f} s; load "
              f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip


if __name__ == "__main__":
    main()
