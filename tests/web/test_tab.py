"""Models in the browser: with wllama, web-llm and transformers.js, in a real Chromium, and from this house alone."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import expect

from domicile import tab
from tests.fakes import onnx_whisper, whisper
from tests.web.conftest import FLAGS, Standing, Visit, Watched, axe, chromium, look, watch

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
    page.wait_for_function("() => navigator.serviceWorker.controller !== null", timeout=WAIT_MS)
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


ENGINES = """async (deed) => {
  localStorage.setItem("domicile.tab.threads", "1");
  const main = document.querySelector("script[src]").src;
  const engines = await import(main.replace("main.js", "engines/index.js"));
  const question = [{role: "user", content: "What is a GGUF?"}];
  const said = async (place, options) => {
    let text = "";
    for await (const part of engines.chatWith("graine", place, question, options)) text += part.text;
    return text;
  };
  const named = (trouble) => trouble.code && trouble.name === "TabError" ? trouble.code : trouble.name;
  if (deed === "both") return [await said("here"), await said("tab")];
  if (deed === "stop") {
    const leave = new AbortController();
    let parts = 0;
    try {
      const answer = engines.chatWith("graine", "tab", question, {signal: leave.signal});
      for await (const _ of answer) if (++parts === 3) leave.abort();
    } catch (trouble) {
      return [named(trouble), parts < 20, await said("tab")];
    }
  }
  const [graine] = (await engines.models()).models;
  return (await engines.engineOf("wllama")).load(graine, {quietMs: 1}).then(() => "loaded", named);
}"""


def test_the_house_and_the_tab_are_asked_alike_stopped_alike_and_never_waited_for_in_silence(
    own_house: Standing, visit: Visit
) -> None:
    page = visit(own_house.url + "/learn")
    here, in_tab = page.evaluate(ENGINES, "both")
    assert here == in_tab
    assert page.evaluate(ENGINES, "stop") == ["AbortError", True, here]
    assert page.evaluate(ENGINES, "silence") == "silent"


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
                assert said["status"] == "done", said["error"]
                return dict(said)
    raise AssertionError("no end")


def _pull(house: Standing, name: str) -> None:
    job = httpx2.post(f"{house.url}/domicile/pull", json={"model": name}).json()
    _done(house, job["id"])


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_onnx_model_answers_as_its_gguf_does(own_house: Standing, visit: Visit, tmp_path: Path) -> None:
    from tools.graine.export import to_onnx

    to_onnx(Path(tab.__file__).parent / "graine" / "graine.gguf", tmp_path / "onnx")
    files = _tree(tmp_path / "onnx")
    # As newer versions of transformers save it: the template in a file that transformers.js does not read.
    config = json.loads(files["tokenizer_config.json"])
    files["chat_template.jinja"] = config.pop("chat_template").encode()
    files["tokenizer_config.json"] = json.dumps(config).encode()
    own_house.hub.add("org/graine-onnx", files)
    _pull(own_house, "org/graine-onnx")
    name = next(
        m["name"] for m in httpx2.get(f"{own_house.url}/domicile/tab").json()["models"] if m["format"] == "onnx"
    )
    given = _file(own_house, f"{quote(name)}/resolve/main/tokenizer_config.json")
    assert given.json()["chat_template"] == files["chat_template.jinja"].decode()
    page = visit(own_house.url + "/tab")
    _one_thread(page)
    page.get_by_label("Model", exact=True).select_option(name)
    answer = _ask(page, "What is a GGUF?")
    assert answer.startswith("GGUF is the format of llama.cpp.")
    kept = page.locator(".list.card li").filter(has_text="transformers.js")
    expect(kept).to_contain_text("MB")
    look(page, "tab-onnx")
    page.get_by_role("button", name=f"Delete {name} from this browser").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("No model is kept here yet.")).to_be_visible()
    assert page.evaluate("async () => (await (await caches.open('domicile-onnx')).keys()).length") == 0


MLC = {
    "mlc-chat-config.json": json.dumps(
        {
            "model_type": "llama",
            "quantization": "q4f32_1",
            "model_config": {"hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 256},
            "vocab_size": 256,
            "context_window_size": 256,
            "tokenizer_files": ["tokenizer.json"],
            "conv_template": {"name": "none", "roles": {"user": "u", "assistant": "a"}, "seps": ["\n"]},
        }
    ).encode(),
    "ndarray-cache.json": json.dumps(
        {"metadata": {}, "records": [{"dataPath": "params_shard_0.bin", "nbytes": 4096, "records": []}]}
    ).encode(),
    "params_shard_0.bin": bytes(4096),
    "tokenizer.json": b"{}",
}
LIBRARY = b"\0asm\1\0\0\0"


@pytest.fixture
def libraries(tmp_path: Path) -> Iterator[str]:
    """Somebody's server with compiled libraries: `tiny.wasm`, and `false.wasm`, which is none."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / "tiny.wasm").write_bytes(LIBRARY)
    (folder / "false.wasm").write_bytes(b"MZ not a library")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def _custom(house: Standing, libraries: str, name: str, library: str) -> dict[str, Any]:
    """A custom MLC model, pulled; what the house then says of it for a browser."""
    house.hub.add(f"org/{name}", MLC)
    httpx2.post(f"{house.url}/domicile/places", json={"place": libraries, "confirmed": True}).raise_for_status()
    form = {"id": name, "name": name, "url": f"https://huggingface.co/org/{name}", "kind": "mlc"}
    form["model_lib"] = f"{libraries}/{library}"
    httpx2.post(f"{house.url}/domicile/custom", json=form).raise_for_status()
    _pull(house, name)
    return next(m for m in httpx2.get(f"{house.url}/domicile/tab").json()["models"] if m["name"] == name)


def test_a_compiled_library_comes_with_its_weights_through_the_house(own_house: Standing, libraries: str) -> None:
    mine = _custom(own_house, libraries, "tiny-q4f32_1-MLC", "tiny.wasm")
    assert (mine["engine"], mine["why"], mine["record"]["model_lib"]) == ("webllm", None, "tiny.wasm")
    given = _file(own_house, "tiny-q4f32_1-MLC/resolve/main/tiny.wasm")
    assert (given.content, given.headers["content-type"]) == (LIBRARY, "application/wasm")
    for name, content in MLC.items():
        assert _file(own_house, f"tiny-q4f32_1-MLC/resolve/main/{name}").content == content
    false = _custom(own_house, libraries, "false-q4f32_1-MLC", "false.wasm")
    assert false["why"] == "no_library"
    httpx2.delete(f"{own_house.url}/domicile/models/tiny-q4f32_1-MLC").raise_for_status()
    assert not (own_house.home / "models" / "org" / "tiny-q4f32_1-MLC").exists()


def test_without_a_graphics_card_mlc_says_so(own_house: Standing, libraries: str, visit: Visit) -> None:
    _custom(own_house, libraries, "tiny-q4f32_1-MLC", "tiny.wasm")
    page = visit(own_house.url + "/tab")
    row = page.locator("tbody tr").filter(has_text="tiny-q4f32_1-MLC")
    expect(row).to_contain_text("found no graphics card")
    expect(row.get_by_role("button")).to_be_disabled()
    page.get_by_text("Models compiled for the graphics card").click()
    page.get_by_label("Search the list of web-llm").fill("SmolLM2-135M")
    lines = page.locator("details li").filter(has_text="SmolLM2-135M-Instruct-q0f")
    expect(lines).to_have_count(2)
    expect(page.locator("details li").filter(has_text="tiny-q4f32_1-MLC")).to_contain_text("In the house")


def test_web_llm_takes_everything_from_the_house_keeps_it_and_gives_it_back(
    own_house: Standing, libraries: str, browser: Any
) -> None:
    """On a software WebGPU. An answer is out of reach: a library for this version of web-llm can neither be compiled
    here nor be had from a package index, and on software one token took two minutes with an older one (browser.md).
    What is proved: the card is found, the record is ours, every file comes from the house, and is deleted."""
    name = "tiny-q4f32_1-MLC"
    _custom(own_house, libraries, name, "tiny.wasm")
    flags = [f for f in FLAGS if f != "--disable-gpu"] + ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    program = browser.browser_type.launch(executable_path=chromium(), headless=True, args=flags)
    page = program.new_page(locale="en")
    watched = Watched()
    watch(page, watched, own_house.url, ())
    page.goto(own_house.url + "/tab")
    expect(page.get_by_text("There is one: models can use the graphics card.")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("button", name=f"Load {name}").click()
    expect(page.get_by_text("The model could not be loaded in this tab")).to_be_visible(timeout=WAIT_MS)
    base = f"/domicile/files/{name}/resolve/main/"
    asked = {url.partition(base)[2] for url in watched.requests if base in url}
    assert {"mlc-chat-config.json", "tiny.wasm"} <= asked
    page.reload()
    kept = page.locator(".list.card li").filter(has_text=name)
    expect(kept).to_contain_text("MLC (web-llm)")
    kept.get_by_role("button").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("No model is kept here yet.")).to_be_visible()
    left = """async () => {
      let all = 0;
      for (const name of await caches.keys()) all += (await (await caches.open(name)).keys()).length;
      return all;
    }"""
    assert page.evaluate(left) == 0
    program.close()
    assert watched.faults == [], "\n".join(watched.faults)


def test_a_whisper_hears_in_the_tab_and_the_sound_goes_nowhere(
    own_house: Standing, visit: Visit, tmp_path: Path
) -> None:
    own_house.hub.add(
        "org/tiny-whisper-onnx", _tree(onnx_whisper.folder(tmp_path)), task="automatic-speech-recognition"
    )
    _pull(own_house, "org/tiny-whisper-onnx")
    page = visit(own_house.url + "/speech", lang="fr")
    _one_thread(page)
    page.set_default_timeout(WAIT_MS)
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    expect(page.get_by_label("Modèle", exact=True)).to_contain_text("tiny-whisper-onnx")
    expect(page.get_by_text("le son ne va nulle part")).to_be_visible()
    page.set_input_files("input[type=file]", whisper.wav(tmp_path / "voix.wav", 4))
    page.get_by_label("Langue parlée").select_option("fr")
    page.get_by_role("button", name="Transcrire").click()
    heard = page.get_by_role("textbox", name="Texte à 00:00:00")
    expect(heard).to_have_value(re.compile(r"he|the|t"), timeout=WAIT_MS)
    assert axe(page) == []
    look(page, "speech-tab-fr")
    assert posted == []
    with page.expect_download() as came:
        page.get_by_role("button", name="VTT").click()
    assert "00:00:00.000 --> 00:00:02.000" in Path(came.value.path()).read_text("utf-8")
    page.set_input_files("input[type=file]", {"name": "no.wav", "mimeType": "audio/wav", "buffer": b"RIFF not a sound"})
    page.get_by_role("button", name="Transcrire").click()
    expect(page.locator(".toast.bad")).to_contain_text("ne sait pas lire le son de no.wav")
    page.goto(own_house.url + "/tab")
    expect(page.locator(".list.card li").filter(has_text="tiny-whisper-onnx")).to_contain_text("transformers.js")
