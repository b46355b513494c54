"""Open WebUI on a house: it lists the models, pulls one and chats, offline, in a real browser.

    .venv/bin/python -m tools.clients.open_webui FOLDER

FOLDER gets all of it: Open WebUI in an environment of its own (2.9 GB, some minutes the first time), its data, a house,
what they wrote, and two pictures. The Hub is the one of the tests, so that nothing is downloaded but Open WebUI itself.
Chromium (Debian's package) and playwright must be there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from tests.fakes.hub import FakeHub, running

from domicile.library import EMBEDDED_FILE

REPOSITORY = "acme/small-GGUF"
CONTEXT = 8192
"""Open WebUI sends about 1,300 tokens of its own tools with a first "Bonjour". A model whose template has no place for
tools refuses them, as in Ollama: it is used with function calling set to `legacy`."""
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-default-apps", "--disable-domain-reliability"),
)
START_S = 600
"""On a busy machine its imports alone take minutes."""
ANSWER_S = 120_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("home", "data"):
        shutil.rmtree(folder / old, ignore_errors=True)
    python = installed(folder / "venv")
    hub = FakeHub()
    hub.add(REPOSITORY, {"small-Q8_0.gguf": EMBEDDED_FILE.read_bytes()})
    with running(hub), house(folder, hub.url) as url, open_webui(python, folder, url) as page:
        listed = asked(page, "GET", "/api/models")["data"]
        print("Open WebUI lists:", ", ".join(model["id"] for model in listed))
        assert any(model["id"].startswith("graine") for model in listed), listed
        in_the_browser(page, folder, given.chromium)
        named = [model["name"] for model in httpx2.get(f"{url}/api/tags").json()["models"]]
        print("the house has:", ", ".join(named))
        assert any(name.startswith(REPOSITORY) for name in named), named


def installed(place: Path) -> Path:
    """Python of an environment that has Open WebUI. Its torch is named first: unnamed, one for graphics cards comes."""
    python = place / "bin" / "python"
    if not (place / "bin" / "open-webui").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        for what in (["torch==2.13.0"], ["open-webui", "torch==2.13.0"]):
            subprocess.run([str(python), *PIP, *what], check=True)
    return python


@contextlib.contextmanager
def house(folder: Path, hub: str) -> Iterator[str]:
    """A house of its own; its address."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOMICILE_", "HF_"))}
    mine = {"DOMICILE_HOME": str(folder / "home"), "HF_ENDPOINT": hub, "DOMICILE_CONTEXT": str(CONTEXT)}
    words = [sys.executable, "-m", "domicile", "serve", "--json", "--port", "0"]
    with (folder / "house.log").open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env={**kept, **mine})
        try:
            assert process.stdout is not None
            told = ""
            while not told.rstrip().endswith("}"):
                line = process.stdout.readline()
                assert line, "the house did not open"
                told += line
            yield str(json.loads(told)["url"])
        finally:
            process.terminate()
            process.wait(15)


@contextlib.contextmanager
def open_webui(python: Path, folder: Path, url: str) -> Iterator[str]:
    """Open WebUI, offline, whose Ollama is the house; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    offline = {
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "WEBUI_AUTH": "False",
        "OLLAMA_BASE_URL": url,
        "ENABLE_OPENAI_API": "False",
        "RAG_EMBEDDING_ENGINE": "ollama",
        "DEFAULT_MODEL_PARAMS": '{"function_calling": "legacy"}',
        "ENABLE_PERSISTENT_CONFIG": "False",
        "ENABLE_VERSION_UPDATE_CHECK": "False",
        "ANONYMIZED_TELEMETRY": "False",
        "DO_NOT_TRACK": "True",
        "SCARF_NO_ANALYTICS": "True",
        "WEBUI_SECRET_KEY": "of-this-check-alone",
        "DATA_DIR": str(folder / "data"),
        "HF_HOME": str(folder / "hf"),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    (folder / "data").mkdir(exist_ok=True)
    words = [str(python.parent / "open-webui"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    page = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    with (folder / "open-webui.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env={**os.environ, **offline})
        try:
            while not answers(page):
                assert process.poll() is None, f"Open WebUI ended: see {log.name}"
                assert time.monotonic() - began < START_S, f"Open WebUI does not answer: see {log.name}"
                time.sleep(1)
            print(f"Open WebUI answers after {time.monotonic() - began:.0f} s")
            yield page
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def answers(page: str) -> bool:
    try:
        return httpx2.get(f"{page}/health", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def asked(page: str, method: str, path: str) -> Any:
    """Its API, as its only person."""
    entered = httpx2.post(f"{page}/api/v1/auths/signin", json={"email": "", "password": ""}, timeout=60)
    key = entered.raise_for_status().json()["token"]
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.request(method, f"{page}{path}", headers=headers, timeout=60).raise_for_status().json()


def in_the_browser(url: str, folder: Path, chromium: str | None) -> None:
    """Choose a model, pull another, chat with the first: as a person would."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 800}, locale="en-GB")
        try:
            page.goto(url)
            welcome = page.get_by_role("button", name="Okay, Let's Go!")
            box = page.locator("#chat-input")
            expect(welcome.or_(box).first).to_be_visible(timeout=60_000)
            page.wait_for_timeout(1500)  # the news of a version come over the page, if they come
            if welcome.is_visible():
                welcome.click()

            chooser = page.get_by_label("Selected model")
            search = page.locator("#model-search-input")
            chooser.click()
            search.fill(f"{REPOSITORY}:Q8_0")
            page.get_by_text(f'Download "{REPOSITORY}:Q8_0"').click()
            expect(page.get_by_text("has been successfully downloaded")).to_be_visible(timeout=60_000)
            page.screenshot(path=folder / "pulled.png")
            page.keyboard.press("Escape")

            page.goto(url)
            chooser.click()
            search.fill("graine")
            page.get_by_role("option").filter(has_text="graine").first.click()
            sizes = note_sizes(page)
            box.click()
            page.keyboard.type("Bonjour, qui es-tu ?")
            page.keyboard.press("Enter")
            answer = page.locator(".chat-assistant").last
            expect(answer).to_contain_text("graine", timeout=ANSWER_S)
            page.wait_for_timeout(3000)
            page.screenshot(path=folder / "chatted.png")
            print("it says:", " ".join(answer.inner_text().split())[:200])
            grew = page.evaluate(sizes)
            print("the answer grew through", len(grew), "lengths")
            assert len(grew) > 2, grew
        except Exception:
            page.screenshot(path=folder / "failed.png")
            raise
        finally:
            browser.close()


def note_sizes(page: Any) -> str:
    """From now on note each length of the answer: one that streams has several. Returns what reads them."""
    page.evaluate(
        """() => {
            window.lengths = [];
            new MutationObserver(() => {
                const said = [...document.querySelectorAll('.chat-assistant')].at(-1);
                const length = said ? said.innerText.length : 0;
                if (length && length !== window.lengths.at(-1)) window.lengths.push(length);
            }).observe(document.body, {subtree: true, childList: true, characterData: true});
        }"""
    )
    return "() => window.lengths"


if __name__ == "__main__":
    main()
