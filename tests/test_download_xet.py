"""Xet where it is the faster way: the real library, on a store in a folder, against the same checks as ever."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from domicile.db import Database
from domicile.download import Patience, Wanted, fetch, xet
from domicile.egress import Egress, about, offline
from domicile.errors import Offline
from tests.fakes import faulty as f

hf_xet = pytest.importorskip("hf_xet")
pytestmark = [pytest.mark.slow, pytest.mark.anyio]

BLOCK = 2**18
CONTENT = random.Random(9).randbytes(64 * BLOCK + 7)


@dataclass
class Store:
    endpoint: str
    hash: str


_PUT = """
import sys, hf_xet
commit = hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1])
upload = commit.start_upload_file(sys.argv[2])
commit.wait_to_finish()
print(upload.result().xet_info.hash)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The file in a store of Xet's own making, put there by a process of its own: one at a time may have it open."""
    folder = tmp_path_factory.mktemp("cas")
    (folder / "file").write_bytes(CONTENT)
    endpoint = f"local://{folder}"
    told = subprocess.run(
        [sys.executable, "-c", _PUT, endpoint, str(folder / "file")],
        env={**os.environ, "HF_HOME": str(folder / "hf")},
        capture_output=True,
        text=True,
        check=True,
    )
    return Store(endpoint, told.stdout.strip())


@pytest.fixture(autouse=True)
def _a_store_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xet, "check_store", lambda origin, endpoint: None)


def offering(store: Store, cdn: f.Fault) -> f.Fault:
    def fault(ask: f.Ask) -> bool:
        if "xet-read-token" in ask.path:
            assert ask.headers["authorization"] == "Bearer hf_secret"
            token = {"X-Xet-Access-Token": "t", "X-Xet-Token-Expiration": "9999999999"}
            return ask.answer(200, {"X-Xet-Cas-Url": store.endpoint, **token})
        if ask.side == "hub":
            link = '</api/models/org/repo/xet-read-token/main>; rel="xet-auth"'
            return ask.answer(302, {"Location": ask.faulty.cdn(), "X-Xet-Hash": store.hash, "Link": link})
        return cdn(ask)

    return fault


def slow(ask: f.Ask) -> bool:
    """About 200 kB/s a connection."""
    ask.part(b"", Content__Length=str(ask.end - ask.start))
    for at in range(0, len(ask.body), 8192):
        ask.connection.sendall(ask.body[at : at + 8192])
        with ask.faulty.lock:
            ask.faulty.served_bytes += 8192
        time.sleep(0.04)
    return True


class Told:
    def __init__(self) -> None:
        self.total = 0
        self.noted: list[str] = []

    def resumed(self, count: int) -> None:
        self.total += count

    def came(self, count: int) -> None:
        self.total += count


async def _fetch(server: f.Faulty, target: Path, told: Told) -> None:
    patience = Patience(xet_least_bytes=0, xet_trial_s=0.3, xet_start_s=20, first_wait_s=0.01)
    headers = {"Authorization": "Bearer hf_secret"}
    wanted = Wanted(server.url, target, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), headers=headers)
    async with httpx2.AsyncClient() as client:
        await fetch(client, wanted, told, _accept, patience=patience, block=BLOCK, noted=told.noted.append)


def _accept(answer: httpx2.Response) -> None:
    answer.raise_for_status()


def _children() -> list[psutil.Process]:
    """Those that read from the store: other tests may keep a server of theirs."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("xet_child" in part for part in child.cmdline()):
                found.append(child)
    return found


async def test_the_faster_way_goes_on_alone(store: Store, tmp_path: Path) -> None:
    with f.running(f.Faulty(CONTENT, offering(store, slow))) as server:
        told = Told()
        await _fetch(server, tmp_path / "m.gguf", told)
        assert (tmp_path / "m.gguf").read_bytes() == CONTENT
        assert told.total == len(CONTENT)
        assert 0 < server.served_bytes < len(CONTENT) / 2
        assert server.tokens_at_cdn == []
    assert not _children()


async def test_a_store_with_another_file_is_noticed(store: Store, tmp_path: Path) -> None:
    """What the store gives under the hash is checked like anything else; the second try goes by ranges alone."""
    told = Told()
    fault = offering(store, lambda ask: not told.noted.count("again") and slow(ask))
    with f.running(f.Faulty(CONTENT[::-1], fault)) as server:
        wanted = hashlib.sha256(server.content).hexdigest()
        async with httpx2.AsyncClient() as client:
            patience = Patience(xet_least_bytes=0, xet_trial_s=0.3, xet_start_s=20, first_wait_s=0.01)
            one = Wanted(
                server.url, tmp_path / "m.gguf", len(CONTENT), wanted, headers={"Authorization": "Bearer hf_secret"}
            )
            await fetch(client, one, told, _accept, patience=patience, block=BLOCK, noted=told.noted.append)
        assert (tmp_path / "m.gguf").read_bytes() == server.content
        assert "again" in told.noted


async def test_a_store_that_lacks_the_file_costs_nothing(store: Store, tmp_path: Path) -> None:
    with f.running(f.Faulty(CONTENT, offering(Store(store.endpoint, "ab" * 32), f.honest))) as server:
        await _fetch(server, tmp_path / "m.gguf", Told())
        assert (tmp_path / "m.gguf").read_bytes() == CONTENT


async def test_a_stop_ends_the_child_too(store: Store, tmp_path: Path) -> None:
    with f.running(f.Faulty(CONTENT, offering(store, slow))) as server:
        task = asyncio.create_task(_fetch(server, tmp_path / "m.gguf", Told()))
        while not _children() and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2
        while _children():
            await asyncio.sleep(0.01)


def test_a_token_is_asked_of_the_hub_alone() -> None:
    from domicile.download.hops import Place

    def offer(link: str, found: str = "ab" * 32) -> xet.Offer | None:
        said = {"x-xet-hash": found, "link:xet-auth": link}
        return xet.offer_of(Place(httpx2.URL("https://cdn.example/x"), {}, said, False), "https://huggingface.co/o/r")

    assert offer("https://huggingface.co/api/models/o/r/xet-read-token/main") is not None
    assert offer("/api/models/o/r/xet-read-token/main") is not None
    assert offer("https://evil.example/token") is None
    assert offer("/token", "../../etc") is None


async def test_what_the_child_fetched_is_in_the_ledger_and_offline_nothing_is(store: Store, tmp_path: Path) -> None:
    database = Database(tmp_path / "d.db")
    egress = Egress(database)
    patience = Patience(xet_least_bytes=0, xet_trial_s=0.3, xet_start_s=20, first_wait_s=0.01)
    digest, headers = hashlib.sha256(CONTENT).hexdigest(), {"Authorization": "Bearer hf_secret"}
    with f.running(f.Faulty(CONTENT, offering(store, slow))) as server:
        wanted = Wanted(server.url, tmp_path / "m.gguf", len(CONTENT), digest, headers=headers)
        async with egress.client("hub") as client:
            with about("download", model="org/repo"):
                await fetch(client, wanted, Told(), _accept, patience=patience, block=BLOCK)
            away = Wanted(server.url, tmp_path / "n.gguf", len(CONTENT), digest, headers=headers)
            with offline(), pytest.raises(Offline):
                await fetch(client, away, Told(), _accept, patience=patience, block=BLOCK)
    await asyncio.sleep(0.1)
    rows = egress.ledger.exchanges()
    await egress.aclose()
    database.close()
    (child,) = (r for r in rows if r.request.startswith("XET "))
    assert (child.purpose, child.model) == ("download", "org/repo")
    assert child.bytes_down > BLOCK
    assert sum(r.bytes_down for r in rows) >= len(CONTENT)
