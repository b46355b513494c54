"""A model's settings are kept, explained and obeyed; a model is tried after its install; waiting is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from domicile.errors import DomicileError, EngineDied, OutOfMemory
from domicile.hardware import sample
from tests.conftest import Visit, Visiting
from tests.fakes.hub import FakeHub
from tests.fakes.parrot import PLAN

pytestmark = pytest.mark.anyio
SETTINGS = "/domicile/models/graine/settings"
CHAT = {"model": "graine", "messages": [{"role": "user", "content": "one two three"}]}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def _chat(visit: Visit, **more: Any) -> httpx2.Response:
    return await visit.http.post("/v1/chat/completions", json={**CHAT, **more})


async def test_every_setting_is_shown_with_who_chose_it_and_why(visiting: Visiting) -> None:
    async with visiting() as visit:
        shown = (await visit.http.get(SETTINGS, headers={"Accept-Language": "fr"})).json()
        by_name = {one["name"]: one for one in shown["settings"]}
        assert by_name["kv"] == {
            "name": "kv", "value": "f16", "by": "house",
            "why": "la précision du modèle lui-même\u00a0: la mémoire le permet",
        }  # fmt: skip
        assert all(one["why"] and not one["why"].startswith("tune.") for one in shown["settings"])
        assert shown["own"] == {}


async def test_a_setting_of_a_person_holds_from_the_next_waking_and_survives_the_house(visiting: Visiting) -> None:
    async with visiting() as visit:
        await _chat(visit)
        changed = await visit.http.patch(SETTINGS, json={"context": 2048, "kv": "q8_0", "keep_alive": "2h"})
        assert changed.status_code == 200
        assert visit.house.runner.ps() == []
        await _chat(visit)
        plan = visit.parrot.launches[-1].plan
        assert (plan.context, plan.type_k) == (2048, "q8_0")
        ps = (await visit.http.get("/domicile/ps")).json()["models"][0]
        assert 7000 < ps["sleeps_in_s"] <= 7200
        assert (ps["context"], ps["slots"], ps["waiting"]) == (2048, 1, 0)
    async with visiting() as visit:
        assert (await visit.http.get(SETTINGS)).json()["own"] == {"context": 2048, "kv": "q8_0", "keep_alive": 7200.0}
        await visit.http.patch(SETTINGS, json={"context": None, "kv": None, "keep_alive": None})
        assert (await visit.http.get(SETTINGS)).json()["own"] == {}


async def test_a_setting_that_does_not_exist_is_refused_and_nothing_is_kept(visiting: Visiting) -> None:
    async with visiting() as visit:
        refused = await visit.http.patch(SETTINGS, json={"context": 2048, "contxt": 1})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "contxt")
        assert (await visit.http.get(SETTINGS)).json()["own"] == {}
        assert (await visit.http.patch("/domicile/models/nobody/settings", json={})).status_code == 404


async def test_a_request_with_more_context_wakes_the_model_with_it(visiting: Visiting) -> None:
    async with visiting(context="1024") as visit:
        await _chat(visit)
        headers = {"X-Domicile-Num-Ctx": "4096"}
        assert (await visit.http.post("/v1/chat/completions", json=CHAT, headers=headers)).status_code == 200
        assert [launch.plan.context for launch in visit.parrot.launches] == [1024, 4096]
        bad = await visit.http.post("/v1/chat/completions", json=CHAT, headers={"X-Domicile-Num-Ctx": "lots"})
        assert bad.status_code == 400


async def test_safer_settings_after_a_death_are_said_in_the_answer_in_ps_and_in_the_log(visiting: Visiting) -> None:
    async with visiting() as visit:
        visit.house.settings.logs.mkdir(parents=True)
        visit.parrot.weak = OutOfMemory(name="graine", limit=1)
        answer = await _chat(visit)
        assert answer.status_code == 200
        assert answer.headers["x-domicile-settings"] == "safer; died=memory; context=2048; kv=q8_0"
        ps = (await visit.http.get("/domicile/ps", headers={"Accept-Language": "fr"})).json()["models"][0]
        assert "manque de mémoire" in ps["note_text"]
        log = (await visit.http.get("/domicile/models/graine/log")).text
        assert "died (memory)" in log
        assert "safer settings" in log


async def test_what_a_launch_took_before_is_what_it_needs_now(visiting: Visiting) -> None:
    async with visiting() as visit:
        visit.parrot.weight_bytes = 3 << 30
        await _chat(visit)
        await visit.http.post("/domicile/models/graine/sleep")
        await _chat(visit)
        held = (await visit.http.get("/domicile/ps")).json()["models"][0]["held_bytes"]
        assert held >= 3 << 30
        row = visit.house.database.read("SELECT launch, device FROM runs")[0]
        assert (row["launch"], row["device"]) == ("4096/1-512-f16-f16-flash-gpu0-off", "cpu")


async def test_more_than_all_may_take_together_is_refused_with_both_numbers(visiting: Visiting) -> None:
    async with visiting(models_memory="1MB") as visit:
        refused = await _chat(visit)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (503, "out_of_memory")
        assert error["need"] > error["limit"]
        assert int(refused.headers["retry-after"]) > 0


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(visiting: Visiting) -> None:
    async with visiting(queue="1") as visit:
        visit.parrot.speaking.clear()
        speaking = asyncio.create_task(_chat(visit))
        await _until(lambda: any(p.busy for p in visit.house.runner.ps()))
        waiting = asyncio.create_task(_chat(visit))
        await _until(lambda: visit.house.runner.waiting == 1)
        refused = await _chat(visit)
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1
        visit.parrot.speaking.set()
        assert [(await t).status_code for t in (speaking, waiting)] == [200, 200]


async def test_who_waits_long_for_a_stream_is_told_the_place_in_line(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domicile.web.relay.BEAT_S", 0.01)
    monkeypatch.setattr("domicile.web.relay.PATIENCE_S", 0.02)
    async with visiting() as visit:
        visit.parrot.speaking.clear()
        first = asyncio.create_task(_chat(visit))
        await _until(lambda: any(p.busy for p in visit.house.runner.ps()))
        async with visit.http.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            said = answer.aiter_lines()
            assert await anext(said) == ": position 1"
            visit.parrot.speaking.set()
            rest = [line async for line in said if line]
        assert ": served-by home; model=graine" in rest
        words = [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in rest if line.startswith("data: {")]
        assert "".join(words).split() == ["one", "two", "three"]
        assert (await first).status_code == 200


async def _waited(visit: Visit, path: str, ill: DomicileError | None = None, **more: Any) -> list[str]:
    """The lines of a stream that waits behind another answer; `ill` ends it while it waits."""
    visit.parrot.speaking.clear()
    first = asyncio.create_task(_chat(visit))
    await _until(lambda: any(p.busy for p in visit.house.runner.ps()))
    async with visit.http.stream("POST", path, json={**CHAT, "max_tokens": 9, "stream": True, **more}) as answer:
        said = answer.aiter_lines()
        lines = [await anext(said)]
        if ill is not None:
            visit.parrot.awake_now[0].gone.set()
            visit.parrot.ill = ill
        visit.parrot.speaking.set()
        lines += [line async for line in said if line]
    await asyncio.wait([first])
    return lines


@pytest.mark.parametrize(
    ("path", "more", "last", "error"),
    [
        ("/v1/messages", {}, "message_stop", '"type":"error"'),
        ("/v1/responses", {"input": "one two three"}, "response.completed", "response.failed"),
    ],
)
async def test_other_dialects_with_events_tell_it_too_and_lines_of_json_do_not(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch, path: str, more: dict[str, Any], last: str, error: str
) -> None:
    monkeypatch.setattr("domicile.web.relay.BEAT_S", 0.01)
    monkeypatch.setattr("domicile.web.relay.PATIENCE_S", 0.02)
    async with visiting() as visit:
        lines = await _waited(visit, path, **more)
        assert lines[0] == ": position 1"
        assert ": served-by home; model=graine" in lines
        assert last in lines[-1]
        visit.parrot.speaking.clear()
        asked = [asyncio.create_task(visit.http.post("/api/chat", json={**CHAT, "stream": True})) for _ in range(2)]
        await _until(lambda: visit.house.runner.waiting == 1)
        await asyncio.sleep(0.05)  # longer than the patience of a stream with comments
        visit.parrot.speaking.set()
        plain = [(await answer).text.splitlines() for answer in asked]
        assert [json.loads(line)["done"] for lines in plain for line in lines].count(True) == 2
        broken = await _waited(visit, path, EngineDied(name="graine", reason="killed", how="SIGKILL"), **more)
        assert broken[0] == ": position 1"
        assert error in broken[-1]


async def test_the_official_clients_are_not_disturbed_by_what_waiting_says(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domicile.web.relay.BEAT_S", 0.01)
    monkeypatch.setattr("domicile.web.relay.PATIENCE_S", 0.02)
    messages: Any = CHAT["messages"]
    async with visiting() as visit:
        through: Any = visit.http
        of_openai = openai.AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=through)
        of_anthropic = anthropic.AsyncAnthropic(base_url="http://house", api_key="any", http_client=through)

        async def chat() -> str:
            stream = await of_openai.chat.completions.create(model="graine", messages=messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def respond() -> str:
            stream = await of_openai.responses.create(model="graine", input="one two three", stream=True)
            return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

        async def message() -> str:
            async with of_anthropic.messages.stream(model="graine", messages=messages, max_tokens=9) as stream:
                return "".join([text async for text in stream.text_stream])

        begun: list[httpx2.Response] = []

        async def note(response: httpx2.Response) -> None:
            begun.append(response)

        visit.http.event_hooks["response"] = [note]
        visit.parrot.speaking.clear()
        said = [asyncio.create_task(ask()) for ask in (chat, respond, message, chat)]
        await _until(lambda: len(begun) == 4)  # only a comment can have begun the answer of who waits
        visit.parrot.speaking.set()
        assert [(await one).split() for one in said] == [["one", "two", "three"]] * 4


async def test_an_answer_that_goes_on_too_long_is_ended_and_said(
    visiting: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domicile.web.relay.BEAT_S", 0.01)
    async with visiting(answer_limit="50ms") as visit:
        visit.parrot.speaking.clear()
        whole = await _chat(visit)
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "answer_too_long")
        streamed = await _chat(visit, stream=True)
        assert streamed.status_code == 200
        assert '"answer_too_long"' in streamed.text
        await _until(lambda: visit.parrot.awake_now[0].answering == 0)


# -- the trial --


async def test_a_trial_says_what_is_not_well_and_is_shown_with_the_model(visiting: Visiting) -> None:
    async with visiting() as visit:
        found = await visit.house.selftest("graine", gentle=True)
        by_name = {check["check"]: check for check in found["checks"]}
        assert found["passed"] is False  # a parrot renders no template
        assert by_name["template"]["well"] is False
        shown = (await visit.http.get("/domicile/models/graine")).json()["self_test"]
        assert [c["check"] for c in shown["checks"]] == [c["check"] for c in found["checks"]]
        listed = (await visit.http.get("/domicile/models")).json()["models"]
        assert listed[0]["self_test"]["passed"] is False


async def test_a_model_is_tried_at_the_end_of_its_pull_and_forgotten_with_it(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("me/tiny-GGUF", {"tiny-Q8_0.gguf": b"GGUF" + b"no model " * 100})
    async with visiting() as visit:
        job = (await visit.http.post("/domicile/pull", json={"model": "me/tiny-GGUF"})).json()
        done = await visit.house.jobs.wait(job["id"])
        assert done.status == "done"
        tried = done.result["self_test"]
        assert isinstance(tried, dict)
        assert (tried["passed"], tried["checks"][0]["check"]) == (False, "wake")
        name = str(done.result["name"])
        shown = (await visit.http.get(f"/domicile/models/{name}", headers={"Accept-Language": "fr"})).json()
        assert not shown["self_test"]["checks"][0]["text"].startswith("error.")
        await visit.http.patch(f"/domicile/models/{name}/settings", json={"context": 4096})
        await visit.http.delete(f"/domicile/models/{name}")
        assert visit.house.database.read("SELECT * FROM marks WHERE model = ?", name) == []
        assert visit.house.database.read("SELECT * FROM tuned") == []


async def test_a_trial_after_a_pull_sends_nobody_to_sleep(visiting: Visiting, tmp_path: Any) -> None:
    for name in ("one", "two"):
        sample.write(tmp_path / f"{name}.gguf", "Q8_0", sample.Shape(1), hollow=True)
    async with visiting(models_memory="150MB") as visit:
        for name in ("one", "two"):
            visit.house.library.add_file(tmp_path / f"{name}.gguf")
        visit.parrot.weight_bytes = 0
        await _chat(visit, model="one")
        tried = await visit.house.selftest("two", gentle=True)
        assert [p.name for p in visit.house.runner.ps()] == ["one"]
        assert tried["checks"][0]["facts"]["reason"] == "gentle"


def test_two_launches_of_one_label_take_as_much() -> None:
    assert PLAN.label == replace(PLAN, cache_ram_bytes=1).label
    others = [
        replace(PLAN, n_ctx=8192), replace(PLAN, n_parallel=2), replace(PLAN, type_k="q8_0"), replace(PLAN, mmap=True),
        replace(PLAN, gpu_layers=3), replace(PLAN, n_ubatch=128), replace(PLAN, speculation="ngram"),
    ]  # fmt: skip
    assert len({PLAN.label, *(o.label for o in others)}) == 8


async def test_a_pinned_model_stays_awake_and_keeps_its_memory(visiting: Visiting, tmp_path: Any) -> None:
    async with visiting(models_memory="150MB", keep_alive="0") as visit:
        visit.parrot.weight_bytes = 0
        for name in ("one", "two"):
            sample.write(tmp_path / f"{name}.gguf", "Q8_0", sample.Shape(1), hollow=True)
            visit.house.library.add_file(tmp_path / f"{name}.gguf")
        assert (await visit.http.post("/domicile/models/one/pin")).status_code == 200
        assert (await _chat(visit, model="one")).status_code == 200
        assert [(p.name, p.pinned) for p in visit.house.runner.ps()] == [("one", True)]
        assert (await _chat(visit, model="two")).status_code == 503
        assert [p.name for p in visit.house.runner.ps()] == ["one"]
