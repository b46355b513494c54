"""Two writers, killed at any moment: is what they acknowledged still there, and is no model half?

    python -m bench.kill_nine --rounds 100

Each round starts two processes on one house. Both pull models of a local Hub (some the same, some of their own)
through the real `House.pull`, keep small facts, and remove some of their own models; each says a line on standard
output when a thing is done, and before it removes one. Both are killed with signal 9 at a random moment, and the house
is looked at: every acknowledged model must be listed, every file under a final name be the Hub's, byte for byte, every
acknowledged fact be kept, no listed model lack its file, and a check of the database find nothing. The next round goes
on with what the killed ones left.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.hub import FakeHub, running

from domicile.app import open_house
from domicile.config import load
from domicile.db import Database
from domicile.library import Library

_MODELS = 40
_SHARED = 10
"""Models both writers pull; of the others, one pulls the even, one the odd."""
_ROOT = Path(__file__).parent.parent


async def write(name: str, seed: int) -> None:
    """A writer: pulls models at random and keeps facts, until it is killed."""
    chance = random.Random(seed)
    async with open_house(load(), takes="all") as house:
        print("open", flush=True)
        for number in range(10_000):
            which = chance.randrange(_MODELS)
            which += which >= _SHARED and which % 2 != (name == "b")
            ref = f"org/m{which % _MODELS}-GGUF:Q8_0"
            job = await house.jobs.wait((await house.pull(ref)).id)
            if job.status == "done":
                print(f"model {job.result['name']}", flush=True)
            house.database.keep(f"{name}-{seed}-{number}", "x" * 100)
            print(f"fact {name}-{seed}-{number}", flush=True)
            if chance.random() < 0.3 and job.status == "done" and which % _MODELS >= _SHARED:
                print(f"removing {job.result['name']}", flush=True)
                await house.remove(str(job.result["name"]))


def round_(number: int, chance: random.Random) -> tuple[dict[str, set[str]], float]:
    """Start two writers, kill them. What they said, by kind, and when the kill came after both were open."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.kill_nine", "--write", name, "--seed", str(number * 2 + place)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=_ROOT,
        )
        for place, name in enumerate(("a", "b"))
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    lived = chance.uniform(0.0, 1.2)
    time.sleep(lived)
    told: dict[str, set[str]] = {"model": set(), "fact": set(), "removing": set()}
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        said = writer.communicate()[0]
        for line in said.split("\n")[:-1]:
            kind, _, what = line.partition(" ")
            told[kind].add(what)
    return told, lived


def look(contents: dict[str, bytes], models: set[str], facts: set[str]) -> tuple[list[str], float]:
    """What is wrong in the house, and the seconds the look took."""
    began = time.monotonic()
    settings = load()
    wrong: list[str] = []
    database = Database(settings.database)
    if database.set_aside is not None:
        wrong.append(f"database set aside: {database.set_aside}")
    if database.read("PRAGMA integrity_check")[0][0] != "ok":
        wrong.append("integrity_check")
    kept = {row["key"] for row in database.read("SELECT key FROM kept")}
    wrong += [f"lost fact {fact}" for fact in facts - kept]
    listed = {m.name: m for m in Library(settings, database).list() if m.source == "hub"}
    wrong += [f"lost model {name}" for name in models - set(listed)]
    wrong += [f"ghost {name}" for name, m in listed.items() if m.missing]
    for path in settings.models.rglob("*.gguf"):
        if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(contents[path.name]).digest():
            wrong.append(f"half model {path.name}")
    database.close()
    return wrong, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        asyncio.run(write(asked.write, asked.seed))
        return
    home = tempfile.mkdtemp(prefix="kill-nine")
    contents = {f"m{n}-Q8_0.gguf": b"GGUF" + random.Random(n).randbytes(200_000 + 20_000 * n) for n in range(_MODELS)}
    hub = FakeHub()
    for n in range(_MODELS):
        hub.add(f"org/m{n}-GGUF", {f"m{n}-Q8_0.gguf": contents[f"m{n}-Q8_0.gguf"]})
    chance = random.Random(asked.seed)
    models: set[str] = set()
    facts: set[str] = set()
    acknowledged = 0
    wrong: list[str] = []
    slowest = 0.0
    try:
        with running(hub):
            os.environ.update(DOMICILE_HOME=home, HF_ENDPOINT=hub.url)
            for number in range(asked.rounds):
                told, lived = round_(number, chance)
                acknowledged += len(told["model"])
                models = (models | told["model"]) - told["removing"]
                facts |= told["fact"]
                found, took = look(contents, models, facts)
                slowest = max(slowest, took)
                wrong += [f"round {number} (killed after {lived:.2f} s): {line}" for line in found]
                for line in wrong[-len(found) :] if found else []:
                    print(line, flush=True)
        print(
            f"{asked.rounds} rounds: {acknowledged} models and {len(facts)} facts acknowledged,"
            f" {len(wrong)} wrong; the slowest look took {slowest:.2f} s"
        )
    finally:
        shutil.rmtree(home)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    try:
        main()
    except sqlite3.DatabaseError as trouble:
        print(f"the database cannot be read: {trouble}")
        raise SystemExit(1) from trouble
