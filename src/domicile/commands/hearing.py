"""Writing down what is said in a file of sound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, option
from domicile.hearing import written

_SHAPES: Mapping[str, str] = {".srt": "srt", ".vtt": "vtt", ".json": "json", ".txt": "text"}


@command(
    "transcribe",
    argument("file", type=click.Path()),
    option("--model", "-m", words="hearing-model"),
    option("--to", words="to-shape", type=click.Choice(["text", "srt", "vtt", "json"])),
    option("--output", "-o"),
    option("--language", "-l"),
    option("--translate", is_flag=True),
    option("--words", is_flag=True),
    option("--hint"),
)
async def transcribe(
    desk: Desk,
    file: str,
    model: str | None,
    to: str | None,
    output: str | None,
    language: str | None,
    translate: bool,
    words: bool,
    hint: str | None,
) -> None:
    path = Path(file).expanduser()
    if not path.is_file():
        raise BadField(field="FILE", problem=file, reason="file")
    target = Path(output).expanduser() if output else None
    shape = to or (_SHAPES.get(target.suffix.lower(), "text") if target else "text")
    fields = {"model": model or "whisper-1", "language": language or "", "prompt": hint or ""}
    if words:
        fields["timestamp_granularities[]"] = "word"
    segments: list[Mapping[str, Any]] = []
    done: Mapping[str, Any] = {}
    async with desk.house() as house:
        async for event in house.transcribe(path, fields, translate=translate):
            if "segment" not in event:
                done = event
                continue
            segments.append(event["segment"])
            if target is not None or shape != "text":
                at, whole = event["segment"]["end"], event.get("duration")
                share = f"{min(1.0, at / whole):.0%}" if whole else written.clock(at, ".")
                desk.output.tell(f"{share} {event['segment']['text'].strip()}"[:100])
    whole = {"text": written.text(segments), **{k: done.get(k) for k in ("language", "duration", "speed")}}
    if shape == "json":
        text = json.dumps({**whole, "segments": segments}, ensure_ascii=False, indent=1)
    else:
        text = (written.srt if shape == "srt" else written.vtt if shape == "vtt" else written.text)(segments).rstrip(
            "\n"
        )
    if target is None:
        desk.output.result({**whole, "segments": segments}, text)
        return
    target.write_text(text + "\n", "utf-8")
    facts = {"path": str(target), "duration": whole["duration"] or 0, "speed": f"{whole['speed'] or 0:.1f}"}
    desk.output.result({**whole, "path": str(target)}, desk.output.say("transcribe.written", **facts))
