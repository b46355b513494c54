"""`/api/huggingface/`: search, describe and pull GGUF models of the Hub, as pages made with htmx ask for them.

JSON, or a fragment of HTML when the request has `HX-Request`. A fragment is made here from escaped text and has no
script: its progress bar is htmx's `sse` extension over `GET /api/stream/progress`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from domicile import i18n, names
from domicile.errors import BadField, MissingField
from domicile.refs import ModelRef
from domicile.types import RemoteFile, Repository
from domicile.web import asking, fragments
from domicile.web.trouble import house_of, language

if TYPE_CHECKING:
    from domicile.sources.hub_search import Found, Page, Query, Sort

QUANTIZATIONS = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
PARAMETER_SIZES = ("1B", "3B", "7B", "13B", "30B", "70B", "180B")
_SORTS = ("downloads", "likes", "updated", "created")
_PAGES = 5
"""Of a search, to fill one answer when a parameter size drops some."""


async def search(request: Request) -> Response:
    """Look for GGUF models on the Hub.

    `?q=&limit=20&sort=downloads|likes|updated|created&quantization=Q4_K_M&parameter_size=7B&min_downloads=100`.
    """
    asked = request.query_params
    query, size = _query(asked), _size(asked.get("parameter_size", ""))
    house = house_of(request)
    found: list[Found] = []
    cursor = asked.get("cursor") or None
    for _ in range(_PAGES):
        page: Page = await house.hub.search(query, cursor)
        found += [one for one in page.results if size is None or _is_of(one, size)]
        cursor = page.cursor
        if cursor is None or size is None or len(found) >= query.limit:
            break
    shown = [_found_shown(one) for one in found]
    if _is_hx(request):
        return HTMLResponse(fragments.results(shown, language(request.scope)))
    return JSONResponse({"models": shown, "count": len(shown), "cursor": cursor})


async def model(request: Request) -> Response:
    """A model of the Hub, with every GGUF file it has: size, quantisation, parameters."""
    ref = ModelRef.parse(request.path_params["model_id"])
    if ref.kind != "hub":
        raise BadField(field="model_id", problem=str(ref)[:100], reason="hub_id")
    repository = await house_of(request).hub.describe(ref)
    shown = _repository_shown(repository, language(request.scope))
    if _is_hx(request):
        return HTMLResponse(fragments.files(shown, language(request.scope)))
    return JSONResponse(shown)


async def quantizations(request: Request) -> Response:
    """The usual levels of quantisation, from the smallest to the most faithful."""
    if _is_hx(request):
        return HTMLResponse(fragments.options(QUANTIZATIONS))
    return JSONResponse({"quantizations": list(QUANTIZATIONS)})


async def parameter_sizes(request: Request) -> Response:
    """The usual sizes of models, in parameters."""
    if _is_hx(request):
        return HTMLResponse(fragments.options(PARAMETER_SIZES))
    return JSONResponse({"parameter_sizes": list(PARAMETER_SIZES)})


async def pull(request: Request) -> Response:
    """Download a GGUF file: `model_id`, `filename`, and `output_dir` within the house's folder or its allowed roots.

    As a form or as JSON. Asking twice joins the same job.
    """
    said = await _form(request)
    model_id, filename = _field(said, "model_id"), _field(said, "filename")
    ref = ModelRef.parse(f"hf.co/{model_id}/{filename}")
    if ref.kind != "hub" or ref.path != filename:
        raise BadField(field="filename", problem=filename[:100], reason="hub_file")
    job = await house_of(request).pull(str(ref), folder=said.get("output_dir") or None)
    stream = f"/api/stream/progress?job_id={job.id}"
    if _is_hx(request):
        return HTMLResponse(fragments.progress(job, stream, filename, language(request.scope)), 202)
    shown = {"job_id": job.id, "status": job.status, "model_id": ref.name, "filename": filename, "stream": stream}
    return JSONResponse(shown, 202)


def _query(asked: Mapping[str, str]) -> Query:
    from domicile.sources.hub_search import Query

    sort = asked.get("sort") or "downloads"
    if sort not in _SORTS:
        raise BadField(field="sort", problem=sort[:40], reason="one_of", allowed=", ".join(_SORTS))
    limit, least = asked.get("limit") or "20", asked.get("min_downloads") or "0"
    if not limit.isdigit() or not 1 <= int(limit[:6]) <= 100:
        raise BadField(field="limit", problem=limit[:40], reason="range", low=1, high=100)
    if not least.isdigit() or len(least) > 15:
        raise BadField(field="min_downloads", problem=least[:40], reason="number")
    size = _size(asked.get("parameter_size", ""))
    return Query(
        text=asked.get("q", ""),
        format="gguf",
        quantisation=asked.get("quantization") or None,
        # The Hub counts, people round: a "7B" has from 6.2 to 8 thousand millions.
        parameters_min=None if size is None else int(size * 0.75),
        parameters_max=None if size is None else int(size * 1.3),
        downloads_min=int(least) or None,
        sort=cast("Sort", sort),
        limit=int(limit),
    )


def _size(said: str) -> int | None:
    """`7B`, `1.5b`, `350M`: parameters."""
    text = said.strip().upper()
    if not text:
        return None
    scale = {"B": 10**9, "M": 10**6}.get(text[-1])
    number = text[:-1]
    if scale is None or not number.replace(".", "", 1).isdigit() or not 0 < float(number) < 10_000:
        raise BadField(field="parameter_size", problem=said[:40], reason="parameters")
    return int(float(number) * scale)


def _is_of(found: Found, size: int) -> bool:
    """Is this a model people call by that size: by its name, else by its own count?"""
    named = names.read(found.id.split("/")[1]).parameters_b
    if named is not None:
        return round(named * 1e9) == size
    return found.parameters is not None and abs(found.parameters - size) <= size * 0.1


def _found_shown(found: Found) -> dict[str, Any]:
    billions = None if found.parameters is None else found.parameters / 1e9
    return {
        "id": found.id,
        "author": found.author,
        "downloads": found.downloads,
        "likes": found.likes,
        "updated": found.updated,
        "created": found.created,
        "gated": found.gated,
        "license": found.licence,
        "parameter_size": _billions(names.read(found.id).parameters_b or billions),
        "quantizations": list(found.quantisations),
        "tags": list(found.tags[:50]),
    }


def _repository_shown(repository: Repository, lang: str) -> dict[str, Any]:
    weights = [f for v in repository.variants if v.format == "gguf" for f in v.files]
    return {
        "id": repository.id,
        "author": repository.author,
        "sha": repository.commit,
        "downloads": repository.downloads,
        "likes": repository.likes,
        "updated": repository.updated,
        "created": repository.created,
        "gated": repository.gated,
        "private": repository.private,
        "license": repository.licence,
        "pipeline_tag": repository.task,
        "tags": list(repository.tags),
        "parameters": repository.parameters,
        "context_length": repository.context,
        "architecture": repository.architecture,
        "security": repository.scan.public() if repository.scan else None,
        "files": [_file_shown(f, repository, lang) for f in weights],
    }


def _file_shown(file: RemoteFile, repository: Repository, lang: str) -> dict[str, Any]:
    hint = names.read(file.path)
    billions = hint.parameters_b or names.read(repository.id).parameters_b
    return {
        "filename": file.path,
        "size": file.size_bytes,
        "size_text": i18n.size(lang, file.size_bytes),
        "quantization": hint.quantisation,
        "parameter_size": _billions(billions),
        "sha256": file.sha256,
    }


def _billions(count: float | None) -> str | None:
    return None if count is None else f"{count:.3g}B" if count >= 1 else f"{count * 1000:.3g}M"


def _is_hx(request: Request) -> bool:
    return request.headers.get("hx-request", "").lower() == "true"


async def _form(request: Request) -> Mapping[str, str]:
    """A form or a JSON object: what curl sends with `-d`, and what a program does."""
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json") or body[:1] == b"{":
        _, data = await asking.json_object(request)
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in data.items() if v is not None}
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=20))
    except ValueError as trouble:
        raise BadField(field="model_id", problem="form", reason="text") from trouble


def _field(said: Mapping[str, str], name: str) -> str:
    value = said.get(name, "").strip()
    if not value:
        raise MissingField(field=name)
    return value
