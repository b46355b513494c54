"""Work that outlives its request and its process: joined, followed by number, steered, taken over, kept in order.

One contract, held by both back ends: the house's database, and a real Redis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domicile.db import Database
from domicile.errors import DomicileError, DownloadPaused, HubUnreachable, JobNotFound, NoRoom
from domicile.jobs import Jobs, Kind, Policy, Progress, holders, store
from domicile.jobs.redis_store import RedisStore
from domicile.jobs.sqlite_store import SqliteStore
from domicile.jobs.store import Store
from domicile.types import Job
from tests.conftest import RedisServer

pytestmark = pytest.mark.anyio
GONE = "another machine|1|1|gone"


def _describe(error: DomicileError) -> Mapping[str, object]:
    return {"code": error.code, "facts": error.facts}


class Gate:
    """Work that goes on when a test says so."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.progress: dict[str, Progress] = {}
        self.running = asyncio.Event()
        self.open = asyncio.Event()
        self.ended = asyncio.Event()
        self.opened: set[str] = set()
        self.raises: Exception | None = None

    async def work(self, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        name = str(arguments["name"])
        self.started.append(name)
        self.progress[name] = progress
        progress.step("download")
        self.running.set()
        try:
            while not (self.open.is_set() or name in self.opened):
                await asyncio.sleep(0.005)
        finally:
            self.ended.set()
        if self.raises is not None:
            raise self.raises
        return {"name": name}


class Rooms:
    """Several houses over the same jobs, as processes would have them."""

    def __init__(self, place: Callable[[], Awaitable[Store]]) -> None:
        self._place = place
        self._opened: list[Jobs] = []
        self.gate = Gate()

    async def store(self) -> Store:
        return await self._place()

    async def open(self, takes: Any = "asked", *, work: Any = None, **settings: Any) -> Jobs:
        kinds = {"pull": Kind(work or self.gate.work), "other": Kind(work or self.gate.work, download=False)}
        jobs = Jobs(await self._place(), kinds, _describe, takes=takes, **settings)
        self._opened.append(jobs)
        if takes == "all":
            jobs.open()
        return jobs

    async def close(self) -> None:
        for jobs in self._opened:
            await jobs.close()


@pytest.fixture(params=["sqlite", "redis"])
async def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rooms]:
    databases: list[Database] = []

    async def in_sqlite() -> Store:
        databases.append(Database(tmp_path / "domicile.db"))
        return SqliteStore(databases[-1])

    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        opened = Rooms(lambda: RedisStore.connect(server.url, f"test:{tmp_path.name}"))
    else:
        opened = Rooms(in_sqlite)
    yield opened
    await opened.close()
    for database in databases:
        database.close()


async def ask(jobs: Jobs, name: str = "org/repo", **wishes: Any) -> Job:
    return await jobs.start("pull", name, {"name": name}, **wishes)


async def until(jobs: Jobs, job_id: str, status: str) -> Job:
    """Follow a job to a status."""
    async with asyncio.timeout(15):
        async for _, job in jobs.follow(job_id, None):
            if job.status == status:
                return job
    raise AssertionError(await jobs.get(job_id))


async def test_a_job_ends_with_its_result(rooms: Rooms) -> None:
    jobs = await rooms.open()
    rooms.gate.open.set()
    job = await ask(jobs)
    assert (job.status, job.kind, job.model, job.step) == ("queued", "pull", "org/repo", "queued")
    done = await jobs.wait(job.id)
    assert (done.status, done.result, done.step) == ("done", {"name": "org/repo"}, None)
    assert done.started_at is not None
    assert done.completed_at is not None
    assert done.completed_at >= done.started_at


async def test_asking_twice_joins_the_job_that_runs(rooms: Rooms) -> None:
    jobs = await rooms.open()
    first = await ask(jobs)
    await rooms.gate.running.wait()
    assert (await ask(jobs, "ORG/repo")).id == first.id
    other = await ask(jobs, "org/other")
    assert other.id != first.id
    rooms.gate.open.set()
    await jobs.wait(first.id)
    await jobs.wait(other.id)
    assert rooms.gate.started == ["org/repo", "org/other"]
    assert (await ask(jobs)).id != first.id


async def test_another_process_joins_the_same_job_and_hears_its_end(rooms: Rooms) -> None:
    one, two = await rooms.open(), await rooms.open()
    first = await ask(one)
    await rooms.gate.running.wait()
    joined = await ask(two)
    assert joined.id == first.id
    hearing = asyncio.create_task(two.wait(joined.id))
    rooms.gate.open.set()
    assert (await hearing).result == {"name": "org/repo"}
    assert rooms.gate.started == ["org/repo"]


async def test_many_who_ask_at_once_get_one_job(rooms: Rooms) -> None:
    opened = [await rooms.open() for _ in range(5)]
    asked = await asyncio.gather(*(ask(jobs) for jobs in opened))
    assert len({job.id for job in asked}) == 1
    rooms.gate.open.set()
    await opened[-1].wait(asked[0].id)
    assert rooms.gate.started == ["org/repo"]


async def _left_running(rooms: Rooms, **fields: Any) -> Job:
    """A job whose process was killed: it is said to run, and nobody does."""
    jobs = await rooms.open("none")
    job = await ask(jobs)
    place = await rooms.store()

    def die(book: Any) -> None:
        record = book.get(job.id)
        book.put(replace(record, holder=GONE, beat=place.now() - 1 - holders.SILENT_S).now(status="running", **fields))

    await place.change(die)
    await place.close()
    return job


async def test_a_job_of_a_process_that_died_goes_on_in_the_next_house(rooms: Rooms) -> None:
    job = await _left_running(rooms, downloaded_bytes=7)
    rooms.gate.open.set()
    house = await rooms.open("all")
    done = await until(house, job.id, "done")
    assert done.result == {"name": "org/repo"}


async def test_a_command_that_joined_takes_over_when_the_holder_dies(rooms: Rooms) -> None:
    job = await _left_running(rooms)
    rooms.gate.open.set()
    two = await rooms.open()
    assert (await ask(two)).id == job.id
    assert (await until(two, job.id, "done")).id == job.id


async def test_a_command_does_not_take_up_what_it_was_not_asked_for(rooms: Rooms) -> None:
    job = await _left_running(rooms)
    two = await rooms.open()
    rooms.gate.open.set()
    other = await ask(two, "org/other")
    await two.wait(other.id)
    assert rooms.gate.started == ["org/other"]
    assert not (await two.get(job.id)).over


async def test_a_holder_that_lost_its_job_stops_and_writes_no_more(rooms: Rooms) -> None:
    one = await rooms.open()
    job = await ask(one)
    await rooms.gate.running.wait()
    place = await rooms.store()

    def take(book: Any) -> None:
        record = book.get(job.id)
        book.put(replace(record, holder=GONE, beat=place.now()))

    await place.change(take)
    async with asyncio.timeout(5):
        await rooms.gate.ended.wait()
    assert (await one.get(job.id)).status == "running"
    found = await place.find(job.id)
    assert found is not None
    assert found.holder == GONE
    await place.close()


def test_who_is_dead_is_known_by_its_process_and_by_its_silence() -> None:
    me = holders.name()
    now = time.time()
    assert not holders.is_dead(me, now, now)
    assert holders.is_dead(me, now - holders.SILENT_S - 1, now)
    place, _, born, word = me.split("|")
    assert holders.is_dead(f"{place}|{2**22 + 1}|{born}|{word}", now, now)
    assert holders.is_dead(f"{place}|1|{born}|{word}", now, now)  # the number lives, another process has it
    assert not holders.is_dead(f"elsewhere|{2**22 + 1}|{born}|{word}", now, now)


async def test_the_numbers_of_states_grow_and_none_is_told_twice(rooms: Rooms) -> None:
    async def work(arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        progress.step("resolve")
        progress.expect(100)
        progress.step("download")
        progress.resumed(40)
        progress.came(60)
        progress.settle()
        progress.settle()
        return {}

    jobs = await rooms.open(work=work)
    job = await ask(jobs)
    seen = [(number, state) async for number, state in jobs.follow(job.id)]
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    assert [state.step for _, state in seen if state.status == "running"][:3] == [None, "resolve", "download"]
    assert seen[-2][1].downloaded_bytes == 100
    assert (seen[-1][1].status, seen[-1][1].downloaded_bytes) == ("done", 100)


async def test_a_listener_who_was_cut_off_goes_on_after_the_last_number_it_saw_even_in_another_house(
    rooms: Rooms,
) -> None:
    jobs = await rooms.open()
    job = await ask(jobs)
    await rooms.gate.running.wait()
    number = 0
    async for n, state in jobs.follow(job.id):
        number = n
        if state.step == "download":
            break
    await jobs.close()
    rooms.gate.open.set()
    later = await rooms.open("all")
    await later.resume(job.id)
    rest = [(n, state.status) async for n, state in later.follow(job.id, after=number)]
    assert next(s for _, s in rest) == "paused"
    assert rest[-1][1] == "done"
    assert all(n > number for n, _ in rest)
    assert [n async for n, _ in later.follow(job.id, after=rest[-1][0])] == []


async def test_a_number_of_before_a_power_cut_tells_everything_again(rooms: Rooms) -> None:
    jobs = await rooms.open()
    rooms.gate.open.set()
    job = await ask(jobs)
    await jobs.wait(job.id)
    seen = [state.status async for _, state in jobs.follow(job.id, after=10**9)]
    assert seen[-1] == "done"


async def test_who_follows_from_now_hears_the_present_state_first(rooms: Rooms) -> None:
    jobs = await rooms.open()
    job = await ask(jobs)
    await rooms.gate.running.wait()
    rooms.gate.open.set()
    await jobs.wait(job.id)
    assert [state.status async for _, state in jobs.follow(job.id, None)] == ["done"]


async def test_a_new_state_reaches_every_listener_and_one_may_listen_to_all_jobs(rooms: Rooms) -> None:
    jobs = await rooms.open()
    heard: list[tuple[str, str]] = []

    async def hear_all() -> None:
        async for _, state in jobs.follow_all(0):
            heard.append((state.model, state.status))
            if len([1 for _, status in heard if status == "done"]) == 2:
                return

    listening = asyncio.create_task(hear_all())
    job, other = await ask(jobs), await ask(jobs, "org/other")
    waiting = [asyncio.create_task(jobs.wait(job.id)) for _ in range(3)]
    rooms.gate.open.set()
    assert [(await w).status for w in waiting] == ["done"] * 3
    await jobs.wait(other.id)
    async with asyncio.timeout(5):
        await listening
    assert {model for model, _ in heard} == {"org/repo", "org/other"}


async def test_a_download_that_says_every_chunk_does_not_flood_its_listeners(rooms: Rooms) -> None:
    async def work(arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        progress.expect(100_000)
        for _ in range(100_000):  # as a fast disk would
            progress.came(1)
        progress.settle()
        return {}

    jobs = await rooms.open(work=work)
    job = await ask(jobs)
    seen = [state async for _, state in jobs.follow(job.id)]
    assert len(seen) < 100
    assert seen[-1].downloaded_bytes == 100_000


async def test_what_was_here_already_counts_as_progress_and_not_as_speed() -> None:
    told: list[dict[str, object]] = []
    progress = Progress(lambda **fields: told.append(fields))
    progress.resumed(10**12)
    progress.came(1)
    assert told[0] == {"downloaded_bytes": 10**12}
    assert told[1] == {"downloaded_bytes": 10**12 + 1, "speed": None}


async def test_a_cancelled_job_says_so_and_its_work_has_ended(rooms: Rooms) -> None:
    jobs = await rooms.open()
    job = await ask(jobs)
    await rooms.gate.running.wait()
    cancelled = await jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert rooms.gate.ended.is_set()
    assert (await jobs.cancel(job.id)).status == "cancelled"
    assert (await jobs.pause(job.id)).status == "cancelled"
    assert (await jobs.resume(job.id)).status == "cancelled"


async def test_another_process_cancels_and_pauses_within_two_seconds(rooms: Rooms) -> None:
    one, two = await rooms.open(), await rooms.open()
    job = await ask(one)
    await rooms.gate.running.wait()
    asked = time.monotonic()
    assert (await two.pause(job.id)).status == "paused"
    assert time.monotonic() - asked < 2
    rooms.gate.running.clear()
    await one.resume(job.id)
    async with asyncio.timeout(5):
        await rooms.gate.running.wait()
    asked = time.monotonic()
    assert (await two.cancel(job.id)).status == "cancelled"
    assert time.monotonic() - asked < 2


async def test_a_job_cancelled_before_its_first_step_is_over(rooms: Rooms) -> None:
    jobs = await rooms.open()
    job = await ask(jobs)
    assert (await jobs.cancel(job.id)).status == "cancelled"
    assert (await jobs.wait(job.id)).over


async def test_a_paused_job_goes_on_where_it_was_when_it_is_asked_for_again(rooms: Rooms) -> None:
    jobs = await rooms.open()
    job = await ask(jobs)
    await rooms.gate.running.wait()
    paused = await jobs.pause(job.id)
    assert (paused.status, paused.speed, paused.completed_at) == ("paused", None, None)
    rooms.gate.open.set()
    assert (await ask(jobs)).id == job.id
    done = await jobs.wait(job.id)
    assert (done.status, done.started_at) == ("done", paused.started_at)
    assert rooms.gate.started == ["org/repo"] * 2


async def test_what_may_be_tried_again_later_is_paused_and_goes_on_by_itself(rooms: Rooms) -> None:
    jobs = await rooms.open("all")
    rooms.gate.raises = DownloadPaused(host="hub", retry_after_s=1.5)
    rooms.gate.open.set()
    job = await ask(jobs)
    paused = await until(jobs, job.id, "paused")
    assert paused.error == {"code": "download_paused", "facts": {"host": "hub", "retry_after_s": 1.5}}
    assert paused.resume_at is not None
    rooms.gate.raises = None
    done = await until(jobs, job.id, "done")
    assert (done.error, done.resume_at) == (None, None)


async def test_a_full_disk_midway_pauses_and_before_the_first_byte_refuses(rooms: Rooms) -> None:
    async def work(arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        if arguments["name"] == "midway":
            progress.resumed(5)
        raise NoRoom(missing=5, path="/x")

    jobs = await rooms.open(work=work)
    midway = await until(jobs, (await ask(jobs, "midway")).id, "paused")
    assert midway.error == {"code": "no_room", "facts": {"missing": 5, "path": "/x"}}
    assert midway.downloaded_bytes == 5
    assert (await jobs.wait((await ask(jobs, "before")).id)).status == "failed"


async def test_room_is_reserved_beside_what_other_jobs_still_need(rooms: Rooms) -> None:
    failures: dict[str, object] = {}

    async def work(arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        name = arguments["name"]
        try:
            await progress.reserve(arguments["size"], arguments["here"], place=Path("/store"))
        except NoRoom as refusal:
            failures[name] = refusal.facts
            raise
        return await rooms.gate.work(arguments, progress)

    jobs = await rooms.open(work=work, free=lambda: 1000, policy=Policy(most=0))

    async def get(name: str, size: int, here: int = 0) -> Job:
        return await jobs.start("pull", name, {"name": name, "size": size, "here": here})

    first = await get("first", 600)
    async with asyncio.timeout(5):
        await rooms.gate.running.wait()
    assert (await jobs.wait((await get("too large", 400)).id)).status == "failed"
    assert failures["too large"] == {"missing": 420 - (1000 - 630), "path": "/store"}
    small = await get("small", 300)
    resumed = await get("mostly here", 500, here=480)
    async with asyncio.timeout(5):
        while len(rooms.gate.started) < 3:
            await asyncio.sleep(0.01)
    assert (await jobs.get(small.id)).size_bytes == 300
    rooms.gate.open.set()
    for job in (first, small, resumed):
        assert (await jobs.wait(job.id)).status == "done"
    assert (await jobs.wait((await get("too large", 400)).id)).status == "done"


async def test_no_more_downloads_at_once_than_allowed_and_the_most_urgent_first(rooms: Rooms) -> None:
    jobs = await rooms.open(policy=Policy(most=1))
    first = await ask(jobs, "first")
    await rooms.gate.running.wait()
    low = await ask(jobs, "low", priority=-1)
    normal = await ask(jobs, "normal")
    high = await ask(jobs, "high")
    other = await jobs.start("other", "other", {"name": "not a download"})
    await jobs.priority(high.id, 5)
    async with asyncio.timeout(5):
        while len(rooms.gate.started) < 2:
            await asyncio.sleep(0.01)
    assert rooms.gate.started == ["first", "not a download"]
    rooms.gate.open.set()
    for job in (first, low, normal, high, other):
        await jobs.wait(job.id)
    assert rooms.gate.started[2:] == ["high", "normal", "low"]


async def test_downloads_keep_to_their_hours(rooms: Rooms) -> None:
    closed = time.strftime("%H:%M", time.localtime(time.time() + 7200))
    later = time.strftime("%H:%M", time.localtime(time.time() + 10800))
    night = f"{closed}-{later}"
    jobs = await rooms.open(policy=Policy(hours=night))
    waits = await ask(jobs, "waits")
    at_once = await ask(jobs, "at once", hours="always")
    rooms.gate.opened.add("at once")
    assert (await jobs.wait(at_once.id)).status == "done"
    assert ((await jobs.get(waits.id)).status, (await jobs.get(waits.id)).step) == ("queued", "scheduled")
    await jobs.hours(waits.id, "always")
    running = await until(jobs, waits.id, "running")
    assert running.hours == "always"
    await jobs.hours(waits.id, night)  # its hours end while it runs
    assert (await until(jobs, waits.id, "queued")).step == "scheduled"
    await jobs.hours(waits.id, "always")
    rooms.gate.open.set()
    assert (await jobs.wait(waits.id)).status == "done"


async def test_limits_reach_the_work_and_are_shared_between_processes(rooms: Rooms) -> None:
    policy = Policy(limit=1000)
    one, two = await rooms.open(policy=policy), await rooms.open(policy=policy)
    mine = await ask(one, "mine", limit=300)
    await rooms.gate.running.wait()
    progress = rooms.gate.progress["mine"]
    assert (progress.limits.job, progress.limits.house) == (300, 1000)
    heard: list[float | None] = []
    progress.heed(lambda limits: heard.append(limits.job))
    theirs = await ask(two, "theirs")
    await one.limit(mine.id, 200)
    async with asyncio.timeout(5):
        while progress.limits != (wanted := type(progress.limits)(200, 500)):
            await asyncio.sleep(0.02)
    assert heard == [300, *[300] * (len(heard) - 2), 200]
    assert wanted.job == 200
    rooms.gate.open.set()
    for jobs, job in ((one, mine), (two, theirs)):
        await jobs.wait(job.id)


async def test_a_failed_job_keeps_the_words_of_its_error_and_may_be_started_again(rooms: Rooms) -> None:
    jobs = await rooms.open()
    rooms.gate.raises = HubUnreachable(host="hub", problem="ConnectError")
    rooms.gate.open.set()
    first = await jobs.wait((await ask(jobs)).id)
    assert (first.status, first.speed) == ("failed", None)
    assert first.error == {"code": "hub_unreachable", "facts": {"host": "hub", "problem": "ConnectError"}}
    rooms.gate.raises = None
    assert (await jobs.wait((await ask(jobs)).id)).status == "done"


async def test_a_bug_in_the_work_gets_an_incident_that_the_log_shows(
    rooms: Rooms, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = await rooms.open()
    rooms.gate.raises = ZeroDivisionError("nobody foresaw this")
    rooms.gate.open.set()
    job = await jobs.wait((await ask(jobs)).id)
    assert job.error is not None
    assert job.error["code"] == "bug"
    facts = job.error["facts"]
    assert isinstance(facts, dict)
    log = capsys.readouterr().err
    assert "nobody foresaw this" in log
    assert facts["incident"] in log


async def test_who_asked_is_told_of_an_end_once(rooms: Rooms) -> None:
    told: list[str] = []

    async def tell(job: Job) -> None:
        told.append(f"{job.model} {job.status}")
        raise OSError("nobody listens")

    jobs = await rooms.open(tell=tell)
    rooms.gate.open.set()
    await jobs.wait((await ask(jobs)).id)
    cancelled = await ask(jobs, "org/other")
    await jobs.cancel(cancelled.id)
    await jobs.close()
    assert told[0] == "org/repo done"


async def test_an_open_house_that_closes_leaves_its_jobs_to_the_next(rooms: Rooms) -> None:
    house = await rooms.open("all")
    asked = [await ask(house, str(n)) for n in range(5)]
    listeners = [asyncio.create_task(house.wait(job.id)) for job in asked]
    await rooms.gate.running.wait()
    await house.close()
    assert [job.status for job in await asyncio.gather(*listeners)] == ["queued"] * 5
    rooms.gate.open.set()
    later = await rooms.open("all")
    for job in asked:
        assert (await until(later, job.id, "done")).result == {"name": job.model}


async def test_a_command_that_is_stopped_pauses_what_it_asked_for_and_who_joined_takes_it_up(rooms: Rooms) -> None:
    one, two, house = await rooms.open(), await rooms.open(), await rooms.open("all")
    await house.close()
    job = await ask(one)
    await rooms.gate.running.wait()
    await one.close()
    left = await two.get(job.id)
    assert (left.status, left.step) == ("paused", "left")
    rooms.gate.open.set()
    house = await rooms.open("all")
    other = await ask(house, "org/other")
    await house.wait(other.id)
    assert (await house.get(job.id)).status == "paused"  # nobody asked that the open house goes on with it
    assert (await ask(two)).id == job.id
    assert (await two.wait(job.id)).status == "done"


async def test_what_nobody_stays_for_is_left_to_the_open_house(rooms: Rooms) -> None:
    command = await rooms.open(policy=Policy())
    job = await ask(command, stay=False)
    await command.close()
    rooms.gate.open.set()
    house = await rooms.open("all")
    assert (await until(house, job.id, "done")).model == "org/repo"


async def test_a_worker_takes_the_next_job_and_says_when_there_is_none(rooms: Rooms) -> None:
    worker = await rooms.open("none")
    assert await worker.take_one() is None
    await ask(worker, "first")
    urgent = await ask(worker, "urgent", priority=1)
    rooms.gate.open.set()
    taken = await worker.take_one()
    assert taken is not None
    assert (taken.id, taken.status) == (urgent.id, "done")
    assert rooms.gate.started == ["urgent"]


async def test_old_jobs_are_forgotten_and_running_ones_never(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite_store", "redis_store"):
        monkeypatch.setattr(f"domicile.jobs.{module}.KEPT_JOBS", 3)
    assert store.KEPT_JOBS > 100
    jobs = await rooms.open()
    running = await ask(jobs, "runs")
    await rooms.gate.running.wait()
    rooms.gate.opened |= {str(n) for n in range(6)}
    over = [await jobs.wait((await ask(jobs, str(n))).id) for n in range(6)]
    ids = [job.id for job in await jobs.list()]
    assert ids == [running.id, *(job.id for job in over[-3:])]
    with pytest.raises(JobNotFound):
        await jobs.get(over[0].id)


async def test_what_is_here_already_is_a_job_that_is_done(rooms: Rooms) -> None:
    jobs = await rooms.open()
    job = await jobs.done("pull", "graine", {"name": "graine"}, 5)
    assert (await jobs.wait(job.id)).result == {"name": "graine"}
    assert (job.progress, job.status) == (1.0, "done")


_Asks = Callable[[Jobs, str], Awaitable[object]]


async def _follow(jobs: Jobs, job_id: str) -> object:
    return [state async for state in jobs.follow(job_id)]


@pytest.mark.parametrize(
    "question", [Jobs.get, _follow, Jobs.cancel, Jobs.pause, Jobs.resume, Jobs.wait, lambda j, i: j.limit(i, 1)]
)
async def test_a_job_that_never_was_is_named_and_not_repeated_whole(rooms: Rooms, question: _Asks) -> None:
    with pytest.raises(JobNotFound) as missing:
        await question(await rooms.open(), "x" * 10_000)
    assert missing.value.facts == {"id": "x" * 40}
