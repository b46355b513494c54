"""Anthropic's dialect: `/v1/messages`, blocks of content, and a stream of events in one exact order.

Shapes: platform.claude.com/docs/en/api/messages and the `anthropic` package. The engine does not say at which stop
sequence it stopped, and this dialect must: stop sequences are looked for here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from domicile.dialects import chat as reading
from domicile.dialects.chat import Chat, arguments_of, bad, call, image_part, schema_format
from domicile.dialects.delta import Delta, Voice, quote
from domicile.errors import MissingField

_READ = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature", "top_p", "top_k"),
        *("tools", "tool_choice", "thinking", "output_config", "output_format"),
    )
)
_STOP = {"length": "max_tokens", "tool_calls": "tool_use"}
_CHOICE = {"auto": "auto", "any": "required", "none": "none"}
MOST_STOPS = 64


# -- requests --


def chat_of(data: Mapping[str, Any], *, counting: bool = False) -> tuple[Chat, list[str]]:
    """`/v1/messages`: the conversation, and its stop sequences. `counting`: `max_tokens` may be missing."""
    messages = _system(data.get("system"))
    for place, message in enumerate(reading.objects(data, "messages", required=True)):
        messages += _turned(message, f"messages[{place}]")
    chat = Chat(messages, thinking=_thinking(reading.table(data, "thinking")))
    chat.unread = reading.unread(data, _READ)
    most = reading.number(data, "max_tokens")
    if most is None and not counting:
        raise MissingField(field="max_tokens")
    if most is not None:
        if most < 1:
            raise bad("max_tokens", most, "number")
        chat.options["max_tokens"] = int(most)
    for name in ("temperature", "top_p", "top_k"):
        value = reading.number(data, name)
        if value is not None:
            chat.options[name] = value
    _add_tools(chat, data)
    chat.format = _format(data)
    stops = data.get("stop_sequences") or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise bad("stop_sequences", stops, "stop")
    return chat, stops


def _system(said: object) -> list[dict[str, Any]]:
    if said in (None, "", []):
        return []
    if isinstance(said, str):
        return [{"role": "system", "content": said}]
    return [{"role": "system", "content": "\n".join(_text(b, "system") for b in _blocks(said, "system"))}]


def _blocks(said: object, at: str) -> list[dict[str, Any]]:
    if not isinstance(said, list) or not all(isinstance(b, dict) for b in said):
        raise bad(at, said, "content")
    return said


def _text(block: Mapping[str, Any], at: str) -> str:
    if block.get("type", "text") != "text" or not isinstance(block.get("text"), str):
        raise bad(at, block, "content")
    return str(block["text"])


def _turned(message: Mapping[str, Any], at: str) -> list[dict[str, Any]]:
    """One message of Anthropic's is one or several of OpenAI's: a tool's results are messages of their own there."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise bad(f"{at}.role", role, "role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = _blocks(content, f"{at}.content")
    return [_assistant(blocks, at)] if role == "assistant" else list(_user(role, blocks, at))


def _assistant(blocks: Sequence[Mapping[str, Any]], at: str) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for place, block in enumerate(blocks):
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block, f"{at}.content[{place}]"))
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking", "")))
        elif kind == "tool_use":
            calls.append(call(str(block.get("id", "")), str(block.get("name", "")), block.get("input")))
        elif kind != "redacted_thinking":
            raise bad(f"{at}.content[{place}].type", kind, "block")
    told: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if thoughts:
        told["reasoning_content"] = "".join(thoughts)
    if calls:
        told["tool_calls"] = calls
    return told


def _user(role: str, blocks: Sequence[Mapping[str, Any]], at: str) -> Iterator[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        here = f"{at}.content[{place}]"
        if block.get("type") == "tool_result":
            pictures = []
            said = block.get("content")
            if isinstance(said, list):
                inner = [_part(b, f"{here}.content") for b in _blocks(said, here)]
                pictures = [p for p in inner if p["type"] != "text"]
                said = "\n".join(p["text"] for p in inner if p["type"] == "text")
            text = said if isinstance(said, str) else ""
            if block.get("is_error"):
                text = f"Error: {text}"
            yield {"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": text}
            parts += pictures
        else:
            parts.append(_part(block, here))
    if parts:
        only_text = all(p["type"] == "text" for p in parts)
        yield {"role": role, "content": "\n".join(p["text"] for p in parts) if only_text else parts}


def _part(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    """A block as a part of OpenAI's: text, image, or the text of a document."""
    kind, source = block.get("type"), block.get("source")
    source = source if isinstance(source, dict) else {}
    if kind == "text":
        return {"type": "text", "text": _text(block, at)}
    if kind == "image" and source.get("type") == "base64":
        return image_part(str(source.get("data", "")), str(source.get("media_type") or "image/png"))
    if kind == "document" and source.get("type") == "text":
        title = f"{block['title']}\n\n" if isinstance(block.get("title"), str) else ""
        return {"type": "text", "text": title + str(source.get("data", ""))}
    # An image by address would have the engine fetch it: nothing here asks the network behind the person's back.
    raise bad(f"{at}.type", kind if not source else f"{kind}, {source.get('type')}", "block")


def _thinking(said: Mapping[str, Any]) -> bool:
    """This dialect thinks only when it is told to."""
    return said.get("type") in ("enabled", "adaptive")


def _add_tools(chat: Chat, data: Mapping[str, Any]) -> None:
    for place, tool in enumerate(reading.objects(data, "tools")):
        if tool.get("type") not in (None, "custom"):  # web_search, bash ...: run by Anthropic, not by a model
            raise bad(f"tools[{place}].type", tool.get("type"), "tool")
        function = {"name": tool.get("name"), "parameters": tool.get("input_schema") or {"type": "object"}}
        if isinstance(tool.get("description"), str):
            function["description"] = tool["description"]
        chat.tools.append({"type": "function", "function": function})
    choice = reading.table(data, "tool_choice")
    if choice:
        kind = choice.get("type")
        if kind == "tool":
            chat.tool_choice = {"type": "function", "function": {"name": choice.get("name")}}
        elif kind in _CHOICE:
            chat.tool_choice = _CHOICE[kind]
        else:
            raise bad("tool_choice.type", kind, "choice")
        if choice.get("disable_parallel_tool_use") is not None:
            chat.parallel = not choice["disable_parallel_tool_use"]


def _format(data: Mapping[str, Any]) -> dict[str, Any] | None:
    wanted = reading.table(data, "output_config").get("format") or data.get("output_format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict):
        raise bad("output_config.format", wanted, "format")
    return schema_format(wanted["schema"])


# -- answers --


class Stops:
    """Looks for stop sequences in a text that comes in pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """What may be said by now: nothing that may yet turn out to begin a stop sequence."""
        if not self._stops or self.found is not None:
            return text if self.found is None else ""
        whole = self._held + text
        places = [(place, stop) for stop in self._stops if (place := whole.find(stop)) >= 0]
        if places:
            place, self.found = min(places, key=lambda p: (p[0], -len(p[1])))
            self._held = ""
            return whole[:place]
        kept = max((n for stop in self._stops for n in range(1, len(stop)) if whole.endswith(stop[:n])), default=0)
        self._held = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]

    def rest(self) -> str:
        """What was held back and began nothing after all."""
        held, self._held = self._held, ""
        return held


class AnthropicVoice(Voice):
    """A message, or its events: `message_start`, blocks, `message_delta`, `message_stop`."""

    def __init__(self, model: str, identifier: str, stops: Sequence[str], *, streams: bool) -> None:
        super().__init__(streams=streams)
        self._model = model
        self._id = identifier
        self._stops = Stops(stops)
        self._blocks: list[dict[str, Any]] = []
        """The content so far. Of the last one, the text is in `_pieces` until it ends."""
        self._pieces: list[str] = []
        self._open: tuple[str, int] | None = None
        """Kind and number (of the call) of the block that is being said."""
        self._prefix = ""
        """The event of a delta of this block, up to its text."""

    def begin(self) -> bytes:
        message = self._message(content=[], stop_reason=None, usage={"input_tokens": 0, "output_tokens": 0})
        return _event("message_start", message=message) + _event("ping")

    def say(self, delta: Delta) -> bytes:
        self.said.add(delta)
        out = ""
        if delta.reasoning:
            out += self._piece("thinking", 0, delta.reasoning)
        if delta.text:
            text = self._stops.feed(delta.text)
            if text:
                out += self._piece("text", 0, text)
            self.finished = self._stops.found is not None
        if delta.calls:
            for part in delta.calls:
                out += self._call(part)
        return out.encode("utf-8", "replace")

    def end(self) -> bytes:
        out = self._last().encode("utf-8", "replace")
        delta = {"stop_reason": self._reason(), "stop_sequence": self._stops.found}
        return out + _event("message_delta", delta=delta, usage=self._usage()) + _event("message_stop")

    def whole(self) -> Mapping[str, Any]:
        self._last()
        return self._message(content=self._blocks, stop_reason=self._reason(), usage=self._usage())

    def failed(self, error: Mapping[str, Any]) -> bytes:
        return _event("error", error=error_of(500, error)["error"])

    def _call(self, part: Mapping[str, Any]) -> str:
        place = part.get("index", 0)
        out = ""
        if self._open != ("tool_use", place):
            known = self.said.calls.get(place)
            block = {
                "type": "tool_use",
                "id": (known.id if known else "") or f"toolu_{self._id[4:]}_{place}",
                "name": known.name if known else "",
                "input": {},
            }
            out = self._start("tool_use", place, block)
        piece = (part.get("function") or {}).get("arguments")
        return out + self._piece("tool_use", place, piece) if piece else out

    def _piece(self, kind: str, number: int, text: str) -> str:
        out = ""
        if self._open != (kind, number):
            empty = (
                {"type": "thinking", "thinking": "", "signature": ""}
                if kind == "thinking"
                else {"type": kind, "text": ""}
            )
            out = self._start(kind, number, empty)
        self._pieces.append(text)
        return f"{out}{self._prefix}{quote(text)}}}}}\n\n"

    def _start(self, kind: str, number: int, block: dict[str, Any]) -> str:
        out = self._close()
        self._open = (kind, number)
        place = len(self._blocks)
        self._blocks.append(block)
        said = {
            "thinking": '"thinking_delta","thinking"',
            "text": '"text_delta","text"',
            "tool_use": '"input_json_delta","partial_json"',
        }[kind]
        self._prefix = (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{place},"delta":{{"type":{said}:'
        )
        return out + _event("content_block_start", index=place, content_block=block).decode()

    def _close(self) -> str:
        if self._open is None:
            return ""
        kind, place, text = self._open[0], len(self._blocks) - 1, "".join(self._pieces)
        self._pieces.clear()
        self._open = None
        if kind == "tool_use":
            self._blocks[place] = {**self._blocks[place], "input": arguments_of(text)}
        else:
            self._blocks[place] = {**self._blocks[place], kind: text}
        return _event("content_block_stop", index=place).decode()

    def _last(self) -> str:
        held = self._stops.rest()
        out = self._piece("text", 0, held) if held else ""
        return out + self._close()

    def _reason(self) -> str:
        if self._stops.found is not None:
            return "stop_sequence"
        if self.said.calls:
            return "tool_use"
        return _STOP.get(self.said.finish or "", "end_turn")

    def _usage(self) -> dict[str, Any]:
        return {
            "input_tokens": max(0, self.said.count("prompt_tokens") - self.said.cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.said.cached,
            "output_tokens": self.said.count("completion_tokens"),
        }

    def _message(self, **fields: Any) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            **fields,
            "stop_sequence": self._stops.found,
            "served_by": self.served_by,
        }


def _event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode("utf-8", "replace")


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_of(status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's shape of an error in OpenAI's."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    kept = {k: v for k, v in error.items() if k not in {"type", "message"}}
    return {"type": "error", "error": {"type": kind, "message": error.get("message", ""), **kept}}
