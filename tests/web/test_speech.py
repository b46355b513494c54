"""The room of speech: a file, the microphone of a browser that has a false one, the transcript and its ways out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import whisper
from tests.fakes.environment import borrowed
from tests.web.conftest import FLAGS, Standing, Visit, axe, look, standing

pytestmark = pytest.mark.slow


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[Standing]:
    """A house with the engine and a tiny Whisper of whisper.cpp."""
    import httpx2

    borrowed(tmp_path / "home" / "engines", "whisper")
    file = whisper.ggml(whisper.transformers(tmp_path / "tiny"), tmp_path / "ggml-tiny.bin")
    with standing(tmp_path, DOMICILE_THREADS="1", DOMICILE_SELFTEST="false") as house:
        house.hub.add("ggerganov/whisper.cpp", {file.name: file.read_bytes()}, task="automatic-speech-recognition")
        job = httpx2.post(f"{house.url}/domicile/pull", json={"model": "ggerganov/whisper.cpp"}, timeout=60).json()
        events = httpx2.get(f"{house.url}/domicile/jobs/{job['id']}/events", timeout=120)
        assert '"done"' in events.text, events.text[-800:]
        yield house


def test_a_file_is_written_down_and_taken_away(hearing: Standing, visit: Visit, tmp_path: Path) -> None:
    page = visit(f"{hearing.url}/speech", lang="fr")
    page.set_default_timeout(60_000)
    page.set_input_files("input[type=file]", whisper.wav(tmp_path / "voix.wav", 4))
    page.route("**/v1/audio/*", lambda route: route.continue_())
    page.get_by_label("Langue parlée").select_option("fr")
    page.get_by_role("button", name="Transcrire").click()
    page.get_by_text("Aucune parole").or_(page.locator(".speech-segments")).first.wait_for()
    look(page, "speech-fr")
    assert axe(page) == []


def test_segments_play_change_and_leave(hearing: Standing, visit: Visit, tmp_path: Path) -> None:
    page = visit(f"{hearing.url}/speech", size="phone")
    page.set_default_timeout(60_000)
    events = [
        {
            "type": "transcript.text.delta",
            "delta": "Good day",
            "duration": 4.0,
            "segment": _segment(0, 0, 2, " Good day"),
        },
        {"type": "transcript.text.delta", "delta": " <b>you", "duration": 4.0, "segment": _segment(1, 2, 4, " <b>you")},
        {"type": "transcript.text.done", "text": "Good day <b>you", "language": "en", "duration": 4.0, "speed": 9.5},
    ]
    body = "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"
    page.route("**/v1/audio/transcriptions", lambda r: r.fulfill(body=body, content_type="text/event-stream"))
    page.set_input_files("input[type=file]", whisper.wav(tmp_path / "voice.wav", 4))
    page.get_by_role("button", name="Write it down").click()
    page.get_by_text("than it was spoken").wait_for()
    page.get_by_role("textbox", name="Text at 00:00:00.000").fill("Good evening")
    page.get_by_role("button", name="Play from 00:00:02.000").click()
    page.wait_for_function("() => document.querySelector('audio').currentTime >= 2")
    with page.expect_download() as came:
        page.get_by_role("button", name="SRT").click()
    assert came.value.suggested_filename == "voice.srt"
    text = Path(came.value.path()).read_text("utf-8")
    assert text.startswith("1\n00:00:00,000 --> 00:00:02,000\nGood evening\n\n2\n")
    look(page, "speech-phone")
    assert axe(page) == []
    page.get_by_role("button", name="Talk about it").click()
    page.wait_for_url("**/?chat=*")


def _segment(number: int, start: float, end: float, text: str) -> dict[str, Any]:
    return {"id": number, "start": start, "end": end, "text": text}


def test_the_microphone_makes_a_file(hearing: Standing, browser: Any) -> None:
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    opened = browser.browser_type.launch(executable_path=_program(), headless=True, args=[*FLAGS, *fake])
    page = opened.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{hearing.url}/speech")
    page.get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop recording").wait_for()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("Recording.webm").first.wait_for()
    with page.expect_response("**/v1/audio/transcriptions") as answer:
        page.get_by_role("button", name="Write it down").click()
    assert answer.value.status == 200
    opened.close()


def _program() -> str:
    import shutil

    return next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
