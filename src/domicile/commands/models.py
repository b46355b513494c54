"""The models that live here: get, list, show, choose, remove."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from domicile import i18n
from domicile.commands.search import show_variants
from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, model_argument, named, option
from domicile.types import ModelRef


@command("pull", argument("model"))
async def pull(desk: Desk, model: str) -> None:
    async with desk.house() as house:
        job = await pulled(desk, house, model)
        name, size = job["result"]["name"], job["result"]["size_bytes"]
        desk.output.result(job, desk.output.say("pull.done", name=name, size=i18n.size(desk.output.lang, size)))


async def pulled(desk: Desk, house: Any, model: str) -> dict[str, Any]:
    """Follow a download to its end. Ctrl-C leaves it resumable."""
    from domicile.client import HouseSaid

    job: dict[str, Any] = await house.post("/domicile/pull", {"model": model})
    progress = desk.output.progress()
    try:
        async for state in house.follow(job["id"]):
            job = state
            progress.show(job)
    finally:
        progress.end()
    if job["status"] != "done":
        error = job["error"] or {"message": desk.output.say("pull.cancelled", model=model)}
        raise HouseSaid({**error, "summary": error["message"]}, 502)
    return job


@command("list", aliases=("ls",))
async def list_models(desk: Desk) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get("/domicile/models")
    rows = [
        (
            ("* " if m["active"] else "  ") + m["name"] + "".join(f" = {a}" for a in m["aliases"]),
            i18n.size(lang, m["size_bytes"]),
            m["format"].upper() + (f" {m['quantisation']}" if m["quantisation"] else ""),
            _origin(desk, m),
            i18n.date(lang, m["added_at"]),
            _ago(desk, m["last_used_at"]),
            _state(desk, m),
        )
        for m in found["models"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "size", "format", "source", "added", "used", "state")]
    desk.output.table(found, heads, rows, say("list.empty"))


def _origin(desk: Desk, model: Mapping[str, Any]) -> str:
    """Where it is from; for files of other tools, whose they are."""
    owners = ", ".join(desk.output.say(f"owner.{o}") for o in model["owners"])
    if model["source"] == "adopted":
        return owners or desk.output.say("source.adopted")
    said = desk.output.say(f"source.{model['source']}")
    return f"{said} + {owners}" if owners else said


def _state(desk: Desk, model: Mapping[str, Any]) -> str:
    marks = [mark for mark in ("missing", "damaged", "pinned") if model[mark]]
    return ", ".join(desk.output.say(f"list.{mark}") for mark in marks)


@command("show", model_argument())
async def show(desk: Desk, model: str) -> None:
    from domicile.client import HouseSaid, of_model

    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        try:
            found = await house.get(of_model(named(model)))
        except HouseSaid as missing:
            if missing.status != 404 or ModelRef.parse(model).kind != "hub":
                raise
            show_variants(desk, await house.get("/domicile/repository", model=model))
            return
    awake = found["awake"]
    facts = {
        "name": found["name"],
        "format": found["format"].upper(),
        "quantisation": found["quantisation"],
        "size": i18n.size(lang, found["size_bytes"]),
        "source": found["repository"] or say(f"source.{found['source']}"),
        "owner": ", ".join(f"{say('owner.' + c['owner'])} ({c['title']})" for c in found["copies"] if not c["missing"]),
        "alias": ", ".join(found["aliases"]),
        "task": found["task"],
        "revision": found["revision"],
        "licence": found["licence"],
        "file": found["path"],
        "added": i18n.date(lang, found["added_at"]),
        "used": _ago(desk, found["last_used_at"]),
        "test": _test(desk, found["self_test"]),
        "state": _state(desk, found) or say(f"state.{awake['state'] if awake else 'asleep'}"),
    }
    heads = {key: say(f"head.{key}") for key in facts}
    width = max(len(head) for head in heads.values()) + 2
    desk.output.result(found, *(f"{heads[k]:{width}}{v}" for k, v in facts.items() if v))


@command("use", model_argument(), aliases=("activate",))
async def use(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(named(model), "activate"))
    desk.output.result(found, desk.output.say("use.done", name=found["name"]))


def _test(desk: Desk, result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    return desk.output.say("list.test_passed" if result.get("passed") else "list.test_failed")


@command(
    "rm",
    model_argument(),
    option("--yes", "-y", is_flag=True),
    option("--force", "-f", is_flag=True),
    option("--also-files", is_flag=True),
)
async def rm(desk: Desk, model: str, yes: bool, force: bool, also_files: bool) -> None:
    from domicile.client import of_model

    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get(of_model(named(model)))
        owners = ", ".join(say(f"owner.{o}") for o in found["owners"])
        key = "rm.ask_entry" if found["source"] in {"file", "adopted"} else "rm.ask"
        if owners:
            key = "rm.ask_also" if also_files else "rm.ask_adopted" if found["source"] == "adopted" else "rm.ask_kept"
        size = i18n.size(lang, found["size_bytes"])
        question = say(key, name=found["name"], size=size, owners=owners)
        if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
            return
        if not yes and not sys.stdin.isatty():
            raise BadField(field="--yes", problem=found["name"], reason="confirm")
        also = str(also_files).lower()
        gone = await house.delete(of_model(found["name"]), force=str(force).lower(), also_files=also)
    desk.output.result(gone, say("rm.done", name=found["name"], freed=i18n.size(lang, gone["freed_bytes"])))


def _ago(desk: Desk, moment: float | None) -> str:
    if moment is None:
        return ""
    return desk.output.say("ago", time=i18n.duration(desk.output.lang, max(0.0, time.time() - moment)))
