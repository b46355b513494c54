"""Ollama's dialect: `/api/generate` and `/api/chat`, lines of JSON, durations in nanoseconds.

Shapes: github.com/ollama/ollama docs/api.md and api/types.go. Ollama's options have names of their own for what the
engine knows by others; those that decide how a model is loaded are the house's business and are named in `ignored`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from domicile.dialects import chat as reading
from domicile.dialects.chat import Chat, arguments_of, bad, call, image_part, schema_format
from domicile.dialects.delta import Delta, Voice, quote

_NUMBERS = {
    "num_predict": "max_tokens",
    "num_keep": "n_keep",
    **{
        name: name
        for name in (
            *("temperature", "top_k", "top_p", "min_p", "typical_p", "seed"),
            *("repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty"),
            *("mirostat", "mirostat_tau", "mirostat_eta"),
        )
    },
}
_GENERATE = frozenset(
    (
        *("model", "prompt", "suffix", "system", "template", "context", "stream", "raw", "format", "images"),
        *("options", "keep_alive", "think", "logprobs", "top_logprobs", "truncate"),
    )
)
_CHAT = frozenset(
    (
        *("model", "messages", "tools", "stream", "format", "options", "keep_alive", "think"),
        *("logprobs", "top_logprobs", "truncate"),
    )
)


@dataclass(slots=True)
class Asked:
    """What Ollama's fields mean for the house beside the conversation."""

    context: int | None = None
    """`num_ctx`, tokens."""
    ignored: list[str] = field(default_factory=list)
    """Options the house decides itself, or that the engine does not have."""


# -- requests --


def chat_of(data: Mapping[str, Any]) -> tuple[Chat, Asked]:
    """`/api/chat`. No message at all: only the model is to wake, or to sleep."""
    told = _turned(reading.objects(data, "messages"))
    chat = Chat(told, tools=_tools(data), format=_format(data), thinking=_think(data))
    chat.unread = reading.unread(data, _CHAT)
    return chat, _finish(chat, data)


def generate_of(data: Mapping[str, Any]) -> tuple[Chat, Asked]:
    """`/api/generate` as a conversation of one question (after those of `context`)."""
    messages = recall(data.get("context"))
    system = reading.text(data, "system")
    if system:
        messages = [{"role": "system", "content": system}, *(m for m in messages if m["role"] != "system")]
    prompt = reading.text(data, "prompt")
    if prompt or data.get("images"):
        messages.append({"role": "user", "content": _content(prompt, data, "images")})
    chat = Chat(messages, format=_format(data), thinking=_think(data))
    chat.unread = reading.unread(data, _GENERATE)
    asked = _finish(chat, data)
    if data.get("template"):
        asked.ignored.append("template")
    return chat, asked


def raw_of(data: Mapping[str, Any]) -> tuple[dict[str, Any], Asked]:
    """`/api/generate` with `raw`: a text to go on from, without the template. A body of `/v1/completions`."""
    chat = Chat([], format=_format(data))
    asked = _finish(chat, data)
    made = chat.data(reading.text(data, "model"))
    del made["messages"]
    logprobs = made.pop("logprobs", None)
    if logprobs:
        made["logprobs"] = made.pop("top_logprobs", 0) or 1
    return {**made, "prompt": reading.text(data, "prompt")}, asked


def infill_of(data: Mapping[str, Any]) -> tuple[dict[str, Any], Asked]:
    """`/api/generate` with a `suffix`: the text between two others. A body of llama.cpp's `/infill`."""
    chat = Chat([])
    asked = _finish(chat, data)
    made = chat.data(reading.text(data, "model"))
    del made["messages"]
    most = made.pop("max_tokens", None)
    if most is not None:
        made["n_predict"] = most
    made |= {"input_prefix": reading.text(data, "prompt"), "input_suffix": reading.text(data, "suffix")}
    return made, asked


def options_of(said: Mapping[str, Any]) -> tuple[dict[str, Any], Asked]:
    """Ollama's options by the engine's names. Raises `BadField` for one that is no number and must be."""
    options: dict[str, Any] = {}
    asked = Asked()
    for name, value in said.items():
        if value is None:
            continue
        if name == "num_ctx":
            asked.context = int(reading.number(said, name) or 0) or None
        elif name == "stop":
            options["stop"] = [value] if isinstance(value, str) else value
        elif name in _NUMBERS:
            options[_NUMBERS[name]] = reading.number(said, name)
        else:
            asked.ignored.append(name)
    if options.get("max_tokens", 0) < -1:  # -2 fills the context, as -1 does with us
        options["max_tokens"] = -1
    for name in ("seed", "max_tokens", "top_k", "n_keep", "repeat_last_n", "mirostat"):
        if isinstance(options.get(name), float):
            options[name] = int(options[name])
    return options, asked


def _finish(chat: Chat, data: Mapping[str, Any]) -> Asked:
    options, asked = options_of(reading.table(data, "options"))
    chat.options |= options
    if reading.flag(data, "logprobs"):
        chat.options["logprobs"] = True
        chat.options["top_logprobs"] = int(reading.number(data, "top_logprobs") or 0)
    return asked


def _format(data: Mapping[str, Any]) -> dict[str, Any] | None:
    wanted = data.get("format")
    if wanted in (None, ""):
        return None
    if wanted == "json":
        return {"type": "json_object"}
    if isinstance(wanted, dict):
        return schema_format(wanted)
    raise bad("format", wanted, "format")


def _think(data: Mapping[str, Any]) -> bool | str | None:
    wanted = data.get("think")
    if wanted is None or isinstance(wanted, bool):
        return wanted
    if wanted in ("low", "medium", "high", "max"):
        return str(wanted)
    raise bad("think", wanted, "think")


def _tools(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", **tool} for tool in reading.objects(data, "tools")]


def _content(text: str, message: Mapping[str, Any], name: str) -> Any:
    images = message.get("images")
    if not images:
        return text
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise bad(name, images, "images")
    return [{"type": "text", "text": text}, *(image_part(image) for image in images)]


def _turned(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ollama's messages in OpenAI's shape. A tool's answer has no number there: it belongs to the calls in turn."""
    turned: list[dict[str, Any]] = []
    waiting: list[tuple[str, str]] = []
    for place, message in enumerate(messages):
        at = f"messages[{place}]"
        role = message.get("role")
        if not isinstance(role, str):
            raise bad(f"{at}.role", role, "text")
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise bad(f"{at}.content", content, "text")
        told: dict[str, Any] = {"role": role, "content": _content(content or "", message, f"{at}.images")}
        if role == "assistant":
            calls = _calls(message, at, len(turned))
            if calls:
                told["tool_calls"] = calls
                waiting = [(c["id"], c["function"]["name"]) for c in calls]
            if isinstance(message.get("thinking"), str) and message["thinking"]:
                told["reasoning_content"] = message["thinking"]
        elif role == "tool":
            told["tool_call_id"] = _answered(message, waiting)
        turned.append(told)
    return turned


def _calls(message: Mapping[str, Any], at: str, place: int) -> list[dict[str, Any]]:
    found = []
    for number, said in enumerate(reading.objects(message, "tool_calls")):
        function = said.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad(f"{at}.tool_calls[{number}].function", function, "object")
        name = said.get("id")
        found.append(
            call(
                name if isinstance(name, str) and name else f"call_{place}_{number}",
                function["name"],
                function.get("arguments"),
            )
        )
    return found


def _answered(message: Mapping[str, Any], waiting: list[tuple[str, str]]) -> str:
    """Which call this tool message answers: the one it names, else the oldest of its tool, else the oldest."""
    named = message.get("tool_call_id")
    if isinstance(named, str) and named:
        waiting[:] = [w for w in waiting if w[0] != named]
        return named
    tool = message.get("tool_name") or message.get("name")
    found = next((w for w in waiting if w[1] == tool), waiting[0] if waiting else None)
    if found is None:
        return "call_0_0"
    waiting.remove(found)
    return found[0]


# -- the conversation in `context` --


def remember(messages: list[dict[str, Any]]) -> list[int]:
    """A conversation as the numbers of `context`, which clients give back as they got them."""
    return list(json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode())


def recall(context: object) -> list[dict[str, Any]]:
    """The conversation of a `context` that `remember` made. Raises `BadField` for any other."""
    if context in (None, []):
        return []
    try:
        assert isinstance(context, list)
        found = json.loads(bytes(context))
        assert isinstance(found, list)
        assert all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in found)
    except (ValueError, TypeError, AssertionError, RecursionError) as trouble:
        raise bad("context", context, "context") from trouble
    return found


# -- answers --


def now() -> str:
    """RFC 3339."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class OllamaVoice(Voice):
    """Lines of `/api/chat`, or of `/api/generate` (`generate`)."""

    content_type = "application/x-ndjson"

    def __init__(
        self,
        model: str,
        *,
        streams: bool,
        generate: bool = False,
        history: list[dict[str, Any]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        date: Callable[[], str] = now,
    ) -> None:
        super().__init__(streams=streams)
        self._model = model
        self._generate = generate
        self._history = history
        """The conversation so far, for the `context` of a generated answer; None: no context is given."""
        self._clock = clock
        self._date = date
        self._began = clock()
        self._first = self._began
        self._head = f'{{"model":{quote(model)},"created_at":"'
        body = '","response":' if generate else '","message":{"role":"assistant","content":'
        self._body = body
        self._tail = ',"done":false}\n' if generate else '},"done":false}\n'

    def begin(self) -> bytes:
        self._first = self._clock()
        return b""

    def say(self, delta: Delta) -> bytes:
        self.said.add(delta)
        if not self.streams:
            return b""
        if delta.text and not delta.reasoning and not delta.logprobs:
            line = f"{self._head}{self._date()}{self._body}{quote(delta.text)}{self._tail}"
            return line.encode("utf-8", "replace")
        if delta.text or delta.reasoning:
            return self._line(self._message(delta.text, delta.reasoning), False, _logprobs(delta.logprobs))
        return b""

    def end(self) -> bytes:
        calls = self._calls()
        told = (
            self._line({"message": {"role": "assistant", "content": "", "tool_calls": calls}}, False) if calls else b""
        )
        return told + self._line(self._message("", ""), True, self._last())

    def whole(self) -> Mapping[str, Any]:
        message = self._message(self.said.text, self.said.reasoning)
        calls = self._calls()
        if calls and not self._generate:
            message["message"]["tool_calls"] = calls
        return self._object(message, True, _logprobs(self.said.logprobs) | self._last())

    def failed(self, error: Mapping[str, Any]) -> bytes:
        return json.dumps({"error": error.get("message", "")}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    def only(self, reason: str) -> dict[str, Any]:
        """The answer to a question without words: the model was woken (`load`) or put to sleep (`unload`)."""
        return self._object(self._message("", ""), True, {"done_reason": reason})

    def _message(self, text: str, thinking: str) -> dict[str, Any]:
        if self._generate:
            return {"response": text, **({"thinking": thinking} if thinking else {})}
        return {"message": {"role": "assistant", "content": text, **({"thinking": thinking} if thinking else {})}}

    def _calls(self) -> list[dict[str, Any]]:
        return [
            {"id": c.id, "function": {"index": place, "name": c.name, "arguments": arguments_of(c.arguments)}}
            for place, c in sorted(self.said.calls.items())
        ]

    def _object(self, message: dict[str, Any], done: bool, more: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self._model, "created_at": self._date(), **message, "done": done, **more}

    def _line(self, message: dict[str, Any], done: bool, more: Mapping[str, Any] | None = None) -> bytes:
        text = json.dumps(self._object(message, done, more or {}), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"

    def _last(self) -> dict[str, Any]:
        """What the last line says: why it is the last, and what everything took."""
        said, ended = self.said, self._clock()
        prompt_s = _seconds(said.timings.get("prompt_ms"))
        decode_s = _seconds(said.timings.get("predicted_ms"))
        if prompt_s is None or decode_s is None:  # somebody else's engine: by our own clock
            prompt_s, decode_s = self._first - self._began, ended - self._first
        told: dict[str, Any] = {
            "done_reason": "length" if said.finish == "length" else "stop",
            "total_duration": _nanoseconds(ended - self._began),
            "load_duration": _nanoseconds(self._first - self._began - prompt_s),
            "prompt_eval_count": said.count("prompt_tokens"),
            "prompt_eval_duration": _nanoseconds(prompt_s),
            "eval_count": said.count("completion_tokens"),
            "eval_duration": _nanoseconds(decode_s),
            "served_by": self.served_by,
        }
        if self._generate and self._history is not None:
            told["context"] = remember([*self._history, {"role": "assistant", "content": said.text}])
        return told


def _logprobs(found: list[dict[str, Any]] | None) -> dict[str, Any]:
    if not found:
        return {}
    return {
        "logprobs": [_probable(f) | {"top_logprobs": [_probable(t) for t in f.get("top_logprobs", ())]} for f in found]
    }


def _probable(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("token", "logprob", "bytes") if name in found}


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, (int, float)) else None


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def error_of(error: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's shape of an error in OpenAI's. Clients look for its own words where a model is not there."""
    message = str(error.get("message", ""))
    if error.get("code") == "model_not_found":
        message = f"model '{error.get('name', '')}' not found: {message}"
    return {"error": message}
