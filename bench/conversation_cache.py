"""Going on with a conversation after a restart: from the disk, beside reading it all again.

    python -m bench.conversation_cache [--shape qwen2.5-0.5b] [--quant Q4_K_M] [--tokens 2000] [--rounds 3]
                                       [--model FILE.gguf]

Each round holds both sides, one after the other: a house closes on a conversation, is opened again, and the same
text is continued once with what was kept and once without. Timed is the first token of the answer, asked of a model
that is awake; then the same with its waking. The first round tells as well whether the greedy text is the one of a
house that was never closed. (Beside a cold reading it may differ: the engine rounds otherwise in other batches, and
random weights leave no margin.) Weights weigh and compute like real ones. Prints a table for `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from domicile.answering import Ask, whole
from domicile.app import House, open_house
from domicile.config import load

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = 20.0
NEXT = " point 1 point 2"


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds to the first token with the model awake, seconds of its waking, tokens of the prompt that were read."""

    first_s: float
    wake_s: float
    read: int
    text: str
    prompt: int


@asynccontextmanager
async def _house(home: Path, model: Path, cache: int) -> AsyncIterator[House]:
    environ = {"DOMICILE_HOME": str(home), "DOMICILE_CONTEXT": "4096", "HF_ENDPOINT": "http://127.0.0.1:9"}
    async with open_house(load(environ, conversation_cache=cache)) as house:
        house.library.add_file(model)
        yield house


async def _ask(house: House, name: str, prompt: str, tokens: int = 16) -> Answered:
    began = time.perf_counter()
    async with house.session(name):
        woken = time.perf_counter()
    body = {
        "model": name, "prompt": prompt, "temperature": 0, "max_tokens": tokens, "ignore_eos": True,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    asked = time.perf_counter()
    async with house.answer(Ask(name, "/v1/completions", json.dumps(body).encode())) as answer:
        chunks = [await anext(answer.reply.body)]
        while b'"text":"' not in b"".join(chunks):
            chunks.append(await anext(answer.reply.body))
        first = time.perf_counter()
        chunks.append(await whole(answer.reply.body))
    lines = [line[6:] for line in b"".join(chunks).split(b"\n") if line.startswith(b"data: {")]
    events = [json.loads(line) for line in lines]
    text = "".join((c["choices"][0].get("text") or "") for c in events if c["choices"])
    usage = next(c["usage"] for c in events if c.get("usage"))
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Answered(first - asked, woken - began, usage["prompt_tokens"] - cached, text, usage["prompt_tokens"])


async def _round(model: Path, words: int) -> tuple[Answered, Answered, int]:
    """Cold and warm answers to the same text, and the bytes that were kept."""
    name = model.stem
    text = _text(words)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        async with _house(home, model, 4 << 30) as house:
            said = await _ask(house, name, text, 1)
        kept = sum(p.stat().st_size for p in home.glob("conversations/*/*.kv"))
        going_on = text + said.text + NEXT
        async with _house(home, model, 0) as house:
            cold = await _ask(house, name, going_on)
        async with _house(home, model, 4 << 30) as house:
            warm = await _ask(house, name, going_on)
    return cold, warm, kept


async def _never_closed(model: Path, words: int) -> str:
    """The greedy text of the same two questions in one house that keeps nothing."""
    with tempfile.TemporaryDirectory() as folder:
        async with _house(Path(folder), model, 0) as house:
            said = await _ask(house, model.stem, _text(words), 1)
            return (await _ask(house, model.stem, _text(words) + said.text + NEXT)).text


def _text(words: int) -> str:
    return " ".join(f"point {n}" for n in range(words))


async def _words(model: Path, tokens: int) -> int:
    """How many words make a prompt of this many tokens with this tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        async with _house(Path(folder), model, 0) as house:
            few = await _ask(house, model.stem, _text(200), 1)
    return max(1, round(200 * tokens / few.prompt))


async def _measure(model: Path, tokens: int, rounds: int) -> str:
    words = await _words(model, tokens)
    found = [await _round(model, words) for _ in range(rounds)]
    ratios = [cold.first_s / warm.first_s for cold, warm, _ in found]
    woken = [(cold.first_s + cold.wake_s) / (warm.first_s + warm.wake_s) for cold, warm, _ in found]
    same = found[0][1].text == await _never_closed(model, words)

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    cold_s, warm_s = middle([c.first_s for c, _, _ in found]), middle([w.first_s for _, w, _ in found])
    rows = [
        ("tokens of the prompt", f"{found[0][0].prompt:,}", f"{found[0][1].prompt:,}", "", ""),
        ("of which read", f"{found[0][0].read:,}", f"{found[0][1].read:,}", "", ""),
        (
            "first token, awake",
            f"{cold_s:.2f} s",
            f"{warm_s:.3f} s",
            f"{middle(ratios):.0f} times",
            f">= {ACCEPTED:.0f}",
        ),
        (
            "first token, with its waking",
            f"{middle([c.first_s + c.wake_s for c, _, _ in found]):.2f} s",
            f"{middle([w.first_s + w.wake_s for _, w, _ in found]):.2f} s",
            f"{middle(woken):.1f} times",
            "",
        ),
        ("on disk", "", f"{found[0][2] / 1e6:.1f} MB", "", ""),
        ("the greedy text of a house never closed", "", "", "yes" if same else "no", "yes"),
    ]
    lines = ["| | read again | from the disk | gain | accepted |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines.append(f"\nRounds: {rounds}; gains awake: {', '.join(f'{r:.0f}' for r in ratios)}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="qwen2.5-0.5b")
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model
        if model is None:
            model = Path(folder, f"{asked.shape}.gguf")
            command = [sys.executable, str(ROOT / "tools" / "random_gguf.py"), asked.shape, asked.quant, str(model)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(asyncio.run(_measure(model.absolute(), asked.tokens, asked.rounds)))


if __name__ == "__main__":
    main()
