"""Vectors of real weights (all-MiniLM-L6-v2) by each engine: texts a second of processor, and how near they are.

One child an engine, woken through the same frame as the house's; onnxruntime called directly is the measure of what
the frame costs. Rounds are interleaved, one thread each. Prints medians, and the lowest cosine against transformers.
Usage: OMP_WAIT_POLICY=passive python -m bench.embeddings --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
from tests.fakes import graphs, minilm
from tests.fakes.environment import borrowed

from domicile.dialects.vectors import numbers
from domicile.engines import Awake, Engine, Launch, installed
from domicile.types import Installed, Plan

TEXTS = [f"Sentence {n}: how much memory does a language model of {n} billion parameters need?" for n in range(32)]

AGAIN = 10


async def vectors(awake: Awake) -> tuple[list[list[float]], float]:
    """The vectors of all texts, and the child's seconds of processor."""
    child = psutil.Process(awake.pid)
    before = sum(child.cpu_times()[:2])
    body = {"input": TEXTS, "encoding_format": "base64"}  # as the house asks
    for _ in range(AGAIN):  # the system counts a process's time in hundredths of a second
        async with awake.ask("/v1/embeddings", json.dumps(body).encode()) as reply:
            said = json.loads(b"".join([piece async for piece in reply.body]))
    return [numbers(row["embedding"]) for row in said["data"]], sum(child.cpu_times()[:2]) - before


def direct(folder: Path) -> Any:
    """onnxruntime with the same threads; gives seconds of processor for all texts."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    wished = onnxruntime.SessionOptions()
    wished.intra_op_num_threads = wished.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), wished)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()

    def run() -> float:
        began = time.process_time()
        for _ in range(AGAIN):
            once()
        return time.process_time() - began

    def once() -> None:
        rows = tokenizer.encode_batch(TEXTS)
        mask = np.array([r.attention_mask for r in rows])
        given = {"input_ids": np.array([r.ids for r in rows]), "attention_mask": mask}
        states = session.run(None, given | {"token_type_ids": np.zeros_like(mask)})[0]
        made = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        (made / np.linalg.norm(made, axis=1, keepdims=True)).tolist()

    return run


async def measure(rounds: int) -> None:
    """Wake the three, ask them in turn, print."""
    source = minilm.weights()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        environments = place / "engines"
        for extra in ("transformers", "onnx"):
            borrowed(environments, extra)
        exported = graphs.bert(source, place / "graph")
        engines = installed(environments)
        models: dict[str, tuple[Engine, Path, str]] = {
            "transformers": (engines["encoder"], source / "model.safetensors", "safetensors"),
            "onnxruntime": (engines["onnx"], exported / "onnx" / "model.onnx", "onnx"),
            "llama.cpp": (engines["llama"], minilm.to_gguf(source, place / "mini.gguf"), "gguf"),
        }
        spent: dict[str, list[float]] = {name: [] for name in (*models, "direct")}
        made: dict[str, list[list[float]]] = {}
        straight = direct(exported)
        async with AsyncExitStack() as stack:
            awake = {}
            for name, (engine, path, form) in models.items():
                model = Installed(name, path, form, path.stat().st_size, "file", files=(path,))
                plan = Plan(2048, 4, 512, "f16", "f16", False, 0, (), 0, 0)
                launch = Launch(model, plan, 1, 4 << 30, 120, place / f"{name}.log", embedding=True)
                awake[name] = await stack.enter_async_context(engine.awake(launch))
            for turn in range(rounds + 1):
                for name, child in awake.items():
                    made[name], seconds = await vectors(child)
                    spent[name].append(seconds)
                spent["direct"].append(straight())
                if not turn:  # the first warms up
                    spent = {name: [] for name in spent}
            resident = {name: (child.resident_bytes() or 0) >> 20 for name, child in awake.items()}
    for name, seconds_each in spent.items():
        rate = AGAIN * len(TEXTS) / statistics.median(seconds_each)
        print(f"{name:12} {rate:7.1f} texts a second of processor, resident {resident.get(name, 0)} MiB")
    for name in ("onnxruntime", "llama.cpp"):
        pairs = zip(made["transformers"], made[name], strict=True)
        nearest = min(sum(x * y for x, y in zip(a, b, strict=True)) for a, b in pairs)
        print(f"lowest cosine of {name} with transformers: {nearest:.6f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
