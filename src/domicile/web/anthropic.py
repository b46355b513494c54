"""Anthropic's dialect: `/v1/messages`, `/v1/messages/count_tokens`; its `/v1/models` is `openai`'s, by a header."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask
from domicile.dialects import anthropic, chat
from domicile.dialects.chat import PATH
from domicile.types import Installed
from domicile.web import asking
from domicile.web.counting import count
from domicile.web.trouble import house_of
from domicile.web.turned import turned


async def messages(request: Request) -> Any:
    """Anthropic: answer a conversation, streamed or not."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    name = asking.text_of(data, "model") or ""
    conversation, stops = anthropic.chat_of(data)
    body = conversation.data(house.called(name))
    asking.check_chat(body)
    streams = chat.flag(data, "stream", False) is True
    voice = anthropic.AnthropicVoice(name, f"msg_{secrets.token_hex(12)}", stops, streams=streams)
    return turned(request, Ask(body["model"], PATH, json.dumps(body).encode()), voice)


async def count_tokens(request: Request) -> Response:
    """Anthropic: how many tokens a conversation takes, under the model's own template."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    model = house.library.ready(asking.text_of(data, "model") or "")
    conversation, _ = anthropic.chat_of(data, counting=True)
    return JSONResponse({"input_tokens": await count(house, model, conversation.data(model.name))})


def card(model: Installed) -> dict[str, Any]:
    """A model as Anthropic's `/v1/models` shows it."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.added_at or 0, UTC).isoformat(),
        "lifecycle": "active",
    }


def page(models: list[Installed], query: Mapping[str, str]) -> dict[str, Any]:
    """Anthropic's list: `limit`, and the page after or before an id."""
    asked = query.get("limit", "")
    limit = min(1000, int(asked)) if asked.isdigit() and 0 < len(asked) < 6 else 20
    names = [m.name for m in models]
    begin, end = 0, len(models)
    if query.get("after_id") in names:
        begin = names.index(query["after_id"]) + 1
    if query.get("before_id") in names:
        end = names.index(query["before_id"])
        begin = max(begin, end - limit)
    shown = [card(m) for m in models[begin : min(end, begin + limit)]]
    more = begin + limit < len(models) if "before_id" not in query else begin > 0
    return {
        "data": shown,
        "has_more": more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
