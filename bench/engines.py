"""transformers through Domicile against the same library called directly: tokens a second, interleaved.

A Llama-shaped model with random weights (`--layers`, `--width`), one greedy answer of `--tokens` tokens a round; the
direct side is `model.generate` in a process of its own with the same threads and number format. Both start before the
first round; each round asks one, then the other. Prints medians and their ratio.
Usage: OMP_WAIT_POLICY=passive python -m bench.engines --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from tests.fakes import tensors
from tests.fakes.environment import borrowed

from domicile.config import load
from domicile.engines import ROWS, Launch
from domicile.engines.pychild import PythonEngine
from domicile.types import Installed, Plan

DIRECT = """
import json, os, sys, time, torch, transformers
folder, threads, dtype = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(threads)
transformers.logging.set_verbosity_error()
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
tokens = transformers.AutoTokenizer.from_pretrained(folder)(sys.argv[5])["input_ids"]
many = int(sys.argv[4])
for line in sys.stdin:
    mine = time.process_time()
    with torch.inference_mode():
        made = model.generate(torch.tensor([tokens]), max_new_tokens=many, min_new_tokens=many, do_sample=False)
    print(json.dumps([made.shape[1] - len(tokens), time.process_time() - mine]), flush=True)
"""
PROMPT = "Bonjour, dis-moi comment choisir un modèle. " * 8


def model_of(folder: Path, layers: int, width: int) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tensors.graine(folder / "words")
    vocab = json.loads((words / "config.json").read_text())["vocab_size"]
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=width * 4, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=max(1, width // 256), max_position_embeddings=4096,
    )  # fmt: skip
    return tensors.with_words_of(words, folder / "model", LlamaForCausalLM(config))


async def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as home:
        place = Path(home)
        folder = model_of(place, options.layers, options.width)
        environment = borrowed(load({"DOMICILE_HOME": home}).engines, "transformers")
        files = tuple(sorted(folder.iterdir(), key=lambda p: p.suffix != ".safetensors"))
        model = Installed("bench", files[0], "safetensors", 1, "file", files=files, task="text-generation")
        weights = files[0].stat().st_size >> 20
        plan = Plan(8192, 1, 512, "f16", "f16", True, 0, (), 0, 0)
        launch = Launch(model, plan, options.threads, 0, 300.0, place / "log")
        direct = subprocess.Popen(
            [sys.executable, "-c", DIRECT, str(folder), str(options.threads), "float32", str(options.tokens), PROMPT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        )  # fmt: skip
        assert direct.stdin is not None
        assert direct.stdout is not None
        body = {"prompt": PROMPT, "max_tokens": options.tokens, "ignore_eos": True, "temperature": 0}
        rates: dict[str, list[float]] = {"direct": [], "domicile": []}
        async with PythonEngine(ROWS[0], environment).awake(launch) as awake:
            child = psutil.Process(awake.pid)
            for turn in range(options.rounds + 1):
                direct.stdin.write("go\n")
                direct.stdin.flush()
                made, processor = json.loads(direct.stdout.readline())
                before = sum(child.cpu_times()[:2])
                async with awake.ask("/v1/completions", json.dumps(body).encode()) as reply:
                    said = json.loads(b"".join([piece async for piece in reply.body]))
                spent = sum(child.cpu_times()[:2]) - before
                if turn:  # the first warms up
                    rates["direct"].append(made / processor)
                    rates["domicile"].append(said["usage"]["completion_tokens"] / spent)
            resident = (awake.resident_bytes() or 0) >> 20
        direct.stdin.close()
        direct.wait()
    ours, theirs = statistics.median(rates["domicile"]), statistics.median(rates["direct"])
    print(f"{options.layers} layers x {options.width}, {options.tokens} tokens, {options.threads} thread(s), float32")
    print(
        f"tokens per second of processor: direct {theirs:.1f}, through Domicile {ours:.1f}, ratio {ours / theirs:.3f}"
    )
    print(f"resident memory of the child: {resident} MiB ({weights} MiB of it weights)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
