"""Texts to vectors, for the dialects that ask: the engine's `/v1/embeddings`, and what it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from domicile.answering import Ask, whole
from domicile.app import House
from domicile.dialects.vectors import check_width, cut, numbers
from domicile.errors import ContextTooLong, EngineDied, NotSupported
from domicile.types import Installed
from domicile.web.capabilities import capabilities

_ANSWER_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector a text, in their order."""

    vectors: list[list[float]]
    tokens: int
    """Of all the texts."""
    headers: dict[str, str] = field(default_factory=dict)


async def embed(
    house: House,
    model: Installed,
    texts: Sequence[Any],
    wanted: int | None,
    keep_alive_s: float | None = None,
    *,
    trim: bool = False,
) -> Vectors:
    """Raises `NotSupported` for a model that talks, `ContextTooLong` for a text that is too long unless it may be
    trimmed: then its end is left out, and a header says how many tokens that was."""
    try:
        return await _embed(house, model, texts, wanted, keep_alive_s)
    except ContextTooLong as trouble:
        if not trim:
            raise
        cut_texts, dropped = await _trimmed(house, model, texts, int(str(trouble.facts["context"])))
    found = await _embed(house, model, cut_texts, wanted, keep_alive_s)
    return replace(found, headers={**found.headers, "X-Domicile-Context-Dropped": f"{dropped} tokens"})


async def _trimmed(house: House, model: Installed, texts: Sequence[Any], context: int) -> tuple[list[list[int]], int]:
    """Texts as tokens, each within the context, its last token kept (it marks the end); and how many were left out."""
    found, dropped = [], 0
    for text in texts:
        body = json.dumps({"content": text, "add_special": True}).encode()
        async with house.answer(Ask(model.name, "/tokenize", body)) as answer:
            tokens: list[int] = json.loads(await whole(answer.reply.body, _ANSWER_BYTES))["tokens"]
        if len(tokens) > context:
            dropped += len(tokens) - context
            tokens = [*tokens[: context - 1], tokens[-1]]
        found.append(tokens)
    return found, dropped


async def _embed(
    house: House, model: Installed, texts: Sequence[Any], wanted: int | None, keep_alive_s: float | None
) -> Vectors:
    can = await capabilities(house, model)
    if "embedding" not in can:
        raise NotSupported(what=model.name, reason="embeddings_of_ranker" if "rerank" in can else "embeddings")
    body = json.dumps({"model": model.name, "input": list(texts), "encoding_format": "base64"}).encode()
    async with house.answer(Ask(model.name, "/v1/embeddings", body, keep_alive_s)) as answer:
        said = await whole(answer.reply.body, _ANSWER_BYTES)
        try:
            found = json.loads(said)
            if answer.reply.status != 200:
                raise EngineDied(name=answer.model, reason="garbled", how=str(found["error"]["message"])[:300])
            rows = sorted(found["data"], key=lambda row: row["index"])
            vectors = [numbers(row["embedding"]) for row in rows]
            check_width(wanted, min(map(len, vectors)))
            told = [cut(vector, wanted) for vector in vectors]
            tokens = int(found.get("usage", {}).get("prompt_tokens", 0))
        except (ValueError, KeyError, TypeError) as trouble:
            raise EngineDied(name=answer.model, reason="garbled", how=str(trouble)[:200]) from trouble
        headers = {"X-Domicile-Served-By": f"{answer.served_by}; model={answer.model}"}
        return Vectors(told, tokens, headers | {f"X-Domicile-{k}": v for k, v in answer.notes.items()})
