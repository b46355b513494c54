"""Speech to text in a whole house: pulled, woken, asked as OpenAI's client asks and by it, refused what is no sound."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from domicile import ears
from domicile.app import House, open_house
from domicile.config import load
from domicile.types import Installed
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes import whisper
from tests.fakes.environment import borrowed
from tests.fakes.hub import FakeHub
from tests.fakes.inside import InProcess

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PLAIN = {"vad_filter": "false", "fallback": "false", "beam_size": "1", "language": "fr"}
"""Noise is no speech, and random weights are never sure."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper.transformers(tmp_path_factory.mktemp("speech") / "tiny")


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper.wav(tmp_path_factory.mktemp("sound") / "a.wav", 8)


class Home:
    """A house with its real engines, and a client at its door."""

    def __init__(self, house: House, http: httpx2.AsyncClient) -> None:
        self.house, self.http = house, http

    def take(self, folder: Path, name: str = "w") -> Installed:
        """Enter a folder of transformers in the library where it lies."""
        paths = tuple(sorted(folder.iterdir(), key=lambda p: (p.suffix != ".safetensors", p.name)))
        size = sum(p.stat().st_size for p in paths)
        task = "automatic-speech-recognition"
        return self.house.library.add(Installed(name, paths[0], "whisper", size, "file", files=paths, task=task))

    async def hear(self, file: bytes | Path, route: str = "transcriptions", **fields: Any) -> httpx2.Response:
        content = file if isinstance(file, bytes) else file.read_bytes()
        data = {"model": "whisper-1", **PLAIN, **fields}
        return await self.http.post(f"/v1/audio/{route}", files={"file": ("a.wav", content)}, data=data, timeout=100)


@asynccontextmanager
async def home(**given: Any) -> AsyncIterator[Home]:
    settings = load(**{"threads": 1, "selftest": False, **given})
    if not (settings.engines / "whisper").exists():
        borrowed(settings.engines, "whisper")
    async with open_house(settings) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            yield Home(house, http)


def left(at: Home) -> list[Path]:
    return list(at.house.settings.sound.glob("*")) if at.house.settings.sound.exists() else []


async def test_every_shape_of_a_transcript(tiny: Path, sound: Path) -> None:
    async with home() as at:
        at.take(tiny)
        first = await at.hear(sound)
        assert first.status_code == 200, first.text
        text = first.json()["text"]
        assert text
        assert first.json()["usage"] == {"type": "duration", "seconds": 8}
        assert (await at.hear(sound, response_format="text")).text == text + "\n"
        long = (await at.hear(sound, response_format="verbose_json")).json()
        assert (long["text"], long["language"], long["duration"], long["task"]) == (text, "french", 8.0, "transcribe")
        assert long["segments"][0]["start"] <= long["segments"][-1]["end"] <= 8
        words = await at.hear(sound, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
        assert set(words.json()) >= {"words", "text"}
        assert "segments" not in words.json()
        srt = await at.hear(sound, response_format="srt")
        assert srt.text.startswith("1\n00:00:")
        vtt = await at.hear(sound, response_format="vtt")
        assert vtt.text.startswith("WEBVTT\n\n00:00:")
        assert vtt.headers["content-type"].startswith("text/vtt")
        stream = await at.hear(sound, stream="true")
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        assert [e["type"] for e in events[:-1]] == ["transcript.text.delta"] * len(long["segments"])
        assert events[-1]["type"] == "transcript.text.done"
        assert events[-1]["text"] == text == "".join(e["delta"] for e in events[:-1]).strip()
        english = (await at.hear(sound, "translations", response_format="verbose_json")).json()
        assert english["task"] == "translate"
        found = (await at.hear(sound, language="", response_format="verbose_json")).json()
        assert 0 < found["language_probability"] <= 1
        assert first.headers["x-domicile-served-by"] == "home; model=w"
        assert left(at) == []
        (shown,) = (await at.http.get("/domicile/ps")).json()["models"]
        assert (shown["engine"], shown["state"]) == ("whisper", "awake")


async def test_openais_own_client_hears_and_translates(tiny: Path, sound: Path) -> None:
    from openai import AsyncOpenAI

    async with home() as at:
        at.take(tiny)
        http: Any = at.http
        client = AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=http, timeout=100)
        plain = {key: value for key, value in PLAIN.items() if key != "language"}
        asked: Any = {"model": "whisper-1", "file": sound, "extra_body": plain}
        heard = await client.audio.transcriptions.create(**asked, language="fr")
        assert heard.text
        long = await client.audio.transcriptions.create(
            **asked, language="fr", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        assert long.duration == 8.0  # with words, the sound is cut elsewhere, and random weights say other things
        assert long.segments
        assert long.words is not None
        assert "-->" in await client.audio.transcriptions.create(**asked, language="fr", response_format="srt")
        stream = await client.audio.transcriptions.create(**asked, language="fr", stream=True)
        kinds = [event.type async for event in stream]
        assert kinds[-1] == "transcript.text.done"
        assert set(kinds[:-1]) == {"transcript.text.delta"}
        with pytest.warns(DeprecationWarning, match="deprecated"):  # the client's own word for this route
            told = await client.audio.translations.create(**asked, response_format="verbose_json")
        assert told.duration == 8.0


async def test_what_is_refused_and_how(tiny: Path, sound: Path, tmp_path: Path) -> None:
    async with home(speech_upload=3_000_000, lang="en", speech_hours=1 / 60) as at:
        missing = await at.hear(sound)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_speech_model")
        assert "domicile engine add whisper" in missing.json()["error"]["hint"]
        at.take(tiny)
        for fields, field in (
            ({"response_format": "xml"}, "response_format"),
            ({"language": "klingon"}, "language"),
            ({"temperature": "hot"}, "temperature"),
            ({"temperature": "2"}, "temperature"),
            ({"timestamp_granularities[]": "letter"}, "timestamp_granularities"),
            ({"stream": "perhaps"}, "stream"),
        ):
            answer = await at.hear(sound, **fields)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
        other = await at.hear(sound, model="graine")
        assert (other.status_code, other.json()["error"]["code"]) == (400, "model_cannot")
        nobody = await at.hear(sound, model="nobody/here")
        assert nobody.status_code == 404
        noise = await at.hear(b"Bonjour " * 500)
        assert (noise.status_code, noise.json()["error"]["code"]) == (415, "audio_refused"), noise.text
        long = await at.hear(whisper.encoded(tmp_path / "a.mp3", 70, codec="libmp3lame"))
        assert (long.status_code, long.json()["error"]["code"]) == (415, "audio_refused")
        assert "DOMICILE_SPEECH_HOURS" in long.json()["error"]["hint"]
        huge = await at.hear(bytes(5_000_000))
        assert (huge.status_code, huge.json()["error"]["code"]) == (413, "body_too_large")
        unsaid = await at.http.post("/v1/audio/transcriptions", content=b"RIFF", headers={"content-type": "audio/wav"})
        assert (unsaid.status_code, unsaid.json()["error"]["param"]) == (400, "Content-Type")
        cut = await at.http.post(
            "/v1/audio/transcriptions",
            content=b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF',
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert (cut.status_code, cut.json()["error"]["code"]) == (400, "missing_field")
        nothing = await at.http.post("/v1/audio/transcriptions", data={"model": "w"}, files={"other": b"RIFF"})
        assert nothing.status_code == 400
        spoken = await at.http.post("/v1/audio/speech", json={"input": "Bonjour"})
        assert spoken.status_code == 501
        assert left(at) == []


async def test_without_its_engine_the_command_is_said(tiny: Path, sound: Path) -> None:
    async with open_house(load(selftest=False, lang="en")) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house") as http:
            at = Home(house, http)
            at.take(tiny)
            answer = await at.hear(sound)
            assert (answer.status_code, answer.json()["error"]["code"]) == (501, "engine_missing")
            assert "domicile engine add whisper" in answer.json()["error"]["hint"]
            assert left(at) == []


async def test_who_leaves_frees_the_turn_within_a_second(tiny: Path, tmp_path: Path) -> None:
    async with home() as at:
        at.take(tiny)
        assert (await at.hear(whisper.wav(tmp_path / "b.wav", 2))).status_code == 200
        long = whisper.wav(tmp_path / "a.wav", 1200)
        asked = asyncio.create_task(at.hear(long, beam_size="5"))
        while not any(m["busy"] for m in (await at.http.get("/domicile/ps")).json()["models"]):
            await asyncio.sleep(0.05)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        async with asyncio.timeout(3):
            while any(m["busy"] for m in (await at.http.get("/domicile/ps")).json()["models"]):
                await asyncio.sleep(0.05)
        assert left(at) == []
        assert (await at.hear(whisper.wav(tmp_path / "b.wav", 2))).status_code == 200


async def test_pulled_from_the_hub_in_each_layout(hub: FakeHub, tiny: Path, sound: Path, tmp_path: Path) -> None:
    made = whisper.ctranslate2(tiny, tmp_path / "ct2")
    hub.add("Systran/tiny", {p.name: p.read_bytes() for p in made.iterdir()})
    files = {p.name: p.read_bytes() for p in tiny.iterdir()}
    hub.add("openai/tiny", {**files, "pytorch_model.bin": b"\x80\x04x"}, task=ears.HEARS)
    hub.add("ggerganov/whisper.cpp", {"ggml-tiny.bin": whisper.ggml(tiny, tmp_path / "g.bin").read_bytes()})
    texts = set()
    async with home(selftest=True, speech_compute="float32") as at:
        for name in ("Systran/tiny", "openai/tiny", "ggerganov/whisper.cpp"):
            job = (await at.http.post("/domicile/pull", json={"model": name})).json()
            events = await at.http.get(f"/domicile/jobs/{job['id']}/events")
            assert '"done"' in events.text, events.text[-1500:]
            model = at.house.library.get(json.loads(events.text.split("data: ")[-1])["result"]["name"])
            assert ears.hears(model)
            assert "pytorch_model.bin" not in {p.name for p in model.files}
            answer = await at.hear(sound, model=model.name)
            assert answer.status_code == 200, answer.text
            texts.add(answer.json()["text"][:40])
            await at.http.post(f"/domicile/models/{model.name}/sleep")
    assert len(texts) == 1


async def test_a_recording_in_a_chat_becomes_words(tiny: Path, sound: Path) -> None:
    from openai import AsyncOpenAI

    async with home(lang="en") as at:
        recording = {"data": base64.b64encode(sound.read_bytes()).decode(), "format": "wav"}
        plain = {"vad_filter": False, "fallback": False, "beam_size": 1, "language": "fr"}

        def messages(**said: Any) -> Any:
            part = {"type": "input_audio", "input_audio": {**recording, **said}}
            return [{"role": "user", "content": [{"type": "text", "text": "Réponds :"}, part]}]

        http: Any = at.http
        client = AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=http, timeout=100, max_retries=0)
        few: Any = {"model": "graine", "temperature": 0, "max_tokens": 8}
        with pytest.raises(openai.BadRequestError) as nobody:
            await client.chat.completions.create(messages=messages(), **few)
        assert "engine add whisper" in str(nobody.value)
        at.take(tiny)
        words = (await at.hear(sound)).json()["text"]
        assert words
        answer = await client.chat.completions.with_raw_response.create(messages=messages(**plain), **few)
        assert answer.headers["x-domicile-heard-by"] == "w"
        written: Any = [{"role": "user", "content": [{"type": "text", "text": t} for t in ("Réponds :", words)]}]
        alike: Any = await client.chat.completions.create(messages=written, **few)
        assert answer.parse().choices[0].message.content == alike.choices[0].message.content
        assert answer.parse().usage.prompt_tokens == alike.usage.prompt_tokens
        async with at.house.session("w") as (_, awake):
            before = await awake.counts()
            await client.chat.completions.create(messages=messages(**plain), **few)  # known: not heard again
            assert await awake.counts() == before
        assert left(at) == []
        for said, status in (
            ({"data": base64.b64encode(b"no sound at all").decode()}, 415),
            ({"data": "%%%"}, 400),
            ({"data": None}, 400),
            ({"beam_size": 99}, 400),
            ({"language": "klingon"}, 400),
            ({}, 415),  # a tone is no speech
        ):
            refused = await at.http.post(
                "/v1/chat/completions", json={"messages": messages(**said), **few}, timeout=100
            )
            assert refused.status_code == status, (said, refused.text)
        assert left(at) == []
