"""What a person types into the search of conversations, as FTS5 reads it, and the place in a text where it was found.

Words are matched without regard to case, accents and ligatures (`coeur` finds « cœur »), the last one by its
beginning, what stands in double quotes as a phrase. Knows no table.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_TERM = re.compile(r'"([^"]*)"?|(\S+)')
_WORDS = 16
_AROUND = 80
_LIGATURES = {"œ": "oe", "Œ": "oe", "æ": "ae", "Æ": "ae", "ß": "ss", "ẞ": "ss", "ﬁ": "fi", "ﬂ": "fl"}
_TO_FOLD = str.maketrans(_LIGATURES)


def folded(text: str) -> str:
    """A text as the index gets it: ligatures in two letters. (Case and accents are its tokenizer's.)"""
    return text if text.isascii() else text.translate(_TO_FOLD)


def query(said: str) -> str | None:
    """What was typed as an expression of FTS5, all of whose words must be there; None when there is no word in it."""
    terms = [(phrase or word, bool(phrase)) for phrase, word in _TERM.findall(folded(said))][:_WORDS]
    terms = [(t, p) for t, p in terms if any(c.isalnum() for c in t)]
    if not terms:
        return None
    shown = ['"' + term.replace('"', '""') + '"' for term, _ in terms]
    last, phrase = terms[-1]
    if not phrase and not said[-1:].isspace() and sum(c.isalnum() for c in last) > 1:
        shown[-1] += "*"
    return " ".join(shown)


@dataclass(frozen=True, slots=True)
class Found:
    """A place in a text: what stands around the first word that was looked for."""

    before: str
    match: str
    after: str

    def public(self) -> dict[str, str]:
        return {"before": self.before, "match": self.match, "after": self.after}


def place(text: str, said: str) -> Found:
    """Where a text has one of the words; its beginning where none is seen (a word of other signs)."""
    bare, at = _bare(text)
    for phrase, word in _TERM.findall(folded(said)):
        wanted = _bare(phrase or word)[0].strip()
        found = re.search(rf"(?<!\w){re.escape(wanted)}", bare) if wanted else None
        if found is None:
            continue
        start, end = at[found.start()], at[found.end() - 1] + 1
        before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
        lead = "…" if start > _AROUND else ""
        tail = "…" if end + _AROUND < len(text) else ""
        return Found(_line(lead + before), _line(text[start:end]), _line(after + tail))
    return Found("", "", _line(text[: 2 * _AROUND]) + ("…" if len(text) > 2 * _AROUND else ""))


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _bare(text: str) -> tuple[str, list[int]]:
    """A text in small letters without accents, and where each of them stood."""
    letters: list[str] = []
    places: list[int] = []
    for index, c in enumerate(text):
        bare = _letter(c)
        letters.append(bare)
        places.extend([index] * len(bare))
    return "".join(letters), places


@lru_cache(4096)
def _letter(c: str) -> str:
    c = _LIGATURES.get(c, c)
    return "".join(x for x in unicodedata.normalize("NFD", c.lower()) if not unicodedata.combining(x))
