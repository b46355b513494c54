"""Speech to text, as OpenAI's clients ask for it: `/v1/audio/transcriptions` and `/v1/audio/translations`.

The file is written to disk as it comes and named to the engine, which decodes it in its own process. It never leaves
this machine, whatever strategy the house has: a target is sent words, not voices.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request

from domicile import ears
from domicile.answering import Answer, Ask
from domicile.app import House
from domicile.away import wishing
from domicile.errors import BadField, EngineMissing
from domicile.hearing.languages import code_of
from domicile.hearing.written import FORMATS
from domicile.types import Installed, Ticket
from domicile.web import asking
from domicile.web.relay import Relay
from domicile.web.trouble import house_of
from domicile.web.upload import Form, form

_GRANULARITIES = ("word", "segment")
_PROMPT = 20_000
"""Characters; Whisper reads the last 224 tokens."""


async def transcriptions(request: Request) -> Any:
    """What is said in a file of sound (`multipart/form-data`: `file`, `model`, ...), in its own language.

    Any common format. `response_format`: `json`, `text`, `srt`, `vtt`, `verbose_json`; `stream` sends each segment
    as it is written. `model` may be `whisper-1`: the model here that hears. Ours besides: `hotwords`, `vad_filter`,
    `beam_size`, `fallback`, `seed`.
    """
    return await _hear(request, "/v1/audio/transcriptions")


async def translations(request: Request) -> Any:
    """What is said in a file of sound, in English; as for `/v1/audio/transcriptions`."""
    return await _hear(request, "/v1/audio/translations")


async def spoken(request: Request) -> Any:
    """Text to speech: no engine of this version speaks."""
    raise EngineMissing(engine="speech", name=request.url.path, reason="speech")


async def _hear(request: Request, path: str) -> Relay:
    house, ticket = house_of(request), Ticket()
    came = await form(request, house.settings.sound, house.settings.speech_upload)
    try:
        wish = _wish(came)
        model = _model(house, came)
        said = asking.said_beside(request)
    except BaseException:
        came.drop()
        raise
    body = json.dumps({**wish, "file": str(came.path), "name": came.name}).encode()
    ask = Ask(model.name, path, body, said=said, ticket=ticket)

    @asynccontextmanager
    async def asked() -> AsyncIterator[Answer]:
        with came, wishing("home"):
            async with house.answer(ask) as answer:
                yield answer

    limit_s = max(house.settings.answer_limit, house.settings.speech_time)
    return Relay(asked, house.closing, ticket=ticket, streams=bool(wish["stream"]), limit_s=limit_s)


def _model(house: House, came: Form) -> Installed:
    name = (came.one("model") or "").strip()
    if name.lower() in ears.USUAL and not any(m.name.lower() == name.lower() for m in house.library.list()):
        return ears.usual(house.library.list())
    return ears.check(house.library.ready(name))


# -- what is wished --


def _wish(came: Form) -> dict[str, Any]:
    """The fields, checked. Raises `BadField`."""
    shape = came.one("response_format") or "json"
    if shape not in FORMATS:
        raise BadField(field="response_format", problem=shape[:40], reason="one_of", allowed=", ".join(FORMATS))
    detail = [*came.fields.get("timestamp_granularities[]", []), *came.fields.get("timestamp_granularities", [])]
    unknown = [one for one in detail if one not in _GRANULARITIES]
    if unknown:
        field, allowed = "timestamp_granularities", ", ".join(_GRANULARITIES)
        raise BadField(field=field, problem=unknown[0][:40], reason="one_of", allowed=allowed)
    language = (came.one("language") or "").strip()
    code = code_of(language) if language and language.lower() != "auto" else None
    if language and code is None and language.lower() != "auto":
        raise BadField(field="language", problem=language[:40], reason="language")
    prompt, hotwords = came.one("prompt"), came.one("hotwords")
    for name, text in (("prompt", prompt), ("hotwords", hotwords)):
        if text is not None and len(text) > _PROMPT:
            raise BadField(field=name, problem=str(len(text)), reason="too_many_characters", limit=_PROMPT)
    return {
        "response_format": shape,
        "timestamp_granularities": detail,
        "language": code,
        "prompt": prompt,
        "hotwords": hotwords,
        "temperature": _number(came, "temperature", 0.0, 0.0, 1.0),
        "stream": _flag(came, "stream", default=False),
        "vad_filter": _flag(came, "vad_filter", default=True),
        "fallback": _flag(came, "fallback", default=True),
        "beam_size": int(_number(came, "beam_size", 5, 1, 16)),
        "seed": int(_number(came, "seed", 0, 0, 2**31 - 1)),
    }


def _number(came: Form, name: str, usual: float, low: float, high: float) -> float:
    said = came.one(name)
    if said is None or not said.strip():
        return usual
    try:
        value = float(said)
    except ValueError as trouble:
        raise BadField(field=name, problem=said[:40], reason="number") from trouble
    if not low <= value <= high:
        raise BadField(field=name, problem=said[:40], reason="range", low=low, high=high)
    return value


def _flag(came: Form, name: str, *, default: bool) -> bool:
    said = (came.one(name) or "").strip().lower()
    known: Mapping[str, bool] = {"": default, "true": True, "1": True, "false": False, "0": False}
    if said not in known:
        raise BadField(field=name, problem=said[:40], reason="flag")
    return known[said]
