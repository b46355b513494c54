"""How many answers the house gave over HTTP, by status: for `GET /metrics`."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile.metrics import Counter

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Counted:
    """An ASGI layer that counts answers by status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._counter = Counter("domicile_http_requests_total", "Answers over HTTP, by status.", ("method", "status"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["domicile.http"] = self._counter

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._counter.add(method, str(message["status"]))
            await send(message)

        await self._app(scope, receive, counted)
