"""Our own dialect, the part about engines: which extras there are, installing one, taking one away, what is wrong; and
the builds of llama.cpp, under the name of an engine that is always there."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.web.jobs import job_shown
from domicile.web.trouble import house_of, language

LLAMA = "llama"


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
    """Take an extra away; its models are put to sleep first. `llama`: the build of llama.cpp that was compiled here."""
    if request.path_params["name"].lower() == LLAMA:
        was = (await asyncio.to_thread(house_of(request).adviser.chooser.builds.all)).get("native")
        freed = await house_of(request).remove_llama()
        return JSONResponse({"name": LLAMA, "was": "installed" if was else "missing", "freed_bytes": freed})
    extra, freed = await house_of(request).remove_engine(request.path_params["name"])
    return JSONResponse({"name": extra.name, "was": extra.state, "freed_bytes": freed})


async def doctor(request: Request) -> Response:
    """What is well with an extra and what is not; its libraries are loaded for real."""
    lang = language(request.scope)
    shown = []
    name = request.path_params["name"]
    house = house_of(request)
    found = await (house.examine_llama() if name.lower() == LLAMA else house.examine_engine(name))
    for finding in found:
        key = f"doctor.{finding.key}"
        hint = None if finding.well else i18n.say(lang, f"{key}.hint", **finding.facts)
        said = i18n.say(lang, key, **finding.facts)
        shown.append({"check": finding.key, "well": finding.well, "message": said, "hint": hint})
    return JSONResponse({"checks": shown, "well": all(one["well"] for one in shown)})


async def llama(request: Request) -> Response:
    """The builds of llama.cpp that are here: the wheel, one compiled here (`native`), a `llama-server` found or named.

    `same` is whether it answered as the wheel does, `pace` the tokens a second it read and wrote in the last trial, for
    weights in whole bytes (`legacy`) and in K and IQ types (`k`); `wakes` names those it is used for, and `chosen` says
    why. `costs` is what compiling one takes. `cards` are graphics cards that the wheel does not use, with the
    command that installs one which does.
    """
    lang = language(request.scope)
    told = await house_of(request).llama()
    chosen = {
        family: {
            "build": one.build.kind if one.build else None,
            "by": one.by,
            "why": i18n.say(lang, one.why.key, **one.why.facts),
        }
        for family, one in told.pop("chosen").items()
    }
    return JSONResponse({**told, "chosen": chosen})


async def build(request: Request) -> Response:
    """Compile llama.cpp for this processor, compare its answers with the wheel's, time both, keep the faster.

    Answers with the job; asking twice joins it.
    """
    return JSONResponse(job_shown(await house_of(request).build_llama("build"), request), 202)


async def compare(request: Request) -> Response:
    """Hold the builds of llama.cpp that are here against one another: the same answers, and how fast. A job."""
    return JSONResponse(job_shown(await house_of(request).build_llama("try"), request), 202)
