"""Our own dialect, what the house keeps of models beside their files: what they have read, how they are talked to."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.refs import ModelRef
from domicile.web.trouble import house_of


async def cache(request: Request) -> Response:
    """What is kept on disk of conversations, by model: states, bytes, last use, and the limit."""
    return JSONResponse(await asyncio.to_thread(house_of(request).conversations.store.report))


async def clear_cache(request: Request) -> Response:
    """Forget what is kept of conversations; `?model=` of one model only."""
    house = house_of(request)
    asked = request.query_params.get("model")
    name = house.library.get(asked).name if asked else None
    count, freed = await house.conversations.clear(name)
    return JSONResponse({"model": name, "states": count, "freed_bytes": freed})


async def template(request: Request) -> Response:
    """A model's chat template, judged.

    Its text and fingerprint, whether it is used or what takes its place and why, how it renders a question, and who
    has the same. `?base=org/repo` compares it with a repository of the Hub."""
    base = request.query_params.get("base")
    wanted = str(ModelRef.parse(base)) if base else None
    return JSONResponse(await house_of(request).template_of(request.path_params["name"], wanted))
