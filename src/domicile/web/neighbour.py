"""The Ollama that runs beside us: what it has, and what it is asked to do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.errors import DomicileError
from domicile.web import asking
from domicile.web.jobs import job_shown
from domicile.web.trouble import error_body, house_of, language


async def ollama(request: Request) -> Response:
    """Where the running Ollama is, and which version.

    `?quiet=true`: that none runs is an answer (`trouble`), not an error.
    """
    server = house_of(request).giving.server
    quiet = request.query_params.get("quiet", "").lower() in {"1", "true", "yes"}
    try:
        version = await server.version()
    except DomicileError as trouble:
        if not quiet:
            raise
        said = error_body(language(request.scope), trouble)["error"]
        told = {"code": said["code"], "message": said["summary"], "hint": said["hint"]}
        return JSONResponse({"url": server.url, "version": None, "trouble": told})
    return JSONResponse({"url": server.url, "version": version})


async def ollama_models(request: Request) -> Response:
    """The models that the running Ollama has."""
    return JSONResponse({"models": await house_of(request).giving.server.models()})


async def ollama_model(request: Request) -> Response:
    """One model of the running Ollama, as its own `show` says it."""
    return JSONResponse(await house_of(request).giving.server.show(_name(request)))


async def ollama_delete(request: Request) -> Response:
    """Remove a model from the running Ollama."""
    name = _name(request)
    await house_of(request).giving.server.delete(name)
    return JSONResponse({"removed": name})


async def ollama_pull(request: Request) -> Response:
    """Have the running Ollama download a model: `{"model": "llama3.2:3b"}`. Answers with the job."""

    _, data = await asking.json_object(request)
    return JSONResponse(
        job_shown(await house_of(request).ollama_pull(asking.text_of(data, "model") or ""), request), 202
    )


def _name(request: Request) -> str:
    from domicile.giving import check_name

    name: str = request.path_params["name"]
    check_name(name)
    return name
