"""OpenAI's dialect: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`.

Images are `web/images.py`, sound is `web/speech.py`.

The engine speaks it itself, so a body is checked and passed on byte for byte, and so is the answer. Two things are
ours: several answers at once (`n`), and vectors of fewer dimensions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask
from domicile.dialects import vectors
from domicile.types import Installed, Ticket
from domicile.web import anthropic, asking
from domicile.web.embedding import embed
from domicile.web.relay import Relay
from domicile.web.several import several
from domicile.web.trouble import house_of


async def chat_completions(request: Request) -> Any:
    """Answer a conversation, streamed or not.

    Images come as `data:` in `image_url`, to models that see. A recording (`input_audio`) is heard by the speech model
    that lives here and given to this model as words; `X-Domicile-Heard-By` says so. Ours in that part: `language`,
    `prompt`, `vad_filter`, `fallback`, `beam_size`.
    """
    body, data = await asking.json_object(request)
    name = asking.text_of(data, "model") or ""
    streams = asking.flag_of(data, "stream")
    asking.check_chat(data)
    return _relay(request, Ask(name, "/v1/chat/completions", body), data, streams)


async def completions(request: Request) -> Any:
    """Go on from a text, without the chat template."""
    body, data = await asking.json_object(request)
    name = asking.text_of(data, "model") or ""
    streams = asking.flag_of(data, "stream")
    asking.check_prompt(data)
    return _relay(request, Ask(name, "/v1/completions", body), data, streams)


def _relay(request: Request, ask: Ask, data: dict[str, Any], streams: bool) -> Relay:
    """A misspelt name fails before anything is woken; one that is on its way here may be answered elsewhere."""
    house, ticket = house_of(request), Ticket()
    ask = replace(ask, said=asking.said_beside(request), ticket=ticket)
    many = (data.get("n") or 1) > 1  # the engine gives as many as it has slots, and refuses more
    return Relay(
        lambda: several(house.answer, ask, data) if many else house.answer(ask),
        house.closing,
        ticket=ticket,
        streams=streams,
        limit_s=house.settings.answer_limit,
    )


async def embeddings(request: Request) -> Any:
    """Texts (or lists of tokens) as vectors."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    model = house.library.ready(asking.text_of(data, "model") or "")
    wanted, encoding = vectors.dimensions(data), vectors.encoding(data)
    found = await embed(house, model, vectors.inputs(data), wanted)
    shown: list[Any] = found.vectors
    if encoding == "base64":
        shown = [vectors.in_base64(vector) for vector in found.vectors]
    return JSONResponse(
        {
            "object": "list",
            "model": model.name,
            "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(shown)],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        },
        headers=found.headers,
    )


async def models(request: Request) -> Response:
    """Every model that can be asked now (in Anthropic's shape, page by page, for who sends `anthropic-version`).

    `?limit=`, `?after_id=` and `?before_id=` choose the page of that shape.
    """
    found = [m for m in house_of(request).library.list() if not m.missing]
    if request.headers.get("anthropic-version"):
        return JSONResponse(anthropic.page(found, request.query_params))
    return JSONResponse({"object": "list", "data": [_card(m) for m in found]})


async def model(request: Request) -> Response:
    """One model."""
    found = house_of(request).library.get(request.path_params["name"])
    return JSONResponse(anthropic.card(found) if request.headers.get("anthropic-version") else _card(found))


def _card(model: Installed) -> dict[str, Any]:
    owner = model.repository.split("/")[0] if model.repository else "domicile"
    return {"id": model.name, "object": "model", "created": int(model.added_at or 0), "owned_by": owner}
