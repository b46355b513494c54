"""Ollama's registry, by the Docker registry v2 API it speaks: a manifest lists layers, a layer is a blob of a digest.

`GET /v2/<namespace>/<model>/manifests/<tag>` and `/v2/<namespace>/<model>/blobs/sha256:<hex>`. The weights are one GGUF
layer; template, system prompt, parameters, messages and licence are layers too, and are kept as small files beside it.
A digest becomes neither a path nor an address before it matches a full expression (CVE-2024-37032); a token is asked
for only where the registry itself is (CVE-2025-51471), and goes nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2

from domicile import __version__, outside
from domicile.config import Settings
from domicile.download import Wanted
from domicile.errors import HubAnswer, NothingToRun, RepositoryNotFound, TokenRefused
from domicile.plain import line
from domicile.refs import ModelRef, is_safe_path
from domicile.types import Installed, RemoteFile, Repository, Variant

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER = "application/vnd.ollama.image."
_MANIFEST_LIMIT = 4 * 2**20
_SMALL = 2**18
"""Layers up to this size are read for what they say before a download: the configuration, the licence."""
_LAYERS = 256
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHALLENGE = re.compile(r'(\w+)="([^"]{0,500})"')
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")

TEXTS: Mapping[str, str] = {
    "template": "template.txt",
    "system": "system.txt",
    "params": "params.json",
    "messages": "messages.json",
    "license": "license.txt",
}
"""Layers that are no weights, and the files they are kept in."""
_WEIGHTS: Mapping[str, str] = {"model": "", "projector": "mmproj-", "adapter": "adapter-"}


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    digest: str
    """Hexadecimal."""
    size_bytes: int


class Ollama:
    """The registry, or a mirror of it (`DOMICILE_OLLAMA_REGISTRY`)."""

    def __init__(self, settings: Settings, client: httpx2.AsyncClient) -> None:
        self._endpoint = settings.ollama_registry.rstrip("/")
        self._models = settings.models
        self.client = client
        self._tokens: dict[str, str] = {}
        """By model: what the registry gave us to read it."""

    async def describe(self, ref: ModelRef, *, fresh_s: float = 0.0) -> Repository:
        """A model at a tag: its layers as files, the GGUF first. Raises `RepositoryNotFound`, `NothingToRun`, ..."""
        said = await self._read(ref.name, f"manifests/{ref.revision}", _MANIFEST_LIMIT, str(ref))
        manifest = self._json(said.body)
        layers = [layer for layer in (_layer(e) for e in _list(manifest.get("layers"))) if layer is not None]
        config = await self._config(ref, _layer(manifest.get("config"), "config"))
        if not any(layer.kind == "model" for layer in layers):
            reason = "ollama_cloud" if config.get("remote_model") or config.get("remote_host") else "ollama"
            raise NothingToRun(name=str(ref).removeprefix("ollama:"), reason=reason)
        files = _files(ref, layers)
        label = ref.revision or "latest"
        quantisation = config.get("file_type")
        variant = Variant(label, line(quantisation, 64) if isinstance(quantisation, str) else None, files)
        family = config.get("model_family")
        return Repository(
            id=ref.name,
            commit=f"sha256:{hashlib.sha256(said.body).hexdigest()}",
            variants=(variant,),
            files=files,
            licence=await self._licence(ref, layers),
            author=ref.name.split("/", maxsplit=1)[0],
            architecture=line(family, 64) if isinstance(family, str) else None,
            source="ollama",
        )

    def wanted(self, repository: Repository, file: RemoteFile, target: Path) -> Wanted:
        """A layer, by its digest."""
        url = f"{self._endpoint}/v2/{repository.id}/blobs/sha256:{file.sha256}"
        return Wanted(url, target, file.size_bytes, file.sha256, headers=self._headers(repository.id))

    def judge(self, answer: httpx2.Response) -> None:
        """Raise the named error of an answer that is no blob."""
        first = answer.history[0] if answer.history else answer
        name = "/".join(first.url.path.strip("/").split("/")[1:3])
        self._judge(answer.status_code, name)

    def folder(self, repository: Repository) -> Path:
        """`models/ollama.com/<namespace>/<model>/<tag>/`."""
        return self._models.joinpath("ollama.com", *repository.id.split("/"), repository.variants[0].label)

    def entry(self, ref: ModelRef, repository: Repository, variant: Variant, files: Mapping[str, Path]) -> Installed:
        """Under the name Ollama's own tools give it (`llama3.2:3b`); a person's is `ollama:person/model:tag`."""
        official = repository.id.startswith("library/")
        return Installed(
            name=str(ref).removeprefix("ollama:") if official else str(ref),
            path=files[variant.files[0].path],
            format="gguf",
            size_bytes=variant.size_bytes,
            source="ollama",
            files=tuple(files[f.path] for f in variant.files),
            repository=repository.id,
            revision=repository.commit,
            quantisation=variant.quantisation,
            licence=repository.licence,
            digests=tuple(f.sha256 for f in variant.files),
        )

    # -- asking --

    def _headers(self, name: str) -> dict[str, str]:
        token = self._tokens.get(name)
        return {"User-Agent": f"domicile/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})

    async def _read(self, name: str, what: str, limit: int, shown: str) -> outside.Said:
        """A manifest, or a small blob; with a token when the registry asks for one."""
        url = f"{self._endpoint}/v2/{name}/{what}"
        asked = {"Accept": MANIFEST} if what.startswith("manifests/") else {}

        async def ask() -> outside.Said:  # a blob is redirected to a store, where the token does not follow
            headers = {**self._headers(name), **asked}
            return await outside.read(self.client, url, headers=headers, limit=limit, elsewhere=True)

        said = await ask()
        if said.status == 401 and (challenge := said.headers.get("WWW-Authenticate", "")):
            self._tokens[name] = await self._token(challenge)
            said = await ask()
        self._judge(said.status, shown)
        return said

    async def _token(self, challenge: str) -> str:
        """The anonymous token flow of the registry API: where, for what service and scope, the challenge says."""
        scheme, _, rest = challenge.partition(" ")
        said = dict(_CHALLENGE.findall(rest))
        ours, realm = httpx2.URL(self._endpoint), said.get("realm", "")
        try:
            there = httpx2.URL(realm)
        except httpx2.InvalidURL:
            there = httpx2.URL("")
        if scheme.lower() != "bearer" or (there.scheme, outside.place_of(there)) != (
            ours.scheme,
            outside.place_of(ours),
        ):
            raise HubAnswer(host=self._host, problem=line(realm, 100), reason="realm")
        query = urlencode({k: said[k] for k in ("service", "scope") if k in said})
        answer = await outside.read(
            self.client, str(there.copy_with(query=query.encode())), headers=self._headers(""), limit=_SMALL
        )
        self._judge(answer.status, self._host)
        told = self._json(answer.body)
        token = told.get("token") or told.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise HubAnswer(host=self._host, problem="token")
        return token

    async def _config(self, ref: ModelRef, layer: _Layer | None) -> Mapping[str, Any]:
        """What the model's configuration says of it; nothing when it cannot be read: it decides no download."""
        text = await self._small(ref, layer)
        try:
            told = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            return {}
        return told if isinstance(told, dict) else {}

    async def _licence(self, ref: ModelRef, layers: list[_Layer]) -> str | None:
        """The first line of the first licence: its name."""
        text = await self._small(ref, next((x for x in layers if x.kind == "license"), None))
        first = next((part.strip() for part in text.decode("utf-8", "replace").splitlines() if part.strip()), "")
        return line(first, 80) or None

    async def _small(self, ref: ModelRef, layer: _Layer | None) -> bytes:
        if layer is None or not 0 < layer.size_bytes <= _SMALL:
            return b""
        said = await self._read(ref.name, f"blobs/sha256:{layer.digest}", _SMALL, str(ref))
        return said.body if hashlib.sha256(said.body).hexdigest() == layer.digest else b""

    def _judge(self, status: int, name: str) -> None:
        if status == 404:
            raise RepositoryNotFound(name=name.removeprefix("ollama:"), reason="ollama")
        if status in {401, 403}:
            raise TokenRefused(host=self._host, name=name, reason="ollama")
        if error := outside.judged(status, self._host):
            raise error

    def _json(self, body: bytes) -> Mapping[str, Any]:
        try:
            told = json.loads(body)
        except (ValueError, RecursionError) as trouble:
            raise HubAnswer(host=self._host, problem="JSON") from trouble
        if not isinstance(told, dict):
            raise HubAnswer(host=self._host, problem="JSON")
        return told

    @property
    def _host(self) -> str:
        return outside.host_of(self._endpoint)


def _layer(entry: object, kind: str | None = None) -> _Layer | None:
    """One layer; None for one that cannot be used."""
    if not isinstance(entry, dict):
        return None
    media, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not (found := _DIGEST.fullmatch(digest)):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**50:
        return None
    if kind is None:
        if not isinstance(media, str) or not media.startswith(_LAYER):
            return None
        kind = media.removeprefix(_LAYER)
    return _Layer(kind, found[1], size)


def _list(said: object) -> list[object]:
    return said[:_LAYERS] if isinstance(said, list) else []


def _files(ref: ModelRef, layers: list[_Layer]) -> tuple[RemoteFile, ...]:
    """Layers as files of telling names, the model's own first; a second of one kind is numbered."""
    base = f"{ref.name.rsplit('/', 1)[-1]}-{ref.revision}"
    seen: dict[str, int] = {}
    found: list[tuple[int, RemoteFile]] = []
    for layer in layers:
        number = seen[layer.kind] = seen.get(layer.kind, 0) + 1
        again = f"-{number}" if number > 1 else ""
        if layer.kind in _WEIGHTS:
            name, place = f"{_WEIGHTS[layer.kind]}{base}{again}.gguf", list(_WEIGHTS).index(layer.kind)
        elif layer.kind in TEXTS:
            stem, _, extension = TEXTS[layer.kind].rpartition(".")
            name, place = f"{stem}{again}.{extension}", len(_WEIGHTS)
        else:
            continue
        if is_safe_path(name):
            found.append((place, RemoteFile(name, layer.size_bytes, sha256=layer.digest)))
    return tuple(file for _, file in sorted(found, key=lambda item: item[0]))
