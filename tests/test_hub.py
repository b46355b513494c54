"""The Hub: what it holds, in its own words, and a clear sentence for each way it can refuse."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from starlette.responses import Response, StreamingResponse

from domicile.config import load
from domicile.errors import (
    DomicileError,
    FileNotOnHub,
    Gated,
    HubAnswer,
    HubBusy,
    HubUnreachable,
    NoSuchVariant,
    NothingToRun,
    RepositoryNotFound,
    RevisionNotFound,
    TokenRefused,
)
from domicile.refs import ModelRef
from domicile.sources.hub import Hub, choose
from domicile.types import Repository
from tests.fakes.hub import COMMIT, TOKEN, FakeHub

FILES = {
    "README.md": b"# hello",
    "model-Q4_K_M.gguf": b"GGUF" + b"4" * 96,
    "model-Q8_0.gguf": b"GGUF" + b"8" * 196,
    "big-F16-00001-of-00002.gguf": b"GGUF" + b"1" * 50,
    "big-F16-00002-of-00002.gguf": b"GGUF" + b"2" * 50,
}


async def _describe(name: str) -> Repository:
    async with httpx2.AsyncClient(follow_redirects=True, timeout=5) as client:
        return await Hub(load(), client).describe(ModelRef.parse(name))


@pytest.mark.anyio
async def test_a_repository_is_its_variants_at_one_commit(hub: FakeHub) -> None:
    hub.add("org/repo", FILES, licence="mit")
    found = await _describe("org/repo")
    assert found.commit == COMMIT
    assert found.licence == "mit"
    sizes = {v.label: (v.size_bytes, len(v.files)) for v in found.variants}
    assert sizes["Q4_K_M"] == (100, 1)
    assert sizes["Q8_0"] == (200, 1)
    assert sizes["F16"] == (108, 2)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("org/repo", "Q4_K_M"),
        ("org/repo:q8_0", "Q8_0"),
        ("org/repo/model-Q8_0.gguf", "Q8_0"),
        ("hf.co/org/repo:F16", "F16"),
        ("org/repo@main:Q8_0", "Q8_0"),
    ],
)
async def test_a_reference_means_one_variant(hub: FakeHub, said: str, label: str) -> None:
    hub.add("org/repo", FILES)
    ref = ModelRef.parse(said)
    assert choose(await _describe(said), ref).label == label


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("said", "files", "raises"),
    [
        ("org/repo:Q2_K", FILES, NoSuchVariant),
        ("org/repo/other.gguf", FILES, FileNotOnHub),
        ("org/repo", {"README.md": b""}, NothingToRun),
    ],
)
async def test_what_a_repository_does_not_have_is_said_with_what_it_has(
    hub: FakeHub, said: str, files: dict[str, bytes], raises: type[DomicileError]
) -> None:
    hub.add("org/repo", files)
    with pytest.raises(raises) as refused:
        choose(await _describe(said), ModelRef.parse(said))
    if files is FILES:
        assert "Q4_K_M" in str(refused.value.facts["there"])


@pytest.mark.anyio
async def test_unknown_private_gated_and_refused_are_four_different_errors(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/private", FILES, private=True)
    hub.add("org/gated", FILES, gated=True)
    with pytest.raises(RepositoryNotFound) as unknown:
        await _describe("org/nothing")
    assert unknown.value.facts["reason"] == "no_token"
    with pytest.raises(RevisionNotFound):
        await _describe("org/gated@nope")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(TokenRefused):
        await _describe("org/private")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (await _describe("org/private")).variants
    with pytest.raises(RepositoryNotFound) as unseen:
        await _describe("org/nothing")
    assert unseen.value.facts["reason"] == "token"


@pytest.mark.anyio
async def test_a_gated_file_says_where_its_licence_is_accepted(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/gated", FILES, gated=True)
    async with httpx2.AsyncClient(follow_redirects=True) as client:
        source = Hub(load(), client)
        repository = await source.describe(ModelRef.parse("org/gated"))
        wanted = source.wanted(repository, repository.variants[0].files[0], tmp_path / "m")
        answer = await client.get(wanted.url, headers=dict(wanted.headers))
        with pytest.raises(Gated) as refused:
            source.judge(answer)
    assert refused.value.facts["url"] == f"{hub.url}/org/gated"


@pytest.mark.anyio
async def test_the_token_goes_to_the_hub_and_not_to_its_cdn(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add("org/private", FILES, private=True)
    async with httpx2.AsyncClient(follow_redirects=True) as client:
        source = Hub(load(), client)
        repository = await source.describe(ModelRef.parse("org/private"))
        wanted = source.wanted(repository, repository.variants[0].files[0], tmp_path / "m")
        answer = await client.get(wanted.url, headers=dict(wanted.headers))
    assert answer.status_code == 200
    by_place = {("cdn" if s.path.startswith("/cdn") else "hub"): s.authorization for s in hub.seen}
    assert by_place == {"hub": f"Bearer {TOKEN}", "cdn": None}


async def _dripping() -> object:
    while True:
        yield b" " * (1 << 20)
        await asyncio.sleep(0)  # or its server would never hear that nobody listens any more, and go on for ever


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "raises"),
    [
        (lambda _: Response("[]"), HubAnswer),
        (lambda _: Response("not json"), HubAnswer),
        (lambda _: Response("[" * 100_000), HubAnswer),
        (lambda _: Response('{"sha": 1, "siblings": []}'), HubAnswer),
        (lambda _: Response('{"sha": "../../etc", "siblings": []}'), HubAnswer),
        (lambda _: StreamingResponse(_dripping()), HubAnswer),  # type: ignore[arg-type]
        (lambda _: Response("", 500), HubAnswer),
        (lambda _: Response("", 429), HubBusy),
        (lambda _: Response("", 302, {"Location": "/api/models/org/repo"}), HubUnreachable),
    ],
)
async def test_a_hostile_answer_ends_in_a_clear_error(
    hub: FakeHub, answer: object, raises: type[DomicileError]
) -> None:
    hub.refuse = answer  # type: ignore[assignment]
    with pytest.raises(raises):
        await _describe("org/repo")


@pytest.mark.anyio
async def test_entries_that_cannot_be_used_are_left_out(hub: FakeHub) -> None:
    lfs = json.dumps({"sha256": "a" * 64})
    good = f'{{"rfilename": "ok-Q8_0.gguf", "size": 5, "lfs": {lfs}}}'
    bad = [
        f'{{"rfilename": "../evil.gguf", "size": 5, "lfs": {lfs}}}',
        f'{{"rfilename": "/abs.gguf", "size": 5, "lfs": {lfs}}}',
        '{"rfilename": "short.gguf", "size": 5, "lfs": {"sha256": "abc"}}',
        f'{{"rfilename": "nosize.gguf", "lfs": {lfs}}}',
        f'{{"rfilename": "minus.gguf", "size": -5, "lfs": {lfs}}}',
        '{"rfilename": 5, "size": 5}',
        '"text"',
        "null",
    ]
    body = f'{{"sha": "{COMMIT}", "siblings": [{",".join([*bad, good])}]}}'
    hub.refuse = lambda _: Response(body)
    found = await _describe("org/repo")
    assert [f.path for f in found.files] == ["ok-Q8_0.gguf"]


@pytest.mark.anyio
async def test_a_hub_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(HubUnreachable):
        await _describe("org/repo")


def test_the_hub_we_test_with_is_the_one_the_official_client_knows(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/repo", FILES)
    hub.add("org/gated", FILES, gated=True)
    api = HfApi(endpoint=hub.url, token=False)
    info = api.model_info("org/repo", files_metadata=True)
    assert info.sha == COMMIT
    assert info.siblings is not None
    by_name = {s.rfilename: s for s in info.siblings}
    assert by_name["model-Q8_0.gguf"].lfs is not None
    assert by_name["model-Q8_0.gguf"].size == 200
    fetched = hf_hub_download(
        "org/repo", "model-Q8_0.gguf", endpoint=hub.url, cache_dir=tmp_path / "cache", token=False
    )
    assert Path(fetched).read_bytes() == FILES["model-Q8_0.gguf"]
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/nothing")
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/gated", "model-Q8_0.gguf", endpoint=hub.url, cache_dir=tmp_path / "c2", token=False)
