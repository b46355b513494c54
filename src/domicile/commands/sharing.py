"""Models and other tools: names of one's own, pins, what others have taken in, what is given to Ollama."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from domicile import i18n
from domicile.commands.jobs import followed
from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, model_argument, named, option, path_of
from domicile.refs import ModelRef


@command("alias", model_argument(), argument("alias"))
async def alias(desk: Desk, model: str, alias: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(named(model), "aliases"), {"alias": alias})
    desk.output.result(found, desk.output.say("alias.done", name=found["name"], alias=alias.strip()))


@command("unalias", argument("alias"))
async def unalias(desk: Desk, alias: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        model = await house.get(of_model(named(alias)))
        found = await house.delete(of_model(model["name"], f"aliases/{named(alias)}"))
    desk.output.result(found, desk.output.say("alias.gone", name=found["name"], alias=alias.strip()))


@command("pin", model_argument())
async def pin(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(named(model), "pin"))
    desk.output.result(found, desk.output.say("pin.done", name=found["name"]))


@command("unpin", model_argument())
async def unpin(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.delete(of_model(named(model), "pin"))
    desk.output.result(found, desk.output.say("pin.gone", name=found["name"]))


@command(
    "adopt",
    argument("what", nargs=-1),
    option("--list", "listed", is_flag=True),
    option("--all", "every", is_flag=True),
)
async def adopt(desk: Desk, what: tuple[str, ...], listed: bool, every: bool) -> None:
    paths = [path_of(ModelRef("file", w)) for w in what if _is_path(w)]
    ids = [w for w in what if not _is_path(w)]
    if every and what:
        raise BadField(field="--all", problem=" ".join(what)[:100], reason="alone")
    async with desk.house() as house:
        if listed or not (what or every):
            if ids:
                raise BadField(field="--list", problem=ids[0][:100], reason="alone")
            await _list_offers(desk, house, paths)
            return
        wishes: list[dict[str, Any]] = [{"path": p} for p in paths]
        wishes += [{"models": ids}] if ids else []
        result: dict[str, list[Any]] = {"adopted": [], "refused": []}
        for wish in wishes or [{"all": True}]:
            job = await followed(desk, house, await house.post("/domicile/adopt", wish))
            for key, so_far in result.items():
                so_far.extend(job["result"][key])
    _tell_adopted(desk, result)


def _is_path(said: str) -> bool:
    """`org/repo` and `ollama/llama3.2:3b` are names; `./x`, `/x`, `~/x` and what is there are paths."""
    return said.startswith(("/", "./", "../", "~", ".\\", "..\\")) or said == "." or Path(said).exists()


async def _list_offers(desk: Desk, house: Any, paths: list[str]) -> None:
    say, lang = desk.output.say, desk.output.lang
    offers: list[dict[str, Any]] = []
    for query in [{"path": p} for p in paths] or [{}]:
        offers += (await house.get("/domicile/adoptable", **query))["adoptable"]
    rows = [
        (
            o["id"],
            i18n.size(lang, o["size_bytes"]),
            o["format"].upper() + (f" {o['quantisation']}" if o["quantisation"] else ""),
            ", ".join(say(f"owner.{owner}") for owner in o["owners"]),
            say("adopt.runs_code") if o["runs_code"] else say("adopt.here", name=o["here"]) if o["here"] else "",
        )
        for o in offers
    ]
    heads = [say(f"head.{h}") for h in ("name", "size", "format", "owner", "here")]
    desk.output.table({"adoptable": offers}, heads, rows, say("adopt.none"))
    if rows:
        desk.output.tell(say("adopt.next"))


def _tell_adopted(desk: Desk, result: Mapping[str, list[Any]]) -> None:
    say = desk.output.say
    lines = [say("adopt.new" if a["new"] else "adopt.known", name=a["name"], id=a["id"]) for a in result["adopted"]]
    if not lines and not result["refused"]:
        lines = [say("adopt.none")]
    desk.output.result(result, *lines)
    for one in result["refused"]:
        desk.output.tell(f"{one['id']}: {one['message']}")


@command(
    "export",
    model_argument(),
    option("--to", type=click.Choice(["ollama", "modelfile"]), required=True),
    option("--name"),
    option("--via", type=click.Choice(["auto", "link", "api"]), default="auto"),
    option("--force", "-f", is_flag=True),
)
async def export(desk: Desk, model: str, to: str, name: str | None, via: str, force: bool) -> None:
    from domicile.client import of_model

    say = desk.output.say
    async with desk.house() as house:
        if to == "modelfile":
            made = await house.get(of_model(named(model), "modelfile"))
            if not made["template"]:
                desk.output.tell(say("export.no_template"))
            desk.output.result(made, made["modelfile"].rstrip("\n"))
            return
        wish = {"to": to, "as": name, "via": via, "force": force}
        job = await followed(desk, house, await house.post(of_model(named(model), "export"), wish))
    given = job["result"]
    if not given["template"]:
        desk.output.tell(say("export.no_template"))
    desk.output.result(given, say(f"export.{given['how']}", name=given["name"]))


@command(
    "ollama",
    argument("action", type=click.Choice(["list", "pull", "show", "rm"])),
    argument("model", required=False),
    option("--yes", "-y", is_flag=True),
)
async def ollama(desk: Desk, action: str, model: str | None, yes: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    if action != "list" and not model:
        raise BadField(field="model", problem="null", reason="text")
    async with desk.house() as house:
        if action == "list":
            found = await house.get("/domicile/ollama/models")
            rows = [
                (m["name"] or "", _size(lang, m["size_bytes"]), m["parameters"] or "", m["quantisation"] or "")
                for m in found["models"]
            ]
            heads = [say(f"head.{h}") for h in ("name", "size", "parameters", "quantisation")]
            desk.output.table(found, heads, rows, say("ollama.none"))
        elif action == "pull":
            job = await followed(desk, house, await house.post("/domicile/ollama/pull", {"model": model}))
            desk.output.result(job, say("ollama.pulled", name=model))
        elif action == "show":
            shown = await house.get(_there(model or ""))
            desk.output.result(shown, str(shown.get("modelfile") or ""))
        elif _confirmed(say("ollama.ask", name=model), model or "", yes):
            gone = await house.delete(_there(model or ""))
            desk.output.result(gone, say("ollama.removed", name=model))


def _there(model: str) -> str:
    from domicile.client import of_model

    return of_model(model).replace("/domicile/models/", "/domicile/ollama/models/", 1)


def _size(lang: str, size: int | None) -> str:
    return "" if size is None else i18n.size(lang, size)


def _confirmed(question: str, name: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise BadField(field="--yes", problem=name, reason="confirm_ollama")
    return click.confirm(question, err=True)
