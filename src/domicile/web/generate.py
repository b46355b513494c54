"""`POST /generate`: the small dialect of the first local servers, a prompt in and `generated_text` out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from domicile.answering import Ask
from domicile.dialects import chat
from domicile.dialects.chat import PATH, Chat
from domicile.dialects.delta import Delta, Voice
from domicile.web import asking
from domicile.web.trouble import house_of
from domicile.web.turned import turned


class _Plain(Voice):
    """`generated_text`, and who said it."""

    def __init__(self) -> None:
        super().__init__(streams=False)

    def say(self, delta: Delta) -> bytes:
        self.said.add(delta)
        return b""

    def whole(self) -> Mapping[str, Any]:
        return {"generated_text": self.said.text, "served_by": self.served_by}


async def generate(request: Request) -> Any:
    """A text for a prompt, by the active model.

    `{"prompt", "system_prompt", "max_length", "temperature", "top_p"}`, and `"model"` if another one is meant.
    """
    _, data = await asking.json_object(request)
    house = house_of(request)
    named = asking.text_of(data, "model", required=False)
    name = house.called(named) if named else house.library.active().name
    system = chat.text(data, "system_prompt")
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asking.text_of(data, "prompt") or ""})
    asked = Chat(messages)
    for theirs, ours in (("max_length", "max_tokens"), ("temperature", "temperature"), ("top_p", "top_p")):
        value = chat.number(data, theirs)
        if value is not None:
            asked.options[ours] = int(value) if ours == "max_tokens" else value
    body = asked.data(name)
    asking.check_chat(body)
    return turned(request, Ask(name, PATH, json.dumps(body).encode()), _Plain())
