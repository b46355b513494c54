"""Speech: faster-whisper through the house against faster-whisper called directly, and the other layouts of one model.

A Whisper of random weights in the shape of `base` (or `--shape`), a minute of sound heard a round, by turns: the same
library with the same files, threads and options in a process of its own, then the house's whole way (upload, child,
transcript). Random weights never end a text by themselves; both sides write the same number of tokens for the same
sound. Prints seconds of processor for each second of sound, the real-time factor, and the ratio of both sides; then
the same through transformers' layout and whisper.cpp's, once each.
Usage: OMP_WAIT_POLICY=passive python -m bench.speech --rounds 3 --shape base
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil
from tests.fakes import whisper
from tests.fakes.environment import borrowed
from tests.fakes.inside import InProcess

from domicile.app import open_house
from domicile.config import load
from domicile.types import Installed
from domicile.web import build
from domicile.web.guard import Rules

SHAPES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}
DIRECT = """
import json, sys, time
from faster_whisper import WhisperModel, decode_audio
model = WhisperModel(sys.argv[1], "cpu", compute_type="int8", cpu_threads=int(sys.argv[3]), local_files_only=True)
for line in sys.stdin:
    began, mine = time.perf_counter(), time.process_time()
    sound = decode_audio(sys.argv[2])
    segments, _ = model.transcribe(sound, language="fr", beam_size=1, temperature=0.0, vad_filter=False)
    text = "".join(s.text for s in segments)
    print(json.dumps([time.perf_counter() - began, time.process_time() - mine, len(text)]), flush=True)
"""


async def measure(options: argparse.Namespace) -> None:
    width, layers, heads = SHAPES[options.shape]
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as scratch:
        place = Path(scratch)
        os.environ["DOMICILE_HOME"] = str(place / "home")
        settings = load(threads=options.threads, selftest=False)
        borrowed(settings.engines, "whisper")
        source = whisper.transformers(
            place / "hf", d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
            decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, init_std=0.02,
        )  # fmt: skip
        made = whisper.ctranslate2(source, place / "ct2")
        ggml = whisper.ggml(source, place / "ggml-model.bin")
        sound = whisper.wav(place / "minute.wav", options.seconds)
        async with open_house(settings) as house:
            for name, files in {
                "ctranslate2": sorted(made.iterdir(), key=lambda p: p.name != "model.bin"),
                "transformers": sorted(source.iterdir(), key=lambda p: p.suffix != ".safetensors"),
                "whisper.cpp": [ggml],
            }.items():
                size = sum(p.stat().st_size for p in files)
                task = "automatic-speech-recognition"
                house.library.add(Installed(name, files[0], "whisper", size, "file", files=tuple(files), task=task))
            transport = InProcess(build(house, Rules(frozenset({"house"}))))
            async with httpx2.AsyncClient(transport=transport, base_url="http://house", timeout=3600) as http:
                await _rounds(house, http, made, sound, options)


async def _hear(house: Any, http: httpx2.AsyncClient, model: str, sound: Path) -> tuple[float, float, int]:
    """Seconds by the clock and of the child's processor, and characters written."""
    plain = {"vad_filter": "false", "fallback": "false", "beam_size": "1", "language": "fr"}

    def spent() -> float:
        pids = [child.pid for name, child in house.runner.children() if name == model]
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    before, began = spent(), time.perf_counter()
    data = {"model": model, **plain}
    answer = await http.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound.read_bytes())}, data=data)
    answer.raise_for_status()
    return time.perf_counter() - began, spent() - before, len(answer.json()["text"])


async def _rounds(house: Any, http: httpx2.AsyncClient, made: Path, sound: Path, options: argparse.Namespace) -> None:
    direct = subprocess.Popen(
        [sys.executable, "-c", DIRECT, str(made), str(sound), str(options.threads)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
    )  # fmt: skip
    assert direct.stdin is not None
    assert direct.stdout is not None
    sides: dict[str, list[tuple[float, float, int]]] = {"directly": [], "through Domicile": []}
    for turn in range(options.rounds + 1):
        direct.stdin.write("go\n")
        direct.stdin.flush()
        there = tuple(json.loads(await asyncio.to_thread(direct.stdout.readline)))
        here = await _hear(house, http, "ctranslate2", sound)
        if turn:  # the first warms up, and wakes
            sides["directly"].append(there)
            sides["through Domicile"].append(here)
    direct.stdin.close()
    direct.wait()
    busy = os.getloadavg()[0]
    print(f"{options.shape}, int8, {options.seconds} s of sound, {options.threads} thread(s), load {busy:.1f}")
    factors = {}
    for name, rounds in sides.items():
        clock, processor = (statistics.median(r[n] for r in rounds) for n in (0, 1))
        factors[name] = options.seconds / processor
        print(
            f"{name}, times real time: {factors[name]:.1f} by the processor, {options.seconds / clock:.1f} by the clock"
        )
    print(f"ratio by the processor: {factors['through Domicile'] / factors['directly']:.3f}")
    for model in ("transformers", "whisper.cpp"):
        await _hear(house, http, model, sound)
        clock, processor, written = await _hear(house, http, model, sound)
        print(f"{model}: {options.seconds / processor:.1f} times real time; {written} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=list(SHAPES), default="base")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
