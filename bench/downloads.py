"""How fast a file comes, how much of the machine that takes, and what a kill costs: ours beside curl, aria2c and hf.

    python -m bench.downloads --size 2GiB --rounds 3 [--what plain,slow,eight,kill]

Against a Hub on this machine (`downloads_hub`), all four interleaved in each round. `plain`: nothing is slowed. `slow`:
8 MB/s a connection, 80 ms before each answer. `eight`: eight files at once, slowed. `kill`: kill -9 when so much of
the file has left the server, the same again, and how many bytes were sent beyond the file.

Ours is `fetch` in a fresh process through the door of the house and into its ledger, hash, fsync and rename included,
with the start of Python; `hf` has Xet off; curl
and aria2c check nothing and sync nothing: `curl+sum` is curl, then `sha256sum` and `sync` of the file, which is the
work that ours does. Wall seconds are medians; CPU seconds and peak memory are the process's own (children included).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domicile.config import byte_count

_OURS = """
import asyncio, sys
from pathlib import Path
from domicile.db import Database
from domicile.download import Wanted, fetch
from domicile.egress import Egress
class Told:
    def resumed(self, count): pass
    def came(self, count): pass
async def main(url, size, sha256, *targets):
    ledger = Database(Path(targets[0]).with_name("ledger.db"))
    door = Egress(ledger)
    async with door.client("hub", timeout=30) as client:
        await asyncio.gather(*(
            fetch(client, Wanted(url, Path(t), int(size), sha256), Told(), lambda a: a.raise_for_status())
            for t in targets))
    await door.aclose()
    ledger.close()
asyncio.run(main(*sys.argv[1:]))
"""
_HF = """
import sys
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub import hf_hub_download
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda t: hf_hub_download("org/repo", "model.gguf", local_dir=t, token=False), sys.argv[1:]))
"""
TOOLS = ("ours", "curl", "curl+sum", "aria2c", "hf")


@dataclass
class Run:
    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclass
class Served:
    url: str
    size: int
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.url}/org/repo/resolve/main/model.gguf"

    def sent(self) -> int:
        with urllib.request.urlopen(f"{self.url}/served") as answer:
            return int(json.load(answer)["served"])


@contextlib.contextmanager
def hub(source: Path, sha256: str, rate: float = 0, latency_s: float = 0) -> Iterator[Served]:
    command = [sys.executable, "-m", "bench.downloads_hub", str(source), sha256, str(rate), str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Served(f"http://127.0.0.1:{server.stdout.readline().strip()}", source.stat().st_size, sha256)
        server.kill()


def line(tool: str, served: Served, folders: Sequence[Path]) -> list[str]:
    """What fetches the file once into each of the folders, all at once."""
    targets = [str(f / "model.gguf") for f in folders]
    match tool:
        case "ours":
            return [sys.executable, "-c", _OURS, served.file, str(served.size), served.sha256, *targets]
        case "hf":
            return [sys.executable, "-c", _HF, *map(str, folders)]
        case "curl":
            each = [part for t in targets for part in ("-C", "-", "-o", t, served.file)]
            many = ["--parallel", "--parallel-immediate", "--no-progress-meter"] if len(folders) > 1 else []
            return ["curl", "-s", "--fail", *many, *each]
        case "curl+sum":
            fetch = " ".join(f"'{part}'" for part in line("curl", served, folders))
            files = " ".join(targets)
            return ["sh", "-c", f"{fetch} && echo {files} | xargs -n 1 -P 8 sha256sum >/dev/null && sync {files}"]
        case _:
            lines = "".join(f"{served.file}\n dir={f}\n out=model.gguf\n" for f in folders)
            listed = folders[0] / "list"
            listed.write_text(lines)
            # One input line would be one file: `-j` for the eight, `-x`/`-s` as the field uses them.
            many = ["-x16", "-s16", "-k1M", f"-j{len(folders)}", "--file-allocation=none", "--force-sequential=false"]
            return ["aria2c", "-q", *many, "--allow-overwrite=true", "-c", f"--input-file={listed}"]


def environment(served: Served, scratch: Path) -> dict[str, str]:
    ours = {"HF_ENDPOINT": served.url, "HF_HOME": str(scratch / "hf"), "HF_HUB_DISABLE_XET": "1"}
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**os.environ, **ours, **quiet}


def once(tool: str, served: Served, scratch: Path, count: int) -> Run:
    folders = [scratch / f"{tool}-{i}" for i in range(count)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    os.sync()
    began = time.monotonic()
    process = subprocess.Popen(line(tool, served, folders), env=environment(served, scratch))
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = status
    assert status == 0, f"{tool}: {status}"
    for folder in folders:
        assert (folder / "model.gguf").stat().st_size == served.size, tool
        shutil.rmtree(folder)
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def race(title: str, tools: Sequence[str], served: Served, scratch: Path, rounds: int, count: int) -> None:
    runs: dict[str, list[Run]] = {tool: [] for tool in tools}
    for _ in range(rounds):
        # By lot: what a tool leaves in the system's memory makes the next one faster or slower.
        for tool in random.sample(tools, len(tools)):
            runs[tool].append(once(tool, served, scratch, count))
    medians = {tool: statistics.median(r.wall_s for r in of) for tool, of in runs.items()}
    best = min(medians[t] for t in tools if t not in {"ours", "curl+sum"})
    print(f"\n### {title}\n\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}.\n")
    print("| | wall s (each round) | median | to the best peer | CPU s | peak MB |\n|---|---|---|---|---|---|")
    for tool, of in runs.items():
        each = ", ".join(f"{r.wall_s:.1f}" for r in of)
        cpu, peak = statistics.median(r.cpu_s for r in of), max(r.peak_bytes for r in of) / 1e6
        print(f"| {tool} | {each} | {medians[tool]:.2f} | {medians[tool] / best:.2f} | {cpu:.2f} | {peak:.0f} |")


def kill_table(tools: Sequence[str], source: Path, sha256: str, scratch: Path) -> None:
    print("\n### kill -9, then the same again: MB sent beyond the file\n")
    print(f"| killed at | {' | '.join(tools)} |\n|---|{'---|' * len(tools)}")
    for percent in (2, 30, 60, 90, 99.5):
        cells = []
        for tool in tools:
            folder = scratch / f"{tool}-kill"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with hub(source, sha256, 8e6, 0.02) as served:
                told = environment(served, scratch)
                process = subprocess.Popen(line(tool, served, [folder]), env=told)
                while served.sent() < served.size * percent / 100 and process.poll() is None:
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                process.wait()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    subprocess.run(line(tool, served, [folder]), env=told, timeout=300, check=False)
                extra = (served.sent() - served.size) / 1e6
            whole = folder / "model.gguf"
            right = whole.is_file() and _sha256(whole) == sha256
            cells.append(f"{extra:.1f}" if right else f"{extra:.1f}, wrong file")
            shutil.rmtree(folder)
        print(f"| {percent} % | {' | '.join(cells)} |", flush=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--size", type=byte_count, default=2 * 2**30)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--what", default="plain,slow,eight,kill")
    asked.add_argument("--tools", default=",".join(TOOLS))
    asked.add_argument("--folder", type=Path, default=None, help="where the files are written")
    given = asked.parse_args()
    missing = [tool for tool in ("curl", "aria2c") if shutil.which(tool) is None]
    assert not missing, f"not installed: {missing}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard) if soft < 65536 else (soft, hard))
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as held,
        tempfile.TemporaryDirectory(dir=given.folder) as folder,
    ):
        source, scratch = Path(held) / "model.gguf", Path(folder)
        with source.open("wb") as out:
            left = given.size
            while left:
                left -= out.write(os.urandom(min(left, 2**24)))
        sha256, what, mib = _sha256(source), given.what.split(","), given.size / 2**20
        tools = given.tools.split(",")
        if "plain" in what:
            with hub(source, sha256) as served:
                race(f"One file of {mib:.0f} MiB, unthrottled", tools, served, scratch, given.rounds, 1)
        if "slow" in what:
            with hub(source, sha256, 8e6, 0.08) as served:
                race(f"One file of {mib:.0f} MiB, 8 MB/s a connection, 80 ms", tools, served, scratch, given.rounds, 1)
        if "eight" in what:
            with hub(source, sha256, 8e6, 0.08) as served:
                race(f"Eight files of {mib:.0f} MiB at once, 8 MB/s, 80 ms", tools, served, scratch, given.rounds, 8)
        if "kill" in what:
            kill_table([t for t in tools if t != "curl+sum"], source, sha256, scratch)


if __name__ == "__main__":
    main()
