"""Pictures from a terminal: draw, and save what came."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from domicile import i18n
from domicile.errors import BadField, HomeNotWritable
from domicile.grammar import Desk, argument, command, option


@command(
    "image",
    argument("prompt", nargs=-1, required=True),
    option("--model", "-m", words="image.model"),
    option("--negative", words="image.negative"),
    option("--size", words="image.size"),
    option("--steps", type=int, words="image.steps"),
    option("--guidance", type=float, words="image.guidance"),
    option("--seed", type=int, words="image.seed"),
    option("--sampler", words="image.sampler"),
    option("--lora", multiple=True, words="image.lora"),
    option("--count", "-n", type=click.IntRange(1, 16), default=1, words="image.count"),
    option("--from", "source", type=click.Path(exists=True, dir_okay=False), words="image.from"),
    option("--mask", type=click.Path(exists=True, dir_okay=False), words="image.mask"),
    option("--strength", type=float, words="image.strength"),
    option("--output", "-o", type=click.Path(dir_okay=False), words="image.output"),
)
async def image(desk: Desk, prompt: tuple[str, ...], output: str | None, count: int, **said: Any) -> None:
    wanted = {
        "prompt": " ".join(prompt),
        "n": count,
        "negative_prompt": said.pop("negative"),
        "loras": [_lora(one) for one in said.pop("lora")],
        "image": _address(said.pop("source")),
        "mask": _address(said.pop("mask")),
        **said,
    }
    target = Path(output or "image.png")
    if not target.parent.is_dir():
        raise BadField(field="--output", problem=str(target.parent)[:200], reason="no_folder")
    async with desk.house() as house:
        begun = await house.post("/domicile/images", {k: v for k, v in wanted.items() if v not in (None, [], "")})
        try:
            drawing = await _followed(desk, house, begun)
        except BaseException:
            await house.post(f"/domicile/images/drawings/{begun['id']}/stop")
            raise
        lines = []
        for place, picture in enumerate(drawing["pictures"]):
            path = _free(target, place)
            data = await house.content(picture["url"])
            try:
                path.write_bytes(data)
            except OSError as trouble:
                raise HomeNotWritable(path=str(path), problem=trouble.strerror or str(trouble)) from trouble
            picture["file"] = str(path)
            lines.append(desk.output.say("image.saved", path=path, seed=picture["seed"]))
    desk.output.result(drawing, *lines)


async def _followed(desk: Desk, house: Any, drawing: dict[str, Any]) -> dict[str, Any]:
    """Follow a drawing to its end, its steps on the terminal. Raises `HouseSaid`."""
    from domicile.client import HouseSaid

    bar = _Bar(desk)
    async for event in house.events(f"/domicile/images/drawings/{drawing['id']}/events"):
        if "state" in event:
            drawing = event
        bar.show({**drawing, **event})
    bar.end()
    if drawing["state"] != "done":
        raise HouseSaid(drawing["error"] or {"message": desk.output.say("image.stopped")}, 502)
    return drawing


class _Bar:
    """The steps, on one line of a terminal; nothing into a pipe."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._live = sys.stderr.isatty() and not desk.output.quiet
        self._shown = ""

    def show(self, event: dict[str, Any]) -> None:
        if not self._live:
            return
        say, lang = self._desk.output.say, self._desk.output.lang
        if event.get("step"):
            place = f"{event['index'] + 1}/{event['n']} " if event.get("n", 1) > 1 else ""
            text = place + say("image.step", step=event["step"], steps=event["steps"])
            if event.get("seconds"):
                text += f" · {i18n.duration(lang, event['seconds'])}"
        else:
            text = say("image.waking", model=event["model"])
        print(f"\r{text:{len(self._shown)}}", end="", file=sys.stderr, flush=True)
        self._shown = text

    def end(self) -> None:
        if self._shown:
            print(f"\r{'':{len(self._shown)}}\r", end="", file=sys.stderr, flush=True)


def _lora(said: str) -> dict[str, Any]:
    """`name` or `name=0.8`."""
    name, _, scale = said.rpartition("=") if "=" in said else (said, "", "1")
    try:
        return {"name": name, "scale": float(scale)}
    except ValueError as trouble:
        raise BadField(field="--lora", problem=said[:80], reason="number") from trouble


def _address(path: str | None) -> str | None:
    import base64

    if path is None:
        return None
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")


def _free(target: Path, place: int) -> Path:
    """Where a picture goes: as named, with a number for those after the first, and never over another file."""
    if place == 0 and not target.exists():
        return target
    number = max(place + 1, 2)
    while (path := target.with_stem(f"{target.stem}-{number}")).exists():
        number += 1
    return path
