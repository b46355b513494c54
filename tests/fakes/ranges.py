"""Where bytes come from in tests: memory, and a small server of ranges that can be made to answer wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Held:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size_bytes = data, len(data)

    async def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


@asynccontextmanager
async def served(files: Mapping[str, bytes], spoil: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    async def give(request: Request) -> Response:
        data = files[request.path_params["name"]]
        begin, end = request.headers["range"].removeprefix("bytes=").split("-")
        a, b = int(begin), min(int(end), len(data) - 1)
        if spoil == "whole":
            return Response(data)
        body = data[a : b + 1]
        if spoil == "other range":
            return Response(data[: b + 1 - a], 206, {"content-range": f"bytes 0-{b - a}/{len(data)}"})
        if spoil == "other size":
            return Response(body, 206, {"content-range": f"bytes {a}-{b}/{len(data) + 1}"})
        if spoil == "compressed":
            return Response(body, 206, {"content-range": f"bytes {a}-{b}/{len(data)}", "content-encoding": "gzip"})
        if spoil == "short":
            return Response(body[:-1], 206, {"content-range": f"bytes {a}-{b}/{len(data)}"})
        if spoil == "long":
            return Response(body + b"x", 206, {"content-range": f"bytes {a}-{b}/{len(data)}"})
        etag = f'"{begin}"' if spoil == "changed" else '"same"'
        return Response(body, 206, {"content-range": f"bytes {a}-{b}/{len(data)}", "etag": etag})

    app = Starlette(routes=[Route("/{name:path}", give)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://hub.test") as client:
        yield client
