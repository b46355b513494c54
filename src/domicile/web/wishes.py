"""What a request wishes in headers of ours, whichever dialect it speaks: who may answer, and whether anybody is asked.

`X-Domicile-Strategy: home | home-then-away | away`, and `X-Domicile-Offline: 1`.
"""

from __future__ import annotations

import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send


class Wishes:
    """The ASGI layer that notes them for all that is done within the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        with contextlib.ExitStack() as wishes:
            if (strategy := headers.get("x-domicile-strategy")) is not None:
                from domicile.away import wishing

                wishes.enter_context(wishing(strategy))
            if "x-domicile-offline" in headers:
                from domicile.egress import offline

                wishes.enter_context(offline())
            await self._app(scope, receive, send)
