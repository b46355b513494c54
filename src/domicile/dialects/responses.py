"""OpenAI's Responses dialect: items in, items out, and a stream of numbered events in one exact order.

Shapes: platform.openai.com/docs/api-reference/responses and the `openai` package. What is kept of an answer for
`previous_response_id` is its items, so that a request that goes on is read like one that says everything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from domicile.dialects import chat as reading
from domicile.dialects.chat import Chat, bad, call, schema_format
from domicile.dialects.delta import Call, Delta, Voice, quote
from domicile.errors import MissingField

_READ = frozenset(
    (
        *("model", "input", "instructions", "previous_response_id", "store", "stream", "stream_options"),
        *("max_output_tokens", "temperature", "top_p", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls"),
        *("text", "reasoning", "truncation", "metadata", "include", "user", "safety_identifier", "seed"),
    )
)
_LOGPROBS = "message.output_text.logprobs"


# -- requests --


def items_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`input` as a list of items; a text is one message of the user."""
    said = data.get("input")
    if said is None:
        raise MissingField(field="input")
    if isinstance(said, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": said}]}]
    return reading.objects(data, "input")


def chat_of(data: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Chat:
    """`/v1/responses`: `items` are those of the request, after those of the answer that it goes on from."""
    instructions = reading.text(data, "instructions")
    messages = [{"role": "system", "content": instructions}] if instructions else []
    chat = Chat(_joined([*messages, *_messages(items)]))
    chat.unread = reading.unread(data, _READ)
    for name, ours in (("max_output_tokens", "max_tokens"), ("temperature",) * 2, ("top_p",) * 2, ("seed",) * 2):
        value = reading.number(data, name)
        if value is not None:
            chat.options[ours] = value
    top = reading.number(data, "top_logprobs")
    if top is not None or _LOGPROBS in (data.get("include") or ()):
        chat.options |= {"logprobs": True, "top_logprobs": int(top or 0)}
    _add_tools(chat, data)
    chat.format = _format(reading.table(data, "text"))
    effort = reading.table(data, "reasoning").get("effort")
    if isinstance(effort, str):
        chat.thinking = False if effort == "none" else effort
    return chat


def _messages(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    thoughts = ""
    for place, item in enumerate(items):
        at, kind = f"input[{place}]", item.get("type", "message")
        if kind == "reasoning":
            thoughts += "".join(str(c.get("text", "")) for c in item.get("content") or () if isinstance(c, dict))
            continue
        if kind == "function_call_output":
            text = _text(item.get("output"), f"{at}.output")
            messages.append({"role": "tool", "tool_call_id": str(item.get("call_id", "")), "content": text})
            continue
        if kind == "function_call":
            told = call(str(item.get("call_id", "")), str(item.get("name", "")), item.get("arguments"))
            if messages and messages[-1]["role"] == "assistant":
                messages[-1].setdefault("tool_calls", []).append(told)
            else:
                messages.append({"role": "assistant", "content": "", "tool_calls": [told]})
        elif kind == "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise bad(f"{at}.role", role, "role")
            content = _content(item.get("content"), f"{at}.content")
            messages.append({"role": "system" if role == "developer" else role, "content": content})
        else:
            raise bad(f"{at}.type", kind, "block")
        if thoughts and messages[-1]["role"] == "assistant":
            messages[-1]["reasoning_content"] = thoughts
        thoughts = ""
    return messages


def _joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """System messages at the start as one: many templates accept no second."""
    count = 0
    while count < len(messages) and messages[count]["role"] == "system" and isinstance(messages[count]["content"], str):
        count += 1
    if count < 2:
        return messages
    return [{"role": "system", "content": "\n\n".join(m["content"] for m in messages[:count])}, *messages[count:]]


def _content(said: object, at: str) -> Any:
    if isinstance(said, str):
        return said
    if not isinstance(said, list):
        raise bad(at, said, "content")
    parts = [_part(part, f"{at}[{place}]") for place, part in enumerate(said)]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: object, at: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    assert isinstance(part, dict) or kind is None
    if isinstance(part, dict) and kind in ("input_text", "output_text", "text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if isinstance(part, dict) and kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal", ""))}
    if isinstance(part, dict) and kind == "input_image":
        url = part.get("image_url")
        if isinstance(url, str) and url.startswith("data:"):  # nothing here fetches an address that a request names
            return {"type": "image_url", "image_url": {"url": url}}
    raise bad(at, part, "block")


def _text(said: object, at: str) -> str:
    found = _content(said, at)
    if not isinstance(found, str):
        raise bad(at, said, "text")
    return found


def _add_tools(chat: Chat, data: Mapping[str, Any]) -> None:
    for place, tool in enumerate(reading.objects(data, "tools")):
        if tool.get("type") != "function":  # web_search, file_search ...: run by OpenAI, not by a model
            raise bad(f"tools[{place}].type", tool.get("type"), "tool")
        function = {k: v for k, v in tool.items() if k in {"name", "description", "parameters"} and v is not None}
        chat.tools.append({"type": "function", "function": function})
    choice = data.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise bad("tool_choice", choice, "choice")
        chat.tool_choice = {"type": "function", "function": {"name": choice.get("name")}}
    elif choice is not None:
        if choice not in ("auto", "none", "required"):
            raise bad("tool_choice", choice, "choice")
        chat.tool_choice = str(choice)
    chat.parallel = reading.flag(data, "parallel_tool_calls")


def _format(text: Mapping[str, Any]) -> dict[str, Any] | None:
    wanted = reading.table(text, "format")
    kind = wanted.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind == "json_schema" and isinstance(wanted.get("schema"), dict):
        return schema_format(wanted["schema"], str(wanted.get("name") or "answer"))
    raise bad("text.format", wanted, "format")


# -- answers --


class ResponsesVoice(Voice):
    """A response, or its events. `keep` gets the response when it is whole, before its last event leaves."""

    def __init__(
        self,
        model: str,
        asked: Mapping[str, Any],
        name: Callable[[str], str],
        *,
        streams: bool,
        keep: Callable[[dict[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(streams=streams)
        self._name = name
        """Makes an identifier of a kind: `resp`, `msg`, `rs`, `fc`."""
        self._keep = keep
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._probable: list[dict[str, Any]] = []
        self._open: tuple[str, int] | None = None
        self._prefix = ("", "")
        self._response = _response(name("resp"), model, asked, int(clock()))

    @property
    def id(self) -> str:
        return str(self._response["id"])

    def begin(self) -> bytes:
        return (
            self._event("response.created", response=self._response)
            + self._event("response.in_progress", response=self._response)
        ).encode()

    def say(self, delta: Delta) -> bytes:
        self.said.add(delta)
        out = ""
        if delta.reasoning:
            out += self._opened("reasoning", 0) + self._piece(delta.reasoning)
        if delta.text:
            if delta.logprobs:
                self._probable += delta.logprobs
            out += self._opened("message", 0) + self._piece(delta.text, delta.logprobs)
        if delta.calls:
            for part in delta.calls:
                place = part.get("index", 0)
                out += self._opened("function_call", place, self.said.calls.get(place))
                text = (part.get("function") or {}).get("arguments")
                out += self._piece(text) if text else ""
        return out.encode("utf-8", "replace")

    def end(self) -> bytes:
        out = self._closed()
        response = self._whole()
        return (out + self._event(f"response.{response['status']}", response=response)).encode("utf-8", "replace")

    def whole(self) -> Mapping[str, Any]:
        self._closed()
        return self._whole()

    def failed(self, error: Mapping[str, Any]) -> bytes:
        told = {"code": "server_error", "message": str(error.get("message", ""))}
        response = {**self._response, "status": "failed", "error": told, "output": self._output}
        return self._event("response.failed", response=response).encode("utf-8", "replace")

    # -- items --

    def _opened(self, kind: str, number: int, said: Call | None = None) -> str:
        if self._open == (kind, number):
            return ""
        out = self._closed()
        self._open = (kind, number)
        place = len(self._output)
        item: dict[str, Any]
        if kind == "function_call":
            told = said or Call()
            item = {
                "id": self._name("fc"),
                "call_id": told.id or self._name("call"),
                "name": told.name,
                "arguments": "",
            }
            event = "response.function_call_arguments.delta"
        elif kind == "reasoning":
            item = {"id": self._name("rs"), "summary": [], "content": []}
            event = "response.reasoning_text.delta"
        else:
            item = {"id": self._name("msg"), "role": "assistant", "content": []}
            event = "response.output_text.delta"
        item = {"type": kind, "status": "in_progress", **item}
        self._output.append(item)
        at = {"item_id": item["id"], "output_index": place}
        out += self._event("response.output_item.added", output_index=place, item=item)
        if kind != "function_call":
            at["content_index"] = 0
            out += self._event("response.content_part.added", **at, part=_part_of(kind, ""))
        middle = json.dumps({"type": event, **at}, separators=(",", ":"))[:-1]
        self._prefix = (f'event: {event}\ndata: {middle},"sequence_number":', ',"delta":')
        return out

    def _piece(self, text: str, logprobs: list[dict[str, Any]] | None = None) -> str:
        self._pieces.append(text)
        number, self._number = self._number, self._number + 1
        more = ""
        if self._open is not None and self._open[0] == "message":
            more = f',"logprobs":{json.dumps(_logprobs(logprobs))}' if logprobs else ',"logprobs":[]'
        return f"{self._prefix[0]}{number}{self._prefix[1]}{quote(text)}{more}}}\n\n"

    def _closed(self) -> str:
        if self._open is None:
            return ""
        kind, text = self._open[0], "".join(self._pieces)
        self._open = None
        self._pieces.clear()
        place = len(self._output) - 1
        at: dict[str, Any] = {"item_id": self._output[place]["id"], "output_index": place}
        if kind == "function_call":
            item = {**self._output[place], "status": "completed", "arguments": text}
            out = self._event("response.function_call_arguments.done", **at, name=item["name"], arguments=text)
        else:
            part = _part_of(kind, text, _logprobs(self._probable) if kind == "message" else [])
            item = {**self._output[place], "status": "completed", "content": [part]}
            at["content_index"] = 0
            if kind == "message":
                out = self._event("response.output_text.done", **at, text=text, logprobs=part["logprobs"])
                self._probable = []
            else:
                out = self._event("response.reasoning_text.done", **at, text=text)
            out += self._event("response.content_part.done", **at, part=part)
        self._output[place] = item
        return out + self._event("response.output_item.done", output_index=place, item=item)

    def _event(self, kind: str, **fields: Any) -> str:
        number, self._number = self._number, self._number + 1
        data = json.dumps(
            {"type": kind, "sequence_number": number, **fields}, ensure_ascii=False, separators=(",", ":")
        )
        return f"event: {kind}\ndata: {data}\n\n"

    def _whole(self) -> dict[str, Any]:
        cut = self.said.finish == "length"
        if cut and self._output:
            self._output[-1] = {**self._output[-1], "status": "incomplete"}
        taken, given = self.said.count("prompt_tokens"), self.said.count("completion_tokens")
        response = {
            **self._response,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": self._output,
            "usage": {
                "input_tokens": taken,
                "input_tokens_details": {"cached_tokens": self.said.cached, "cache_write_tokens": 0},
                "output_tokens": given,
                "output_tokens_details": {"reasoning_tokens": min(given, len(self.said.thoughts))},
                "total_tokens": taken + given,
            },
            "served_by": self.served_by,
        }
        if self._keep is not None:
            self._keep(response)
        return response


def _part_of(kind: str, text: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def _logprobs(found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    kept = ("token", "logprob", "bytes")
    return [
        {k: f[k] for k in kept if k in f}
        | {"top_logprobs": [{k: t[k] for k in kept if k in t} for t in f.get("top_logprobs", ())]}
        for f in found or ()
    ]


def _response(identifier: str, model: str, asked: Mapping[str, Any], at: int) -> dict[str, Any]:
    """The response before its first word."""
    return {
        "id": identifier,
        "object": "response",
        "created_at": at,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "store": asked.get("store", True),
        "temperature": asked.get("temperature"),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_logprobs": asked.get("top_logprobs") or 0,
        "top_p": asked.get("top_p"),
        "truncation": asked.get("truncation") or "disabled",
        "usage": None,
        "user": asked.get("user"),
        "metadata": asked.get("metadata") or {},
    }
