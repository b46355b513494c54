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
from domicile.errors import (
    FileNotOnHub,
    Gated,
    HubAnswer,
    HubBusy,
    HubUnreachable,
    NoSuchVariant,
    NotFound,
    NothingToRun,
    RepositoryNotFound,
    RevisionNotFound,
    TokenRefused,
)
from domicile.plain import line
from domicile.sources.hub_search import Answer, Found, Page, Query, found_in, run
from domicile.types import ModelRef, RemoteFile, Repository, Scan, ScanVerdict, Variant, clashing, is_safe_path

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

PREFERRED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "IQ4_XS", "Q4_0", "Q5_K_S", "Q6_K", "Q8_0", "Q3_K_M")
"""Which quantisation `org/repo` alone means, best first: the field's common advice, 4 to 5 bits."""


class Hub:
    """The Hub, or a mirror of it (`HF_ENDPOINT`). `offline` asks nothing and answers from the cache alone."""

    def __init__(
        self, settings: Settings, client: httpx2.AsyncClient, *, offline: bool = False, cache: Cache | None = None
    ) -> None:
        self._endpoint = settings.hub.rstrip("/")
        self._token = settings.hub_token or _stored_token()
        self._client = client
        self._offline = offline
        self._cache = cache or Cache(settings.home / "cache" / "hub")

    async def search(self, query: Query, cursor: str | None = None) -> Page:
        """A page of what matches; the page's cursor goes on. Answers of the last ten minutes are not asked again."""

        async def ask(path: str) -> Answer:
            try:
                return await self._ask(path, fresh_s=SEARCH_FRESH_S)
            except NotFound as trouble:  # a listing belongs to no repository: what answers so is not the Hub
                raise HubAnswer(host=self._host, problem="/api/models") from trouble

        return await run(ask, query, cursor, self._host)

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """Everything in a repository at a revision, with its runnable files grouped into variants.

        The Hub is asked each time whether its answer still holds (by ETag), unless one of the last `fresh_s`
        seconds will do. When it cannot be asked, the last answer is given with its age.
        """
        at = f"/revision/{quote(ref.revision, safe='')}" if ref.revision else ""
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
            variants=names.variants([f for f in files if f.path.lower().endswith(".gguf")]),
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
        answer = await self._ask(
            f"/{ref.name}/resolve/{revision}/README.md", fresh_s=SEARCH_FRESH_S, limit=CARD_LIMIT, cut=True
        )
        markdown = answer.body.decode("utf-8", "replace")
        base = f"{self._endpoint}/{ref.name}/blob/{revision}/"
        card = await asyncio.to_thread(render, markdown, base)
        return replace(card, cut=card.cut or len(answer.body) >= CARD_LIMIT, age_s=answer.age_s)

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """Where a file of a repository is fetched from, pinned to the commit that was described."""
        url = f"{self._endpoint}/{repository.id}/resolve/{repository.commit}/{quote(file.path)}"
        return Wanted(url, target, file.size_bytes, file.sha256, file.git_sha1, self._headers())

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
            answer = await self._client.get(f"{self._endpoint}/api/models?limit=1", headers=self._headers())
        except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
            raise HubUnreachable(host=self._host, problem=str(trouble) or type(trouble).__name__) from trouble
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
        except (HubUnreachable, HubBusy):
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
            async with asyncio.timeout(ANSWER_S), self._client.stream("GET", url, headers=headers) as answer:
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
            raise HubUnreachable(host=self._host, problem=f"> {ANSWER_S:.0f} s") from trouble
        except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
            raise HubUnreachable(host=self._host, problem=str(trouble) or type(trouble).__name__) from trouble
        etag = answer.headers.get("ETag", "")
        return Kept(
            bytes(body[:limit]), self._cache.now(), etag if _ETAG.fullmatch(etag) else None, _next_cursor(answer)
        )


def choose(repository: Repository, ref: ModelRef) -> Variant:
    """The variant a reference means. Raises `NothingToRun`, `NoSuchVariant` or `FileNotOnHub` with what there is."""
    variants = repository.variants
    if not variants:
        raise NothingToRun(name=repository.id)
    labels = ", ".join(v.label for v in variants[:40])
    if ref.path is not None:
        for variant in variants:
            if any(f.path == ref.path for f in variant.files):
                return variant
        raise FileNotOnHub(name=repository.id, path=ref.path, there=labels)
    if ref.quantisation is not None:
        wanted = ref.quantisation.lower()
        for variant in variants:
            if wanted in {variant.label.lower(), (variant.quantisation or "").lower()}:
                return variant
        raise NoSuchVariant(name=repository.id, quantisation=ref.quantisation, there=labels)
    by_quantisation = {v.quantisation: v for v in reversed(variants)}
    return next((by_quantisation[q] for q in PREFERRED if q in by_quantisation), variants[0])


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


def _stored_token() -> str:
    """The token that `hf auth login` keeps, where the Hub's own client keeps it."""
    import os

    folder = (
        os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    )
    file = Path(os.environ.get("HF_TOKEN_PATH") or Path(folder) / "token").expanduser()
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
