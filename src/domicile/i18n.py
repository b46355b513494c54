"""Which language, and the words of the house in it: sentences, sizes, durations, plurals.

The words are in `locale/<language>.json`, one flat table of keys, the same for Python and for the page.
A key may have `.one` and `.other` forms, chosen by the number called `n` (French counts 0 and 1 as one,
CLDR rules). A missing key shows as itself: a test makes sure that none is missing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from domicile.errors import DomicileError

LANGUAGES = ("en", "fr")
_LOCALE = Path(__file__).parent / "locale"


@cache
def words(lang: str) -> Mapping[str, str]:
    """Every key of a language."""
    table: dict[str, str] = json.loads((_LOCALE / f"{lang}.json").read_text("utf-8"))
    return table


def choose(*wishes: str | None) -> str:
    """The first wish that is a language of ours (`fr_FR.UTF-8`, `fr-CA`, or a whole Accept-Language); else English."""
    for wish in wishes:
        for part in (wish or "").split(","):
            code = part.split(";")[0].strip().replace("-", "_").split("_")[0].split(".")[0].lower()
            if code in LANGUAGES:
                return code
    return "en"


def of_environment(environ: Mapping[str, str] = os.environ) -> str:
    """The language of a terminal, by the variables of POSIX and GNU gettext, in their order."""
    wish = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), None)
    return choose(environ.get("DOMICILE_LANG"), (environ.get("LANGUAGE") or "").replace(":", ","), wish)


def say(lang: str, key: str, **facts: object) -> str:
    """The sentence of a key, with its facts; bytes and durations are formatted by `{size:bytes}` style fields."""
    table = words(lang)
    text = table.get(key)
    if text is None and "n" in facts:
        text = table.get(f"{key}.{plural(lang, facts['n'])}")
    if text is None:
        return key
    return text.format_map({name: _Shown(value, lang) for name, value in facts.items()})


def plural(lang: str, n: object) -> str:
    count = abs(float(str(n)))
    return "one" if (count < 2 if lang == "fr" else count == 1) else "other"


class _Shown:
    """A fact that knows how to show itself: `{x}`, `{x:bytes}`, `:number`, `:rate`, `:duration` or `:date`."""

    def __init__(self, value: object, lang: str) -> None:
        self.value, self.lang = value, lang

    def __format__(self, spec: str) -> str:
        if self.value is None:
            return "?"
        match spec:
            case "bytes":
                return size(self.lang, int(str(self.value)))
            case "number":
                value = float(str(self.value))
                return number(self.lang, int(value)) if value.is_integer() else decimal(self.lang, value, 1)
            case "rate":
                return rate(self.lang, float(str(self.value)))
            case "duration":
                return duration(self.lang, float(str(self.value)))
            case "date":
                return date(self.lang, float(str(self.value)))
        if isinstance(self.value, float):  # 1138.0 is 1138; a French decimal has a comma
            text = f"{self.value:.10g}"
            return text.replace(".", ",") if self.lang == "fr" else text
        return str(self.value)


def error_text(lang: str, error: DomicileError) -> tuple[str, str | None]:
    """The sentence of an error and, where there is one, its hint (what to do next)."""
    facts = dict(error.facts)
    reason = facts.get("reason")
    key = f"error.{error.code}"
    if reason is not None and f"{key}.{reason}" in words(lang):
        key = f"{key}.{reason}"
    hint_key = f"hint.{error.code}"
    if reason is not None and f"{hint_key}.{reason}" in words(lang):
        hint_key = f"{hint_key}.{reason}"
    if facts.get("hint") is not None:
        return say(lang, key, **facts), str(facts["hint"])
    hint = say(lang, hint_key, **facts)
    return say(lang, key, **facts), None if hint == hint_key else hint


_NARROW = "\u202f"


def number(lang: str, value: int) -> str:
    """12345 as 12,345 or 12 345 (narrow no-break space)."""
    return f"{value:,}".replace(",", _NARROW if lang == "fr" else ",")


def decimal(lang: str, value: float, digits: int) -> str:
    """1.5 or 1,5."""
    text = f"{value:.{digits}f}"
    return text.replace(".", ",") if lang == "fr" else text


def rate(lang: str, value: float) -> str:
    """Tokens a second: 8.4 or 8,4, and from ten on without decimals."""
    return number(lang, round(value)) if value >= 10 else decimal(lang, value, 1)


def labelled(lang: str, label: str, text: str) -> str:
    """`Memory: 8 GB`, `Mémoire : 8 Go` (a no-break space before a French colon)."""
    return f"{label}\u00a0: {text}" if lang == "fr" else f"{label}: {text}"


def percent(lang: str, share: float) -> str:
    """A difference as a share, with its sign: +12%, -90 %."""
    return f"{share:+.0%}".replace("%", "\u00a0%" if lang == "fr" else "%")


def count(lang: str, value: int) -> str:
    """Parameters or tokens in short: 494M and 7.62B, 494 M and 7,62 Md."""
    for unit, step in (("Md" if lang == "fr" else "B", 10**9), ("M", 10**6)):
        if value >= step:
            text = f"{value / step:.3g}"
            return f"{text.replace('.', ',')}\u00a0{unit}" if lang == "fr" else f"{text}{unit}"
    return number(lang, value)


def size(lang: str, count: int) -> str:
    """Bytes as people of the language write them, in decimal units as the Hub and disks do: 4.92 GB, 4,92 Go."""
    letter = "o" if lang == "fr" else "B"
    space = "\u00a0" if lang == "fr" else " "
    value = float(count)
    if abs(value) < 1000:
        return f"{count}{space}{letter}"
    for unit in ("k", "M", "G", "T"):
        value /= 1000
        if abs(value) < 999.5 or unit == "T":
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{decimal(lang, value, digits)}{space}{unit}{letter}"
    raise AssertionError("unreachable")


def duration(lang: str, value: float) -> str:
    """Seconds as `8 s`, `3 min 20 s`, `2 h 05 min`."""
    if value == float("inf"):
        return "∞"
    whole = round(value)
    space = "\u00a0" if lang == "fr" else " "
    if whole < 60:
        return f"{whole}{space}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{space}min" + (f" {rest}{space}s" if rest else "")
    hours, rest = divmod(whole, 3600)
    return f"{hours}{space}h {rest // 60:02d}{space}min"


def date(lang: str, moment: float | None) -> str:
    """The day of a moment, here: 2026-11-21, 21/11/2026; nothing for none."""
    if moment is None:
        return ""
    return time.strftime("%d/%m/%Y" if lang == "fr" else "%Y-%m-%d", time.localtime(moment))


def bind_gettext(lang: str) -> None:
    """Make the standard library's gettext, which Click's own messages go through, speak the language as well."""
    import gettext

    os.environ["LANGUAGE"] = lang
    gettext.bindtextdomain("messages", str(_LOCALE))
    gettext.textdomain("messages")
