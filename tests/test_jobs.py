"""Work that outlives its request: joined, followed by number, cancelled, and told of when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from domicile import jobs as module
from domicile.errors import DomicileError, JobNotFound, NoRoom
from domicile.jobs import Jobs, Progress

pytestmark = pytest.mark.anyio


def _describe(error: DomicileError) -> Mapping[str, object]:
    return {"code": error.code, "facts": error.facts}


@pytest.fixture
def house_jobs() -> Jobs:
    return Jobs(_describe)


class Gate:
    """Work that goes on when a test says so."""

    def __init__(self) -> None:
        self.started = 0
        self.running = asyncio.Event()
        self.open = asyncio.Event()
        self.ended = asyncio.Event()

    async def work(self, progress: Progress) -> Mapping[str, object]:
        self.started += 1
        progress.step("download")
        self.running.set()
        try:
            await self.open.wait()
        finally:
            self.ended.set()
        return {"name": "x"}


async def _nothing(progress: Progress) -> Mapping[str, object]:
    return {}


async def test_a_job_ends_with_its_result(house_jobs: Jobs) -> None:
    gate = Gate()
    gate.open.set()
    job = house_jobs.start("pull", "org/repo", gate.work)
    assert (job.status, job.kind, job.model) == ("running", "pull", "org/repo")
    done = await house_jobs.wait(job.id)
    assert (done.status, done.result, done.step) == ("done", {"name": "x"}, None)
    assert done.started_at is not None
    assert done.completed_at is not None


async def test_asking_twice_joins_the_job_that_runs(house_jobs: Jobs) -> None:
    gate = Gate()
    first = house_jobs.start("pull", "org/repo", gate.work)
    await gate.running.wait()
    assert house_jobs.start("pull", "ORG/repo", gate.work).id == first.id
    assert house_jobs.start("pull", "org/other", gate.work).id != first.id
    gate.open.set()
    await house_jobs.wait(first.id)
    assert gate.started == 2
    assert house_jobs.start("pull", "org/repo", gate.work).id != first.id
    await house_jobs.close()


async def test_the_states_of_a_job_are_numbered_without_a_gap(house_jobs: Jobs) -> None:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.step("resolve")
        progress.expect(100)
        progress.step("download")
        progress.resumed(40)
        progress.came(60)
        progress.settle()
        progress.settle()
        return {}

    job = house_jobs.start("pull", "x", work)
    seen = [(number, state) async for number, state in house_jobs.follow(job.id)]
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert next(state.step for _, state in seen if state.step) == "resolve"
    assert seen[-2][1].downloaded_bytes == 100
    assert seen[-1][1].status == "done"


async def test_a_listener_who_was_cut_off_goes_on_after_the_last_number_it_saw(house_jobs: Jobs) -> None:
    gate = Gate()
    job = house_jobs.start("pull", "x", gate.work)
    await gate.running.wait()
    async for number, _ in house_jobs.follow(job.id):
        if number == 2:
            break
    gate.open.set()
    rest = [(number, state.status) async for number, state in house_jobs.follow(job.id, after=2)]
    assert rest == [(3, "done")]
    assert [n async for n, _ in house_jobs.follow(job.id, after=3)] == []


async def test_a_new_state_reaches_every_listener(house_jobs: Jobs) -> None:
    gate = Gate()
    job = house_jobs.start("pull", "x", gate.work)
    waiting = [asyncio.create_task(house_jobs.wait(job.id)) for _ in range(3)]
    await gate.running.wait()
    gate.open.set()
    assert [(await w).status for w in waiting] == ["done"] * 3


async def test_a_download_that_says_every_chunk_does_not_flood_its_listeners(house_jobs: Jobs) -> None:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.expect(100_000)
        for _ in range(100_000):
            progress.came(1)
        progress.settle()
        return {}

    job = house_jobs.start("pull", "x", work)
    seen = [state async for _, state in house_jobs.follow(job.id)]
    assert len(seen) < 100
    assert seen[-1].downloaded_bytes == 100_000


async def test_what_was_here_already_counts_as_progress_and_not_as_speed() -> None:
    told: list[dict[str, object]] = []
    progress = Progress(lambda **fields: told.append(fields))
    progress.resumed(10**12)
    progress.came(1)
    assert told[0] == {"downloaded_bytes": 10**12}
    assert told[1] == {"downloaded_bytes": 10**12 + 1, "speed": None}


async def test_a_cancelled_job_says_so_and_its_work_has_ended(house_jobs: Jobs) -> None:
    gate = Gate()
    job = house_jobs.start("pull", "x", gate.work)
    await gate.running.wait()
    cancelled = await house_jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert gate.ended.is_set()
    assert (await house_jobs.cancel(job.id)).status == "cancelled"


async def test_a_job_cancelled_before_its_first_step_is_over(house_jobs: Jobs) -> None:
    gate = Gate()
    job = house_jobs.start("pull", "x", gate.work)
    assert (await house_jobs.cancel(job.id)).status == "cancelled"
    assert gate.started == 0
    assert (await house_jobs.wait(job.id)).over


async def test_cancelling_what_is_done_changes_nothing(house_jobs: Jobs) -> None:
    job = house_jobs.start("pull", "x", _nothing)
    await house_jobs.wait(job.id)
    assert (await house_jobs.cancel(job.id)).status == "done"


async def test_a_failed_job_keeps_the_words_of_its_error(house_jobs: Jobs) -> None:
    async def work(progress: Progress) -> Mapping[str, object]:
        progress.came(1)
        raise NoRoom(missing=5, path="/x")

    job = await house_jobs.wait(house_jobs.start("pull", "x", work).id)
    assert (job.status, job.speed) == ("failed", None)
    assert job.error == {"code": "no_room", "facts": {"missing": 5, "path": "/x"}}


async def test_a_bug_in_the_work_gets_an_incident_that_the_log_shows(
    house_jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(progress: Progress) -> Mapping[str, object]:
        raise ZeroDivisionError("nobody foresaw this")

    job = await house_jobs.wait(house_jobs.start("pull", "x", work).id)
    assert job.error is not None
    assert job.error["code"] == "bug"
    facts = job.error["facts"]
    assert isinstance(facts, dict)
    log = capsys.readouterr().err
    assert "nobody foresaw this" in log
    assert facts["incident"] in log


async def test_a_failed_job_may_be_started_again(house_jobs: Jobs) -> None:
    async def fail(progress: Progress) -> Mapping[str, object]:
        raise NoRoom(missing=5, path="/x")

    first = await house_jobs.wait(house_jobs.start("pull", "x", fail).id)
    second = await house_jobs.wait(house_jobs.start("pull", "x", _nothing).id)
    assert (first.status, second.status) == ("failed", "done")


async def test_closing_ends_everything_that_runs_and_frees_who_listens(house_jobs: Jobs) -> None:
    gates = [Gate() for _ in range(3)]
    started = [house_jobs.start("pull", str(n), gate.work) for n, gate in enumerate(gates)]
    listeners = [asyncio.create_task(house_jobs.wait(job.id)) for job in started]
    await gates[-1].running.wait()
    late = house_jobs.start("pull", "asked just before", Gate().work)
    await house_jobs.close()
    assert all(gate.ended.is_set() for gate in gates)
    assert all(job.over for job in await asyncio.gather(*listeners))
    assert house_jobs.get(late.id).over
    assert all(job.over for job in house_jobs.list())


async def test_old_jobs_are_forgotten_and_running_ones_never(house_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_JOBS", 3)
    gate = Gate()
    running = house_jobs.start("pull", "runs", gate.work)
    over = [await house_jobs.wait(house_jobs.start("pull", str(n), _nothing).id) for n in range(6)]
    ids = [job.id for job in house_jobs.list()]
    assert len(ids) == 3
    assert running.id in ids
    assert over[-1].id in ids
    with pytest.raises(JobNotFound):
        house_jobs.get(over[0].id)
    await house_jobs.close()


_Asks = Callable[[Jobs, str], Awaitable[object]]


async def _get(jobs: Jobs, job_id: str) -> object:
    return jobs.get(job_id)


async def _follow(jobs: Jobs, job_id: str) -> object:
    return [state async for state in jobs.follow(job_id)]


@pytest.mark.parametrize("ask", [_get, _follow, Jobs.cancel, Jobs.wait])
async def test_a_job_that_never_was_is_named_and_not_repeated_whole(house_jobs: Jobs, ask: _Asks) -> None:
    with pytest.raises(JobNotFound) as missing:
        await ask(house_jobs, "x" * 10_000)
    assert missing.value.facts == {"id": "x" * 40}
