"""A running Ollama, by its documented HTTP API: list, show, pull, delete, create, blobs.

Only one on this machine is asked, unless a setting consents to another. Its answers are input from outside: bounded in
size, never followed elsewhere, every field checked by whoever shows it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from domicile.config import Settings
from domicile.errors import BadField, NotInOllama, OllamaElsewhere, OllamaSaid, OllamaSilent
from domicile.plain import line

_ANSWER_BYTES = 16 * 2**20
_LINE_BYTES = 1 << 20
_CHUNK = 1 << 20
_TIMEOUT = httpx2.Timeout(300.0, connect=5.0)
"""Ollama hashes what it was given before it says a word: a silence of minutes is no fault."""


def address(said: str) -> str:
    """The URL that `OLLAMA_HOST` means, read as Ollama reads it: `host`, `host:port`, `:port`, `http(s)://...`.

    An address to listen at everywhere is asked on this machine. Raises `BadField`.
    """
    text = said.strip().strip("\"'") or "127.0.0.1:11434"
    scheme, _, rest = text.rpartition("://")
    if scheme not in {"", "http", "https"}:
        raise BadField(field="OLLAMA_HOST", problem=repr(said[:100]))
    default = {"": 11434, "http": 80, "https": 443}[scheme]
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or "127.0.0.1", parts.port or default
    except ValueError as trouble:
        raise BadField(field="OLLAMA_HOST", problem=repr(said[:100])) from trouble
    if parts.username or parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in host):
        raise BadField(field="OLLAMA_HOST", problem=repr(said[:100]))
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - only compared
        host = "127.0.0.1" if "." in host else "::1"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme or 'http'}://{shown}:{port}{parts.path.rstrip('/')}"


def is_here(url: str) -> bool:
    """Is it this machine, by the name alone?"""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Ollama:
    """A client of the Ollama that the settings name. Raises `OllamaElsewhere` when made for another machine's."""

    def __init__(self, settings: Settings) -> None:
        self.url = address(settings.ollama_host)
        if not is_here(self.url) and not settings.ollama_elsewhere:
            raise OllamaElsewhere(url=self.url)

    async def version(self) -> str:
        return line(str((await self._ask("GET", "/api/version")).get("version", "")), 40)

    async def models(self) -> list[dict[str, Any]]:
        """What `ollama list` lists."""
        said = (await self._ask("GET", "/api/tags")).get("models")
        return [_listed(m) for m in said if isinstance(m, dict)] if isinstance(said, list) else []

    async def show(self, name: str) -> dict[str, Any]:
        """Raises `NotInOllama`."""
        return await self._ask("POST", "/api/show", {"model": name}, name)

    async def delete(self, name: str) -> None:
        """Raises `NotInOllama`."""
        await self._ask("DELETE", "/api/delete", {"model": name}, name)

    async def pull(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """Each state of a download, as Ollama says it: `{status, digest, total, completed}`."""
        async for state in self._states("/api/pull", {"model": name, "stream": True}, name):
            yield state

    async def has_blob(self, digest: str) -> bool:
        async with self._client() as http:
            answer = await self._sent(http, http.build_request("HEAD", f"/api/blobs/sha256:{digest}"))
            await answer.aclose()
        return answer.status_code == 200

    async def send_blob(self, digest: str, path: Path, told: Callable[[int], None]) -> None:
        """Give it the bytes of a file; it checks the digest itself. `told(count)` as they leave."""

        async def pieces() -> AsyncIterator[bytes]:
            with path.open("rb", buffering=0) as file:
                while piece := await asyncio.to_thread(file.read, _CHUNK):
                    yield piece
                    told(len(piece))

        async with self._client() as http:
            headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
            request = http.build_request("POST", f"/api/blobs/sha256:{digest}", content=pieces(), headers=headers)
            answer = await self._sent(http, request)
            try:
                if answer.status_code not in {200, 201}:
                    raise await self._refusal(answer, None)
            finally:
                await answer.aclose()

    async def create(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Each state of making a model of blobs it has."""
        async for state in self._states("/api/create", {**body, "stream": True}, None):
            yield state

    # -- how it is asked --

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with httpx2.AsyncClient(
            base_url=self.url, timeout=_TIMEOUT, follow_redirects=False, trust_env=False
        ) as http:
            yield http

    async def _sent(self, http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        try:
            return await http.send(request, stream=True)
        except httpx2.TransportError as trouble:
            raise OllamaSilent(url=self.url, problem=type(trouble).__name__) from trouble

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, name: str | None = None
    ) -> dict[str, Any]:
        async with self._client() as http:
            answer = await self._sent(http, http.build_request(method, path, json=body))
            try:
                if answer.status_code != 200:
                    raise await self._refusal(answer, name)
                return _object(await self._body(answer))
            finally:
                await answer.aclose()

    async def _states(self, path: str, body: Mapping[str, Any], name: str | None) -> AsyncIterator[dict[str, Any]]:
        """The lines of a streamed answer. An error in one of them is raised; an end without `success` is one."""
        done = False
        async with self._client() as http:
            answer = await self._sent(http, http.build_request("POST", path, json=body))
            try:
                if answer.status_code != 200:
                    raise await self._refusal(answer, name)
                async for text in self._lines(answer):
                    state = _object(text)
                    if "error" in state:
                        raise self._said(state["error"], name)
                    done = done or state.get("status") == "success"
                    yield state
            except httpx2.TransportError as trouble:
                raise OllamaSilent(url=self.url, problem=type(trouble).__name__) from trouble
            finally:
                await answer.aclose()
        if not done:
            raise OllamaSaid(url=self.url, problem="the answer ended before success")

    async def _lines(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        kept = b""
        async for piece in answer.aiter_bytes():
            kept += piece
            *whole, kept = kept.split(b"\n")
            for text in whole:
                if text.strip():
                    yield text
            if len(kept) > _LINE_BYTES:
                raise OllamaSaid(url=self.url, problem="a line without end")
        if kept.strip():
            yield kept

    async def _body(self, answer: httpx2.Response) -> bytes:
        body = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > _ANSWER_BYTES:
                    raise OllamaSaid(url=self.url, problem=f"more than {_ANSWER_BYTES} bytes")
        except httpx2.TransportError as trouble:
            raise OllamaSilent(url=self.url, problem=type(trouble).__name__) from trouble
        return bytes(body)

    async def _refusal(self, answer: httpx2.Response, name: str | None) -> Exception:
        said = _object(await self._body(answer)).get("error", f"HTTP {answer.status_code}")
        if answer.status_code == 404 and name is not None:
            return NotInOllama(name=name)
        return self._said(said, name)

    def _said(self, error: object, name: str | None) -> Exception:
        said = line(str(error), 300)
        if name is not None and said.endswith("file does not exist"):
            return NotInOllama(name=name)
        return OllamaSaid(url=self.url, problem=said)


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _listed(said: Mapping[str, Any]) -> dict[str, Any]:
    """One line of its list: what we show of it, each field what it should be."""
    found = said.get("details")
    details: Mapping[str, Any] = found if isinstance(found, dict) else {}
    size = said.get("size")

    def text(of: Mapping[str, Any], key: str) -> str | None:
        value = of.get(key)
        return line(value) if isinstance(value, str) and value else None

    return {
        "name": text(said, "name") or text(said, "model"),
        "size_bytes": size if isinstance(size, int) else None,
        "digest": text(said, "digest"),
        "modified_at": text(said, "modified_at"),
        "format": text(details, "format"),
        "family": text(details, "family"),
        "parameters": text(details, "parameter_size"),
        "quantisation": text(details, "quantization_level"),
    }


def default_name(name: str) -> str:
    """What a model of ours is called in Ollama: `org/Repo-GGUF:Q4_K_M` becomes `repo-gguf:q4_k_m`."""
    head, _, tag = name.rpartition("/")[2].partition(":")
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in head.lower()).strip("-._")
    tagged = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in tag.lower()).strip("-._")
    return f"{clean[:80] or 'model'}:{tagged[:80] or 'latest'}"
