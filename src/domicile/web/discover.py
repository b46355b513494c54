"""Our own dialect, the part before a download: this machine, what fits it, how fast, and why.

Numbers leave as they are; reasons leave twice, as a key with its facts and as a sentence in the reader's language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.errors import BadField, MissingField, NotYours
from domicile.refs import ModelRef
from domicile.types import Facts, FitReport, Hardware, Reason
from domicile.web.guard import caller_of
from domicile.web.trouble import house_of, language

# The rooms behind these routes are imported when one of them is asked: the other commands start without them.
if TYPE_CHECKING:
    from domicile.advice import Opinion, Row, Wish
    from domicile.gpus import Candidate, Card

MAX_CONTEXT = 1 << 24


async def machine(request: Request) -> Response:
    """What this machine is, and what is free in it now.

    `?calibrate=true` measures it first, if that was never done; `?calibrate=again` in any case.
    """
    asked = request.query_params.get("calibrate", "")
    caller = caller_of(request)
    if asked and (caller is None or caller.role != "admin"):
        raise NotYours(role="admin")
    found = await house_of(request).adviser.machine(measure=asked in {"1", "true", "yes"}, again=asked == "again")
    return JSONResponse(machine_shown(found, language(request.scope)))


async def machine_load(request: Request) -> Response:
    """What this machine is doing now."""
    from domicile import hardware

    return JSONResponse(asdict(hardware.load()))


async def fit(request: Request) -> Response:
    """Will it fit, how fast, and why.

    `?model=org/repo:Q4_K_M&context=8192&kv=q8_0&slots=1&on=RTX 4090`. `model` may be a variant on the Hub, an installed
    model or a path. `?quick=true` does not ask the engine.
    """
    name, wish = _asked(request)
    quick = request.query_params.get("quick", "") in {"1", "true", "yes"}
    opinion = await house_of(request).adviser.fit(name, wish, ask_engine=not quick)
    return JSONResponse(opinion_shown(opinion, wish, language(request.scope)))


async def cards(request: Request) -> Response:
    """Which graphics cards run a model, those that hold all of it first.

    `?model=...&context=...`.
    """
    name, wish = _asked(request)
    found = await house_of(request).adviser.cards(name, wish)
    lang = language(request.scope)
    return JSONResponse({"model": name, "cards": [candidate_shown(c, lang) for c in found]})


async def table_of_cards(request: Request) -> Response:
    """The table of graphics cards: what each holds, how fast it reads, what it takes and cost at launch.

    A name of it may follow `on=` in every question of fit, with a size of memory where it was sold with several.
    """
    from domicile import gpus

    lang = language(request.scope)
    return JSONResponse({"cards": [card_shown(card, lang) for card in gpus.cards()]})


async def repository(request: Request) -> Response:
    """A repository of the Hub: every variant with its verdict on this machine, one of them recommended.

    `?fresh=60`: what the Hub said in the last 60 seconds will do.
    """
    name, wish = _asked(request)
    fresh = whole(request.query_params, "fresh", 0, 86_400)
    table = await house_of(request).adviser.table(ModelRef.parse(name), wish, fresh_s=fresh)
    lang = language(request.scope)
    return JSONResponse(
        {
            "repository": table.repository.id,
            "commit": table.repository.commit,
            "gated": table.repository.gated,
            "licence": table.repository.licence,
            "author": table.repository.author,
            "task": table.repository.task,
            "downloads": table.repository.downloads,
            "likes": table.repository.likes,
            "updated": table.repository.updated,
            "scan": table.repository.scan.public() if table.repository.scan else None,
            "scan_text": i18n.say(lang, f"scan.{table.repository.scan.verdict}") if table.repository.scan else None,
            "age_s": table.repository.age_s,
            "best": table.best,
            "reason": reason_shown(table.reason, lang),
            "variants": [row_shown(row, lang) for row in table.rows],
            "projector": None
            if table.eyes is None
            else {"file": table.eyes.file, "size_bytes": table.eyes.size_bytes, "need_bytes": table.eyes.need_bytes},
            "fetched": {"bytes": table.fetched_bytes, "requests": table.requests},
        }
    )


def _asked(request: Request) -> tuple[str, Wish]:
    from domicile.advice import Wish
    from domicile.memory import KV_TYPES

    query = request.query_params
    name = query.get("model", "").strip()
    if not name:
        raise MissingField(field="model")
    kv = query.get("kv", "f16").lower()
    if kv not in KV_TYPES:
        raise BadField(field="kv", problem=kv[:40], reason="one_of", allowed=", ".join(KV_TYPES))
    wish = Wish(
        context=whole(query, "context", 0, MAX_CONTEXT) or None,
        kv_type=kv,
        slots=whole(query, "slots", 1, 256),
        on=query.get("on") or None,
    )
    return name, wish


def whole(query: Mapping[str, str], field: str, default: int, most: int) -> int:
    """A number of a query, from 1 to `most`."""
    said = query.get(field)
    if said is None:
        return default
    if not said.isdigit() or len(said) > 9 or not 1 <= int(said) <= most:
        raise BadField(field=field, problem=said[:40], reason="range", low=1, high=most)
    return int(said)


# -- how it is shown --


def reason_shown(reason: Reason, lang: str) -> dict[str, Any]:
    return {"key": reason.key, "facts": dict(reason.facts), "text": sentence(reason, lang)}


def sentence(reason: Reason, lang: str) -> str:
    """The words of a reason, wherever its family keeps them."""
    if "." in reason.key:  # it names its family itself: unknown.ram, probe.refused, why.read
        return i18n.say(lang, reason.key, **reason.facts)
    return i18n.say(lang, f"why.{reason.key}", **reason.facts)


def report_shown(report: FitReport, lang: str) -> dict[str, Any]:
    speed = report.tokens_per_second
    return {
        "weights_bytes": report.weights_bytes,
        "kv_bytes": report.kv_bytes,
        "state_bytes": report.state_bytes,
        "compute_bytes": report.compute_bytes,
        "overhead_bytes": report.overhead_bytes,
        "checkpoint_bytes": report.checkpoint_bytes,
        "projector_bytes": report.projector_bytes,
        "cache_bytes": report.cache_bytes,
        "total_bytes": report.total_bytes,
        "device_bytes": list(report.device_bytes),
        "available_bytes": report.available_bytes,
        "verdict": report.verdict,
        "verdict_text": i18n.say(lang, f"verdict.{report.verdict}"),
        "context": report.context,
        "max_context": report.max_context,
        "gpu_layers": report.gpu_layers,
        "tokens_per_second": {"low": speed.low, "high": speed.high},
        "prefill": speed.prefill,
        "speed_why": sentence(speed.why, lang),
        "why": [sentence(reason, lang) for reason in report.why],
    }


def opinion_shown(opinion: Opinion, wish: Wish, lang: str) -> dict[str, Any]:
    known, engine = opinion.known, opinion.engine
    return {
        "model": known.name,
        "on": wish.on,
        **report_shown(opinion.report, lang),
        "facts": facts_shown(known.facts),
        "engine": None
        if engine is None
        else {
            "asked": True,
            "kv_bytes": engine.kv_bytes,
            "state_bytes": engine.state_bytes,
            "compute_bytes": engine.compute_bytes,
            "trouble": sentence(engine.trouble, lang) if engine.trouble else None,
        },
        "rules_of_thumb": [
            {"rule": r.name, "bytes": r.bytes, "error": r.error, "wrong": sentence(r.wrong, lang)}
            for r in opinion.rules
        ],
        "advice": None if opinion.buy is None else sentence(opinion.buy.reason, lang),
        "last_run": None if opinion.past is None else asdict(opinion.past),
        "fetched": {"bytes": known.fetched_bytes, "requests": known.requests},
    }


def facts_shown(facts: Facts) -> dict[str, Any]:
    """What a file says of itself, without its tensors."""
    from domicile import quality

    return {
        "format": facts.format,
        "architecture": facts.architecture,
        "name": facts.name,
        "parameters": facts.parameters,
        "active_parameters": facts.active_parameters,
        "quantisation": facts.quantisation,
        "bits_per_weight": round(quality.bits(facts.quantisation, facts), 2),
        "quality_loss": quality.loss(facts.quantisation, facts),
        "file_bytes": facts.file_bytes,
        "context_length": facts.context_length,
        "layers": len(facts.layers),
        "experts": facts.n_expert,
        "experts_used": facts.n_expert_used,
        "licence": facts.licence,
        "exact": facts.exact,
    }


def row_shown(row: Row, lang: str) -> dict[str, Any]:
    return {
        "label": row.variant.label,
        "quantisation": row.variant.quantisation,
        "size_bytes": row.variant.size_bytes,
        "files": [f.path for f in row.variant.files],
        "bits_per_weight": round(row.bits, 2),
        "quality_loss": row.loss,
        **report_shown(row.report, lang),
    }


def candidate_shown(candidate: Candidate, lang: str) -> dict[str, Any]:
    card, report = candidate.card, candidate.report
    return {
        "name": card.name,
        "vram_gib": candidate.vram_gib,
        "whole": candidate.whole,
        "verdict": report.verdict,
        "tokens_per_second": {"low": report.tokens_per_second.low, "high": report.tokens_per_second.high},
        "bandwidth_bytes_per_s": card.bandwidth_bytes_per_s,
        "power_w": card.power_w,
        "launch_usd": card.launch_usd,
        "year": card.year,
        "traps": [i18n.say(lang, f"trap.{trap}") for trap in card.traps],
    }


def card_shown(card: Card, lang: str) -> dict[str, Any]:
    return {
        "name": card.name,
        "vendor": card.vendor,
        "architecture": card.architecture,
        "vram_gib": list(card.vram_gib),
        "bandwidth_bytes_per_s": card.bandwidth_bytes_per_s,
        "power_w": card.power_w,
        "launch_usd": card.launch_usd,
        "year": card.year,
        "traps": [i18n.say(lang, f"trap.{trap}") for trap in card.traps],
    }


def machine_shown(found: Hardware, lang: str) -> dict[str, Any]:
    shown = asdict(found)
    shown["unknown"] = _sentences(found.unknown, lang)
    shown["why"] = {field: sentence(reason, lang) for field, reason in found.why.items()}
    for gpu, raw in zip(shown["gpus"], found.gpus, strict=True):
        gpu["why"] = sentence(raw.why, lang) if raw.why else None
    return shown


def _sentences(reasons: Iterable[Reason], lang: str) -> list[str]:
    return [sentence(reason, lang) for reason in reasons]
