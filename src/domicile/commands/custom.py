"""Models that a person defines, by `domicile custom`: list, add, rm, check, export, import, share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from domicile.errors import BadField, MissingField
from domicile.grammar import Desk, argument, command, option

_ACTS = ("list", "add", "rm", "check", "export", "import", "share")
_FILE_LIMIT = 16 * 2**20


@command(
    "custom",
    argument("act", type=click.Choice(_ACTS), required=False, default="list"),
    argument("subject", required=False),
    option("--id"),
    option("--name"),
    option("--url"),
    option("--size"),
    option("--description"),
    option("--kind", type=click.Choice(["gguf", "safetensors", "onnx", "mlc", "remote"])),
    option("--model-lib"),
    option("--unchecked", is_flag=True),
    option("--browser", is_flag=True),
    option("--yes", "-y", is_flag=True),
)
async def custom(desk: Desk, act: str, subject: str | None, yes: bool, browser: bool, **form: Any) -> None:
    async with desk.house() as house:
        match act:
            case "list":
                await _list(desk, house)
            case "add":
                await _add(desk, house, subject, form)
            case "rm":
                await _rm(desk, house, _needed(subject), yes)
            case "check":
                from domicile.client import of_custom

                found = await house.post(of_custom(_needed(subject), "check"))
                _tell_checks(desk, found)
            case "share":
                from domicile.client import of_custom

                found = await house.get(of_custom(_needed(subject), "share"))
                desk.output.result(found, found["link"])
            case "export":
                await _export(desk, house, subject, browser)
            case "import":
                await _import(desk, house, _needed(subject, "FILE"), yes)


async def _list(desk: Desk, house: Any) -> None:
    say = desk.output.say
    found = await house.get("/domicile/custom")
    rows = [(c["id"], c["name"], c["kind"].upper(), c["size"] or "", c["url"]) for c in found["models"]]
    heads = [say(f"head.{h}") for h in ("id", "name", "format", "size", "address")]
    desk.output.table(found, heads, rows, say("custom.none"))


async def _add(desk: Desk, house: Any, subject: str | None, form: dict[str, Any]) -> None:
    said = {k: v for k, v in form.items() if v not in {None, False}}
    if subject is not None:
        said.setdefault("id", subject)
    added = await house.post("/domicile/custom", said)
    _tell_checks(desk, added)
    if not desk.output.as_json:
        desk.output.tell(desk.output.say("custom.added", id=added["id"], name=added["name"]))


def _tell_checks(desk: Desk, found: dict[str, Any]) -> None:
    if desk.output.as_json:
        desk.output.data(found)
        return
    for check in found["checks"]:
        desk.output.tell(f"{'✓' if check['well'] else '!'} {check['message']}")


async def _rm(desk: Desk, house: Any, custom_id: str, yes: bool) -> None:
    from domicile.client import of_custom

    say = desk.output.say
    if not yes and not sys.stdin.isatty():
        raise BadField(field="--yes", problem=custom_id, reason="custom_confirm")
    if not yes and not click.confirm(say("custom.ask_rm", id=custom_id), err=True):
        return
    gone = await house.delete(of_custom(custom_id))
    desk.output.result(gone, say("custom.removed", id=gone["removed"]["id"]))


async def _export(desk: Desk, house: Any, file: str | None, browser: bool) -> None:
    found = await house.get("/domicile/custom/export", shape="customModels" if browser else "domicile")
    if file is None or file == "-":
        desk.output.data(found)
        return
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    path = Path(file).expanduser()
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as trouble:
        raise BadField(field="FILE", problem=f"{file}: {trouble.strerror}") from trouble
    count = len(found) if browser else len(found["models"])
    desk.output.result({"file": str(path), "models": count}, desk.output.say("custom.exported", n=count, file=file))


async def _import(desk: Desk, house: Any, subject: str, yes: bool) -> None:
    """A file or a link. What a link carries is shown first, and added when a person says so."""
    say = desk.output.say
    if "#custom=" in subject or subject.startswith("custom="):
        read = await house.post("/domicile/custom/link", {"link": subject})
        proposed = read["proposed"]
        for field in ("id", "name", "url", "kind", "size", "description"):
            if proposed[field]:
                desk.output.tell(f"{say(f'opt.{field}').rstrip('.')}: {proposed[field]}")
        if not yes and not sys.stdin.isatty():
            raise BadField(field="--yes", problem=proposed["id"], reason="custom_confirm")
        if not yes and not click.confirm(say("custom.ask_add", id=proposed["id"]), err=True):
            return
        await _add(desk, house, None, {k: v for k, v in proposed.items() if k not in {"added_at", "record"}})
        return
    said = _read_file(subject)
    came = await house.post("/domicile/custom/import", said if isinstance(said, dict) else {"models": said})
    if desk.output.as_json:
        desk.output.data(came)
        return
    desk.output.tell(say("custom.imported", n=len(came["added"])))
    for left in came["left_out"]:
        desk.output.tell(f"! {left['id']}: {left['message']}")


def _read_file(name: str) -> Any:
    try:
        if name == "-":
            text = sys.stdin.read(_FILE_LIMIT)
        else:
            with Path(name).expanduser().open(encoding="utf-8") as opened:
                text = opened.read(_FILE_LIMIT)
        return json.loads(text)
    except OSError as trouble:
        raise BadField(field="FILE", problem=f"{name}: {trouble.strerror}") from trouble
    except (ValueError, RecursionError) as trouble:
        raise BadField(field="models", problem=name[:100], reason="custom_file") from trouble


def _needed(subject: str | None, what: str = "id") -> str:
    if not subject:
        raise MissingField(field=what)
    return subject
