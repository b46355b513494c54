"""Our own dialect, the part that looks for models: the Hub's shelves, our own recommendations, a model's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, get_args

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.config import byte_count
from domicile.errors import BadField, DomicileError
from domicile.refs import ModelRef
from domicile.types import Format
from domicile.web.discover import report_shown, row_shown
from domicile.web.trouble import house_of, language

if TYPE_CHECKING:
    from domicile.advice import Row
    from domicile.catalogue import Need, Recommended
    from domicile.sources.hub_search import Found, Query, Sort

_ELSE = {"speech", "image", "embedding"}
"""Needs of models that do something else than write text, token by token."""
_SCALE = {"k": 10**3, "m": 10**6, "b": 10**9}


async def search(request: Request) -> Response:
    """Look for models on the Hub.

    `?text=&author=&task=&quantisation=&licence=&format=&gated=&parameters_min=7B&parameters_max=14B&size_max=8GB
    &updated_after=2026-01-01&sort=downloads&limit=20&cursor=`. `fits=true` keeps what fits this machine, `speed=N` what
    answers with at least N tokens a second here; each costs one header of 64 KB a repository. `source=civitai` asks
    that site instead, for `type=Checkpoint` or `LORA`.
    """
    from domicile.advice import Wish

    asked = request.query_params
    house = house_of(request)
    if asked.get("source") == "civitai":
        kind = asked.get("type") or "Checkpoint"
        found = await house.sources.civitai.search(asked.get("text") or "", kind, asked.get("cursor") or None)
        return JSONResponse({**found, "source": "civitai"})
    page = await house.hub.search(query_of(asked), asked.get("cursor") or None)
    fits, speed = asked.get("fits", "") in {"1", "true", "yes"}, _number(asked, "speed")
    judged: dict[str, Row | None] = {}
    results = page.results
    if fits or speed is not None:
        judged = await house.adviser.judged([f.id for f in results if "gguf" in f.formats], Wish())
        results = tuple(f for f in results if _suits(judged.get(f.id), speed))
    lang = language(request.scope)
    shown = [_found_shown(found, judged.get(found.id), lang) for found in results]
    return JSONResponse({**page.public(), "results": shown, "unsuited": len(page.results) - len(results)})


def _suits(row: Row | None, speed: float | None) -> bool:
    if row is None or row.report.verdict not in {"fits", "tight", "partly_on_gpu"}:
        return False
    low = row.report.tokens_per_second.low
    return speed is None or (low is not None and low >= speed)


def _found_shown(found: Found, row: Row | None, lang: str) -> dict[str, Any]:
    return {**found.public(), "best": None if row is None else row_shown(row, lang)}


async def recommended(request: Request) -> Response:
    """Models we recommend, by need and by organisation, each with what is to be expected of it here.

    `?need=code&organisation=Qwen`. Needs: quick, balanced, quality, code, reasoning, speech, image, embedding, vision.
    `here` is an estimate from the size alone (memory, verdict, tokens a second, at 8,192 tokens of context): nothing
    is asked of the Hub for it. It is null where a model does not write text, or its size is not known.
    """
    from domicile import catalogue

    need, organisation = request.query_params.get("need"), request.query_params.get("organisation")
    home, lang = house_of(request).settings.home, language(request.scope)
    found = catalogue.recommended(cast("Need | None", need), organisation, home=home)
    return JSONResponse(
        {
            "needs": {name: i18n.say(lang, f"need.{name}") for name in catalogue.NEEDS},
            "organisations": catalogue.organisations(home=home),
            "models": await _expected(request, found),
        }
    )


async def _expected(request: Request, models: Sequence[Recommended]) -> list[dict[str, Any]]:
    from domicile import typical
    from domicile.advice import Wish

    lang = language(request.scope)
    writers = [m for m in models if not _ELSE & set(m.needs)]
    sizes = {m.id: m.size_bytes or (typical.size_of(m.parameters) if m.parameters else None) for m in writers}
    stand_ins = {m.id: typical.facts(size, m.parameters, m.active, m.context) for m in writers if (size := sizes[m.id])}
    reports = await house_of(request).adviser.outlook(stand_ins.values(), Wish())
    here = {name: report_shown(report, lang) for name, report in zip(stand_ins, reports, strict=True)}
    return [{**m.public(lang), "about_bytes": sizes.get(m.id, m.size_bytes), "here": here.get(m.id)} for m in models]


async def browser_models(request: Request) -> Response:
    """web-llm's own list of models for the browser (MLC)."""
    from domicile import catalogue

    return JSONResponse({"models": [dict(record) for record in catalogue.webllm()]})


async def card(request: Request) -> Response:
    """A repository's model card, sanitised: Markdown, HTML and plain text.

    `?model=org/repo`. `?quiet=true`: that there is none is an empty card, not an error.
    """
    ref = ModelRef.parse(request.query_params.get("model", ""))
    try:
        found = await house_of(request).hub.card(ref)
    except DomicileError as trouble:
        if trouble.status != 404 or request.query_params.get("quiet", "") not in {"1", "true", "yes"}:
            raise
        return JSONResponse({"html": "", "text": "", "cut": False, "age_s": 0.0})
    return JSONResponse(found.public())


def query_of(asked: Mapping[str, str]) -> Query:
    """The filters of a search. Raises `BadField` naming the one that cannot be read."""
    from domicile.sources.hub_search import Query

    gated = {"": None, "true": True, "false": False}.get(asked.get("gated", "").lower(), ...)
    if gated is ...:
        raise BadField(field="gated", problem=asked["gated"][:40], reason="flag")
    limit = asked.get("limit", "20")
    return Query(
        text=asked.get("text", ""),
        author=asked.get("author") or None,
        task=asked.get("task") or None,
        quantisation=asked.get("quantisation") or None,
        licence=asked.get("licence") or None,
        parameters_min=_parameters(asked, "parameters_min"),
        parameters_max=_parameters(asked, "parameters_max"),
        size_max=_size(asked, "size_max"),
        updated_after=_date(asked, "updated_after"),
        created_after=_date(asked, "created_after"),
        format=cast("Format | None", _one_of(asked, "format", get_args(Format))),
        gated=gated,
        sort=cast("Sort", asked.get("sort") or "downloads"),
        limit=int(limit) if limit.isdigit() and len(limit) < 5 else 0,
    )


def _one_of(asked: Mapping[str, str], field: str, allowed: tuple[str, ...]) -> str | None:
    said = asked.get(field) or None
    if said is not None and said not in allowed:
        raise BadField(field=field, problem=said[:40], reason="one_of", allowed=", ".join(allowed))
    return said


def _parameters(asked: Mapping[str, str], field: str) -> int | None:
    """`7B`, `1.5b`, `350M`, `7000000000`."""
    said = asked.get(field, "").strip().lower()
    if not said:
        return None
    try:
        scale = _SCALE.get(said[-1], 1)
        return int(float(said.rstrip("kmb")) * scale)
    except (ValueError, OverflowError) as trouble:
        raise BadField(field=field, problem=said[:40], reason="parameters") from trouble


def _size(asked: Mapping[str, str], field: str) -> int | None:
    said = asked.get(field)
    try:
        return byte_count(said) if said else None
    except (ValueError, KeyError) as trouble:
        raise BadField(field=field, problem=str(said)[:40]) from trouble


def _date(asked: Mapping[str, str], field: str) -> float | None:
    said = asked.get(field)
    try:
        return datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp() if said else None
    except ValueError as trouble:
        raise BadField(field=field, problem=str(said)[:40], reason="date") from trouble


def _number(asked: Mapping[str, str], field: str) -> float | None:
    said = asked.get(field)
    try:
        return float(said) if said else None
    except ValueError as trouble:
        raise BadField(field=field, problem=str(said)[:40], reason="number") from trouble
