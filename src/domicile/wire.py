"""The way to a house that is open in another process: HTTP over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import httpx2

from domicile.errors import HouseSilent
from domicile.heard import Heard, Sent

_TIMEOUT = httpx2.Timeout(None, connect=5)


class Wire:
    """Connections to one address. `headers` go with every question. Closed when its context is left."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | Sent | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Heard]:
        """One question; bytes are JSON. Raises `HouseSilent`, also while the answer comes."""
        sent = {**headers, **(body.headers if isinstance(body, Sent) else {})}
        if isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
        content = body.pieces() if isinstance(body, Sent) else body
        try:
            async with self._http.stream(method, path, params=query, content=content, headers=sent) as answer:
                yield Heard(answer.status_code, answer.aiter_bytes())
        except httpx2.TransportError as trouble:
            raise HouseSilent(url=self._url, problem=type(trouble).__name__) from trouble
