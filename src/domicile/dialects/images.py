"""OpenAI's images: what a request says, and the shapes of its answers and events.

Fields of OpenAI's: `prompt`, `model`, `n`, `size`, `response_format`, `stream`, `partial_images`; `quality`, `style`,
`background`, `moderation` and `user` are accepted and change nothing here. Beside them, by the names local tools use:
`negative_prompt`, `steps`, `guidance` (or `guidance_scale`, `cfg_scale`), `seed`, `sampler` (or `scheduler`,
`sampler_name`), `strength`, `loras`. Knows no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from domicile.errors import BadField, MissingField

_SIZE = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")
_OTHER_NAMES = {
    "negative_prompt": ("negative",),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale", "cfg_scale"),
    "sampler": ("scheduler", "sampler_name"),
    "strength": ("denoising_strength",),
}


def fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says, by the names of `studio.Wanted`; numbers may be texts, as forms have them. Raises
    `MissingField`, `BadField`."""
    prompt = data.get("prompt")
    if prompt is None:
        raise MissingField(field="prompt")
    if not isinstance(prompt, str):
        raise BadField(field="prompt", problem=str(prompt)[:80], reason="text")
    width, height = _size(data)
    said: dict[str, Any] = {
        "prompt": prompt,
        "model": _text(data, "model"),
        "negative": _text(data, "negative_prompt") or "",
        "width": width,
        "height": height,
        "steps": _whole(data, "steps"),
        "guidance": _number(data, "guidance"),
        "seed": _seed(data),
        "n": _whole(data, "n") or 1,
        "sampler": _text(data, "sampler") or "default",
        "strength": _number(data, "strength"),
        "loras": _loras(data.get("loras")),
        "partials": _whole(data, "partial_images") or 0,
    }
    if _whole(data, "n") == 0:
        raise BadField(field="n", problem="0", reason="between", least=1, most=16)
    return said


def wishes_url(data: Mapping[str, Any]) -> bool:
    """Does it want an address instead of the bytes? Raises `BadField` for what is neither."""
    form = data.get("response_format") or "b64_json"
    if form not in {"b64_json", "url"}:
        raise BadField(field="response_format", problem=str(form)[:60], reason="one_of", allowed="b64_json, url")
    kind = data.get("output_format") or "png"
    if kind != "png":
        raise BadField(field="output_format", problem=str(kind)[:60], reason="one_of", allowed="png")
    return bool(form == "url")


def answer(created: int, data: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """The answer of a request that is not streamed."""
    return {"created": created, "data": data, "output_format": "png", "model": model}


def event(kind: str, created: int, event: Mapping[str, Any], b64: str, verb: str = "generation") -> dict[str, Any]:
    """An event of a stream: `partial_image` or `completed`."""
    said = {
        "type": f"image_{verb}.{kind}",
        "b64_json": b64,
        "created_at": created,
        "size": f"{event.get('width')}x{event.get('height')}",
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
    }
    if kind == "partial_image":
        return {**said, "partial_image_index": event["partial"]}
    return {**said, "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, "seed": event.get("seed")}


def _said(data: Mapping[str, Any], name: str) -> Any:
    for one in (name, *_OTHER_NAMES.get(name, ())):
        value = data.get(one)
        if value is not None and value != "":
            return value
    return None


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = _said(data, name)
    if value is not None and not isinstance(value, str):
        raise BadField(field=name, problem=str(value)[:80], reason="text")
    return value


def _whole(data: Mapping[str, Any], name: str) -> int | None:
    value = _number(data, name)
    if value is not None and value != int(value):
        raise BadField(field=name, problem=str(value)[:40], reason="number")
    return None if value is None else int(value)


def _seed(data: Mapping[str, Any]) -> int | None:
    """A whole number; -1 is any, as A1111 has it."""
    value = data.get("seed")
    if value is None or value in {"", -1, "-1"}:
        return None
    try:
        if isinstance(value, (bool, float)):
            raise ValueError(value)
        return int(value)
    except (TypeError, ValueError) as trouble:
        raise BadField(field="seed", problem=str(value)[:40], reason="number") from trouble


def _number(data: Mapping[str, Any], name: str) -> float | None:
    value = _said(data, name)
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError(value)
        found = float(value)
        if found != found or abs(found) > 1e15:
            raise ValueError(value)
    except (TypeError, ValueError, OverflowError) as trouble:
        raise BadField(field=name, problem=str(value)[:40], reason="number") from trouble
    return found


def _size(data: Mapping[str, Any]) -> tuple[int | None, int | None]:
    size = data.get("size")
    if size is None or size in {"", "auto"}:
        return _whole(data, "width"), _whole(data, "height")
    found = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if found is None:
        raise BadField(field="size", problem=str(size)[:40], reason="one_of", allowed="auto, 512x512, 768x1024 ...")
    return int(found[1]), int(found[2])


def _loras(value: object) -> tuple[tuple[str, float], ...]:
    """`[{"name": ..., "scale": 0.8}]`, or names alone."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list):
        raise BadField(field="loras", problem=str(value)[:60], reason="list")
    found = []
    for one in value:
        name = one.get("name") if isinstance(one, dict) else one
        scale = one.get("scale", 1.0) if isinstance(one, dict) else 1.0
        if not isinstance(name, str) or not name or isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise BadField(field="loras", problem=str(one)[:60], reason="object")
        found.append((name, float(scale)))
    return tuple(found)
