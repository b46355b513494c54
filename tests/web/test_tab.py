"""Models in the browser: with wllama, web-llm and transformers.js, in a real Chromium, and from this house alone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import expect

from domicile import tab
from tests.web.conftest import Standing, Visit, axe, look

pytestmark = pytest.mark.slow

WAIT_MS = 60_000
CLOSED = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_EMPTY_RESPONSE",
    "ERR_INCOMPLETE_CHUNKED",
    "ERR_FAILED",
)
"""What a browser itself says in its console when the house is gone."""


def _one_thread(page: Any) -> None:
    """Threads that wait for each other on a busy machine are slower by ten: one will do."""
    page.evaluate("() => localStorage.setItem('domicile.tab.threads', '1')")
    page.reload()
    page.wait_for_selector("#island:not([aria-busy])")


def _ask(page: Any, text: str) -> str:
    before = page.locator(".tab-answer").count()
    page.get_by_label("Write a message").fill(text)
    page.keyboard.press("Enter")
    answer = page.locator(".tab-answer").nth(before)
    expect(answer.get_by_text("tokens/s")).to_be_visible(timeout=WAIT_MS)
    return str(answer.locator(".prose").inner_text())


def _close(house: Standing) -> None:
    """The house is gone, as by a pulled plug."""
    told = json.loads((house.home / "house.json").read_text("utf-8"))
    os.kill(told["pid"], signal.SIGKILL)


def test_graine_answers_in_the_tab_and_again_with_the_house_closed(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/tab", expect=CLOSED)
    _one_thread(page)
    assert axe(page) == []
    first = _ask(page, "What is a GGUF?")
    assert "GGUF" in first
    kept = page.locator(".list.card li").filter(has_text="graine")
    expect(kept).to_contain_text("MB")
    expect(page.get_by_label("Keep the page too")).to_be_checked(timeout=WAIT_MS)
    expect(page.get_by_text("can be evicted")).to_be_visible()
    look(page, "tab-en")

    _close(own_house)
    page.goto(own_house.url + "/models")  # whichever page is asked for, the one that is kept stands for it
    page.wait_for_selector("#island:not([aria-busy])")
    expect(page.get_by_text("The house is closed.")).to_be_visible()
    assert page.evaluate("() => crossOriginIsolated") is True
    assert page.locator(".tab-answer .prose").first.inner_text() == first  # the talk went on with the tab
    page.get_by_role("button", name="New conversation").click()
    assert _ask(page, "What is a GGUF?") == first
    look(page, "tab-closed")


def test_what_is_kept_is_listed_and_deleted_and_the_page_goes_when_it_is_told(
    own_house: Standing, visit: Visit
) -> None:
    page = visit(own_house.url + "/tab")
    _one_thread(page)
    page.get_by_role("button", name="Load graine").click()
    expect(page.get_by_role("button", name="Unload")).to_be_visible(timeout=WAIT_MS)
    stay = page.get_by_label("Keep the page too")
    expect(stay).to_be_checked(timeout=WAIT_MS)
    stay.uncheck()
    expect(stay).to_be_enabled()
    assert page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0
    assert page.evaluate("async () => (await caches.keys()).filter((n) => n.startsWith('domicile-page-')).length") == 0
    page.get_by_role("button", name="Delete graine from this browser").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("No model is kept here yet.")).to_be_visible()
    left = page.evaluate(
        """async () => {
          const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("cache", {create: true});
          return (await Array.fromAsync(folder.keys())).length;
        }"""
    )
    assert left == 0
    expect(page.get_by_role("button", name="Load graine")).to_be_visible()  # it was in memory: it is not any more


def test_the_worker_keeps_the_page_and_nothing_that_is_said(own_house: Standing, visit: Visit) -> None:
    page = visit(own_house.url + "/tab", lang="fr")
    page.evaluate(
        """async () => {
          const main = document.querySelector("script[src]").src;
          await (await import(main.replace("main.js", "engines/closed.js"))).stay();
        }"""
    )
    page.goto(own_house.url + "/models")
    page.wait_for_selector("#island:not([aria-busy])")
    kept = page.evaluate(
        """async () => {
          const urls = [];
          for (const name of await caches.keys())
            for (const { url } of await (await caches.open(name)).keys()) urls.push(url.slice(location.origin.length));
          return urls;
        }"""
    )
    assert "/tab?shell" in kept
    assert [url for url in kept if not url.startswith("/static/") and url != "/tab?shell"] == []
    shell = page.evaluate("async () => (await caches.match('/tab?shell')).text()")
    assert "graine" not in shell
    assert 'lang="fr"' in shell
    page.goto(own_house.url + "/models?lang=en")  # the page that is kept follows the language
    page.wait_for_selector("#island:not([aria-busy])")
    page.wait_for_function("async () => (await (await caches.match('/tab?shell')).text()).includes('lang=\"en\"')")


def _file(house: Standing, name: str, **headers: str) -> httpx2.Response:
    return httpx2.get(f"{house.url}/domicile/files/{name}", headers=headers)


def test_a_file_is_given_whole_or_in_part_never_compressed(house: Standing) -> None:
    url = f"{house.url}/domicile/files/graine/resolve/main/graine.gguf"
    head = httpx2.head(url, headers={"Accept-Encoding": "gzip"})
    assert head.status_code == 200
    size = int(head.headers["content-length"])
    assert size > 3_000_000
    assert "content-encoding" not in head.headers
    assert head.headers["cross-origin-resource-policy"] == "same-origin"
    part = httpx2.get(url, headers={"Range": "bytes=0-3", "If-Range": head.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"GGUF", f"bytes 0-3/{size}")
    assert httpx2.get(url, headers={"Range": f"bytes={size}-"}).status_code == 416
    assert httpx2.get(url, headers={"If-None-Match": head.headers["etag"]}).status_code == 304
    assert httpx2.head(url.replace("resolve/main", "main")).headers["etag"] == head.headers["etag"]


@pytest.mark.parametrize(
    "asked",
    [
        "graine/resolve/main/../CARD.md",
        "graine/resolve/main/..%2fCARD.md",
        "graine/resolve/main/%2e%2e/%2e%2e/app.py",
        "graine/resolve/main//etc/passwd",
        "graine/resolve/main/CARD.md",
        "graine/resolve/main/graine.gguf%00.json",
        "graine/resolve/main/graine.gguf/../../../domicile.db",
        "nobody/resolve/main/graine.gguf",
        "../resolve/main/house.json",
        "%2e%2e/resolve/main/house.json",
    ],
)
def test_only_files_of_a_model_are_given(house: Standing, asked: str) -> None:
    answer = _file(house, asked)
    assert answer.status_code in {404, 409}, answer.text
    assert b"GGUF" not in answer.content[:4]


def test_a_link_out_of_the_store_is_not_followed(own_house: Standing) -> None:
    own_house.hub.add(
        "org/tiny", {"model.Q8_0.gguf": (Path(tab.__file__).parent / "graine" / "graine.gguf").read_bytes()}
    )
    job = httpx2.post(f"{own_house.url}/domicile/pull", json={"model": "org/tiny"}).json()
    _done(own_house, job["id"])
    name = httpx2.get(f"{own_house.url}/domicile/tab").json()["models"]
    mine = next(m for m in name if m["name"].startswith("org/tiny"))
    assert mine["entry"] == "model.Q8_0.gguf"
    path = own_house.home / "models" / "org" / "tiny" / "model.Q8_0.gguf"
    at = f"{quote(mine['name'])}/resolve/main/model.Q8_0.gguf"
    assert _file(own_house, at).content[:4] == b"GGUF"
    path.unlink()
    path.symlink_to(own_house.home / "house.json")
    assert _file(own_house, at).status_code == 409
    assert _file(own_house, at, Origin="https://elsewhere.example").status_code == 403


def _done(house: Standing, job: str) -> dict[str, Any]:
    """The job's last state."""
    with httpx2.stream("GET", f"{house.url}/domicile/jobs/{job}/events", timeout=60) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and (said := json.loads(line[5:])).get("status") in {"done", "failed"}:
                assert said["status"] == "done", said
                return dict(said)
    raise AssertionError("no end")
