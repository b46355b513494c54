"""Looking for a model: on the Hub, among our recommendations, and in one repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domicile import i18n
from domicile.commands.discover import CONTEXT, KV, ON, bytes_text, count_text, rate_text, wish
from domicile.grammar import Desk, argument, command, option


@command(
    "search",
    argument("text", nargs=-1),
    option("--author"),
    option("--task"),
    option("--quantisation"),
    option("--licence"),
    option("--format"),
    option("--gated"),
    option("--min-parameters"),
    option("--max-parameters"),
    option("--max-size"),
    option("--since"),
    option("--sort"),
    option("--limit", type=int),
    option("--cursor"),
    option("--fits", is_flag=True),
    option("--speed", type=float),
    option("--civitai", is_flag=True),
    option("--lora", is_flag=True, words="search.lora"),
)
async def search(desk: Desk, text: Sequence[str], fits: bool, civitai: bool, lora: bool, **asked: Any) -> None:
    if civitai or lora:
        await _search_civitai(desk, " ".join(text), "LORA" if lora else "Checkpoint", asked.get("cursor"))
        return
    say, lang = desk.output.say, desk.output.lang
    query = wish(
        text=" ".join(text) or None,
        parameters_min=asked.pop("min_parameters"),
        parameters_max=asked.pop("max_parameters"),
        size_max=asked.pop("max_size"),
        updated_after=asked.pop("since"),
        fits="true" if fits else None,
        **asked,
    )
    async with desk.house() as house:
        found = await house.get("/domicile/search", **query)
    rows = [
        (
            one["id"],
            count_text(lang, one["parameters"]),
            ", ".join(one["formats"]),
            one["licence"] or "?",
            i18n.number(lang, one["downloads"] or 0),
            *(_best(desk, one["best"]) if one["best"] else ("",)),
        )
        for one in found["results"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "parameters", "format", "licence", "downloads", "here")]
    desk.output.table(found, heads, rows, say("search.none"))
    if found["unsuited"]:
        desk.output.tell(say("search.unsuited", n=found["unsuited"]))
    if found["filtered_out"]:
        desk.output.tell(say("search.filtered", n=found["filtered_out"]))
    if found["stale"] and not desk.output.as_json:
        desk.output.tell(say("cache.stale", age=i18n.duration(lang, found["age_s"])))
    if found["cursor"] and not desk.output.as_json:
        desk.output.tell(say("search.go_on", cursor=found["cursor"]))


def _best(desk: Desk, row: Mapping[str, Any]) -> tuple[str]:
    size = bytes_text(desk.output.lang, row["total_bytes"])
    return (i18n.labelled(desk.output.lang, row["label"], f"{size}, {rate_text(desk, row['tokens_per_second'])}"),)


async def _search_civitai(desk: Desk, text: str, kind: str, cursor: str | None) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        query = wish(source="civitai", text=text or None, type=kind, cursor=cursor)
        found = await house.get("/domicile/search", **query)
    rows = [
        (
            one["id"],
            one["name"],
            one["base_model"] or "?",
            bytes_text(lang, one["size_bytes"]),
            i18n.number(lang, one["downloads"] or 0),
        )
        for one in found["results"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "title", "base", "size", "downloads")]
    desk.output.table(found, heads, rows, say("search.none"))


@command("recommended", option("--need"), option("--organisation"))
async def recommended(desk: Desk, need: str | None, organisation: str | None) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get("/domicile/recommended", **wish(need=need, organisation=organisation))
    rows = [
        (
            one["reference"],
            count_text(lang, one["parameters"]),
            bytes_text(lang, one["size_bytes"]) if one["size_bytes"] else "",
            ", ".join(found["needs"][n] for n in one["needs"]),
            one["licence"] or "?",
            one["best_for"],
        )
        for one in found["models"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "parameters", "size", "need", "licence", "for")]
    desk.output.table(found, heads, rows, say("search.none"))


@command("variants", argument("repository"), CONTEXT, KV, ON)
async def variants(desk: Desk, repository: str, context: int | None, kv: str | None, on: str | None) -> None:
    async with desk.house() as house:
        found = await house.get("/domicile/repository", **wish(model=repository, context=context, kv=kv, on=on))
    show_variants(desk, found)


def _share(lang: str, percent: float | None) -> str:
    space = "\u00a0" if lang == "fr" else ""
    return "?" if percent is None else f"{i18n.decimal(lang, percent, 1)}{space}%"


def show_variants(desk: Desk, found: Mapping[str, Any]) -> None:
    """A repository as a table: each variant with its size, memory, verdict and speed here."""
    say, lang = desk.output.say, desk.output.lang
    rows = [
        (
            ("* " if row["label"] == found["best"] else "  ") + row["label"],
            i18n.size(lang, row["size_bytes"]),
            i18n.decimal(lang, row["bits_per_weight"], 1),
            _share(lang, row["quality_loss"]),
            bytes_text(lang, row["total_bytes"]),
            row["verdict_text"],
            rate_text(desk, row["tokens_per_second"]),
        )
        for row in found["variants"]
    ]
    heads = [say(f"head.{h}") for h in ("variant", "size", "bits", "loss", "memory", "verdict", "speed")]
    desk.output.table(found, heads, rows, say("variants.none", name=found["repository"]))
    if desk.output.as_json:
        return
    desk.output.tell(f"\n{found['reason']['text']}")
    if found["projector"]:
        eyes = found["projector"]
        desk.output.tell(say("variants.projector", file=eyes["file"], size=i18n.size(lang, eyes["size_bytes"])))
    if found["scan"] and found["scan"]["runs_code"]:
        desk.output.tell(say("scan.runs_code", n=len(found["scan"]["runs_code"])))
    facts = [found["licence"], found["scan_text"], say("variants.gated") if found["gated"] else None]
    desk.output.tell(" · ".join(str(fact) for fact in facts if fact))
    desk.output.tell(say("variants.fetched", size=i18n.size(lang, found["fetched"]["bytes"])))
