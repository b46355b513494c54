"""OpenAI's Responses: `/v1/responses`, with what came before (`previous_response_id`) kept in the house."""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask
from domicile.dialects import chat, responses
from domicile.dialects.chat import PATH
from domicile.errors import NotSupported
from domicile.web import asking
from domicile.web.counting import count
from domicile.web.trouble import house_of
from domicile.web.turned import turned


async def create(request: Request) -> Any:
    """Answer items with items, streamed or not; kept for `previous_response_id` unless `"store": false`."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    name = asking.text_of(data, "model") or ""
    if data.get("background") or data.get("conversation") is not None:
        raise NotSupported(what="background", reason="background")
    items = responses.items_of(data)
    previous = chat.text(data, "previous_response_id")
    if previous:
        items = [*house.responses.get(previous).conversation, *items]
    body = responses.chat_of(data, items).data(house.called(name))
    asking.check_chat(body)

    def keep(response: dict[str, Any]) -> None:
        house.responses.keep(response, items)

    voice = responses.ResponsesVoice(
        name,
        data,
        lambda kind: f"{kind}_{secrets.token_hex(24)}",
        streams=chat.flag(data, "stream", False) is True,
        keep=None if chat.flag(data, "store", True) is False else keep,
    )
    said = {"context": "trim"} if data.get("truncation") == "auto" else {}
    return turned(request, Ask(body["model"], PATH, json.dumps(body).encode(), said=said), voice)


async def input_tokens(request: Request) -> Response:
    """How many tokens the items of a request take, under the model's own template."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    model = house.library.ready(asking.text_of(data, "model") or "")
    items = responses.items_of(data)
    previous = chat.text(data, "previous_response_id")
    if previous:
        items = [*house.responses.get(previous).conversation, *items]
    tokens = await count(house, model, responses.chat_of(data, items).data(model.name))
    return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})


async def get(request: Request) -> Response:
    """A response that was kept."""
    return JSONResponse(house_of(request).responses.get(request.path_params["id"]).response)


async def input_items(request: Request) -> Response:
    """The items that a kept response answers, the newest first (`?order=asc`: the oldest)."""
    kept = house_of(request).responses.get(request.path_params["id"])
    items = [{"id": f"item_{place}", **item} for place, item in enumerate(kept.items)]
    if request.query_params.get("order") != "asc":
        items.reverse()
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return JSONResponse({"object": "list", "data": items, "has_more": False, **ends})


async def delete(request: Request) -> Response:
    """Forget a response."""
    identifier = request.path_params["id"]
    house_of(request).responses.forget(identifier)
    return JSONResponse({"id": identifier, "object": "response", "deleted": True})
