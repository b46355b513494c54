"""A real house, with the real engine and the model that comes with it, asked by real clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest

from domicile.download import partials
from domicile.hardware import sample
from domicile.library import EMBEDDED_FILE
from tests.conftest import OpenHouse
from tests.fakes.hub import FakeHub
from tests.fakes.slow import Halfway

Opening = Callable[..., OpenHouse]
pytestmark = pytest.mark.slow

ENDLESS = {
    "model": "graine",
    "messages": [{"role": "user", "content": "Bonjour"}],
    "stream": True,
    "ignore_eos": True,
    "max_tokens": 4000,
}


def _client(house: OpenHouse) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="any", max_retries=0, timeout=60)


def _chat(client: openai.OpenAI, said: str = "Bonjour", **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": said}]
    return client.chat.completions.create(model="graine", messages=messages, **more)


def _endless(client: openai.OpenAI) -> Any:
    """A stream that would go on for the whole context."""
    return _chat(client, stream=True, max_tokens=4000, extra_body={"ignore_eos": True})


def _gone(pid: int) -> bool:
    """Dead, if perhaps not yet buried by whoever is process 1 here."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _busy(house: OpenHouse) -> list[int]:
    return [m["busy"] for m in httpx2.get(f"{house.url}/domicile/ps").json()["models"]]


def test_the_openai_client_lists_chats_streams_and_stops_early(open_house_process: Opening) -> None:
    house = open_house_process()
    client = _client(house)
    assert [m.id for m in client.models.list()] == ["graine"]
    answer = _chat(client, "Bonjour, qui es-tu ?", temperature=0, seed=1)
    assert "graine" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 5
    words, usage = "", None
    stream = _chat(client, "Bonjour, qui es-tu ?", temperature=0, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        words += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert words == answer.choices[0].message.content
    assert usage is not None
    with _endless(client) as endless:
        for number, _ in enumerate(endless):
            if number == 5:
                break
    assert _within(1, lambda: _busy(house) == [0])


def test_stop_seed_logprobs_and_json_schema_reach_the_engine(open_house_process: Opening) -> None:
    client = _client(open_house_process())
    text = _chat(client, "What is a quantisation?", temperature=0).choices[0].message.content
    word = text.split()[3]
    cut = _chat(client, "What is a quantisation?", temperature=0, stop=[word]).choices[0].message.content
    assert text.startswith(cut)
    assert word not in cut
    seeded = {_chat(client, temperature=1.5, seed=7).choices[0].message.content for _ in range(2)}
    assert len(seeded) == 1
    probable = _chat(client, temperature=0, logprobs=True, top_logprobs=2, max_tokens=3)
    assert len(probable.choices[0].logprobs.content) == 3
    schema = {"type": "object", "properties": {"bits": {"type": "integer"}}, "required": ["bits"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    shaped = _chat(client, "Q4?", max_tokens=60, response_format=wanted).choices[0].message.content
    assert isinstance(json.loads(shaped)["bits"], int)
    completion = client.completions.create(model="graine", prompt="La quantification", max_tokens=5, temperature=0)
    assert completion.choices[0].text


def test_ten_streams_at_once_all_finish_after_one_waking(open_house_process: Opening) -> None:
    house = open_house_process()
    client = _client(house)

    def ask(number: int) -> str | None:
        stream = _chat(client, f"{number} Go de RAM, quel modèle ?", stream=True, max_tokens=40)
        return next((r for r in [c.choices[0].finish_reason for c in stream] if r), None)

    with ThreadPoolExecutor(10) as pool:
        reasons = list(pool.map(ask, range(10)))
    assert set(reasons) <= {"stop", "length"}
    assert len(house.children()) == 1
    log = httpx2.get(f"{house.url}/domicile/models/graine/log", params={"lines": "9999"}).text
    assert log.count("--- wake ---") == 1


def test_a_child_killed_midway_is_an_error_event_within_two_seconds_and_the_next_request_succeeds(
    open_house_process: Opening,
) -> None:
    house = open_house_process()
    client = _client(house)
    with _endless(client) as stream:
        for _ in range(5):
            next(stream)
        os.kill(house.children()[0], signal.SIGKILL)
        killed_at = time.monotonic()
        with pytest.raises(openai.APIError) as told:
            list(stream)
    assert time.monotonic() - killed_at < 2
    assert told.value.code == "engine_died"
    assert _chat(client, max_tokens=5).choices[0].message.content


def test_a_killed_house_leaves_no_orphan(open_house_process: Opening) -> None:
    house = open_house_process()
    httpx2.post(f"{house.url}/domicile/models/graine/wake", timeout=30)
    child = house.children()[0]
    house.process.kill()
    house.process.wait()
    assert _within(5, lambda: _gone(child))


def test_sigterm_with_streams_open_and_a_download_running_closes_everything_and_the_download_goes_on_afterwards(
    open_house_process: Opening, hub: FakeHub
) -> None:
    content = EMBEDDED_FILE.read_bytes() + bytes(9 << 20)
    hub.add("org/repo", {"m-Q8_0.gguf": content})
    gate = Halfway(hub)
    house = open_house_process(DOMICILE_SLOTS="5")
    ends: list[str] = []
    started = threading.Semaphore(0)

    def listen() -> None:
        with httpx2.stream("POST", f"{house.url}/v1/chat/completions", json=ENDLESS, timeout=60) as answer:
            last = ""
            for line in answer.iter_lines():
                if not last:
                    started.release()
                last = line or last
            ends.append(last)

    threads = [threading.Thread(target=listen) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=60)
    job = httpx2.post(f"{house.url}/domicile/pull", json={"model": "org/repo/m-Q8_0.gguf"}).json()
    home = Path(os.environ["DOMICILE_HOME"])
    assert gate.reached.wait(30)
    assert _within(30, lambda: sum(p.kept_bytes for p in partials(home)) > len(content) // 4)
    children = [c.pid for c in psutil.Process(house.process.pid).children(recursive=True)]
    begin = time.monotonic()
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(10) == 0
    assert time.monotonic() - begin < 8
    assert children
    assert all(_gone(c) for c in children)
    for thread in threads:
        thread.join(5)
    assert len(ends) == 5
    assert all("shutting_down" in end or "[DONE]" in end or "finish_reason" in end for end in ends)

    (partial,) = partials(home)
    gate.starts.clear()
    gate.open.set()
    again = open_house_process()

    def state() -> Any:
        return httpx2.get(f"{again.url}/domicile/jobs/{job['id']}").json()

    assert _within(60, lambda: state()["status"] == "done"), state()
    assert min(gate.starts) == partial.kept_bytes > 0  # what had come was not asked for again
    assert partial.target.read_bytes() == content


def test_what_breaks_a_model_leaves_the_house_unharmed(open_house_process: Opening, tmp_path: Path) -> None:
    house = open_house_process(DOMICILE_ENGINE_MEMORY="150MB")
    graine = Path("src/domicile/graine/graine.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(graine[: len(graine) // 2])
    (tmp_path / "noise.gguf").write_bytes(b"GGUF" + os.urandom(5000))
    for name, code in (("cut", "malformed"), ("noise", "malformed")):
        added = httpx2.post(f"{house.url}/domicile/models", json={"path": str(tmp_path / f"{name}.gguf")})
        assert added.status_code == 201
        refused = httpx2.post(f"{house.url}/domicile/models/{name}/wake", timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, code)
    assert httpx2.get(f"{house.url}/domicile/health").json() == {"status": "ok"}


def test_a_model_that_needs_more_memory_than_it_may_take_says_so(open_house_process: Opening, tmp_path: Path) -> None:
    sample.write(tmp_path / "large.gguf", "Q8_0", sample.Shape(10), hollow=True)
    house = open_house_process(DOMICILE_ENGINE_MEMORY="150MB")
    httpx2.post(f"{house.url}/domicile/models", json={"path": str(tmp_path / "large.gguf")})
    refused = httpx2.post(f"{house.url}/domicile/models/large/wake", timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "out_of_memory")
    assert httpx2.get(f"{house.url}/domicile/ps").json()["models"] == []


def test_a_prompt_of_five_megabytes_is_refused_with_both_numbers(open_house_process: Opening) -> None:
    house = open_house_process()
    body = {"model": "graine", "messages": [{"role": "user", "content": "word " * 1_000_000}]}
    refused = httpx2.post(f"{house.url}/v1/chat/completions", json=body, timeout=60)
    error = refused.json()["error"]
    assert refused.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["prompt"] > 1_000_000 > error["context"]


def test_a_body_of_64_megabytes_is_refused(open_house_process: Opening) -> None:
    house = open_house_process()
    refused = httpx2.post(f"{house.url}/v1/chat/completions", content=b"x" * (64 << 20), timeout=60)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "body_too_large"


def test_a_taken_port_is_said_with_the_next_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = subprocess.run(
            [sys.executable, "-m", "domicile", "serve", "--port", str(port)], capture_output=True, text=True, timeout=30
        )
    assert told.returncode == 8
    assert f"domicile serve --port {port + 1}" in told.stderr
    assert "Traceback" not in told.stderr
