"""How an error leaves the house over HTTP: in the reader's language, and in the shape of the dialect that was asked.

`{"error": {"message", "type", "code", "param", "hint", ...facts}}` for OpenAI's and our own, `shaped` for the others,
with the status of the error. Whatever is not a `DomicileError` is a bug: it is logged with its trace, and the reader
gets a number to find it by.
"""

from __future__ import annotations

import json
import math
import secrets
import sys
import traceback
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile import i18n
from domicile.errors import (
    Bug,
    DomicileError,
    HubBusy,
    KeyRequired,
    MethodRefused,
    NobodyAnswers,
    OutOfMemory,
    RouteNotFound,
    ShuttingDown,
    StillDownloading,
)

if TYPE_CHECKING:
    from domicile.app import House

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def language(scope: Scope) -> str:
    """The reader's language: the request's own wish, else the house's."""
    return i18n.choose(Headers(scope=scope).get("accept-language"), scope.get("domicile.lang"))


def house_of(request: Request) -> House:
    """The house a request came to."""
    house: House = request.scope["domicile.house"]
    return house


def error_body(lang: str, error: DomicileError) -> dict[str, Any]:
    """The JSON of an error."""
    message, hint = i18n.error_text(lang, error)
    facts = {
        k: v for k, v in error.facts.items() if isinstance(v, (str, int, float, bool)) and k not in {"hint", "reason"}
    }
    return {
        "error": {
            "message": f"{message} {_sentence(lang, hint)}" if hint else message,
            "type": _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error"),
            "param": error.facts.get("field"),
            "code": _CODES.get(error.code, error.code),
            "hint": hint,
            "exit_code": error.exit_code,
            "summary": message,
            **{k: v for k, v in facts.items() if k not in {"message", "type", "param", "code", "field"}},
        }
    }


# What OpenAI's own API calls these: clients test for them.
OURS = ("/api/huggingface/", "/api/stream/", "/api/models/")
"""Routes under `/api/` that are not Ollama's: those that pages made with htmx ask."""
_CODES = {"context_too_long": "context_length_exceeded", "key_required": "invalid_api_key"}


def _sentence(lang: str, hint: str) -> str:
    return i18n.say(lang, "error.next", hint=hint)


def answer_error(error: DomicileError, scope: Scope) -> JSONResponse:
    headers = {}
    if isinstance(error, KeyRequired):
        headers["WWW-Authenticate"] = "Bearer"
    after = error.facts.get("retry_after")
    if isinstance(after, int | float):
        headers["Retry-After"] = str(max(1, math.ceil(after)))
    elif isinstance(error, (HubBusy, NobodyAnswers, OutOfMemory, ShuttingDown, StillDownloading)):
        headers["Retry-After"] = "5"
    return JSONResponse(shaped(scope, error.status, error_body(language(scope), error)), error.status, headers)


def shaped(scope: Scope, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON of an error in the dialect of whoever asked: OpenAI's, Ollama's, or Anthropic's."""
    path = scope["path"]
    if path.startswith("/api/") and not path.startswith(OURS):
        from domicile.dialects import ollama

        return ollama.error_of(body["error"])
    if path.startswith("/v1/messages") or Headers(scope=scope).get("anthropic-version"):
        from domicile.dialects import anthropic

        return anthropic.error_of(status, body["error"])
    return body


def event_of(error: DomicileError, scope: Scope) -> bytes:
    """The error as the last event of a stream whose status line has already left."""
    return b"data: " + json.dumps(error_body(language(scope), error)).encode() + b"\n\n"


def bug_of(trouble: BaseException) -> Bug:
    """Log what nobody foresaw, under a number."""
    incident = secrets.token_hex(4)
    print(f"[{incident}] ", end="", file=sys.stderr)
    traceback.print_exception(trouble)
    return Bug(incident=incident)


class Troubles:
    """The ASGI edge where errors become answers: caught once, by name."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["domicile.house"] = self._house
        scope["domicile.lang"] = self._house.lang
        scope["app"] = self._app  # so that the router raises what it cannot find instead of answering by itself
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except DomicileError as known:
            if started:
                raise
            await answer_error(known, scope)(scope, receive, send)
        except HTTPException as unrouted:
            error: DomicileError = RouteNotFound(path=scope["path"][:200])
            if unrouted.status_code == 405:
                error = MethodRefused(path=scope["path"][:200], method=scope["method"])
            await answer_error(error, scope)(scope, receive, send)
        except Exception as trouble:
            bug = bug_of(trouble)
            if started:
                raise
            await answer_error(bug, scope)(scope, receive, send)
