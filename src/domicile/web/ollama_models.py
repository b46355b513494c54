"""Ollama's dialect, where models live: tags, show, ps, pull, create, copy, delete, blobs, version."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from domicile.app import House
from domicile.dialects import chat as reading
from domicile.dialects import modelfile, ollama
from domicile.dialects.modelfile import Recipe
from domicile.errors import BlobNotFound, DomicileError, NotSupported, of_code
from domicile.types import Facts, Installed, Job
from domicile.web import asking, capabilities
from domicile.web.ollama import model_said
from domicile.web.trouble import bug_of, error_body, house_of, language

VERSION = "0.12.11"
"""The version of Ollama whose API this is: clients compare it before they use what is new."""
_BEAT_S = 0.2


async def version(request: Request) -> Response:
    """Ollama: the version of its API that is spoken here."""
    return JSONResponse({"version": VERSION})


async def tags(request: Request) -> Response:
    """Ollama: the models that live here."""
    house = house_of(request)
    models = [m for m in house.library.list() if not m.missing]
    return JSONResponse({"models": [await _listed(house, m) for m in sorted(models, key=_newest)]})


async def ps(request: Request) -> Response:
    """Ollama: the models that are awake."""
    house = house_of(request)
    found = []
    for presence in house.runner.ps():
        if presence.state == "sleeping":
            continue
        model = house.library.get(presence.name)
        left = presence.sleeps_in_s
        if left is None:  # in use, or kept for ever
            until = datetime(2318, 1, 1, tzinfo=UTC) if not presence.busy else _soon(house.settings.keep_alive)
        else:
            until = _soon(left)
        row = await _listed(house, model)
        del row["modified_at"]
        context = _context(house, model, (await house.adviser.badge(model)).context_length)
        found.append({**row, "expires_at": until.isoformat(), "size_vram": 0, "context_length": context})
    return JSONResponse({"models": found})


async def show(request: Request) -> Response:
    """Ollama: everything that is known of a model. `"verbose"` adds its tensors."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    model = house.library.ready(model_said(data))
    facts = await capabilities.facts_of(house, model)
    recipe = house.recipes.of(model.name) or Recipe(str(model.path))
    told: dict[str, Any] = {
        "license": recipe.licence or facts.licence or model.licence or "",
        "modelfile": modelfile.write(recipe, str(model.path)),
        "parameters": modelfile.shown(recipe.parameters),
        "template": recipe.template or facts.chat_template or "",
        "system": recipe.system,
        "details": _details(model, facts, recipe),
        "model_info": _info(facts),
        "capabilities": await capabilities.capabilities(house, model),
        "modified_at": _date(model),
    }
    if recipe.messages:
        told["messages"] = list(recipe.messages)
    if reading.flag(data, "verbose"):
        told["tensors"] = [{"name": t.name, "type": t.type, "shape": list(t.dims)} for t in facts.tensors]
    return JSONResponse(told)


async def pull(request: Request) -> Response:
    """Ollama: download a model, as lines of progress unless `"stream": false`."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    job = await house.pull(model_said(data))
    return await _told(request, data, _pulling(house, job, request))


async def create(request: Request) -> Response:
    """Ollama: a model made of another (`from`), of files sent before (`files`) or of a Modelfile (`modelfile`)."""
    _, data = await asking.json_object(request)
    name = model_said(data)
    if data.get("quantize") or data.get("quantization"):
        raise NotSupported(what="quantize", reason="quantize")
    recipe = _recipe(data)
    return await _told(request, data, _creating(house_of(request), name, recipe, _file(data), request))


async def copy(request: Request) -> Response:
    """Ollama: another name for a model. Its files are shared, not doubled."""
    _, data = await asking.json_object(request)
    source, destination = asking.text_of(data, "source") or "", asking.text_of(data, "destination") or ""
    house_of(request).copy(source, destination)
    return Response(status_code=200)


async def delete(request: Request) -> Response:
    """Ollama: forget a model, and delete its files where they are ours and no other model uses them."""
    _, data = await asking.json_object(request)
    house, said = house_of(request), model_said(data)
    model = house.library.get(said)
    alias = next((a for a in model.aliases if a.lower() == said.strip().lower().removesuffix(":latest")), None)
    if alias is not None:
        house.library.unalias(alias)  # another name of a model: the model stays
    else:
        await house.remove(model.name)
    return Response(status_code=200)


async def has_blob(request: Request) -> Response:
    """Ollama: whether a file of this digest is here."""
    try:
        house_of(request).blobs.get(request.path_params["digest"])
    except BlobNotFound:
        return Response(status_code=404)
    return Response(status_code=200)


async def send_blob(request: Request) -> Response:
    """Ollama: send a file under its sha256, to make a model of."""
    house = house_of(request)
    announced = request.headers.get("content-length", "")
    house.blobs.prune({path for m in house.library.list() for path in m.files})
    size = int(announced) if announced.isdigit() else None
    await house.blobs.receive(request.path_params["digest"], request.stream(), size)
    return Response(status_code=201)


async def push(request: Request) -> Response:
    """Ollama: publish a model. Not done here."""
    raise NotSupported(what="push", reason="push")


# -- rows --


def tagged(name: str) -> str:
    """A name as Ollama's clients expect it, with a tag."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


async def _listed(house: House, model: Installed) -> dict[str, Any]:
    try:
        facts: Facts | None = await house.adviser.badge(model)
    except (DomicileError, OSError):  # a file that cannot be read hides none of the others
        facts = None
    return {
        "name": tagged(model.name),
        "model": tagged(model.name),
        "modified_at": _date(model),
        "size": model.size_bytes,
        "digest": digest_of(model),
        "details": _details(model, facts, house.recipes.of_model(model)),
    }


def digest_of(model: Installed) -> str:
    """A digest of what the library knows of a model (Ollama's is one of a manifest, not of the file either)."""
    known = [model.name, [str(p) for p in model.files], model.size_bytes, model.revision, model.added_at]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _details(model: Installed, facts: Facts | None, recipe: Recipe | None) -> dict[str, Any]:
    family = (facts.architecture if facts else None) or ""
    return {
        "parent_model": recipe.base if recipe and recipe.base not in {str(model.path), model.name} else "",
        "format": model.format,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": _size(facts) if facts else "",
        "quantization_level": model.quantisation or (facts.quantisation if facts else None) or "",
    }


def _size(facts: Facts) -> str:
    """Counted where the whole header was read, else as the file says of itself."""
    return _parameters(facts.parameters) or str(facts.extra.get("general.size_label", ""))


def _parameters(count: int | None) -> str:
    if not count:
        return ""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{unit}" if unit in "TB" else f"{count / size:.2f}{unit}"
    return str(count)


def _info(facts: Facts) -> dict[str, Any]:
    """The header's scalars under their own keys. Arrays of a tokenizer are not repeated."""
    arch = facts.architecture or ""
    found: dict[str, Any] = {
        "general.architecture": arch,
        "general.name": facts.name,
        "general.parameter_count": facts.parameters,
        "general.license": facts.licence,
        f"{arch}.context_length": facts.context_length,
        f"{arch}.embedding_length": facts.n_embd,
        f"{arch}.block_count": len(facts.layers) or None,
        "tokenizer.ggml.model": (facts.tokenizer or "").split("/")[0] or None,
        "tokenizer.ggml.pre": (facts.tokenizer or "").partition("/")[2] or None,
    }
    ours = {"expert_bytes", "nextn_bytes", "fim"}
    for key, value in facts.extra.items():
        if key not in ours:
            found[key if key.startswith("general.") else f"{arch}.{key}"] = value
    return {key: value for key, value in found.items() if value is not None}


def _context(house: House, model: Installed, trained: int | None) -> int:
    context = house.recipes.context(model.name) or house.settings.context
    return min(context, trained or context)


def _newest(model: Installed) -> tuple[float, str]:
    return -(model.added_at or 0), model.name.lower()


def _date(model: Installed) -> str:
    return datetime.fromtimestamp(model.added_at or 0, UTC).isoformat()


def _soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=min(seconds, 10**9))


# -- streams of progress --


async def _told(request: Request, data: Mapping[str, Any], lines: AsyncIterator[dict[str, Any]]) -> Response:
    """Progress, a line each; an error is the last of them. Whole: the last line alone, or the error with its status."""
    if reading.flag(data, "stream", True) is False:
        last: dict[str, Any] = {}
        async for line in lines:
            last = line
        return JSONResponse(last)
    lang = language(request.scope)

    async def stream() -> AsyncIterator[bytes]:
        try:
            async for line in lines:
                yield json.dumps(line).encode() + b"\n"
        except DomicileError as error:
            yield json.dumps(ollama.error_of(error_body(lang, error)["error"])).encode() + b"\n"
        except Exception as trouble:  # noqa: BLE001 - the status line has left: the reader gets the number in a line
            yield json.dumps(ollama.error_of(error_body(lang, bug_of(trouble))["error"])).encode() + b"\n"

    return StreamingResponse(stream(), media_type="application/x-ndjson")


async def _pulling(house: House, job: Job, request: Request) -> AsyncIterator[dict[str, Any]]:
    yield {"status": "pulling manifest"}
    # A number for the bar: Ollama shows one bar for each file's digest, and this is one download of all of them.
    layer = f"sha256:{hashlib.sha256(job.model.encode()).hexdigest()}"
    told = -1.0
    async for _, state in house.jobs.follow(job.id):
        job = state
        now = asyncio.get_running_loop().time()
        if state.size_bytes and (state.over or now - told >= _BEAT_S):
            told = now
            yield {
                "status": f"pulling {layer[7:19]}",
                "digest": layer,
                "total": state.size_bytes,
                "completed": min(state.downloaded_bytes, state.size_bytes),
            }
    if job.status != "done":
        raise _failure(job)
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    yield {"status": "success"}


def _failure(job: Job) -> DomicileError:
    error = job.error or {}
    facts = error.get("facts")
    known = of_code(str(error.get("code", "")), **(facts if isinstance(facts, dict) else {}))
    return known or of_code("engine_died", name=job.model, reason="stopped") or DomicileError()


async def _creating(
    house: House, name: str, recipe: Recipe, digest: str | None, request: Request
) -> AsyncIterator[dict[str, Any]]:
    if digest is None:
        base = house.find(recipe.base)
        if base is None:
            job = await house.pull(recipe.base)
            async for line in _pulling(house, job, request):
                if line["status"] != "success":
                    yield line
        yield {"status": "using existing layer"}
    else:
        house.blobs.get(digest)
        yield {"status": "parsing GGUF"}
    for adapter in recipe.adapters:
        house.blobs.get(adapter)
    made = await house.create(name, recipe, digest)
    yield {"status": f"creating new layer sha256:{digest_of(made)}"}
    yield {"status": "writing manifest"}
    yield {"status": "success"}


def _recipe(data: Mapping[str, Any]) -> Recipe:
    """What a request to create says, in fields or in a Modelfile."""
    text = reading.text(data, "modelfile")
    if text:
        return modelfile.parse(text)
    base = reading.text(data, "from")
    files = reading.table(data, "files")
    if not base and not files:
        asking.text_of(data, "from")  # says that it is missing
    licence = data.get("license")
    licences = licence if isinstance(licence, list) else [licence] if licence else []
    options = reading.table(data, "parameters")
    ollama.options_of(options)
    if isinstance(options.get("stop"), str):
        options = {**options, "stop": [options["stop"]]}
    return Recipe(
        base or str(next(iter(files.values()))),
        options,
        reading.text(data, "template"),
        reading.text(data, "system"),
        tuple(ollama.chat_of({"messages": data.get("messages")})[0].messages),
        tuple(str(v) for v in reading.table(data, "adapters").values()),
        "\n".join(str(text) for text in licences),
    )


def _file(data: Mapping[str, Any]) -> str | None:
    """The digest of the file a model is made of; None when it comes from another model."""
    files = reading.table(data, "files")
    models = [v for k, v in files.items() if str(k).lower().endswith(".gguf")] or list(files.values())
    base = reading.text(data, "from")
    if not models and base.startswith("sha256:"):
        return base
    return str(models[0]) if models else None
