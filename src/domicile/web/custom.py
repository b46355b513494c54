"""Our own dialect, the part for models that a person defines: list, add, remove, take in, give out, share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile import i18n
from domicile.errors import BadField
from domicile.web import asking
from domicile.web.trouble import error_body, house_of, language

if TYPE_CHECKING:
    from domicile.custom import Custom
    from domicile.custom_probe import Probed


async def customs(request: Request) -> Response:
    """Every custom model."""
    return JSONResponse({"models": [c.public() for c in house_of(request).customs.list()]})


async def add(request: Request) -> Response:
    """Add a custom model: `{"id", "name", "url", "size"?, "description"?, "kind"?, "model_lib"?}`.

    Its address is looked at first; `"unchecked": true` takes it as it is. Kinds: gguf, safetensors, onnx, mlc, remote.
    """
    _, data = await asking.json_object(request)
    custom, probed = await house_of(request).customs.add(data, unchecked=asking.flag_of(data, "unchecked"))
    return JSONResponse(_shown(custom, probed, language(request.scope)), 201)


async def check(request: Request) -> Response:
    """Look at what a form says and at its address; nothing is added."""
    _, data = await asking.json_object(request)
    custom, probed = await house_of(request).customs.check(data)
    return JSONResponse(_shown(custom, probed, language(request.scope)))


async def check_again(request: Request) -> Response:
    """Look again at the address of a custom model, and keep the MLC library that was found where it had none."""
    custom, probed = await house_of(request).customs.look_again(request.path_params["id"])
    return JSONResponse(_shown(custom, probed, language(request.scope)))


async def remove(request: Request) -> Response:
    """Forget a custom model. Only those: what the catalogue lists or what was downloaded has doors of its own."""
    return JSONResponse({"removed": house_of(request).customs.remove(request.path_params["id"]).public()})


async def export(request: Request) -> Response:
    """Every custom model as a file to keep.

    `?shape=customModels` gives the list that a browser keeps in its localStorage under that key.
    """
    from domicile.custom import exported

    found = house_of(request).customs.list()
    shape = request.query_params.get("shape", "domicile")
    if shape not in {"domicile", "customModels"}:
        raise BadField(field="shape", problem=shape[:40], reason="one_of", allowed="domicile, customModels")
    said: Any = exported(found) if shape == "domicile" else [c.kept_by_a_browser() for c in found]
    name = "domicile-custom-models.json" if shape == "domicile" else "customModels.json"
    return JSONResponse(said, headers={"Content-Disposition": f'attachment; filename="{name}"'})


async def take_in(request: Request) -> Response:
    """Add every model of a file: `{"models": [...]}`, `{"customModels": ...}` as a browser keeps it, or a whole export.

    What cannot be read, or whose id is taken, is left out and named.
    """
    _, data = await asking.json_object(request)
    came = house_of(request).customs.take_in(data)
    lang = language(request.scope)
    left = [{"id": name, "message": error_body(lang, error)["error"]["summary"]} for name, error in came.left_out]
    return JSONResponse({"added": [c.public() for c in came.added], "left_out": left})


async def share(request: Request) -> Response:
    """A link that carries a custom model in its fragment: who opens it is asked whether to add it."""
    from domicile.custom import link

    custom = house_of(request).customs.get(request.path_params["id"])
    return JSONResponse({"id": custom.id, "link": link(custom, _base(request))})


async def read_link(request: Request) -> Response:
    """What a shared link proposes: `{"link": "..."}`. Nothing is added."""
    from domicile.custom import of_link

    _, data = await asking.json_object(request)
    custom = of_link(asking.text_of(data, "link") or "")
    known = house_of(request).customs.find(custom.id)
    return JSONResponse({"proposed": custom.public(), "taken": known is not None})


def _base(request: Request) -> str:
    """Where a page of the house is: at the address it was asked at, or where it usually is when it was asked within
    a command."""
    if "." in request.url.netloc or ":" in request.url.netloc:
        return str(request.base_url)
    settings = house_of(request).settings
    return f"http://{settings.host}:{settings.port}"


def _shown(custom: Custom, probed: Probed | None, lang: str) -> Mapping[str, Any]:
    checks = () if probed is None else probed.checks
    return {
        **custom.public(),
        "size_bytes": probed.size_bytes if probed else None,
        "checks": [
            {"check": c.key, "well": c.well, "message": i18n.say(lang, f"custom.{c.key}", **c.facts)} for c in checks
        ],
    }
