"""Models wake once, sleep by themselves, and never because somebody left."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domicile.engines import Awake, Launch
from domicile.errors import (
    BadModelFile,
    EngineDied,
    EngineMissing,
    EngineUnwell,
    OutOfMemory,
    QueueFull,
    ShuttingDown,
    StillBusy,
    WaitedTooLong,
)
from domicile.runner import Bytes, Limits, Prepared, Runner
from domicile.runner.deaths import Health
from domicile.types import Installed, Reason, Terms, Ticket
from tests.fakes.parrot import PLAN, Bird, Parrot

pytestmark = pytest.mark.anyio

MODEL = Installed("polly", Path("polly.gguf"), "gguf", 1, "file")
OTHER = Installed("rio", Path("rio.gguf"), "gguf", 1, "file")


async def _prepare(model: Installed, terms: Terms, room: Bytes) -> Prepared:
    """A model weighs what its name says, `polly` a hundred; the context that was asked for, on safer terms half."""
    context = terms.context or PLAN.n_ctx
    plan = replace(PLAN, n_ctx=context // 2 if terms.careful in {"memory", "fault"} else context)
    note = Reason("tune.careful", {"died": terms.careful}) if terms.careful else None
    weight = int(model.name.split("-")[1]) if "-" in model.name else 100
    launch = Launch(model, plan, threads=1, memory_bytes=0, deadline_s=5, log=Path("polly.log"))
    return Prepared(launch, Bytes(weight), context_limit=32768, note=note)


def _runner(parrot: Parrot, keep_alive_s: float = math.inf, **more: Any) -> Runner:
    limits = Limits(keep_alive_s, **{k: more.pop(k) for k in ("memory_bytes", "queue", "queue_wait_s") if k in more})
    return Runner({"parrot": parrot}, _prepare, limits, **more)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def _visit(runner: Runner, model: Installed = MODEL) -> Awake:
    async with runner.session(model) as awake:
        return awake


async def test_ten_requests_at_once_wake_a_model_once() -> None:
    parrot = Parrot()
    parrot.hatching.clear()
    runner = _runner(parrot)
    visits = [asyncio.create_task(_visit(runner)) for _ in range(10)]
    await _until(lambda: [p.waiting for p in runner.ps()] == [10])
    assert runner.ps()[0].state == "waking"
    parrot.hatching.set()
    assert len({id(awake) for awake in await asyncio.gather(*visits)}) == 1
    assert parrot.wakes == 1
    await runner.close()
    assert parrot.awake_now == []


async def test_a_model_sleeps_after_its_time_and_wakes_again_when_asked() -> None:
    parrot = Parrot()
    runner = _runner(parrot, keep_alive_s=0.02)
    await _visit(runner)
    await _until(lambda: not runner.ps())
    assert parrot.awake_now == []
    await _visit(runner)
    assert parrot.wakes == 2
    await runner.close()


async def test_a_busy_model_does_not_sleep() -> None:
    parrot = Parrot()
    runner = _runner(parrot, keep_alive_s=0.0)
    async with runner.session(MODEL) as awake:
        await asyncio.sleep(0.1)
        assert runner.ps()[0].state == "awake"
        assert runner.ps()[0].sleeps_in_s is None
        assert not awake.gone.is_set()
    await _until(lambda: not runner.ps())
    await runner.close()


async def test_keep_alive_of_a_request_holds_from_then_on() -> None:
    parrot = Parrot()
    runner = _runner(parrot, keep_alive_s=0.0)
    async with runner.session(MODEL, keep_alive_s=math.inf):
        pass
    await asyncio.sleep(0.05)
    assert [p.state for p in runner.ps()] == ["awake"]
    async with runner.session(MODEL, keep_alive_s=0.0):
        pass
    await _until(lambda: not runner.ps())
    await runner.close()


async def test_a_caller_who_leaves_while_a_model_wakes_breaks_nothing_for_the_others() -> None:
    parrot = Parrot()
    parrot.hatching.clear()
    runner = _runner(parrot)
    leaver, stayer = asyncio.create_task(_visit(runner)), asyncio.create_task(_visit(runner))
    await _until(lambda: [p.waiting for p in runner.ps()] == [2])
    leaver.cancel()
    await asyncio.wait([leaver])
    parrot.hatching.set()
    assert await stayer
    assert parrot.wakes == 1
    await runner.close()


async def test_whoever_waits_is_told_why_a_model_does_not_wake_and_the_next_one_tries_again() -> None:
    parrot = Parrot()
    parrot.ill = BadModelFile(name="polly", reason="load", problem="broken")
    runner = _runner(parrot)
    told = await asyncio.gather(*(_visit(runner) for _ in range(3)), return_exceptions=True)
    assert [type(t) for t in told] == [BadModelFile] * 3
    assert runner.ps() == []
    parrot.ill = None
    assert await _visit(runner)
    await runner.close()


async def test_after_a_death_the_next_request_wakes_a_new_child() -> None:
    parrot = Parrot()
    runner = _runner(parrot)
    first = await _visit(runner)
    parrot.awake_now[0].gone.set()
    assert await _visit(runner) is not first
    assert parrot.wakes == 2
    await runner.close()


async def test_stop_refuses_a_busy_model_unless_forced() -> None:
    runner = _runner(Parrot())
    assert await runner.sleep("polly") is False
    async with runner.session(MODEL) as awake:
        with pytest.raises(StillBusy):
            await runner.sleep("polly")
        assert await runner.sleep("polly", force=True) is True
        assert awake.gone.is_set()
    assert runner.ps() == []
    await runner.close()


async def test_a_model_that_wakes_can_be_stopped() -> None:
    parrot = Parrot()
    parrot.hatching.clear()
    runner = _runner(parrot)
    visit = asyncio.create_task(_visit(runner))
    await _until(lambda: bool(runner.ps()))
    await runner.sleep("polly", force=True)
    with pytest.raises(EngineDied) as told:
        await visit
    assert told.value.facts["reason"] == "stopped"
    await runner.close()


async def test_closing_ends_every_model_and_refuses_new_ones() -> None:
    parrot = Parrot()
    runner = _runner(parrot)
    await _visit(runner)
    await _visit(runner, OTHER)
    assert len(parrot.awake_now) == 2
    parrot.hatching.clear()
    waiting = asyncio.create_task(_visit(runner, Installed("lory", Path("lory.gguf"), "gguf", 1, "file")))
    await _until(lambda: len(runner.ps()) == 3)
    await runner.close()
    assert parrot.awake_now == []
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await _visit(runner)


async def test_a_format_no_engine_runs_is_said() -> None:
    runner = _runner(Parrot())
    with pytest.raises(EngineMissing):
        await _visit(runner, Installed("x", Path("x.onnx"), "onnx", 1, "file"))


async def test_two_hundred_visits_of_three_models_that_sleep_at_once_all_get_an_answer() -> None:
    parrot = Parrot()
    runner = _runner(parrot, keep_alive_s=0.0)
    models = [Installed(n, Path(f"{n}.gguf"), "gguf", 1, "file") for n in ("a", "b", "c")]

    async def visit(number: int) -> None:
        await asyncio.sleep(number % 17 / 1000)
        async with runner.session(models[number % 3]) as awake:
            await asyncio.sleep(number % 5 / 1000)
            assert not awake.gone.is_set()

    async with asyncio.timeout(20):
        await asyncio.gather(*(visit(n) for n in range(200)))
    await _until(lambda: not runner.ps())
    assert parrot.awake_now == []
    await runner.close()


# -- memory --


def _model(name: str) -> Installed:
    return Installed(name, Path(f"{name}.gguf"), "gguf", 1, "file")


A, B, C = (_model(f"{n}-60") for n in "abc")
"""Two of them do not fit a hundred bytes."""


def _tight(parrot: Parrot, **more: Any) -> Runner:
    parrot.weight_bytes = 0
    return _runner(parrot, memory_bytes=100, **more)


async def test_an_idle_model_gives_its_memory_to_the_one_that_is_asked() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    await _visit(runner, A)
    await _visit(runner, B)
    assert [p.name for p in runner.ps()] == ["b-60"]
    assert [b.launch.model.name for b in parrot.awake_now] == ["b-60"]
    await runner.close()


async def test_the_longest_unused_model_sleeps_first() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    small = [_model(f"{n}-30") for n in "xyz"]
    for model in (*small, small[0]):
        await _visit(runner, model)
        await asyncio.sleep(0.002)
    await _visit(runner, _model("w-35"))
    assert sorted(p.name for p in runner.ps()) == ["w-35", "x-30", "z-30"]
    await runner.close()


async def test_a_busy_model_is_waited_for_and_its_later_requests_come_after() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    order: list[str] = []

    async def visit(model: Installed) -> None:
        async with runner.session(model):
            order.append(model.name)

    async with runner.session(A) as awake:
        waits = asyncio.create_task(visit(B))
        await _until(lambda: any(p.position == 1 for p in runner.ps()))
        await _until(lambda: any(p.draining for p in runner.ps()))
        late = asyncio.create_task(visit(A))
        await asyncio.sleep(0.05)
        assert order == []
        assert not awake.gone.is_set()
    await asyncio.wait({waits, late})
    assert order == ["b-60", "a-60"]
    assert len(parrot.awake_now) == 1
    await runner.close()


async def test_who_waits_for_memory_may_leave_and_the_drained_model_goes_on() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    async with runner.session(A):
        leaver = asyncio.create_task(_visit(runner, B))
        await _until(lambda: any(p.draining for p in runner.ps()))
        stayer = asyncio.create_task(_visit(runner, A))
        await asyncio.sleep(0.01)
        leaver.cancel()
        await asyncio.wait([leaver])
        await _until(lambda: [p.draining for p in runner.ps()] == [False])
    assert await stayer
    assert parrot.wakes == 1
    await runner.close()


async def test_a_pinned_model_is_never_sent_to_sleep_and_what_cannot_fit_beside_it_is_refused() -> None:
    parrot = Parrot()
    runner = _tight(parrot, pinned=lambda name: name == "a-60", keep_alive_s=0.0)
    await _visit(runner, A)
    with pytest.raises(OutOfMemory) as told:
        await _visit(runner, B)
    assert (told.value.facts["need"], told.value.facts["reason"]) == (60, "refused")
    assert [(p.name, p.pinned, p.sleeps_in_s) for p in runner.ps()] == [("a-60", True, None)]
    await _visit(runner, _model("small-40"))
    await runner.close()


async def test_a_model_larger_than_everything_is_refused_and_wakes_nobody() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    await _visit(runner, A)
    with pytest.raises(OutOfMemory):
        await _visit(runner, _model("huge-101"))
    assert [p.name for p in runner.ps()] == ["a-60"]
    assert parrot.wakes == 1
    await runner.close()


async def test_a_gentle_waking_disturbs_nobody() -> None:
    parrot = Parrot()
    runner = _tight(parrot)
    await _visit(runner, A)
    with pytest.raises(OutOfMemory) as told:
        async with runner.session(B, terms=Terms(gentle=True)):
            pass
    assert told.value.facts["reason"] == "gentle"
    assert [p.name for p in runner.ps()] == ["a-60"]
    await runner.close()


async def test_memory_counts_from_before_the_load_until_after_the_unload() -> None:
    parrot = Parrot()
    parrot.hatching.clear()
    runner = _tight(parrot)
    first = asyncio.create_task(_visit(runner, A))
    await _until(lambda: [p.state for p in runner.ps()] == ["waking"])
    second = asyncio.create_task(_visit(runner, B))
    await asyncio.sleep(0.05)
    assert [(p.name, p.state, p.held_bytes) for p in runner.ps()] == [("a-60", "waking", 60), ("b-60", "queued", 0)]
    parrot.hatching.set()
    await asyncio.gather(first, second)
    await runner.close()


# -- the queue --


async def test_turns_come_in_the_order_of_asking_and_a_leaver_costs_nobody_a_turn() -> None:
    runner = _runner(Parrot())
    order: list[int] = []
    gate = asyncio.Event()

    async def visit(number: int, ticket: Ticket) -> None:
        async with runner.session(MODEL, ticket=ticket):
            order.append(number)
            await gate.wait()

    tickets = [Ticket() for _ in range(6)]
    tasks = []
    for number, ticket in enumerate(tickets):
        tasks.append(asyncio.create_task(visit(number, ticket)))
        await asyncio.sleep(0)
    await _until(lambda: order == [0])
    assert [t.position() for t in tickets] == [None, 1, 2, 3, 4, 5]
    tasks[2].cancel()
    await asyncio.wait([tasks[2]])
    assert [t.position() for t in tickets] == [None, 1, None, 2, 3, 4]
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3, 4, 5]
    assert [p.busy for p in runner.ps()] == [0]
    await runner.close()


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    runner = _runner(Parrot(), queue=2)
    async with runner.session(MODEL):
        waiting = [asyncio.create_task(_visit(runner)) for _ in range(2)]
        await _until(lambda: runner.waiting == 2)
        with pytest.raises(QueueFull) as told:
            await _visit(runner)
        assert isinstance(told.value.facts["retry_after"], int)
    await asyncio.gather(*waiting)
    await runner.close()


async def test_who_waits_longer_than_allowed_is_told_so() -> None:
    runner = _runner(Parrot(), queue_wait_s=0.05)
    async with runner.session(MODEL):
        with pytest.raises(WaitedTooLong):
            await _visit(runner)
    assert await _visit(runner)
    await runner.close()


# -- deaths --


async def test_a_waking_that_dies_of_memory_is_tried_once_more_on_safer_settings_and_said() -> None:
    parrot = Parrot()
    parrot.weak = OutOfMemory(name="polly", limit=1)
    runner = _runner(parrot)
    await _visit(runner)
    assert [launch.plan.context for launch in parrot.launches] == [4096, 2048]
    note = runner.ps()[0].note
    assert note is not None
    assert note.facts == {"died": "memory"}
    await runner.sleep("polly")
    await _visit(runner)
    assert parrot.launches[-1].plan.context == 2048
    await runner.close()


async def test_a_file_that_cannot_be_used_is_not_tried_twice() -> None:
    parrot = Parrot()
    parrot.ill = BadModelFile(name="polly", reason="load", problem="broken")
    runner = _runner(parrot)
    with pytest.raises(BadModelFile):
        await _visit(runner)
    assert parrot.wakes == 1
    await runner.close()


async def test_requests_in_line_when_a_model_dies_are_answered_by_the_next_child() -> None:
    parrot = Parrot()
    runner = _runner(parrot)
    async with runner.session(MODEL):
        waiting = asyncio.create_task(_visit(runner))
        await _until(lambda: runner.waiting == 1)
        parrot.awake_now[0].gone.set()
        assert await waiting
    assert parrot.wakes == 2
    await runner.close()


async def test_after_three_restarts_in_five_minutes_a_model_rests_and_says_for_how_long() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    for _ in range(3):
        health.died("killed")
        health.delay_s("polly")
        now[0] += 10
    health.died("fault")
    with pytest.raises(EngineUnwell) as told:
        health.delay_s("polly")
    assert told.value.facts["retry_after"] == 300 - 30
    assert health.careful == "fault"
    now[0] = 301
    assert health.delay_s("polly") > 0


async def test_a_model_that_keeps_dying_is_refused_without_another_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile.runner.deaths.DELAYS_S", (0.0, 0.0, 0.0))
    parrot = Parrot()
    runner = _runner(parrot)
    for _ in range(4):
        await _visit(runner)
        parrot.awake_now[0].gone.set()
        await _until(lambda: not runner.ps())
    with pytest.raises(EngineUnwell):
        await _visit(runner)
    assert parrot.wakes == 4
    await runner.close()


# -- a larger context --


async def test_a_request_for_a_larger_context_wakes_the_model_anew_when_nobody_uses_it() -> None:
    parrot = Parrot()
    runner = _runner(parrot)
    async with runner.session(MODEL):
        larger = asyncio.create_task(_ask_for(runner, 16384))
        await asyncio.sleep(0.02)
        assert parrot.wakes == 1
    assert await larger == 16384
    assert await _ask_for(runner, 8192) == 16384
    assert parrot.wakes == 2
    await runner.close()


async def test_a_context_beyond_what_the_model_was_made_for_does_not_wake_it_again_and_again() -> None:
    parrot = Parrot()
    runner = _runner(parrot)
    for _ in range(3):
        await _ask_for(runner, 1 << 20)
    assert parrot.wakes <= 2
    await runner.close()


async def _ask_for(runner: Runner, context: int) -> int:
    async with runner.session(MODEL, terms=Terms(context=context)) as awake:
        assert isinstance(awake, Bird)
        return awake.launch.plan.context


# -- races --


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_two_hundred_random_loads_chats_sleeps_and_deaths_lose_no_request(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domicile.runner.deaths.RESTARTS", 1000)
    monkeypatch.setattr("domicile.runner.deaths.DELAYS_S", (0.0,) * 1001)
    chance = random.Random(seed)
    parrot = Parrot()
    runner = _tight(parrot, keep_alive_s=0.003)
    models = [_model(f"{n}-45") for n in "abc"]
    answered = 0

    async def act(number: int) -> None:
        nonlocal answered
        await asyncio.sleep(chance.random() * 0.2)
        model = models[number % 3]
        match chance.choice(["chat", "chat", "chat", "sleep", "leave", "die"]):
            case "chat":
                async with runner.session(model):
                    await asyncio.sleep(chance.random() * 0.003)
                    held = sum(p.held_bytes for p in runner.ps())
                    assert held <= 100
                    answered += 1
            case "sleep":
                with contextlib.suppress(StillBusy):
                    await runner.sleep(model.name)
            case "leave":
                task = asyncio.create_task(_visit(runner, model))
                await asyncio.sleep(chance.random() * 0.003)
                task.cancel()
                await asyncio.wait([task])
            case "die":
                for bird in [b for b in parrot.awake_now if b.launch.model.name == model.name][:1]:
                    bird.gone.set()

    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*(act(n) for n in range(200)), return_exceptions=True)
    assert [o for o in outcomes if isinstance(o, BaseException)] == []
    assert answered > 50
    await _until(lambda: not runner.ps())
    assert parrot.awake_now == []
    assert runner.waiting == 0
    await runner.close()
