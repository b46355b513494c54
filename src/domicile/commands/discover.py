"""Before a download: search, repositories, this machine, what fits it, and comparisons."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from domicile import i18n
from domicile.grammar import Desk, argument, command, model_argument, option

CONTEXT = option("--context", "-c", type=int)
KV = option("--kv")
ON = option("--on")


@command(
    "fit", model_argument(), CONTEXT, KV, option("--slots", type=int), ON,
    option("--cards", is_flag=True), option("--quick", is_flag=True),
)  # fmt: skip
async def fit(
    desk: Desk, model: str, context: int | None, kv: str | None, slots: int | None, on: str | None,
    cards: bool, quick: bool,
) -> None:  # fmt: skip
    query = wish(model=local(model), context=context, kv=kv, slots=slots, on=on, quick="true" if quick else None)
    async with desk.house() as house:
        if cards:
            _cards(desk, await house.get("/domicile/fit/cards", **query))
            return
        found = await house.get("/domicile/fit", **query)
    desk.output.result(found, *_report(desk, found))
    if found["verdict"] in {"no", "unknown"}:
        raise SystemExit(10)


def _report(desk: Desk, found: Mapping[str, Any]) -> list[str]:
    """The verdict, then the bytes it is made of, the speed, the reasons, and the rules of thumb beside it."""
    say, lang = desk.output.say, desk.output.lang

    def size(key: str) -> str:
        return bytes_text(lang, found[key])

    lines = [i18n.labelled(lang, found["model"], found["verdict_text"])]
    keeps = found["kv_bytes"] or found["state_bytes"]  # something of a context: pictures and vectors keep nothing
    if found["total_bytes"] is not None:
        facts = {"total": size("total_bytes"), "available": size("available_bytes"), "context": found["context"]}
        lines += ["", say("fit.total" if keeps else "fit.total_plain", **facts)]
        parts = ("weights", "kv", "state", "compute", "overhead", "checkpoint", "projector")
        width = max(len(say(f"fit.{part}")) for part in (*parts, "cache"))
        lines += [
            f"  {say(f'fit.{part}'):{width}}  {size(part + '_bytes'):>10}" for part in parts if found[part + "_bytes"]
        ]
        if keeps:
            lines.append(f"  {say('fit.cache'):{width}}  {size('cache_bytes'):>10}")
    if found["max_context"]:
        lines.append(say("fit.max_context", n=found["max_context"]))
    known = found["tokens_per_second"]["low"] is not None
    rate = rate_text(desk, found["tokens_per_second"])
    lines.append(i18n.labelled(lang, rate, found["speed_why"]) if known else found["speed_why"])
    if found["prefill"]:
        lines.append(say(f"prefill.{found['prefill']}"))
    lines += ["", *(f"- {reason}" for reason in found["why"])]
    if found["rules_of_thumb"]:
        lines += ["", say("fit.rules")]
        lines += [
            "  "
            + i18n.labelled(lang, _rule(desk, rule["rule"]), i18n.size(lang, rule["bytes"]))
            + f" ({i18n.percent(lang, rule['error'])}). {rule['wrong']}"
            for rule in found["rules_of_thumb"]
        ]
    if found["advice"]:
        lines += ["", found["advice"]]
    if found["last_run"]:
        lines.append(say("fit.last_run", actual=i18n.size(lang, found["last_run"]["actual_bytes"])))
    if found["fetched"]["requests"]:
        fetched = found["fetched"]
        lines.append(say("fit.fetched", size=i18n.size(lang, fetched["bytes"]), n=fetched["requests"]))
    return lines


def _rule(desk: Desk, name: str) -> str:
    """A rule of thumb as its reader writes it: `size x 1.5`, `taille × 1,5`."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return desk.output.say(f"rule.{slug}")


def _cards(desk: Desk, found: Mapping[str, Any]) -> None:
    say, lang = desk.output.say, desk.output.lang
    rows = [
        (
            card["name"],
            say("fit.card_memory", n=card["vram_gib"]),
            say(f"verdict.{card['verdict']}"),
            rate_text(desk, card["tokens_per_second"]),
            i18n.size(lang, int(card["bandwidth_bytes_per_s"])) + "/s",
            say("fit.card_power", n=card["power_w"]) if card["power_w"] else "",
            say("fit.card_price", n=card["launch_usd"]) if card["launch_usd"] else "",
            " ".join(card["traps"]),
        )
        for card in found["cards"]
        if card["whole"]
    ]
    heads = [say(f"head.{h}") for h in ("card", "vram", "verdict", "speed", "bandwidth", "power", "price", "traps")]
    desk.output.table(found, heads, rows, say("fit.no_card"))


@command("machine", option("--calibrate", is_flag=True), option("--live", is_flag=True))
async def machine(desk: Desk, calibrate: bool, live: bool) -> None:
    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        if live:
            async for view in house.events("/domicile/machine/events"):
                _live(desk, view)
            return
        found = await house.get("/domicile/machine", calibrate="again" if calibrate else "true")
    limit = found["container_limit_bytes"]
    lines = [
        i18n.labelled(lang, say("machine.os"), f"{found['os']} ({found['arch']})"),
        i18n.labelled(lang, say("machine.cpu"), found["cpu"] or "?"),
        say("machine.cores", physical=found["physical_cores"], usable=found["usable_cores"]),
        i18n.labelled(lang, say("machine.features"), ", ".join(found["features"]) or "?"),
        say(
            "machine.ram",
            total=bytes_text(lang, found["ram_bytes"]),
            available=bytes_text(lang, found["ram_available_bytes"]),
        ),
        *([say("machine.container", limit=i18n.size(lang, limit))] if limit else []),
        say("machine.disk", free=bytes_text(lang, found["disk_free_bytes"])),
        *(_gpu(desk, gpu) for gpu in found["gpus"]),
        *([say("machine.no_gpu")] if not found["gpus"] else []),
    ]
    if calibration := found["calibration"]:
        bandwidth = calibration["read_bandwidth_bytes_per_s"]
        lines.append(
            say("machine.bandwidth", rate=bytes_text(lang, bandwidth and int(bandwidth)), engine=calibration["engine"])
        )
    lines += [f"? {line}" for line in found["unknown"]]
    desk.output.result(found, *lines)


def _live(desk: Desk, view: Mapping[str, Any]) -> None:
    """One reading: a line that replaces the one before on a terminal, a line of its own elsewhere."""
    if desk.output.as_json:
        print(json.dumps(view), flush=True)
        return
    say, lang = desk.output.say, desk.output.lang
    parts = [
        say("live.cpu", percent=_known(view["cpu_percent"])),
        say("live.ram", used=bytes_text(lang, view["ram_used_bytes"]), total=bytes_text(lang, view["ram_bytes"])),
        *([f"{view['cpu_temperature_celsius']:.0f} °C"] if view["cpu_temperature_celsius"] else []),
        *(_live_gpu(desk, gpu) for gpu in view["gpus"]),
        say("live.tokens", rate=f"{view['tokens_per_second']:.1f}", awake=view["awake"], waiting=view["waiting"]),
    ]
    line = "  ".join(parts)
    print(f"\r\x1b[2K{line}" if desk.output.coloured else line, end="" if desk.output.coloured else "\n", flush=True)


def _live_gpu(desk: Desk, gpu: Mapping[str, Any]) -> str:
    lang = desk.output.lang
    said = [
        f"{gpu['name']}: {_known(gpu['busy_percent'])} %",
        f"{bytes_text(lang, gpu['vram_used_bytes'])}/{bytes_text(lang, gpu['vram_bytes'])}",
        *([f"{gpu['temperature_celsius']:.0f} °C"] if gpu["temperature_celsius"] is not None else []),
        *([f"{gpu['power_watts']:.0f} W"] if gpu["power_watts"] is not None else []),
    ]
    return " ".join(said)


def _known(number: float | None) -> str:
    return "?" if number is None else f"{number:.0f}"


def _gpu(desk: Desk, gpu: Mapping[str, Any]) -> str:
    lang = desk.output.lang
    return desk.output.say(
        "machine.gpu",
        name=gpu["name"],
        backend=gpu["backend"],
        total=bytes_text(lang, gpu["vram_bytes"]),
        free=bytes_text(lang, gpu["vram_free_bytes"]),
    )


COMPARERS = (
    "https://livebench.ai",
    "https://lmarena.ai/leaderboard",
    "https://artificialanalysis.ai/leaderboards/models",
    "https://huggingface.co/spaces/open-llm-leaderboard/open_llm_leaderboard",
)
"""Public comparisons of models, for a person to open: Domicile itself asks them nothing."""


@command("compare", argument("models", nargs=-1, required=True), CONTEXT, KV, ON, option("--prompt"))
async def compare(
    desk: Desk, models: Sequence[str], context: int | None, kv: str | None, on: str | None, prompt: str | None
) -> None:
    say, lang = desk.output.say, desk.output.lang
    found = []
    async with desk.house() as house:
        for model in models:
            one = await house.get("/domicile/fit", **wish(model=local(model), context=context, kv=kv, on=on))
            found.append({**one, "answer": await _answer(house, one["model"], prompt) if prompt else None})
    rows = [
        ("", *(f["model"] for f in found)),
        (say("head.verdict"), *(f["verdict_text"] for f in found)),
        (say("head.parameters"), *(count_text(lang, f["facts"]["parameters"]) for f in found)),
        (say("head.quantisation"), *(str(f["facts"]["quantisation"] or "?") for f in found)),
        (say("head.size"), *(i18n.size(lang, f["facts"]["file_bytes"]) for f in found)),
        (say("head.memory"), *(bytes_text(lang, f["total_bytes"]) for f in found)),
        (say("head.speed"), *(rate_text(desk, f["tokens_per_second"]) for f in found)),
        (say("head.context"), *(count_text(lang, f["max_context"]) for f in found)),
        (say("head.licence"), *(f["facts"]["licence"] or "?" for f in found)),
    ]
    shown = {"models": found, "comparers": COMPARERS}
    desk.output.table(shown, rows[0], rows[1:], "")
    if not desk.output.as_json:
        for one in found:
            if one["answer"] is not None:
                print(f"\n{one['model']}:\n{one['answer']}")
        desk.output.tell("\n" + say("compare.links") + "\n  " + "\n  ".join(COMPARERS))


async def _answer(house: Any, model: str, prompt: str) -> str:
    """One model's answer to the question that all are asked."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 400}
    text = ""
    async for chunk in house.chat(body):
        choices = chunk.get("choices") or [{}]
        text += str((choices[0].get("delta") or {}).get("content") or "")
    return text.strip()


def wish(**asked: object) -> dict[str, str]:
    """The query of a wish: what was not said is left out."""
    return {key: str(value) for key, value in asked.items() if value is not None}


def local(model: str) -> str:
    """A path as the house can find it, wherever it was opened."""
    from pathlib import Path

    from domicile.refs import ModelRef

    ref = ModelRef.parse(model)
    return str(Path(ref.name).expanduser().absolute()) if ref.kind == "file" else model


def rate_text(desk: Desk, interval: Mapping[str, float | None]) -> str:
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        return desk.output.say("fit.speed_unknown")
    return desk.output.say(
        "fit.speed", low=_rate(desk.output.lang, low, high), high=_rate(desk.output.lang, high, high)
    )


def _rate(lang: str, value: float, high: float) -> str:
    return i18n.number(lang, round(value)) if high >= 10 else i18n.decimal(lang, value, 1)


def bytes_text(lang: str, count: int | None) -> str:
    return "?" if count is None else i18n.size(lang, count)


def count_text(lang: str, number: int | None) -> str:
    return "?" if number is None else i18n.count(lang, number)
