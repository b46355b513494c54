"""Engines that are installed when they are first needed: list them, add one, take one away, ask what is wrong."""

from __future__ import annotations

import sys
from typing import Any

import click

from domicile import i18n
from domicile.commands.jobs import followed
from domicile.errors import MissingField
from domicile.grammar import Desk, argument, command, option


@command(
    "engine",
    argument("act", type=click.Choice(["list", "add", "remove", "doctor"]), required=False, default="list"),
    argument("engine", required=False),
    option("--yes", "-y", is_flag=True),
    option("--torch-index", metavar="URL"),
    option("--cuda/--cpu", default=None),
)
async def engine(
    desk: Desk, act: str, engine: str | None, yes: bool, torch_index: str | None, cuda: bool | None
) -> None:
    if act in {"add", "remove"} and engine is None:
        raise MissingField(field="ENGINE", reason="argument")
    async with desk.house() as house:
        if act == "list":
            _show(desk, await house.get("/domicile/engines"))
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
            desk.output.result(gone, desk.output.say("engine.removed", name=gone["name"], size=size))
        else:
            await _examine(desk, house, engine)


def _show(desk: Desk, found: dict[str, Any]) -> None:
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
    desk.output.table(found, heads, rows, "")


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
    names = [name] if name is not None else [one["name"] for one in found if one["state"] != "missing"]
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
