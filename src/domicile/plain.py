"""Text that came from outside, made harmless to show: in a terminal, on a page, in a log.

Replaces what moves a cursor or reorders letters: control characters, bidirectional marks, invisible tags, lone
surrogates. Knows nothing of where the text came from, and is no protection against markup (`card` is).
"""

from __future__ import annotations

import re

SHOWN_AS = "\N{REPLACEMENT CHARACTER}"

# C0 but tab and line feed, DEL and C1; LRM, RLM, ALM, the embeddings, overrides and isolates; zero-width space, word
# joiner, invisible operators and byte order mark; line and paragraph separators; interlinear and tag characters;
# surrogates. The joiners U+200C and U+200D stay: Persian, Hindi and emoji are written with them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def text(said: str) -> str:
    """Several lines: line ends become `\\n`, tabs stay."""
    return _UNSAFE.sub(SHOWN_AS, said.replace("\r\n", "\n"))


def line(said: str, limit: int = 200) -> str:
    """One line, cut at `limit` characters."""
    shown = text(said[: limit + 1]).replace("\n", SHOWN_AS).replace("\t", " ").strip()
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
