"""What a command is made of: its desk, its parameters, the list it stands in. Its words are in the locale.

A command is a coroutine function entered in COMMANDS with `command(name, *parameters)`; the parameters become
Click's once the language is known (`cmd.<name>`, `opt.<option>`, `arg.<argument>`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from domicile import i18n
from domicile.config import Settings, load
from domicile.errors import BadName
from domicile.output import Output
from domicile.refs import EMBEDDED, ModelRef


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
Work = Callable[..., Awaitable[None]]


def command(
    name: str, *params: Callable[[str], click.Parameter], aliases: Sequence[str] = ()
) -> Callable[[Work], Work]:
    """Enter a coroutine function in COMMANDS. Parameters are made once the language is known."""

    def enter(work: Work) -> Work:
        COMMANDS.append(Command(name, work, params, tuple(aliases)))
        return work

    return enter


def argument(name: str, **settings: Any) -> Callable[[str], click.Parameter]:
    shape = "[{}]" if not settings.get("required", settings.get("nargs") != -1) else "{}"
    shape += "..." if settings.get("nargs") == -1 else ""
    return lambda lang: click.Argument([name], metavar=shape.format(i18n.say(lang, f"arg.{name}")), **settings)


def option(*names: str, words: str | None = None, **settings: Any) -> Callable[[str], click.Parameter]:
    """`words`: the key of its help (`opt.<words>`), where its name means something else in another command."""
    key = words or max((n for n in names if n.startswith("--")), key=len).lstrip("-").partition("/")[0]
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


def path_of(ref: ModelRef) -> str:
    """The absolute path a person meant. Raises `BadName` where there is no such home or no such character."""
    try:
        path = str(Path(ref.name).expanduser().absolute())
        path.encode()
    except (RuntimeError, UnicodeEncodeError) as trouble:
        raise BadName(name=ascii(ref.name), reason="control") from trouble
    return path


def named(model: str) -> str:
    """The canonical form of a name that was typed. Raises `BadName`."""
    return str(ModelRef.parse(model))


def explain(output: Output, trouble: Any) -> None:
    """An error of ours, or one that the house told us, as a person or a program reads it."""
    if hasattr(trouble, "message"):
        output.error(trouble.message, trouble.hint, {"code": trouble.code})
    else:
        message, hint = i18n.error_text(output.lang, trouble)
        output.error(message, hint, {"code": trouble.code})
