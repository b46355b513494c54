"""The room of pictures: what is missing and how to get it; a picture described, watched, kept, used again, deleted."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from domicile.engines.pychild import NOTE
from tests.fakes import painters
from tests.fakes.environment import borrowed
from tests.web.conftest import Standing, Visit, axe, look, standing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A house with the engine that draws, and a model of random weights."""
    model = painters.folder(tmp_path_factory.mktemp("painters"))
    place = tmp_path_factory.mktemp("studio")
    borrowed(place / "home" / "engines", "images")
    assert (place / "home" / "engines" / "images" / NOTE).is_file()
    with standing(place, DOMICILE_THREADS="1", DOMICILE_SELFTEST="off", DOMICILE_WAKE_TIMEOUT="200") as opened:
        opened.hub.add("domicile/tiny-sd", painters.files(model))
        with httpx2.Client(base_url=opened.url, timeout=120) as http:
            job = http.post("/domicile/pull", json={"model": "domicile/tiny-sd"}).json()
            http.get(f"/domicile/jobs/{job['id']}/events")
            assert http.get("/domicile/images/options").json()["models"]
        yield opened


def _draw(page: Any, prompt: str) -> None:
    page.locator("textarea").fill(prompt)
    page.locator("form button[type=submit]").click()


@pytest.mark.parametrize(("lang", "size", "theme"), [("fr", "desktop", "light"), ("en", "phone", "dark")])
def test_without_an_engine_the_room_says_what_to_get(
    house: Standing, visit: Visit, lang: str, size: str, theme: str
) -> None:
    page = visit(house.url + "/pictures", lang=lang, size=size, theme=theme)
    expect(page.locator(".pictures-begin .button.primary").first).to_be_visible()
    expect(page.locator(".pictures-begin")).to_contain_text("Stable Diffusion 1.5", timeout=30_000)
    assert axe(page) == []
    look(page, f"pictures-begin-{lang}-{size}-{theme}")


def test_a_picture_is_described_drawn_kept_used_again_and_deleted(studio: Standing, visit: Visit) -> None:
    page = visit(studio.url + "/pictures", lang="fr")
    page.set_default_timeout(120_000)
    page.get_by_text("Plus de choix").click()
    page.get_by_label("Étapes").fill("60")
    page.get_by_label("Graine", exact=True).fill("41")
    _draw(page, "<img src=x onerror=alert(1)> un phare")
    stage = page.locator(".pictures-stage")
    expect(stage).to_be_visible(timeout=60_000)
    expect(stage.locator("img")).to_be_visible(timeout=120_000)  # a preview came before the picture
    look(page, "pictures-drawing-fr")
    shown = page.locator(".pictures-grid img")
    expect(shown).to_have_count(1, timeout=120_000)
    expect(stage).to_have_count(0)
    page.reload()
    expect(shown).to_have_count(1)
    shown.first.click()
    facts = page.locator(".dialog .facts")
    expect(facts).to_contain_text("41")
    expect(facts).to_contain_text("domicile/tiny-sd")
    assert axe(page) == []
    look(page, "pictures-large-fr")
    page.get_by_role("button", name="Reprendre ces choix").click()
    expect(page.get_by_label("Étapes")).to_have_value("60")
    expect(page.locator("textarea")).to_have_value("<img src=x onerror=alert(1)> un phare")
    page.locator("form button[type=submit]").click()
    expect(shown).to_have_count(2, timeout=120_000)
    with httpx2.Client(base_url=studio.url) as http:
        one, two = http.get("/domicile/images").json()["pictures"]
        assert http.get(one["url"]).content == http.get(two["url"]).content  # the same choices, the same picture
    for left in (1, 0):
        shown.first.click()
        page.get_by_role("button", name="Supprimer").click()
        page.locator(".dialog").last.get_by_role("button", name=re.compile("^Supprimer")).click()
        expect(shown).to_have_count(left)


@pytest.mark.parametrize(("lang", "size", "theme"), [("en", "phone", "dark"), ("fr", "desktop", "light")])
def test_it_is_stopped_rejoined_and_started_from_a_picture(
    studio: Standing, visit: Visit, tmp_path: Path, lang: str, size: str, theme: str
) -> None:
    kept = len(httpx2.get(f"{studio.url}/domicile/images").json()["pictures"])
    page = visit(studio.url + "/pictures", lang=lang, size=size, theme=theme)
    page.set_default_timeout(120_000)
    page.locator("details summary").click()
    page.locator("details input[type=number]").first.fill("200")
    _draw(page, "a long way")
    stage = page.locator(".pictures-stage")
    expect(stage.locator("img")).to_be_visible(timeout=120_000)
    page.reload()  # it goes on in the house, and the page finds it again
    expect(stage.locator("img")).to_be_visible(timeout=60_000)
    look(page, f"pictures-going-{lang}-{size}-{theme}")
    stage.get_by_role("button").click()
    expect(stage).to_have_count(0, timeout=60_000)
    point = tmp_path / "point.png"
    point.write_bytes(base64.b64decode(_POINT))
    page.locator("input[type=file]").set_input_files(str(point))
    expect(page.locator(".pictures-start img")).to_be_visible()
    page.locator("details summary").click()
    page.locator("details input[type=number]").first.fill("2")
    _draw(page, "from a point")
    expect(page.locator(".pictures-grid img")).to_have_count(kept + 1, timeout=120_000)
    assert axe(page) == []
    look(page, f"pictures-made-{lang}-{size}-{theme}")


_POINT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
