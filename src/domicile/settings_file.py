"""Every setting with where its value comes from, and the writing of `config.toml`.

What is written is read back before it takes the place of what was there; comments and order stay where they can. The
file is for its owner alone (0600): it may hold a token.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile import config
from domicile.config import SETTINGS, Setting, Settings
from domicile.errors import BadField, SetElsewhere

LIVE = frozenset({"offline", "strategy", "torch_index", "torch_build"})
"""Those that hold from the moment they are changed; the others, from the next opening."""
_GIVEN = frozenset({"host", "port", "offline"})
"""Those that the command line may give."""
BY_HAND = frozenset({"llama_server"})
"""Those that name a program which is then run: whoever may use the page may not choose one."""
_KINDS: dict[str, str] = {
    "_flag": "flag", "_count": "number", "_port": "number", "seconds": "duration", "byte_count": "bytes",
    "rate": "rate", "hours": "hours", "_names": "list", "_folders": "list", "_folder": "folder",
    "_web_address": "address", "_index": "address", "_strategy": "choice", "_torch_build": "choice",
    "_overflow": "choice", "_notices": "choice", "_build": "choice",
}  # fmt: skip
_OPTIONS = {
    "strategy": config.STRATEGIES,
    "torch_build": config.TORCH_BUILDS,
    "context_overflow": ("refuse", "trim"),
    "notices": ("auto", "on", "off"),
    "llama_build": config.LLAMA_BUILDS,
    "lang": ("", "en", "fr"),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One setting as it stands. `value` is None of a secret; `given` says whether it has any."""

    name: str
    env: str
    kind: str
    options: tuple[str, ...]
    where: str
    """environment, file, given (on the command line), or default."""
    value: Any
    default: Any
    given: bool
    secret: bool
    waits: bool
    """What the file says holds from the next opening only."""
    live: bool

    def public(self) -> dict[str, Any]:
        return {slot: getattr(self, slot) for slot in self.__slots__} | {
            "editable": self.where in {"file", "default"} and self.name not in BY_HAND
        }


def seen(now: Settings, environ: Mapping[str, str] = os.environ) -> list[Seen]:
    """Every setting of SETTINGS: what holds in this house, where it comes from, and what will hold next."""
    table = _table(now.home / "config.toml")
    found = []
    for setting in SETTINGS:
        value = getattr(now, setting.name)
        coming = _next(setting, table, environ)
        where = "environment" if environ.get(setting.env) else "file" if setting.name in table else "default"
        if where == "default" and value != setting.default and setting.name in _GIVEN:
            where = "given"
        found.append(
            Seen(
                setting.name,
                setting.env,
                "choice" if setting.name in _OPTIONS else _KINDS.get(setting.read.__name__, "text"),
                tuple(_OPTIONS.get(setting.name, ())),
                where,
                None if setting.secret else _shown(value),
                None if setting.secret else _shown(setting.default),
                bool(value),
                setting.secret,
                coming != value and where != "given",
                setting.name in LIVE,
            )
        )
    return found


def change(home: Path, wanted: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Write settings; None takes one away. What each will be.

    Raises `BadField`, `SetElsewhere`; then nothing changed.
    """
    known = {s.name: s for s in SETTINGS}
    file = home / "config.toml"
    table = _table(file)
    for name, said in wanted.items():
        if name not in known:
            raise BadField(field=name[:60], problem=str(said)[:60], reason="no_setting")
        setting = known[name]
        if name in BY_HAND:
            raise SetElsewhere(field=name, env=setting.env, reason="by_hand")
        if environ.get(setting.env):
            raise SetElsewhere(field=name, env=setting.env)
        if said is None:
            table.pop(name, None)
            continue
        try:
            setting.read(said)
        except (ValueError, TypeError, BadField) as trouble:
            raise BadField(field=name, problem="…" if setting.secret else str(said)[:80]) from trouble
        table[name] = said if isinstance(said, bool | int | float | str | list) else str(said)
    _write(file, table, wanted)
    return {name: _next(known[name], table, environ) for name in wanted}


def _next(setting: Setting, table: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    given = environ.get(setting.env) or table.get(setting.name)
    try:
        return setting.default if given is None else setting.read(given)
    except ValueError:
        return setting.default


def _shown(value: Any) -> Any:
    """As one would type it, and as JSON can say it."""
    if isinstance(value, tuple):
        return list(value)
    return "forever" if value == math.inf else value


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as trouble:
        raise BadField(field=str(file), problem=str(trouble)) from trouble


def _write(file: Path, table: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    before = file.read_text("utf-8") if file.is_file() else ""
    text = before
    for name in changed:
        line = f"{name} = {_toml(table[name])}" if name in table else None
        text = _with_line(text, name, line)
    if not _says(text, table):  # a value over several lines: all is written anew, and what was there is kept beside
        file.with_name("config.toml.before").write_text(before, "utf-8")
        text = "".join(f"{name} = {_toml(value)}\n" for name, value in table.items())
    if not _says(text, table):
        name = next(iter(changed))
        raise BadField(field=name, problem=str(changed[name])[:80])
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".config.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    with new.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def _with_line(text: str, name: str, line: str | None) -> str:
    pattern = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*=.*(?:\n|\Z)", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(lambda _: "" if line is None else line + "\n", text, count=1)
    if line is None:
        return text
    return text + ("" if not text or text.endswith("\n") else "\n") + line + "\n"


def _says(text: str, table: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == dict(table)
    except tomllib.TOMLDecodeError:
        return False


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(str(one)) for one in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
