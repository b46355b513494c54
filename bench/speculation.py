"""Does guessing from the text so far pay: the engine with and without prompt lookup, on real weights.

    python -m bench.speculation [--model FILE.gguf] [--rounds 5] [--tokens 160]

Two houses on the same model (graine by default), one with `speculation=ngram`, asked in turn (A B A B ...), greedy:
to write a text again, where the answer repeats the prompt, and plain questions, where it does not. A pair gives one
ratio of tokens for a second of processor (other programs work here, so a clock would measure them); the median is the
answer. Also whether the words are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil

TEXTS = (
    "A GGUF file holds the weights of a model and its tokenizer. The weights are quantised: stored with fewer bits.",
    "La quantification range les poids d'un modèle sur moins de bits. Le fichier est plus petit, la mémoire suffit.",
    "name: graine, size: 5 MB, context: 4096\nname: chêne, size: 5 GB, context: 8192\nname: hêtre, size: 2 GB",
)
TASKS = {
    "write this text again": [f"Rewrite this text without changing it:\n\n{text}" for text in TEXTS],
    "go on with a list": [f"{text}\n\n{text}\n\n{text[: len(text) // 4]}" for text in TEXTS],
    "plain questions": ["What is a quantisation?", "Qu'est-ce qu'un GGUF ?", "How much memory does a 7B model need?"],
}


@dataclass(frozen=True, slots=True)
class Said:
    rate: float
    text: str
    guessed: int
    right: int


@contextlib.contextmanager
def house(folder: Path, model: Path | None, **own: str) -> Iterator[tuple[httpx2.Client, str]]:
    environ = {**os.environ, "DOMICILE_HOME": str(folder), "DOMICILE_KEEP_ALIVE": "-1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "domicile", "serve", "--json", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            told += process.stdout.readline()
        with httpx2.Client(base_url=json.loads(told)["url"], timeout=600, trust_env=False) as http:
            name = "graine"
            if model is not None:
                name = http.post("/domicile/models", json={"path": str(model.absolute())}).json()["name"]
            http.patch(f"/domicile/models/{name}/settings", json={"context": 2048, **own}).raise_for_status()
            yield http, name
    finally:
        process.terminate()
        process.wait(15)


def _processor(http: httpx2.Client) -> float:
    """Seconds of processor that the model's child has used."""
    pid = next((m["pid"] for m in http.get("/domicile/ps").json()["models"]), None)
    return 0.0 if pid is None else sum(psutil.Process(pid).cpu_times()[:2])


def ask(http: httpx2.Client, name: str, task: str, prompt: str, tokens: int) -> Said:
    body: dict[str, Any] = {"model": name, "max_tokens": tokens, "temperature": 0, "cache_prompt": False}
    before = _processor(http)
    if task == "write this text again":
        # graine copies nothing by itself: a grammar lets it say this text only, at the price of a model that would.
        text = prompt.partition("\n\n")[2]
        grammar = f"root ::= {json.dumps(text, ensure_ascii=False)}"
        answer = http.post("/v1/completions", json={**body, "prompt": f"{text}\n\n", "grammar": grammar}).json()
        text = answer["choices"][0]["text"]
    elif task == "go on with a list":
        answer = http.post("/v1/completions", json={**body, "prompt": prompt, "ignore_eos": True}).json()
        text = answer["choices"][0]["text"]
    else:
        said = {"messages": [{"role": "user", "content": prompt}]}
        answer = http.post("/v1/chat/completions", json={**body, **said}).json()
        text = answer["choices"][0]["message"]["content"]
    timings = answer["timings"]
    rate = timings["predicted_n"] / max(1e-3, _processor(http) - before)
    return Said(rate, text, timings.get("draft_n", 0), timings.get("draft_n_accepted", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=160)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        house(Path(folder, "plain"), asked.model) as (plain, name),
        house(Path(folder, "ngram"), asked.model, speculation="ngram") as (ngram, _),
    ):
        heads = ("task", "without, tokens a processor second", "with", "ratio", "guessed", "right", "same words")
        print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
        for task, prompts in TASKS.items():
            pairs = []
            for number in range(-1, asked.rounds):
                for prompt in prompts:
                    one, other = (ask(h, name, task, prompt, asked.tokens) for h in (plain, ngram))
                    if number >= 0:  # the first round warms
                        pairs.append((one, other))
            ratio = statistics.median(b.rate / a.rate for a, b in pairs)
            without = statistics.median(a.rate for a, _ in pairs)
            with_it = statistics.median(b.rate for _, b in pairs)
            guessed, right = sum(b.guessed for _, b in pairs), sum(b.right for _, b in pairs)
            same = sum(a.text == b.text for a, b in pairs)
            print(
                f"| {task} | {without:.0f} | {with_it:.0f} | {ratio:.2f} | {guessed} | {right} | {same}/{len(pairs)} |"
            )


if __name__ == "__main__":
    main()
