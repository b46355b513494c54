"""The house's own settings over HTTP: all of SETTINGS, with where each value comes from; and the changing of them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n, settings_file
from domicile.app import House
from domicile.web import asking
from domicile.web.trouble import house_of, language


async def settings(request: Request) -> Response:
    """Every setting with its value, never a secret's.

    `where` it comes from: environment, file, given (on the command line), default. `editable`: may it be changed here;
    `waits`: the file says something else for the next opening.
    """
    return JSONResponse(_shown(request))


async def change(request: Request) -> Response:
    """Write settings to `config.toml`: `{"keep_alive": "10m", "context": 16384, "webhook": null}`; null is the default.

    One that the environment gives is refused. `offline`, `strategy`, `torch_index` and `torch_build` hold at once, the
    others from the next opening: `waits` says so of each.
    """
    _, data = await asking.json_object(request)
    house = house_of(request)
    coming = settings_file.change(house.settings.home, data)
    if "offline" in coming:
        house.egress.turn(offline=coming["offline"])
    if "strategy" in coming:
        house.away.default = coming["strategy"]
    if "torch_index" in coming:
        house.extras.torch_index = coming["torch_index"]
    if "torch_build" in coming:
        house.extras.torch_build = coming["torch_build"]
    return JSONResponse(_shown(request))


def _shown(request: Request) -> dict[str, Any]:
    house, lang = house_of(request), language(request.scope)
    return {
        "home": str(house.settings.home),
        "file": str(house.settings.home / "config.toml"),
        "settings": [
            {**one.public(), **_live(house, one.name), "text": i18n.say(lang, f"setting.{one.name}")}
            for one in settings_file.seen(house.settings)
        ],
    }


def _live(house: House, name: str) -> dict[str, Any]:
    """What holds now of those that change while the house is open."""
    if name == "offline":
        return {"value": house.egress.offline, "waits": False}
    if name == "strategy":
        return {"value": house.away.default, "waits": False}
    if name in {"torch_index", "torch_build"}:
        return {"value": getattr(house.extras, name), "waits": False}
    return {}
