"""Models in the browser: which can run there, their files, and the worker that keeps the page when the house is closed.

Files leave as the Hub would give them (`.../resolve/main/<file>`), which is what the engines in the browser expect:
whole or in ranges, never compressed, with a length and an ETag; only those of a model that lives here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from domicile import tab
from domicile.errors import ModelFileMissing
from domicile.web import shelves
from domicile.web.trouble import house_of

_KINDS = {".json": "application/json", ".wasm": "application/wasm", ".txt": "text/plain; charset=utf-8"}
_SHEETS = ("tokens", "base", "components", "shell", "tab")
_ENTRIES = ("js/main.js", "js/rooms/tab/index.js")
_LEFT_TO_NEED = ("uplot-", "axe-core-", "web-llm-", "transformers-", "onnxruntime-web-")
"""Vendored, and not part of what a browser keeps to talk to a GGUF while the house is closed: kept when it is used."""


async def models(request: Request) -> Response:
    """Models that live here and can run in a browser: with which engine, from which files, or why not.

    `why`: `missing`, `too_large` (for WebAssembly's memory), `no_library` (MLC without its compiled library),
    `no_config`. `native_share`: how fast a browser is, as a share of the house (GGUF, one thread; from, to).
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
        raise ModelFileMissing(name=model.name, path=name[:200], reason="not_its_own")
    headers = {"Cache-Control": "no-store"}  # the engine keeps it where a person can see and delete it
    made = tab.tokenizer_config(there) if name == "tokenizer_config.json" else None
    if made is not None:
        headers["ETag"] = f'"{hashlib.sha256(made).hexdigest()}"'
        return _unless_kept(request, headers) or Response(made, media_type="application/json", headers=headers)
    stat = part.path.stat()
    headers["ETag"] = f'"{part.sha256}"' if part.sha256 else f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    kind = _KINDS.get(part.path.suffix, "application/octet-stream")
    return _unless_kept(request, headers) or FileResponse(part.path, 200, headers, kind, stat_result=stat)


async def worker(request: Request) -> Response:
    """The service worker, which keeps the page of this version for when the house is closed.

    It keeps no answer of the API.
    """
    base = f"/static/{shelves.digest()}"
    told = {"version": shelves.digest(), "base": base, "page": SHELL_PAGE, "files": [f"{base}/{n}" for n in shell()]}
    script = shelves.find("js/sw.js")
    assert script is not None
    body = f"self.SHELL = {json.dumps(told)};\n".encode() + script.content
    return Response(body, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


SHELL_PAGE = "/tab?shell"
"""The page that stands for every other while the house is closed: it names no model and nobody."""


def shell() -> list[str]:
    """Every file below `static/` that the page in the browser needs to talk to a GGUF, by its address."""
    found = [name for entry in _ENTRIES for name in shelves.imports(entry)]
    found += [f"css/{name}.css" for name in _SHEETS]
    names = (p.relative_to(shelves.STATIC).as_posix().removesuffix(".gz") for p in shelves.STATIC.rglob("*"))
    for name in sorted(n for n in names if PurePosixPath(n).suffix in shelves.TYPES):
        folder = name.split("/")[1] if name.startswith("vendor/") else ""
        if name.startswith(("js/engines/", "icon")) or (folder and not folder.startswith(_LEFT_TO_NEED)):
            found.append(name)
    return sorted({n for n in found if not n.endswith((".txt", ".lock.json"))})


def _unless_kept(request: Request, headers: dict[str, str]) -> Response | None:
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return None
