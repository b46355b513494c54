"""The way to a house that is open in another process: HTTP over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import httpx2

from domicile.errors import HouseSilent
from domicile.heard import Heard

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
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Heard]:
        """One question; the body is JSON. Raises `HouseSilent`, also while the answer comes."""
        sent = headers if body is None else {**headers, "Content-Type": "application/json"}
        try:
            async with self._http.stream(method, path, params=query, content=body, headers=sent) as answer:
                yield Heard(answer.status_code, answer.aiter_bytes())
        except httpx2.TransportError as trouble:
            raise HouseSilent(url=self._url, problem=type(trouble).__name__) from trouble
