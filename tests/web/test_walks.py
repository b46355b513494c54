"""Three things a newcomer wants, walked as one would: nothing known before, nothing typed but what one has to say.

Each step is counted: a click (also counted by the browser itself), something typed or pasted, a key. What is counted
is what `docs/walks.md` says, and less than the twelve steps of a guide for the same thing with other tools.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from openai import OpenAI
from playwright.sync_api import expect

from domicile import i18n
from domicile.library import EMBEDDED_FILE
from tests.web.conftest import ROOT, Standing, Visit, axe, look, standing

pytestmark = pytest.mark.slow

PATIENT_MS = 60_000
ELSEWHERE = 12
"""Steps of the guide that has Ollama, Pinokio and Open WebUI installed by hand for the first walk."""
WAYS = [("fr", "desktop", "light"), ("en", "phone", "dark")]
COUNTS = """addEventListener("click", (e) => e.isTrusted && e.detail && sessionStorage.setItem("clicks",
  1 + Number(sessionStorage.getItem("clicks"))), true)"""


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Language, size and theme."""
    return tuple(request.param)


@pytest.fixture(scope="module")
def new_house(way: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A house nobody has used yet, and a Hub with every model it recommends (all of them graine, under their names)."""
    with standing(tmp_path_factory.mktemp("-".join(way))) as opened:
        content = EMBEDDED_FILE.read_bytes()
        for model in httpx2.get(opened.url + "/domicile/recommended", timeout=60).json()["models"]:
            if model["gguf"]:
                opened.hub.add(model["gguf"], {f"{model['id']}-{model['quantisation']}.gguf": content})
        opened.hub.add("friend/story-teller-GGUF", {"story-teller-Q8_0.gguf": content})
        yield opened


@dataclass
class Walk:
    """A person's hands: each move is one step."""

    page: Any
    lang: str
    steps: list[str] = field(default_factory=list)

    def say(self, key: str, **facts: object) -> str:
        return i18n.say(self.lang, key, **facts)

    def click(self, place: Any) -> None:
        self.steps.append("click")
        place.click(timeout=PATIENT_MS)

    def write(self, place: Any, text: str) -> None:
        self.steps.append("write")
        place.fill(text, timeout=PATIENT_MS)

    def press(self, key: str) -> None:
        self.steps.append("key")
        self.page.keyboard.press(key)

    def ends(self, number: int) -> None:
        """As many clicks and steps as the guides say of the first, second or third walk."""
        clicks = self.steps.count("click")
        assert int(self.page.evaluate("() => sessionStorage.getItem('clicks')")) == clicks
        assert len(self.steps) < ELSEWHERE
        for file in ("walks.md", "walks.fr.md"):
            rows = re.findall(
                r"^\| \[.*\) \| (\d+) \| (\d+) \|$", (ROOT / "docs" / file).read_text("utf-8"), re.MULTILINE
            )
            assert rows[number - 1] == (str(clicks), str(len(self.steps))), file


def _begin(visit: Visit, house: Standing, way: tuple[str, str, str]) -> Walk:
    lang, size, theme = way
    page = visit(house.url + "/", lang=lang, size=size, theme=theme)
    page.set_default_timeout(PATIENT_MS)
    page.context.add_init_script(COUNTS)
    page.evaluate(f"() => {{ {COUNTS} }}")
    return Walk(page, lang)


def _talks(walk: Walk, name: str) -> None:
    """A question is asked in the room of talk, and the model answers it."""
    walk.write(walk.page.locator("#say"), "Bonjour")
    walk.press("Enter")
    answer = walk.page.locator(".turn.assistant")
    expect(answer).to_have_attribute("aria-busy", "false", timeout=PATIENT_MS)
    expect(answer.locator(".prose")).to_contain_text("graine")  # whose bytes they are
    expect(answer.locator(".who")).to_contain_text(name)


def test_find_a_model_that_fits_and_talk_to_it(new_house: Standing, visit: Visit, way: tuple[str, str, str]) -> None:
    walk = _begin(visit, new_house, way)
    page = walk.page
    walk.click(page.get_by_role("link", name=walk.say("page.chat.welcome.find")))
    first = page.locator(".first")
    expect(first).to_contain_text(walk.say("page.models.first"))
    look(page, f"walk-find-{'-'.join(way)}")
    walk.click(first.get_by_role("button", name=walk.say("page.common.get")))
    walk.click(first.get_by_role("button", name=walk.say("page.shell.talk")))
    page.wait_for_url(new_house.url + "/")
    expect(page.locator(".selector-name")).to_contain_text("GGUF")
    _talks(walk, page.locator(".selector-name").inner_text())
    assert axe(page) == []
    look(page, f"walk-talk-{'-'.join(way)}")
    walk.ends(1)


def test_add_a_custom_model(new_house: Standing, visit: Visit, way: tuple[str, str, str]) -> None:
    walk = _begin(visit, new_house, way)
    page = walk.page
    walk.click(page.locator(".selector-button"))
    walk.click(page.get_by_role("button", name=walk.say("page.selector.add")))
    form = page.get_by_role("dialog", name=walk.say("page.custom.title"))
    expect(form.locator("[name=url]")).to_be_focused()
    address = "https://huggingface.co/friend/story-teller-GGUF/resolve/main/story-teller-Q8_0.gguf"
    walk.write(form.locator("[name=url]"), address)
    expect(form.locator("[name=id]")).to_have_value("story-teller-Q8_0")
    look(page, f"walk-custom-{'-'.join(way)}")
    walk.click(form.get_by_role("button", name=walk.say("page.custom.add"), exact=True))
    walk.click(page.locator(".toast").get_by_role("button", name=walk.say("page.common.get")))
    walk.click(page.locator(".toast").get_by_role("button", name=walk.say("page.shell.talk")))
    expect(page.locator(".selector-name")).to_contain_text("story-teller")
    _talks(walk, "story-teller")
    assert axe(page) == []
    walk.ends(2)


def test_make_it_answer_from_my_editor(
    new_house: Standing, visit: Visit, way: tuple[str, str, str], tmp_path: Path
) -> None:
    walk = _begin(visit, new_house, way)
    page = walk.page
    walk.click(page.get_by_role("link", name=walk.say("page.chat.welcome.editor")))
    card = page.locator(".card", has=page.get_by_role("heading", name=walk.say("page.settings.tools"), exact=True))
    expect(card).to_contain_text("~/.continue/config.yaml")
    expect(page.locator(".tool-facts")).to_contain_text(new_house.url + "/v1")  # the address, said
    expect(page.get_by_text(walk.say("page.settings.tools.key.none"))).to_be_visible()  # and that no key is asked
    assert axe(page) == []
    look(page, f"walk-editor-{'-'.join(way)}")
    walk.click(card.locator(".code").get_by_role("button"))
    copied = page.evaluate("() => navigator.clipboard.readText()")
    walk.ends(3)
    (told,) = yaml.safe_load(copied)["models"]  # what was copied, as Continue reads it
    client = OpenAI(base_url=told["apiBase"], api_key=told["apiKey"])
    asked: list[Any] = [{"role": "user", "content": "Bonjour"}]
    answer = client.chat.completions.create(model=told["model"], messages=asked)
    assert "graine" in (answer.choices[0].message.content or "")
    client.close()
    card.get_by_role("button", name=walk.say("page.settings.tools.try")).click()
    expect(card.locator("[role=status]")).to_contain_text("graine")
    card.locator("select").first.select_option("python")
    card.locator(".code").get_by_role("button").click()
    program = tmp_path / "copied.py"
    program.write_text(page.evaluate("() => navigator.clipboard.readText()"), "utf-8")
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert "graine" in ran.stdout, ran.stderr
