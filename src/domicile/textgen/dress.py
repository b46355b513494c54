"""An answer in OpenAI's shapes, whole or in pieces: usage as OpenAI counts it, timings as llama.cpp tells them."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from domicile.textgen.rows import Piece, Row


class Dress:
    """An answer in one of OpenAI's shapes."""

    param = "messages"
    whole_kind, piece_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def __init__(self, model: str) -> None:
        self._frame = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        raise NotImplementedError

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        raise NotImplementedError

    def whole(self, pieces: Sequence[Piece], row: Row, asked_at: float) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        choice = self.choice(text, row.finish, [one for piece in pieces for one in piece.logprobs])
        return {**self._frame, "object": self.whole_kind, "choices": [choice], **_told(row, asked_at)}

    async def streamed(
        self, pieces: AsyncIterator[Piece], row: Row, asked_at: float, *, usage: bool
    ) -> AsyncIterator[dict[str, Any]]:
        frame, first = {**self._frame, "object": self.piece_kind}, True
        try:
            async for piece in pieces:
                last = {"timings": _told(row, asked_at)["timings"]} if piece.finish else {}
                yield {**frame, "choices": [self.delta(piece, first)], **last}
                first = False
            if usage:
                yield {**frame, "choices": [], **_told(row, asked_at)}
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]


class Chat(Dress):
    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        told = {"logprobs": {"content": list(logprobs)} if logprobs else None}
        return {"index": 0, "message": message, "finish_reason": finish, **told}

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        said: dict[str, Any] = {"role": "assistant"} if first else {}
        if piece.text or first:
            said["content"] = piece.text
        told = {"logprobs": {"content": list(piece.logprobs)}} if piece.logprobs else {}
        return {"index": 0, "delta": said, "finish_reason": piece.finish, **told}


class Completion(Dress):
    param = "prompt"
    whole_kind, piece_kind, prefix = "text_completion", "text_completion", "cmpl"

    def choice(self, text: str, finish: str | None, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        told = {
            "tokens": [one["token"] for one in logprobs],
            "token_logprobs": [one["logprob"] for one in logprobs],
            "top_logprobs": [{top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in logprobs],
        }
        return {"index": 0, "text": text, "finish_reason": finish, "logprobs": told if logprobs else None}

    def delta(self, piece: Piece, first: bool) -> dict[str, Any]:
        return self.choice(piece.text, piece.finish, piece.logprobs)


def _told(row: Row, asked_at: float) -> dict[str, Any]:
    """Usage as OpenAI counts it, and timings as llama.cpp tells them."""
    prompt, made = len(row.prompt), len(row.tokens)
    reading = max(0.0, row.began - asked_at)
    writing = max(1e-9, (row.ended or time.monotonic()) - row.began)
    usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    timings = {
        "prompt_n": prompt,
        "prompt_ms": 1000 * reading,
        "prompt_per_second": prompt / reading if reading else None,
        "predicted_n": made,
        "predicted_ms": 1000 * writing,
        "predicted_per_second": (made - 1) / writing if made > 1 else None,
    }
    return {"usage": usage, "timings": timings}
