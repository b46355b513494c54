"""The real llama.cpp on one GGUF, in a child process, spoken to over a loopback port.

A context manager that gives a `Llama` with `chat` (greedy) and `tokenize`. The engine may crash or
hang without harm to the caller. Knows nothing of what is asked.
Usage: with serve(Path("graine.gguf")) as llama: print(llama.chat([{"role": "user", "content": "Bonjour"}]))
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILD = """
import sys
from xllamacpp import CommonParams, Server
params = CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 4096
params.n_parallel = 1
params.cpuparams.n_threads = 2
params.cpuparams_batch.n_threads = 2
params.cache_ram_mib = 0
params.warmup = False
server = Server(params)
print("READY", server.listening_address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    stopped: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Llama:
    address: str

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def chat(self, messages: list[dict[str, str]], limit: int = 160) -> Answer:
        """The greedy answer; `stopped` is true when the model itself ended it."""
        reply = self._post(
            "/v1/chat/completions",
            {"messages": messages, "temperature": 0, "max_tokens": limit, "cache_prompt": False},
        )
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
        return Answer(text, choice["finish_reason"] == "stop", reply["usage"]["completion_tokens"])

    def tokenize(self, text: str) -> list[int]:
        reply = self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return [int(token) for token in reply["tokens"]]


@contextmanager
def serve(gguf: Path) -> Iterator[Llama]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        for line in child.stdout:
            if line.startswith("READY "):
                yield Llama(line.split()[1].rstrip("/"))
                break
        else:
            raise RuntimeError(f"llama.cpp ended with {child.wait()} before it was ready")
    finally:
        child.stdin.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
