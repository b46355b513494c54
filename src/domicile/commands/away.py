"""Who else may answer, and what has left this machine."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from domicile import i18n
from domicile.errors import BadField, MissingField
from domicile.grammar import Desk, argument, command, option

_ACTIONS = ("list", "add", "consent", "test", "order", "rm")


@command(
    "target",
    argument("action", type=click.Choice(_ACTIONS), default="list", required=False),
    argument("names", nargs=-1),
    option("--key", is_flag=True),
    option("--map", multiple=True),
    option("--timeout"),
    option("--withdraw", is_flag=True),
    option("--yes", "-y", is_flag=True),
)
async def target(
    desk: Desk, action: str, names: Sequence[str], key: bool, map: Sequence[str],  # noqa: A002 - the option's name
    timeout: str | None, withdraw: bool, yes: bool,
) -> None:  # fmt: skip
    async with desk.house() as house:
        if action == "list":
            _list(desk, await house.get("/domicile/targets"))
        elif action == "order":
            _list(desk, await house.post("/domicile/targets/order", {"names": list(names)}))
        else:
            if not names or len(names) > (2 if action == "add" else 1):
                raise (
                    MissingField(field="name")
                    if not names
                    else BadField(field="name", problem=" ".join(names)[:80], reason="target_name")
                )
            path = f"/domicile/targets/{names[0]}"
            if action == "add":
                await _add(desk, house, names, _read_key(desk) if key else None, map, timeout)
            elif action == "consent":
                await _consent(desk, house, path, withdraw=withdraw, yes=yes)
            elif action == "test":
                _tested(desk, await house.post(path + "/test"))
            else:
                gone = await house.delete(path)
                desk.output.result(gone, desk.output.say("target.removed", name=gone["name"]))


def _list(desk: Desk, found: Mapping[str, Any]) -> None:
    say = desk.output.say
    rows = [
        (
            t["name"],
            t["url"],
            say(f"reach.{t['reach']}") if t["consent"] else say("target.no_consent"),
            say("yes") if t["has_key"] else "",
            ", ".join(f"{k}={v}" for k, v in t["models"].items()),
            _health(desk, t["health"]),
        )
        for t in found["targets"]
    ]
    heads = [say(f"head.{h}") for h in ("target", "address", "consent", "key", "models", "health")]
    desk.output.table(found, heads, rows, say("target.none"))
    if "strategy" in found and rows and not desk.output.as_json:
        desk.output.tell(say(f"strategy.{found['strategy']}"))


def _health(desk: Desk, health: Mapping[str, Any] | None) -> str:
    if health is None:
        return ""
    return desk.output.say("target.well") if health["well"] else str(health["problem"] or "?")


async def _add(
    desk: Desk, house: Any, names: Sequence[str], key: str | None, mapped: Sequence[str], timeout: str | None
) -> None:
    body: dict[str, Any] = {"name": names[0], "url": names[1] if len(names) > 1 else None, "key": key}
    if mapped:
        body["models"] = dict(_pair(one) for one in mapped)
    if timeout is not None:
        body["timeout"] = timeout
    added = await house.post("/domicile/targets", {k: v for k, v in body.items() if v is not None})
    say = desk.output.say
    lines = [say("target.added", name=added["name"], url=added["url"])]
    if not added["consent"]:
        lines.append(say("target.now_consent", name=added["name"]))
    desk.output.result(added, *lines)


def _pair(said: str) -> tuple[str, str]:
    """`ours=theirs`; `theirs` alone is for every model."""
    ours, equals, theirs = said.partition("=")
    return (ours, theirs) if equals else ("*", ours)


async def _consent(desk: Desk, house: Any, path: str, *, withdraw: bool, yes: bool) -> None:
    say = desk.output.say
    if withdraw:
        found = await house.post(path + "/consent", {"consent": False})
        desk.output.result(found, say("target.withdrawn", name=found["name"]))
        return
    there = await house.get(path)
    if not yes and not sys.stdin.isatty():
        raise BadField(field="--yes", problem=there["name"], reason="target_confirm")
    if not yes and not click.confirm(say("target.ask", name=there["name"], url=there["url"]), err=True):
        return
    found = await house.post(path + "/consent", {"consent": True})
    where = say(f"reach.{found['reach']}")
    desk.output.result(
        found, say("target.consented", name=found["name"], where=where, address=", ".join(found["addresses"][:4]))
    )


def _tested(desk: Desk, found: Mapping[str, Any]) -> None:
    say, there = desk.output.say, found["there"]
    took = f"{1000 * found['latency_s']:.0f} ms"
    lines = [say("target.tested", name=found["name"], took=took, n=len(there))]
    desk.output.result(found, *lines, *(f"  {name}" for name in there[:50]))


def _read_key(desk: Desk) -> str:
    """From the keyboard, unseen, or from a pipe; never from the command line, which other programs can read."""
    if sys.stdin.isatty():
        return getpass.getpass(desk.output.say("target.key")).strip()
    return sys.stdin.readline().strip()


@command("egress", option("--since"), option("--limit", type=int))
async def egress(desk: Desk, since: str | None, limit: int | None) -> None:
    say, lang = desk.output.say, desk.output.lang
    query = {k: str(v) for k, v in (("since", since), ("limit", limit)) if v is not None}
    async with desk.house() as house:
        found = await house.get("/domicile/egress", **query)
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(e["at"])),
            f"{e['host']}:{e['port']}" + (f" ({e['address']})" if e["address"] not in {None, e["host"]} else ""),
            say(f"purpose.{e['purpose']}"),
            e["model"] or "",
            i18n.size(lang, e["bytes_up"]),
            i18n.size(lang, e["bytes_down"]),
            str(e["status"] or e["error"] or ("…" if e["ended_at"] is None else "")),
        )
        for e in found["exchanges"]
    ]
    heads = [say(f"head.{h}") for h in ("when", "where", "why", "model", "up", "down", "result")]
    desk.output.table(found, heads, rows, say("egress.none"))
    if rows and not desk.output.as_json:
        up, down = (sum(t[k] for t in found["totals"]) for k in ("bytes_up", "bytes_down"))
        n = sum(t["exchanges"] for t in found["totals"])
        desk.output.tell(say("egress.total", n=n, up=up, down=down))
    if found["offline"]:
        desk.output.tell(say("egress.offline"))
