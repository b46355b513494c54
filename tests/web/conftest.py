"""A browser, a house and a Hub for the tests of the page. Everything in this folder is synchronous: Playwright's loop
occupies the thread from the first test of the folder to its last.

`house` is shared by a worker (read it, do not change it); `own_house` is the test's own. `visit` opens a page in a
browser context of its own and fails the test for what a person never should meet: an error in the console, a violation
of the policy, a request to anybody but the house. `look` keeps a screenshot in `artefacts/`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import nursery
from tests.fakes.hub import FakeHub, running

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests drive a browser through Playwright")

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "artefacts"
AXE = next((ROOT / "tests" / "web" / "vendor").glob("axe-core-*/axe.js"))
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--disable-domain-reliability",
]
SIZES = {"desktop": (1280, 800), "phone": (360, 740)}
# DOMPurify reads hostile markup in a document of its own; the policy reports, and blocks, what would act in it.
# A page that asks for a graphics card is told in the console, too, that there is none.
HARMLESS = re.compile(r"(?:inline event handler|inline style).*dompurify|No available adapters", re.DOTALL)


@dataclass
class Standing:
    """A house in a process of its own, and the Hub it asks."""

    url: str
    hub: FakeHub
    home: Path


@contextmanager
def standing(folder: Path, **environment: str) -> Iterator[Standing]:
    with running(FakeHub()) as hub:
        told = {
            "DOMICILE_HOME": str(folder / "home"),
            "HF_HOME": str(folder / "hf"),
            "HOME": str(folder / "person"),
            "HF_ENDPOINT": hub.url,
            "OLLAMA_HOST": "127.0.0.1:9",
            "OMP_WAIT_POLICY": "passive",
            "LC_ALL": "C.UTF-8",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_", "LANG"))}
        with nursery.serving(env={**inherited, **told, **environment}) as (_, said):
            yield Standing(said["url"], hub, folder / "home")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A house that nobody changes."""
    with standing(tmp_path_factory.mktemp("house")) as opened:
        yield opened


@pytest.fixture
def own_house(tmp_path: Path) -> Iterator[Standing]:
    """A house of the test's own."""
    with standing(tmp_path) as opened:
        yield opened


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine (make chromium installs it where it may)")
    return program


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of this folder."""
    program = chromium()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Watched:
    """What went wrong on a page."""

    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """`visit(url, lang="fr", size="phone", theme="dark")`: a page whose room is there."""
    opened: list[tuple[Any, Watched]] = []

    def go(
        url: str, *, lang: str = "en", size: str = "desktop", theme: str = "light", expect: tuple[str, ...] = ()
    ) -> Any:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale=lang,
            reduced_motion="reduce",
            color_scheme=theme,
            has_touch=size == "phone",
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(15_000)
        watched = Watched()
        opened.append((context, watched))
        watch(page, watched, url, expect)
        page.goto(url)
        page.wait_for_selector("#island:not([aria-busy])")
        return page

    yield go
    faults = [fault for _, watched in opened for fault in watched.faults]
    for context, _ in opened:
        context.close()
    assert faults == [], "\n".join(faults)


def watch(page: Any, watched: Watched, url: str, expect: tuple[str, ...]) -> None:
    origin = "/".join(url.split("/")[:3])

    def console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            told = f"{message.type}: {message.text} {message.location.get('url', '')}"
            if not HARMLESS.search(told) and not any(part in told for part in expect):
                watched.faults.append(told)

    def request(asked: Any) -> None:
        watched.requests.append(asked.url)
        if not asked.url.startswith((origin, "data:", "blob:")):
            watched.faults.append(f"asked {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: watched.faults.append(f"uncaught: {error}"))
    page.on("request", request)


def look(page: Any, name: str) -> None:
    """Keep a screenshot, to be looked at."""
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTEFACTS / f"{name}.png"))


def axe(page: Any) -> list[str]:
    """What axe finds against WCAG 2 A and AA: the rule, and where."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(
        """() => axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})"""
    )
    return [
        f"{v['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for v in found["violations"]
        for node in v["nodes"]
    ]
