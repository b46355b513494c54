"""OpenAI's dialect at our door, with a parrot behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domicile.hardware import sample
from tests.conftest import Visit, Visiting

pytestmark = pytest.mark.anyio


def _chat(said: str, **more: Any) -> dict[str, Any]:
    return {"model": "polly", "messages": [{"role": "user", "content": said}], **more}


def _install(visit: Visit, folder: Path, name: str = "polly") -> None:
    sample.write(folder / f"{name}.gguf", "Q8_0", sample.Shape(1), hollow=True)
    visit.house.library.add_file(folder / f"{name}.gguf")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_an_answer_comes_whole_and_says_who_served_it(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        answer = await visit.http.post("/v1/chat/completions", json=_chat("hello you"))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "hello you"
    assert answer.headers["x-domicile-served-by"] == "home; model=polly"


async def test_the_body_reaches_the_engine_byte_for_byte(visiting: Visiting, tmp_path: Path) -> None:
    body = b'{ "model":"polly",  "messages":[{"role":"user","content":"a"}], "of_the_future": [1, 2] }'
    async with visiting() as visit:
        _install(visit, tmp_path)
        await visit.http.post("/v1/chat/completions", content=body)
        assert visit.parrot.awake_now[0].asked == [("/v1/chat/completions", body)]


async def test_words_come_one_by_one_as_they_are_spoken(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        async with visit.http.stream("POST", "/v1/chat/completions", json=_chat("one two", stream=True)) as answer:
            lines = answer.aiter_lines()
            assert "one" in await anext(lines)
            visit.parrot.speaking.set()
            rest = [line async for line in lines if line]
    assert "two" in rest[0]
    assert rest[-1] == "data: [DONE]"


async def test_a_prompt_too_long_is_refused_with_both_numbers(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        answer = await visit.http.post("/v1/chat/completions", json=_chat("too long 90000", stream=True))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert (error["prompt"], error["context"]) == (90000, 4096)
    assert "90,000" in error["message"]


async def test_a_child_that_dies_midway_becomes_an_error_event(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        async with visit.http.stream("POST", "/v1/chat/completions", json=_chat("one two", stream=True)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            visit.parrot.awake_now[0].gone.set()
            data = [line async for line in lines if line.startswith("data:")]
        assert json.loads(data[-1][5:])["error"]["code"] == "engine_died"
        visit.parrot.speaking.set()
        again = await visit.http.post("/v1/chat/completions", json=_chat("hello"))
    assert again.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_leaves_stops_the_generation(visiting: Visiting, tmp_path: Path, stream: bool) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        asked = asyncio.create_task(visit.http.post("/v1/chat/completions", json=_chat("one two", stream=stream)))
        await _until(lambda: bool(visit.parrot.awake_now) and visit.parrot.awake_now[0].answering == 1)
        asked.cancel()
        await asyncio.wait([asked])
        await _until(lambda: visit.parrot.awake_now[0].answering == 0)
        assert visit.parrot.awake_now[0].left == 1
        assert [p.busy for p in visit.house.runner.ps()] == [0]


async def test_a_misspelt_model_is_refused_with_the_nearest_and_wakes_nothing(
    visiting: Visiting, tmp_path: Path
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        answer = await visit.http.post("/v1/chat/completions", json=_chat("hi") | {"model": "poly"})
        assert visit.parrot.wakes == 0
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert error["code"] == "model_not_found"
    assert error["nearest"] == "polly"


async def test_a_file_removed_by_hand_is_said_and_shown_missing(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        (tmp_path / "polly.gguf").unlink()
        answer = await visit.http.post("/v1/chat/completions", json=_chat("hi"))
        listed = (await visit.http.get("/domicile/models")).json()["models"]
        offered = (await visit.http.get("/v1/models")).json()["data"]
    assert answer.status_code == 409
    assert [m["missing"] for m in listed if m["name"] == "polly"] == [True]
    assert "polly" not in [m["id"] for m in offered]


async def test_errors_speak_the_readers_language(visiting: Visiting) -> None:
    async with visiting() as visit:
        said = await visit.http.get("/v1/models/nothing", headers={"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"})
        told = await visit.http.get("/v1/models/nothing")
    assert said.json()["error"]["message"].startswith("Aucun modèle")
    assert told.json()["error"]["message"].startswith("No model")


async def test_ten_streams_at_once_all_finish(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        said = [f"stream number {n}" for n in range(10)]
        answers = await asyncio.gather(
            *(visit.http.post("/v1/chat/completions", json=_chat(s, stream=True)) for s in said)
        )
        assert visit.parrot.wakes == 1
    assert all(a.text.endswith("data: [DONE]\n\n") for a in answers)


async def test_completions_and_models_are_answered(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        answer = await visit.http.post("/v1/completions", json={"model": "polly", "prompt": "once"})
        card = await visit.http.get("/v1/models/polly")
    assert answer.status_code == 200
    assert card.json()["id"] == "polly"
    assert card.json()["object"] == "model"


async def test_a_stream_ends_with_an_error_event_when_the_house_closes(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        async with visit.http.stream("POST", "/v1/chat/completions", json=_chat("one two", stream=True)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            visit.house.closing.set()
            data = [line async for line in lines if line.startswith("data:")]
    assert json.loads(data[-1][5:])["error"]["code"] == "shutting_down"
