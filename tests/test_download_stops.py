"""Killed, stopped, out of room, wanted by many: what has come is kept, and the file is fetched once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from domicile.download import Patience, Wanted, fetch, needed, partials
from domicile.errors import NoRoom
from tests import nursery
from tests.fakes import faulty
from tests.fakes.hub import FakeHub

BLOCK = 2**17
CONTENT = random.Random(8).randbytes(96 * BLOCK + 99)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _accept(answer: httpx2.Response) -> None:
    answer.raise_for_status()


class Silent:
    def resumed(self, count: int) -> None: ...
    def came(self, count: int) -> None: ...


async def _fetch(wanted: Wanted) -> None:
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(20)) as client:
        haste = Patience(first_wait_s=0.01, longest_wait_s=0.05, grow_s=0.1)
        await fetch(client, wanted, Silent(), _accept, block=BLOCK, patience=haste)


def _in_a_process(wanted: Wanted) -> None:
    anyio.run(_fetch, wanted)


def _wanted(server: faulty.Faulty, folder: Path) -> Wanted:
    return Wanted(server.url, folder / "m.gguf", len(CONTENT), SHA256)


class Gate:
    """Answers come in pieces; after so many bytes in all, no more until the gate opens."""

    def __init__(self, after: int) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._left, self._lock = after, threading.Lock()

    def __call__(self, ask: faulty.Ask) -> bool:
        if ask.side != "cdn":
            return False
        ask.part(b"", Content__Length=str(ask.end - ask.start))
        for at in range(0, len(ask.body), 2**14):
            with self._lock:
                self._left -= 2**14
                if self._left <= 0:
                    self.reached.set()
            if self.reached.is_set():
                self.open.wait(60)
            ask.connection.sendall(ask.body[at : at + 2**14])
        return True


@pytest.fixture
def started() -> Iterator[list[multiprocessing.process.BaseProcess]]:
    """Processes that are ended with the test."""
    processes: list[multiprocessing.process.BaseProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.join()


def _start(wanted: Wanted, started: list[multiprocessing.process.BaseProcess]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_in_a_process, args=(wanted,), daemon=True)
    process.start()
    started.append(process)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("percent", [2, 30, 60, 90, 99.5])
def test_a_kill_costs_a_block_of_each_connection(
    tmp_path: Path, percent: float, started: list[multiprocessing.process.BaseProcess]
) -> None:
    gate = Gate(int(len(CONTENT) * percent / 100))
    with faulty.running(faulty.Faulty(CONTENT, gate)) as server:
        process = _start(_wanted(server, tmp_path), started)
        assert gate.reached.wait(30)
        connections = len({id(a.connection) for a in server.asked if a.side == "cdn"})
        # What the server has sent may still lie in the kernel: the client has a moment to read it.
        least = len(CONTENT) * percent / 100 - 4 * BLOCK * connections
        until = time.monotonic() + 10
        while sum(p.kept_bytes for p in partials(tmp_path)) < least and time.monotonic() < until:
            time.sleep(0.02)
        process.kill()
        process.join()
        gate.open.set()
    assert not (tmp_path / "m.gguf").exists()
    with faulty.running(faulty.Faulty(CONTENT)) as server:
        wanted = _wanted(server, tmp_path)
        anyio.run(_fetch, wanted)
        again = server.served_bytes - len(CONTENT) * (1 - percent / 100)
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["m.gguf"]
    assert again <= 4 * BLOCK * connections  # with blocks of 4 MiB these are the 16 MiB that are promised


@pytest.mark.slow
def test_who_waits_takes_over_from_a_holder_that_was_killed(
    tmp_path: Path, started: list[multiprocessing.process.BaseProcess]
) -> None:
    gate = Gate(len(CONTENT) // 2)
    with faulty.running(faulty.Faulty(CONTENT, gate)) as server:
        holder = _start(_wanted(server, tmp_path), started)
        assert gate.reached.wait(30)
        waiter = _start(_wanted(server, tmp_path), started)
        waiter.join(2)
        assert waiter.is_alive()
        holder.kill()
        began = time.monotonic()
        gate.open.set()
        waiter.join(20)
        assert time.monotonic() - began < 10
        assert waiter.exitcode == 0
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for half of the file."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={len(CONTENT) // 2}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_full_disk_keeps_what_has_come_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    with faulty.running(faulty.Faulty(CONTENT)) as server:
        wanted = _wanted(server, small_disk)
        with pytest.raises(NoRoom) as full:
            anyio.run(_fetch, wanted)
        assert not wanted.target.exists()
        (partial,) = partials(small_disk)
        assert partial.kept_bytes > len(CONTENT) // 4
        missing = full.value.facts["missing"]
        assert isinstance(missing, int)
        assert 0 < missing <= needed(wanted) <= len(CONTENT) * 3 // 4
        subprocess.run(["mount", "-o", f"remount,size={len(CONTENT) * 2}", str(small_disk)], check=True)
        before = server.served_bytes
        anyio.run(_fetch, wanted)
        assert wanted.target.read_bytes() == CONTENT
        assert server.served_bytes - before == len(CONTENT) - partial.kept_bytes


def _slowly(request: Request, after: int) -> Response | None:
    """The CDN's honest answer, which stops after so many bytes and stays silent."""
    if "/cdn/" not in request.url.path:
        return None
    first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
    start, end = int(first), int(last) + 1

    async def pieces() -> object:
        for at in range(start, end, 2**16):
            if at >= after:
                await anyio.sleep(60)
            yield CONTENT[at : min(at + 2**16, end)]

    told = {"Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}", "Content-Length": str(end - start)}
    return StreamingResponse(pieces(), 206, told)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT])
def test_a_pull_that_is_told_to_stop_leaves_within_five_seconds_and_can_be_gone_on_with(
    hub: FakeHub, tmp_path: Path, way: signal.Signals
) -> None:
    hub.add("org/repo", {"m-Q8_0.gguf": CONTENT})
    home = Path(os.environ["DOMICILE_HOME"])
    hub.refuse = lambda request: _slowly(request, 9 * 2**20)
    command = ("pull", "org/repo/m-Q8_0.gguf", "--json")
    process = nursery.start(*command, stderr=True)
    until = time.monotonic() + 30
    while sum(p.kept_bytes for p in partials(home)) < 8 * 2**20 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(way)
    began = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode != 0
    (partial,) = partials(home)
    assert not partial.target.exists()
    hub.refuse, hub.served_bytes = None, 0
    done = nursery.run(*command)
    assert json.loads(done.stdout)["status"] == "done"
    assert hub.served_bytes == len(CONTENT) - partial.kept_bytes
    assert list(home.rglob("m-Q8_0.gguf*")) == [partial.target]
    assert partial.target.read_bytes() == CONTENT
