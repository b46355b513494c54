"""The shell over HTTP: languages, themes, headers, files. No browser is needed for these."""

from __future__ import annotations

import gzip
import json
import re

import httpx2
import pytest

from domicile import i18n
from domicile.web import shelves
from domicile.web.guard import SECURITY_HEADERS
from domicile.web.page_rooms import ROOMS
from tests.web.conftest import Standing

HTML = {"Accept": "text/html"}


def _get(house: Standing, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(house.url + path, headers={**HTML, **{k.replace("_", "-"): v for k, v in headers.items()}})


def _base(page: str) -> str:
    found = re.search(r'href="(/static/[0-9a-f]{12})/', page)
    assert found is not None
    return found[1]


def _state(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="state">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    state: dict[str, object] = json.loads(found[1])
    return state


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
@pytest.mark.parametrize("room", ROOMS, ids=lambda r: r.name)
def test_every_room_is_served_in_both_languages(house: Standing, lang: str, room: object) -> None:
    path, name = room.path, room.name  # type: ignore[attr-defined]
    answer = _get(house, path, accept_language=lang)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-language"] == lang
    assert answer.headers["cache-control"] == "no-store"
    assert f'<html lang="{lang}"' in answer.text
    assert i18n.say(lang, f"page.room.{name}") in answer.text
    assert answer.text.count('aria-current="page"') == 1
    state = _state(answer.text)
    assert (state["lang"], state["room"]) == (lang, name)
    with httpx2.Client(base_url=house.url) as client:
        for address in set(re.findall(r'(?:href|src)="(/static/[^"#]+)', answer.text)):
            assert client.head(address).status_code == 200, address


def test_a_tool_at_the_front_door_still_gets_its_sentence(house: Standing) -> None:
    answer = httpx2.get(house.url + "/")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "Accept" in answer.headers["vary"]


def test_a_language_and_a_theme_are_chosen_without_a_script_and_kept(house: Standing) -> None:
    with httpx2.Client(base_url=house.url, headers={**HTML, "Accept-Language": "en"}) as person:
        first = person.get("/models?lang=fr&x=1")
        assert (first.status_code, first.headers["location"]) == (303, "/models?x=1")
        person.get("/models?theme=dark")
        page = person.get("/models").text
        assert '<html lang="fr" data-theme="dark">' in page
        assert person.get("/models?lang=tlh").status_code == 200  # not a language of ours: nothing is kept
        person.cookies.clear()
        person.cookies.set("domicile_theme", '"><script>')
        assert 'data-theme="auto"' in person.get("/").text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("HEAD", "/models", 200),
        ("GET", "/static/js/main.js", 200),
        ("HEAD", "/static/js/main.js", 200),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/", 405),
        ("GET", "/domicile/choices", 200),
        ("GET", "/domicile/models/nobody", 404),
        ("POST", "/v1/chat/completions", 400),
    ],
)
def test_every_answer_has_the_headers_of_policy_and_isolation(
    house: Standing, method: str, path: str, status: int
) -> None:
    answer = httpx2.request(method, house.url + path, headers=HTML)
    assert answer.status_code == status
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get_list(name) == [value], name


def test_files_are_kept_for_good_under_their_digest_and_asked_again_without(house: Standing) -> None:
    base = _base(_get(house, "/").text)
    lasting = httpx2.get(f"{house.url}{base}/css/tokens.css")
    assert "immutable" in lasting.headers["cache-control"]
    assert lasting.headers["content-type"] == "text/css; charset=utf-8"
    plain = httpx2.get(f"{house.url}/static/css/tokens.css")
    assert plain.headers["cache-control"] == "no-cache"
    tag = plain.headers["etag"]
    again = httpx2.get(f"{house.url}/static/css/tokens.css", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    old = httpx2.get(f"{house.url}/static/0123456789ab/css/tokens.css")
    assert old.headers["cache-control"] == "no-cache"


def test_files_are_compressed_for_who_can_read_it(house: Standing) -> None:
    with httpx2.stream("GET", f"{house.url}/static/js/main.js", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(packed)
    plain = httpx2.get(f"{house.url}/static/js/main.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed) == plain.content


@pytest.mark.parametrize(
    "name",
    ["../pages.py", "%2e%2e/pages.py", "js/../../pages.py", "vendor/..%2f..%2fpages.py", "/etc/passwd", ".git", "js"],
)
def test_nothing_outside_of_the_folder_is_served(house: Standing, name: str) -> None:
    assert httpx2.get(f"{house.url}/static/{name}").status_code == 404


@pytest.mark.parametrize(
    "name", ["", "..", "a/../b.js", "/etc/passwd", "js/main.py", ".hidden.js", "a\\b.js", "js\0.js"]
)
def test_a_shelf_holds_only_what_may_be_asked_for(name: str) -> None:
    assert shelves.find(name) is None


def test_whatever_the_page_fetches_at_first_is_announced_at_once() -> None:
    found = shelves.imports("js/main.js")
    assert {"js/main.js", "js/lib/preact.js", "js/shell/selector.js"} <= set(found)
    assert any(name.startswith("vendor/preact-") for name in found)
    assert not any(
        "katex" in name or "highlight" in name or "uplot" in name for name in shelves.imports("js/rooms/chat/index.js")
    )
