"""Delta: one piece of an answer; and what a dialect needs to say one.

`Reader` cuts an engine's event stream into deltas, each parsed once; `Said` is what they add up to; a `Voice` says
them in a dialect of its own. Written for the path that every token takes: no models of fields, no copies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE_BYTES = 16 << 20
"""A line longer than this is no answer."""
_decode = json.JSONDecoder().decode
quote = json.encoder.encode_basestring
"""A text as JSON writes it, in UTF-8: the one thing that changes from one token's event to the next."""


@dataclass(slots=True)
class Delta:
    """A piece of an answer: of its text, of its thoughts, of calls (OpenAI's parts, with their index), or its end."""

    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] | None = None
    finish: str | None = None
    """`stop`, `length` or `tool_calls`, once."""
    usage: Mapping[str, Any] | None = None
    timings: Mapping[str, Any] | None = None
    """llama.cpp's own: `prompt_n`, `prompt_ms`, `predicted_n`, `predicted_ms`, `cache_n`."""
    logprobs: list[dict[str, Any]] | None = None
    error: Mapping[str, Any] | None = None
    """What the engine says when it breaks off."""
    progress: Mapping[str, Any] | None = None
    """llama.cpp's own, where it was asked for: how much of the prompt is read (`total`, `cache`, `processed`)."""


def delta_of(chunk: Mapping[str, Any]) -> Delta:
    """One chunk of OpenAI's stream, or a whole answer, which is one piece."""
    choices = chunk.get("choices")
    if not choices:
        if "error" in chunk:
            error = chunk["error"]
            return Delta(error=error if isinstance(error, dict) else {"message": str(error)})
        return _native(chunk) if "content" in chunk else Delta(usage=chunk.get("usage"), timings=chunk.get("timings"))
    choice = choices[0]
    said = choice.get("delta") or choice.get("message") or choice
    logprobs = choice.get("logprobs")
    return Delta(
        said.get("content") or said.get("text") or "",
        said.get("reasoning_content") or said.get("reasoning") or "",
        said.get("tool_calls"),
        choice.get("finish_reason"),
        chunk.get("usage"),
        chunk.get("timings"),
        logprobs.get("content") if isinstance(logprobs, dict) else None,
        progress=chunk.get("prompt_progress"),
    )


def _native(chunk: Mapping[str, Any]) -> Delta:
    """A chunk of llama.cpp's own completions, which `/infill` answers with."""
    if not chunk.get("stop"):
        return Delta(chunk["content"] or "")
    counts = {"prompt_tokens": chunk.get("tokens_evaluated"), "completion_tokens": chunk.get("tokens_predicted")}
    finish = "length" if chunk.get("stop_type") == "limit" else "stop"
    return Delta(chunk["content"] or "", finish=finish, usage=counts, timings=chunk.get("timings"))


class Reader:
    """Bytes of an event stream, cut anywhere, to deltas."""

    def __init__(self) -> None:
        self._rest = b""
        self.done = False
        """The stream said that it is whole."""

    def feed(self, chunk: bytes) -> list[Delta]:
        """What came with these bytes. Raises `ValueError` for what is no event stream of OpenAI's."""
        lines = (self._rest + chunk if self._rest else chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LINE_BYTES:
            raise ValueError("a line without end")
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                payload = line[5:].strip()
                if payload == b"[DONE]":
                    self.done = True
                    continue
                piece = _decode(payload.decode("utf-8", "replace"))
                if not isinstance(piece, dict):
                    raise ValueError("an event that is no object")
                found.append(delta_of(piece))
        return found


@dataclass(slots=True)
class Call:
    """A call of a tool as it is put together."""

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


@dataclass(slots=True)
class Said:
    """All that an answer has said so far."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    pieces: int = 0

    def add(self, delta: Delta) -> None:
        if delta.text:
            self.texts.append(delta.text)
            self.pieces += 1
        if delta.reasoning:
            self.thoughts.append(delta.reasoning)
            self.pieces += 1
        if delta.calls:
            for part in delta.calls:
                self._add_call(part)
        if delta.finish:
            self.finish = delta.finish
        if delta.usage:
            self.usage = delta.usage
        if delta.timings:
            self.timings = delta.timings
        if delta.logprobs:
            self.logprobs += delta.logprobs

    def _add_call(self, part: Mapping[str, Any]) -> None:
        place = part.get("index")
        known = self.calls.setdefault(place if isinstance(place, int) else len(self.calls), Call())
        function = part.get("function") or {}
        known.id = part.get("id") or known.id
        known.name = function.get("name") or known.name
        if function.get("arguments"):
            known.pieces.append(function["arguments"])

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        return "".join(self.thoughts)

    def count(self, name: str) -> int:
        """`prompt_tokens` or `completion_tokens`; the pieces that came, where the engine did not say."""
        told = self.usage.get(name)
        if isinstance(told, int):
            return told
        return self.pieces if name == "completion_tokens" else 0

    @property
    def cached(self) -> int:
        """Tokens of the prompt that were known already."""
        details = self.usage.get("prompt_tokens_details")
        told = details.get("cached_tokens") if isinstance(details, dict) else None
        return told if isinstance(told, int) else 0


class Voice:
    """Says an answer in a dialect. The relay calls `begin` once, `say` for each delta, then `end` or `whole`."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        """Said piece by piece; otherwise nothing leaves before the end, and `whole` is what leaves."""
        self.said = Said()
        self.finished = False
        """Nothing more is wanted: the engine may stop."""
        self.served_by = "home"

    def begin(self) -> bytes:
        """What is said before the first delta."""
        return b""

    def say(self, delta: Delta) -> bytes:
        """A delta, in the dialect; may be nothing."""
        raise NotImplementedError

    def end(self) -> bytes:
        """What is said after the last."""
        return b""

    def whole(self) -> Mapping[str, Any]:
        """The answer in one piece."""
        raise NotImplementedError

    def failed(self, error: Mapping[str, Any]) -> bytes:
        """The last event of an answer that breaks off, from an error in OpenAI's shape."""
        raise NotImplementedError
