"""The command line: the commands made into Click's, in the reader's language; and the `domicile` program.

COMMANDS (grammar.py) is the list; the sentences are in `commands/`, each a client of the house's API. Exit status: 0
done, 1 other failure, 2 bad input, 3 not found, 4 refused, 5 the Hub or the network, 6 the disk, 7 an engine, 8 the
house itself, 9 a malformed file, 10 it does not fit, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from domicile import __version__, i18n
from domicile.commands import (
    accounts,
    away,
    chats,
    custom,
    discover,
    engines,
    hearing,
    house,
    jobs,
    kept,
    models,
    origins,
    pictures,
    search,
    sharing,
    talking,
)
from domicile.config import load
from domicile.errors import BadField, DomicileError
from domicile.grammar import COMMANDS, Desk, Work, argument, command, explain
from domicile.output import Output

INTERRUPTED = 130
ORDER = (
    talking, pictures, hearing, chats, models, jobs, origins, custom, sharing, search, discover, engines, away,
    accounts, kept, house,
)  # fmt: skip
"""The rooms of the command line, in the order of its help."""


@command("help", argument("topic", required=False))
async def show_help(desk: Desk, topic: str | None) -> None:
    group = build(desk.output.lang)
    found = group.get_command(click.Context(group), topic) if topic else None
    if topic and found is None:
        raise BadField(field="help", problem=topic, reason="topic")
    shown, name = (found, f"domicile {topic}") if found and topic else (group, "domicile")
    with shown.context_class(shown, info_name=name) as context:
        print(shown.get_help(context))


class _FrenchHelp(click.HelpFormatter):
    def write_heading(self, heading: str) -> None:
        """With the space before the colon."""
        self.write(i18n.labelled("fr", heading, "").rstrip() + "\n")


class _FrenchContext(click.Context):
    formatter_class = _FrenchHelp


class _Group(click.Group):
    """Aliases, and commands in the order of the list."""

    aliases: Mapping[str, str] = {}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        rooms = [room.__name__ for room in ORDER]
        return [c.name for c in sorted(COMMANDS, key=lambda c: [*rooms, __name__].index(c.work.__module__))]


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
                epilog=i18n.say(lang, "cmd.also", names=", ".join(entry.aliases)) if entry.aliases else None,
            )
        )
    for one in (group, *group.commands.values()):
        one.context_class = _FrenchContext if lang == "fr" else click.Context
    return group


def _common(lang: str) -> list[click.Parameter]:
    """Options that may stand before or after the command."""
    return [
        _option("--lang", lang, _note("lang"), type=click.Choice(i18n.LANGUAGES)),
        _option("--json", lang, _note("json"), is_flag=True),
        _option("--quiet", lang, _note("quiet"), "-q", is_flag=True),
        _option("--offline", lang, _note("offline"), is_flag=True),
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


def _caller(work: Work) -> Callable[..., None]:
    @click.pass_context
    def call(context: click.Context, /, **values: Any) -> None:
        said = context.find_object(dict) or {}
        output = Output(said.get("lang") or _language([]), bool(said.get("json")), bool(said.get("quiet")))
        desk = Desk(output, {"offline": True} if said.get("offline") else {})
        import asyncio

        with contextlib.suppress(DomicileError):  # settings that cannot be read: the command says so
            if desk.settings.offline:
                from domicile.egress import shut_process

                shut_process()
        try:
            asyncio.run(_guarded(work, desk, values))
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    return call


async def _guarded(work: Work, desk: Desk, values: dict[str, Any]) -> None:
    from domicile.client import HouseSaid

    try:
        await work(desk, **values)
    except (DomicileError, HouseSaid) as trouble:
        explain(desk.output, trouble)
        raise SystemExit(trouble.exit_code) from None


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
