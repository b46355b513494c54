"""A file of sound to segments of text, window after window, by faster-whisper.

Each window is heard by itself with the end of the text before it as its prompt, and its times are moved to where it
begins. Whoever leaves is noticed before each step of the model (30 seconds of sound) and each packet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.hearing.sound import RATE, LeftError, Window, windows

_LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Temperatures that are tried one after the other where a text repeats itself or is unlikely (openai/whisper)."""
_CARRIED = 400
"""Characters of the text before that a window is given: Whisper reads 224 tokens at most."""
_SHORT = RATE // 10


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a file."""

    translate: bool = False
    language: str | None = None
    """Whisper's code; None to find it out."""
    prompt: str | None = None
    hotwords: str | None = None
    temperature: float = 0.0
    fallback: bool = True
    """Try higher temperatures where the first text is a bad one."""
    words: bool = False
    vad: bool = True
    """Leave out what is no speech (Silero)."""
    beam: int = 5
    seed: int = 0


@dataclass(slots=True)
class Progress:
    """What is known so far; `speed` is seconds of sound in a second."""

    duration: float = 0.0
    claimed: float | None = None
    language: str | None = None
    probability: float | None = None
    speed: float | None = None
    tokens: int = 0


def listen(
    model: Any, path: Path, wish: Wish, said: Progress, *, limit_s: float, stop: threading.Event
) -> Iterator[dict[str, Any]]:
    """The segments as they are written; `said` grows with them. Raises `UnheardError`, `LeftError`."""
    inner = model.model
    model.model = _Watched(inner, stop)
    began, number, before = time.perf_counter(), 0, wish.prompt
    said.language = wish.language
    try:
        for window in windows(path, limit_s=limit_s, stop=stop):
            said.claimed = window.claimed_s
            for segment in _heard(model, window, wish, before, said):
                if stop.is_set():
                    raise LeftError
                said.tokens += len(segment.tokens)
                before = ((before or "") + segment.text)[-_CARRIED:]
                yield _shown(segment, number, window, wish)
                number += 1
            said.duration = window.start_s + len(window.samples) / RATE
            said.speed = said.duration / max(1e-6, time.perf_counter() - began)
    finally:
        model.model = inner


def _heard(model: Any, window: Window, wish: Wish, before: str | None, said: Progress) -> Iterator[Any]:
    if len(window.samples) < _SHORT:
        return
    if wish.vad and not _speaks(window.samples):
        return
    segments, info = model.transcribe(
        window.samples,
        language=said.language,
        task="translate" if wish.translate else "transcribe",
        beam_size=wish.beam,
        temperature=_LADDER if wish.fallback and not wish.temperature else [wish.temperature],
        initial_prompt=before,
        hotwords=wish.hotwords,
        word_timestamps=wish.words,
        vad_filter=wish.vad,
    )
    if said.language is None:
        said.language, said.probability = info.language, round(float(info.language_probability), 4)
    yield from segments


def _speaks(samples: Any) -> bool:
    """Is there any speech in it? A window of silence would be given words that nobody said."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    return bool(get_speech_timestamps(samples, VadOptions()))


def _shown(segment: Any, number: int, window: Window, wish: Wish) -> dict[str, Any]:
    """With times of the whole file. Whisper hears 30 seconds always: it may place words after the end."""
    offset_s, length_s = window.start_s, len(window.samples) / RATE

    def at(seconds: float) -> float:
        return round(min(seconds, length_s) + offset_s, 3)

    told: dict[str, Any] = {
        "id": number,
        "seek": int(segment.seek + offset_s * 100),
        "start": at(segment.start),
        "end": at(segment.end),
        "text": segment.text,
        "tokens": [int(t) for t in segment.tokens],
        "temperature": float(segment.temperature or 0.0),
        "avg_logprob": round(float(segment.avg_logprob), 6),
        "compression_ratio": round(float(segment.compression_ratio), 6),
        "no_speech_prob": float(segment.no_speech_prob),
    }
    if wish.words:
        told["words"] = [
            {
                "word": w.word.strip(),
                "start": at(w.start),
                "end": at(w.end),
                "probability": round(float(w.probability), 4),
            }
            for w in segment.words or ()
        ]
    return told


class _Watched:
    """CTranslate2's model, which looks before each step whether anybody still waits for it."""

    _STEPS = frozenset({"generate", "encode", "align", "detect_language"})

    def __init__(self, model: Any, stop: threading.Event) -> None:
        self._model, self._stop = model, stop

    def __getattr__(self, name: str) -> Any:
        if name in self._STEPS and self._stop.is_set():
            raise LeftError
        return getattr(self._model, name)
