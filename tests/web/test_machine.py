"""The Machine room: live plots, the calculator, the ledger and its switch, the disk, the doctor."""

from __future__ import annotations

import httpx2
import pytest

from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow


def test_the_plots_draw_what_the_machine_does_now(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/machine", lang="fr")
    page.set_default_timeout(40_000)
    page.locator(".plot canvas").first.wait_for()
    names = page.locator(".plot figcaption span").all_inner_texts()
    assert {"Processeur", "Mémoire", "Jetons par seconde"} <= set(names)
    page.wait_for_function("() => /Go/.test(document.querySelectorAll('.plot strong')[1].textContent)")
    page.get_by_text("Ce qui a été trouvé ici").wait_for()
    page.get_by_text("/proc/cpuinfo").first.wait_for()
    look(page, "machine-now-fr")


def test_a_model_that_is_awake_is_shown_and_put_to_sleep(own_house: Standing, visit: Visit) -> None:
    httpx2.post(f"{own_house.url}/domicile/models/graine/wake", timeout=60).raise_for_status()
    page = visit(own_house.url + "/machine")
    page.set_default_timeout(40_000)
    one = page.locator(".awake-one", has_text="graine")
    one.wait_for()
    one.locator("summary").click()
    one.get_by_text("the model was made for no more").wait_for()
    look(page, "machine-awake-en")
    one.get_by_role("button", name="Put to sleep").click()
    page.get_by_text("Nobody. A model wakes by itself").wait_for()


def test_the_calculator_counts_again_for_another_context_and_card(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/machine#fits", size="phone", theme="dark", expect=("status of",))
    page.set_default_timeout(40_000)
    total = page.locator("strong.big")
    total.wait_for()
    before = total.inner_text()
    page.get_by_label("Context").fill("2")
    page.wait_for_function("before => document.querySelector('strong.big').textContent !== before", arg=before)
    page.get_by_text("bits / 8 × 1.2").wait_for()
    page.get_by_role("button", name="Show the cards").click()
    card = page.locator(".cards-table .link").first
    card.wait_for()
    look(page, "machine-fits-phone-dark")
    card.click()
    page.wait_for_function("() => [...document.querySelectorAll('input')].some(i => /GTX|RTX/.test(i.value))")
    page.locator("[aria-busy=false] strong.big").wait_for()
    assert axe(page) == []
    page.get_by_label("Model", exact=True).fill("nobody/knows-this")
    page.get_by_label("Model", exact=True).blur()
    page.locator("[role=alert]").wait_for()


def test_the_switch_lets_nothing_out_and_the_ledger_says_what_left(own_house: Standing, visit: Visit) -> None:
    httpx2.get(f"{own_house.url}/domicile/search?q=seed", timeout=60)
    page = visit(own_house.url + "/machine#left", lang="fr", expect=("503",))
    page.set_default_timeout(40_000)
    page.locator("table tbody tr").first.wait_for()
    assert axe(page) == []
    page.get_by_role("switch").check()
    page.get_by_text("Hors ligne : rien ne sort").wait_for()
    assert page.locator("#offline").is_visible()
    assert httpx2.get(f"{own_house.url}/domicile/egress").json()["offline"] is True
    page.get_by_role("switch").uncheck()
    page.wait_for_function("() => document.getElementById('offline').hidden")
    page.get_by_role("searchbox").fill("nowhere at all")
    page.get_by_text("Rien n'est sorti").wait_for()
    look(page, "machine-ledger-fr")


def test_the_disk_and_the_doctor(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/machine#storage")
    page.set_default_timeout(40_000)
    page.get_by_text("What lies on the disk").first.wait_for()
    assert axe(page) == []
    look(page, "machine-storage-en")
    page.get_by_role("tab", name="Now").focus()
    page.keyboard.press("End")
    page.get_by_role("button", name="Look").click()
    page.locator(".note.good").first.wait_for()
    assert page.url.endswith("#doctor")
