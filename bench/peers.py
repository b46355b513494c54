"""Other servers in front of the same model, beside the house and the bare engine: LiteLLM's proxy and llama-cpp-python.

    python -m bench.peers [--litellm VENV] [--llama-cpp VENV] [--shape qwen2.5-0.5b] [--quant Q4_K_M] [--layers N]
                          [--tokens 64] [--rounds 5] [--clients 1 16] [--model FILE.gguf]

Each peer lives in an environment of its own: `litellm[proxy]` and `llama-cpp-python[server]`. LiteLLM's proxy stands
before the bare engine, as the house stands before its own; llama-cpp-python has an engine of its own, with as many
threads, and answers one request at a time (it has no slots). As in `dialects.py`, one client asks all in turn, each
beside the bare engine, in OpenAI's dialect; the median of the rounds' ratios counts. Whole answers, from asking to the
last token, are for all; decoding has no rate where one answer ends before another begins, or all comes at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from tools.random_gguf import SHAPES, write

from bench import overhead
from bench.dialects import Asker, first, prompts, rate
from bench.overhead import CONTEXT, Side, bare, house, post

Streams = Sequence[dict[str, float]]
START_S = 300
HOUSE = "Domicile"


def main() -> None:
    reader = argparse.ArgumentParser(description="Other servers in front of the same model.")
    reader.add_argument("--litellm", type=Path, help="an environment with litellm[proxy]")
    reader.add_argument("--llama-cpp", type=Path, help="an environment with llama-cpp-python[server]")
    reader.add_argument("--shape", choices=sorted(SHAPES), default="qwen2.5-0.5b")
    reader.add_argument("--quant", default="Q4_K_M")
    reader.add_argument("--layers", type=int)
    reader.add_argument("--model", type=Path)
    reader.add_argument("--tokens", type=int, default=64)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    asked: Any = reader.parse_args()
    overhead.SLOTS = max(asked.clients)
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        model = asked.model
        if model is None:
            model = folder / "model.gguf"
            write(asked.shape, asked.quant, model, layers=asked.layers)
        side, _, _ = stack.enter_context(house(folder / "home"))
        entered = post(f"{side.url}/domicile/models", {"path": str(model)})
        plain = stack.enter_context(bare(model, folder))
        sides = [Side(HOUSE, side.url, side.key, entered["name"])]
        if asked.litellm:
            sides.append(stack.enter_context(litellm(asked.litellm, plain, folder)))
        if asked.llama_cpp:
            sides.append(stack.enter_context(llama_cpp(asked.llama_cpp, model, folder)))
        measure(plain, sides, asked.clients, asked.tokens, asked.rounds)


@contextlib.contextmanager
def litellm(venv: Path, plain: Side, folder: Path) -> Iterator[Side]:
    """LiteLLM's proxy before the bare engine."""
    port = free_port()
    engine = {"model": f"openai/{plain.model}", "api_base": f"{plain.url}/v1", "api_key": plain.key}
    settings = folder / "litellm.json"  # its settings are YAML, which JSON is
    settings.write_text(json.dumps({"model_list": [{"model_name": "peer", "litellm_params": engine}]}))
    words = [venv / "bin" / "litellm", "--config", settings, "--host", "127.0.0.1", "--port", str(port)]
    key = f"sk-{secrets.token_hex(32)}"
    quiet = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "NO_DOCS": "True",
    }
    with serving(words, quiet, f"http://127.0.0.1:{port}/health/liveliness", folder / "litellm.log"):
        yield Side("LiteLLM proxy", f"http://127.0.0.1:{port}", key, "peer")


@contextlib.contextmanager
def llama_cpp(venv: Path, model: Path, folder: Path) -> Iterator[Side]:
    """llama-cpp-python's server, with an engine of its own."""
    port = free_port()
    threads = psutil.cpu_count(logical=False) or 1
    words = [venv / "bin" / "python", "-m", "llama_cpp.server", "--model", model, "--model_alias", "peer"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(CONTEXT), "--n_threads", str(threads)]
    words += ["--interrupt_requests", "false"]  # a second request would end the first one's stream
    with serving(words, {}, f"http://127.0.0.1:{port}/v1/models", folder / "llama-cpp.log"):
        yield Side("llama-cpp-python", f"http://127.0.0.1:{port}", "any", "peer")


@contextlib.contextmanager
def serving(words: Sequence[object], more: dict[str, str], health: str, log: Path) -> Iterator[None]:
    """A server of somebody else's, from its first answer on."""
    with log.open("wb") as told:
        process = subprocess.Popen(
            [str(word) for word in words], stdout=told, stderr=told, env={**os.environ, **more}, start_new_session=True
        )
    try:
        until = time.monotonic() + START_S
        while not healthy(health):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{words[0]} did not open:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(plain: Side, sides: Sequence[Side], counts: Sequence[int], tokens: int, rounds: int) -> None:
    asker = Asker()
    try:
        for side in (plain, *sides):
            asker(side, "peer", prompts(0, 1, side.name), 8)
        heads = ("clients", "server", "tokens/s", "bare", "ratio (range)", "decoding alone", "first token, ms more")
        print("| " + " | ".join(heads) + " |")
        print("| --- " * len(heads) + "|")
        for count in counts:
            found: dict[str, list[tuple[Streams, Streams]]] = {side.name: [] for side in sides}
            for number in range(1, rounds + 1):
                for side in sides:  # each beside a bare one of its own: a machine's mood lasts a second
                    a = asker(plain, "peer", prompts(number, count, f"before {side.name}"), tokens)
                    b = asker(side, "peer", prompts(number, count, f"within {side.name}"), tokens)
                    found[side.name].append((a, b))
                print(f"{count} clients, round {number} of {rounds}", file=sys.stderr)
            for name, rows in found.items():
                print(row(count, name, rows))
    finally:
        asker.close()


def row(count: int, name: str, rounds: Sequence[tuple[Streams, Streams]]) -> str:
    a, b = (statistics.median(whole(pair[place]) for pair in rounds) for place in (0, 1))
    more = statistics.median(first(there) - first(here) for here, there in rounds)
    answers = ratio([whole(there) / whole(here) for here, there in rounds])
    try:
        decoding = ratio([rate(there) / rate(here) for here, there in rounds])
    except SystemExit:
        decoding = ""
    if any(at_once(there) for _, there in rounds):
        decoding = "all at once"
    return f"| {count} | {name} | {b:.1f} | {a:.1f} | {answers} | {decoding} | {more:+.1f} |"


def at_once(streams: Streams) -> bool:
    """Did answers come at their end, for all that they were streamed?"""
    return any(s["last"] - s["first"] < (s["last"] - s["began"]) / 10 for s in streams)


def ratio(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def whole(streams: Streams) -> float:
    """Tokens a second from the moment of asking to the last token of all streams."""
    return sum(s["tokens"] for s in streams) / (max(s["last"] for s in streams) - min(s["began"] for s in streams))


if __name__ == "__main__":
    main()
