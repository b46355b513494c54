"""The page: a shell made here (navigation, language, theme, first state), which modules in `static/js/` bring to life.

A room is one row of ROOMS: its address, its module and its words. The shell holds no data of models but the state of
the active one; everything else a room asks of the one API, as any other client would.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from domicile import __version__, i18n
from domicile.errors import RouteNotFound
from domicile.web import shelves
from domicile.web.choices import choice_shown
from domicile.web.page_rooms import ROOMS, Room
from domicile.web.trouble import house_of, language

if TYPE_CHECKING:
    from jinja2 import Environment

OLLAMA_PORT = 11434
THEMES = ("auto", "light", "dark")
LANG_COOKIE, THEME_COOKIE = "domicile_lang", "domicile_theme"
_KEPT_S = 400 * 24 * 3600
"""How long a browser keeps a choice: as long as browsers allow."""
_DIGEST = re.compile(r"[0-9a-f]{12}")
SHARED = ("page.shell.", "page.common.", "page.selector.", "page.custom.", "page.error.", "page.md.")
"""The words that every room has, beside its own (`page.<room>.`)."""


async def front_door(request: Request) -> Response:
    """The page, for a browser. Anybody else gets a sentence that says the house is open.

    On Ollama's port it is Ollama's own.
    """
    if "text/html" in request.headers.get("accept", ""):
        return await room(request)
    if house_of(request).settings.port == OLLAMA_PORT:
        return PlainTextResponse("Ollama is running", headers={"Vary": "Accept"})
    lang = language(request.scope)
    said = i18n.say(lang, "house.front_door", version=__version__, base=str(request.base_url))
    return PlainTextResponse(said, headers={"Vary": "Accept"})


async def room(request: Request) -> Response:
    """A room of the page, as HTML. `?lang=fr` and `?theme=dark` are kept by the browser from then on."""
    found = next(r for r in ROOMS if r.path == request.url.path)
    wished = {"lang": i18n.LANGUAGES, "theme": THEMES}
    chosen = {k: v for k, v in request.query_params.items() if k in wished and v in wished[k]}
    if chosen:
        return _kept(request, chosen)
    lang, theme = lang_of(request), request.cookies.get(THEME_COOKIE, "auto")
    theme = theme if theme in THEMES else "auto"
    page = (
        _environment()
        .get_template("shell.html")
        .render(
            lang=lang,
            theme=theme,
            room=found,
            rooms=ROOMS,
            base=f"/static/{shelves.digest()}",
            modules=shelves.imports("js/main.js") + shelves.imports(found.module),
            version=__version__,
            offline=house_of(request).egress.offline,
            languages=i18n.LANGUAGES,
            themes=THEMES,
            say=lambda key, **facts: i18n.say(lang, key, **facts),
            name_of=lambda name: i18n.say(lang, f"page.room.{name}"),
            state=_state(request, found, lang, theme),
        )
    )
    headers = {"Cache-Control": "no-store", "Vary": "Accept, Accept-Language, Cookie", "Content-Language": lang}
    return HTMLResponse(page, headers=headers)


def lang_of(request: Request) -> str:
    """The language a person chose on the page, else the browser's, else the house's."""
    return i18n.choose(request.cookies.get(LANG_COOKIE), language(request.scope))


async def static(request: Request) -> Response:
    """A file of the page: script, style, font. An address with the digest of this version is kept by the browser."""
    first, _, rest = request.path_params["path"].partition("/")
    dated = bool(_DIGEST.fullmatch(first)) and bool(rest)
    name = rest if dated else request.path_params["path"]
    file = shelves.find(name)
    lasting = dated and first == shelves.digest()
    if file is None and (at := shelves.packed(name)) is not None:
        return _packed(request, at, lasting)
    if file is None:
        raise RouteNotFound(path=request.url.path[:200])
    headers = {
        "ETag": file.etag,
        "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = file.content
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(content, media_type=file.kind, headers=headers)


def _packed(request: Request, path: Path, lasting: bool) -> Response:
    """A file that lies as gzip: as it lies, or unpacked on its way for who cannot read that."""
    stat = path.stat()
    headers = {
        "ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
        "Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    kind = shelves.TYPES[path.with_suffix("").suffix]
    if "gzip" in request.headers.get("accept-encoding", ""):
        return FileResponse(path, 200, {**headers, "Content-Encoding": "gzip"}, kind, stat_result=stat)
    return StreamingResponse(_unpacked(path), media_type=kind, headers=headers)


def _unpacked(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as content:
        while chunk := content.read(2**18):
            yield chunk


def words(lang: str, *prefixes: str) -> dict[str, str]:
    """The words of the page that begin with one of the prefixes: from the same table as every other sentence."""
    return {key: text for key, text in i18n.words(lang).items() if key.startswith(prefixes)}


def _state(request: Request, found: Room, lang: str, theme: str) -> str:
    """What the modules begin with, as JSON that cannot end the element it stands in."""
    house = house_of(request)
    state: dict[str, Any] = {
        "lang": lang,
        "theme": theme,
        "room": found.name,
        "module": found.module,
        "base": f"/static/{shelves.digest()}",
        "version": __version__,
        "offline": house.egress.offline,
        "strategy": house.away.default,
        "active": None
        if "shell" in request.query_params  # what a browser keeps for when the house is closed: it names nobody
        else next((choice_shown(house, m) for m in house.library.list() if m.active), None),
        "words": words(lang, *SHARED, f"page.{found.name}.", *found.needs),
    }
    return json.dumps(state, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _kept(request: Request, chosen: dict[str, str]) -> Response:
    rest = [(k, v) for k, v in request.query_params.multi_items() if k not in {"lang", "theme"}]
    answer = RedirectResponse(request.url.path + (f"?{urlencode(rest)}" if rest else ""), 303)
    for key, value in chosen.items():
        name = LANG_COOKIE if key == "lang" else THEME_COOKIE
        answer.set_cookie(name, value, max_age=_KEPT_S, path="/", samesite="strict")
    return answer


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
