"""OpenAI's dialect: `/v1/chat/completions`, `/v1/completions`, `/v1/models`.

The engine speaks it itself, so a body is checked and passed on byte for byte, and so is the answer.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask
from domicile.types import Installed, Ticket
from domicile.web import asking
from domicile.web.relay import Relay
from domicile.web.trouble import house_of


async def chat_completions(request: Request) -> Any:
    """Answer a conversation, streamed or not."""
    body, data = await asking.json_object(request)
    name = asking.text_of(data, "model") or ""
    streams = asking.flag_of(data, "stream")
    asking.check_chat(data)
    return _relay(request, name, "/v1/chat/completions", body, streams)


async def completions(request: Request) -> Any:
    """Go on from a text, without the chat template."""
    body, data = await asking.json_object(request)
    name = asking.text_of(data, "model") or ""
    streams = asking.flag_of(data, "stream")
    asking.check_prompt(data)
    return _relay(request, name, "/v1/completions", body, streams)


def _relay(request: Request, name: str, path: str, body: bytes, streams: bool) -> Relay:
    """A misspelt name fails before anything is woken; one that is on its way here may be answered elsewhere."""
    house, ticket = house_of(request), Ticket()
    ask = Ask(name, path, body, said=asking.said_beside(request), ticket=ticket)
    return Relay(
        lambda: house.answer(ask), house.closing, ticket=ticket, streams=streams, limit_s=house.settings.answer_limit
    )


async def models(request: Request) -> Response:
    """Every model that can be asked now."""
    found = [_card(m) for m in house_of(request).library.list() if not m.missing]
    return JSONResponse({"object": "list", "data": found})


async def model(request: Request) -> Response:
    """One model."""
    return JSONResponse(_card(house_of(request).library.get(request.path_params["name"])))


def _card(model: Installed) -> dict[str, Any]:
    owner = model.repository.split("/")[0] if model.repository else "domicile"
    return {"id": model.name, "object": "model", "created": int(model.added_at or 0), "owned_by": owner}
