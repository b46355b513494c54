"""A name under the models' folder is a whole, verified file, whatever the way it came."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import socket
import threading
import time
from pathlib import Path

import anyio
import httpx2
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile.download import Limiter, Patience, Wanted, check_room, fetch, forget, needed, partials
from domicile.download.hops import check
from domicile.download.journal import Journal, Kept, journal_of
from domicile.download.spans import Spans
from domicile.errors import CorruptDownload, NoRoom, RedirectRefused, StillBusy
from tests.fakes import faulty
from tests.fakes.hub import FakeHub, git_sha1

CONTENT = bytes(range(256)) * 4096 * 3
BLOCK = 2**16


class Told:
    """What a download said."""

    def __init__(self) -> None:
        self.total = 0
        self.noted: list[str] = []

    def resumed(self, count: int) -> None:
        self.total += count

    def came(self, count: int) -> None:
        self.total += count


def _accept(answer: httpx2.Response) -> None:
    answer.raise_for_status()


def _wanted(hub: FakeHub, target: Path, content: bytes = CONTENT) -> Wanted:
    hub.add("org/repo", {"m.gguf": content})
    return Wanted(f"{hub.url}/cdn/org/repo/m.gguf", target, len(content), hashlib.sha256(content).hexdigest())


async def _fetch(wanted: Wanted, told: Told | None = None, limits: Limiter | None = None) -> Told:
    told = told or Told()
    async with httpx2.AsyncClient() as client:
        haste = Patience(first_wait_s=0.01, longest_wait_s=0.05)
        await fetch(client, wanted, told, _accept, block=BLOCK, patience=haste, limits=limits, noted=told.noted.append)
    return told


@pytest.mark.anyio
async def test_a_file_arrives_whole_and_leaves_nothing_beside_it(hub: FakeHub, tmp_path: Path) -> None:
    told = await _fetch(_wanted(hub, tmp_path / "a" / "m.gguf"))
    assert (tmp_path / "a" / "m.gguf").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["m.gguf"]
    assert told.total == len(CONTENT)


def _keep(wanted: Wanted, content: bytes, blocks: int, spoil: int | None = None) -> None:
    """What a killed download leaves: the first blocks, each in the journal, one of them damaged since."""
    held = bytearray(content[: blocks * BLOCK])
    journal, digest = Journal(wanted, BLOCK), hashlib.sha256()
    journal.begin('cdn "etag"')
    for index in range(blocks):
        digest.update(content[index * BLOCK : (index + 1) * BLOCK])
        journal.keep(index, Kept("upto", digest.hexdigest()))
    journal.close()
    if spoil is not None:
        held[spoil * BLOCK + 5] ^= 1
    wanted.partial.write_bytes(held)


@pytest.mark.anyio
@pytest.mark.parametrize("blocks", [1, 7, 24, 47, 48])
async def test_a_download_goes_on_where_it_was(hub: FakeHub, tmp_path: Path, blocks: int) -> None:
    wanted = _wanted(hub, tmp_path / "m.gguf")
    _keep(wanted, CONTENT, blocks)
    assert needed(wanted) == len(CONTENT) - blocks * BLOCK
    told = await _fetch(wanted)
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert hub.served_bytes == len(CONTENT) - blocks * BLOCK
    assert told.total == len(CONTENT)


@pytest.mark.anyio
@pytest.mark.parametrize(("blocks", "spoilt"), [(48, 0), (48, 17), (48, 47), (20, 3)])
async def test_a_bit_that_flipped_on_the_disk_costs_one_block(
    hub: FakeHub, tmp_path: Path, blocks: int, spoilt: int
) -> None:
    wanted = _wanted(hub, tmp_path / "m.gguf")
    _keep(wanted, CONTENT, blocks, spoilt)
    told = await _fetch(wanted)
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert hub.served_bytes == len(CONTENT) - (blocks - 1) * BLOCK
    assert told.total == len(CONTENT)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "torn", [b"", b"{", b"not json\n" * 9, b'{"v":', b"\0" * 500, b'[0,"own"]\n[-4]\n[99,"own","x"]\n']
)
@pytest.mark.parametrize("wrong", [b"not the file" * 1000, CONTENT + b"more", b""])
async def test_what_is_beside_a_file_and_is_not_ours_costs_nothing_but_a_start(
    hub: FakeHub, tmp_path: Path, wrong: bytes, torn: bytes
) -> None:
    wanted = _wanted(hub, tmp_path / "m.gguf")
    wanted.partial.write_bytes(wrong)
    journal_of(wanted).write_bytes(torn)
    await _fetch(wanted)
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["m.gguf"]
    assert hub.served_bytes == len(CONTENT)


@pytest.mark.anyio
async def test_a_journal_with_a_torn_last_line_keeps_the_others(hub: FakeHub, tmp_path: Path) -> None:
    wanted = _wanted(hub, tmp_path / "m.gguf")
    _keep(wanted, CONTENT, 10)
    journal = journal_of(wanted)
    journal.write_bytes(journal.read_bytes()[:-20])
    await _fetch(wanted)
    assert hub.served_bytes == len(CONTENT) - 9 * BLOCK


@pytest.mark.anyio
async def test_partials_are_listed_and_forgotten(hub: FakeHub, tmp_path: Path) -> None:
    wanted = _wanted(hub, tmp_path / "store" / "m.gguf")
    wanted.target.parent.mkdir()
    _keep(wanted, CONTENT, 10)
    (partial,) = partials(tmp_path)
    assert (partial.target, partial.size_bytes, partial.kept_bytes) == (wanted.target, len(CONTENT), 10 * BLOCK)
    assert partial.host == hub.url.removeprefix("http://")
    with FileLock(wanted.partial.with_name("m.gguf.partial.lock")), pytest.raises(StillBusy):
        forget(partial)
    assert forget(partial) >= 10 * BLOCK
    assert partials(tmp_path) == []
    assert list(wanted.target.parent.iterdir()) == []
    assert forget(partial) == 0


@pytest.mark.anyio
async def test_one_bit_flipped_once_costs_one_retry(hub: FakeHub, tmp_path: Path) -> None:
    flips = iter([True])

    def damage(_: str, content: bytes) -> bytes:
        return bytes([content[0] ^ 1]) + content[1:] if next(flips, False) else content

    hub.damage = damage
    await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_file_that_is_always_wrong_is_refused_with_both_digests_and_nothing_is_kept(
    hub: FakeHub, tmp_path: Path
) -> None:
    hub.damage = lambda _, content: content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(CorruptDownload) as refused:
        await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert refused.value.facts["expected"] == hashlib.sha256(CONTENT).hexdigest()
    assert refused.value.facts["got"] != refused.value.facts["expected"]
    assert list(tmp_path.glob("m.gguf*")) == []


@pytest.mark.anyio
async def test_a_file_with_the_right_name_and_the_wrong_bytes_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT[::-1])
    await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


@pytest.mark.anyio
async def test_a_file_that_is_here_already_is_not_fetched(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert hub.served_bytes == 0


@pytest.mark.anyio
async def test_a_small_file_is_held_against_its_git_id(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", {"config.json": b"{}"})
    right = Wanted(f"{hub.url}/org/repo/resolve/main/config.json", tmp_path / "c", 2, git_sha1=git_sha1(b"{}"))
    await _fetch(right)
    wrong = Wanted(f"{hub.url}/org/repo/resolve/main/config.json", tmp_path / "d", 2, git_sha1=git_sha1(b"[]"))
    with pytest.raises(CorruptDownload):
        await _fetch(wrong)
    assert not (tmp_path / "d").exists()


@pytest.mark.anyio
async def test_a_version_of_the_same_address_is_gone_on_with_only_under_its_etag(tmp_path: Path) -> None:
    for etag, expected in (('"one"', len(CONTENT) - 10 * BLOCK), ('"two"', len(CONTENT))):
        with faulty.running(faulty.Faulty(CONTENT, etag=etag)) as server:
            wanted = Wanted(server.cdn(), tmp_path / etag.strip('"') / "m.gguf", len(CONTENT))
            wanted.target.parent.mkdir()
            _keep(wanted, CONTENT, 10)
            journal = journal_of(wanted)
            journal.write_text(journal.read_text().replace('cdn \\"etag\\"', 'localhost \\"one\\"'))
            told = await _fetch(wanted)
            assert wanted.target.read_bytes() == CONTENT
            assert (server.served_bytes == expected) if etag == '"one"' else (server.served_bytes >= expected)
            assert told.noted == ([] if etag == '"one"' else ["changed"])


@pytest.mark.anyio
async def test_a_stop_leaves_within_two_seconds_whatever_the_server_does(tmp_path: Path) -> None:
    for fault in (faulty.always(faulty.late), faulty.always(faulty.stalled), faulty.always(faulty.late, "hub")):
        with faulty.running(faulty.Faulty(CONTENT, fault)) as server:
            wanted = Wanted(server.url, tmp_path / "m.gguf", len(CONTENT), server.sha256)
            task = asyncio.create_task(_fetch(wanted))
            while not server.asked:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - began < 2
            assert not (tmp_path / "m.gguf.partial.lock").exists()


@pytest.mark.anyio
async def test_a_limit_holds_and_can_be_changed_while_bytes_come(tmp_path: Path) -> None:
    together = Limiter(2e6)
    limits = Limiter(None, together)
    with faulty.running(faulty.Faulty(CONTENT)) as server:
        wanted = Wanted(server.url, tmp_path / "m.gguf", len(CONTENT), server.sha256)
        told, began = Told(), time.monotonic()
        task = asyncio.create_task(_fetch(wanted, told, limits=limits))
        while told.total < 1.5e6:
            await asyncio.sleep(0.01)
        rate = told.total / (time.monotonic() - began)
        assert rate < 2.6e6  # the first tenth of a second may come at once, and progress is told every tenth
        together.rate = None
        await asyncio.wait_for(task, 5)
    assert wanted.target.read_bytes() == CONTENT


def test_many_hands_share_one_rate() -> None:
    limiter, stopped, came = Limiter(4e6), threading.Event(), [0] * 8

    def hand(index: int) -> None:
        while not stopped.is_set():
            limiter.take(20_000, stopped)
            came[index] += 20_000

    hands = [threading.Thread(target=hand, args=(i,)) for i in range(8)]
    began = time.monotonic()
    for one in hands:
        one.start()
    time.sleep(1.5)
    stopped.set()
    took, total = time.monotonic() - began, sum(came) - 8 * 20_000
    for one in hands:
        one.join()
    assert 0.85 * 4e6 < total / took < 1.15 * 4e6


def test_a_limit_is_a_number_of_bytes() -> None:
    limiter = Limiter()
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=str(wrong)):
            limiter.rate = wrong
    assert Limiter(5.0, Limiter(3.0)).lowest == 3.0
    assert Limiter(None, Limiter(None)).lowest is None


@pytest.mark.parametrize(
    ("origin", "to", "reason"),
    [
        ("https://huggingface.co/x", "https://cdn-lfs.hf.co/x", None),
        ("https://huggingface.co/x", "https://127.0.0.1/x", "private"),
        ("https://huggingface.co/x", "https://169.254.169.254/x", "private"),
        ("https://huggingface.co/x", "https://[::ffff:10.0.0.1]/x", "private"),
        ("https://huggingface.co/x", "http://127.0.0.1/x", "plain"),
        ("https://huggingface.co/x", "http://huggingface.co/x", "plain"),
        ("http://127.0.0.1:8000/x", "http://localhost:9000/x", None),
        ("http://127.0.0.1:8000/x", "https://cdn-lfs.hf.co/x", None),
        ("http://127.0.0.1:8000/x", "http://10.0.0.1/x", "plain"),
        ("http://hub.example/x", "http://hub.example/x", "plain"),
        ("https://huggingface.co/x", "ftp://huggingface.co/x", "form"),
        ("https://huggingface.co/x", "https://me:secret@huggingface.co/x", "form"),
    ],
)
def test_where_a_redirect_may_lead(monkeypatch: pytest.MonkeyPatch, origin: str, to: str, reason: str | None) -> None:
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 0))]
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda h, *a, **k: real(h, *a, **k) if h == "localhost" else public)
    if reason is None:
        check(httpx2.URL(origin), httpx2.URL(to))
        return
    with pytest.raises(RedirectRefused) as refused:
        check(httpx2.URL(origin), httpx2.URL(to))
    assert refused.value.facts["reason"] == reason


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_missing_byte_is_lent_once_whoever_fails_or_steals(data: st.DataObject) -> None:
    size, block = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 300))
    kept = data.draw(st.sets(st.integers(0, (size - 1) // block)))
    spans, now = Spans(size, block, kept), 0.0
    written = bytearray(size)
    for index in kept:
        written[index * block : (index + 1) * block] = b"\1" * spans.length(index)
    for _ in range(120):
        now += data.draw(st.sampled_from([0.1, 5.0]))
        deed = data.draw(st.sampled_from(["take", "write", "write", "fail"])) if spans.active else "take"
        if deed == "take":
            spans.take(now, 3, 2.0)
            if not spans.active:
                break
        else:
            span = data.draw(st.sampled_from(spans.active))
            if deed == "write":
                count = spans.claim(span, data.draw(st.integers(1, 1000)))
                assert not any(written[span.done : span.done + count])
                written[span.done : span.done + count] = b"\1" * count
                spans.commit(span, count, now)
            if deed == "fail" or span.done == span.end:
                spans.give_back(span)
        assert spans.left == written.count(0)
        assert all(written[: spans.frontier])
    else:
        return
    assert all(written)


def _fetch_in_a_process(wanted: Wanted) -> None:
    anyio.run(_fetch, wanted)


def test_four_processes_that_want_one_file_fetch_it_once(hub: FakeHub, tmp_path: Path) -> None:
    wanted = _wanted(hub, tmp_path / "m.gguf")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fetch_in_a_process, args=(wanted,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0, 0]
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert hub.served_bytes <= 1.1 * len(CONTENT)


def test_what_would_not_fit_with_five_percent_to_spare_is_refused_with_the_missing_bytes(tmp_path: Path) -> None:
    check_room(tmp_path, 1000, 1050)
    with pytest.raises(NoRoom) as refused:
        check_room(tmp_path, 1000, 1000)
    assert refused.value.facts["missing"] == 50
