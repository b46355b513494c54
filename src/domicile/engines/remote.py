"""A model elsewhere: any server that speaks OpenAI's dialect, asked over HTTP and passed on as it answers.

What it says is input from outside: only JSON and event streams are passed on, in the form that was asked for; nothing
is followed elsewhere, and the key goes to the one base address. Knows the dialect; knows not why it is asked, nor who
consented. (Ollama, vLLM, SGLang, llama-server and another Domicile all have these routes.)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2

from domicile.engines import Reply
from domicile.errors import TargetSaid, TargetSilent
from domicile.plain import line

WHOLE_LIMIT = 32 * 2**20
"""Of an answer that is not streamed, and of one event of one that is."""
_TOLD = 2000


class Remote:
    """One server. `headers` go with every question."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        name: str,
        base: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._base = base.rstrip("/")
        self._timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        self._headers = {
            "Accept-Encoding": "identity",
            **(headers or {}),
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }

    @asynccontextmanager
    async def ask(self, path: str, body: bytes, *, streamed: bool) -> AsyncIterator[Reply]:
        """POST a body to a route of OpenAI's dialect. Leaving the context closes the connection, which stops its work.

        Raises `TargetSilent`, or `TargetSaid` for a refusal and for what is no answer to the question.
        """
        kind = "text/event-stream" if streamed else "application/json"
        headers = {**self._headers, "Content-Type": "application/json", "Accept": kind}
        async with self._opened("POST", path, headers, body) as answer:
            if answer.headers.get("Content-Type", "").split(";")[0].strip().lower() != kind:
                raise TargetSaid(name=self._name, problem=line(answer.headers.get("Content-Type", "?")), reason="kind")
            yield Reply(answer.status_code, kind, self._body(answer, streamed))

    async def models(self) -> list[str]:
        """The names of the models it has."""
        async with self._opened("GET", "/v1/models", self._headers, None) as answer:
            whole = b"".join([chunk async for chunk in self._body(answer, streamed=False)])
        try:
            return [str(m["id"])[:200] for m in json.loads(whole)["data"]][:1000]
        except (ValueError, KeyError, TypeError, RecursionError) as trouble:
            raise TargetSaid(name=self._name, problem="/v1/models", reason="kind") from trouble

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx2.Response]:
        url = self._base + path.removeprefix("/v1")
        try:
            async with self._client.stream(
                method, url, content=body, headers=headers, timeout=self._timeout, follow_redirects=False
            ) as answer:
                if answer.status_code != 200:
                    raise TargetSaid(name=self._name, status_code=answer.status_code, problem=await self._told(answer))
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise TargetSaid(name=self._name, problem="Content-Encoding", reason="kind")
                yield answer
        except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
            raise self._silent(trouble) from trouble

    def _silent(self, trouble: Exception) -> TargetSilent:
        late = isinstance(trouble, httpx2.TimeoutException)
        return TargetSilent(name=self._name, problem=str(trouble)[:200] or type(trouble).__name__,
                            reason="late" if late else None)  # fmt: skip

    async def _told(self, answer: httpx2.Response) -> str:
        """What it says of its refusal, as one harmless line."""
        said = bytearray()
        async for chunk in answer.aiter_raw():
            said += chunk
            if len(said) > _TOLD:
                break
        try:
            error = json.loads(said)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError, RecursionError):
            text = ""
        return line(text)[:200]

    async def _body(self, answer: httpx2.Response, streamed: bool) -> AsyncIterator[bytes]:
        total = 0
        try:
            async for chunk in answer.aiter_raw():
                total += len(chunk)
                if not streamed and total > WHOLE_LIMIT:
                    raise TargetSaid(name=self._name, problem=f"> {WHOLE_LIMIT} B", reason="kind")
                yield chunk
        except httpx2.HTTPError as trouble:
            raise self._silent(trouble) from trouble
