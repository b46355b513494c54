"""The room of models: found, judged, compared, downloaded, kept, taken in and given away; hostile names stay words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from domicile.hardware import sample
from tests.fakes import stores
from tests.fakes.gguf import gguf
from tests.fakes.hub import served
from tests.fakes.ollama import FakeOllama
from tests.web.conftest import Standing, Visit, axe, look, standing

pytestmark = pytest.mark.slow

PATIENT_MS = 40_000
CARD = b"""---
license: apache-2.0
---
# A model

Good at *small* things. ![beacon](https://example.org/beacon.png) <img src=x onerror=alert(1)>
[click](javascript:alert(1))

<script>alert(1)</script><style>body{display:none}</style><iframe src="https://example.org"></iframe>

| Test | Score |
|---|---|
| One | 1 |
"""
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "';alert(1)//",
    "<iframe src=https://example.org></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "<math><mtext></p><img src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<base href=https://example.org/>",
    "<details open ontoggle=alert(1)>",
    "</title><script>alert(1)</script>",
    "<input autofocus onfocus=alert(1)>",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model that an engine loads."""
    path = tmp_path_factory.mktemp("weights") / "a.gguf"
    sample.write(path, "Q8_0", sample.Shape(1, 256, 512, 8, 8))
    return path.read_bytes()


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    theirs = FakeOllama(models={"mistral:7b": {"size": 4_100_000_000}}, registry={"llama3.2:3b": 2_000_000_000})
    with served(theirs.app()) as url:
        theirs.url = url
        yield theirs


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, weights: bytes, ollama: FakeOllama) -> Iterator[Standing]:
    """A house with a filled Hub, an Ollama beside it and a model of another tool; its tests may change it."""
    folder = tmp_path_factory.mktemp("shop")
    stores.huggingface(folder / "hf" / "hub", "other/tool-GGUF", {"tool-Q8_0.gguf": gguf("tool")})
    with standing(folder, OLLAMA_HOST=ollama.url.removeprefix("http://")) as opened:
        files = {f"small-{q}.gguf": weights for q in ("Q4_K_M", "Q8_0")}
        opened.hub.add("org/small-GGUF", {**files, "README.md": CARD}, downloads=900, likes=12)
        for n in range(24):
            files = {f"model-{n}-Q8_0.gguf": weights}
            opened.hub.add(f"maker/model-{n}-GGUF", files, downloads=n, gguf={"total": 10**9, "architecture": "llama"})
        yield opened


def _at(page: Any) -> str:
    return str(page.url).partition("/models")[2]


def test_a_search_is_an_address_and_the_back_button_knows_it(shop: Standing, visit: Visit) -> None:
    page = visit(shop.url + "/models", lang="en")
    page.set_default_timeout(PATIENT_MS)
    page.get_by_role("searchbox").fill("model")
    page.keyboard.press("Enter")
    rows = page.locator(".results > li:not(.pending)")
    expect(rows).to_have_count(20, timeout=PATIENT_MS)
    assert _at(page) == "?tab=search&text=model"
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(24, timeout=PATIENT_MS)  # to the end, without doubles
    expect(rows.first.locator(".fit .badge:not(.pending)")).to_be_visible(timeout=PATIENT_MS)
    page.locator("summary", has_text="Filters").click()
    page.get_by_label("Format").select_option("gguf")
    expect(page).to_have_url(re.compile("format=gguf"))
    page.get_by_label("Order").select_option("likes")
    page.get_by_label("Per page").select_option("10")
    expect(rows).to_have_count(10, timeout=PATIENT_MS)
    assert axe(page) == []
    look(page, "models-search-en")
    page.get_by_label("Fits this machine").check()
    expect(page).to_have_url(re.compile("fits=true"))
    expect(rows.first.locator(".badge").first).to_be_visible(timeout=PATIENT_MS)
    first = rows.first.locator("h3 a")
    name = first.inner_text()
    first.click()
    expect(page.locator(".view-title")).to_have_text(name)
    assert page.evaluate("() => document.activeElement.className") == "view-title"
    asked = sum("/api/models?" in s.path or s.path == "/api/models" for s in shop.hub.seen)
    page.go_back()
    expect(rows).to_have_count(10)  # at once: what was found is kept
    assert sum("/api/models?" in s.path or s.path == "/api/models" for s in shop.hub.seen) == asked
    page.reload()
    expect(page.get_by_label("Fits this machine")).to_be_checked()
    page.get_by_role("searchbox").fill("nothing is called so")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Try fewer words or fewer filters.")).to_be_visible(timeout=PATIENT_MS)


def test_a_repository_is_judged_and_a_variant_of_it_comes_here(shop: Standing, visit: Visit) -> None:
    page = visit(shop.url + "/models?repository=org/small-GGUF", lang="fr", size="phone", theme="dark")
    page.set_default_timeout(PATIENT_MS)
    rows = page.locator(".variants tbody tr")
    expect(rows).to_have_count(2, timeout=PATIENT_MS)
    expect(page.locator(".variants .best")).to_contain_text("recommandée pour vous")
    expect(rows.first.locator(".bar")).to_have_attribute("aria-label", re.compile("poids.*contexte.*tampons"))
    expect(page.locator(".rule-list li")).to_have_count(3, timeout=PATIENT_MS)  # rules of thumb beside our figure
    before = rows.first.locator(".memory .num").inner_text()
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    expect(rows.first.locator(".memory .num")).not_to_have_text(before, timeout=PATIENT_MS)
    expect(page).to_have_url(re.compile("context=2048"))
    page.get_by_label("Sur quelle machine").select_option("RTX 4090")
    expect(page).to_have_url(re.compile("on=RTX"))
    expect(page.locator(".legend")).to_contain_text(re.compile(r"2[0-9],\d\s+Go"), timeout=PATIENT_MS)
    prose = page.locator(".model-says .prose")
    expect(prose).to_contain_text("Good at small things")
    assert prose.locator("img, script, style, iframe, [onerror], a[href^='javascript']").count() == 0
    assert axe(page) == []
    look(page, "models-repository-fr")
    page.get_by_label("Sur quelle machine").select_option("")
    page.get_by_role("button", name="Télécharger org/small-GGUF:Q8_0").click()
    expect(rows.nth(1).get_by_role("button", name="Choisir")).to_be_visible(timeout=PATIENT_MS)
    rows.nth(1).get_by_role("button", name="Choisir").click()
    expect(page.locator(".selector-name")).to_contain_text("org/small-GGUF")


def test_downloads_are_paused_limited_ordered_and_what_they_leave_is_removed(
    shop: Standing, visit: Visit, weights: bytes
) -> None:
    shop.hub.add("org/big-GGUF", {"big-Q8_0.gguf": weights + bytes(30_000_000)})
    page = visit(shop.url + "/models?tab=downloads", lang="en")
    page.set_default_timeout(PATIENT_MS)
    assert httpx2.post(f"{shop.url}/domicile/pull", json={"model": "org/big-GGUF:Q8_0", "limit": "500KB/s"}).is_success
    job = page.locator(".job", has_text="org/big-GGUF")
    expect(job.locator(".wraps")).to_contain_text("left", timeout=PATIENT_MS)
    job.get_by_role("button", name="Speed, order and hours").click()
    job.get_by_label("Fastest speed").select_option("1MB/s")
    job.get_by_role("combobox", name="Order").select_option("high")
    expect(job.locator(".wraps")).to_contain_text("at most 1 MB/s")
    assert axe(page) == []
    look(page, "models-downloads-en")
    job.get_by_role("button", name="Pause").click()
    expect(job).to_have_attribute("data-status", "paused")
    page.reload()  # nothing is lost
    expect(job.get_by_role("button", name="Go on")).to_be_visible()
    job.get_by_role("button", name="Go on").click()
    expect(job).to_have_attribute("data-status", re.compile("running|queued"))
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_have_count(0)
    expect(page.locator(".ended")).to_contain_text("cancelled")
    expect(page.get_by_role("heading", name="Left half done")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_role("button", name=re.compile("^Delete .*big")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".toast.good", has_text="are free again")).to_be_visible()
    expect(page.get_by_role("heading", name="Left half done")).to_have_count(0)
    assert httpx2.get(f"{shop.url}/domicile/partials").json() == {"partials": []}


def test_a_model_is_tried_named_kept_set_and_deleted(shop: Standing, visit: Visit) -> None:
    page = visit(shop.url + "/models?model=graine", lang="fr", expect=("status of 400", "status of 409"))
    page.set_default_timeout(PATIENT_MS)
    page.get_by_role("button", name=re.compile("^Tester")).click()
    expect(page.locator(".checks li")).to_have_count(4, timeout=90_000)
    page.get_by_label("Un nom court").fill("petite")
    page.get_by_role("button", name="Ajouter", exact=True).click()
    expect(page.get_by_role("button", name="Retirer le nom petite")).to_be_visible()
    page.get_by_label("Un nom court").fill("graine")
    page.get_by_role("button", name="Ajouter", exact=True).click()
    expect(page.locator(".wrong")).to_contain_text("graine")  # taken: the house says so, and what to do
    page.get_by_role("button", name="Garder", exact=True).click()
    expect(page.get_by_role("button", name="Ne plus garder")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Ne plus garder").click()
    page.get_by_role("button", name="Modifier\u00a0: Contexte (jetons)").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("2048")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name=re.compile("Contexte"))).to_contain_text("le vôtre")
    page.get_by_role("button", name=re.compile("Laisser la maison choisir")).click()
    page.locator("summary", has_text="Gabarit").click()
    expect(page.locator(".text-box").first).to_contain_text("<|im_start|>")
    page.get_by_role("button", name="Modelfile", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("FROM ")
    page.keyboard.press("Escape")
    assert axe(page) == []
    look(page, "models-one-fr")
    # graine cannot be deleted: another can
    name = "maker/model-3-GGUF:Q8_0"
    assert httpx2.post(f"{shop.url}/domicile/pull", json={"model": name}).is_success
    expect(page.locator(".toast.good", has_text="model-3")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_role("link", name="Installés").first.click()
    page.get_by_label("Chercher parmi ces modèles").fill("model-3")
    page.locator(".installed th a", has_text="model-3").click()
    page.get_by_role("button", name="Supprimer", exact=True).click()
    question = page.get_by_role("dialog", name=re.compile("Supprimer ce modèle"))
    question.get_by_role("button", name="Supprimer", exact=True).click()
    expect(page.locator(".toast.good", has_text="de nouveau libres")).to_be_visible(timeout=PATIENT_MS)
    assert name not in [m["name"] for m in httpx2.get(f"{shop.url}/domicile/models").json()["models"]]


def test_models_of_other_tools_are_taken_in_and_ollama_is_served(
    shop: Standing, visit: Visit, ollama: FakeOllama
) -> None:
    page = visit(shop.url + "/models?tab=tools", lang="en")
    page.set_default_timeout(PATIENT_MS)
    offer = page.locator(".offers li", has_text="other/tool-GGUF")
    expect(offer).to_contain_text("Hugging Face", timeout=PATIENT_MS)
    offer.get_by_role("checkbox").check()
    assert axe(page) == []
    look(page, "models-tools-en")
    page.get_by_role("button", name=re.compile("Take in 1 model")).click()
    expect(offer).to_have_count(0, timeout=PATIENT_MS)
    theirs = page.locator("table", has_text="mistral:7b")
    expect(theirs).to_contain_text("4.1 GB")
    page.get_by_label("Name of a model for Ollama").fill("llama3.2:3b")
    page.get_by_role("button", name="Have it download").click()
    expect(page.locator("th", has_text="llama3.2:3b")).to_be_visible(timeout=PATIENT_MS)
    page.get_by_role("button", name="Delete mistral:7b").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("th", has_text="mistral:7b")).to_have_count(0)
    assert list(ollama.models) == ["llama3.2:3b"]


def test_models_stand_side_by_side_and_answer_the_same_words(shop: Standing, visit: Visit) -> None:
    page = visit(shop.url + "/models?tab=compare&m=graine", lang="en")
    page.set_default_timeout(PATIENT_MS)
    table = page.locator("table.compare")
    expect(table).to_contain_text("Fits", timeout=PATIENT_MS)
    page.get_by_label("Name of a model: org/repo:Q4_K_M").fill("org/small-GGUF:Q8_0")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("m=graine&m=org/small-GGUF:Q8_0"))
    expect(table.locator("tbody tr").first.locator(".badge")).to_have_count(2, timeout=PATIENT_MS)
    page.get_by_label("What would you ask both?").fill("Bonjour")
    for n in (1, 2):
        page.get_by_label(f"Model {n}").select_option("graine")
    page.get_by_role("button", name="Ask both").click()
    for n in (0, 1):
        expect(page.locator(".duel .answer").nth(n)).to_contain_text(re.compile(r"\w{3}"), timeout=90_000)
    expect(page.locator(".duel").get_by_text("tokens/s")).to_have_count(2, timeout=90_000)
    assert axe(page) == []
    look(page, "models-compare-en")
    page.get_by_role("button", name="Leave out graine").click()
    expect(table.locator("thead th")).to_have_count(1)


def test_custom_models_are_shared_backed_up_and_restored(shop: Standing, visit: Visit, tmp_path: Path) -> None:
    form = {"id": "mine", "name": "Mine", "url": "https://example.org/a.gguf", "kind": "gguf", "unchecked": True}
    assert httpx2.post(f"{shop.url}/domicile/custom", json=form).status_code == 201
    link = httpx2.get(f"{shop.url}/domicile/custom/mine/share").json()["link"]
    page = visit(shop.url + "/models?tab=custom", lang="fr")
    page.set_default_timeout(PATIENT_MS)
    row = page.locator("tbody tr", has_text="Mine")
    expect(row).to_contain_text("https://example.org/a.gguf")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Sauvegarder").click()
    backup = tmp_path / "backup.json"
    saved.value.save_as(backup)
    assert [m["id"] for m in json.loads(backup.read_text())["models"]] == ["mine"]
    row.get_by_role("button", name="Copier un lien vers Mine").click()
    page.wait_for_function("(link) => navigator.clipboard.readText().then((text) => text === link)", arg=link)
    assert axe(page) == []
    look(page, "models-custom-fr")
    row.get_by_role("button", name="Retirer Mine").click()
    page.get_by_role("dialog").get_by_role("button", name="Retirer", exact=True).click()
    expect(row).to_have_count(0)
    page.locator("input[type=file]").set_input_files(backup)
    expect(row).to_have_count(1)
    page.locator("input[type=file]").set_input_files(backup)  # a second time: its id is taken
    expect(page.locator(".note.warn")).to_contain_text("mine")
    httpx2.delete(f"{shop.url}/domicile/custom/mine")
    page.goto(link)  # who opens a shared link is asked, whichever room it leads to
    dialog = page.get_by_role("dialog", name="Ajouter un modèle personnalisé")
    expect(dialog.get_by_label("Nom", exact=True)).to_have_value("Mine")
    assert "#custom=" not in page.url


def test_five_hundred_models_are_a_quick_list(shop: Standing, visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(500):
        (folder / f"many-{n:03}.gguf").write_bytes(gguf(f"many-{n}", body=64))
    job = httpx2.post(f"{shop.url}/domicile/adopt", json={"path": str(folder)}, timeout=60).json()
    with httpx2.stream("GET", f"{shop.url}/domicile/jobs/{job['id']}/events", timeout=120) as events:
        for _ in events.iter_lines():
            pass  # it ends with the job
    page = visit(shop.url + "/models?tab=installed", lang="en")
    page.set_default_timeout(PATIENT_MS)
    expect(page.locator(".view [role=status]").first).to_contain_text(re.compile("50[0-9] models"), timeout=PATIENT_MS)
    assert page.locator(".installed tbody tr").count() < 150  # what is far below is not drawn yet
    page.get_by_label("Search these models").fill("many-499")
    expect(page.locator(".installed th a")).to_have_text(["many-499"])
    page.get_by_label("Order").select_option("size")
    expect(page).to_have_url(re.compile("find=many-499.*order=size"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(shop.url)))
    with page.expect_response(re.compile("/domicile/capabilities")) as told:
        page.locator(".selector-button").click()
    assert told.value.json()["capabilities"]["graine"] == ["completion"]
    expect(page.locator(".selector-panel")).to_contain_text(re.compile("and 4[0-9]{2} more"))
    page.locator(".selector-panel input").fill("many-498")
    expect(page.locator(".selector-panel .choice-name").first).to_have_text("many-498")
    assert sum("/domicile/capabilities" in url for url in asked) <= 2  # those that are shown, all in one request
    assert not any(url.startswith("/domicile/models/") for url in asked)
    many = httpx2.get(f"{shop.url}/domicile/capabilities", params=[("name", f"x{n}") for n in range(101)])
    assert many.status_code == 400


def test_hostile_words_stay_words(shop: Standing, visit: Visit, weights: bytes, tmp_path: Path) -> None:
    """Sixteen payloads in what a search returns, in cards, names of files and of models, custom models and
    addresses: nothing runs, nothing is fetched (`visit` fails on every request to somebody else)."""
    for n, bad in enumerate(HOSTILE):
        (tmp_path / f"evil{n} {bad.replace('/', chr(0x2215))}.gguf").write_bytes(gguf(f"evil-{n} {bad}", body=64))
    job = httpx2.post(f"{shop.url}/domicile/adopt", json={"path": str(tmp_path)}, timeout=60).json()
    with httpx2.stream("GET", f"{shop.url}/domicile/jobs/{job['id']}/events", timeout=120) as events:
        assert '"done"' in list(filter(None, events.iter_lines()))[-1]
    for n, bad in enumerate(HOSTILE):
        pickle = f"{bad.replace('/', '_')}.bin"
        every = "\n\n".join(HOSTILE)
        files = {
            f"model-{n}-Q8_0.gguf": weights,
            pickle: b"x",
            "README.md": f"Card {n}\n\n# {bad}\n\n{every if n == 0 else bad}\n".encode(),
        }
        facts: dict[str, Any] = {"licence": bad, "task": bad, "downloads": 99_000 + n, "unsafe": {pickle: "unsafe"}}
        shop.hub.add(f"evil/model-{n}", files, **facts)
        form = {"id": f"x{n}", "name": bad, "url": "https://example.org/a.gguf", "kind": "gguf", "unchecked": True}
        assert httpx2.post(f"{shop.url}/domicile/custom", json={**form, "description": bad}).status_code == 201
    page = visit(shop.url + "/models?tab=search&text=evil", lang="en", expect=("status of 4",))
    page.set_default_timeout(PATIENT_MS)
    page.on("dialog", lambda dialog: pytest.fail(f"something ran: {dialog.message}"))
    acting = (
        "main :is(script, iframe, base, link, img, [onerror], [onload], [ontoggle], [onfocus], a[href^='javascript'])"
    )
    expect(page.locator(".results > li:not(.pending)")).to_have_count(16, timeout=PATIENT_MS)
    assert page.locator(acting).count() == 0
    for n in (0, 3, 13):
        page.locator(".results h3 a", has_text=re.compile(f"model-{n}$")).click()
        expect(page.locator(".variants tbody tr")).to_have_count(1, timeout=PATIENT_MS)
        expect(page.locator(".model-says .prose")).to_contain_text(f"Card {n}", timeout=PATIENT_MS)
        assert page.locator(acting).count() == 0
        page.go_back()
    page.locator(".tabs a", has_text="Installed").click()
    page.get_by_label("Search these models").fill("evil")
    expect(page.locator(".installed tbody tr")).to_have_count(16, timeout=PATIENT_MS)
    assert page.locator(acting).count() == 0
    page.locator(".selector-button").click()
    page.locator(".selector-panel input").fill("evil")
    expect(page.locator(".selector-panel .choice")).to_have_count(16)
    assert page.locator(f".selector-panel {acting.removeprefix('main ')}").count() == 0
    page.keyboard.press("Escape")
    page.locator(".tabs a", has_text="Yours").click()
    expect(page.locator("tbody tr")).to_have_count(16)
    assert page.locator(acting).count() == 0
    page.locator(".tabs a", has_text="Search").click()
    for bad in HOSTILE[:4]:
        page.get_by_role("searchbox").fill(bad)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Try fewer words or fewer filters.")).to_be_visible(timeout=PATIENT_MS)
        expect(page.get_by_role("searchbox")).to_have_value(bad)
        assert page.locator(acting).count() == 0
