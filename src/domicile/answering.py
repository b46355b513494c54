"""One question to a model and its answer, whatever dialect asked and whoever answers.

A face turns its dialect into an `Ask`: OpenAI's body (the engines' own tongue) and what was said beside it. It gets
an `Answer`: OpenAI's reply, bytes as they come, with who served it and what must be said about it. Knows no dialect
but OpenAI's, no HTTP face, and not how a model is woken.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domicile.context import too_long
from domicile.engines import Reply
from domicile.errors import AudioRefused, ContextTooLong, DomicileError, ModelCannot
from domicile.types import Ticket

_ERROR_BYTES = 1 << 20
_CANNOT = {
    "image input is not supported": "images",
    "Infill is not supported": "insert",
    "does not support completions": "talk",
    "this model draws": "talk_draws",
    "does not support logits computation": "talk",
    "it translates nothing": "translate",
}
"""What the engine says of what a model cannot do, and the reason we give."""
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large to process.*?(\d+)\)")


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `body` goes to the engine as it is, unless a step on the way must change it."""

    model: str
    path: str
    """A route of OpenAI's dialect: `/v1/chat/completions`."""
    body: bytes
    keep_alive_s: float | None = None
    """How long the model stays awake afterwards; None for its own setting, infinite for ever."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What the caller said beside the body, by name: headers `X-Domicile-...` or a dialect's own fields. `num_ctx` asks
    for that many tokens of context."""
    ticket: Ticket | None = None
    """Where the caller may look how many come first, while it waits."""

    def data(self) -> dict[str, Any]:
        """The body as an object; the face has checked that it is one."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, before its first byte is passed on."""

    reply: Reply
    model: str
    """The name of the model that answers."""
    served_by: str
    """`home`, or the name of the target elsewhere."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What must be said about this answer, by header name without its `X-Domicile-`: `Context-Dropped` ..."""


async def checked(model: str, reply: Reply) -> Reply:
    """The reply, or the error that we know better than the engine. Raises `ContextTooLong`."""
    if reply.status < 400:
        return reply
    body = await whole(reply.body)
    error = _known_error(model, body)
    if error is not None:
        raise error
    return Reply(reply.status, reply.content_type, _once(body))


async def whole(body: AsyncIterator[bytes], limit: int = _ERROR_BYTES) -> bytes:
    """All of a body, up to a limit in bytes."""
    found = bytearray()
    async for chunk in body:
        found += chunk[: limit - len(found)]
    return bytes(found)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _known_error(model: str, body: bytes) -> DomicileError | None:
    try:
        error = json.loads(body)["error"]
        if error["type"] == "exceed_context_size_error":
            prompt, context = int(error["n_prompt_tokens"]), int(error["n_ctx"])
            return too_long(model, prompt, context)
        if error["type"] == "audio_refused":
            return AudioRefused(name=model, reason=str(error["reason"]), **dict(error["facts"]))
        said = str(error["message"])
        for words, reason in _CANNOT.items():
            if words in said:
                return ModelCannot(name=model, problem=said[:200], reason=reason)
        too_large = _TOO_LARGE.search(said)
        if too_large is not None:
            prompt, context = int(too_large[1]), int(too_large[2])
            return ContextTooLong(name=model, prompt=prompt, context=context, enough=prompt)
    except (ValueError, KeyError, TypeError):
        pass
    return None
