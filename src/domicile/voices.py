"""Sound in a conversation: heard by the speech model that lives here, and given to the chat model as words.

OpenAI's clients send a recording as a part `input_audio` of a message. No chat model here takes sound, so the house
writes down what is said before anybody is asked: a target elsewhere is sent words, never a voice. A client sends the
whole conversation again at each turn, so what a recording says is kept in memory for a while, by its digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from domicile import ears
from domicile.answering import Ask
from domicile.errors import AudioRefused, BadField, ModelCannot, NoSpeechModel
from domicile.hearing.languages import code_of
from domicile.types import Installed

PART = "input_audio"
MOST_PARTS = 32
"""In one request."""
_KEPT = 256
"""Recordings whose words are remembered."""
Hear = Callable[[Installed, Path, Mapping[str, Any]], Awaitable[str]]
"""What is said in a file, by a model, heard in the way that is wished."""
_WISHES: Mapping[str, type] = {"language": str, "prompt": str, "vad_filter": bool, "fallback": bool, "beam_size": int}
"""What a recording may say besides `data` and `format`: fields of `/v1/audio/transcriptions`."""


class Voices:
    """One for a house. `folder` is where a recording lies while it is heard."""

    def __init__(self, folder: Path, models: Callable[[], list[Installed]], hear: Hear) -> None:
        self._folder, self._models, self._hear = folder, models, hear
        self._words: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def written(self, ask: Ask) -> tuple[Ask, Mapping[str, str]]:
        """The same question with words in the place of sound, and what must be said of that in the answer.

        Raises `ModelCannot` where no model here hears, `BadField` and `AudioRefused` for what is no recording.
        """
        data = ask.data()
        parts = list(_parts(data))
        if not parts:
            return ask, {}
        if len(parts) > MOST_PARTS:
            raise BadField(field=parts[MOST_PARTS][0], problem=str(len(parts)), reason="too_many", limit=MOST_PARTS)
        try:
            model = ears.usual(self._models())
        except NoSpeechModel as nobody:
            raise ModelCannot(name=ask.model, problem=PART, reason="sound") from nobody
        for field, part in parts:
            words = await self._said(model, field, part)
            part.clear()
            part.update(type="text", text=words)
        return replace(ask, body=json.dumps(data).encode()), {"Heard-By": model.name}

    async def _said(self, model: Installed, field: str, part: Mapping[str, Any]) -> str:
        data, wish = _decoded(field, part), _wish(field, part)
        key = (model.name, hashlib.sha256(data).hexdigest() + json.dumps(wish, sort_keys=True))
        if key not in self._words:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=f"{os.getpid()}-", suffix=".part")
            path = Path(name)
            try:
                with open(handle, "wb") as out:  # noqa: PTH123 - by its handle
                    out.write(data)
                self._words[key] = (await self._hear(model, path, wish)).strip()
            finally:
                path.unlink(missing_ok=True)
            while len(self._words) > _KEPT:
                self._words.popitem(last=False)
        self._words.move_to_end(key)
        if not self._words[key]:
            raise AudioRefused(name=model.name, reason="silent", field=field)
        return self._words[key]


def _parts(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every recording of a conversation, with its field."""
    messages = data.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") == PART:
                yield f"messages[{number}].content[{place}].{PART}", part


def _decoded(field: str, part: Mapping[str, Any]) -> bytes:
    said = part.get(PART)
    text = said.get("data") if isinstance(said, dict) else None
    if not isinstance(text, str) or not text:
        raise BadField(field=f"{field}.data", problem=type(text).__name__, reason="text")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as trouble:
        raise BadField(field=f"{field}.data", problem=str(trouble)[:100], reason="base64") from trouble


def _wish(field: str, part: Mapping[str, Any]) -> dict[str, Any]:
    said = part[PART]
    wish: dict[str, Any] = {name: said[name] for name in _WISHES if said.get(name) is not None}
    for name, value in wish.items():
        if type(value) is not _WISHES[name] or (name == "beam_size" and value not in range(1, 17)):
            raise BadField(field=f"{field}.{name}", problem=str(value)[:40])
    if "language" in wish:
        code = code_of(wish["language"])
        if code is None:
            raise BadField(field=f"{field}.language", problem=wish["language"][:40], reason="language")
        wish["language"] = code
    return wish
