"""What was heard, in the shapes that are asked for: text, SRT, WebVTT, OpenAI's JSON (short and long)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from domicile.hearing.languages import LANGUAGES

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
TYPES: Mapping[str, str] = {
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""Media types of those that are no JSON; OpenAI says the same of SRT."""

Segment = Mapping[str, Any]
"""`id`, `start`, `end` (seconds), `text`, and what Whisper knows of it; `words` where they were asked for."""


def text(segments: Sequence[Segment]) -> str:
    """The whole text, without the space that a first word brings."""
    return "".join(str(s["text"]) for s in segments).strip()


def clock(seconds: float, mark: str) -> str:
    """`01:02:03,456`; `mark` stands before the thousandths."""
    thousandths = max(0, math.floor(seconds * 1000 + 0.5))
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered, a comma before the thousandths."""
    return "".join(
        f"{n}\n{clock(s['start'], ',')} --> {clock(s['end'], ',')}\n{_line(s)}\n\n" for n, s in enumerate(segments, 1)
    )


def vtt(segments: Sequence[Segment]) -> str:
    """WebVTT. Its text is markup: what looks like it is escaped."""
    told = "WEBVTT\n\n"
    for s in segments:
        line = _line(s).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        told += f"{clock(s['start'], '.')} --> {clock(s['end'], '.')}\n{line}\n\n"
    return told


def _line(segment: Segment) -> str:
    return " ".join(str(segment["text"]).split()).replace("-->", "->")


def usage(duration_s: float) -> dict[str, Any]:
    """What OpenAI bills by; seconds, rounded up."""
    return {"type": "duration", "seconds": math.ceil(duration_s)}


def verbose(
    segments: Sequence[Segment], facts: Mapping[str, Any], *, words: bool, with_segments: bool
) -> dict[str, Any]:
    """OpenAI's long form. `facts`: task, language, duration, language_probability, speed."""
    told: dict[str, Any] = {
        "task": facts["task"],
        "language": LANGUAGES.get(facts["language"], facts["language"]),
        "language_code": facts["language"],
        "language_probability": facts["language_probability"],
        "duration": facts["duration"],
        "text": text(segments),
    }
    if words:
        told["words"] = [word for s in segments for word in s.get("words") or ()]
    if with_segments:
        told["segments"] = [{k: v for k, v in s.items() if k != "words"} for s in segments]
    return {**told, "speed": facts["speed"], "usage": usage(facts["duration"])}
