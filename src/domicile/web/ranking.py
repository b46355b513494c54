"""`/v1/rerank`: which of some documents answer a question best, by a model that reads both at once.

The shape is the one that Jina and Cohere share, and vLLM and llama.cpp's server speak; `texts` instead of `documents`
asks for that of Text Embeddings Inference. The score is between 0 and 1, as theirs is: the model's own number through
the logistic function, unless the engine has made a probability of it; `"raw_scores": true` gives the number itself.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask, whole
from domicile.app import House
from domicile.dialects import chat as reading
from domicile.dialects.chat import bad
from domicile.errors import ContextTooLong, EngineDied, MissingField, NotSupported
from domicile.types import Installed
from domicile.web import asking
from domicile.web.capabilities import facts_of
from domicile.web.trouble import house_of

MOST_DOCUMENTS = 2048
_ANSWER_BYTES = 64 << 20
_PROBABLE = frozenset({"qwen3", "qwen3vl"})
"""Architectures whose ranking head says yes or no: llama.cpp gives the probability of yes (llama-graph.cpp)."""
_AROUND = 4
"""Tokens that stand around a question and a document."""


async def rerank(request: Request) -> Response:
    """Documents by how well each answers a question, the best first (Jina's and Cohere's shape; TEI's with `texts`)."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    wish = _wish(data)
    model = house.library.ready(asking.text_of(data, "model") or "")
    if (await facts_of(house, model)).task != "text-ranking":
        raise NotSupported(what=model.name, reason="rerank")
    found = await _ranked(house, model, wish)
    best = sorted(range(len(wish.documents)), key=lambda n: -found.scores[n])[: wish.top]
    if wish.plain:
        rows = [{"index": n, "score": found.scores[n]} | _text(wish, n, flat=True) for n in best]
        return JSONResponse(rows, headers=found.headers)
    return JSONResponse(
        {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": model.name,
            "results": [{"index": n, "relevance_score": found.scores[n]} | _text(wish, n) for n in best],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        },
        headers=found.headers,
    )


@dataclass(frozen=True, slots=True)
class _Wish:
    query: str
    documents: Sequence[str]
    top: int | None
    returned: bool
    """Give the documents back with their scores."""
    raw: bool
    most_tokens: int | None
    """What of each document is read."""
    trim: bool
    """Leave out the end of a document that is too long, instead of refusing it."""
    plain: bool
    """Text Embeddings Inference's shape."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    scores: Sequence[float]
    tokens: int
    headers: Mapping[str, str]


def _wish(data: Mapping[str, Any]) -> _Wish:
    plain = "texts" in data and "documents" not in data
    field = "texts" if plain else "documents"
    query, said = reading.text(data, "query"), data.get(field)
    if not query.strip():
        raise MissingField(field="query")
    if said is None:
        raise MissingField(field=field)
    if not isinstance(said, list) or not said:
        raise bad(field, said, "documents")
    if len(said) > MOST_DOCUMENTS:
        raise bad(field, len(said), "most_documents")
    returned = reading.flag(data, "return_text" if plain else "return_documents", False) is True
    return _Wish(
        query,
        [_document(field, n, one) for n, one in enumerate(said)],
        _whole(data, "top_n"),
        returned,
        reading.flag(data, "raw_scores", False) is True,
        _whole(data, "max_tokens_per_doc"),
        reading.flag(data, "truncate", False) is True,
        plain,
    )


def _document(field: str, number: int, said: object) -> str:
    """A text, or an object that has one."""
    text = said.get("text") if isinstance(said, dict) else said
    if not isinstance(text, str):
        raise bad(f"{field}[{number}]", said, "document")
    return text


def _whole(data: Mapping[str, Any], field: str) -> int | None:
    value = reading.number(data, field)
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise bad(field, value, "positive")
    return value


def _text(wish: _Wish, number: int, *, flat: bool = False) -> dict[str, Any]:
    if not wish.returned:
        return {}
    text = wish.documents[number]
    return {"text": text} if flat else {"document": {"text": text}}


async def _ranked(house: House, model: Installed, wish: _Wish) -> _Ranked:
    documents, dropped = wish.documents, 0
    if wish.most_tokens is not None:
        documents, dropped = await _shortened(house, model, documents, wish.most_tokens)
    try:
        found = await _asked(house, model, wish, documents)
    except ContextTooLong as trouble:
        if not wish.trim:
            raise
        room = int(str(trouble.facts["context"])) - len(await _tokens(house, model, wish.query)) - _AROUND
        if room < 1:
            raise
        documents, more = await _shortened(house, model, documents, room)
        dropped += more
        found = await _asked(house, model, wish, documents)
    if not dropped:
        return found
    return _Ranked(found.scores, found.tokens, {**found.headers, "X-Domicile-Context-Dropped": f"{dropped} tokens"})


async def _asked(house: House, model: Installed, wish: _Wish, documents: Sequence[str]) -> _Ranked:
    body = json.dumps({"model": model.name, "query": wish.query, "documents": list(documents)}).encode()
    async with house.answer(Ask(model.name, "/v1/rerank", body)) as answer:
        said = await whole(answer.reply.body, _ANSWER_BYTES)
        try:
            found = json.loads(said)
            if answer.reply.status != 200:
                raise EngineDied(name=answer.model, reason="garbled", how=str(found["error"]["message"])[:300])
            scores = {int(row["index"]): float(row["relevance_score"]) for row in found["results"]}
            ordered = [scores[n] for n in range(len(documents))]
            tokens = int(found.get("usage", {}).get("prompt_tokens", 0))
        except (ValueError, KeyError, TypeError) as trouble:
            raise EngineDied(name=answer.model, reason="garbled", how=str(trouble)[:200]) from trouble
        headers = {"X-Domicile-Served-By": f"{answer.served_by}; model={answer.model}"}
        notes = {f"X-Domicile-{name}": value for name, value in answer.notes.items()}
    probable = (await facts_of(house, model)).architecture in _PROBABLE
    shown = ordered if wish.raw or probable else [_logistic(score) for score in ordered]
    return _Ranked(shown, tokens, headers | notes)


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))


async def _shortened(house: House, model: Installed, documents: Sequence[str], most: int) -> tuple[Sequence[str], int]:
    """The beginning of each document, of at most so many tokens; and how many tokens were left out of all."""
    found, dropped = [], 0
    for text in documents:
        tokens = await _tokens(house, model, text)
        dropped += max(0, len(tokens) - most)
        found.append(text if len(tokens) <= most else await _written(house, model, tokens[:most]))
    return found, dropped


async def _written(house: House, model: Installed, tokens: Sequence[int]) -> str:
    body = json.dumps({"tokens": list(tokens)}).encode()
    async with house.answer(Ask(model.name, "/detokenize", body)) as answer:
        return str(json.loads(await whole(answer.reply.body, _ANSWER_BYTES))["content"])


async def _tokens(house: House, model: Installed, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": False}).encode()
    async with house.answer(Ask(model.name, "/tokenize", body)) as answer:
        tokens: list[int] = json.loads(await whole(answer.reply.body, _ANSWER_BYTES))["tokens"]
    return tokens
