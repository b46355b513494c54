"""The house itself: open it, see who is awake, read its logs, ask what is wrong, get help."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from domicile import __version__, i18n
from domicile.errors import DomicileError
from domicile.grammar import Desk, argument, command, explain, model_argument, named, option
from domicile.refs import EMBEDDED


@command("ps")
async def ps(desk: Desk) -> None:
    say = desk.output.say
    async with desk.house() as house:
        found = await house.get("/domicile/ps")
    for m in found["models"]:
        if m["template"]:
            desk.output.tell(say("ps.template", name=m["name"], built_in=m["template"]))
    rows = [
        (
            m["name"],
            say(f"state.{m['state']}"),
            m["engine"],
            i18n.size(desk.output.lang, max(m["held_bytes"], m["used_bytes"])),
            i18n.number(desk.output.lang, m["context"]) if m["context"] else "",
            str(m["busy"]),
            str(m["waiting"]) if m["position"] is None else say("ps.position", n=m["waiting"], position=m["position"]),
            "" if m["busy"] or m["waiting"] else _left(desk, m["sleeps_in_s"]),
        )
        for m in found["models"]
    ]
    desk.output.table(
        found,
        [say(f"head.{h}") for h in ("name", "state", "engine", "memory", "window", "busy", "waiting", "until")],
        rows,
        say("ps.empty"),
    )
    if not desk.output.as_json:
        for note in [m["note_text"] for m in found["models"] if m["note_text"]]:
            desk.output.tell(note)


@command("stop", model_argument(), option("--force", "-f", is_flag=True))
async def stop(desk: Desk, model: str, force: bool) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(named(model), "sleep"), force=str(force).lower())
    key = "stop.done" if found["slept"] else "stop.asleep"
    desk.output.result(found, desk.output.say(key, name=found["name"]))


def _own_command() -> str:
    """How the person types our name: `domicile` where the shell finds it, else its path from here."""
    if shutil.which("domicile"):
        return "domicile"
    own = Path(sys.argv[0])
    return os.path.relpath(own) if own.name == "domicile" else f"{sys.executable} -m domicile"


@command(
    "serve",
    option("--host"),
    option("--port", "-p", type=int),
    option("--hello", is_flag=True),
    option("--new-key", is_flag=True),
    option("--as-ollama", is_flag=True),
)
async def serve(desk: Desk, host: str | None, port: int | None, hello: bool, new_key: bool, as_ollama: bool) -> None:
    from domicile.web.pages import OLLAMA_PORT
    from domicile.web.serve import open_door

    if as_ollama and port is None:
        port = OLLAMA_PORT
    desk.settings_given.update(host=host, port=port)
    say = desk.output.say
    async with open_door(desk.settings, new_key=new_key) as door:
        if desk.output.as_json:
            desk.output.data(
                {"url": door.url, "pid": os.getpid(), "new_key": door.new_key, "first_code": door.first_code}
            )
            sys.stdout.flush()
        else:
            desk.output.tell(say("serve.open", url=door.url, home=str(desk.settings.home)))
            if door.new_key:  # said even in quiet mode: it is kept as a digest only, and shown this once
                print(say("serve.key", made=door.new_key), file=sys.stderr)
            if door.first_code:
                print(say("serve.first", code=door.first_code), file=sys.stderr)
        if hello:
            await _hello(desk, door.url, door.key)
        await door.closed.wait()
    desk.output.tell(say("serve.closed"))


async def _hello(desk: Desk, url: str, key: str) -> None:
    """Ask the embedded model a first question through our own door, as any other program would."""
    from domicile.client import HouseSaid, at
    from domicile.talk import Talk

    say = desk.output.say
    question = say("serve.hello_question")
    desk.output.tell(say("serve.hello", model=EMBEDDED, question=question))
    try:
        async with at(url, key, desk.output.lang) as client:
            await Talk(client, desk.output, EMBEDDED, None, {"temperature": 0}).once(question)
    except (HouseSaid, DomicileError) as trouble:
        explain(desk.output, trouble)
    desk.output.tell(say("serve.next", url=url, model=EMBEDDED, command=_own_command()))


@command(
    "logs",
    model_argument(),
    option("--follow", "-f", is_flag=True),
    option("--lines", "-n", type=int, default=200),
)
async def logs(desk: Desk, model: str, follow: bool, lines: int) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        path = of_model(named(model), "log")
        text = house.text(path, lines=str(lines), follow=str(follow).lower())
        if desk.output.as_json and not follow:
            desk.output.data({"log": "".join([chunk async for chunk in text]).splitlines()})
            return
        async for chunk in text:
            print(chunk, end="", flush=True)


@command("doctor")
async def doctor(desk: Desk) -> None:
    async with desk.house() as house:
        found = await house.get("/domicile/doctor")
        found["house"] = house.url
    lines = []
    for check in found["checks"]:
        lines.append(("✓ " if check["well"] else "✗ ") + check["message"])
        if check["hint"]:
            lines.append(f"    → {check['hint']}")
    state = desk.output.say("doctor.open", url=found["house"]) if found["house"] else desk.output.say("doctor.closed")
    desk.output.result(found, *lines, "✓ " + state)
    if not all(check["well"] for check in found["checks"]):
        raise SystemExit(1)


@command("version")
async def version(desk: Desk) -> None:
    desk.output.result({"version": __version__}, f"domicile {__version__}")


@command("completion", argument("shell", type=click.Choice(["bash", "zsh", "fish"])))
async def completion(desk: Desk, shell: str) -> None:
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(click.Group("domicile"), {}, "domicile", "_DOMICILE_COMPLETE").source())


def _left(desk: Desk, seconds: float | None) -> str:
    return desk.output.say("ps.forever") if seconds is None else i18n.duration(desk.output.lang, seconds)
