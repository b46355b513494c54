"""The Hugging Face Hub, by its documented API: what it has, what a repository holds, and where its files are.

Endpoints and headers are those of the `huggingface_hub` 2.4 client (`HfApi.model_info(files_metadata=True,
securityStatus=True)`, `HfApi.list_models`, `hf_hub_url`, `hf_raise_for_status`). The answers are input from outside:
bounded in size and time, every field checked, a bad entry skipped. They are kept in a cache, which answers when the
Hub does not and says how old it is. The token goes to the Hub's own origin and nowhere else.

How a search becomes questions is in `hub_search`; how a card becomes harmless is in `card`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx2

from domicile import __version__, names
from domicile.cache import Cache, Kept, scope_of
from domicile.card import Card
from domicile.config import Settings
from domicile.download import Wanted
from domicile.egress import about
from domicile.errors import (
    FileNotOnHub,
    Gated,
    HubAnswer,
    HubBusy,
    HubUnreachable,
    NotFound,
    Offline,
    RepositoryNotFound,
    RevisionNotFound,
    TokenRefused,
)
from domicile.plain import line
from domicile.refs import ModelRef, clashing, is_safe_path
from domicile.sources.choice import PREFERRED, choose, entry_of, variants_of
from domicile.sources.hub_search import Answer, Found, Page, Query, found_in, run
from domicile.types import Installed, RemoteFile, Repository, Scan, ScanVerdict, Variant

__all__ = ["PREFERRED", "Card", "Found", "Hub", "Page", "Query", "choose"]

ANSWER_LIMIT = 32 * 2**20
ANSWER_S = 30.0
"""An answer that drips is given up as a whole, however often a byte comes."""
CARD_LIMIT = 2**20
SEARCH_FRESH_S = 600.0
"""How long an answer to a search is good without asking again."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,200}"')
_CURSOR = re.compile(r"[\x21-\x7e]{1,2000}")


class Hub:
    """The Hub, or a mirror of it (`HF_ENDPOINT`). `offline` asks nothing and answers from the cache alone."""

    def __init__(
        self, settings: Settings, client: httpx2.AsyncClient, *, offline: bool = False, cache: Cache | None = None
    ) -> None:
        self._endpoint = settings.hub.rstrip("/")
        self._token = settings.hub_token or stored_token()
        self.client = client
        self._models = settings.models
        self._offline = offline
        self._cache = cache or Cache(settings.home / "cache" / "hub")

    async def search(self, query: Query, cursor: str | None = None) -> Page:
        """A page of what matches; the page's cursor goes on. Answers of the last ten minutes are not asked again."""

        async def ask(path: str) -> Answer:
            try:
                return await self._ask(path, fresh_s=SEARCH_FRESH_S)
            except NotFound as trouble:  # a listing belongs to no repository: what answers so is not the Hub
                raise HubAnswer(host=self._host, problem="/api/models") from trouble

        with about("search"):
            return await run(ask, query, cursor, self._host)

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """Everything in a repository at a revision, with its runnable files grouped into variants.

        The Hub is asked each time whether its answer still holds (by ETag), unless one of the last `fresh_s`
        seconds will do. When it cannot be asked, the last answer is given with its age.
        """
        at = f"/revision/{quote(ref.revision, safe='')}" if ref.revision else ""
        with about("describe", model=ref.name):
            answer = await self._ask(f"/api/models/{ref.name}{at}?blobs=true&securityStatus=true", fresh_s=fresh_s)
        data = self._read(answer)
        if not isinstance(data, dict):
            raise HubAnswer(host=self._host, problem=ref.name)
        siblings, commit = data.get("siblings"), data.get("sha")
        if not isinstance(siblings, list) or not isinstance(commit, str) or not _SHA1.fullmatch(commit):
            raise HubAnswer(host=self._host, problem="siblings, sha")
        listed = [file for entry in siblings if (file := _file(entry))]
        clashes = clashing(file.path for file in listed)
        files = tuple(file for file in listed if file.path not in clashes)
        card = data.get("cardData")
        licence = card.get("license") if isinstance(card, dict) else None
        known = found_in({**data, "id": ref.name})
        told = [e.get("rfilename") for e in siblings if isinstance(e, dict)]
        scan = _scan(data.get("securityRepoStatus"), [p for p in told if isinstance(p, str) and is_safe_path(p)])
        repository = Repository(
            id=ref.name,
            commit=commit,
            variants=variants_of(files),
            files=files,
            gated=bool(data.get("gated")),
            licence=line(licence) if isinstance(licence, str) else None,
            scan=scan,
            age_s=answer.age_s,
        )
        if known is None:
            return repository
        return replace(
            repository,
            licence=repository.licence or known.licence,
            author=known.author,
            task=known.task,
            downloads=known.downloads,
            likes=known.likes,
            updated=known.updated,
            created=known.created,
            private=data.get("private") is True,
            library=known.library,
            tags=known.tags,
            parameters=known.parameters,
            context=known.context,
            architecture=known.architecture,
        )

    async def card(self, ref: ModelRef) -> Card:
        """The model card (README.md), as harmless HTML and as text. Raises `FileNotOnHub` when there is none."""
        from domicile.card import render

        revision = quote(ref.revision or "main", safe="")
        path = f"/{ref.name}/resolve/{revision}/README.md"
        with about("card", model=ref.name):
            answer = await self._ask(path, fresh_s=SEARCH_FRESH_S, limit=CARD_LIMIT, cut=True)
        markdown = answer.body.decode("utf-8", "replace")
        base = f"{self._endpoint}/{ref.name}/blob/{revision}/"
        card = await asyncio.to_thread(render, markdown, base)
        return replace(card, cut=card.cut or len(answer.body) >= CARD_LIMIT, age_s=answer.age_s)

    async def document(self, repository: Repository, path: str, limit: int = CARD_LIMIT) -> bytes:
        """A small file of a repository, at the commit that was described. Raises `FileNotOnHub`."""
        at = f"/{repository.id}/resolve/{repository.commit}/{quote(path)}"
        return (await self._ask(at, fresh_s=float("inf"), limit=limit)).body

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """Where a file of a repository is fetched from, pinned to the commit that was described."""
        url = f"{self._endpoint}/{repository.id}/resolve/{repository.commit}/{quote(file.path)}"
        return Wanted(url, target, file.size_bytes, file.sha256, file.git_sha1, self._headers())

    def folder(self, repository: Repository) -> Path:
        """Where a repository's files live: real files under real names, `models/<org>/<repo>/`."""
        return self._models.joinpath(*repository.id.split("/"))

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        """How a variant whose files (by path in the repository) are here is entered in the library."""
        return Installed(
            name=f"{repository.id}:{variant.label}",
            path=files[entry_of(variant).path],
            format=variant.format,
            size_bytes=variant.size_bytes,
            source="hub",
            files=tuple(files[f.path] for f in variant.files),
            repository=repository.id,
            revision=repository.commit,
            quantisation=variant.quantisation,
            licence=repository.licence,
            task=repository.task,
            digests=tuple(f.sha256 for f in variant.files),
        )

    def judge(self, answer: httpx2.Response) -> None:
        """Raise the named error of an answer that is not a success (`X-Error-Code`, as the Hub's client reads it)."""
        if answer.status_code < 300:
            return
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        message = answer.headers.get("X-Error-Message", "")
        repository = _repository_of(answer.request.url.path if answer.history == [] else answer.history[0].url.path)
        match status, code:
            case _, "GatedRepo":
                raise Gated(name=repository, url=f"{self._endpoint}/{repository}")
            case _, "RevisionNotFound":
                raise RevisionNotFound(name=repository)
            case _, "EntryNotFound":
                raise FileNotOnHub(name=repository, path=answer.request.url.path.rsplit("/", 1)[-1], reason="gone")
            case 401, _ if "invalid" in message.lower() or (self._token and code != "RepoNotFound"):
                raise TokenRefused(host=self._host)
            case ((401 | 404), _):
                # Without a token the Hub answers 401 for what is private and for what does not exist alike.
                raise RepositoryNotFound(name=repository, reason="token" if self._token else "no_token")
            case 403, _:
                raise Gated(name=repository, url=f"{self._endpoint}/{repository}", reason="forbidden")
            case ((429 | 503), _):
                raise HubBusy(host=self._host, status_code=status)
        raise HubAnswer(host=self._host, problem=f"HTTP {status}")

    async def reach(self) -> None:
        """Ask the Hub for anything at all. Raises what is wrong with the way there."""
        try:
            with about("check"):
                answer = await self.client.get(f"{self._endpoint}/api/models?limit=1", headers=self._headers())
        except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
            raise HubUnreachable.because(self._host, trouble) from trouble
        self.judge(answer)

    @property
    def _host(self) -> str:
        return urlsplit(self._endpoint).netloc

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"domicile/{__version__}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _read(self, answer: Answer) -> object:
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as trouble:
            raise HubAnswer(host=self._host, problem="JSON") from trouble

    async def _ask(self, path: str, *, fresh_s: float, limit: int = ANSWER_LIMIT, cut: bool = False) -> Answer:
        """What the Hub says under a path: from the cache while that is fresh, or when the Hub cannot be asked."""
        scope, question = scope_of(self._token), self._endpoint + path
        kept = await asyncio.to_thread(self._cache.get, scope, question)
        if kept is not None and (self._offline or self._cache.age_s(kept) < fresh_s):
            return Answer(kept.body, self._cache.age_s(kept), kept.next, self._offline)
        if self._offline:
            raise HubUnreachable(host=self._host, problem="offline", reason="offline")
        try:
            fetched = await self._fetch(question, kept, limit, cut)
        except (HubUnreachable, HubBusy, Offline):
            if kept is None:
                raise
            return Answer(kept.body, self._cache.age_s(kept), kept.next, stale=True)
        await asyncio.to_thread(self._cache.put, scope, question, fetched)
        return Answer(fetched.body, 0.0, fetched.next)

    async def _fetch(self, url: str, kept: Kept | None, limit: int, cut: bool) -> Kept:
        headers = {**self._headers(), "Accept-Encoding": "gzip"}
        if kept is not None and kept.etag is not None:
            headers["If-None-Match"] = kept.etag
        body = bytearray()
        try:
            async with asyncio.timeout(ANSWER_S), self.client.stream("GET", url, headers=headers) as answer:
                if answer.status_code == 304 and kept is not None:
                    return replace(kept, at=self._cache.now())
                self.judge(answer)
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > limit:
                        if not cut:
                            raise HubAnswer(host=self._host, problem=f"> {limit} B")
                        break
        except TimeoutError as trouble:
            raise HubUnreachable(host=self._host, problem=f"> {ANSWER_S:.0f} s", reason="slow") from trouble
        except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
            raise HubUnreachable.because(self._host, trouble) from trouble
        etag = answer.headers.get("ETag", "")
        return Kept(
            bytes(body[:limit]), self._cache.now(), etag if _ETAG.fullmatch(etag) else None, _next_cursor(answer)
        )


def _file(entry: object) -> RemoteFile | None:
    """One sibling of the API's answer; None for one that cannot be used."""
    if not isinstance(entry, dict):
        return None
    path, size, blob, lfs = (entry.get(k) for k in ("rfilename", "size", "blobId", "lfs"))
    if not isinstance(path, str) or not is_safe_path(path) or not isinstance(size, int) or size < 0:
        return None
    if isinstance(lfs, dict):
        sha256 = lfs.get("sha256")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            return None
        return RemoteFile(path, size, sha256=sha256)
    if not isinstance(blob, str) or not _SHA1.fullmatch(blob):
        return None
    return RemoteFile(path, size, git_sha1=blob)


_VERDICTS: Mapping[str, ScanVerdict] = {
    "safe": "safe",
    "caution": "caution",
    "suspicious": "suspicious",
    "unsafe": "unsafe",
    "infected": "unsafe",
    "unscanned": "unscanned",
    "queued": "unscanned",
    "error": "unscanned",
}


def _scan(status: object, paths: list[str]) -> Scan:
    """The Hub's `securityRepoStatus`. Without one nothing has been scanned; an unknown verdict is suspicious."""
    issues: dict[str, ScanVerdict] = {}
    listed = status.get("filesWithIssues") if isinstance(status, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(path := entry.get("path"), str) and is_safe_path(path):
            issues[path] = _VERDICTS.get(str(entry.get("level")), "suspicious")
    done = isinstance(status, dict) and status.get("scansDone") is True
    return Scan(done, issues, names.runs_code(paths))


def _next_cursor(answer: httpx2.Response) -> str | None:
    """Where a listing goes on. Of the address in `Link` only the cursor is used: it is the Hub we asked that we ask."""
    try:
        onward = parse_qs(urlsplit(answer.links.get("next", {}).get("url") or "").query).get("cursor")
    except ValueError:
        return None
    return onward[0] if onward and _CURSOR.fullmatch(onward[0]) else None


def _repository_of(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "models"]:
        parts = parts[2:]
    return "/".join(parts[:2])


def stored_token(environ: Mapping[str, str] = os.environ) -> str:
    """The token that `hf auth login` keeps, where `huggingface_hub` 2.4 looks for it (`get_token`, `constants`).

    `HF_TOKEN` comes before it and is a setting of ours; then its old name, `HF_TOKEN_PATH`, `HF_HOME/token`,
    `XDG_CACHE_HOME/huggingface/token`. None of it when `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set.
    """
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return ""
    if named := _clean(environ.get("HUGGING_FACE_HUB_TOKEN", "")):
        return named
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = environ.get("HF_HOME") or f"{cache}/huggingface"
    try:
        file = Path(os.path.expandvars(environ.get("HF_TOKEN_PATH") or f"{home}/token")).expanduser()
        with file.open(encoding="utf-8") as opened:
            return _clean(opened.read(_TOKEN_LIMIT))
    except (OSError, UnicodeDecodeError, RuntimeError):
        return ""


_TOKEN_LIMIT = 8192


def _clean(token: str) -> str:
    """Without line ends, which would be another header."""
    said = token.replace("\r", "").replace("\n", "").strip()
    return said if said.isprintable() and said.isascii() else ""
