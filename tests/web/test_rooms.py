"""Every room in both languages, on a desk and on a phone: nothing in the console, nothing for axe to say."""

from __future__ import annotations

import pytest

from domicile import i18n
from domicile.web.page_rooms import ROOMS
from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow
WAYS = [("fr", "desktop", "light"), ("en", "phone", "dark")]


@pytest.mark.parametrize(("lang", "size", "theme"), WAYS)
@pytest.mark.parametrize("room", ROOMS, ids=lambda r: r.name)
def test_a_room_is_there_and_axe_has_nothing_to_say(
    house: Standing, visit: Visit, room: object, lang: str, size: str, theme: str
) -> None:
    path, name = room.path, room.name  # type: ignore[attr-defined]
    page = visit(house.url + path, lang=lang, size=size, theme=theme)
    page.wait_for_selector(".loading", state="detached")
    assert page.locator("h1").inner_text() == i18n.say(lang, f"page.room.{name}")
    assert "page." not in page.locator("body").inner_text()
    assert axe(page) == []
    wide = page.evaluate(
        "() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.table-wrap, .tabs, .chips, pre')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    look(page, f"room-{name}-{lang}-{size}-{theme}")


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
    page.locator("[data-theme-choice=dark]").click()
    dark = page.evaluate(ground)
    assert dark != before
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
