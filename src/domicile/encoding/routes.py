"""The routes of an encoder's child: `/v1/embeddings` and `/v1/rerank`, with `tokenize` and `detokenize`.

A vector has length one always, as OpenAI's have, whether or not the folder ends with Normalize. Refusals are in the
words of llama.cpp's server, which the house knows. The model is a function of a batch of rows of tokens.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domicile.child_http import Counts, Handler, Refusal, Response, as_json
from domicile.child_life import UnfitError
from domicile.encoding.folder import Folder, file
from domicile.encoding.pooling import dense, normalised, pooled

_BATCH_TOKENS = 8192
"""Of one batch, padding included."""
Run = Callable[[Any, Any, Any], Any]
"""Tokens, mask and kinds of tokens (texts x tokens, int64) to what the model makes of them, float32: states (texts x
tokens x width), vectors (texts x width), or scores (texts x classes)."""
Stop = threading.Event


class Encoder:
    """A folder's tokenizer and its model."""

    def __init__(self, asked: dict[str, Any], folder: Folder, run: Run) -> None:
        self._name, self._folder, self._run = str(asked["alias"]), folder, run
        self._tokenizer = tokenizer_of(folder.place)
        self._dense = [dense(place) for place in folder.dense]
        self._counts = Counts()

    def routes(self, *, ranks: bool) -> dict[str, Handler]:
        """Who answers what: scores when it `ranks`, else vectors."""
        work: dict[str, Handler] = (
            {"POST /v1/rerank": self.rerank} if ranks else {"POST /v1/embeddings": self.embeddings}
        )
        return {
            **work,
            "POST /tokenize": self.tokenize,
            "POST /detokenize": self.detokenize,
            "GET /counts": self.counts,
        }

    async def embeddings(self, data: dict[str, Any]) -> Response:
        """A vector for each input; in base64 where asked, which costs a tenth of writing numbers."""
        rows = self._rows(_inputs(data.get("input")))
        packed = data.get("encoding_format") == "base64"
        vectors = await self._timed(rows, self._packed if packed else self._vectors)
        told = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
        return as_json({"object": "list", "model": self._name, "data": told, "usage": _usage(rows)})

    async def rerank(self, data: dict[str, Any]) -> Response:
        """The model's own number for each document: the last class of its head."""
        documents = data.get("documents")
        if not isinstance(documents, list) or not all(isinstance(one, str) for one in documents):
            raise Refusal("documents must be a list of texts", param="documents")
        query = str(data.get("query", ""))
        rows = [self._bounded(*_both(self._tokenizer.encode(query, document))) for document in documents]
        scores = await self._timed(rows, self._scores)
        told = [{"index": n, "relevance_score": score} for n, score in enumerate(scores)]
        return as_json({"object": "list", "model": self._name, "results": told, "usage": _usage(rows)})

    async def tokenize(self, data: dict[str, Any]) -> Response:
        """A text's tokens."""
        special = data.get("add_special") is True
        return as_json({"tokens": self._tokenizer.encode(str(data.get("content", "")), add_special_tokens=special).ids})

    async def detokenize(self, data: dict[str, Any]) -> Response:
        """The text of tokens."""
        tokens = data.get("tokens")
        if not isinstance(tokens, list) or not all(type(token) is int and token >= 0 for token in tokens):
            raise Refusal("tokens must be a list of numbers", param="tokens")
        return as_json({"content": self._tokenizer.decode(tokens)})

    async def counts(self, _: dict[str, Any]) -> Response:
        """What has been done."""
        return as_json(self._counts.public())

    # -- tokens --

    def _rows(self, said: Sequence[str | list[int]]) -> list[_Row]:
        written = [self._folder.prompt + one for one in said if isinstance(one, str)]
        encoded = iter(self._tokenizer.encode_batch(written))
        return [
            self._bounded(one, [0] * len(one)) if isinstance(one, list) else self._bounded(*_both(next(encoded)))
            for one in said
        ]

    def _bounded(self, ids: list[int], kinds: list[int]) -> _Row:
        most, room = self._tokenizer.get_vocab_size(), self._folder.most_tokens
        if not ids or not all(isinstance(i, int) and 0 <= i < most for i in ids):
            raise Refusal(f"tokens must be between 0 and {most - 1}", param="input")
        if len(ids) > room:
            said = f"input ({len(ids)} tokens) is too large to process (current batch size: {room})"
            raise Refusal(said, 400, "exceed_context_size_error", n_prompt_tokens=len(ids), n_ctx=room)
        return ids, kinds

    # -- the model --

    async def _timed(self, rows: Sequence[_Row], make: Callable[[Any, Any], list[Any]]) -> list[Any]:
        """Work in a thread that stops after the batch it is at when the caller leaves."""
        began, stop = time.perf_counter(), Stop()
        try:
            found = await asyncio.to_thread(self._batches, rows, make, stop)
        finally:
            stop.set()
        total = sum(len(ids) for ids, _ in rows)
        self._counts.prompt += total
        self._counts.rate = total / max(1e-9, time.perf_counter() - began)
        return found

    def _batches(self, rows: Sequence[_Row], make: Callable[[Any, Any], list[Any]], stop: Stop) -> list[Any]:
        import numpy as np

        found: list[Any] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda n: len(rows[n][0]))
        while order and not stop.is_set():
            longest = len(rows[order[-1]][0])
            size = max(1, _BATCH_TOKENS // longest)
            batch, order = order[-size:], order[:-size]
            ids, mask, kinds = (np.zeros((len(batch), longest), dtype=np.int64) for _ in range(3))
            for at, number in enumerate(batch):
                tokens, kind = rows[number]
                ids[at, : len(tokens)], kinds[at, : len(tokens)], mask[at, : len(tokens)] = tokens, kind, 1
            for number, made in zip(batch, make(self._run(ids, mask, kinds), mask), strict=True):
                found[number] = made
        return found

    def _packed(self, made: Any, mask: Any) -> list[Any]:
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in self._whole(made, mask)]

    def _vectors(self, made: Any, mask: Any) -> list[Any]:
        vectors: list[Any] = self._whole(made, mask).tolist()
        return vectors

    def _whole(self, made: Any, mask: Any) -> Any:
        """Vectors at length one: texts x width, float32, little end first."""
        import numpy as np

        if made.ndim == 3:
            made = np.concatenate([pooled(kind, made, mask) for kind in self._folder.poolings], axis=1)
            for step in self._dense:
                made = step(made)
        return np.ascontiguousarray(normalised(made.astype(np.float32)), "<f4")

    def _scores(self, made: Any, mask: Any) -> list[Any]:
        if made.ndim != 2:
            raise Refusal("this model gives no scores", 501)
        return [float(row[-1]) for row in made]


_Row = tuple[list[int], list[int]]
"""Tokens, and of which of two texts each is."""


def tokenizer_of(place: Path) -> Any:
    """The folder's `tokenizer.json`. Raises `UnfitError`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file(place, "tokenizer.json")))
    except UnfitError:
        raise
    except Exception as trouble:  # the library raises a bare Exception
        raise UnfitError(f"tokenizer.json: {str(trouble)[:200]}") from trouble
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _both(encoded: Any) -> _Row:
    return encoded.ids, encoded.type_ids


def _inputs(said: object) -> Sequence[str | list[int]]:
    if not isinstance(said, list) or not all(isinstance(one, (str, list)) for one in said):
        raise Refusal("input must be a list of texts or of lists of tokens", param="input")
    return said


def _usage(rows: Sequence[_Row]) -> dict[str, int]:
    total = sum(len(ids) for ids, _ in rows)
    return {"prompt_tokens": total, "total_tokens": total}
