"""The house's application as a transport of httpx2, for tests that look at headers and status as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from domicile.inside import HOST, Exchange


class InProcess(httpx2.AsyncBaseTransport):
    """Streams: a chunk is read as soon as it is sent (`httpx2.ASGITransport` gives an answer when it is whole)."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = Exchange(await request.aread())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "server": (request.url.host, request.url.port or 80),
            "client": (HOST, 0),
        }
        exchange.run(self._app(scope, exchange.receive, exchange.send))
        try:
            start = await exchange.take()
        except BaseException:  # whoever asked has left before the answer began
            await exchange.aclose()
            raise
        return httpx2.Response(start["status"], headers=start["headers"], stream=_Body(exchange))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._exchange.body():
            yield part

    async def aclose(self) -> None:
        await self._exchange.aclose()
