"""The Hugging Face Hub, by its documented API: what a repository holds, and where its files are.

Endpoints and headers are those of the `huggingface_hub` 2.4 client (`HfApi.model_info(files_metadata=True)`,
`hf_hub_url`, `hf_raise_for_status`). The answers are input from outside: bounded in size and time, every field
checked, a bad entry skipped. The token goes to the Hub's own origin and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from domicile import __version__, names
from domicile.config import Settings
from domicile.download import Wanted
from domicile.errors import (
    FileNotOnHub,
    Gated,
    HubAnswer,
    HubBusy,
    HubUnreachable,
    NoSuchVariant,
    NothingToRun,
    RepositoryNotFound,
    RevisionNotFound,
    TokenRefused,
)
from domicile.types import ModelRef, RemoteFile, Repository, Variant, is_safe_path

ANSWER_LIMIT = 32 * 2**20
ANSWER_S = 30.0
"""An answer that drips is given up as a whole, however often a byte comes."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")

PREFERRED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "IQ4_XS", "Q4_0", "Q5_K_S", "Q6_K", "Q8_0", "Q3_K_M")
"""Which quantisation `org/repo` alone means, best first: the field's common advice, 4 to 5 bits."""


class Hub:
    """The Hub, or a mirror of it (`HF_ENDPOINT`)."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._endpoint = settings.hub.rstrip("/")
        self._token = settings.hub_token or _stored_token()
        self._client = client

    async def describe(self, ref: ModelRef) -> Repository:
        """Everything in a repository at a revision, with its runnable files grouped into variants."""
        at = f"/revision/{quote(ref.revision, safe='')}" if ref.revision else ""
        data = await self._json(f"/api/models/{ref.name}{at}?blobs=true", ref.name)
        siblings, commit = data.get("siblings"), data.get("sha")
        if not isinstance(siblings, list) or not isinstance(commit, str) or not _SHA1.fullmatch(commit):
            raise HubAnswer(host=self._host, problem="siblings, sha")
        files = tuple(file for entry in siblings if (file := _file(entry)))
        card = data.get("cardData")
        licence = card.get("license") if isinstance(card, dict) else None
        return Repository(
            id=ref.name,
            commit=commit,
            variants=names.variants([f for f in files if f.path.lower().endswith(".gguf")]),
            files=files,
            gated=bool(data.get("gated")),
            licence=licence if isinstance(licence, str) else None,
        )

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

    async def _json(self, path: str, name: str) -> Mapping[str, Any]:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.stream("GET", self._endpoint + path, headers=self._headers()) as answer,
            ):
                self.judge(answer)
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_LIMIT:
                        raise HubAnswer(host=self._host, problem=f"> {ANSWER_LIMIT} B")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as trouble:
            raise HubUnreachable(host=self._host, problem=str(trouble) or type(trouble).__name__) from trouble
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as trouble:
            raise HubAnswer(host=self._host, problem="JSON") from trouble
        if not isinstance(data, dict):
            raise HubAnswer(host=self._host, problem=name)
        return data


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
