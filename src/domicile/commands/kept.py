"""What the house keeps of models beside their files: what they have read, and how they are talked to."""

from __future__ import annotations

import sys
import time

import click

from domicile import i18n, plain
from domicile.errors import BadField
from domicile.grammar import Desk, command, named, option


@command("cache", option("--clear", is_flag=True), option("--model"), option("--yes", "-y", is_flag=True))
async def cache(desk: Desk, clear: bool, model: str | None, yes: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get("/domicile/cache")
        if clear:
            question = say("cache.ask", size=i18n.size(lang, found["size_bytes"]))
            if not yes and not sys.stdin.isatty():
                raise BadField(field="--yes", problem="cache", reason="confirm_clear")
            if not yes and not click.confirm(question, err=True):
                return
            gone = await house.delete("/domicile/cache", **({"model": named(model)} if model else {}))
            told = say("cache.cleared", n=gone["states"], freed=i18n.size(lang, gone["freed_bytes"]))
            desk.output.result(gone, told)
            return
    rows = [
        (
            m["name"],
            i18n.number(lang, m["states"]),
            i18n.size(lang, m["size_bytes"]),
            say("ago", time=i18n.duration(lang, max(0.0, time.time() - m["used_at"]))),
        )
        for m in found["models"]
        if model is None or m["name"] == named(model)
    ]
    heads = [say(f"head.{h}") for h in ("name", "states", "size", "used")]
    desk.output.table(found, heads, rows, say("cache.empty" if found["enabled"] else "cache.off"))


async def show_template(desk: Desk, model: str, base: str | None) -> None:
    """The template on standard output, what is to be said about it beside it."""
    from domicile.client import of_model
    from domicile.templates import told_of_template

    say = desk.output.say
    async with desk.house() as house:
        query = {"base": base} if base else {}
        found = await house.get(of_model(named(model), "template"), **query)
    lines = told_of_template(desk.output.lang, found)
    if found["fingerprint"]:
        lines.append(say("template.fingerprint", fingerprint=found["fingerprint"]))
    for other in found["compared"]:
        key = "template.same" if other["same"] else "template.differs"
        lines.append(say(key, name=other["name"], fingerprint=(other["fingerprint"] or "?")[:12]))
    for line in lines:
        desk.output.tell(line)
    brought = found["brought"] is not None and found["brought"]["how"] != "refused"
    desk.output.result(found, plain.text((not brought and found["text"]) or found["used_text"]))
