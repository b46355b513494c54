"""A name under the models' folder is a whole, verified file, whatever the way it came."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from domicile.download import PARTIAL, Wanted, check_room, fetch
from domicile.errors import CorruptDownload, DomicileError, HubUnreachable, NoRoom
from tests.fakes.hub import FakeHub, git_sha1

CONTENT = bytes(range(256)) * 4096 * 3


class Told:
    """What a download said."""

    def __init__(self) -> None:
        self.total = 0

    def resumed(self, count: int) -> None:
        self.total += count

    def came(self, count: int) -> None:
        self.total += count


def _accept(answer: httpx2.Response) -> None:
    answer.raise_for_status()


def _wanted(hub: FakeHub, target: Path, content: bytes = CONTENT) -> Wanted:
    hub.add("org/repo", {"m.gguf": content})
    return Wanted(f"{hub.url}/cdn/org/repo/m.gguf", target, len(content), hashlib.sha256(content).hexdigest())


async def _fetch(wanted: Wanted) -> Told:
    told = Told()
    async with httpx2.AsyncClient(follow_redirects=True) as client:
        await fetch(client, wanted, told, _accept)
    return told


@pytest.mark.anyio
async def test_a_file_arrives_whole_and_leaves_nothing_beside_it(hub: FakeHub, tmp_path: Path) -> None:
    told = await _fetch(_wanted(hub, tmp_path / "a" / "m.gguf"))
    assert (tmp_path / "a" / "m.gguf").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["m.gguf"]
    assert told.total == len(CONTENT)


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [1, 1000, len(CONTENT) // 2, len(CONTENT) - 1, len(CONTENT)])
async def test_a_download_goes_on_where_it_was(hub: FakeHub, tmp_path: Path, kept: int) -> None:
    (tmp_path / f"m.gguf{PARTIAL}").write_bytes(CONTENT[:kept])
    told = await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert hub.served_bytes == len(CONTENT) - kept
    assert told.total == len(CONTENT)


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", [b"not the file" * 1000, CONTENT + b"more"])
async def test_a_partial_file_that_is_not_ours_costs_one_clean_start(
    hub: FakeHub, tmp_path: Path, wrong: bytes
) -> None:
    (tmp_path / f"m.gguf{PARTIAL}").write_bytes(wrong)
    await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


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


def _endless(request: Request) -> Response | None:
    async def chunks() -> object:
        while True:
            yield b"x" * 65536

    return StreamingResponse(chunks()) if "cdn" in request.url.path else None  # type: ignore[arg-type]


def _short(request: Request) -> Response | None:
    return Response(CONTENT[:1000]) if "cdn" in request.url.path else None


def _shifted(request: Request) -> Response | None:
    if "cdn" not in request.url.path or "range" not in request.headers:
        return None
    size = len(CONTENT)
    return Response(CONTENT[7:], 206, {"Content-Range": f"bytes 7-{size - 1}/{size}"})


def _without_ranges(request: Request) -> Response | None:
    return Response(CONTENT) if "cdn" in request.url.path else None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answers", "kept", "raises"),
    [
        (_endless, 0, CorruptDownload),
        (_short, 0, HubUnreachable),
        (_shifted, 1000, CorruptDownload),
        (_without_ranges, 1000, None),
    ],
)
async def test_a_server_that_lies_leaves_no_wrong_file(
    hub: FakeHub, tmp_path: Path, answers: object, kept: int, raises: type[DomicileError] | None
) -> None:
    hub.refuse = answers  # type: ignore[assignment]
    if kept:
        (tmp_path / f"m.gguf{PARTIAL}").write_bytes(CONTENT[:kept])
    if raises is None:
        await _fetch(_wanted(hub, tmp_path / "m.gguf"))
        assert (tmp_path / "m.gguf").read_bytes() == CONTENT
        return
    with pytest.raises(raises):
        await _fetch(_wanted(hub, tmp_path / "m.gguf"))
    assert not (tmp_path / "m.gguf").exists()
    on_disk = sum(p.stat().st_size for p in tmp_path.glob("m.gguf*"))
    assert on_disk <= len(CONTENT)


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
