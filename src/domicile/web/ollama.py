"""Ollama's dialect, where models talk: `/api/generate`, `/api/chat`, `/api/embed`, `/api/embeddings`.

A question without words wakes a model or puts it to sleep, as there. The rest of that API is `ollama_models`.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.answering import Ask
from domicile.app import House
from domicile.config import seconds
from domicile.dialects import chat as reading
from domicile.dialects import ollama, vectors
from domicile.dialects.chat import PATH, Chat, bad
from domicile.errors import MissingField, ModelCannot, StillBusy
from domicile.types import Installed
from domicile.web import asking
from domicile.web.capabilities import capabilities
from domicile.web.embedding import embed as embedded
from domicile.web.trouble import house_of
from domicile.web.turned import Turned, turned


async def chat(request: Request) -> Any:
    """Ollama: answer a conversation, as lines of JSON unless `"stream": false`."""
    house, data, name = await _named(request)
    streams = reading.flag(data, "stream", True) is not False
    voice = ollama.OllamaVoice(model_said(data), streams=streams)
    conversation, asked = ollama.chat_of(data)
    if not conversation.messages:
        return await _stir(house, house.library.ready(name), data, voice)
    await _check_means(house, name, conversation)
    body = conversation.data(name)
    asking.check_chat(body)
    return _answer(request, Ask(name, PATH, _bytes(body), _keep_alive(data), _said(asked, data)), voice, asked)


async def generate(request: Request) -> Any:
    """Ollama: answer a prompt, as lines of JSON unless `"stream": false`."""
    house, data, name = await _named(request)
    streams = reading.flag(data, "stream", True) is not False
    path, history = PATH, None
    if data.get("suffix"):
        path = "/infill"
        body, asked = ollama.infill_of(data)
    elif reading.flag(data, "raw"):
        path = "/v1/completions"
        body, asked = ollama.raw_of(data)
        asking.check_sampling(body)
    else:
        conversation, asked = ollama.generate_of(data)
        history, body = conversation.messages, conversation.data(name)
        await _check_means(house, name, conversation)
    voice = ollama.OllamaVoice(model_said(data), streams=streams, generate=True, history=history)
    if not reading.text(data, "prompt") and not data.get("images") and path != "/infill":
        return await _stir(house, house.library.ready(name), data, voice)
    if history is not None:
        asking.check_chat(body)
    return _answer(request, Ask(name, path, _bytes(body), _keep_alive(data), _said(asked, data)), voice, asked)


async def embed(request: Request) -> Response:
    """Ollama: texts as vectors of length one."""
    began = time.perf_counter()
    house, data, model = await _asked(request)
    said = data.get("input", data.get("prompt"))
    texts = [said] if isinstance(said, str) else said
    if texts is None:
        raise MissingField(field="input")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise bad("input", said, "input")
    if not any(texts):
        async with house.session(model.name, _keep_alive(data)):
            return JSONResponse({"model": model_said(data), "embeddings": []})
    trim = reading.flag(data, "truncate", True) is True
    found = await embedded(house, model, texts, vectors.dimensions(data), _keep_alive(data), trim=trim)
    return JSONResponse(
        {
            "model": model_said(data),
            "embeddings": found.vectors,
            "total_duration": round((time.perf_counter() - began) * 1e9),
            "load_duration": 0,
            "prompt_eval_count": found.tokens,
        },
        headers=found.headers,
    )


async def embeddings(request: Request) -> Response:
    """Ollama: one text as a vector, as it was asked before `/api/embed`."""
    house, data, model = await _asked(request)
    prompt = reading.text(data, "prompt")
    if not prompt:
        async with house.session(model.name, _keep_alive(data)):
            return JSONResponse({"embedding": []})
    found = await embedded(house, model, [prompt], None, _keep_alive(data), trim=True)
    return JSONResponse({"embedding": found.vectors[0]}, headers=found.headers)


def model_said(data: Mapping[str, Any]) -> str:
    """The name as the client wrote it, which answers repeat (`name` is what older clients call it)."""
    found = asking.text_of(data, "model", required="name" not in data)
    return found or asking.text_of(data, "name") or ""


async def _named(request: Request) -> tuple[House, dict[str, Any], str]:
    """As `_asked`, for who may be answered elsewhere by a model that does not live here."""
    _, data = await asking.json_object(request)
    house = house_of(request)
    return house, data, house.called(model_said(data))


async def _asked(request: Request) -> tuple[House, dict[str, Any], Installed]:
    _, data = await asking.json_object(request)
    house = house_of(request)
    return house, data, house.library.ready(model_said(data))


async def _stir(house: House, model: Installed, data: Mapping[str, Any], voice: ollama.OllamaVoice) -> Response:
    """Wake a model, or put it to sleep (`keep_alive` 0)."""
    keep_alive = _keep_alive(data)
    if keep_alive == 0:
        weights = house.recipes.weights(model)
        try:
            await house.runner.sleep(weights.name)
        except StillBusy:
            with contextlib.suppress(StillBusy):
                async with house.session(model.name, 0):  # it sleeps when the last answer is given
                    pass
        return JSONResponse(voice.only("unload"))
    async with house.session(model.name, keep_alive):
        return JSONResponse(voice.only("load"))


async def _check_means(house: House, name: str, asked: Chat) -> None:
    """Ollama's clients rely on being told when a model has no place for tools or for thoughts."""
    wanted = [("tools", bool(asked.tools)), ("thinking", asked.thinking not in (None, False))]
    model = house.find(name)
    if model is not None and any(want for _, want in wanted):
        can = await capabilities(house, model)
        for what, want in wanted:
            if want and what not in can:
                raise ModelCannot(name=model.name, problem=what, reason=what)


def _answer(request: Request, ask: Ask, voice: ollama.OllamaVoice, asked: ollama.Asked) -> Turned:
    notes = {"Options-Ignored": ", ".join(asked.ignored)} if asked.ignored else None
    return turned(request, ask, voice, notes)


def _keep_alive(data: Mapping[str, Any]) -> float | None:
    """Seconds; infinite for ever. A number alone is seconds, a text has a unit (`"5m"`), negative is for ever."""
    value = data.get("keep_alive")
    if value is None or value == "":
        return None
    try:
        found = seconds(value)
    except (ValueError, TypeError) as trouble:
        raise bad("keep_alive", value, "duration") from trouble
    return math.inf if found > 1e9 else found


def _said(asked: ollama.Asked, data: Mapping[str, Any]) -> dict[str, str]:
    """What goes with the question beside its body: the context it wants, and whether it may be trimmed."""
    said = {"num_ctx": str(asked.context)} if asked.context else {}
    if reading.flag(data, "truncate"):
        said["context"] = "trim"
    return said


def _bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
