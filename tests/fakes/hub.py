"""A Hub that fits on two screens: the API, the redirects and the headers of huggingface.co, over real HTTP.

`tests/test_hub.py` holds it against the official `huggingface_hub` client, so that what we test with is what the
client of the real Hub expects.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"


@dataclass
class Repo:
    """`files` by path; those ending in .gguf or .safetensors are in LFS."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    licence: str = "apache-2.0"


@dataclass
class Seen:
    """One request, as the Hub saw it."""

    method: str
    path: str
    authorization: str | None
    range: str | None


@dataclass
class FakeHub:
    """`damage` may change the bytes that leave; `refuse` may answer in place of any route."""

    repos: dict[str, Repo] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    served_bytes: int = 0
    damage: Callable[[str, bytes], bytes] | None = None
    refuse: Callable[[Request], Response | None] | None = None
    url: str = ""

    def add(self, name: str, files: dict[str, bytes], **settings: Any) -> Repo:
        self.repos[name] = Repo(files, **settings)
        return self.repos[name]

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/models", self._search),
                Route("/api/models/{org}/{repo}", self._info),
                Route("/api/models/{org}/{repo}/revision/{revision}", self._info),
                Route("/{org}/{repo}/resolve/{revision}/{path:path}", self._resolve, methods=["GET", "HEAD"]),
                Route("/cdn/{org}/{repo}/{path:path}", self._cdn, methods=["GET", "HEAD"]),
            ]
        )

    def _enter(self, request: Request) -> tuple[Repo | None, Response | None]:
        said = request.headers.get("authorization")
        self.seen.append(Seen(request.method, request.url.path, said, request.headers.get("range")))
        if self.refuse is not None and (refusal := self.refuse(request)) is not None:
            return None, refusal
        if said is not None and said != f"Bearer {TOKEN}":
            return None, _refusal(401, "", "Invalid credentials in Authorization header")
        repo = self.repos.get(f"{request.path_params.get('org')}/{request.path_params.get('repo')}")
        if repo is None or (repo.private and said is None):
            return None, _refusal(401 if said is None else 404, "RepoNotFound", "Repository not found")
        if request.path_params.get("revision", "main") not in {"main", COMMIT}:
            return None, _refusal(404, "RevisionNotFound", "Invalid rev id")
        return repo, None

    async def _search(self, request: Request) -> Response:
        _, refusal = self._enter(request)
        return refusal if refusal is not None and refusal.status_code not in {401, 404} else JSONResponse([])

    async def _info(self, request: Request) -> Response:
        repo, refusal = self._enter(request)
        if repo is None:
            assert refusal is not None
            return refusal
        name = f"{request.path_params['org']}/{request.path_params['repo']}"
        siblings = []
        for path, content in repo.files.items():
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs" in request.query_params:
                sibling |= {"size": len(content), "blobId": git_sha1(content)}
                if _in_lfs(path):
                    sha = hashlib.sha256(content).hexdigest()
                    sibling["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        card = {"license": repo.licence}
        return JSONResponse(
            {
                "_id": "1",
                "id": name,
                "modelId": name,
                "sha": COMMIT,
                "private": repo.private,
                "gated": "manual" if repo.gated else False,
                "siblings": siblings,
                "cardData": card,
                "tags": [f"license:{repo.licence}"],
            }
        )

    async def _resolve(self, request: Request) -> Response:
        repo, refusal = self._enter(request)
        if repo is None:
            assert refusal is not None
            return refusal
        if repo.gated and request.headers.get("authorization") is None:
            return _refusal(401, "GatedRepo", "Access to this model is restricted")
        path = request.path_params["path"]
        content = repo.files.get(path)
        if content is None:
            return _refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not _in_lfs(path):
            headers["ETag"] = f'"{git_sha1(content)}"'
            return self._content(request, path, content, headers)
        headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        headers["X-Linked-Size"] = str(len(content))
        # Another host, as the real CDN is: the token must not follow.
        place = (
            f"http://localhost:{request.url.port}/cdn/{request.path_params['org']}/{request.path_params['repo']}/{path}"
        )
        return RedirectResponse(f"{place}?Expires=9999999999&Signature=x", 302, headers)

    async def _cdn(self, request: Request) -> Response:
        said = request.headers.get("authorization")
        self.seen.append(Seen(request.method, request.url.path, said, request.headers.get("range")))
        if self.refuse is not None and (refusal := self.refuse(request)) is not None:
            return refusal
        repo = self.repos[f"{request.path_params['org']}/{request.path_params['repo']}"]
        path = request.path_params["path"]
        etag = f'"{hashlib.sha256(repo.files[path]).hexdigest()}"'
        return self._content(request, path, repo.files[path], {"ETag": etag, "Accept-Ranges": "bytes"})

    def _content(self, request: Request, path: str, content: bytes, headers: dict[str, str]) -> Response:
        whole = len(content)
        status = 200
        if (wanted := request.headers.get("range", "")).startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or whole - 1), whole - 1)
            if start >= whole:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{whole}"})
            content, status = content[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{end}/{whole}"
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(len(content))})
        if self.damage is not None:
            content = self.damage(path, content)
        self.served_bytes += len(content)
        return Response(content, status, headers, "application/octet-stream")


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _in_lfs(path: str) -> bool:
    return path.endswith((".gguf", ".safetensors", ".bin"))


def _refusal(status: int, code: str, message: str) -> Response:
    headers = {"X-Error-Message": message}
    if code:
        headers["X-Error-Code"] = code
    return JSONResponse({"error": message}, status, headers)


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """The Hub on a port of its own, while the context lasts."""
    with served(hub.app()) as url:
        hub.url = url
        yield hub


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """An application over real HTTP in a thread; its address."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    started = threading.Event()
    before = server.startup

    async def startup(sockets: Any = None) -> None:
        await before(sockets)
        started.set()

    server.startup = startup
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
