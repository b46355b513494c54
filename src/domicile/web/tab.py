"""Models in the browser: which can run there, their files, and the worker that keeps the page when the house is closed.

Files leave as the Hub would give them (`.../resolve/main/<file>`), which is what the engines in the browser expect:
whole or in ranges, never compressed, with a length and an ETag; only those of a model that lives here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from domicile import tab
from domicile.errors import ModelFileMissing
from domicile.web import pages, shelves
from domicile.web.trouble import house_of, lang_of_scope

_KINDS = {".json": "application/json", ".wasm": "application/wasm", ".txt": "text/plain; charset=utf-8"}
_SHELL = ("js/main.js", "js/rooms/tab.js", "js/lib/md-code.js")


async def models(request: Request) -> Response:
    """Models that live here and can run in a browser: with which engine, from which files, or why not.

    `why`: `missing`, `too_large` (for WebAssembly's memory), `no_library` (MLC without its compiled library),
    `no_config`. `native_share`: how fast a browser is, as a share of the house (for GGUF; from, to).
    """
    house = house_of(request)
    found = tab.able(house.library.list(), house.settings)
    return JSONResponse({"models": found, "native_share": list(tab.NATIVE_SHARE)})


async def file(request: Request) -> Response:
    """A file of a model that lives here, whole or in ranges: for the engines in the browser."""
    house, name = house_of(request), request.path_params["file"]
    model = house.library.ready(request.path_params["name"])
    there = tab.parts(model, house.settings)
    part = there.get(name)
    if part is None:
        raise ModelFileMissing(name=model.name, path=name[:200])
    headers = {"Cache-Control": "no-cache", "Content-Encoding": "identity"}
    made = tab.tokenizer_config(there) if name == "tokenizer_config.json" else None
    if made is not None:
        headers["ETag"] = f'"{hashlib.sha256(made).hexdigest()}"'
        return _unless_kept(request, headers) or Response(made, media_type="application/json", headers=headers)
    stat = part.path.stat()
    headers["ETag"] = f'"{part.sha256}"' if part.sha256 else f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    kind = _KINDS.get(part.path.suffix, "application/octet-stream")
    return _unless_kept(request, headers) or FileResponse(part.path, 200, headers, kind, stat_result=stat)
