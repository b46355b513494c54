"""Civitai: checkpoints and LoRAs of Stable Diffusion and its kin, by the site's public API (developer.civitai.com).

`GET /api/v1/models/{id}`, `/api/v1/model-versions/{id}` and `/api/v1/models?query=`; a file is fetched from
`/api/download/models/{version}`, which redirects to a store. Only `.safetensors` files with a SHA256 are taken: the
rest may be pickles, or cannot be checked. A key is optional (some files ask for one) and goes to the site alone.
Everything the API says is input: numbers, names and digests are matched before they are used.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx2

from domicile import __version__, names, outside
from domicile.config import Settings
from domicile.download import Wanted
from domicile.errors import BadField, HubAnswer, NothingToRun, RepositoryNotFound, RunsCode, TokenRefused
from domicile.plain import line
from domicile.refs import ModelRef, is_safe_path
from domicile.types import Installed, RemoteFile, Repository, Variant

KEY_FILE = "civitai.key"
"""In the home: the key, readable by its owner only."""
TYPES = ("Checkpoint", "LORA", "LoCon", "DoRA")
"""Of the site's kinds of models, those that are used here."""
_ANSWER_BYTES = 8 * 2**20
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_LARGEST = 2**40
_MOST_FILES = 64
_CURSOR = re.compile(r"[A-Za-z0-9|:._%=+/-]{1,300}")
_KEY = re.compile(r"[\x21-\x7e]{8,200}")


class Civitai:
    """The source, or a mirror of it (`DOMICILE_CIVITAI`)."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._endpoint = settings.civitai.rstrip("/")
        self._models = settings.models
        self._given = settings.civitai_key
        self._key_file = settings.home / KEY_FILE
        self.client = client

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """One version of a model: the one that is named, else the newest. Raises `RepositoryNotFound`, `RunsCode`."""
        shown = str(ref)
        if ref.revision is None:
            model = await self._json(f"models/{ref.name}", shown)
            versions = _list(model.get("modelVersions"))
            if not versions:
                raise NothingToRun(name=shown)
            version = versions[0]
        else:
            version = await self._json(f"model-versions/{ref.revision}", shown)
            told = version.get("model")
            model = told if isinstance(told, dict) else {}
        number, owner = _number(version.get("id")), _number(version.get("modelId") or model.get("id") or ref.name)
        if number is None or owner is None:
            raise HubAnswer(host=self._host, problem="id")
        if ref.name and str(owner) != ref.name:
            raise RepositoryNotFound(name=shown, reason="civitai")
        variants, pickles = _variants(_list(version.get("files")))
        if not variants:
            if pickles:
                raise RunsCode(file=f"{shown}: {pickles[0]}", kind="pickle", reason="only")
            raise NothingToRun(name=shown)
        kind = model.get("type")
        adapter = isinstance(kind, str) and kind in TYPES[1:]
        creator = model.get("creator")
        author = creator.get("username") if isinstance(creator, dict) else None
        return Repository(
            id=f"{owner}@{number}",
            commit=str(number),
            variants=variants,
            files=tuple(f for v in variants for f in v.files),
            author=line(author, 100) if isinstance(author, str) else None,
            task="lora" if adapter else "text-to-image",
            architecture=line(base, 60) if isinstance(base := version.get("baseModel"), str) else None,
            source="civitai",
        )

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """A file, by its version and what kind of file it is; the redirect of it is looked at by the downloader."""
        number = repository.commit
        main = file.path == repository.files[0].path
        query = "" if main else f"?{urlencode({'type': 'Pruned Model', 'format': 'SafeTensor'})}"
        url = f"{self._endpoint}/api/download/models/{number}{query}"
        return Wanted(url, target, file.size_bytes, file.sha256, headers=self._headers())

    def judge(self, answer: httpx2.Response) -> None:
        """Raise the named error of an answer that is not the file."""
        first = answer.history[0] if answer.history else answer
        self._judge(answer.status_code, f"civitai:@{first.url.path.rsplit('/', 1)[-1]}"[:60])
        if answer.headers.get("Content-Type", "").startswith("text/html"):  # its page that asks to sign in
            raise TokenRefused(host=self._host, name=first.url.path[:100], reason="civitai")

    def folder(self, repository: Repository) -> Path:
        """`models/civitai.com/<model>/<version>/`."""
        return self._models.joinpath("civitai.com", *repository.id.split("@"))

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        """Under the name of its file, which is what people call it."""
        path = files[variant.files[0].path]
        return Installed(
            name=f"civitai:{repository.id}",
            path=path,
            format="safetensors",
            size_bytes=variant.size_bytes,
            source="civitai",
            files=(path,),
            repository=repository.id,
            revision=repository.commit,
            quantisation=variant.quantisation,
            task=repository.task,
            digests=tuple(f.sha256 for f in variant.files),
        )

    async def search(self, text: str, kind: str = "Checkpoint", cursor: str | None = None, limit: int = 20) -> Any:
        """Models by their words: `{"results": [...], "cursor": ...}`. Raises `BadField`, and what asking raises."""
        if kind not in TYPES:
            raise BadField(field="type", problem=kind[:40], reason="one_of", allowed=", ".join(TYPES))
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise BadField(field="cursor", problem=cursor[:40])
        asked = {"query": text[:200], "types": kind, "limit": str(limit), "nsfw": "false", "cursor": cursor}
        query = urlencode({k: v for k, v in asked.items() if v})
        said = await self._json(f"models?{query}", text)
        about = said.get("metadata")
        onward = about.get("nextCursor") if isinstance(about, dict) else None
        onward = str(onward) if onward is not None and _CURSOR.fullmatch(str(onward)) else None
        found = [_found(one) for one in _list(said.get("items"))[:100]]
        return {"results": [one for one in found if one is not None], "cursor": onward}

    # -- asking --

    @property
    def _host(self) -> str:
        return outside.host_of(self._endpoint)

    def _key(self) -> str:
        """The key of the settings, or of the file; a file that others may read is not used. Raises `TokenRefused`."""
        if self._given:
            return self._given
        try:
            state = self._key_file.stat()
            if stat.S_IMODE(state.st_mode) & 0o077:
                raise TokenRefused(host=self._host, name=str(self._key_file), reason="key_open")
            key = self._key_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return key if _KEY.fullmatch(key) else ""

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"User-Agent": f"domicile/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})

    async def _json(self, path: str, shown: str) -> dict[str, Any]:
        url = f"{self._endpoint}/api/v1/{path}"
        said = await outside.read(self.client, url, headers=self._headers(), limit=_ANSWER_BYTES)
        self._judge(said.status, shown)
        try:
            told = json.loads(said.body)
        except (ValueError, RecursionError) as trouble:
            raise HubAnswer(host=self._host, problem=line(str(trouble), 100)) from trouble
        if not isinstance(told, dict):
            self._garbled()
        return told

    def _garbled(self) -> NoReturn:
        raise HubAnswer(host=self._host, problem="JSON")

    def _judge(self, status: int, shown: str) -> None:
        if status == 404:
            raise RepositoryNotFound(name=line(shown, 100), reason="civitai")
        if status in {401, 403}:
            raise TokenRefused(host=self._host, name=line(shown, 100), reason="civitai")
        if error := outside.judged(status, self._host):
            raise error


def _variants(files: list[dict[str, Any]]) -> tuple[tuple[Variant, ...], list[str]]:
    """The files that can be taken, the site's own choice first; and the names of those that could run code."""
    taken: list[tuple[bool, Variant]] = []
    pickles: list[str] = []
    for one in files[:_MOST_FILES]:
        name, about, hashes = one.get("name"), one.get("metadata"), one.get("hashes")
        if not isinstance(name, str) or one.get("type") not in {"Model", "Pruned Model"}:
            continue
        if not name.lower().endswith(".safetensors"):
            pickles.append(line(name, 100))
            continue
        digest = hashes.get("SHA256") if isinstance(hashes, dict) else None
        size = one.get("sizeKB")
        if not is_safe_path(name) or "/" in name or not isinstance(size, (int, float)) or not 0 < size < _LARGEST:
            continue
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            continue
        precision = about.get("fp") if isinstance(about, dict) else None
        quantisation = precision.upper() if precision in {"fp16", "fp32", "bf16", "fp8"} else None
        remote = RemoteFile(name, round(size * 1024), sha256=digest.lower())
        stem = names.read(name).stem or name
        taken.append((one.get("primary") is True, Variant(stem, quantisation, (remote,), "safetensors")))
    ordered = [v for _, v in sorted(taken, key=lambda pair: not pair[0])]
    unique: dict[str, Variant] = {}
    for variant in ordered:
        unique.setdefault(variant.files[0].path.lower(), variant)
    return tuple(unique.values()), pickles


def _found(one: Mapping[str, Any]) -> dict[str, Any] | None:
    number, name = _number(one.get("id")), one.get("name")
    versions = _list(one.get("modelVersions"))
    if number is None or not isinstance(name, str) or not versions:
        return None
    variants, _ = _variants(_list(versions[0].get("files")))
    if not variants:
        return None
    stats, base, creator = one.get("stats"), versions[0].get("baseModel"), one.get("creator")
    author = creator.get("username") if isinstance(creator, dict) else None
    return {
        "id": f"civitai:{number}",
        "name": line(name, 200),
        "type": line(str(one.get("type")), 40),
        "base_model": line(base, 60) if isinstance(base, str) else None,
        "author": line(author, 100) if isinstance(author, str) else None,
        "size_bytes": variants[0].size_bytes,
        "downloads": _number(stats.get("downloadCount")) if isinstance(stats, dict) else None,
    }


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) < 16 else None


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
