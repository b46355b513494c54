"""The Ollama that runs beside us: what it has, and what it is asked to do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.web import asking
from domicile.web.jobs import job_shown
from domicile.web.trouble import house_of


async def ollama(request: Request) -> Response:
    """Where the running Ollama is, and which version."""
    server = house_of(request).giving.server
    return JSONResponse({"url": server.url, "version": await server.version()})


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
