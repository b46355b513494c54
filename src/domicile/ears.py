"""Which model hears: the one that is named, or the usual one when a tool names OpenAI's."""

from __future__ import annotations

from collections.abc import Sequence

from domicile.errors import ModelCannot, NoSpeechModel
from domicile.types import Installed

HEARS = "automatic-speech-recognition"
USUAL = frozenset({"", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper"})
"""Names that mean any model that hears, in lower case."""


def hears(model: Installed) -> bool:
    """Can our speech engine run it? (Its child looks whether it is a Whisper.)"""
    return model.format == "whisper" or (model.format == "safetensors" and model.task == HEARS)


def usual(models: Sequence[Installed]) -> Installed:
    """The active model where it hears, else the one used last. Raises `NoSpeechModel`."""
    found = [m for m in models if hears(m) and not m.missing]
    if not found:
        raise NoSpeechModel(name="whisper")
    return next((m for m in found if m.active), max(found, key=lambda m: (m.last_used_at or 0, m.added_at or 0)))


def check(model: Installed) -> Installed:
    """Raises `ModelCannot` for a model that does not hear."""
    if not hears(model):
        raise ModelCannot(name=model.name, problem=model.format, reason="hear")
    return model
