"""The Settings room: values with where they come from, keys, targets, places; and the guide beside it."""

from __future__ import annotations

import httpx2
import pytest

from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow


def test_a_setting_is_changed_in_the_file_and_said_to_wait(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/settings#house", expect=("400",))
    page.set_default_timeout(40_000)
    row = page.locator(".settings-list li", has_text="keep_alive")
    row.wait_for()
    assert axe(page) == []
    row.get_by_role("button", name="Change keep_alive").click()
    row.locator("input").fill("a while")
    row.get_by_role("button", name="Save").click()
    row.locator("[role=alert]").wait_for()
    row.locator("input").fill("10m")
    row.get_by_role("button", name="Save").click()
    page.get_by_text("hold from the next opening").wait_for()
    file = own_house.home / "config.toml"
    assert file.read_text("utf-8") == 'keep_alive = "10m"\n'
    assert file.stat().st_mode & 0o077 == 0
    hub = page.locator(".settings-list li", has=page.get_by_text("hub", exact=True))
    hub.get_by_text("from HF_ENDPOINT").wait_for()
    assert hub.get_by_role("button").first.is_disabled()
    look(page, "settings-house-en")


def test_a_token_is_kept_and_never_shown(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/settings#house", lang="fr", size="phone", theme="dark")
    page.set_default_timeout(40_000)
    row = page.locator(".settings-list li", has_text="hub_token")
    row.get_by_role("button").click()
    row.locator("input").fill("hf_secret_secret")
    row.get_by_role("button", name="Enregistrer").click()
    row.get_by_text("vient de config.toml").wait_for()
    assert "hf_secret" in (own_house.home / "config.toml").read_text("utf-8")
    assert "hf_secret" not in httpx2.get(f"{own_house.url}/domicile/settings").text
    assert axe(page) == []


def test_a_key_is_made_shown_once_and_revoked(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/settings#keys")
    page.set_default_timeout(40_000)
    page.get_by_label("Name of the key").fill("editor")
    page.get_by_role("button", name="Make a key").click()
    page.locator("code", has_text="dom-").wait_for()
    look(page, "settings-keys-en")
    page.reload()
    page.get_by_text("editor").wait_for()
    assert page.locator("code", has_text="dom-").count() == 0
    page.get_by_role("button", name="Revoke").click()
    page.locator("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_text("No key yet.").wait_for()


def test_a_target_is_asked_only_after_consent_and_the_strategy_holds_at_once(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/settings#away", lang="fr")
    page.set_default_timeout(40_000)
    page.get_by_label("Nom", exact=True).fill("nas")
    page.get_by_label("Adresse").fill("http://127.0.0.1:9/v1")
    page.get_by_role("button", name="Ajouter une cible").click()
    page.get_by_text("sans accord").wait_for()
    page.get_by_role("button", name="Accorder…").click()
    page.locator("dialog").get_by_role("button", name="Accorder").click()
    page.get_by_text("peut être interrogé").wait_for()
    page.get_by_text("Cette machine ; quelqu'un ailleurs").click()
    page.wait_for_function("() => document.querySelectorAll('[name=strategy]')[1].checked")
    assert httpx2.get(f"{own_house.url}/domicile/targets").json()["strategy"] == "home-then-away"
    assert axe(page) == []
    look(page, "settings-away-fr")


def test_a_place_is_allowed_and_taken_back(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/settings#leaves")
    page.set_default_timeout(40_000)
    page.get_by_label("Host and port").fill("192.168.1.20:8080")
    page.get_by_role("button", name="Allow this place").click()
    page.locator("code", has_text="192.168.1.20:8080").wait_for()
    page.get_by_role("button", name="Remove 192.168.1.20:8080?").click()
    page.get_by_text("None is allowed.").wait_for()
    assert axe(page) == []


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_the_guide_counts_for_this_machine_and_can_be_linked_to(house: Standing, visit: Visit, lang: str) -> None:
    page = visit(house.url + "/learn#quantisation", lang=lang, size="phone", theme="dark")
    page.set_default_timeout(40_000)
    page.get_by_text("graine").nth(1).wait_for()
    memory = httpx2.get(f"{house.url}/domicile/machine").json()["ram_bytes"]
    told = page.locator("#hardware").inner_text()
    assert f"{memory / 1e9:.1f}".replace(".", "," if lang == "fr" else ".") in told
    assert page.locator("#quantisation tbody tr").count() == 7
    assert axe(page) == []
    look(page, f"learn-{lang}")
