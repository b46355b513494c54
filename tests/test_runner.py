"""Models wake once, sleep by themselves, and never because somebody left."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from domicile.engines import Launch
from domicile.errors import BadModelFile, EngineDied, EngineMissing, ShuttingDown, StillBusy
from domicile.runner import Runner
from domicile.types import Installed
from tests.fakes.parrot import PLAN, Parrot

pytestmark = pytest.mark.anyio

MODEL = Installed("polly", Path("polly.gguf"), "gguf", 1, "file")
OTHER = Installed("rio", Path("rio.gguf"), "gguf", 1, "file")


async def _launch(model: Installed) -> Launch:
    return Launch(model, PLAN, threads=1, memory_bytes=0, deadline_s=5, log=Path("polly.log"))


def _runner(parrot: Parrot, keep_alive_s: float = math.inf) -> Runner:
    return Runner({"parrot": parrot}, _launch, keep_alive_s)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def _visit(runner: Runner, model: Installed = MODEL) -> int:
    async with runner.session(model) as awake:
        return id(awake)


async def test_ten_requests_at_once_wake_a_model_once() -> None:
    parrot = Parrot()
    parrot.hatching.clear()
    runner = _runner(parrot)
    visits = [asyncio.create_task(_visit(runner)) for _ in range(10)]
    await _until(lambda: [p.busy for p in runner.ps()] == [10])
    assert runner.ps()[0].state == "waking"
    parrot.hatching.set()
    assert len(set(await asyncio.gather(*visits))) == 1
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
    await _until(lambda: [p.busy for p in runner.ps()] == [2])
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
    assert await _visit(runner) != first
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
