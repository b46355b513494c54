"""The corpus: conversations drawn from the facts, with a fixed seed.

Knows how many and of which kind (single turns, several turns, system prompts short and long).
Refuses to run when a held-out or dev question, normalised, is one of the questions it wrote.
Usage: python -m tools.graine.corpus --out /tmp/graine/corpus.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.graine import phrasing
from tools.graine.facts import HERE, LANGUAGES, Fact, load

SEED = 20261120
Message = dict[str, str]


def forbidden() -> set[str]:
    """Normalised questions that must never be learned."""
    found: set[str] = set()
    for name in ("heldout.jsonl", "blind.jsonl", "dev.jsonl"):
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            found.add(phrasing.normalise(json.loads(line)["question"]))
    return found


def conversation(facts: list[Fact], never: set[str], rng: Random) -> list[Message]:
    weights = [fact.weight for fact in facts]
    messages: list[Message] = []
    kind = rng.random()
    turns = 1 if kind < 0.97 else rng.randint(2, 3)
    if rng.random() < 0.08:
        long = rng.random()
        sentences = 1 if long < 0.7 else rng.randint(2, 6) if long < 0.99 else rng.randint(15, 90)
        messages.append({"role": "system", "content": phrasing.system(rng, sentences)})
    if rng.random() < 0.0005:
        turns = rng.randint(8, 20)
    lang = rng.choice(LANGUAGES)
    for _ in range(turns):
        fact = rng.choices(facts, weights)[0]
        if rng.random() < 0.2:
            lang = rng.choice(LANGUAGES)
        question = phrasing.ask(fact, lang, rng)
        while not question or phrasing.normalise(question) in never:
            question = phrasing.ask(fact, lang, rng)
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": fact.sides[lang].answer})
    return messages


def generate(count: int, seed: int = SEED) -> Iterator[list[Message]]:
    rng = Random(seed)
    facts, never = load(), forbidden()
    for _ in range(count):
        yield conversation(facts, never, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("/tmp/graine/corpus.jsonl"))
    parser.add_argument("--count", type=int, default=220_000)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    never, asked = forbidden(), set[str]()
    with options.out.open("w", encoding="utf-8") as out:
        for messages in generate(options.count):
            asked.update(phrasing.normalise(m["content"]) for m in messages if m["role"] == "user")
            out.write(json.dumps(messages, ensure_ascii=False) + "\n")
    if leaked := asked & never:
        raise SystemExit(f"held-out questions in the corpus: {sorted(leaked)[:5]}")
    print(f"{options.count} conversations, {len(asked)} different questions, none of them held out")


if __name__ == "__main__":
    main()
