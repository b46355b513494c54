"""The selector in the header: who answers, wakes, comes, is added and removed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from domicile.hardware import sample
from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    "{{7*7}}${7*7}<b>",
    "</script><script>alert(1)</script>",
]


def _gguf(folder: Path) -> bytes:
    sample.write(folder / "a.gguf", "Q8_0", sample.Shape(1, 256, 512, 8, 8))
    return (folder / "a.gguf").read_bytes()


def _open(page: Any) -> None:
    page.locator(".selector-button").click()
    page.locator(".choice").first.wait_for()


@pytest.mark.parametrize(("lang", "asleep", "ready"), [("en", "asleep", "ready"), ("fr", "en veille", "prêt")])
def test_a_question_wakes_the_model_and_the_answer_comes(
    own_house: Standing, visit: Visit, lang: str, asleep: str, ready: str
) -> None:
    page = visit(own_house.url + "/", lang=lang)
    state, light = page.locator(".selector-state"), page.locator(".selector-button .light")
    expect(state).to_have_text(asleep)
    page.locator("textarea").fill("Bonjour, qui es-tu ?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.assistant .prose")).to_contain_text("graine")
    expect(page.locator(".turn.assistant .turn-foot")).to_contain_text("jeton" if lang == "fr" else "token")
    expect(light).to_have_attribute("data-state", "ready")
    expect(state).to_have_text(ready)
    assert axe(page) == []
    look(page, f"chat-{lang}")


def test_the_panel_is_driven_by_keys_and_searched(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/", lang="fr")
    page.locator(".selector-button").focus()
    page.keyboard.press("Enter")
    page.locator(".choice").first.wait_for()
    assert axe(page) == []
    look(page, "selector-fr")
    page.keyboard.type("qwen3 4b")
    expect(page.locator(".choice-name").first).to_contain_text("Qwen3 4B")
    page.keyboard.press("ArrowDown")
    assert "choice-pick" in page.evaluate("() => document.activeElement.className")
    page.keyboard.press("Escape")
    expect(page.locator(".selector-panel")).to_have_count(0)
    assert "selector-button" in page.evaluate("() => document.activeElement.className")


def test_a_custom_model_is_checked_added_downloaded_and_removed(
    own_house: Standing, visit: Visit, tmp_path: Path
) -> None:
    own_house.hub.add("org/repo", {"a-Q8_0.gguf": _gguf(tmp_path), "README.md": b"# A model"})
    page = visit(own_house.url + "/", lang="fr", expect=("status of 400", "status of 403"))
    _open(page)
    page.get_by_role("button", name="Ajouter un modèle personnalisé").click()
    form = page.get_by_role("dialog", name="Ajouter un modèle personnalisé")
    form.get_by_role("button", name="Ajouter", exact=True).click()
    assert form.locator('[aria-invalid="true"]').count() == 3  # nothing was sent
    form.get_by_label("Identifiant").fill("graine")
    form.get_by_label("Nom").fill(HOSTILE[0])
    form.get_by_label("Adresse").fill(f"{own_house.hub.url}/org/repo/resolve/main/a-Q8_0.gguf")
    form.get_by_label("Description").fill(HOSTILE[1])
    form.get_by_role("button", name="Ajouter", exact=True).click()
    expect(form.locator(".field .wrong")).to_contain_text("graine")  # the house says that the name is taken
    assert axe(page) == []
    look(page, "custom-fr")
    form.get_by_label("Identifiant").fill("mine")
    form.get_by_role("button", name="Vérifier").click()
    note = form.locator(".note").first
    note.wait_for()
    if form.locator(".note.bad").count():  # a private address is asked for only when somebody insists
        form.get_by_role("button", name="Ajouter sans vérifier").click()
    else:
        form.get_by_role("button", name="Ajouter", exact=True).click()
    expect(form).to_have_count(0)
    _open(page)
    mine = page.locator(".choice", has_text=HOSTILE[0])
    expect(mine).to_be_visible()
    assert page.locator(".selector-panel img, .selector-panel script").count() == 0
    assert page.locator(".choice-remove").count() == 1  # graine and the recommended ones have none
    mine.hover()
    mine.get_by_role("button", name=re.compile("Retirer")).click()
    page.get_by_role("dialog", name="Retirer ce modèle ?").get_by_role("button", name="Retirer", exact=True).click()
    expect(mine).to_have_count(0)
    assert httpx2.get(f"{own_house.url}/domicile/custom").json() == {"models": []}


def test_a_download_is_seen_coming_and_told_when_it_is_there(own_house: Standing, visit: Visit, tmp_path: Path) -> None:
    own_house.hub.add("org/repo", {"a-Q8_0.gguf": _gguf(tmp_path)})
    page = visit(own_house.url + "/")
    page.wait_for_function("() => performance.getEntriesByName(location.origin + '/domicile/choices').length >= 0")
    assert httpx2.post(f"{own_house.url}/domicile/pull", json={"model": "org/repo:Q8_0"}).status_code == 202
    expect(page.locator(".toast.good")).to_contain_text("org/repo")
    page.get_by_role("button", name=re.compile("notification")).click()
    expect(page.locator(".notices-panel")).to_contain_text("is here")
    page.keyboard.press("Escape")
    _open(page)
    page.locator(".choice-pick", has_text="org/repo").click()
    expect(page.locator(".selector-name")).to_contain_text("org/repo")
    active = [m["name"] for m in httpx2.get(f"{own_house.url}/domicile/models").json()["models"] if m["active"]]
    assert active[0].startswith("org/repo")


def test_names_that_are_markup_are_shown_and_never_run(own_house: Standing, visit: Visit) -> None:
    for number, name in enumerate(HOSTILE):
        form = {
            "id": f"x{number}",
            "name": name,
            "url": "https://example.org/a.gguf",
            "kind": "gguf",
            "unchecked": True,
            "description": name,
        }
        assert httpx2.post(f"{own_house.url}/domicile/custom", json=form).status_code == 201
    page = visit(own_house.url + "/")
    page.on("dialog", lambda dialog: pytest.fail(f"something ran: {dialog.message}"))
    _open(page)
    for name in HOSTILE:
        expect(page.locator(".choice-name", has_text=name).first).to_be_visible()
    assert page.locator(".selector-panel :is(img, script, iframe, svg[onload])").count() == 0


def test_a_house_that_closes_is_said_in_words(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/", expect=("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "net::"))
    page.route("**/domicile/events", lambda route: route.abort())
    page.route("**/domicile/chats", lambda route: route.abort())
    page.locator("textarea").fill("Bonjour")
    page.keyboard.press("Enter")
    expect(page.locator(".toast.bad")).to_contain_text("does not answer")
    expect(page.locator("textarea")).to_have_value("Bonjour")  # what was written is not lost
