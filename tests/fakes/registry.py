"""Ollama's registry on one screen: manifests, blobs behind a redirect, and the token flow of the registry API.

The shapes are those of `registry.ollama.ai` (a manifest of Docker's schema 2 with Ollama's media types, whose
`Content-Type` is text/plain there) and of the distribution project's token documentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.hub import served

MEDIA = "application/vnd.ollama.image."
TOKEN = "registry-token"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class FakeRegistry:
    """`closed` asks for a token first; `refuse` may answer in place of any route."""

    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Host and path, and what was sent as `Authorization`."""
    closed: bool = False
    realm: str | None = None
    refuse: Callable[[Request], Response | None] | None = None
    url: str = ""

    def add(self, name: str, tag: str, layers: Mapping[str, bytes], **config: Any) -> dict[str, Any]:
        """A model: `layers` by the end of their media type (`model`, `template`...)."""
        told = json.dumps({"model_format": "gguf", "model_family": "llama", "file_type": "Q4_K_M", **config}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._layer("application/vnd.docker.container.image.v1+json", told),
            "layers": [self._layer(MEDIA + kind.split("#")[0], content) for kind, content in layers.items()],
        }
        self.manifests[f"{name}:{tag}"] = manifest
        return manifest

    def _layer(self, media: str, content: bytes) -> dict[str, Any]:
        self.blobs[digest_of(content)] = content
        return {"mediaType": media, "digest": digest_of(content), "size": len(content)}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v2/{space}/{model}/manifests/{tag}", self._manifest),
                Route("/v2/{space}/{model}/blobs/{digest}", self._blob, methods=["GET", "HEAD"]),
                Route("/store/{digest}", self._store, methods=["GET", "HEAD"]),
                Route("/token", self._token),
            ]
        )

    def _enter(self, request: Request) -> Response | None:
        said = request.headers.get("authorization")
        self.seen.append((f"{request.url.hostname}{request.url.path}", said))
        if self.refuse is not None and (refusal := self.refuse(request)) is not None:
            return refusal
        if self.closed and request.url.path.startswith("/v2/") and said != f"Bearer {TOKEN}":
            realm = f"{self.url}/token" if self.realm is None else self.realm
            challenge = f'Bearer realm="{realm}",service="registry",scope="repository:x:pull"'
            return JSONResponse({"errors": []}, 401, {"WWW-Authenticate": challenge})
        return None

    async def _manifest(self, request: Request) -> Response:
        if refusal := self._enter(request):
            return refusal
        at = request.path_params
        manifest = self.manifests.get(f"{at['space']}/{at['model']}:{at['tag']}")
        if manifest is None:
            return JSONResponse({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, 404)
        return Response(json.dumps(manifest), media_type="text/plain")

    async def _blob(self, request: Request) -> Response:
        if refusal := self._enter(request):
            return refusal
        # Another host, as the real store is: the token must not follow.
        return RedirectResponse(f"http://localhost:{request.url.port}/store/{request.path_params['digest']}", 307)

    async def _store(self, request: Request) -> Response:
        if refusal := self._enter(request):
            return refusal
        content = self.blobs.get(request.path_params["digest"])
        return Response(status_code=404) if content is None else ranged(request, content)

    async def _token(self, request: Request) -> Response:
        if refusal := self._enter(request):
            return refusal
        return JSONResponse({"token": TOKEN})


def ranged(request: Request, content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """A file as any server sends it, whole or in part."""
    said, whole = request.headers.get("range", ""), len(content)
    more = {"Accept-Ranges": "bytes", **(headers or {})}
    if not said.startswith("bytes="):
        return Response(content, headers=more, media_type="application/octet-stream")
    first, _, last = said.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or whole - 1), whole - 1)
    more["Content-Range"] = f"bytes {start}-{end}/{whole}"
    return Response(content[start : end + 1], 206, more, "application/octet-stream")


@contextmanager
def running(registry: FakeRegistry) -> Iterator[FakeRegistry]:
    """The registry on a port of its own, while the context lasts."""
    with served(registry.app()) as url:
        registry.url = url
        yield registry
