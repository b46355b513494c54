"""What graine knows: the facts, read from `facts/*.facts` and from the tables.

A fact is one thing to say, in French and in English, with the ways to ask for it and the pattern
that a right answer must match. This module knows the file format and nothing about sentences
around a question (see `phrasing`) or about training.

Format, one item a line, items of a list separated by " ; ", `{a|b}` is a choice:
`== id`, then `k fr:` the key pattern (a regular expression), `s` noun phrases to define, `h` verb
phrases to explain, `q` whole questions, `a` the answer, and optionally `w` a weight.
A repeated line goes on with its list. `questions/*.txt` holds more questions to the same facts, each
written out by hand: `== id`, then `fr: question` and `en: question`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGUAGES = ("fr", "en")


@dataclass(frozen=True, slots=True)
class Side:
    """One fact in one language."""

    key: str
    answer: str
    subjects: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    """Whole questions without choices, from `questions/*.txt`."""


@dataclass(frozen=True, slots=True)
class Fact:
    id: str
    family: str
    sides: dict[str, Side]
    weight: float = 1.0


@dataclass(slots=True)
class _Draft:
    id: str
    weight: float = 1.0
    lines: dict[tuple[str, str], str] = field(default_factory=dict)

    def items(self, letter: str, lang: str) -> tuple[str, ...]:
        text = self.lines.get((letter, lang), "")
        return tuple(item.strip() for item in text.split(" ; ") if item.strip())

    def finish(self, family: str) -> Fact:
        sides = {
            lang: Side(
                key=self.lines[("k", lang)],
                answer=self.lines[("a", lang)],
                subjects=self.items("s", lang),
                actions=self.items("h", lang),
                questions=self.items("q", lang),
            )
            for lang in LANGUAGES
        }
        return Fact(self.id, family, sides, self.weight)


def parse(text: str, family: str) -> list[Fact]:
    """Read one `.facts` file. Raises ValueError, with the line, on anything that is not the format."""
    drafts: list[_Draft] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line.startswith("== "):
            drafts.append(_Draft(line[3:].strip()))
        elif drafts and (match := re.fullmatch(r"w ([0-9.]+)", line)):
            drafts[-1].weight = float(match[1])
        elif drafts and (match := re.fullmatch(r"([kshqa]) (fr|en): (.+)", line)):
            place = (match[1], match[2])
            before = drafts[-1].lines.get(place)
            drafts[-1].lines[place] = f"{before} ; {match[3]}" if before else match[3]
        else:
            raise ValueError(f"{family}, line {number}: not a line of a fact: {line!r}")
    return [draft.finish(family) for draft in drafts]


def written(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Questions written by hand, by fact and language. Raises ValueError on a line that is not one."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.glob("*.txt")):
        current: dict[str, list[str]] | None = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("== "):
                current = found.setdefault(line[3:].strip(), {lang: [] for lang in LANGUAGES})
            elif current is not None and (match := re.fullmatch(r"(fr|en): ?(.+)", line)):
                current[match[1]].append(match[2].strip())
            elif line.strip():
                raise ValueError(f"{path.name}, line {number}: not a question: {line!r}")
    return found


def _with(fact: Fact, questions: dict[str, list[str]]) -> Fact:
    sides = {lang: replace(side, written=tuple(questions[lang])) for lang, side in fact.sides.items()}
    return replace(fact, sides=sides)


def holds(key: str, answer: str) -> bool:
    """Whether an answer states the fact whose key pattern this is."""
    return re.search(key, answer, re.IGNORECASE) is not None


def load(folder: Path = HERE / "facts") -> list[Fact]:
    """Every fact, in a fixed order. Raises ValueError when an answer does not hold its own key."""
    from tools.graine import tables

    facts: list[Fact] = []
    for path in sorted(folder.glob("*.facts")):
        facts += parse(path.read_text(encoding="utf-8"), path.stem)
    facts += tables.facts()
    more = written(HERE / "questions")
    if strangers := more.keys() - {fact.id for fact in facts}:
        raise ValueError(f"questions to facts that do not exist: {sorted(strangers)}")
    facts = [_with(fact, more[fact.id]) if fact.id in more else fact for fact in facts]
    seen: set[str] = set()
    for fact in facts:
        if fact.id in seen:
            raise ValueError(f"two facts are named {fact.id}")
        seen.add(fact.id)
        for lang, side in fact.sides.items():
            if not holds(side.key, side.answer):
                raise ValueError(f"{fact.id}: the {lang} answer does not hold its key {side.key!r}")
    return facts
