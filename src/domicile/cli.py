"""The command line: one sentence a command, each a client of the house's API.

COMMANDS is the list; their words are in the locale (`cmd.<name>`, `opt.<option>`, `arg.<argument>`), so the same
list speaks French and English. Exit status: 0 done, 1 other failure, 2 bad input, 3 not found, 4 refused, 5 the
Hub or the network, 6 the disk, 7 an engine, 8 the house itself, 130 interrupted.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from domicile import __version__, i18n
from domicile.config import Settings, load
from domicile.errors import BadField, BadName, DomicileError
from domicile.output import Output
from domicile.types import EMBEDDED, ModelRef

INTERRUPTED = 130


@dataclass
class Desk:
    """What every command has at hand: its output, and the way to the house."""

    output: Output
    settings_given: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load(**self.settings_given)

    @asynccontextmanager
    async def house(self) -> AsyncIterator[Any]:
        from domicile.client import connect

        async with connect(self.settings, self.output.lang) as client:
            yield client


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    work: Callable[..., Awaitable[None]]
    params: tuple[Callable[[str], click.Parameter], ...]
    aliases: tuple[str, ...] = ()


COMMANDS: list[Command] = []
_Work = Callable[..., Awaitable[None]]


def command(
    name: str, *params: Callable[[str], click.Parameter], aliases: Sequence[str] = ()
) -> Callable[[_Work], _Work]:
    """Enter a coroutine function in COMMANDS. Parameters are made once the language is known."""

    def enter(work: _Work) -> _Work:
        COMMANDS.append(Command(name, work, params, tuple(aliases)))
        return work

    return enter


def argument(name: str, **settings: Any) -> Callable[[str], click.Parameter]:
    shape = "[{}]" if not settings.get("required", settings.get("nargs") != -1) else "{}"
    shape += "..." if settings.get("nargs") == -1 else ""
    return lambda lang: click.Argument([name], metavar=shape.format(i18n.say(lang, f"arg.{name}")), **settings)


def option(*names: str, **settings: Any) -> Callable[[str], click.Parameter]:
    key = max(names, key=len).lstrip("-")
    return lambda lang: click.Option(list(names), help=i18n.say(lang, f"opt.{key}"), **settings)


def _complete_model(context: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    from domicile.db import Database
    from domicile.library import Library

    settings = load()
    known = Library(settings, Database(settings.database)).list() if settings.database.exists() else []
    names = [m.name for m in known] or [EMBEDDED]
    return [CompletionItem(n) for n in names if n.lower().startswith(typed.lower())]


def model_argument(**settings: Any) -> Callable[[str], click.Parameter]:
    return argument("model", shell_complete=_complete_model, **settings)


# -- talking --


@command(
    "run",
    model_argument(required=False),
    argument("prompt", nargs=-1),
    option("--system", "-s"),
    option("--temperature", "-t", type=float),
    option("--max-tokens", type=int),
    option("--seed", type=int),
    option("--keep-alive"),
)
async def run(
    desk: Desk,
    model: str | None,
    prompt: tuple[str, ...],
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    keep_alive: str | None,
) -> None:
    from domicile.client import of_model
    from domicile.talk import Talk

    question = " ".join(prompt)
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    question = f"{question}\n\n{piped}".strip() if piped.strip() else question
    if not question and (sys.stdin is None or not sys.stdin.isatty()):
        raise BadField(field="prompt", problem="", reason="empty")
    options = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    async with desk.house() as house:
        name = await _at_home(desk, house, model)
        if keep_alive is not None:
            await house.post(of_model(name, "wake"), {"keep_alive": keep_alive})
        talk = Talk(house, desk.output, name, system, {k: v for k, v in options.items() if v is not None})
        if question:
            await talk.once(question)
        else:
            await talk.session(desk.settings.home / "history")


async def _at_home(desk: Desk, house: Any, model: str | None) -> str:
    """The installed name of what a person asked for: the active model, one of the library, a file, or one to pull."""
    from domicile.client import HouseSaid, of_model

    if model is None:
        models = (await house.get("/domicile/models"))["models"]
        return str(next((m["name"] for m in models if m["active"] and not m["missing"]), EMBEDDED))
    ref = ModelRef.parse(model)
    if ref.kind == "file":
        path = _path_of(ref)
        return str((await house.post("/domicile/models", {"path": path}))["name"])
    try:
        return str((await house.get(of_model(str(ref))))["name"])
    except HouseSaid as missing:
        if ref.kind != "hub" or missing.status != 404:
            raise
    job = await _pull(desk, house, model)
    return str(job["result"]["name"])


def _path_of(ref: ModelRef) -> str:
    """The absolute path a person meant. Raises `BadName` where there is no such home or no such character."""
    try:
        path = str(Path(ref.name).expanduser().absolute())
        path.encode()
    except (RuntimeError, UnicodeEncodeError) as trouble:
        raise BadName(name=ascii(ref.name), reason="control") from trouble
    return path


# -- models --


@command("pull", argument("model"))
async def pull(desk: Desk, model: str) -> None:
    async with desk.house() as house:
        job = await _pull(desk, house, model)
        name, size = job["result"]["name"], job["result"]["size_bytes"]
        desk.output.result(job, desk.output.say("pull.done", name=name, size=i18n.size(desk.output.lang, size)))


async def _pull(desk: Desk, house: Any, model: str) -> dict[str, Any]:
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
            ("* " if m["active"] else "  ") + m["name"],
            say("list.missing") if m["missing"] else i18n.size(lang, m["size_bytes"]),
            m["format"].upper() + (f" {m['quantisation']}" if m["quantisation"] else ""),
            _ago(desk, m["last_used_at"] or m["added_at"]) if m["source"] != "embedded" else say("list.embedded"),
        )
        for m in found["models"]
    ]
    heads = [say(f"head.{h}") for h in ("name", "size", "format", "used")]
    desk.output.table(found, heads, rows, say("list.empty"))


@command("show", model_argument())
async def show(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get(of_model(_named(model)))
    awake = found["awake"]
    facts = {
        "name": found["name"],
        "format": found["format"].upper(),
        "quantisation": found["quantisation"],
        "size": i18n.size(lang, found["size_bytes"]),
        "source": found["repository"] or say(f"source.{found['source']}"),
        "revision": found["revision"],
        "licence": found["licence"],
        "file": found["path"],
        "state": say("list.missing") if found["missing"] else say(f"state.{awake['state'] if awake else 'asleep'}"),
    }
    heads = {key: say(f"head.{key}") for key in facts}
    width = max(len(head) for head in heads.values()) + 2
    desk.output.result(found, *(f"{heads[k]:{width}}{v}" for k, v in facts.items() if v))


@command("use", model_argument())
async def use(desk: Desk, model: str) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(_named(model), "activate"))
    desk.output.result(found, desk.output.say("use.done", name=found["name"]))


@command("rm", model_argument(), option("--yes", "-y", is_flag=True), option("--force", "-f", is_flag=True))
async def rm(desk: Desk, model: str, yes: bool, force: bool) -> None:
    from domicile.client import of_model

    say, lang = desk.output.say, desk.output.lang
    async with desk.house() as house:
        found = await house.get(of_model(_named(model)))
        key = "rm.ask_entry" if found["source"] == "file" else "rm.ask"
        question = say(key, name=found["name"], size=i18n.size(lang, found["size_bytes"]))
        if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
            return
        if not yes and not sys.stdin.isatty():
            raise BadField(field="--yes", problem=found["name"], reason="confirm")
        gone = await house.delete(of_model(found["name"]), force=str(force).lower())
    desk.output.result(gone, say("rm.done", name=found["name"], freed=i18n.size(lang, gone["freed_bytes"])))


# -- the house --


@command("ps")
async def ps(desk: Desk) -> None:
    say = desk.output.say
    async with desk.house() as house:
        found = await house.get("/domicile/ps")
    rows = [
        (
            m["name"],
            say(f"state.{m['state']}"),
            m["engine"],
            str(m["busy"]),
            "" if m["busy"] else _left(desk, m["sleeps_in_s"]),
        )
        for m in found["models"]
    ]
    desk.output.table(
        found, [say(f"head.{h}") for h in ("name", "state", "engine", "busy", "until")], rows, say("ps.empty")
    )


@command("stop", model_argument(), option("--force", "-f", is_flag=True))
async def stop(desk: Desk, model: str, force: bool) -> None:
    from domicile.client import of_model

    async with desk.house() as house:
        found = await house.post(of_model(_named(model), "sleep"), force=str(force).lower())
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
)
async def serve(desk: Desk, host: str | None, port: int | None, hello: bool, new_key: bool) -> None:
    from domicile.web.serve import open_door

    desk.settings_given.update(host=host, port=port)
    say = desk.output.say
    async with open_door(desk.settings, new_key=new_key) as door:
        if desk.output.as_json:
            desk.output.data({"url": door.url, "pid": os.getpid(), "new_key": door.new_key})
            sys.stdout.flush()
        else:
            desk.output.tell(say("serve.open", url=door.url, home=str(desk.settings.home)))
            if door.new_key:  # said even in quiet mode: it is kept as a digest only, and shown this once
                print(say("serve.key", made=door.new_key), file=sys.stderr)
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
        _explain(desk.output, trouble)
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
        path = of_model(_named(model), "log")
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


@command("help", argument("topic", required=False))
async def show_help(desk: Desk, topic: str | None) -> None:
    group = build(desk.output.lang)
    found = group.get_command(click.Context(group), topic) if topic else None
    if topic and found is None:
        raise BadField(field="help", problem=topic, reason="topic")
    shown, name = (found, f"domicile {topic}") if found and topic else (group, "domicile")
    with click.Context(shown, info_name=name) as context:
        print(shown.get_help(context))


# -- from words to commands --


class _Group(click.Group):
    """Aliases, and commands in the order of the list."""

    aliases: Mapping[str, str] = {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [c.name for c in COMMANDS]


def build(lang: str) -> click.Group:
    """The command line in a language."""
    group = _Group("domicile", help=i18n.say(lang, "cmd.domicile"), params=_common(lang), no_args_is_help=True)
    group.params.append(_option("--version", lang, _print_version, is_flag=True, is_eager=True))
    group.aliases = {alias: c.name for c in COMMANDS for alias in c.aliases}
    for entry in COMMANDS:
        params = [make(lang) for make in entry.params]
        group.add_command(
            click.Command(
                entry.name,
                params=[*params, *_common(lang)],
                callback=_caller(entry.work),
                help=i18n.say(lang, f"cmd.{entry.name}"),
                epilog=i18n.say(lang, "cmd.alias", names=", ".join(entry.aliases)) if entry.aliases else None,
            )
        )
    return group


def _common(lang: str) -> list[click.Parameter]:
    """Options that may stand before or after the command."""
    return [
        _option("--lang", lang, _note("lang"), type=click.Choice(i18n.LANGUAGES)),
        _option("--json", lang, _note("json"), is_flag=True),
        _option("--quiet", lang, _note("quiet"), "-q", is_flag=True),
    ]


def _option(name: str, lang: str, callback: Callable[..., None], *short: str, **settings: Any) -> click.Option:
    """An option that is not handed to the command but noted beside it."""
    words = i18n.say(lang, f"opt.{name.lstrip('-')}")
    return click.Option([*short, name], help=words, expose_value=False, callback=callback, **settings)


def _note(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            context.ensure_object(dict)[name] = value

    return keep


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        print(f"domicile {__version__}")
        context.exit()


def _caller(work: _Work) -> Callable[..., None]:
    @click.pass_context
    def call(context: click.Context, /, **values: Any) -> None:
        said = context.find_object(dict) or {}
        output = Output(said.get("lang") or _language([]), bool(said.get("json")), bool(said.get("quiet")))
        import asyncio

        try:
            asyncio.run(_guarded(work, Desk(output), values))
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    return call


async def _guarded(work: _Work, desk: Desk, values: dict[str, Any]) -> None:
    from domicile.client import HouseSaid

    try:
        await work(desk, **values)
    except (DomicileError, HouseSaid) as trouble:
        _explain(desk.output, trouble)
        raise SystemExit(trouble.exit_code) from None


def _explain(output: Output, trouble: Any) -> None:
    """An error of ours, or one that the house told us, as a person or a program reads it."""
    if isinstance(trouble, DomicileError):
        message, hint = i18n.error_text(output.lang, trouble)
        output.error(message, hint, {"code": trouble.code})
    else:
        output.error(trouble.message, trouble.hint, {"code": trouble.code})


def _language(arguments: Sequence[str]) -> str:
    """The language asked for on the command line, by the settings, or by the environment."""
    for place, word in enumerate(arguments):
        if word == "--lang" and place + 1 < len(arguments):
            return i18n.choose(arguments[place + 1])
        if word.startswith("--lang="):
            return i18n.choose(word.removeprefix("--lang="))
    try:
        configured = load().lang
    except DomicileError:
        configured = ""
    return i18n.choose(configured) if configured else i18n.of_environment()


def main() -> None:
    """The `domicile` command."""
    lang = _language(sys.argv[1:])
    i18n.bind_gettext(lang)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        build(lang)(obj={}, prog_name="domicile", complete_var="_DOMICILE_COMPLETE")
    except BrokenPipeError:  # `domicile list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _named(model: str) -> str:
    return str(ModelRef.parse(model))


def _ago(desk: Desk, moment: float | None) -> str:
    import time

    if moment is None:
        return ""
    return desk.output.say("ago", time=i18n.duration(desk.output.lang, max(0.0, time.time() - moment)))


def _left(desk: Desk, seconds: float | None) -> str:
    return desk.output.say("ps.forever") if seconds is None else i18n.duration(desk.output.lang, seconds)
