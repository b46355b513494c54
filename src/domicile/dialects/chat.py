"""Chat: one conversation with its options, whatever dialect it was asked in.

Messages, tools and formats are in OpenAI's own shapes (platform.openai.com/docs/api-reference/chat), which engines
speak. What a dialect said and nobody here reads is kept, under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domicile.errors import BadField, MissingField

PATH = "/v1/chat/completions"
_SIGNATURES = (("iVBOR", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp"), ("Qk", "bmp"))
"""How the base64 of an image begins, by its kind."""


@dataclass(slots=True)
class Chat:
    """A conversation to go on with."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] | None = None
    parallel: bool | None = None
    """May several tools be called at once? None: as the engine likes."""
    format: dict[str, Any] | None = None
    """What the answer must look like (`response_format`)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Sampling, by the engine's names: `temperature`, `max_tokens`, `top_k`, `stop` ..."""
    thinking: bool | str | None = None
    """Think before the answer: yes, no, how hard; None for the model's habit."""
    unread: dict[str, Any] = field(default_factory=dict)
    """Fields of the request that no code here reads."""

    def data(self, model: str) -> dict[str, Any]:
        """OpenAI's body. Always streamed, so that a caller who leaves stops the work, and with its count of tokens."""
        data: dict[str, Any] = {"model": model, "messages": self.messages, **self.options}
        if self.tools:
            data["tools"] = self.tools
            if self.tool_choice is not None:
                data["tool_choice"] = self.tool_choice
            if self.parallel is not None:
                data["parallel_tool_calls"] = self.parallel
        if self.format is not None:
            data["response_format"] = self.format
        if self.thinking is not None:
            told: dict[str, Any] = {"enable_thinking": self.thinking is not False}
            if isinstance(self.thinking, str):
                told["reasoning_effort"] = self.thinking
            data["chat_template_kwargs"] = told
        return {**data, "stream": True, "stream_options": {"include_usage": True}}


def schema_format(schema: Mapping[str, Any], name: str = "answer") -> dict[str, Any]:
    """The answer is JSON that a schema accepts."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": True}}


def image_part(data: str, kind: str | None = None) -> dict[str, Any]:
    """An image given as base64, of a media type that is said or seen in its first letters."""
    media = kind or next((f"image/{k}" for start, k in _SIGNATURES if data.startswith(start)), "image/png")
    return {
        "type": "image_url",
        "image_url": {"url": data if data.startswith("data:") else f"data:{media};base64,{data}"},
    }


def call(identifier: str, name: str, arguments: object) -> dict[str, Any]:
    """A call of a tool, its arguments as the JSON text that OpenAI's dialect holds them in."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": text}}


def arguments_of(text: str) -> object:
    """A call's arguments as an object; the text itself under `arguments` when it is no JSON object."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


# -- reading fields --


def bad(field_name: str, value: object, reason: str) -> BadField:
    """The error of a field that holds something else than it must."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return BadField(field=field_name, problem=shown if len(shown) <= 80 else shown[:79] + "…", reason=reason)


def text(data: Mapping[str, Any], name: str, default: str = "") -> str:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad(name, value, "text")
    return value


def flag(data: Mapping[str, Any], name: str, default: bool | None = None) -> bool | None:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad(name, value, "flag")
    return value


def number(data: Mapping[str, Any], name: str) -> float | int | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad(name, value, "number")
    return value


def objects(data: Mapping[str, Any], name: str, *, required: bool = False) -> list[dict[str, Any]]:
    """A list of objects; empty when it is not there."""
    value = data.get(name)
    if value is None:
        if required:
            raise MissingField(field=name)
        return []
    if not isinstance(value, list):
        raise bad(name, value, "list")
    for place, item in enumerate(value):
        if not isinstance(item, dict):
            raise bad(f"{name}[{place}]", item, "object")
    return value


def table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object; empty when it is not there."""
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad(name, value, "object")
    return value


def unread(data: Mapping[str, Any], read: Sequence[str] | frozenset[str]) -> dict[str, Any]:
    """The fields that nobody read."""
    return {name: value for name, value in data.items() if name not in read}
