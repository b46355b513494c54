"""Civitai on one screen: models, versions and files behind a redirect, in the shapes of developer.civitai.com."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.hub import served


@dataclass
class FakeCivitai:
    """`closed` asks for a key; `onward` is where a download leads instead of our own store."""

    models: dict[int, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[int, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    closed: str | None = None
    onward: str | None = None
    url: str = ""

    def add(self, model: int, version: int, file_name: str, content: bytes, **more: Any) -> dict[str, Any]:
        """A model with one version of one file; `more` changes the file's entry."""
        self.blobs[version] = content
        file = {
            "id": version * 10,
            "sizeKB": len(content) / 1024,
            "name": file_name,
            "type": "Model",
            "metadata": {"fp": "fp16", "size": "pruned", "format": "SafeTensor"},
            "hashes": {"AutoV2": "AB12", "SHA256": hashlib.sha256(content).hexdigest().upper()},
            "downloadUrl": f"{self.url}/api/download/models/{version}",
            "primary": True,
            **more,
        }
        told = {"id": version, "modelId": model, "name": "v1", "baseModel": "SD 1.5", "files": [file]}
        self.models[model] = {
            "id": model,
            "name": f"model {model}",
            "type": "Checkpoint",
            "creator": {"username": "someone"},
            "stats": {"downloadCount": 12},
            "modelVersions": [told],
        }
        return file

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/models", self._search),
                Route("/api/v1/models/{id:int}", self._model),
                Route("/api/v1/model-versions/{id:int}", self._version),
                Route("/api/download/models/{id:int}", self._download),
                Route("/store/{id:int}", self._store),
            ]
        )

    def _enter(self, request: Request) -> Response | None:
        said = request.headers.get("authorization")
        self.seen.append((request.url.path, said))
        if self.closed is not None and said != f"Bearer {self.closed}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        return None

    async def _search(self, request: Request) -> Response:
        words = request.query_params.get("query", "")
        items = [m for m in self.models.values() if words in m["name"]]
        return self._enter(request) or JSONResponse({"items": items, "metadata": {"nextCursor": "2|2"}})

    async def _model(self, request: Request) -> Response:
        found = self.models.get(request.path_params["id"])
        return self._enter(request) or (JSONResponse(found) if found else JSONResponse({"error": "no"}, 404))

    async def _version(self, request: Request) -> Response:
        for model in self.models.values():
            for version in model["modelVersions"]:
                if version["id"] == request.path_params["id"]:
                    told = {**version, "model": {"name": model["name"], "type": model["type"]}}
                    return self._enter(request) or JSONResponse(told)
        return JSONResponse({"error": "no"}, 404)

    async def _download(self, request: Request) -> Response:
        where = self.onward or f"{self.url}/store/{request.path_params['id']}"
        return self._enter(request) or RedirectResponse(where, 307)

    async def _store(self, request: Request) -> Response:
        self.seen.append((request.url.path, request.headers.get("authorization")))
        content = self.blobs[request.path_params["id"]]
        asked = request.headers.get("range", "")
        if asked.startswith("bytes="):
            begin, _, end = asked[6:].partition("-")
            first, last = int(begin), min(int(end or len(content) - 1), len(content) - 1)
            headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}", "ETag": '"same"'}
            return Response(content[first : last + 1], 206, headers)
        return Response(content, headers={"ETag": '"same"'})


@contextmanager
def running() -> Iterator[FakeCivitai]:
    fake = FakeCivitai()
    with served(fake.app()) as url:
        fake.url = url
        yield fake
