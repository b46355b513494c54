"""The words of the page: each that a module or a template says exists, each that exists is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domicile import i18n
from domicile.web import shelves
from domicile.web.page_rooms import ROOMS
from domicile.web.pages import SHARED, words

WEB = Path(shelves.__file__).parent
SOURCES = [
    *(p for p in (WEB / "static" / "js").rglob("*.js")),
    *(WEB / "templates").rglob("*.html"),
    WEB / "pages.py",
]
_LITERAL = re.compile(r"""["'`](page\.[\w.]+?)["'`]""")
_BUILT = re.compile(r"""["'`](page\.[\w.]*?)(?:\$\{|\{|["'] \+)""")


def _said(path: Path) -> set[str]:
    return set(_LITERAL.findall(path.read_text("utf-8")))


def _built(path: Path) -> set[str]:
    return set(_BUILT.findall(path.read_text("utf-8")))


def _keys() -> set[str]:
    return {k for k in i18n.words("en") if k.startswith("page.")}


def _exists(key: str) -> bool:
    return key in _keys() or f"{key}.other" in _keys() or any(k.startswith(key) for k in _keys() if key.endswith("."))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_every_word_that_is_said_exists(path: Path) -> None:
    assert [key for key in _said(path) | _built(path) if not _exists(key)] == []


def test_every_word_that_exists_is_said() -> None:
    said = set[str]().union(*(_said(p) for p in SOURCES))
    built = {b for p in SOURCES for b in _built(p) if b.count(".") >= 2}
    unsaid = [
        key
        for key in sorted(_keys())
        if key.removesuffix(".one").removesuffix(".other") not in said
        and key not in said
        and not key.startswith(tuple(built))
    ]
    assert unsaid == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda r: r.name)
def test_a_room_is_given_the_words_its_modules_say(room: object) -> None:
    modules = [*shelves.imports("js/main.js"), *shelves.imports(room.module)]  # type: ignore[attr-defined]
    given = words("en", *SHARED, f"page.{room.name}.", *room.needs)  # type: ignore[attr-defined]
    for module in modules:
        if module.startswith("vendor/"):
            continue
        for key in _said(shelves.STATIC / module):
            assert key.endswith(".") or key in given or f"{key}.other" in given, f"{key} in {module}"


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
def test_a_word_with_plurals_has_both_forms(lang: str) -> None:
    keys = {k for k in i18n.words(lang) if k.startswith("page.")}
    for key in keys:
        if key.endswith(".one"):
            assert key.removesuffix(".one") + ".other" in keys


def test_the_french_of_the_page_has_its_spaces() -> None:
    for key, text in i18n.words("fr").items():
        if key.startswith("page."):
            assert not re.search(r"[^\u202f\u00a0][;!?](?:\s|$)", text), key
            assert not re.search(r"[^\u00a0]:(?:\s|$)", text), key
            assert "’" not in text, key
