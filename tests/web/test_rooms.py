"""Every room in both languages, on a desk and on a phone: nothing in the console, nothing for axe to say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from domicile import i18n
from domicile.web.page_rooms import ROOMS
from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow
WAYS = [
    ("fr", "desktop", "light"),
    ("en", "phone", "dark"),
    ("en", "desktop", "dark"),
    ("fr", "phone", "light"),
]
TABS = "main .tabs > [role=tab], main nav.tabs > a"
TOO_WIDE = """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.table-wrap, .tabs, .chips, pre')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize(("lang", "size", "theme"), WAYS, ids=["-".join(way) for way in WAYS])
def test_every_room_and_every_tab_of_it_is_there_and_nothing_is_wrong_with_it(
    house: Standing, visit: Visit, lang: str, size: str, theme: str
) -> None:
    page = visit(house.url + ROOMS[0].path, lang=lang, size=size, theme=theme)
    page.set_default_timeout(60_000)
    for room in ROOMS:
        if room is not ROOMS[0]:
            if size == "phone":
                page.locator("#menu-button").click()
            page.locator(f".rooms a[href='{room.path}']").click()
            page.wait_for_url(f"**{room.path}")
        page.wait_for_selector("#island:not([aria-busy])")
        assert page.locator("h1").inner_text() == i18n.say(lang, f"page.room.{room.name}")
        tabs = max(1, page.locator(TABS).count())
        for number in range(tabs):
            if number:
                page.locator(TABS).nth(number).click()
            page.wait_for_selector(".loading", state="detached")
            assert re.findall(r"\bpage\.\w+", page.locator("body").inner_text()) == []  # a key without its words
            if (lang, size, theme) in WAYS[:2]:
                assert axe(page) == [], f"{room.name} {number}"
            assert page.evaluate(TOO_WIDE) == [], f"{room.name} {number}"
            _whole(page, f"room-{room.name}-{number}-{lang}-{size}-{theme}")


def _whole(page: Any, name: str) -> None:
    """A screenshot of all of a room, also of what one would scroll to."""
    before = page.viewport_size
    tall = page.evaluate("() => document.getElementById('room').scrollHeight") + 100
    page.set_viewport_size({"width": before["width"], "height": max(before["height"], min(tall, 2600))})
    look(page, name)
    page.set_viewport_size(before)


def test_the_first_load_of_the_chat_weighs_at_most_300_kilobytes(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/")
    weights = page.evaluate(
        "() => performance.getEntries().filter(e => 'transferSize' in e).map(e => [e.name, e.transferSize])"
    )
    assert len(weights) > 10
    assert sum(size for _, size in weights) <= 300_000


def test_the_theme_changes_at_once_and_stays(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/models")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator("[data-theme-choice=dark]").click()  # a link, should the script not be there yet
    page.wait_for_function("before => getComputedStyle(document.body).backgroundColor !== before", arg=before)
    dark = page.evaluate(ground)
    page.goto(house.url + "/machine")
    assert page.evaluate(ground) == dark


def test_the_language_is_switched_where_one_is(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/machine", lang="en")
    page.locator(".switch a[hreflang=fr]").click()
    page.wait_for_selector("html[lang=fr]")
    assert page.url == house.url + "/machine"
    page.get_by_text("Ce qui a été trouvé ici").wait_for()


def test_a_phone_opens_the_side_and_closes_it_by_escape(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/", size="phone", lang="fr")
    menu = page.locator("#menu-button")
    assert not page.locator(".rooms").is_visible()
    menu.click()
    page.locator(".rooms").wait_for(state="visible")
    assert axe(page) == []
    page.keyboard.press("Escape")
    page.locator(".rooms").wait_for(state="hidden")
    assert page.evaluate("() => document.activeElement.id") == "menu-button"


def test_keys_alone_reach_everything_in_the_shell(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/models")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => (document.activeElement.textContent || document.activeElement.id).trim()"))
    assert {"Skip to the content", "Chat", "Settings", "EN", "FR", "Dark"} <= reached
    assert any("graine" in name for name in reached)
