"""Downloads that wait, run, or were left: list them, steer them, follow them; and the workers that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from domicile import config, i18n
from domicile.errors import BadField, JobNotFound, MissingField
from domicile.grammar import Desk, argument, command, option

ACTIONS = ("list", "pause", "resume", "cancel", "follow", "limit", "priority", "hours")
_VALUES: Mapping[str, Callable[[object], object]] = {"limit": config.rate, "hours": config.hours, "priority": str}


@command(
    "jobs",
    argument("action", required=False, type=click.Choice(ACTIONS)),
    argument("job", required=False),
    argument("value", required=False),
)
async def jobs(desk: Desk, action: str | None, job: str | None, value: str | None) -> None:
    async with desk.house() as house:
        if action in {None, "list"}:
            _show(desk, await house.get("/domicile/jobs"))
            return
        if job is None:
            raise MissingField(field="JOB", reason="argument", command="jobs")
        if action in _VALUES and value is None:
            raise MissingField(field=str(action).upper(), reason="argument", command="jobs")
        found = await _find(house, job)
        if action == "follow":
            await followed(desk, house, found)
            return
        body = {action: _value(str(action), value)} if action in _VALUES else {}
        changed = await house.post(f"/domicile/jobs/{found['id']}/{action}", body)
        waits = house.url is None and changed["status"] == "queued"
    lines = [_sentence(desk, changed)]
    if waits:
        lines.append(desk.output.say("jobs.nobody"))
    desk.output.result(changed, *lines)


@command("worker", option("--count", "-n", type=click.IntRange(1, 64), default=1))
async def worker(desk: Desk, count: int) -> None:
    from domicile.worker import supervise

    settings = desk.settings
    if not settings.redis_url:
        raise BadField(field="DOMICILE_REDIS_URL", problem="", reason="redis")
    desk.output.tell(desk.output.say("worker.open", n=count))
    await supervise(settings, count)
    desk.output.tell(desk.output.say("worker.closed"))


async def followed(desk: Desk, house: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Follow a download to its end. Raises `HouseSaid` where that is not a model."""
    from domicile.client import HouseSaid

    progress = desk.output.progress()
    try:
        async for state in house.follow(job["id"]):
            job = state
            progress.show(job)
            if job["status"] == "paused" and job["step"] != "left":
                break
    finally:
        progress.end()
    if job["status"] != "done":
        key = "pull.paused" if job["status"] == "paused" else "pull.cancelled"
        error = job["error"] or {"message": desk.output.say(key, model=job["model"], id=job["id"])}
        raise HouseSaid({**error, "summary": error["message"]}, 502)
    return job


async def _find(house: Any, said: str) -> dict[str, Any]:
    """The job of an id, of the beginning of one, or of a model (its newest)."""
    known = (await house.get("/domicile/jobs"))["jobs"]
    by_id = [j for j in known if j["id"].startswith(said.lower())]
    by_model = [j for j in known if said.lower() in {j["model"].lower(), str(j["result"].get("name", "")).lower()}]
    found: list[dict[str, Any]] = by_model[-1:] or (by_id if len(said) >= 3 else [])
    if len(found) != 1:
        raise JobNotFound(id=said[:80])
    return found[0]


def _value(action: str, value: str | None) -> object:
    try:
        return _VALUES[action](value)
    except ValueError as trouble:
        raise BadField(
            field=action, problem=repr(value)[:80], reason="rate" if action == "limit" else action
        ) from trouble


def _show(desk: Desk, found: dict[str, Any]) -> None:
    say, lang = desk.output.say, desk.output.lang
    rows = []
    for job in found["jobs"]:
        share = "" if job["progress"] is None else f"{job['progress']:.0%}"
        speed = f"{i18n.size(lang, int(job['speed']))}/s" if job["speed"] else ""
        left = i18n.duration(lang, job["eta"]) if job["eta"] and job["status"] == "running" else ""
        size = "" if job["size_bytes"] is None else i18n.size(lang, job["size_bytes"])
        rows.append((job["id"], job["model"], say(f"job.{job['status']}"), share, size, speed, left))
    heads = [say(f"head.{h}") for h in ("job", "model", "state", "share", "size", "speed", "left")]
    desk.output.table(found, heads, rows, say("jobs.empty"))
    if not desk.output.as_json:
        for job in found["jobs"]:
            if job["error"] and job["status"] == "paused":
                desk.output.tell(f"{job['id']}: {job['error']['message']}")


def _sentence(desk: Desk, job: dict[str, Any]) -> str:
    state = desk.output.say(f"job.{job['status']}")
    return f"{job['id']}   {job['model']}   {state}"
