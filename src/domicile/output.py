"""How the command line speaks: data on stdout, talk on stderr, in words for a person or in JSON for a program.

Commands say what (`table`, `result`, `tell`, `hint`, `progress`); the mode decides how.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile import i18n


@dataclass
class Output:
    """One for a command. `as_json` prints one JSON value on stdout; `quiet` keeps the talk to errors."""

    lang: str
    as_json: bool = False
    quiet: bool = False

    def say(self, key: str, **facts: object) -> str:
        return i18n.say(self.lang, key, **facts)

    @property
    def coloured(self) -> bool:
        return sys.stderr.isatty()

    def data(self, value: Any) -> None:
        """The answer of a command, for a program."""
        print(json.dumps(value, ensure_ascii=False, indent=2))

    def result(self, value: Any, *lines: str) -> None:
        """The answer: the value as JSON, or its lines for a person."""
        if self.as_json:
            self.data(value)
        else:
            for line in lines:
                print(clean(line))

    def table(self, value: Any, heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
        """Rows under heads; `empty` when there are none."""
        if self.as_json:
            self.data(value)
            return
        if not rows:
            self.tell(empty)
            return
        cells = [[clean(c).translate(_ONE_LINE) for c in row] for row in rows]
        widths = [max(_width(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
        for row in [heads, *cells]:
            print("   ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip())

    def tell(self, text: str) -> None:
        """Talk: what is going on."""
        if not self.quiet:
            print(clean(text), file=sys.stderr)

    def error(self, message: str, hint: str | None, value: Mapping[str, Any] | None = None) -> None:
        """What went wrong, and what to do next. As JSON it goes to stdout, like any other answer."""
        if self.as_json:
            self.data({"error": {"message": message, "hint": hint, **(value or {})}})
            return
        print(clean(message), file=sys.stderr)
        if hint:
            print(f"  → {clean(hint)}", file=sys.stderr)

    def progress(self) -> Progress:
        return Progress(self)


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere, nothing in JSON or quiet mode."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._silent = output.as_json or output.quiet
        self._bar = sys.stderr.isatty()
        self._told_at = 0.0
        self._told_step: object = None
        self._drawn = False

    def show(self, job: Mapping[str, Any]) -> None:
        if self._silent:
            return
        if job["step"] != self._told_step and job["step"]:
            self._told_step = job["step"]
            if not self._bar:
                self._output.tell(self._output.say(f"step.{job['step']}", model=job["model"]))
        if not job["size_bytes"]:
            return
        line = self._line(job)
        if self._bar:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[2K{line[: width - 1]}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        elif time.monotonic() - self._told_at > 5 or job["status"] == "done":
            self._told_at = time.monotonic()
            self._output.tell(line)

    def end(self) -> None:
        if self._drawn:
            print(file=sys.stderr)
            self._drawn = False

    def _line(self, job: Mapping[str, Any]) -> str:
        done, size = job["downloaded_bytes"], job["size_bytes"]
        share = job["progress"] or 0.0
        parts = [f"{share:4.0%}"]
        if self._bar:
            full = int(share * 24)
            parts.append("█" * full + "░" * (24 - full))
        lang = self._output.lang
        parts.append(f"{i18n.size(lang, done)} / {i18n.size(lang, size)}")
        if job["speed"]:
            parts.append(f"{i18n.size(lang, int(job['speed']))}/s")
        if job["eta"] and job["status"] == "running":
            parts.append(i18n.duration(lang, job["eta"]))
        return "  ".join(parts)


_ONE_LINE = str.maketrans("\n\t", "  ")


def clean(text: str) -> str:
    """Text from outside as a terminal may show it: no escapes, no controls, no direction overrides."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf"} or c == "\u200d")


def _width(text: str) -> int:
    """Columns of a terminal: a CJK character takes two, an accent that combines none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
