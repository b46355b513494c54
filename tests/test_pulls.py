"""Downloads as people meet them: several terminals, a house that is killed, pauses, what was left, word at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile.app import open_house
from domicile.config import load
from domicile.jobs.notices import Notices, desktop_command, has_desktop, is_allowed
from domicile.types import Job
from tests import nursery
from tests.conftest import OpenHouse, RedisServer, Visiting
from tests.fakes.hub import FakeHub
from tests.fakes.slow import Halfway
from tests.test_cli import domicile

Opening = Callable[..., OpenHouse]
CONTENT = b"GGUF" + os.urandom(12 << 20)
NAME = "org/some-GGUF:Q8_0"


@pytest.fixture
def halfway(hub: FakeHub) -> Iterator[Halfway]:
    hub.add("org/some-GGUF", {"some-Q8_0.gguf": CONTENT})
    slow = Halfway(hub)
    yield slow
    slow.open.set()


def start(*words: str, **environment: str) -> nursery.Process:
    """Type a command, and do not wait."""
    return nursery.start(*words, stderr=True, env={**os.environ, **environment})


def jobs() -> list[dict[str, Any]]:
    """What `domicile jobs` lists, without the second it takes a process to start."""

    async def read() -> list[dict[str, Any]]:
        async with open_house(load()) as house:
            return [job.public() for job in await house.jobs.list()]

    return asyncio.run(read())


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def file_of(name: str = "some-Q8_0.gguf") -> Path:
    return Path(os.environ["DOMICILE_HOME"]) / "models" / "org" / "some-GGUF" / name


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_terminals_ask_for_one_file_and_it_is_fetched_once(hub: FakeHub, halfway: Halfway, count: int) -> None:
    asking = [start("pull", NAME, "--json") for _ in range(count)]
    assert halfway.reached.wait(20)
    assert len([j for j in jobs() if j["status"] == "running"]) == 1
    halfway.open.set()
    for process in asking:
        said, complaint = process.communicate(timeout=40)
        assert (process.returncode, complaint) == (0, "")
        assert json.loads(said)["result"]["name"] == NAME
    assert file_of().read_bytes() == CONTENT
    assert hub.served_bytes <= 1.01 * len(CONTENT)


@pytest.mark.slow
def test_when_the_terminal_that_downloads_is_killed_the_other_goes_on_from_there(
    hub: FakeHub, halfway: Halfway
) -> None:
    first = start("pull", NAME)
    assert halfway.reached.wait(20)
    second = start("pull", NAME, "--json")
    until(lambda: any(p.stat().st_size for p in file_of().parent.glob("*.partial")))
    first.kill()
    first.communicate(timeout=10)
    halfway.open.set()
    killed = time.monotonic()
    said, _ = second.communicate(timeout=40)
    assert second.returncode == 0
    assert json.loads(said)["status"] == "done"
    assert time.monotonic() - killed < 10
    assert file_of().read_bytes() == CONTENT


@pytest.mark.slow
def test_a_house_that_is_killed_goes_on_with_its_downloads_when_it_opens_again(
    halfway: Halfway, open_house_process: Opening
) -> None:
    house = open_house_process()
    job = httpx2.post(f"{house.url}/domicile/pull", json={"model": NAME}, timeout=20).json()
    assert halfway.reached.wait(20)
    house.process.kill()
    house.process.wait(10)
    halfway.open.set()
    again = open_house_process()
    url = f"{again.url}/domicile/jobs/{job['id']}"
    until(lambda: httpx2.get(url).json()["status"] == "done")
    assert file_of().read_bytes() == CONTENT
    names = [m["name"] for m in httpx2.get(f"{again.url}/domicile/models").json()["models"]]
    assert NAME in names
    seen = httpx2.get(f"{again.url}/api/models/download/status").json()
    assert seen == {
        "status": "completed",
        "model": NAME,
        "progress": 100.0,
        "started_at": seen["started_at"],
        "completed_at": seen["completed_at"],
        "error": None,
        "size_mb": round(len(CONTENT) / 1e6, 2),
        "downloaded_mb": round(len(CONTENT) / 1e6, 2),
    }


@pytest.mark.slow
def test_one_terminal_pauses_what_another_downloads_and_it_is_resumed(halfway: Halfway) -> None:
    first = start("pull", NAME)
    assert halfway.reached.wait(20)
    paused = domicile("jobs", "pause", NAME, "--json")
    assert json.loads(paused.stdout)["status"] == "paused"
    _, complaint = first.communicate(timeout=10)
    assert first.returncode == 1
    assert "is paused" in complaint
    halfway.open.set()
    assert "waiting" in domicile("jobs", "resume", NAME).stdout
    job = jobs()[-1]
    assert domicile("jobs", "limit", job["id"][:6], "5MB/s", "--json").returncode == 0
    assert domicile("jobs", "priority", job["id"], "high").returncode == 0
    shown = jobs()[-1]
    assert (shown["limit"], shown["priority"]) == (5_000_000, 1)
    done = domicile("pull", NAME, "--json")
    assert json.loads(done.stdout)["id"] == job["id"]
    assert file_of().read_bytes() == CONTENT


@pytest.mark.slow
def test_a_download_that_is_stopped_leaves_what_it_has_and_that_is_listed_and_removed(halfway: Halfway) -> None:
    first = start("pull", NAME)
    assert halfway.reached.wait(20)
    until(lambda: any(p.stat().st_size for p in file_of().parent.glob("*.partial")))
    busy = domicile("rm", "--partial", "org/some-GGUF/some-Q8_0.gguf")
    assert busy.returncode == 8
    assert "is being downloaded" in busy.stderr
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=10)
    assert first.returncode == 130
    job = jobs()[-1]
    assert (job["status"], job["step"]) == ("paused", "left")
    (left,) = json.loads(domicile("ls", "--partial", "--json").stdout)["partials"]
    assert left["name"] == "org/some-GGUF/some-Q8_0.gguf"
    assert left["kept_bytes"] > 0
    assert "org/some-GGUF/some-Q8_0.gguf" in domicile("list", "--partial").stdout
    gone = json.loads(domicile("rm", "--partial", left["name"], "--json").stdout)
    assert gone["freed_bytes"] >= left["kept_bytes"]
    assert list(file_of().parent.glob("*.partial*")) == []
    assert domicile("rm", "--partial", left["name"]).returncode == 3


@pytest.mark.slow
def test_what_nobody_waits_for_begins_when_the_house_opens(halfway: Halfway, open_house_process: Opening) -> None:
    halfway.open.set()
    asked = domicile("pull", NAME, "--detach", "--priority", "5")
    assert "domicile serve" in asked.stdout
    assert jobs()[-1]["status"] == "queued"
    open_house_process()
    until(lambda: jobs()[-1]["status"] == "done")
    assert file_of().read_bytes() == CONTENT


@pytest.mark.slow
def test_jobs_kept_in_redis_are_run_by_workers_and_survive_a_kill_of_one(
    halfway: Halfway, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMICILE_REDIS_URL", redis_server.url)
    worker = start("worker")
    try:
        pulling = start("pull", NAME, "--json")
        assert halfway.reached.wait(30)
        before = _children(worker.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        halfway.open.set()
        said, complaint = pulling.communicate(timeout=40)
        assert (pulling.returncode, complaint) == (0, "")
        assert json.loads(said)["result"]["name"] == NAME
        assert file_of().read_bytes() == CONTENT
        halfway.open.clear()
        halfway.reached.clear()
        file_of().unlink()
        other = start("pull", NAME, "--json")
        assert halfway.reached.wait(30)
        cancelled = domicile("jobs", "cancel", NAME, "--json")
        assert cancelled.returncode == 0, cancelled.stderr
        assert json.loads(cancelled.stdout)["status"] == "cancelled"
        assert json.loads(other.communicate(timeout=20)[0])["error"]
    finally:
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=20)
    assert worker.returncode == 0, log
    assert before
    until(lambda: not any(_alive(pid) for pid in before))


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def _alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid)


@pytest.mark.slow
def test_redis_that_is_not_there_is_named_without_its_password() -> None:
    told = domicile("jobs", DOMICILE_REDIS_URL="redis://user:secret@127.0.0.1:9/0")
    assert told.returncode == 8
    assert "127.0.0.1:9" in told.stderr
    assert "secret" not in told.stderr


# -- over HTTP, in this process --


@pytest.mark.anyio
async def test_the_api_steers_a_job_and_refuses_what_it_cannot_read(visiting: Visiting, halfway: Halfway) -> None:
    async with visiting() as visit:
        asked = {"model": NAME, "limit": "5MB/s", "hours": "always", "priority": "low"}
        job = (await visit.http.post("/domicile/pull", json=asked)).json()
        assert (job["limit"], job["hours"], job["priority"]) == (5_000_000, "always", -1)
        place = f"/domicile/jobs/{job['id']}"
        for verb, body, field, value in (
            ("limit", {"limit": 0}, "limit", None),
            ("limit", {"limit": "1 MiB/s"}, "limit", 2**20),
            ("priority", {"priority": 7}, "priority", 7),
            ("hours", {"hours": "always"}, "hours", "always"),
            ("pause", {}, "status", "paused"),
            ("resume", {}, "step", "queued"),
            ("cancel", {}, "status", "cancelled"),
        ):
            changed = await visit.http.post(f"{place}/{verb}", json=body)
            assert (changed.status_code, changed.json()[field]) == (200, value), verb
        unreadable: list[tuple[str, dict[str, Any]]] = [
            ("limit", {"limit": "fast"}),
            ("limit", {"limit": -1}),
            ("priority", {"priority": 1000}),
            ("priority", {"priority": True}),
            ("hours", {"hours": "25:00-26:00"}),
            ("hours", {"hours": "soon"}),
        ]
        for verb, body in unreadable:
            refused = await visit.http.post(f"{place}/{verb}", json=body)
            assert refused.status_code == 400, (verb, body)
        assert (await visit.http.get("/api/models/download/status?model=nobody/asked")).json()["status"] == "idle"
        assert (await visit.http.get("/api/models/download/status?id=none")).status_code == 404
        assert (await visit.http.get("/api/models/download/status")).json()["status"] == "cancelled"
        for name in ("org/none", "../x", "%2e%2e/%2e%2e/x"):
            assert (await visit.http.delete(f"/domicile/partials/{name}")).status_code == 404


@pytest.mark.anyio
async def test_a_disk_without_room_is_refused_before_the_first_byte(
    visiting: Visiting, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/some-GGUF", {"some-Q8_0.gguf": CONTENT})
    monkeypatch.setattr("domicile.app.rooms.free_bytes", lambda _: len(CONTENT))
    async with visiting() as visit:
        job = await visit.house.pull(NAME)
        failed = await visit.house.jobs.wait(job.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["code"] == "no_room"
    facts = failed.error["facts"]
    assert isinstance(facts, dict)
    assert facts["missing"] == int(len(CONTENT) * 1.05) - len(CONTENT)
    assert hub.served_bytes == 0


# -- word at the end --


class _Listener(BaseHTTPRequestHandler):
    heard: list[Any]
    answers: list[int]

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.heard.append((self.headers["Host"], json.loads(self.rfile.read(length))))
        self.send_response(self.answers.pop(0))
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Listener]]:
    kind = type("_One", (_Listener,), {"heard": [], "answers": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("DOMICILE_WEBHOOK", f"http://localhost:{server.server_port}/told?key=1")
    monkeypatch.setattr("domicile.jobs.notices._PAUSE_S", 0.01)
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.anyio
async def test_a_webhook_is_told_how_a_download_ended(
    visiting: Visiting, hub: FakeHub, listener: type[_Listener]
) -> None:
    hub.add("org/some-GGUF", {"some-Q8_0.gguf": b"GGUF small"})
    listener.answers += [503, 302, 200]
    async with visiting() as visit:
        job = await visit.house.pull(NAME)
        await visit.house.jobs.wait(job.id)
    assert len(listener.heard) == 3
    host, said = listener.heard[-1]
    assert host.startswith("localhost:")
    assert (said["event"], said["job"]["model"], said["job"]["status"]) == ("job.done", NAME, "done")


@pytest.mark.anyio
async def test_a_webhook_that_does_not_listen_is_tried_three_times_and_named(
    listener: type[_Listener], capsys: pytest.CaptureFixture[str], visiting: Visiting
) -> None:
    listener.answers += [500] * 5
    async with visiting() as visit:
        await Notices(load(), lambda: "en", visit.house.egress).tell(Job("1", "pull", "m", "done"))
        rows = visit.house.egress.ledger.exchanges()
    assert [(r.purpose, r.host, r.job, r.status) for r in rows] == [("webhook", "localhost", "1", 500)] * 3
    assert len(listener.heard) == 3
    assert "localhost could not be told (HTTP 500)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("192.168.1.5", True),
        ("93.184.216.34", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
    ],
)
def test_a_webhook_never_reaches_where_clouds_keep_their_secrets(address: str, allowed: bool) -> None:
    assert is_allowed(address) is allowed


def test_a_desktop_is_told_where_somebody_looks_at_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_desktop({})
    assert has_desktop({"DISPLAY": ":0"}) is (sys.platform != "win32" or True)
    assert not has_desktop({"DISPLAY": ":0", "SSH_CONNECTION": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert desktop_command() is None
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    command = desktop_command()
    assert command is not None
    assert command("-x; rm")[-3:] == ["--", "Domicile", "-x; rm"]


@pytest.mark.anyio
async def test_a_notice_is_shown_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visiting: Visiting
) -> None:
    program = tmp_path / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$4" > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for setting, shown in (("off", False), ("auto", False), ("on", True)):
        monkeypatch.setenv("DOMICILE_NOTICES", setting)
        async with visiting() as visit:
            notices = Notices(load(), lambda: "fr", visit.house.egress)
            await notices.tell(Job("1", "pull", "org/x", "done", started_at=1, completed_at=2))
        assert (tmp_path / "shown").exists() is shown
    assert (tmp_path / "shown").read_text("utf-8").strip() == "org/x habite maintenant ici."
