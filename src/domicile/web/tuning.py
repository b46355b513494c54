"""Our own dialect, one model's settings and its trial: what was chosen and why, what a person sets, how it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.app import House
from domicile.errors import of_code
from domicile.types import Installed, Reason, Terms
from domicile.web import asking
from domicile.web.discover import report_shown
from domicile.web.trouble import house_of, language


async def settings(request: Request) -> Response:
    """The settings a model is woken with here and now: each with its value, who chose it, and why."""
    model = house_of(request).library.ready(request.path_params["name"])
    return JSONResponse(await _shown(request, model))


async def change_settings(request: Request) -> Response:
    """Set them for this model: `{"context": 16384, "kv": "q8_0"}`; null gives one back to the house.

    They hold from the next waking on: a model that nobody uses is put to sleep for it.
    """
    _, data = await asking.json_object(request)
    model = await house_of(request).set_up(request.path_params["name"], data)
    return JSONResponse(await _shown(request, model))


async def selftest(request: Request) -> Response:
    """Try a model: does its template render, do eight tokens come, does it stop by itself, how fast is it."""
    house, lang = house_of(request), language(request.scope)
    model = house.library.ready(request.path_params["name"])
    return JSONResponse({"name": model.name, **result_shown(await house.selftest(model.name), lang)})


async def _shown(request: Request, model: Installed) -> dict[str, Any]:
    from domicile.waking import settings_shown

    house, lang = house_of(request), language(request.scope)
    tuning, _, _ = await house.waker.tuning(model, Terms())
    awake = next((p for p in house.runner.ps() if p.name == model.name), None)
    return {
        "name": model.name,
        "settings": settings_shown(tuning, lambda reason: choice_text(reason, lang)),
        "own": house.waker.own(model.name),
        "brought": await _brought(house, model, lang),
        "report": report_shown(tuning.report, lang),
        "awake_with": None if awake is None else {"context": awake.context, "slots": awake.slots},
    }


async def _brought(house: House, model: Installed, lang: str) -> list[dict[str, Any]]:
    """What comes with a model, from its Modelfile or from Ollama, and holds where a question says nothing else."""
    from domicile.recipes import brought
    from domicile.templates import told_of_template

    recipe = house.recipes.of(model.name)
    if recipe is None:
        return []
    found = [
        {"name": name, "value": value, "by": "model", "why": choice_text(why, lang)}
        for name, value, why in brought(recipe)
    ]
    if recipe.template:
        template = await house.templates.of(model)
        told = " ".join(told_of_template(lang, template.public()))
        found.append({"name": "template", "value": template.used, "by": "model", "why": told})
    return found


def choice_text(reason: Reason, lang: str) -> str:
    """A reason of a setting, or what must be said of how a model was woken."""
    facts = dict(reason.facts)
    if "died" in facts:
        facts["died"] = i18n.say(lang, f"death.{facts['died']}")
    return i18n.say(lang, reason.key, **facts)


def result_shown(result: Mapping[str, Any], lang: str) -> dict[str, Any]:
    """A trial, each of its checks with a sentence."""
    checks = []
    for check in result.get("checks", ()):
        error = of_code(check["key"].removeprefix("error."), **check["facts"])
        text = i18n.error_text(lang, error)[0] if error else i18n.say(lang, check["key"], **check["facts"])
        checks.append({**check, "text": text})
    return {**result, "checks": checks}
