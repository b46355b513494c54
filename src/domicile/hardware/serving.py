"""A sample decoded by a `llama-server`, for the child that measures: started, asked a few tokens at a time.

It ends with the child that started it (`become_child`: the kernel sees to it), and has its network, which is none.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from domicile.llama_flags import told

TOKENS = 5
"""A round. Short, so that on a busy machine some go undisturbed (about 12 ms; 16 tokens in one go: 50)."""
REQUEST: Mapping[str, Any] = {
    "prompt": [1, 300],
    "n_predict": TOKENS,
    "ignore_eos": True,
    "temperature": 0,
    "cache_prompt": False,
}
_BECOME = Path(__file__).parents[1] / "engines" / "become_child.py"
_PLAN: Mapping[str, Any] = {
    "n_ctx": 256,
    "n_parallel": 1,
    "n_ubatch": 64,
    "type_k": "f16",
    "type_v": "f16",
    "flash_attention": True,
    "gpu_layers": 0,
    "tensor_split": (),
    "cache_ram_bytes": 0,
    "checkpoints": 0,
    "mmap": False,
    "speculation": "off",
    "projector": None,
}
_MEMORY_BYTES = 2 << 30
_WAKE_S = 15.0


def token_seconds(said: Mapping[str, Any]) -> float:
    """Of an answer. The first token comes with the prompt: the engine counts it, and its time as nothing."""
    timings = said["timings"]
    return float(timings["predicted_ms"]) / 1000 / (int(timings["predicted_n"]) - 1)


class _Door(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def serving(build: Mapping[str, Any], path: Path, threads: int) -> Callable[[], float]:
    """Load a sample in a program; each call decodes TOKENS and answers seconds a token."""
    folder = path.parent / path.stem
    folder.mkdir()
    key = secrets.token_hex(16)
    asked: Mapping[str, Any] = {"model": str(path), "alias": "sample", "plan": _PLAN, "threads": threads}
    given = told(build["program"], build["flags"], asked)
    bond = {
        "program": build["program"],
        "arguments": given.words,
        "environment": given.environment,
        "files": given.files,
        "stacks": 16 + 2 * threads,
        "folder": str(folder),
        "address": str(folder / "door.sock"),
        "key": key,
        "house": os.getpid(),
        "memory_bytes": _MEMORY_BYTES,
    }
    process = subprocess.Popen([sys.executable, "-P", str(_BECOME)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(json.dumps(bond).encode() + b"\n")
    process.stdin.flush()

    def ask(method: str, where: str, body: bytes | None = None) -> tuple[int, bytes]:
        door = _Door(str(folder / "door.sock"))
        try:
            door.request(method, where, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
            answer = door.getresponse()
            return answer.status, answer.read()
        finally:
            door.close()

    until = time.monotonic() + _WAKE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if ask("GET", "/health")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.02)
    body = json.dumps(REQUEST).encode()
    return lambda: token_seconds(json.loads(ask("POST", "/completion", body)[1]))
