"""The room where one talks, as a person uses it: branches, answers that survive a reload, the list, files, moves."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from domicile.library import EMBEDDED_FILE
from tests.fakes.target import FakeTarget, running
from tests.web.conftest import Visit, axe, look, standing
from tests.web.test_markdown import PAYLOADS

pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)
OTHER = "org/other:Q8_0"


@dataclass
class Talking:
    """A house with two models and a target the person consented to."""

    url: str
    home: Path
    target: FakeTarget

    def post(self, path: str, **json_: Any) -> Any:
        answer = httpx2.post(self.url + path, json=json_, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def chat(self, *said: str, **values: Any) -> str:
        """A conversation of these words, in turns."""
        made = self.post("/domicile/chats", **values)
        roles = ("user", "assistant")
        told = [{"role": roles[n % 2], "text": text} for n, text in enumerate(said)]
        if told:
            self.post(f"/domicile/chats/{made['id']}/messages", messages=told)
        return str(made["id"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    with standing(tmp_path_factory.mktemp("talking")) as house, running(FakeTarget()) as target:
        here = Talking(house.url, house.home, target)
        house.hub.add("org/other", {"a-Q8_0.gguf": EMBEDDED_FILE.read_bytes()})
        here.post("/domicile/pull", model="org/other:Q8_0")
        here.post("/domicile/targets", name="nas", url=target.url)
        here.post("/domicile/targets/nas/consent", consent=True)
        _wait(lambda: OTHER in httpx2.get(house.url + "/domicile/models").text)
        yield here


@pytest.fixture
def talking(opened: Talking) -> Iterator[Talking]:
    """Without conversations, and the target well."""
    opened.post("/domicile/chats/delete", all=True)
    opened.target.fault, opened.target.words, opened.target.thoughts = "well", ("from", "elsewhere"), ()
    opened.target.going.set()
    opened.target.heard.clear()
    yield opened
    opened.target.going.set()


def _wait(true: Any) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def _say(page: Any, text: str) -> None:
    page.locator("#say").fill(text)
    page.locator("#say").press("Enter")


def _answered(page: Any) -> Any:
    """The last answer, once it is whole."""
    last = page.locator(".turn.assistant").last
    expect(last).to_have_attribute("aria-busy", "false")
    return last


def _pick(page: Any, button: Any, item: str | re.Pattern[str]) -> None:
    button.click()
    page.locator("[role=menu] button", has_text=item).click()


@pytest.mark.parametrize(("lang", "size", "theme"), [("fr", "desktop", "light"), ("en", "phone", "dark")])
def test_a_question_is_changed_and_answered_again_by_another_and_every_version_stays(
    talking: Talking, visit: Visit, lang: str, size: str, theme: str
) -> None:
    page = visit(talking.url + "/", lang=lang, size=size, theme=theme)
    _say(page, "Qui es-tu ?")
    answer = _answered(page)
    expect(answer.locator(".prose")).to_contain_text("graine")
    expect(answer.locator(".cost")).to_contain_text("jetons/s" if lang == "fr" else "tokens/s")
    expect(page.locator(".gauge")).to_contain_text("%")
    page.locator(".turn.user").hover()
    page.locator(".edit-button").click()
    page.locator(".editor textarea").fill("Que sais-tu faire ?")
    page.locator(".editor textarea").press("Enter")
    versions = page.locator(".turn.user .versions")
    expect(versions).to_contain_text("2/2")
    answer = _answered(page)
    _pick(page, answer.locator("[aria-haspopup=menu]").first, OTHER)
    expect(page.locator(".turn.assistant .versions")).to_contain_text("2/2")
    expect(_answered(page).locator(".who")).to_contain_text(OTHER)
    page.locator(".turn.assistant .versions button").first.click()
    expect(page.locator(".turn.assistant .who")).to_contain_text("graine")
    versions.locator("button").first.click()
    expect(page.locator(".said")).to_have_text("Qui es-tu ?")
    assert axe(page) == []
    look(page, f"chat-branches-{lang}-{size}-{theme}")
    page.reload()
    expect(page.locator(".said")).to_have_text("Qui es-tu ?")  # the branch that was shown is the one that is shown


def test_a_reload_and_another_room_in_the_middle_of_an_answer_rejoin_it(talking: Talking, visit: Visit) -> None:
    talking.target.words = ("One", "two", "three.")
    talking.target.thoughts = ("Let", "me", "count.")
    talking.target.going.clear()
    page = visit(f"{talking.url}/?chat={talking.chat(strategy='away')}")
    _say(page, "Count")
    said = page.locator(".turn.assistant")
    expect(said.locator(".written").last).to_contain_text("One")
    page.reload()
    expect(said.locator(".written").last).to_contain_text("One")
    page.goto(talking.url + "/models")
    page.goto(talking.url + "/")
    expect(said.locator(".written").last).to_contain_text("One")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    talking.target.going.set()
    expect(_answered(page).locator(".written").last).to_have_text("One two three.")
    expect(page.locator(".thought summary")).to_contain_text("Reasoned for")
    expect(page.locator(".who .badge.away")).to_contain_text("nas")
    assert len(talking.target.heard) == 1  # asked once


def test_an_answer_is_stopped_goes_on_and_fails_with_what_to_do(talking: Talking, visit: Visit) -> None:
    talking.target.words = ("One", "two.")
    talking.target.going.clear()
    page = visit(f"{talking.url}/?chat={talking.chat(strategy='away')}", lang="fr")
    _say(page, "Compte")
    expect(page.locator(".turn.assistant .written")).to_contain_text("One")
    page.keyboard.press("Escape")
    expect(_answered(page).locator(".aside")).to_contain_text("arrêtée ici")
    talking.target.going.set()
    page.get_by_role("button", name="Continuer").click()
    expect(page.locator(".turn.assistant .written")).to_have_text("One One two.")
    _answered(page)
    talking.target.fault = "refuses 500"
    _say(page, "Encore")
    note = page.locator(".turn.assistant .note.bad")
    expect(note).to_contain_text("nas")
    talking.target.fault = "well"
    note.get_by_role("button", name="Réessayer").click()
    expect(_answered(page).locator(".written")).to_have_text("One two.")


def test_a_reply_that_comes_after_the_whole_answer_does_not_say_that_it_is_still_written(
    talking: Talking, visit: Visit
) -> None:
    talking.target.words = ("One", "two.")
    talking.target.going.clear()
    chat = talking.chat(strategy="away")
    page = visit(f"{talking.url}/?chat={chat}")
    _say(page, "Count")
    expect(page.locator(".turn.assistant .written")).to_contain_text("One")
    page.keyboard.press("Escape")
    _answered(page)
    talking.target.going.set()

    def late(route: Any) -> None:
        reply = route.fetch()
        _wait(lambda: not httpx2.get(f"{talking.url}/domicile/chats/{chat}").json()["writing"])
        expect(_answered(page).locator(".written")).to_have_text("One One two.")  # told by the stream meanwhile
        route.fulfill(response=reply)

    page.route("**/answer", late)
    with page.expect_response("**/answer"):
        page.get_by_role("button", name="Continue", exact=True).click()
    expect(_answered(page).locator(".written")).to_have_text("One One two.")


def test_the_list_is_searched_renamed_pinned_put_away_and_cleared(talking: Talking, visit: Visit) -> None:
    talking.chat("Un élève au cœur de la forêt", "Il y cherche un hibou.")
    talking.chat("Recette de soupe", "Des poireaux.")
    page = visit(talking.url + "/", lang="fr")
    items = page.locator(".chat-item")
    expect(items).to_have_count(2)
    page.locator("#room").press("k")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("eleve coeur")
    expect(items).to_have_count(1)
    page.locator("#find").fill("hibou")
    expect(page.locator("mark")).to_have_text("hibou")
    page.locator("mark").click()
    expect(page.locator(".turn.assistant.sought")).to_contain_text("hibou")
    page.locator("#find").fill("")
    expect(items).to_have_count(2)

    def deeds(title: str) -> Any:
        found = items.filter(has_text=title)
        found.hover()
        return found.locator("[aria-haspopup=menu]")

    _pick(page, deeds("soupe"), "Renommer")
    page.keyboard.type("Soupe du soir")
    page.keyboard.press("Enter")
    expect(items.filter(has_text="Soupe du soir")).to_be_visible()
    _pick(page, deeds("Soupe"), "Épingler")
    expect(page.locator(".chats-title").first).to_have_text("Épinglées")
    _pick(page, deeds("élève"), "Ranger")
    page.get_by_label("Un nouveau dossier").fill("Forêts")
    page.get_by_role("button", name="Créer").click()
    folder = page.locator(".folder")
    expect(folder).to_contain_text("Forêts")
    expect(items).to_have_count(1)
    folder.locator("[aria-expanded]").first.click()
    expect(folder.locator(".chat-item")).to_contain_text("élève")
    assert axe(page) == []
    look(page, "chat-list-fr")
    _pick(page, deeds("élève"), "Archiver")
    expect(folder.locator(".chat-item")).to_have_count(0)
    _pick(page, page.locator(".chats-head [aria-haspopup=menu]"), "Archives")
    expect(items).to_have_count(1)
    page.locator(".chats-list").get_by_role("button", name="Toutes les discussions").click()
    _pick(page, page.locator(".chats-head [aria-haspopup=menu]"), "Sélectionner plusieurs")
    items.filter(has_text="Soupe").locator("input").check()
    page.locator(".bulk").get_by_role("button", name="Supprimer").click()
    page.get_by_role("dialog").get_by_role("button", name="Supprimer", exact=True).click()
    expect(items.filter(has_text="Soupe")).to_have_count(0)
    left = httpx2.get(talking.url + "/domicile/chats?archived=true").json()["chats"]
    assert [c["title"] for c in left] == ["Un élève au cœur de la forêt"]


def test_files_are_read_said_and_given_and_what_is_no_file_is_refused(talking: Talking, visit: Visit) -> None:
    page = visit(f"{talking.url}/?chat={talking.chat(strategy='away')}", expect=("status of 4",))
    hostile = '"><img src=x onerror=window.ran=1>.txt'
    picker = page.locator(".composer input[type=file]")
    picker.set_input_files({"name": hostile, "mimeType": "text/plain", "buffer": b"The password is hunter2."})
    expect(page.locator(".chips .file")).to_contain_text("24 characters read")
    page.evaluate(
        """() => { const clipboardData = new DataTransfer(); clipboardData.setData("text/plain", "long ".repeat(2000));
        const paste = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
        document.getElementById("say").dispatchEvent(paste) }"""
    )
    expect(page.locator(".chips .file.here")).to_have_count(2)
    picker.set_input_files({"name": "x.bin", "mimeType": "application/octet-stream", "buffer": b"\x00\x01\x02\x00"})
    failed = page.locator(".chips .file.failed")
    expect(failed).to_contain_text("x.bin")
    failed.get_by_role("button").click()
    look(page, "chat-files-en")
    _say(page, "What is the password?")
    _answered(page)
    expect(page.locator(".turn.user .file")).to_have_count(2)
    assert "hunter2" in talking.target.heard[-1].body.decode()
    assert page.locator(".chips .file").count() == 0
    assert page.evaluate("() => window.ran") is None


def test_a_temporary_conversation_leaves_nothing(talking: Talking, visit: Visit) -> None:
    page = visit(talking.url + "/", lang="fr")
    page.get_by_role("button", name="Discussion temporaire").click()
    expect(page.locator(".welcome")).to_contain_text("gardée qu'en mémoire")
    _say(page, "Un secret: xylophone-vermillon")
    _answered(page)
    address = page.url
    assert "chat=temp-" in address
    assert axe(page) == []
    page.locator(".chats-head").get_by_role("button", name="Nouvelle discussion").click()
    chat = re.search(r"temp-[\w-]+", address)
    assert chat is not None
    _wait(lambda: httpx2.get(f"{talking.url}/domicile/chats/{chat[0]}").status_code == 404)
    expect(page.locator(".chat-item")).to_have_count(0)
    kept = [p for p in talking.home.rglob("*") if p.is_file() and b"xylophone-vermillon" in p.read_bytes()]
    assert kept == []
    assert "xylophone" not in page.evaluate("() => JSON.stringify([{...sessionStorage}, {...localStorage}])")


def test_conversations_leave_as_files_and_come_back(talking: Talking, visit: Visit, tmp_path: Path) -> None:
    talking.chat("Une question", "Une **réponse**", title="À emporter")
    page = visit(talking.url + "/", lang="fr")
    item = page.locator(".chat-item")
    expect(item).to_have_count(1)
    item.hover()
    with page.expect_download() as one:
        _pick(page, item.locator("[aria-haspopup=menu]"), "Markdown")
    one.value.save_as(tmp_path / "one.md")
    _pick(page, page.locator(".chats-head [aria-haspopup=menu]"), "Exporter et importer")
    dialog = page.get_by_role("dialog")
    with page.expect_download() as everything:
        dialog.get_by_role("button", name="Tout exporter").click()
    everything.value.save_as(tmp_path / "all.json")
    assert axe(page) == []
    talking.post("/domicile/chats/delete", all=True)
    expect(item).to_have_count(0)
    dialog.locator("input[type=file]").set_input_files([tmp_path / "all.json", tmp_path / "one.md"])
    expect(dialog.locator(".note.good")).to_contain_text("2 discussions ajoutées")
    page.keyboard.press("Escape")
    expect(item).to_have_count(2)
    for number in (0, 1):
        item.nth(number).locator("a").click()
        expect(page.locator(".turn.assistant strong")).to_have_text("réponse")
        expect(page.locator(".said")).to_have_text("Une question")


def test_two_models_answer_side_by_side_and_one_of_them_goes_on(talking: Talking, visit: Visit) -> None:
    page = visit(talking.url + "/")
    together = page.get_by_role("button", name="Have several models answer")
    _pick(page, together, OTHER)
    expect(page.locator(".chips .badge")).to_have_count(2)
    _say(page, "Who are you?")
    columns = page.locator(".columns .turn")
    expect(columns).to_have_count(2)
    for number in (0, 1):
        expect(columns.nth(number)).to_have_attribute("aria-busy", "false")
        expect(columns.nth(number).locator(".written")).not_to_be_empty()
    columns.nth(1).get_by_role("button", name="Go on with this one").click()
    expect(columns.nth(1).locator(".badge.accent")).to_be_visible()
    assert axe(page) == []
    look(page, "chat-together-en")
    for badge in page.locator(".chips .badge-x").all()[:1]:
        badge.click()
    _say(page, "And then?")
    _answered(page)
    chat = httpx2.get(f"{talking.url}/domicile/chats/{page.url.split('=')[1]}").json()
    shown = [next(m for m in chat["messages"] if m["id"] == i) for i in chat["path"]]
    assert [m["model"] for m in shown][1] == OTHER
    assert len(shown) == 4


@pytest.mark.parametrize("lang", ["fr"])
def test_what_is_hostile_is_shown_and_never_runs(talking: Talking, visit: Visit, lang: str) -> None:
    told = [text for payload in PAYLOADS for text in (payload, f"before\n\n{payload}\n\nafter")]
    chat = talking.chat(*told, title=PAYLOADS[1], system=PAYLOADS[0])
    talking.post("/domicile/chats/folders", name=PAYLOADS[2])
    page = visit(f"{talking.url}/?chat={chat}", lang=lang)
    page.on("dialog", lambda dialog: pytest.fail(f"something ran: {dialog.message}"))
    expect(page.locator(".turn.assistant")).to_have_count(len(PAYLOADS))
    expect(page.locator(".chat-item")).to_contain_text(PAYLOADS[1])
    expect(page.locator(".folder", has_text="<svg onload")).to_have_count(1)
    page.locator("#find").fill("before")
    expect(page.locator(".chat-found")).to_be_visible()
    assert (
        page.locator(":is(.talk, .side) :is(script, iframe, form, style, link, video, object, embed, [onload])").count()
        == 0
    )
    assert page.locator(".talk img").count() == 0
    named = [{"name": f"{bad}.txt", "mimeType": "text/plain", "buffer": b"words"} for bad in PAYLOADS]
    page.locator(".composer input[type=file]").set_input_files(named)
    expect(page.locator(".chips .file.here")).to_have_count(len(PAYLOADS))
    acting = ":is(script, iframe, form, style, link, video, img, [onload], [onerror], [ontoggle])"
    assert page.locator(f".chips {acting}").count() == 0
    assert page.evaluate("() => window.ran") is None


def test_keys_do_things_and_can_be_switched_off(talking: Talking, visit: Visit) -> None:
    page = visit(f"{talking.url}/?chat={talking.chat('A question', 'An answer')}")
    expect(page.locator(".said")).to_have_text("A question")
    page.locator(".talk").press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_contain_text("A new chat")
    assert axe(page) == []
    page.keyboard.press("Escape")
    page.locator(".talk").focus()
    page.keyboard.press("b")
    expect(page.locator(".side")).not_to_be_visible()
    page.keyboard.press("b")
    expect(page.locator(".side")).to_be_visible()
    page.keyboard.press("e")
    expect(page.locator(".editor textarea")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator(".talk").focus()
    page.keyboard.press("/")
    dialog.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.locator(".talk").focus()
    page.keyboard.press("n")
    assert "chat=" in page.url
    page.locator(".talk").press("Control+Shift+O")
    assert "chat=" in page.url  # switched off as well


def test_settings_presets_and_a_missing_ear_are_said_calmly(talking: Talking, visit: Visit) -> None:
    page = visit(talking.url + "/", lang="fr", size="phone")
    page.get_by_role("button", name="Dicter").click()
    expect(page.locator(".toast")).to_contain_text("Aucun modèle de parole")
    page.get_by_role("button", name="Réglages de la discussion").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Consigne").fill("Réponds en une phrase.")
    dialog.get_by_label("Température").fill("0.2")
    dialog.get_by_role("button", name="Enregistrer comme préréglage").click()
    dialog.get_by_label("Nom du préréglage").fill("Sobre")
    dialog.get_by_role("button", name="Enregistrer", exact=True).first.click()
    expect(dialog.locator("select").first).to_contain_text("Sobre")
    dialog.get_by_label("Ailleurs.", exact=False).last.check()
    assert axe(page) == []
    look(page, "chat-settings-fr-phone")
    dialog.get_by_role("button", name="Enregistrer", exact=True).last.click()
    expect(page.locator(".composer-note .badge.away")).to_contain_text("part ailleurs")
    _say(page, "Bonjour")
    expect(_answered(page).locator(".written")).to_have_text("from elsewhere")
    asked = talking.target.heard[-1].data
    assert asked["temperature"] == 0.2
    assert json.dumps(asked["messages"][0], ensure_ascii=False).count("une phrase") == 1


def test_ten_thousand_conversations_come_page_by_page(talking: Talking, visit: Visit) -> None:
    chats = [{"id": f"chat-{n:020x}", "title": f"Number {n}", "created_at": n, "updated_at": n} for n in range(300)]
    made = {"format": "domicile-chats", "version": 1, "chats": [{**c, "messages": []} for c in chats]}
    exported = httpx2.get(talking.url + "/domicile/chats/export").json()
    talking.post("/domicile/chats/import", **{**exported, "chats": made["chats"]})
    page = visit(talking.url + "/")
    items = page.locator(".chat-item")
    expect(items.first).to_contain_text("Number 299")
    assert items.count() <= 120
    page.locator(".chats-list").evaluate(
        """async e => { for (let n = 0; n < 40; n++) {
        e.scrollTop = e.scrollHeight; await new Promise(r => setTimeout(r, 150)); } }"""
    )
    expect(items.last).to_contain_text("Number 0")


def test_an_answer_of_the_tab_is_kept_with_the_others(talking: Talking, visit: Visit) -> None:
    page = visit(talking.url + "/", lang="fr")
    page.evaluate("() => localStorage.setItem('domicile.tab.threads', '1')")
    page.reload()
    _pick(page, page.get_by_role("button", name="Où il répond"), "Dans cet onglet")
    _say(page, "Qui es-tu ?")
    badge = page.locator(".turn.assistant .who .badge")
    expect(badge).to_have_text("dans cet onglet")
    expect(page.locator(".turn.assistant .turn-foot")).to_be_visible(timeout=90_000)
    page.reload()
    expect(page.locator(".turn.assistant .written")).to_contain_text("graine")
    expect(badge).to_have_text("dans cet onglet")
    chat = httpx2.get(f"{talking.url}/domicile/chats/{page.url.split('=')[1]}").json()
    assert [(m["role"], m["model"], m["served_by"]) for m in chat["messages"]] == [
        ("user", None, None),
        ("assistant", "graine", "tab"),
    ]
