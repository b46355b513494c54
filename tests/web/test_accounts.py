"""The page beyond this machine: the first visit, signing in, what a user sees, and going out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import nursery
from tests.web.conftest import Visit, axe, look

pytestmark = pytest.mark.slow
ADMIN, USER = ("ada", "correct horse battery"), ("zoe", "staple of the stable")


@dataclass
class Open:
    url: str
    code: str


@pytest.fixture
def network_house(tmp_path: Path) -> Iterator[Open]:
    """A house that listens on every address."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_", "LANG"))}
    env |= {"DOMICILE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    env |= {"OLLAMA_HOST": "127.0.0.1:9", "OMP_WAIT_POLICY": "passive", "LC_ALL": "C.UTF-8"}
    with nursery.serving("--host", "0.0.0.0", env=env) as (_, said):
        yield Open(said["url"], said["first_code"])


def _say(page: object, **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"[name={name}]").fill(value)  # type: ignore[attr-defined]
    page.locator("form .primary").click()  # type: ignore[attr-defined]


def test_the_first_visit_then_a_user_of_the_house(network_house: Open, visit: Visit) -> None:
    url = network_house.url
    page = visit(url + "/settings#people", lang="fr", expect=("403", "401"))
    page.set_default_timeout(40_000)
    page.get_by_role("heading", name="Le premier compte").wait_for()
    assert axe(page) == []
    look(page, "entry-first-fr")
    _say(page, code="WRONG", name=ADMIN[0], password=ADMIN[1])
    page.get_by_text("Ce n'est pas le code").wait_for()
    page.locator("[name=code]").fill(network_house.code.lower())
    page.locator("form .primary").click()
    page.get_by_role("button", name="Ajouter un compte").wait_for()
    assert axe(page) == []
    look(page, "settings-people-fr")
    _say(page, name=USER[0], password=USER[1])
    page.get_by_label("Rôle de zoe").wait_for()
    cookies = {c["name"]: c for c in page.context.cookies()}
    assert cookies["domicile_session"]["httpOnly"]
    assert cookies["domicile_session"]["sameSite"] == "Strict"
    page.goto(url + "/settings#me")
    page.get_by_text("Connecté en tant que ada").wait_for()

    other = visit(url + "/machine", size="phone", theme="dark", expect=("401", "403"))
    other.set_default_timeout(40_000)
    assert axe(other) == []
    look(other, "entry-en-phone-dark")
    _say(other, name=USER[0], password="not this one")
    other.get_by_text("No account has this name and this password").wait_for()
    _say(other, password=USER[1])
    other.get_by_role("tab", name="Now").wait_for()
    assert other.get_by_role("tab").count() == 2
    other.goto(url + "/settings")
    other.get_by_role("button", name="Sign out", exact=True).wait_for()
    assert other.get_by_role("tab").all_inner_texts() == ["You", "Keys"]
    look(other, "settings-user-en-phone-dark")
    other.get_by_role("button", name="Sign out", exact=True).click()
    other.get_by_role("heading", name="Sign in").wait_for()
