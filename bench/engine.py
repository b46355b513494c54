"""One measured run of the engine: starts the child, asks one prompt, reads memory, log and times, ends it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child import environment
from domicile.engines.llama import ENVIRONMENT
from domicile.memory import CHECKPOINTS

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Run:
    """What one run used and how fast it was. MiB, as the engine prints them."""

    rss_mib: float
    peak_mib: float
    weights_mib: float
    kv_mib: float
    state_mib: float
    compute_mib: float
    output_mib: float
    checkpoints_mib: float
    decode_tps: float
    prompt_tps: float


class _Local(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=400)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@dataclass(slots=True)
class Engine:
    """A started child. `complete` asks; `log` is what it said so far."""

    pid: int
    socket: str
    log_path: Path

    def complete(self, n_prompt: int, n_predict: int) -> dict[str, Any]:
        connection = _Local(self.socket)
        tokens = [(i * 37) % 20000 + 300 for i in range(n_prompt)]
        asked = {"prompt": tokens, "n_predict": n_predict, "ignore_eos": True, "cache_prompt": False}
        body = json.dumps(asked)
        connection.request("POST", "/completion", body, {"content-type": "application/json"})
        timings: dict[str, Any] = json.loads(connection.getresponse().read())["timings"]
        connection.close()
        return timings

    def memory(self, field: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(field)

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")


@contextlib.contextmanager
def engine(
    model: Path, *, n_ctx: int, kv: str = "f16", threads: int = 2, checkpoints: int = CHECKPOINTS
) -> Iterator[Engine]:
    """The engine, launched exactly as `fit.Plan` says."""
    with tempfile.TemporaryDirectory() as folder:
        path, log_path = f"{folder}/e.sock", Path(folder, "log")
        asked = {
            "model": str(model), "socket": path, "n_ctx": n_ctx, "type_k": kv, "type_v": kv,
            "threads": threads, "checkpoints": checkpoints,
        }  # fmt: skip
        with log_path.open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "bench.engine_child", json.dumps(asked)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**environment(), **ENVIRONMENT},
            )
        assert child.stdin
        assert child.stdout
        try:
            while not (line := child.stdout.readline()).startswith("ready"):
                if not line:
                    raise RuntimeError(log_path.read_text("utf-8", "replace")[-2000:])
            yield Engine(child.pid, path, log_path)
        finally:
            child.stdin.close()
            child.kill()
            child.wait()
            child.stdout.close()


def measure(model: Path, *, n_ctx: int, kv: str = "f16", n_prompt: int = 520, n_predict: int = 8) -> Run:
    with engine(model, n_ctx=n_ctx, kv=kv) as started:
        timings = started.complete(n_prompt, n_predict)
        rss, peak, log = started.memory(), started.memory("VmHWM"), started.log()

    def total(pattern: str) -> float:
        return sum(float(found) for found in re.findall(pattern, log))

    return Run(
        rss,
        peak,
        total(r"model buffer size =\s*([\d.]+)"),
        total(r"KV buffer size =\s*([\d.]+)"),
        total(r"RS buffer size =\s*([\d.]+)"),
        total(r"compute buffer size =\s*([\d.]+)"),
        total(r"output buffer size =\s*([\d.]+)"),
        total(r"created context checkpoint.*size = ([\d.]+)"),
        float(timings["predicted_per_second"]),
        float(timings["prompt_per_second"]),
    )
