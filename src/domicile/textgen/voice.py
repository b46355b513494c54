"""The routes of a child that writes text: chat and completions in OpenAI's dialect, prompts rendered and counted.

Reads what is asked, makes a `Row` of it, and dresses what comes back. The model, its tokenizer and how rows take turns
are the subclass's.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from domicile.child_http import Counts, Handler, Refusal, Response, as_events, as_json
from domicile.textgen.dress import Chat, Completion, Dress
from domicile.textgen.rows import Piece, Row, Wish

_ENOUGH_TOKENS = 16


class Voice(ABC):
    """The routes. `context` is the tokens of one conversation, prompt and answer together."""

    ends: frozenset[int] = frozenset()
    encodes = False
    """An encoder reads the prompt (T5, BART): the answer has the whole context."""

    def __init__(self, name: str, context: int, **told: Any) -> None:
        self._name = name
        self._context = context
        self._counts = Counts(more={"context": context, **told})

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """A plain text's tokens, with what the tokenizer puts around one."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""

    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens there are."""

    @abstractmethod
    def rendered(self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
        """A conversation as the model was taught to read it."""

    @abstractmethod
    def read_chat(
        self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, Any]]:
        """A conversation's tokens, and what else the model is given beside them."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """A row to decode, as soon as there is room."""

    def routes(self) -> dict[str, Handler]:
        """Who answers what."""
        return {
            "POST /v1/chat/completions": self.chat,
            "POST /v1/completions": self.complete,
            "POST /apply-template": self.template,
            "POST /count": self.count,
            "POST /v1/chat/completions/input_tokens": self.count,
            "GET /counts": self.counts,
        }

    # -- the routes --

    async def chat(self, data: dict[str, Any]) -> Response:
        messages = data.get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise Refusal("messages is no list of messages", param="messages")
        prompt, inputs = await asyncio.to_thread(self.read_chat, messages, data)
        return await self._answer(prompt, inputs, data, Chat(self._name))

    async def complete(self, data: dict[str, Any]) -> Response:
        text = data.get("prompt", "")
        text = text[0] if isinstance(text, list) and len(text) == 1 else text
        if isinstance(text, list) and all(type(token) is int for token in text):
            size = self.vocabulary()
            if not all(0 <= token < size for token in text):
                raise Refusal("a token of the prompt is not in the vocabulary", param="prompt")
            prompt = list(text)
        elif isinstance(text, str):
            prompt = self.encode(text)
        else:
            raise Refusal("prompt is neither a text nor a list of tokens", param="prompt")
        return await self._answer(prompt, {}, data, Completion(self._name))

    async def template(self, data: dict[str, Any]) -> Response:
        return as_json({"prompt": self.rendered(data.get("messages") or [], data)})

    async def count(self, data: dict[str, Any]) -> Response:
        """How many tokens a prompt is, without reading it."""
        if "messages" in data:
            prompt, _ = await asyncio.to_thread(self.read_chat, data["messages"], data)
        else:
            prompt = self.encode(str(data.get("prompt", "")))
        return as_json({"tokens": prompt, "input_tokens": len(prompt), "context": self._context})

    async def counts(self, _: dict[str, Any]) -> Response:
        return as_json(self._counts.public())

    # -- what is asked --

    def _wish(self, data: Mapping[str, Any], prompt: int) -> Wish:
        room = self._context if self.encodes else self._context - prompt
        most = data.get("max_completion_tokens") or data.get("max_tokens") or data.get("n_predict")
        most = room if not isinstance(most, int) or most < 1 else min(most, room)
        stop = data.get("stop") or []
        logprobs = data.get("logprobs")
        tops = data.get("top_logprobs") or 0
        if type(logprobs) is int:  # of completions: how many
            logprobs, tops = True, logprobs
        return Wish(
            max_tokens=max(1, most),
            temperature=number(data, "temperature", 1.0, 0.0, 100.0),
            top_k=int(number(data, "top_k", 0, 0, 1 << 20)),
            top_p=number(data, "top_p", 1.0, 0.0, 1.0),
            min_p=number(data, "min_p", 0.0, 0.0, 1.0),
            repetition_penalty=number(
                data, "repetition_penalty", number(data, "repeat_penalty", 1.0, 0.01, 10), 0.01, 10
            ),
            frequency_penalty=number(data, "frequency_penalty", 0.0, -10, 10),
            presence_penalty=number(data, "presence_penalty", 0.0, -10, 10),
            seed=data["seed"] if isinstance(data.get("seed"), int) and data["seed"] >= 0 else None,
            stop=tuple(s for s in ([stop] if isinstance(stop, str) else stop) if isinstance(s, str) and s)[:64],
            ignore_eos=data.get("ignore_eos") is True,
            logprobs=max(0, min(20, int(tops))) if logprobs else None,
        )

    # -- the answer --

    async def _answer(
        self, prompt: list[int], inputs: dict[str, Any], data: Mapping[str, Any], dress: Dress
    ) -> Response:
        if not prompt:
            raise Refusal("the prompt is empty", param=dress.param)
        if len(prompt) >= self._context:
            raise Refusal(
                f"the prompt has {len(prompt)} tokens, the context {self._context}", 400,
                "exceed_context_size_error", n_prompt_tokens=len(prompt), n_ctx=self._context,
            )  # fmt: skip
        if int(data.get("n") or 1) != 1:
            raise Refusal("one answer at a time: n must be 1", param="n")
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(piece: Piece | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        row = Row(
            prompt, self._wish(data, len(prompt)),
            tell, self.decode, self.ends, inputs,
        )  # fmt: skip
        asked_at = time.monotonic()
        self.add(row)

        async def told() -> AsyncIterator[Piece]:
            try:
                while True:
                    piece = await pieces.get()
                    if isinstance(piece, BaseException):
                        raise piece
                    yield piece
                    if piece.finish:
                        return
            finally:
                row.left = True
                self._count(row)

        if data.get("stream"):
            options = data.get("stream_options")
            usage = isinstance(options, dict) and options.get("include_usage") is True
            return as_events(dress.streamed(told(), row, asked_at, usage=usage))
        whole = [piece async for piece in told()]
        return as_json(dress.whole(whole, row, asked_at))

    def _count(self, row: Row) -> None:
        self._counts.prompt += len(row.prompt)
        self._counts.generated += len(row.tokens)
        seconds = (row.ended or time.monotonic()) - row.began
        if row.began and len(row.tokens) >= _ENOUGH_TOKENS and seconds > 0:
            self._counts.rate = (len(row.tokens) - 1) / seconds


def number(data: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """A number of the request within bounds; else the default."""
    value = data.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return default
    return min(high, max(low, value))


def text_of(message: Mapping[str, Any]) -> str:
    """The words of a message."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
