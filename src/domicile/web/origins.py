"""Our own dialect, the part about where models come from: what changed there, and which places may be asked."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.errors import BadField
from domicile.web import asking
from domicile.web.jobs import job_shown
from domicile.web.trouble import error_body, house_of, language


async def updates(request: Request) -> Response:
    """Which models changed where they came from: `?model=NAME` for one.

    `state`: current, changed, pinned (a commit or a digest was asked for), gone, unknown, local.
    """
    lang = language(request.scope)
    shown = []
    for update in await house_of(request).updates.check(request.query_params.get("model")):
        error = error_body(lang, update.error)["error"] if update.error else None
        text = i18n.say(lang, f"update.{update.state}")
        shown.append({**update.public(), "message": error["summary"] if error else text})
    return JSONResponse({"models": shown, "changed": sum(1 for one in shown if one["state"] == "changed")})


async def update(request: Request) -> Response:
    """Download what changed of a model. Answers with the job."""
    job = await house_of(request).update(request.path_params["name"])
    return JSONResponse(job_shown(job, request), 202)


async def places(request: Request) -> Response:
    """The `host:port` of this machine or of private networks that addresses may lead to."""
    return JSONResponse({"places": house_of(request).places.list()})


async def add_place(request: Request) -> Response:
    """Allow a place: `{"place": "nas.local:8080", "confirmed": true}`. A page must have asked its reader."""
    _, data = await asking.json_object(request)
    place = asking.text_of(data, "place") or ""
    if not asking.flag_of(data, "confirmed"):
        raise BadField(field="confirmed", problem=place[:100], reason="place_confirm")
    return JSONResponse({"place": house_of(request).places.add(place)}, 201)


async def remove_place(request: Request) -> Response:
    """Allow a place no longer."""
    return JSONResponse({"place": house_of(request).places.remove(request.path_params["place"])})
