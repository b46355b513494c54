"""Engines that are installed when they are first needed: list them, add one, take one away, ask what is wrong; and the
builds of llama.cpp: compile one for this processor, hold them against one another."""

from __future__ import annotations

import sys
from typing import Any

import click

from domicile import i18n
from domicile.commands.jobs import followed
from domicile.errors import BadField, MissingField
from domicile.grammar import Desk, argument, command, option

_ACTS = ("list", "add", "remove", "doctor", "build", "try")
_LLAMA = "llama"
_FAMILIES = {"legacy": "llama.family.legacy", "k": "llama.family.k"}


@command(
    "engine",
    argument(
        "act", type=click.Choice(["list", "add", "remove", "doctor", "build", "try"]), required=False, default="list"
    ),
    argument("engine", required=False),
    option("--yes", "-y", is_flag=True),
    option("--torch-index", metavar="URL"),
    option("--cuda/--cpu", default=None),
)
async def engine(
    desk: Desk, act: str, engine: str | None, yes: bool, torch_index: str | None, cuda: bool | None
) -> None:
    if act in {"add", "remove"} and engine is None:
        raise MissingField(field="ENGINE", reason="argument", command="engine")
    if act in {"build", "try"} and engine not in {None, _LLAMA}:
        raise BadField(field="ENGINE", problem=engine, reason="one_of", allowed=_LLAMA)
    async with desk.house() as house:
        if act == "list":
            _show(desk, await house.get("/domicile/engines"), await house.get("/domicile/engines/llama"))
        elif act in {"build", "try"}:
            await _build(desk, house, act, yes)
        elif act == "add":
            coming: dict[str, str] = {} if torch_index is None else {"torch_index": torch_index}
            if cuda is not None:
                coming["torch_build"] = "cuda" if cuda else "cpu"
            if coming:
                await house.patch("/domicile/settings", coming)
            await _add(desk, house, str(engine), yes)
        elif act == "remove":
            gone = await house.delete(f"/domicile/engines/{engine}")
            size = i18n.size(desk.output.lang, gone["freed_bytes"])
            key = "engine.removed.llama" if gone["name"] == _LLAMA else "engine.removed"
            desk.output.result(gone, desk.output.say(key, name=gone["name"], size=size))
        else:
            await _examine(desk, house, engine)


def _show(desk: Desk, found: dict[str, Any], llama: dict[str, Any]) -> None:
    say, lang = desk.output.say, desk.output.lang
    rows = [
        (
            one["name"],
            say(f"engine.state.{one['state']}"),
            ", ".join(f"{name} {version}" for name, version in one["packages"].items()),
            i18n.size(lang, one["download_bytes"]),
            i18n.size(lang, (one["installed"] or one)["disk_bytes"]),
            ", ".join(one["formats"]),
        )
        for one in found["engines"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "state", "libraries", "download", "disk", "format")]
    desk.output.table({**found, "llama": llama}, heads, rows, "")
    if not desk.output.as_json:
        desk.output.result(None, *_told(desk, llama))


def _told(desk: Desk, llama: dict[str, Any]) -> list[str]:
    """The builds of llama.cpp, and which of them wakes what."""
    say = desk.output.say
    lines = ["", say("llama.builds")]
    for one in llama["builds"]:
        state = "wrong" if one["same"] is False else "tried" if one["pace"] else "untried"
        place = one["program"] or ""
        lines.append(f"  {one['kind']} {one['version']} {place}".rstrip())
        if one["variant"]:
            lines.append("    " + ", ".join(one["variant"]))
        for family, pace in one["pace"].items():
            facts = {"family": say(_FAMILIES[family]), "read": round(pace["read"], 1)}
            lines.append("    " + say("llama.pace", **facts, written=round(pace["written"], 1)))
        if state == "wrong":
            lines.append("    " + say("llama.wrong", problem=one["problem"]))
    lines += [
        say("llama.chosen", family=say(_FAMILIES[family]), build=one["build"] or "-", why=one["why"])
        for family, one in llama["chosen"].items()
    ]
    for card in llama["cards"]:
        key = "doctor.llama_card" if card["command"] else "doctor.llama_card_alone"
        lines.append(say(key, **card))
        lines += [f"    → {card['command']}"] if card["command"] else []
    if not any(one["kind"] == "native" for one in llama["builds"]):
        lines.append(say("llama.could"))
    return lines


async def _build(desk: Desk, house: Any, act: str, yes: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    if act == "build":
        costs = (await house.get("/domicile/engines/llama"))["costs"]
        told = say(
            "llama.costs",
            download=i18n.size(lang, costs["download_bytes"]),
            work=i18n.size(lang, costs["work_bytes"]),
            disk=i18n.size(lang, costs["disk_bytes"]),
            time=i18n.duration(lang, costs["seconds"]),
        )
        desk.output.tell(told)
        if not yes and sys.stdin.isatty() and not click.confirm(say("llama.ask"), default=True, err=True):
            return
    job = await followed(desk, house, await house.post(f"/domicile/engines/{_LLAMA}/{act}"))
    kept = job["result"]["kept"]
    first = [] if kept is None else [say("llama.kept" if kept else "llama.not_kept")]
    lines = _told(desk, await house.get("/domicile/engines/llama"))
    desk.output.result(job, *first, *lines[1:])


async def _add(desk: Desk, house: Any, name: str, yes: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    found = (await house.get("/domicile/engines"))["engines"]
    one = next((e for e in found if e["name"] == name.lower()), None)
    if one is not None and one["state"] != "installed":
        told = say(
            "engine.costs",
            name=one["name"],
            download=i18n.size(lang, one["download_bytes"]),
            disk=i18n.size(lang, one["disk_bytes"]),
            time=i18n.duration(lang, one["seconds"]),
            build=one["build"],
        )
        desk.output.tell(told)
        if not yes and sys.stdin.isatty() and not click.confirm(say("engine.ask"), default=True, err=True):
            return
    job = await followed(desk, house, await house.post(f"/domicile/engines/{name}"))
    desk.output.result(job, say("engine.added", name=job["result"]["name"]))


async def _examine(desk: Desk, house: Any, name: str | None) -> None:
    found = (await house.get("/domicile/engines"))["engines"]
    there = [one["name"] for one in found if one["state"] != "missing"]
    names = [name] if name is not None else [_LLAMA, *there]
    checks, lines = [], []
    for one in names:
        checks += (await house.get(f"/domicile/engines/{one}/doctor"))["checks"]
    for check in checks:
        lines.append(("✓ " if check["well"] else "✗ ") + check["message"])
        if check["hint"]:
            lines.append(f"    → {check['hint']}")
    desk.output.result({"checks": checks}, *(lines or [desk.output.say("engine.none")]))
    if not all(check["well"] for check in checks):
        raise SystemExit(1)
