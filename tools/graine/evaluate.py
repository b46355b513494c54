"""How often graine is right, measured on the shipped GGUF with the real llama.cpp, greedy decoding.

An answer is right when it holds the key fact, is in the language of the question, and was ended by
the model itself in fewer than 160 tokens. Writes the tables into CARD.md between its markers.
Usage: python -m tools.graine.evaluate [--questions dev.jsonl] [--gguf FILE] [--card CARD.md]
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tools.graine import engine
from tools.graine.facts import HERE, holds
from tools.graine.phrasing import wordset

LIMIT = 160
WORDS = {
    "fr": wordset(
        "le la les un une des du de et est pour avec que qui dans sur votre vous je il elle ce à "
        "au en ne pas plus par sont soit environ prenez avez tapez"
    ),
    "en": wordset(
        "the a an of and is for with that which in on your you i it this to not more by are about "
        "take have its type from"
    ),
}  # fmt: skip
BEGIN, FINISH = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"


@dataclass(frozen=True, slots=True)
class Result:
    lang: str
    family: str
    question: str
    answer: str
    fact: bool
    language: bool
    stopped: bool

    @property
    def right(self) -> bool:
        return self.fact and self.language and self.stopped


def language_of(text: str) -> str:
    """ "fr", "en" or "?" by counting small words and accents."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    score = {lang: sum(word in small for word in words) for lang, small in WORDS.items()}
    score["fr"] += len(re.findall("[àâçéèêëîïôùûœ]", text.casefold()))
    return "?" if score["fr"] == score["en"] else max(score, key=lambda lang: score[lang])


def measure(gguf: Path, questions: Path) -> list[Result]:
    results = []
    with engine.serve(gguf) as llama:
        for line in questions.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            answer = llama.chat([{"role": "user", "content": item["question"]}], LIMIT)
            results.append(
                Result(
                    item["lang"],
                    item["family"],
                    item["question"],
                    answer.text,
                    any(holds(key, answer.text) for key in item["key"]),
                    language_of(answer.text) == item["lang"],
                    answer.stopped,
                )
            )
    return results


def _share(results: list[Result]) -> str:
    right = sum(result.right for result in results)
    return f"{right}/{len(results)} ({100 * right / len(results):.1f} %)" if results else "-"


def table(results: list[Result]) -> str:
    """A Markdown table, families in rows and languages in columns."""
    groups: defaultdict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.family].append(result)
    lines = ["| family | français | English | both |", "|---|---|---|---|"]
    for name, group in [*sorted(groups.items()), ("**all**", results)]:
        columns = [[r for r in group if r.lang == lang] for lang in ("fr", "en")]
        lines.append(f"| {name} | {_share(columns[0])} | {_share(columns[1])} | {_share(group)} |")
    return "\n".join(lines)


def write_card(card: Path, text: str) -> None:
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(FINISH)
    card.write_text(f"{before}{BEGIN}\n{text}\n{FINISH}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    folder = HERE.parent.parent / "src" / "domicile" / "graine"
    parser.add_argument("--gguf", type=Path, default=folder / "graine.gguf")
    parser.add_argument("--questions", type=Path, nargs="+", default=[HERE / "heldout.jsonl", HERE / "blind.jsonl"])
    parser.add_argument("--card", type=Path, help="write the tables into this model card")
    options = parser.parse_args()
    tables = []
    for questions in options.questions:
        results = measure(options.gguf, questions)
        for result in results:
            if not result.right:
                marks = f"fact={result.fact} language={result.language} stopped={result.stopped}"
                print(f"wrong [{result.lang}] {result.question}\n  {marks}: {result.answer}")
        tables.append(f"`{questions.name}`\n\n{table(results)}\n")
        print(tables[-1])
    if options.card:
        write_card(options.card, "\n".join(tables))


if __name__ == "__main__":
    main()
