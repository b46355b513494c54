"""What is heard inside the child: files of sound in windows, Whispers of every layout, the shapes of a transcript."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from domicile.child_life import UnfitError
from domicile.hearing import folder, tensors, words, written
from domicile.hearing.languages import LANGUAGES, code_of
from domicile.hearing.listen import Progress, Wish, listen
from domicile.hearing.sound import RATE, LeftError, UnheardError, windows
from tests.fakes import whisper

pytestmark = pytest.mark.slow

PROMPT = [50258, 50259, 50359, 50363]
"""Start, English, write down, no times."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper.transformers(tmp_path_factory.mktemp("whisper") / "tiny")


def opened(place: Path, compute: str = "float32") -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(place), device="cpu", compute_type=compute, cpu_threads=1)


def heard(path: Path, limit_s: float = 3600, **more: Any) -> list[Any]:
    return list(windows(path, limit_s=limit_s, stop=threading.Event(), **more))


# -- sound --


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp3", "libmp3lame"),
        ("a.m4a", "aac"),
        ("a.ogg", "libopus"),
        ("a.webm", "libopus"),
        ("a.flac", "flac"),
        ("a.mp4", "aac"),
        ("a.mkv", "pcm_s16le"),
    ],
)
def test_common_files_are_heard_as_mono_at_16_khz(tmp_path: Path, name: str, codec: str) -> None:
    (window,) = heard(whisper.encoded(tmp_path / name, 3, codec=codec))
    assert abs(len(window.samples) / RATE - 3) < 0.1
    assert 0.1 < abs(window.samples).max() <= 1
    assert window.last


def test_a_long_file_comes_in_windows_cut_where_it_is_quiet(tmp_path: Path) -> None:
    import wave

    import numpy as np

    loud = whisper.tone(7)
    samples = np.concatenate([loud, np.zeros(RATE, "<i2"), loud, np.zeros(RATE, "<i2"), loud])
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    found = heard(tmp_path / "a.wav", window_s=10, search_s=5)
    assert [round(w.start_s) for w in found] == [0, 7, 16] or len(found) == 3
    assert sum(len(w.samples) for w in found) == len(samples)
    assert all(abs(w.samples[-1]) < 0.01 for w in found[:-1])
    assert [w.start_s for w in found] == [sum(len(x.samples) for x in found[:n]) / RATE for n in range(len(found))]


def test_what_is_no_sound_is_refused_with_a_reason(tmp_path: Path) -> None:
    text = tmp_path / "a.wav"
    text.write_text("Bonjour " * 999)
    with pytest.raises(UnheardError) as told:
        heard(text)
    assert told.value.reason == "kind"
    text.write_text("#EXTM3U\n#EXTINF:3,\n/etc/hostname\n")  # a playlist would open other files
    with pytest.raises(UnheardError) as told:
        heard(text)
    assert told.value.reason == "kind"
    whole = whisper.wav(tmp_path / "b.wav", 2).read_bytes()
    (tmp_path / "c.wav").write_bytes(whole[:44])
    with pytest.raises(UnheardError) as told:
        heard(tmp_path / "c.wav")
    assert told.value.reason == "broken"


def test_a_file_that_is_cut_off_is_heard_up_to_there(tmp_path: Path) -> None:
    whole = whisper.encoded(tmp_path / "a.flac", 6, codec="flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    (window,) = heard(tmp_path / "a.flac")
    assert 2 < len(window.samples) / RATE < 4


def test_ten_hours_are_refused_by_their_header_and_by_what_comes_out(tmp_path: Path) -> None:
    # FLAC holds silence in almost nothing: ten minutes of it in a few kilobytes, whatever its header says.
    import av
    import numpy as np

    with av.open(str(tmp_path / "b.flac"), "w") as out:
        stream = out.add_stream("flac", rate=16_000)
        stream.layout = "mono"
        for _ in range(600):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), "<i2"), format="s16", layout="mono")
            frame.sample_rate = 16_000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    body = bytearray((tmp_path / "b.flac").read_bytes())
    assert len(body) < 120_000
    body[21] &= 0xF0  # the number of samples: not known
    body[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(body)
    with pytest.raises(UnheardError) as told:
        heard(tmp_path / "b.flac", limit_s=60, window_s=10)
    assert told.value.reason == "long"
    assert told.value.facts["limit"] == 60
    body[22:26] = (36_000 * 16_000).to_bytes(4, "big")  # ten hours
    (tmp_path / "b.flac").write_bytes(body)
    with pytest.raises(UnheardError) as told:
        heard(tmp_path / "b.flac")
    assert (told.value.reason, told.value.facts["seconds"]) == ("long", 36_000)


def test_who_leaves_stops_the_decoding(tmp_path: Path) -> None:
    stop = threading.Event()
    found = windows(whisper.wav(tmp_path / "a.wav", 60), limit_s=100, stop=stop, window_s=10, search_s=1)
    next(found)
    stop.set()
    with pytest.raises(LeftError):
        list(found)


# -- weights --


def test_transformers_and_faster_whisper_say_the_same_tokens(tiny: Path, tmp_path: Path) -> None:
    import numpy as np
    import torch
    from transformers import WhisperForConditionalGeneration

    model = opened(whisper.ctranslate2(tiny, tmp_path / "ct2"))
    assert (model.model.is_multilingual, model.model.num_languages, model.model.n_mels) == (True, 99, 80)
    features = np.ascontiguousarray(model.feature_extractor(whisper.tone(30) / np.float32(32768))[:, :3000])
    ours = model.model.generate(
        model.encode(features), [PROMPT], beam_size=1, max_length=60, suppress_blank=False, suppress_tokens=None
    )[0].sequences_ids[0]
    theirs_model = WhisperForConditionalGeneration.from_pretrained(tiny).eval()
    ids, theirs = torch.tensor([PROMPT]), []
    with torch.inference_mode():
        encoded = theirs_model.model.encoder(torch.tensor(features)[None])
        for _ in range(len(ours)):
            best = int(theirs_model(encoder_outputs=encoded, decoder_input_ids=ids).logits[0, -1].argmax())
            theirs.append(best)
            ids = torch.cat([ids, torch.tensor([[best]])], 1)
    assert ours == theirs
    assert len(ours) > 20


def test_a_file_of_whisper_cpp_is_the_same_model(tiny: Path, tmp_path: Path) -> None:
    import numpy as np

    features = None
    found = {}
    for kind in ("F16", "Q8_0"):
        file = whisper.ggml(tiny, tmp_path / f"ggml-{kind}.bin", kind=kind)
        (tmp_path / kind).mkdir()
        model = opened(folder.prepared(file, [file], tmp_path / kind, None, "float32"))
        if features is None:
            features = np.ascontiguousarray(model.feature_extractor(whisper.tone(30) / np.float32(32768))[:, :3000])
        found[kind] = np.array(model.encode(features))
        assert model.hf_tokenizer.encode(" the").ids == [258]
    native = np.array(opened(whisper.ctranslate2(tiny, tmp_path / "ct2")).encode(features))
    assert np.abs(found["F16"] - native).max() < 0.02 * np.abs(native).max()
    assert np.abs(found["Q8_0"] - native).max() < 0.2 * np.abs(native).max()


@pytest.mark.parametrize(
    ("kind", "most"), [("Q8_0", 0.005), ("Q5_0", 0.04), ("Q5_1", 0.04), ("Q4_0", 0.08), ("Q4_1", 0.08)]
)
def test_quantised_blocks_are_read_as_ggml_writes_them(kind: str, most: float) -> None:
    import numpy as np

    values = np.random.default_rng(3).uniform(-1, 1, (64, 32)).astype(np.float32)
    width = next(w for k, w, _ in tensors._KINDS.values() if k == kind)
    blocks = np.frombuffer(whisper._encoded(values, kind), np.uint8).reshape(-1, width)
    assert np.abs(tensors.dequantised(blocks, kind) - values).max() < most


def test_a_conversion_is_kept_until_its_file_changes(tiny: Path, tmp_path: Path) -> None:
    import os

    weights, kept = tmp_path / "model.safetensors", tmp_path / "kept"
    for name in ("config.json", "tokenizer.json", "generation_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())

    def once(name: str, compute: str = "int8") -> Path:
        (tmp_path / name).mkdir()
        return folder.prepared(weights, [weights], tmp_path / name, kept, compute)

    first = once("a")
    assert first.parent == kept
    assert once("b") == first
    assert opened(first, "int8").model.n_mels == 80
    os.utime(weights, (1, 1))
    second = once("c")
    assert second != first
    assert list(kept.iterdir()) == [second]


def test_weights_that_lie_are_refused(tiny: Path, tmp_path: Path) -> None:
    import json

    def told(file: Path) -> str:
        place = tmp_path / f"{file.stem}.d"
        place.mkdir(exist_ok=True)
        for one in place.iterdir():
            import shutil

            shutil.rmtree(one)
        with pytest.raises(UnfitError) as found:
            folder.prepared(file, [file], place, None, "int8")
        return str(found.value)

    whole = (tiny / "model.safetensors").read_bytes()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    file = tmp_path / "model.safetensors"
    file.write_bytes(whole[: len(whole) // 2])
    assert "cut off" in told(file)
    file.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    assert "no safetensors" in told(file)
    file.write_bytes(whole)
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "decoder_layers": 3}))
    assert "weights are missing: decoder.layers.2" in told(file)
    bad = whisper.ggml(tiny, tmp_path / "ggml-a.bin")
    body = bytearray(bad.read_bytes())
    bad.write_bytes(body[: len(body) // 2])
    assert "cut off" in told(bad)
    body[4:8] = (2**31 - 1).to_bytes(4, "little")
    bad.write_bytes(body)
    assert "not the shape" in told(bad)


# -- listening --


def test_windows_are_one_text_whose_times_go_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile.hearing.sound.windows.__kwdefaults__", {"window_s": 40.0, "search_s": 5.0})
    model = opened(whisper.ctranslate2(tiny, tmp_path / "ct2"))
    said = Progress()
    wish = Wish(language="en", vad=False, fallback=False, beam=1)
    path = whisper.wav(tmp_path / "a.wav", 95)
    found = list(listen(model, path, wish, said, limit_s=100, stop=threading.Event()))
    assert found
    assert [s["id"] for s in found] == list(range(len(found)))
    assert said.duration == pytest.approx(95)
    assert said.speed
    assert max(s["start"] for s in found) > 70
    assert [s["start"] for s in found] == sorted(s["start"] for s in found)


def test_silence_is_given_no_words(tiny: Path, tmp_path: Path) -> None:
    model = opened(whisper.ctranslate2(tiny, tmp_path / "ct2"))
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(bytes(2 * RATE * 20))
    said = Progress()
    assert not list(listen(model, tmp_path / "a.wav", Wish(), said, limit_s=100, stop=threading.Event()))
    assert said.duration == 20


# -- what is written --

SEGMENTS = [
    {"id": 0, "start": 0.0, "end": 1.5, "text": " Bonjour <b>toi</b>", "tokens": [1]},
    {"id": 1, "start": 3599.9996, "end": 3661.001, "text": " & au --> revoir", "tokens": [2]},
]


def test_the_shapes_of_a_transcript() -> None:
    assert written.text(SEGMENTS) == "Bonjour <b>toi</b> & au --> revoir"
    assert written.srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nBonjour <b>toi</b>\n\n2\n01:00:00,000 --> 01:01:01,001\n& au -> revoir\n\n"
    )
    assert written.vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nBonjour &lt;b&gt;toi&lt;/b&gt;\n\n"
        "01:00:00.000 --> 01:01:01.001\n&amp; au -&gt; revoir\n\n"
    )


def test_languages_are_called_by_code_by_name_and_by_region() -> None:
    assert len(LANGUAGES) == 100
    assert [code_of(x) for x in ("fr", "FR-ca", "French", "Haitian Creole", "yue", "klingon")] == [
        *("fr", "fr", "fr", "ht", "yue", None)
    ]


def test_the_merges_of_a_vocabulary_are_in_its_order() -> None:
    listed = ["a", "b", "c", "ab", "abc", "ca"]
    assert words.merges(listed) == [("a", "b"), ("ab", "c"), ("c", "a")]
