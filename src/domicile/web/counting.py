"""How many tokens a conversation takes, under the model's own template: the engine counts, nothing is generated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from domicile.answering import Ask, whole
from domicile.app import House
from domicile.errors import EngineDied
from domicile.types import Installed
from domicile.web import asking

_PATH = "/v1/chat/completions/input_tokens"


async def count(house: House, model: Installed, body: Mapping[str, Any]) -> int:
    """Tokens of a body of `/v1/chat/completions`, its tools included."""
    asking.check_chat(body)
    async with house.answer(Ask(model.name, _PATH, json.dumps(body).encode())) as answer:
        said = await whole(answer.reply.body)
    try:
        return int(json.loads(said)["input_tokens"])
    except (ValueError, KeyError, TypeError) as trouble:
        raise EngineDied(name=model.name, reason="garbled", how=said[:200].decode("utf-8", "replace")) from trouble
