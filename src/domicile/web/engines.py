"""Our own dialect, the part about engines: which extras there are, installing one, taking one away, what is wrong."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.web.jobs import job_shown
from domicile.web.trouble import house_of, language


async def engines(request: Request) -> Response:
    """Every extra: what runs with it, and whether it is here.

    `state` is `missing`, `installed`, `old` or `broken`; with its size and time before it is installed.
    """
    return JSONResponse({"engines": house_of(request).engines()})


async def add(request: Request) -> Response:
    """Install an extra in an environment of its own, or bring it up to date.

    Answers with the job; asking twice joins it.
    """
    job = await house_of(request).add_engine(request.path_params["name"])
    return JSONResponse(job_shown(job, request), 202)


async def remove(request: Request) -> Response:
    """Take an extra away; its models are put to sleep first."""
    extra, freed = await house_of(request).remove_engine(request.path_params["name"])
    return JSONResponse({"name": extra.name, "was": extra.state, "freed_bytes": freed})


async def doctor(request: Request) -> Response:
    """What is well with an extra and what is not; its libraries are loaded for real."""
    lang = language(request.scope)
    shown = []
    for finding in await house_of(request).examine_engine(request.path_params["name"]):
        key = f"doctor.{finding.key}"
        hint = None if finding.well else i18n.say(lang, f"{key}.hint", **finding.facts)
        said = i18n.say(lang, key, **finding.facts)
        shown.append({"check": finding.key, "well": finding.well, "message": said, "hint": hint})
    return JSONResponse({"checks": shown, "well": all(one["well"] for one in shown)})
