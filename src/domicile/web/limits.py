"""How large a request's body may be, and how long it may take to arrive: limits that ASGI servers do not have.

(The same for its headers is `Doorman`, in `serve.py`.)
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile.errors import BodyTooLarge, SlowRequest

BODY_S = 60.0
UPLOADS = ("/api/blobs/", "/domicile/chats/import", "/v1/audio/trans")
"""Where files are sent: as large as who takes them allows (`Blobs`, `chats_moved`: they count), each piece of them
within the deadline."""


class Limits:
    """Cap and deadline on what a request brings."""

    def __init__(self, app: ASGIApp, body_bytes: int, body_s: float = BODY_S) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = scope["path"].startswith(UPLOADS)
        announced = Headers(scope=scope).get("content-length", "0")
        if not upload and announced.isdigit() and int(announced) > self._body_bytes:
            raise BodyTooLarge(limit=self._body_bytes, size=int(announced))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._body_s
        came, whole = 0, False

        async def bounded() -> Message:
            nonlocal came, whole
            if whole:  # from here on the only news is that the caller left
                return await receive()
            try:
                async with asyncio.timeout_at(loop.time() + self._body_s if upload else deadline):
                    message = await receive()
            except TimeoutError as trouble:
                raise SlowRequest(seconds=self._body_s) from trouble
            came += len(message.get("body", b""))
            if came > self._body_bytes and not upload:
                raise BodyTooLarge(limit=self._body_bytes, size=came)
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, bounded, send)
