"""What leaves goes through one door, which writes it down and can be shut; children cannot leave at all."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from domicile import egress as door
from domicile import ledger
from domicile.db import Database
from domicile.egress import Egress, about
from domicile.errors import DomicileError, Offline
from domicile.ledger import Exchange
from domicile.threaded import threaded
from tests import nursery
from tests.conftest import OpenHouse, Visiting
from tests.fakes.hub import FakeHub
from tests.fakes.target import FakeTarget, running
from tests.nursery import run

pytestmark = pytest.mark.anyio
PACKAGE = Path(door.__file__).parent


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "d.db")
    yield opened
    opened.close()


@pytest.fixture
def world() -> Iterator[FakeTarget]:
    with running(FakeTarget()) as target:
        yield target


async def test_every_byte_is_in_the_ledger_on_one_connection_or_several(database: Database, world: FakeTarget) -> None:
    outside = Egress(database)
    async with outside.client("hub") as client:
        with about("search", model="org/repo", job="j1"):
            await client.get(world.url + "/models?search=private+words")
        await client.post(world.url + "/chat/completions", json={"stream": True})
        async with client.stream("GET", world.url + "/models") as first:
            await client.get(world.url + "/models")  # another connection: the first is still in use
            await first.aread()
    await outside.aclose()
    rows = outside.ledger.exchanges()[::-1]
    assert [(r.purpose, r.model, r.job, r.status) for r in rows] == [
        ("search", "org/repo", "j1", 200), ("hub", None, None, 200), ("hub", None, None, 200), ("hub", None, None, 200),
    ]  # fmt: skip
    assert all((r.host, r.port, r.address) == ("127.0.0.1", world.port, "127.0.0.1") for r in rows)
    assert rows[0].request == "GET /v1/models"  # not what was searched for
    assert (sum(r.bytes_up for r in rows), sum(r.bytes_down for r in rows)) == (world.bytes_in, world.bytes_out)
    assert len({r.connection for r in rows}) == world.connections == 2
    assert all(r.ended_at is not None for r in rows)


async def test_threads_leave_by_the_same_door(database: Database, world: FakeTarget) -> None:
    outside = Egress(database)
    async with outside.client("hub") as client:
        with about("download", model="org/repo", job="j2"):
            twin = threaded(client, timeout=5)
        url = world.url + "/models"

        def three() -> list[int]:
            return [twin.get(url).status_code for _ in range(3)]

        results = await asyncio.gather(asyncio.to_thread(three), asyncio.to_thread(three))
        with door.offline():
            shut = threaded(client)
        with pytest.raises(Offline):
            await asyncio.to_thread(shut.get, url)
        world.fault = "breaks"
        with pytest.raises(httpx2.RemoteProtocolError):
            await asyncio.to_thread(twin.post, world.url + "/chat/completions", json={})
        twin.close()
        shut.close()
        await asyncio.sleep(0)  # what the threads told last
    rows = outside.ledger.exchanges()
    await outside.aclose()
    assert list(results) == [[200] * 3] * 2
    assert {(r.purpose, r.model, r.job) for r in rows} == {("download", "org/repo", "j2")}
    assert [r.error for r in rows] == ["RemoteProtocolError"] + [None] * 6
    assert (sum(r.bytes_up for r in rows), sum(r.bytes_down for r in rows)) == (world.bytes_in, world.bytes_out)
    assert len({r.connection for r in rows}) == world.connections
    assert {r.address for r in rows} == {"127.0.0.1"}


async def test_bytes_are_counted_below_tls(database: Database, tmp_path: Path) -> None:
    """What the network carries is more than what was said."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    pair = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", pair[0], "-out", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    target = FakeTarget()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    outside = Egress(database)
    try:
        with pytest.raises(httpx2.ConnectError):  # a certificate that nobody vouches for
            async with outside.client("hub") as client:
                await client.get(f"https://localhost:{port}/v1/models")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", pair[1])
            async with outside.client("hub") as client:
                assert (await client.get(f"https://localhost:{port}/v1/models")).status_code == 200
    finally:
        await outside.aclose()
        server.close()
    well, refused = outside.ledger.exchanges()
    assert (refused.status, refused.error) == (None, "ConnectError")
    assert refused.bytes_up > 100  # a handshake left nevertheless, and is written down
    assert well.bytes_up > target.bytes_in + 200
    assert well.bytes_down > target.bytes_out + 500


async def test_what_cannot_be_reached_is_written_down_too(database: Database) -> None:
    outside = Egress(database)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with outside.client("hub") as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"http://127.0.0.1:{closed.getsockname()[1]}/")
    (row,) = outside.ledger.exchanges()
    assert (row.error, row.connection, row.bytes_up) == ("ConnectError", None, 0)


async def test_a_kill_in_the_middle_leaves_the_exchange_in_the_ledger(
    database: Database, world: FakeTarget, tmp_path: Path
) -> None:
    world.fault = "silent"
    outside = Egress(database)
    async with outside.client("hub") as client:
        asking = asyncio.create_task(client.get(world.url + "/models"))
        while not world.heard:
            await asyncio.sleep(0.005)
        rows = Database(tmp_path / "d.db")  # as after a kill: another reader
        (row,) = rows.read("SELECT * FROM egress")
        rows.close()
        asking.cancel()
        await asyncio.wait([asking])
    assert (row["host"], row["ended_at"]) == ("127.0.0.1", None)


async def test_the_ledger_keeps_the_newest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT", 100)
    outside = Egress(database)
    for number in range(250):
        outside.ledger.begin(Exchange(time.time(), "h", 1, "hub", f"GET /{number}")).end()
    rows = outside.ledger.exchanges(limit=1000)
    assert 100 <= len(rows) <= 200
    assert rows[0].request == "GET /249"


async def test_what_cannot_be_written_down_does_not_leave(database: Database, world: FakeTarget) -> None:
    outside = Egress(database)
    with database.write() as w:
        w.execute("DROP TABLE egress")
    async with outside.client("hub") as client:
        with pytest.raises(Offline):
            await client.get(world.url)
    assert world.connections == 0


async def test_a_judge_sees_the_addresses_and_may_refuse(database: Database, world: FakeTarget) -> None:
    def never(host: str, addresses: object) -> None:
        raise DomicileError(host=host, addresses=addresses)

    outside = Egress(database)
    async with outside.client("target", judge=never) as client:
        with pytest.raises(DomicileError) as refused:
            await client.get(f"http://localhost:{world.port}/")
    assert refused.value.facts["host"] == "localhost"
    assert "127.0.0.1" in str(refused.value.facts["addresses"])
    assert world.connections == 0


async def test_a_proxy_of_the_environment_is_used_and_named(
    database: Database, world: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{world.port}")
    outside = Egress(database)
    async with outside.client("hub") as client:
        assert (await client.get("http://hub.invalid/v1/models")).status_code == 200
        monkeypatch.setenv("no_proxy", "hub.invalid")
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://hub.invalid/v1/models")
    row = outside.ledger.exchanges()[1]
    assert (row.host, row.via, row.address) == ("hub.invalid", "127.0.0.1", "127.0.0.1")
    assert world.heard[0].path == "http://hub.invalid/v1/models"


async def test_a_pull_is_told_by_the_ledger_as_the_hub_saw_it(visiting: Visiting, hub: FakeHub) -> None:
    hub.add("org/repo", {"a-Q8_0.gguf": b"GGUF" + b"x" * 5000})
    async with visiting() as visit:
        job = (await visit.http.post("/domicile/pull", json={"model": "org/repo"})).json()["id"]
        assert (await visit.house.jobs.wait(job)).status == "done"
        told = (await visit.http.get("/domicile/egress", params={"since": "1h"})).json()
        later = (await visit.http.get("/domicile/egress", params={"since": str(time.time() + 60)})).json()
        bad = await visit.http.get("/domicile/egress", params={"since": "soon"})
    rows = told["exchanges"][::-1]
    assert [r["request"].split()[1] for r in rows] == [s.path for s in hub.seen]
    assert {(r["purpose"], r["job"]) for r in rows} == {("describe", job), ("download", job)}
    assert rows[-1]["model"] == "org/repo"
    assert rows[-1]["bytes_down"] > 5000
    assert sum(t["exchanges"] for t in told["totals"]) == len(rows)
    assert later["exchanges"] == []
    assert bad.status_code == 400


async def test_offline_the_door_is_shut_before_a_name_is_looked_up(
    visiting: Visiting, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/repo", {"a-Q8_0.gguf": b"GGUF"})
    async with visiting() as visit:
        assert (await visit.http.get("/domicile/search", params={"text": "repo"})).status_code == 200
        seen = len(hub.seen)
        shut = {"X-Domicile-Offline": "1"}
        job = (await visit.http.post("/domicile/pull", json={"model": "org/repo"}, headers=shut)).json()["id"]
        failed = await visit.house.jobs.wait(job)
    async with visiting(offline=True) as visit:
        kept = await visit.http.get("/domicile/search", params={"text": "repo"})
        other = await visit.http.get("/domicile/search", params={"text": "other"})
    assert failed.error is not None
    assert failed.error["code"] == "offline"
    assert kept.status_code == 200  # from the cache
    assert other.json()["error"]["code"] == "hub_unreachable"
    assert len(hub.seen) == seen


@pytest.mark.slow
def test_offline_on_the_command_line(hub: FakeHub) -> None:
    hub.add("org/repo", {"a-Q8_0.gguf": b"GGUF"})

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return nursery.run(*words, env={**os.environ, **environment})

    refused = run("--offline", "pull", "org/repo")
    by_setting = run("pull", "org/repo", DOMICILE_OFFLINE="1")
    assert (refused.returncode, by_setting.returncode) == (5, 5)
    assert "--offline" in refused.stderr
    assert hub.seen == []
    assert run("--offline", "egress").stderr.splitlines()[0] == "Nothing has left this machine."
    assert run("pull", "org/repo").returncode in {0, 7, 9}
    told = run("egress", "--since", "1h")
    assert "127.0.0.1" in told.stdout
    assert "a download" in told.stdout


def test_shut_process_refuses_whatever_goes_around_the_door() -> None:
    program = (
        "import socket, domicile.egress as e\n"
        "e.shut_process()\n"
        "for act in (lambda: socket.create_connection(('192.0.2.1', 80), 1),"
        " lambda: socket.getaddrinfo('example.org', 80),"
        " lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))):\n"
        "    try: act(); print('left')\n"
        "    except Exception as x: print(type(x).__name__)\n"
        "with socket.create_server(('127.0.0.1', 0)) as s:\n"
        "    socket.create_connection(s.getsockname()).close(); print('here')\n"
    )
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert ended.stdout.split() == ["Offline", "Offline", "Offline", "here"], ended.stderr


# -- there is one way out --

WAYS_OUT = {
    "httpx2": {"AsyncClient", "Client", "AsyncHTTPTransport", "HTTPTransport", "get", "post", "put", "patch", "delete",
               "head", "options", "request", "stream"},
    "socket": {"socket", "create_connection", "fromfd"},
    "asyncio": {"open_connection"},
    "anyio": {"connect_tcp", "connect_tls", "create_udp_socket", "create_connected_udp_socket"},
}  # fmt: skip
METHODS = {"create_connection", "create_datagram_endpoint", "sock_connect", "urlopen", "urlretrieve"}
MODULES = {"http.client", "urllib3", "requests", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc", "websockets",
           "httpcore2", "httpx", "redis", "hf_xet", "paramiko", "huggingface_hub", "pycurl", "imaplib",
           "poplib"}  # fmt: skip
ALLOWED = {
    "egress.py: httpcore2": "the door",
    "egress.py: httpx2.AsyncClient": "made with the door's transport",
    "threaded.py: httpcore2": "the door, for threads",
    "threaded.py: httpx2.Client": "made with a transport of the door, or like a client that is not ours",
    "away.py: httpx2.AsyncClient": "made with a transport of the door",
    "download/ranges.py: httpcore2": "the names of its errors",
    "outside.py: httpx2.Client": "made with a twin of the door's transport",
    "download/xet_child.py: hf_xet": "a child whose bytes are entered by the transfer that started it",
    "jobs/redis_store.py: redis": "the person's own Redis, which a setting names",
    "jobs/rq_launcher.py: redis": "the same",
    "worker.py: redis": "the same",
    "wire.py: httpx2.AsyncClient": "asks our own house, in this process or where it is open",
    "door.py: create_connection": "to a child of ours, on loopback where there are no Unix sockets",
    "web/serve.py: socket.socket": "listens",
}


def _ways_out(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute):
            if isinstance(called.value, ast.Name) and called.attr in WAYS_OUT.get(called.value.id, ()):
                yield f"{called.value.id}.{called.attr}"
            elif called.attr in METHODS:
                yield called.attr
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            module, _, last = name.rpartition(".")
            if name.split(".")[0] in MODULES:
                yield name.split(".")[0]
            elif name in MODULES or last in WAYS_OUT.get(module, ()) or last == "urlopen":
                yield name


def _all_ways_out(package: Path) -> set[str]:
    return {f"{p.relative_to(package).as_posix()}: {way}" for p in package.rglob("*.py") for way in _ways_out(p)}


def test_there_is_no_other_way_out_in_the_source() -> None:
    """A client made elsewhere must take its transport from `Egress`, or say here why it need not."""
    assert _all_ways_out(PACKAGE) == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "import httpx2\nhttpx2.get('http://x')",
        "from httpx2 import AsyncClient",
        "import urllib.request\nurllib.request.urlopen('http://x')",
        "from urllib.request import urlopen",
        "import requests",
        "from http.client import HTTPConnection",
        "import socket\nsocket.create_connection(('x', 1))",
        "import asyncio\nasyncio.open_connection('x', 1)",
        "loop.create_connection(P, 'x', 1)",
    ],
)
def test_another_way_out_would_be_seen(tmp_path: Path, line: str) -> None:
    (tmp_path / "new.py").write_text(line, "utf-8")
    assert _all_ways_out(tmp_path)


# -- children --


def _in_child(how: str, program: str) -> str:
    started = f"import os, socket, sys\nfrom domicile import seal\nhow = {how}\n{program}"
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", started], capture_output=True, text=True)
    if "Operation not permitted" in ended.stderr:
        pytest.skip("this system lets nobody cut themselves off that way")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


TRY = """
def left(act):
    try: act()
    except OSError: return False
    return True
a = left(lambda: socket.create_connection(("127.0.0.1", {port}), 2))
b = left(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port})))
c = left(lambda: socket.getaddrinfo("localhost.invalid", 80))
folder = os.environ["FOLDER"]
with socket.socket(socket.AF_UNIX) as here:
    here.bind(folder + "/s"); here.listen()
    with socket.socket(socket.AF_UNIX) as there: there.connect(folder + "/s")
print(how, a, b, c)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's means are Linux's")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("seal.cut_off()", {"namespace", "filter"}),
        ("seal._namespace()", {"namespace"}),
        ("seal._filter()", {"filter"}),
        ("sys.addaudithook(seal._refuse) or 'refusal'", {"refusal"}),
    ],
)
def test_a_child_that_cut_itself_off_reaches_nobody(
    how: str, said: set[str], world: FakeTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    assert _in_child("'open'", TRY.format(port=world.port)).startswith("open True True")
    (tmp_path / "s").unlink()
    before = world.connections
    kind, *left = _in_child(how, TRY.format(port=world.port)).split()
    assert kind in said
    assert left == ["False", "False", "False"]
    assert world.connections == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_the_engine_itself_runs_without_a_network(visiting: Visiting, settings: object) -> None:
    from domicile.app import open_house
    from domicile.config import load

    async with open_house(load()) as house:
        checks = {c.key: c for c in await house.doctor()}
        (awake,) = house.runner.ps()
        ours, theirs = (Path(f"/proc/{pid}").joinpath("ns/net").readlink() for pid in ("self", awake.pid))
        devices = Path(f"/proc/{awake.pid}/net/dev").read_text("ascii").splitlines()[2:]
    sealed = checks["engine"].facts["sealed"]
    assert checks["engine"].well
    assert sealed in {"namespace", "filter"}
    if sealed == "namespace":
        assert ours != theirs
        assert [d.split(":")[0].strip() for d in devices] == ["lo"]


# -- the whole house, on a network where somebody counts --

HOUSE_ALONE = Path(__file__).parent / "fakes" / "alone.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
@pytest.mark.parametrize("offline", [False, True])
def test_in_a_network_of_its_own_the_kernel_counts_what_the_ledger_says(tmp_path: Path, offline: bool) -> None:
    """A namespace with a Hub, a target and nobody else: what its kernel carried is what the ledger holds."""
    may = (
        subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True)
        if shutil.which("unshare")
        else None
    )
    if may is None or may.returncode:
        pytest.skip("this system lets nobody make a network namespace")
    ended = subprocess.run(
        ["unshare", "--net", "--map-root-user", sys.executable, str(HOUSE_ALONE), str(tmp_path), str(int(offline))],
        capture_output=True, text=True, timeout=100, cwd=PACKAGE.parents[1],
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if offline:
        assert (found["connections"], found["packets"], found["ledger"]) == (0, 0, [])
        return
    purposes = {e["purpose"] for e in found["ledger"]}
    assert {"search", "describe", "header", "download", "answer", "test"} <= purposes
    assert len({e["connection"] for e in found["ledger"]} - {None}) == found["connections"] > 0
    assert sum(e["bytes_up"] for e in found["ledger"]) == found["bytes_up"]
    assert sum(e["bytes_down"] for e in found["ledger"]) == found["bytes_down"]


@pytest.mark.slow
def test_an_open_house_tells_the_same_to_every_terminal(
    open_house_process: Any, hub: FakeHub, world: FakeTarget
) -> None:
    house: OpenHouse = open_house_process()
    assert run("search", "qwen").returncode == 0
    shut = run("--offline", "search", "other")
    assert shut.returncode == 5
    assert len(hub.seen) == 1
    with httpx2.Client(base_url=house.url) as client:
        assert [e["purpose"] for e in client.get("/domicile/egress").json()["exchanges"]] == ["search"]
    words = [("target", "add", "nas", world.url, "--map", "graine=mistral"), ("target",), ("target", "consent", "nas")]
    added, listed, unconfirmed = (run(*w) for w in words)
    assert "Nothing has been sent there" in added.stdout
    assert "nas" in listed.stdout
    assert unconfirmed.returncode == 2
    assert world.connections == 0
    for more in (("consent", "nas", "--yes"), ("test", "nas")):
        assert run("target", *more).returncode == 0
    said = run("run", "--strategy", "away", "graine", "Hi")
    assert said.stdout == "from elsewhere \n"
    assert "nas answers, not this machine" in said.stderr
    assert run("target", "rm", "nas").returncode == 0
