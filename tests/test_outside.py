"""Addresses from outside: which may be asked, whatever notation hides where they lead."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import anyio.to_thread
import httpx2
import pytest

from domicile.db import Database
from domicile.egress import Egress, Way, offline
from domicile.errors import BadField, Offline, PlaceRefused
from domicile.outside import Guarded, GuardedClient, Places, is_public
from tests.conftest import Visiting


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:db8::1", "::ffff:169.254.169.254",
    ],
)  # fmt: skip
def test_an_address_that_is_not_on_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_on_the_internet_is(address: str) -> None:
    assert is_public(address)


async def _ask(url: str, resolve: object = None, allowed: tuple[str, ...] = ()) -> httpx2.Response:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Database(Path(folder) / "d.db")) as database:
        egress = Egress(database)
        guard = Guarded(egress, lambda: allowed, resolve) if resolve else Guarded(egress, lambda: allowed)  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=guard, timeout=2) as client:
            return await client.get(url)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://localhost/", "https://localhost./", "https://LOCALHOST/", "https://2130706433/",
        "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://0/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::]/", "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/", "https://192.168.0.1:8443/", "http://1.1.1.1/",
        "https://[fe80::1]/", "https://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_asked(url: str) -> None:
    # (Some spellings are no address to this system's resolver or to the client: those are asked by nobody either.)
    with pytest.raises((PlaceRefused, httpx2.ConnectError, httpx2.InvalidURL)):
        await _ask(url)


@pytest.mark.anyio
async def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(PlaceRefused) as refused:
        await _ask("https://rebinding.example/", lambda host, port: ["1.1.1.1", "127.0.0.1"])
    assert refused.value.facts["address"] == "127.0.0.1"


@pytest.mark.anyio
async def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, object]] = []

    async def answer(_: object, request: httpx2.Request) -> httpx2.Response:
        asked.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return httpx2.Response(200)

    monkeypatch.setattr(Way, "handle_async_request", answer)
    turns = iter([["1.1.1.1"], ["127.0.0.1"]])
    assert (await _ask("https://turning.example/x", lambda host, port: next(turns))).status_code == 200
    assert asked == [("1.1.1.1", "turning.example", "turning.example")]


@pytest.mark.anyio
async def test_a_download_in_threads_is_guarded_alike(tmp_path: Path) -> None:
    database = Database(tmp_path / "d.db")
    egress = Egress(database)

    def ask(threads: httpx2.Client) -> None:
        for url in ("https://127.0.0.1/", "https://localhost/", "http://1.1.1.1/", "https://[::1]:9/"):
            with pytest.raises(PlaceRefused):
                threads.get(url)
        with pytest.raises(httpx2.ConnectError):  # allowed, and nobody there
            threads.get("http://127.0.0.1:9/")

    async with GuardedClient(egress, lambda: ["127.0.0.1:9"], httpx2.Timeout(2)) as client:
        with client.for_threads() as threads:
            await anyio.to_thread.run_sync(ask, threads)
        with offline(), client.for_threads() as threads:
            with pytest.raises(Offline):  # before the name is looked up, and before the place is judged
                threads.get("https://nowhere.invalid/")
            with pytest.raises(Offline):
                await client.get("https://nowhere.invalid/")
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://127.0.0.1:9/who")
    rows = egress.ledger.exchanges()
    assert [(r.host, r.port, r.purpose, r.error) for r in rows] == [("127.0.0.1", 9, "url", "ConnectError")] * 2
    await egress.aclose()
    database.close()


@pytest.mark.anyio
async def test_places_are_read_as_people_write_them_and_kept(visiting: Visiting) -> None:
    async with visiting() as visit:
        places = Places(visit.house.database)
        for said, meant in (
            ("nas.local:8080", "nas.local:8080"),
            ("http://NAS.local/models/x.gguf", "nas.local:80"),
            ("https://nas.local", "nas.local:443"),
            ("[fe80::1]:8080", "[fe80::1]:8080"),
        ):
            assert places.add(said) == meant
        assert len(places.list()) == 4
        for wrong in ("", "a b:80", "x:0", "x:99999", "user@x:80", "x:80:90", "/x"):
            with pytest.raises(BadField):
                places.add(wrong)
        places.remove("nas.local:8080")
        with pytest.raises(BadField):
            places.remove("nas.local:8080")
