"""What a request wishes in headers of ours, whichever dialect it speaks: who may answer, and whether anybody is asked.

`X-Domicile-Strategy: home | home-then-away | away`, and `X-Domicile-Offline: 1`.
"""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from domicile.away import wishing
from domicile.egress import offline


class Wishes:
    """The ASGI layer that notes them for all that is done within the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        with (
            wishing(headers.get("x-domicile-strategy")),
            offline() if "x-domicile-offline" in headers else contextlib.nullcontext(),
        ):
            await self._app(scope, receive, send)
