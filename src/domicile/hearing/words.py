"""Whisper's words: the list that CTranslate2 reads and the tokenizer that faster-whisper reads, from whatever there is.

A folder of transformers has `tokenizer.json`; one of CTranslate2 may have a bare list of tokens, a file of whisper.cpp
has their bytes. The order of a byte-pair vocabulary holds its merges: a token's two halves are what the merges before
it make of its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from domicile.hearing.languages import LANGUAGES

TIMES = 1501
"""Tokens of times: 0.00 to 30.00 seconds in steps of 0.02."""
_MOST_BYTES = 64


def specials(languages: int) -> list[str]:
    """The tokens after the vocabulary, before the times, in Whisper's order."""
    codes = list(LANGUAGES)[:languages]
    after = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    return [f"<|{name}|>" for name in ("endoftext", "startoftranscript", *codes, *after)]


def times() -> list[str]:
    return [f"<|{n * 0.02:.2f}|>" for n in range(TIMES)]


def alphabet() -> list[str]:
    """A visible character for each byte, as GPT-2 writes its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    found = {b: chr(b) for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in found):
        found[b] = chr(256 + n)
    return [found[b] for b in range(256)]


def of_bytes(tokens: Sequence[bytes], n_vocab: int) -> list[str]:
    """The whole list of a file of whisper.cpp: `tokens` by rank, then what Whisper adds up to `n_vocab`."""
    letters = alphabet()
    multilingual = n_vocab >= 51865
    base = 50257 if multilingual else 50256
    words = ["".join(letters[b] for b in token) for token in tokens[:base]]
    words += [f"<|unused{n}|>" for n in range(len(words), base)]
    seen: dict[str, int] = {}
    if multilingual:
        words[-1] = ""  # the last of a multilingual vocabulary; CTranslate2 knows one by it
    words = [w if seen.setdefault(w, n) == n else f"<|unused{n}|>" for n, w in enumerate(words)]
    words += specials(n_vocab - 51766 if multilingual else 99)
    return (words + times())[:n_vocab]


def merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """The merges that make these words, in their order (as transformers' TikTokenConverter finds them)."""
    rank = {word: n for n, word in enumerate(words)}
    found = []
    for n, word in enumerate(words):
        if not 2 <= len(word) <= _MOST_BYTES or is_special(word):
            continue
        parts = list(word)
        while len(parts) > 2:
            best = min((rank.get(parts[i] + parts[i + 1], n), i) for i in range(len(parts) - 1))
            if best[0] >= n:
                break
            at = best[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            found.append((parts[0], parts[1]))
    return found


def is_special(word: str) -> bool:
    return word.startswith("<|") and word.endswith("|>")


def tokenizer_of(words: Sequence[str]) -> str:
    """The `tokenizer.json` of a list of words."""
    first = next((n for n, w in enumerate(words) if w == "<|endoftext|>"), len(words))
    plain = list(words[:first])
    known = set(plain)
    added = [
        {
            "id": n,
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for n, word in enumerate(words)
        if n >= first
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {word: n for n, word in enumerate(plain)},
        "merges": [f"{a} {b}" for a, b in merges(plain) if a in known and b in known],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }
    return json.dumps(whole, ensure_ascii=False)


def words_of(tokenizer: Any, n_vocab: int) -> list[str]:
    """The list of a `tokenizer.json`, by id, filled up with times: CTranslate2 wants a name for each."""
    found = {n: word for word, n in tokenizer.get_vocab().items() if 0 <= n < n_vocab}
    last = max(found, default=-1)
    rest = iter(times())
    return [
        found[n] if n in found else f"<|unused{n}|>" if n <= last else next(rest, f"<|unused{n}|>")
        for n in range(n_vocab)
    ]
