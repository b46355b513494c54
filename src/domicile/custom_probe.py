"""What the address of a custom model holds: reachable or not, of which kind, with the files its kind needs, and whether
a page of ours may read it from there (CORS).

An address of the Hub is asked through the Hub's source, any other through the guarded client. What would keep the model
from running is an error; what may is a check that is not well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domicile import mlc_libs, names, outside
from domicile.errors import BadField, BadName, FileNotOnHub, HubAnswer, NothingToRun, RunsCode, TokenRefused
from domicile.plain import line
from domicile.refs import ModelRef, file_of
from domicile.sources import Sources
from domicile.types import Repository

_CONFIG = "mlc-chat-config.json"
_CACHES = ("ndarray-cache.json", "tensor-cache.json")
_LIMIT = 4 * 2**20
_ORIGIN = "http://127.0.0.1:11435"
"""What our page is to another server: the Origin it will be asked with."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: the key of its sentence (`custom.<key>`), and whether it is well."""

    key: str
    well: bool
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found."""

    kind: str
    checks: tuple[Check, ...]
    model_lib: str | None = None
    """MLC: a standard library made for the same architecture and quantisation."""
    size_bytes: int | None = None


async def look(url: str, kind: object, custom_id: str, sources: Sources) -> Probed:
    """Raises what keeps the model from running, named: not reachable, refused, another kind, a file that is missing."""
    said = kind if isinstance(kind, str) and kind else None
    if said == "remote" or (said is None and url.rstrip("/").endswith("/v1")):
        return await _remote(url, sources)
    try:
        ref = ModelRef.parse(url)
    except BadName:
        ref = None  # an address that ends with a folder
    if ref is not None and ref.kind == "hub":
        return await _hub(ref, said, custom_id, sources)
    if ref is not None and ref.kind == "url" and (said not in {None, "mlc"} or (said is None and _is_file(ref))):
        return await _file(ref, said, sources)
    if ref is not None and ref.kind != "url":
        raise BadField(field="url", problem=line(url, 120), reason="url")
    if said in {None, "mlc"}:
        return await _folder(url, custom_id, sources)
    raise BadField(field="url", problem=line(url, 120), reason="url_file")


def _is_file(ref: ModelRef) -> bool:
    """Does the address end like a file of weights, rather than like a folder (`.../Llama-3.2`)?"""
    name = file_of(ref.name).lower()
    return name.endswith((".gguf", ".safetensors", ".onnx")) or bool(names.runs_code([name]))


async def _hub(ref: ModelRef, said: str | None, custom_id: str, sources: Sources) -> Probed:
    repository = await sources.hub.describe(ref)
    there = {f.path: f for f in repository.files}
    formats = {v.format: v for v in reversed(repository.variants)}
    kind = said or (
        "mlc" if _CONFIG in there else next((f for f in ("gguf", "safetensors", "onnx") if f in formats), "")
    )
    if not kind:
        if repository.scan is not None and repository.scan.runs_code:
            raise RunsCode(file=repository.scan.runs_code[0], kind="pickle", reason="only")
        raise NothingToRun(name=repository.id)
    checks = [Check("reachable", True, {"host": repository.id})]
    if kind == "mlc":
        missing = _missing(set(there))
        if missing:
            raise FileNotOnHub(name=repository.id, path=missing[0], there=", ".join(sorted(there)[:20]))
        config = await _config_of(repository, sources)
        lib = mlc_libs.propose(config, custom_id)
        checks += [Check("files", True, {}), _lib_check(lib), _gate(repository)]
        return Probed(kind, tuple(checks), lib, sum(f.size_bytes for f in repository.files))
    if kind not in formats and not (kind == "safetensors" and "diffusers" in formats):
        raise BadField(field="kind", problem=kind, reason="other_kind", found=", ".join(formats) or "-")
    variant = formats.get(kind) or formats["diffusers"]  # type: ignore[call-overload]
    if kind in {"safetensors", "onnx"}:
        described = bool(
            {"config.json", "model_index.json", "genai_config.json"} & {p.rsplit("/", 1)[-1] for p in there}
        )
        checks.append(Check("files" if described else "no_config", described, {}))
    return Probed(kind, (*checks, Check("format", True, {"format": variant.format.upper()})), None, variant.size_bytes)


def _gate(repository: Repository) -> Check:
    """A browser has no token of ours: what is private or gated cannot be read from a page. (The Hub sends the CORS
    headers: web-llm's own models are there.)"""
    closed = repository.private or repository.gated
    return Check("gated" if closed else "cors", not closed, {"host": repository.id})


async def _config_of(repository: Repository, sources: Sources) -> Mapping[str, Any]:
    return _json(await sources.hub.document(repository, _CONFIG), repository.id)


async def _file(ref: ModelRef, said: str | None, sources: Sources) -> Probed:
    repository = await sources.named("url").describe(ref)
    variant = repository.variants[0]
    if said is not None and said != variant.format:
        raise BadField(field="kind", problem=said, reason="other_kind", found=variant.format)
    checks = (
        Check("reachable", True, {"host": repository.author}),
        Check("format", True, {"format": variant.format.upper()}),
    )
    return Probed(variant.format, checks, None, variant.size_bytes)


async def _folder(url: str, custom_id: str, sources: Sources) -> Probed:
    """MLC in a folder of somebody's server. web-llm reads `<url>/resolve/main/<file>`, unless the address has such a
    part already; a folder that has the files at its top only would not load."""
    base = url.rstrip("/") + "/"
    inner = base if "/resolve/" in base else f"{base}resolve/main/"
    found, plain = await _try(inner, sources), False
    if found is None and inner != base:
        found, plain = await _try(base, sources), True
    if found is None:
        raise FileNotOnHub(name=outside.host_of(url), path=_CONFIG, reason="expected")
    config = _json(found.body, outside.host_of(url))
    at = base if plain else inner
    cache = [await _is_there(at + name, sources) for name in _CACHES]
    if not any(cache):
        raise FileNotOnHub(name=outside.host_of(url), path=_CACHES[0], reason="expected")
    tokenizer = any([await _is_there(at + name, sources) for name in ("tokenizer.json", "tokenizer.model")])
    allowed = found.headers.get("Access-Control-Allow-Origin", "")
    cors = allowed in {"*", _ORIGIN}
    lib = mlc_libs.propose(config, custom_id)
    checks = [
        Check("reachable", True, {"host": outside.host_of(url)}),
        Check("files" if tokenizer else "no_tokenizer", tokenizer, {}),
        Check("cors" if cors else "no_cors", cors, {"host": outside.host_of(url)}),
        _lib_check(lib),
    ]
    if plain:
        checks.append(Check("no_resolve", False, {"url": inner}))
    return Probed("mlc", tuple(checks), lib)


def _lib_check(lib: str | None) -> Check:
    return Check("lib" if lib else "no_lib", lib is not None, {"lib": (lib or "").rsplit("/", 1)[-1]})


async def _try(base: str, sources: Sources) -> outside.Said | None:
    """The configuration under a base; None where there is none."""
    said = await outside.read(sources.guarded, base + _CONFIG, headers={"Origin": _ORIGIN}, limit=_LIMIT)
    if said.status in {404, 410}:
        return None
    if said.status in {401, 403}:
        raise TokenRefused(host=said.url.host, name=_CONFIG, reason="url")
    if error := outside.judged(said.status, said.url.host):
        raise error
    return said


async def _is_there(url: str, sources: Sources) -> bool:
    said = await outside.read(
        sources.guarded, url, headers={"Origin": _ORIGIN, "Range": "bytes=0-0"}, limit=1, cut=True
    )
    return said.status in {200, 206}


async def _remote(url: str, sources: Sources) -> Probed:
    """A server that speaks OpenAI's dialect: its list of models is asked for, without any key."""
    base = url.rstrip("/")
    models = f"{base}/models" if base.endswith("/v1") else f"{base}/v1/models"
    said = await outside.read(sources.guarded, models, limit=_LIMIT)
    host = said.url.host
    if said.status in {401, 403}:
        return Probed("remote", (Check("reachable", True, {"host": host}), Check("key", False, {"host": host})))
    if error := outside.judged(said.status, host):
        raise error
    if not isinstance(_json(said.body, host).get("data"), list):
        raise HubAnswer(host=host, problem="/v1/models")
    return Probed("remote", (Check("reachable", True, {"host": host}), Check("openai", True, {"host": host})))


def _missing(there: set[str]) -> list[str]:
    wanted = [] if _CONFIG in there else [_CONFIG]
    wanted += [] if there & set(_CACHES) else [_CACHES[0]]
    wanted += [] if any(p.startswith("params_shard_") for p in there) else ["params_shard_0.bin"]
    return wanted + ([] if there & {"tokenizer.json", "tokenizer.model"} else ["tokenizer.json"])


def _json(body: bytes, host: str) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as trouble:
        raise HubAnswer(host=host, problem="JSON") from trouble
    if not isinstance(said, dict):
        raise HubAnswer(host=host, problem="JSON")
    return said
