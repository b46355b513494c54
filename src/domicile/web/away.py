"""Targets and the ledger, under `/domicile/`: who else may answer, and what has left this machine."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.away import FALLBACK_ON
from domicile.config import STRATEGIES, seconds
from domicile.errors import BadField, MissingField
from domicile.ledger import KEPT
from domicile.targets import PRESETS
from domicile.web import asking
from domicile.web.trouble import house_of


async def targets(request: Request) -> Response:
    """Who else may answer, in order, each with its consent and how it did; never a key. And the default strategy."""
    away = house_of(request).away
    return JSONResponse(
        {
            "strategy": away.default,
            "strategies": list(STRATEGIES),
            "fallback_on": dict(FALLBACK_ON),
            "presets": sorted(PRESETS),
            "targets": [away.public(t) for t in away.targets.list()],
        }
    )


async def target(request: Request) -> Response:
    """One target."""
    away = house_of(request).away
    return JSONResponse(away.public(away.targets.get(request.path_params["name"])))


async def add_target(request: Request) -> Response:
    """Enter a target: `{"name": "nas", "url": "http://nas:8000/v1", "key": "...", "models": {"ours": "theirs"}}`.

    Nothing is sent anywhere before the consent, which is a request of its own. The name `ollama` or `huggingface` needs
    no address. The same name and address again change the rest.
    """
    _, data = await asking.json_object(request)
    models = data.get("models")
    if models is not None and not isinstance(models, dict):
        raise BadField(field="models", problem=repr(models)[:80], reason="target_models")
    away = house_of(request).away
    added = away.targets.add(
        asking.text_of(data, "name") or "",
        asking.text_of(data, "url", required=False),
        key=asking.text_of(data, "key", required=False),
        timeout_s=_seconds(data.get("timeout")),
        models=models,
    )
    return JSONResponse(away.public(added), 201)


async def remove_target(request: Request) -> Response:
    """Forget a target, its consent and its key."""
    away = house_of(request).away
    return JSONResponse(away.public(away.targets.remove(request.path_params["name"])))


async def consent(request: Request) -> Response:
    """The person's consent that conversations go to this target: `{"consent": true}`; false withdraws it.

    Its name is looked up now, and the consent holds for where it was found: this machine, the person's network, or the
    internet.
    """
    _, data = await asking.json_object(request)
    if data.get("consent") is None:
        raise MissingField(field="consent")
    away, name = house_of(request).away, request.path_params["name"]
    given = asking.flag_of(data, "consent")
    return JSONResponse(away.public(await away.consent(name) if given else away.targets.withdraw(name)))


async def test_target(request: Request) -> Response:
    """Ask a target which models it has, and how long that takes. It must have the consent."""
    away = house_of(request).away
    found, took, models = await away.test(request.path_params["name"])
    return JSONResponse({**away.public(found), "latency_s": took, "there": models})


async def order_targets(request: Request) -> Response:
    """Put targets first, in this order: `{"names": ["nas", "ollama"]}`. The others follow as they were."""
    _, data = await asking.json_object(request)
    names = data.get("names")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise BadField(field="names", problem=repr(names)[:80], reason="target_names")
    away = house_of(request).away
    return JSONResponse({"targets": [away.public(t) for t in away.targets.order(names)]})


async def outgoing(request: Request) -> Response:
    """What has left this machine, newest first: when, where to, why, how many bytes, for which model or job.

    `?since=` takes seconds since 1970, a date (`2026-11-20`), or how long ago (`2h`, `7d`); `?limit=` how many.
    """
    asked = request.query_params
    since = moment(asked.get("since", ""))
    limit = int(asked["limit"]) if asked.get("limit", "").isdigit() and len(asked["limit"]) < 7 else 200
    egress = house_of(request).egress
    found = egress.ledger.exchanges(since, limit)
    return JSONResponse(
        {
            "offline": egress.offline,
            "since": since,
            "kept": KEPT,
            "totals": egress.ledger.totals(since),
            "exchanges": [e.public() for e in found],
        }
    )


def moment(said: str) -> float:
    """A point in time, in seconds since 1970: as such, as a date in local time, or as a duration before now."""
    text = said.strip()
    if not text:
        return 0.0
    if text.replace(".", "", 1).isdigit() and len(text) >= 9:
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return max(0.0, time.time() - seconds(text))
    except ValueError as trouble:
        raise BadField(field="since", problem=said[:40], reason="moment") from trouble


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return seconds(value)
    except (ValueError, TypeError) as trouble:
        raise BadField(field="timeout", problem=repr(value)[:80], reason="duration") from trouble
