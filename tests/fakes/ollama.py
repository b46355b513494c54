"""An Ollama that fits on a screen: the routes of its documented API that manage models, over real HTTP.

`GET /api/version`, `GET /api/tags`, `POST /api/show`, `POST /api/pull` (a line of JSON a state), `DELETE /api/delete`,
`HEAD|POST /api/blobs/sha256:...`, `POST /api/create`. It holds what it is given, and says what it was asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.hub import served


@dataclass
class FakeOllama:
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    registry: dict[str, int] = field(default_factory=dict)
    """What can be pulled, and its size."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut_pull: bool = False
    """End a pull without saying how."""
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/version", self._version),
                Route("/api/tags", self._tags),
                Route("/api/show", self._show, methods=["POST"]),
                Route("/api/pull", self._pull, methods=["POST"]),
                Route("/api/delete", self._delete, methods=["DELETE"]),
                Route("/api/blobs/{digest}", self._blob, methods=["HEAD", "POST"]),
                Route("/api/create", self._create, methods=["POST"]),
            ]
        )

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": "0.14.0"})

    async def _tags(self, request: Request) -> Response:
        return JSONResponse({"models": [_listed(name, said) for name, said in self.models.items()]})

    async def _show(self, request: Request) -> Response:
        name = (await self._body(request))["model"]
        if name not in self.models:
            return JSONResponse({"error": f"model '{name}' not found"}, 404)
        return JSONResponse(
            {"modelfile": f"FROM {name}", "details": {"format": "gguf"}, "capabilities": ["completion"]}
        )

    async def _pull(self, request: Request) -> Response:
        name = (await self._body(request))["model"]

        async def states() -> AsyncIterator[bytes]:
            yield _line(status="pulling manifest")
            if name not in self.registry:
                yield _line(error="pull model manifest: file does not exist")
                return
            size = self.registry[name]
            digest = "sha256:" + hashlib.sha256(name.encode()).hexdigest()
            for share in (0, 1, 2, 3, 4):
                yield _line(status=f"pulling {digest[7:19]}", digest=digest, total=size, completed=size * share // 4)
            if self.cut_pull:
                return
            self.models[name] = {"size": size}
            yield _line(status="verifying sha256 digest")
            yield _line(status="success")

        return StreamingResponse(states(), media_type="application/x-ndjson")

    async def _delete(self, request: Request) -> Response:
        name = (await self._body(request))["model"]
        if self.models.pop(name, None) is None:
            return JSONResponse({"error": f"model '{name}' not found"}, 404)
        return Response()

    async def _blob(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        self.asked.append((request.method, request.url.path))
        if request.method == "HEAD":
            return Response(status_code=200 if digest in self.blobs else 404)
        content = await request.body()
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            return JSONResponse({"error": "digest mismatch"}, 400)
        self.blobs[digest] = content
        return Response(status_code=201)

    async def _create(self, request: Request) -> Response:
        said = await self._body(request)
        if not all(digest in self.blobs for digest in said["files"].values()):
            return JSONResponse({"error": "blob not found"}, 400)
        name = said["model"] if ":" in said["model"] else said["model"] + ":latest"
        self.models[name] = {**said, "size": sum(len(self.blobs[d]) for d in said["files"].values())}

        async def states() -> AsyncIterator[bytes]:
            yield _line(status="parsing GGUF")
            yield _line(status="success")

        return StreamingResponse(states(), media_type="application/x-ndjson")

    async def _body(self, request: Request) -> dict[str, Any]:
        self.asked.append((request.method, request.url.path))
        said: dict[str, Any] = json.loads(await request.body())
        return said


def _listed(name: str, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-21T10:00:00Z",
        "size": said["size"],
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {"format": "gguf", "family": "llama", "parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
    }


def _line(**said: Any) -> bytes:
    return json.dumps(said).encode() + b"\n"


@contextmanager
def running(fake: FakeOllama) -> Iterator[FakeOllama]:
    with served(fake.app()) as url:
        fake.url = url
        yield fake
