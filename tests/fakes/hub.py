"""A Hub that fits on a few screens: the API, the redirects and the headers of huggingface.co, over real HTTP.

`/api/models` searches as the real one does: `search`, `author`, `filter`, `pipeline_tag`, `num_parameters`, `gated`,
`sort`, `direction`, `limit`, `expand`, and a `cursor` in the `Link` header.

`tests/test_hub.py` holds it against the official `huggingface_hub` client, so that what we test with is what the
client of the real Hub expects.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_right"


@dataclass
class Repo:
    """`files` by path; those ending in .gguf, .safetensors or .onnx are in LFS."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    licence: str = "apache-2.0"
    tags: tuple[str, ...] = ()
    """Besides `license:...`, which is made of the licence."""
    task: str | None = "text-generation"
    library: str | None = None
    downloads: int = 0
    likes: int = 0
    created: float = 1_700_000_000.0
    updated: float = 1_700_000_000.0
    gguf: dict[str, Any] | None = None
    safetensors: dict[str, Any] | None = None
    unsafe: dict[str, str] = field(default_factory=dict)
    """What the security scan found: path and level."""
    scanned: bool = True


@dataclass
class Seen:
    """One request, as the Hub saw it."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    query: str = ""
    if_none_match: str | None = None


@dataclass
class FakeHub:
    """`damage` may change the bytes that leave; `refuse` may answer in place of any route."""

    repos: dict[str, Repo] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    served_bytes: int = 0
    """Of files."""
    told_bytes: int = 0
    """Of the API's answers."""
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
        self.seen.append(
            Seen(
                request.method,
                request.url.path,
                said,
                request.headers.get("range"),
                request.url.query,
                request.headers.get("if-none-match"),
            )
        )
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
        if refusal is not None and refusal.headers.get("X-Error-Code") != "RepoNotFound":
            return refusal
        asked = request.query_params
        said = request.headers.get("authorization")
        there = [(name, repo) for name, repo in self.repos.items() if said is not None or not repo.private]
        there = [(name, repo) for name, repo in there if _is_listed(name, repo, asked)]
        order = asked.get("sort")
        if order is not None:
            keys: dict[str, Callable[[Repo], float]] = {
                "downloads": lambda r: r.downloads,
                "likes": lambda r: r.likes,
                "lastModified": lambda r: r.updated,
                "createdAt": lambda r: r.created,
                "trendingScore": lambda r: r.likes,
            }
            if order not in keys:
                return _refusal(400, "", "Invalid sort")
            there.sort(key=lambda item: keys[order](item[1]), reverse=asked.get("direction") != "1")
        start = json.loads(base64.b64decode(asked["cursor"])) if "cursor" in asked else 0
        limit = min(int(asked.get("limit", "1000")), 1000)
        page = there[start : start + limit]
        shown = asked.getlist("expand") or asked.getlist("expand[]")
        headers = {}
        if start + limit < len(there):
            # As the real one: the next address holds the same question and an opaque cursor.
            cursor = base64.b64encode(json.dumps(start + limit).encode()).decode()
            rest = [(k, v) for k, v in asked.multi_items() if k != "cursor"]
            headers["Link"] = f'<{self.url}/api/models?{urlencode([*rest, ("cursor", cursor)])}>; rel="next"'
        listed = [self._listed(name, repo, shown, full="full" in asked) for name, repo in page]
        return self._tell(request, listed, headers)

    def _listed(self, name: str, repo: Repo, shown: list[str], *, full: bool) -> dict[str, Any]:
        whole = self._facts(name, repo, blobs=False)
        if shown:
            return {"_id": "1", "id": name, "modelId": name} | {k: v for k, v in whole.items() if k in shown}
        short = ["_id", "id", "modelId", "likes", "downloads", "private", "tags", "pipeline_tag", "library_name"]
        short += ["createdAt", *(["sha", "lastModified", "siblings", "author", "gated"] if full else [])]
        return {k: whole[k] for k in short if k in whole}

    async def _info(self, request: Request) -> Response:
        repo, refusal = self._enter(request)
        if repo is None:
            assert refusal is not None
            return refusal
        name = f"{request.path_params['org']}/{request.path_params['repo']}"
        facts = self._facts(name, repo, blobs="blobs" in request.query_params)
        if "securityStatus" in request.query_params:
            issues = [{"path": path, "level": level} for path, level in repo.unsafe.items()]
            facts["securityRepoStatus"] = {"scansDone": repo.scanned, "filesWithIssues": issues}
        return self._tell(request, facts, {})

    def _facts(self, name: str, repo: Repo, *, blobs: bool) -> dict[str, Any]:
        """What the API knows of a model (`ModelInfo` of the official client)."""
        siblings = []
        for path, content in repo.files.items():
            sibling: dict[str, Any] = {"rfilename": path}
            if blobs:
                sibling |= {"size": len(content), "blobId": git_sha1(content)}
                if _in_lfs(path):
                    sha = hashlib.sha256(content).hexdigest()
                    sibling["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        facts = {
            "_id": "1",
            "id": name,
            "modelId": name,
            "author": name.split("/", maxsplit=1)[0],
            "sha": COMMIT,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "siblings": siblings,
            "cardData": {"license": repo.licence},
            "tags": _all_tags(repo),
            "downloads": repo.downloads,
            "likes": repo.likes,
            "pipeline_tag": repo.task,
            "library_name": repo.library,
            "createdAt": _moment(repo.created),
            "lastModified": _moment(repo.updated),
            "gguf": repo.gguf,
            "safetensors": repo.safetensors,
        }
        return {k: v for k, v in facts.items() if v is not None}

    def _tell(self, request: Request, facts: object, headers: dict[str, str]) -> Response:
        """JSON with a weak validator, as the real Hub's."""
        body = json.dumps(facts).encode()
        headers["ETag"] = f'W/"{hashlib.sha1(body).hexdigest()}"'
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        self.told_bytes += len(body)
        return Response(body, headers=headers, media_type="application/json")

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
            if request.headers.get("if-none-match") == headers["ETag"]:
                return Response(status_code=304, headers=headers)
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


def _is_listed(name: str, repo: Repo, asked: Any) -> bool:
    """The real Hub's filters; several `filter` are all to be met."""
    words = asked.get("search", "").lower().split()
    gated = asked.get("gated")
    return (
        all(word in name.lower() for word in words)
        and asked.get("author", name.split("/", maxsplit=1)[0]) == name.split("/", maxsplit=1)[0]
        and set(asked.getlist("filter")) <= {*_all_tags(repo), repo.task, repo.library}
        and asked.get("pipeline_tag", repo.task) == repo.task
        and (gated is None or (gated.lower() == "true") == repo.gated)
        and _in_span(repo, asked.get("num_parameters"))
    )


def _in_span(repo: Repo, span: str | None) -> bool:
    """`min:6B,max:128B`, over what the weights' headers say; a model without them is in no span."""
    if span is None:
        return True
    total = (repo.gguf or repo.safetensors or {}).get("total")
    if total is None:
        return False
    for part in span.split(","):
        bound = re.fullmatch(r"(min|max):(\d+(?:\.\d+)?)([KMBT]?)", part)
        assert bound is not None, span
        value = float(bound[2]) * {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[bound[3]]
        if total < value if bound[1] == "min" else total > value:
            return False
    return True


def _all_tags(repo: Repo) -> list[str]:
    """The Hub adds the format's tag by itself when it sees such files."""
    seen = ["gguf"] if "gguf" not in repo.tags and any(path.endswith(".gguf") for path in repo.files) else []
    return [*repo.tags, *seen, f"license:{repo.licence}"]


def _moment(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _in_lfs(path: str) -> bool:
    return path.endswith((".onnx", ".gguf", ".safetensors", ".bin"))


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
        thread.join(2)
        server.force_exit = True  # an answer that never ends is still under way
        thread.join(10)
        assert not thread.is_alive(), "an answer goes on for ever, and takes a core from all tests that follow"
