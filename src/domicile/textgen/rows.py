"""One answer as it is made: which token comes next, what text that is, and when it is over.

Knows sampling (temperature, top-k, top-p, min-p, penalties, a seed of its own), stop sequences that may be cut by
tokens, characters that take several tokens, and probabilities. Knows no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_HIDDEN = "\ufffd"
"""What a tokenizer shows of a character that is not whole yet."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks of an answer, within bounds. `temperature` 0 is greedy."""

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    """How many alternatives are wanted beside each token's probability; None for none of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer: text, and the last one says why it ended."""

    text: str
    finish: str | None = None
    """`stop` or `length`; None while it goes on."""
    logprobs: tuple[dict[str, Any], ...] = ()


@dataclass(eq=False)
class Row:
    """One answer. Used by one thread; `tell` is called there with each piece."""

    prompt: list[int]
    wish: Wish
    tell: Callable[[Piece | BaseException], None]
    decode: Callable[[Sequence[int]], str]
    ends: frozenset[int]
    inputs: dict[str, Any] = field(default_factory=dict)
    """What a processor made beside the tokens (pictures)."""
    left: bool = False
    """Set by another thread: nobody waits for it any more."""
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None
    began: float = 0.0
    """When its first token came, by the monotonic clock."""
    ended: float = 0.0
    _said: int = 0
    _from: int = 0
    _held: str = ""
    _generator: Any = None
    _logprobs: list[dict[str, Any]] = field(default_factory=list)

    def choose(self, scores: Any) -> int:
        """The next token of scores (numpy, one dimension, float32), and what becomes of the answer with it."""
        import numpy as np

        wish = self.wish
        if wish.ignore_eos:
            scores = scores.copy()
            scores[list(self.ends)] = -np.inf
        if wish.repetition_penalty != 1.0 or wish.frequency_penalty or wish.presence_penalty:
            scores = self._penalised(scores)
        token = int(np.argmax(scores)) if wish.temperature <= 0 else self._drawn(scores)
        if wish.logprobs is not None:
            high = scores.max()
            self._note(scores - high - np.log(np.exp(scores - high).sum()), token, wish.logprobs)
        self._take(token)
        return token

    def _penalised(self, scores: Any) -> Any:
        import numpy as np

        scores, wish = scores.copy(), self.wish
        if wish.repetition_penalty != 1.0:
            seen = sorted({*self.prompt, *self.tokens})
            found = scores[seen]
            scores[seen] = np.where(found > 0, found / wish.repetition_penalty, found * wish.repetition_penalty)
        if self.tokens and (wish.frequency_penalty or wish.presence_penalty):
            said, counts = np.unique(np.asarray(self.tokens), return_counts=True)
            scores[said] -= wish.frequency_penalty * counts + wish.presence_penalty
        return scores

    def _drawn(self, scores: Any) -> int:
        import numpy as np

        wish = self.wish
        if self._generator is None:
            self._generator = np.random.default_rng(wish.seed)
        scores = scores.astype(np.float64) / wish.temperature
        if wish.top_k and wish.top_k < scores.size:
            scores[scores < np.partition(scores, -wish.top_k)[-wish.top_k]] = -np.inf
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        if wish.min_p > 0:
            shares[shares < wish.min_p * shares.max()] = 0.0
        if wish.top_p < 1:
            places = np.argsort(-shares, kind="stable")
            before = np.cumsum(shares[places]) - shares[places]
            shares[places[before >= wish.top_p * shares.sum()]] = 0.0
        ends = np.cumsum(shares)
        drawn = int(np.searchsorted(ends, self._generator.random() * ends[-1], side="right"))
        return min(drawn, int(np.flatnonzero(shares)[-1]))

    def _note(self, logprobs: Any, token: int, most: int) -> None:
        import numpy as np

        def shown(number: int) -> dict[str, Any]:
            text = self.decode([number])
            share = max(float(logprobs[number]), -9999.0)
            return {"token": text, "logprob": share, "bytes": list(text.encode())}

        best = [int(n) for n in np.argsort(-logprobs, kind="stable")[:most]] if most else []
        self._logprobs.append({**shown(token), "top_logprobs": [shown(number) for number in best]})

    # -- text --

    def _take(self, token: int) -> None:
        self.tokens.append(token)
        self.began = self.began or time.monotonic()
        if token in self.ends and not self.wish.ignore_eos:
            self.finish = "stop"
        fresh = "" if self.finish else self._fresh()
        self._held += fresh
        cut = min((place for stop in self.wish.stop if (place := self._held.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self._held, self.finish = self._held[:cut], "stop"
        elif not self.finish and len(self.tokens) >= self.wish.max_tokens:
            self.finish = "length"
            self._held += self._fresh(whole=True)
        keep = 0 if self.finish else self._may_be_stop()
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        if self.finish:
            self.ended = time.monotonic()
        if text or self.finish:
            told, self._logprobs = tuple(self._logprobs), []
            self.tell(Piece(text, self.finish, told))

    def _fresh(self, *, whole: bool = False) -> str:
        """The text that the last token added. Decoded with a few tokens before it, for what a tokenizer puts between
        words; a character that is not whole is waited for."""
        before = self.decode(self.tokens[self._from : self._said])
        now = self.decode(self.tokens[self._from :])
        if len(now) <= len(before) or (now.endswith(_HIDDEN) and not whole):
            return ""
        self._from, self._said = self._said, len(self.tokens)
        return now[len(before) :]

    def _may_be_stop(self) -> int:
        """Characters at the end that may be the beginning of a stop sequence."""
        most = 0
        for stop in self.wish.stop:
            for length in range(min(len(stop) - 1, len(self._held)), most, -1):
                if self._held.endswith(stop[:length]):
                    most = length
                    break
        return most
