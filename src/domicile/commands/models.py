"""The models that live here: get, list, show, choose, remove."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from domicile import i18n, plain
from domicile.commands.jobs import followed
from domicile.commands.kept import show_template
from domicile.commands.search import show_variants
from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, model_argument, named, option, path_of
from domicile.refs import ModelRef


@command(
    "pull",
    argument("model"),
    option("--limit"),
    option("--at"),
    option("--priority"),
    option("--detach", "-d", is_flag=True),
)
async def pull(desk: Desk, model: str, limit: str | None, at: str | None, priority: str | None, detach: bool) -> None:
    from domicile.client import of_model

    say = desk.output.say
    async with desk.house() as house:
        wishes = {"limit": limit, "hours": at, "priority": priority, "detach": detach or None}
        asked = {"model": _asked(model), **{name: value for name, value in wishes.items() if value is not None}}
        job = await house.post("/domicile/pull", asked)
        if detach:
            lines = [say("pull.detached", model=job["model"], id=job["id"])]
            if house.url is None and job["status"] == "queued" and not desk.settings.redis_url:
                lines.append(say("jobs.nobody"))
            desk.output.result(job, *lines)
            return
        job = await followed(desk, house, job)
        name, size = job["result"]["name"], job["result"]["size_bytes"]
        done = "pull.done" if job["result"].get("verified", True) else "pull.done_unverified"
        lines = [say(done, name=name, size=i18n.size(desk.output.lang, size))]
        if job["result"].get("self_test"):
            lines += _checks((await house.get(of_model(name)))["self_test"])
        desk.output.result(job, *lines)


async def pulled(desk: Desk, house: Any, model: str) -> dict[str, Any]:
    """Have a model here, and follow its download to the end. Ctrl-C leaves it resumable."""
    return await followed(desk, house, await house.post("/domicile/pull", {"model": _asked(model)}))


def _asked(model: str) -> str:
    """The model as the house must hear it: a path that means the same in its own folder."""
    ref = ModelRef.parse(model)
    return path_of(ref) if ref.kind == "file" else model


@command("list", option("--partial", is_flag=True), aliases=("ls",))
async def list_models(desk: Desk, partial: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        if partial:
            _list_partials(desk, await house.get("/domicile/partials"))
            return
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
    if model["self_test"] and not model["self_test"].get("passed"):
        marks.append("test_failed")
    return ", ".join(desk.output.say(f"list.{mark}") for mark in marks)


def _list_partials(desk: Desk, found: dict[str, Any]) -> None:
    say, lang = desk.output.say, desk.output.lang
    rows = [
        (
            p["name"],
            i18n.size(lang, p["kept_bytes"]),
            "" if p["size_bytes"] is None else i18n.size(lang, p["size_bytes"]),
            _ago(desk, p["changed_at"]),
        )
        for p in found["partials"]
    ]
    desk.output.table(found, [say(f"head.{h}") for h in ("name", "kept", "size", "used")], rows, say("partial.empty"))
    if rows:
        desk.output.tell(say("partial.next"))


@command(
    "show", model_argument(), option("--settings", is_flag=True), option("--template", is_flag=True), option("--base")
)
async def show(desk: Desk, model: str, settings: bool, template: bool, base: str | None) -> None:
    from domicile.client import HouseSaid, of_model

    if template or base:
        await show_template(desk, model, base)
        return
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        if settings:
            show_settings(desk, await house.get(of_model(named(model), "settings")))
            return
        try:
            found = await house.get(of_model(named(model)))
        except HouseSaid as missing:
            if missing.status != 404 or ModelRef.parse(model).kind not in {"hub", "ollama", "civitai", "url"}:
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
        "can": ", ".join(say(f"can.{one}") for one in found["capabilities"]),
        "projector": _projector(desk, found["projector"]),
        "revision": found["revision"],
        "licence": found["licence"],
        "file": found["path"],
        "added": i18n.date(lang, found["added_at"]),
        "used": _ago(desk, found["last_used_at"]),
        "test": _test(desk, found["self_test"]),
        "state": _state(desk, found) or say(f"state.{awake['state'] if awake else 'asleep'}"),
    }
    if found["template"] and (found["template"]["verdict"] == "refused" or found["template"]["brought"]):
        from domicile.templates import told_of_template

        facts["template"] = " ".join(told_of_template(lang, found["template"]))
    heads = {key: say(f"head.{key}") for key in facts}
    width = max(len(head) for head in heads.values()) + 2
    lines = [f"{heads[k]:{width}}{v}" for k, v in facts.items() if v]
    if awake and awake["note_text"]:
        lines.append(awake["note_text"])
    if found["self_test"]:
        lines += ["", say("selftest.head"), *_checks(found["self_test"])]
    desk.output.result(found, *lines)


def _projector(desk: Desk, found: Mapping[str, Any] | None) -> str:
    """The file a model sees by, and what it takes of the memory."""
    if found is None:
        return ""
    lang = desk.output.lang
    need = desk.output.say("show.projector_need", size=i18n.size(lang, found["need_bytes"]))
    return f"{found['file']} ({i18n.size(lang, found['size_bytes'])}, {need})"


def show_settings(desk: Desk, found: Mapping[str, Any]) -> None:
    """Each setting of a model: its value, who chose it, and why."""
    say = desk.output.say
    rows = [
        (one["name"], _value(desk, one["name"], one["value"]), say(f"by.{one['by']}"), one["why"])
        for one in (*found["settings"], *found["brought"])
    ]
    desk.output.table(found, [say(f"head.{h}") for h in ("setting", "value", "by", "reason")], rows, "")
    if not desk.output.as_json:
        desk.output.tell(say("settings.hint", name=found["name"]))


def _value(desk: Desk, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return desk.output.say("yes" if value else "no")
    if name == "cache":
        return i18n.size(desk.output.lang, value)
    if isinstance(value, list):
        return ", ".join(part if isinstance(part, str) else f"{part:.2f}" for part in value) or "-"
    return "-" if value is None else plain.line(str(value), 60)


@command("set", model_argument(), argument("settings", nargs=-1, required=True))
async def set_up(desk: Desk, model: str, settings: Sequence[str]) -> None:
    from domicile.client import of_model

    given: dict[str, str | None] = {}
    for one in settings:
        name, equals, value = one.partition("=")
        if not equals:
            raise BadField(field="settings", problem=one[:60], reason="pair")
        given[name.strip()] = value.strip() or None
    async with desk.house() as house:
        show_settings(desk, await house.patch(of_model(named(model), "settings"), given))


@command("selftest", model_argument())
async def selftest(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(named(model), "selftest"))
    desk.output.result(found, *_checks(found))
    if not found["passed"]:
        raise SystemExit(7)


def _checks(result: Mapping[str, Any]) -> list[str]:
    marks = {True: "✓ ", False: "✗ ", None: "? "}
    return [marks[check["well"]] + check["text"] for check in result["checks"]]


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
    option("--partial", is_flag=True),
)
async def rm(desk: Desk, model: str, yes: bool, force: bool, also_files: bool, partial: bool) -> None:
    from domicile.client import of_model, of_partial

    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        if partial:  # what it held can be had again: no question
            gone = await house.delete(of_partial(model))
            desk.output.result(gone, say("rm.done", name=gone["removed"], freed=i18n.size(lang, gone["freed_bytes"])))
            return
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
