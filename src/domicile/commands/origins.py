"""Where models come from: what changed there, having it as it is now, and the places of one's own network."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from domicile import i18n
from domicile.commands.jobs import followed
from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, model_argument, named, option


@command("outdated", model_argument(required=False))
async def outdated(desk: Desk, model: str | None) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        query = {} if model is None else {"model": named(model)}
        found = await house.get("/domicile/updates", **query)
    rows = [
        (
            one["model"],
            one["message"],
            i18n.size(lang, one["size_bytes"]) if one["state"] == "changed" else "",
            (one["revision"] or "?")[:14],
            (one["latest"] or "?")[:14],
        )
        for one in found["models"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "state", "size", "revision", "latest")]
    desk.output.table(found, heads, rows, say("updates.none"))
    changed = [one["model"] for one in found["models"] if one["state"] == "changed"]
    if changed and not desk.output.as_json:
        desk.output.tell(say("updates.next", name=changed[0]))


@command("update", model_argument())
async def update(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        job = await house.post(of_model(named(model), "update"))
        job = await followed(desk, house, job)
    desk.output.result(job, desk.output.say("update.done", name=job["result"]["name"]))


@command(
    "places",
    argument("act", type=click.Choice(["list", "add", "rm"]), required=False, default="list"),
    argument("place", required=False),
    option("--yes", "-y", is_flag=True),
)
async def places(desk: Desk, act: str, place: str | None, yes: bool) -> None:
    say = desk.output.say
    if act != "list" and place is None:
        raise BadField(field="place", problem="", reason="place")
    async with desk.house() as house:
        if act == "add":
            if not yes and not sys.stdin.isatty():
                raise BadField(field="--yes", problem=place, reason="place_confirm")
            if not yes and not click.confirm(say("places.ask", place=place), err=True):
                return
            added = await house.post("/domicile/places", {"place": place, "confirmed": True})
            desk.output.result(added, say("places.added", place=added["place"]))
        elif act == "rm":
            gone = await house.delete(f"/domicile/places/{quote(place or '', safe='[]:')}")
            desk.output.result(gone, say("places.removed", place=gone["place"]))
        else:
            found = await house.get("/domicile/places")
            desk.output.table(found, [say("head.place")], [(p,) for p in found["places"]], say("places.none"))
