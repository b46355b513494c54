"""Searching the Hub: every filter means what it says, pages go on without loss, and a hostile Hub ends."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from domicile.config import load
from domicile.errors import BadField, DomicileError, HubAnswer, HubBusy, HubUnreachable, TokenRefused
from domicile.refs import ModelRef
from domicile.sources import hub_search
from domicile.sources.hub import Hub
from domicile.sources.hub_search import Found, Page, Query, Sort, found_in, path_of
from tests.fakes.hub import TOKEN, FakeHub, Repo
from tests.fakes.shelf import DAY, START, fill

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(follow_redirects=True, timeout=10) as http:
        yield http


async def _all(source: Hub, query: Query) -> list[Found]:
    """Every page, one after the other."""
    found: list[Found] = []
    cursor: str | None = None
    for _ in range(1000):
        page = await source.search(query, cursor)
        assert len(page.results) <= query.limit
        found += page.results
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


# --- every filter, against brute force ---

_BITS = {"Q2_K": 3.17, "Q4_K_M": 4.91, "Q5_K_M": 5.71, "Q6_K": 6.57, "Q8_0": 8.51, "F16": 16.0, "IQ4_XS": 4.43}


def _truth(name: str, repo: Repo, query: Query) -> bool:
    """What a person would say of one model, from the data itself."""
    form = repo.tags[0]
    labels = {p.rsplit("-", 1)[1].removesuffix(".gguf") for p in repo.files if p.endswith(".gguf")}
    total = (repo.gguf or repo.safetensors or {}).get("total")
    size = None
    if form == "gguf" and total and (query.quantisation is None or query.quantisation in _BITS):
        asked = query.quantisation
        if asked is None:
            asked = "Q4_K_M"
        size = total * _BITS[asked] / 8
    elif repo.safetensors and total:
        size = total * (2 if "BF16" in repo.safetensors["parameters"] else 4)
    speech = repo.task == "automatic-speech-recognition"
    checks = [
        not repo.private,
        query.text.lower() in name,
        query.author is None or name.startswith(query.author + "/"),
        query.task is None or repo.task == query.task,
        query.licence is None or repo.licence == query.licence,
        query.gated is None or repo.gated == query.gated,
        query.format is None
        or (
            form == {"mlc": "mlc-llm", "whisper": "ctranslate2"}.get(query.format, query.format)
            and (query.format != "whisper" or speech)
        ),
        query.parameters_min is None or (total is not None and total >= query.parameters_min),
        query.parameters_max is None or (total is not None and total <= query.parameters_max),
        query.quantisation is None or query.quantisation in labels,
        query.updated_after is None or repo.updated >= query.updated_after,
        query.updated_before is None or repo.updated <= query.updated_before,
        query.created_after is None or repo.created >= query.created_after,
        query.downloads_min is None or repo.downloads >= query.downloads_min,
        query.size_max is None or (size is not None and size <= query.size_max),
        query.size_min is None or (size is not None and size >= query.size_min),
        set(query.tags) <= set(repo.tags),
    ]
    return all(checks)


CHOICES: dict[str, tuple[Any, ...]] = {
    "text": ("", "qwen"),
    "author": (None, "bartowski"),
    "task": (None, "text-generation"),
    "licence": (None, "mit"),
    "gated": (None, True, False),
    "format": (None, "gguf", "safetensors", "mlc", "whisper"),
    "parameters_min": (None, 1_000_000_000, 500_000_000),
    "parameters_max": (None, 8_000_000_000, 7_700_000_000),
    "quantisation": (None, "Q4_K_M"),
    "updated_after": (None, float(START + 500 * DAY)),
    "created_after": (None, float(START + 400 * DAY)),
    "downloads_min": (None, 700),
    "size_max": (None, 5_000_000_000),
    "tags": ((), ("fr",)),
}


def _combinations() -> list[dict[str, Any]]:
    """Each filter alone, each pair, and eighty handfuls."""
    alone = [{name: value} for name, values in CHOICES.items() for value in values]
    pairs = [{a: CHOICES[a][-1], b: value} for a, b in itertools.combinations(CHOICES, 2) for value in CHOICES[b][1:]]
    dice = random.Random(7)
    handfuls = [
        {name: dice.choice(CHOICES[name]) for name in dice.sample(list(CHOICES), dice.randint(3, 6))} for _ in range(80)
    ]
    return [*alone, *pairs, *handfuls]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_combination_of_filters_gives_what_brute_force_gives(
    hub: FakeHub, client: httpx2.AsyncClient
) -> None:
    fill(hub, 150)
    orders: dict[Sort, Callable[[Repo], float]] = {
        "downloads": lambda r: r.downloads,
        "likes": lambda r: r.likes,
        "updated": lambda r: r.updated,
        "created": lambda r: r.created,
    }
    source = Hub(load(), client)
    combinations = _combinations()
    hits = 0
    for number, given in enumerate(combinations):
        sort = list(orders)[number % 4]
        query = Query(**given, sort=sort, limit=(20, 50, 100)[number % 3])
        wanted = {name for name, repo in hub.repos.items() if _truth(name, repo, query)}
        found = await _all(source, query)
        ids = [f.id for f in found]
        assert len(ids) == len(set(ids)), query
        assert set(ids) == wanted, query
        ranks = [orders[sort](hub.repos[i]) for i in ids]
        assert ranks == sorted(ranks, reverse=True), query
        hits += bool(wanted)
    assert hits > len(combinations) / 3


async def test_pages_of_every_size_go_on_to_the_end(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    fill(hub, 230)
    source = Hub(load(), client)
    whole = [f.id for f in await _all(source, Query(limit=100))]
    for size in (10, 20, 50):
        assert [f.id for f in await _all(source, Query(limit=size))] == whole
    page = await source.search(Query(limit=10, format="gguf", quantisation="Q4_K_M"))
    assert len(page.results) == 10
    assert page.filtered_out > 0
    assert all("Q4_K_M" in f.quantisations for f in page.results)


async def test_a_result_says_what_the_hub_knows(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add(
        "org/Model-7B-A1B-GGUF",
        {"m-Q4_K_M.gguf": b"x"},
        gated=True,
        licence="mit",
        tags=("gguf", "fr"),
        downloads=5,
        likes=3,
        created=1_700_000_000.0,
        updated=1_710_000_000.5,
        library="gguf",
        gguf={"total": 7_000_000_000, "architecture": "qwen3moe", "context_length": 32768},
    )
    (found,) = (await Hub(load(), client).search(Query(text="model"))).results
    assert found == Found(
        id="org/Model-7B-A1B-GGUF",
        author="org",
        task="text-generation",
        downloads=5,
        likes=3,
        updated=1_710_000_000.5,
        created=1_700_000_000.0,
        gated=True,
        licence="mit",
        formats=("gguf",),
        parameters=7_000_000_000,
        active_parameters=1_000_000_000,
        context=32768,
        architecture="qwen3moe",
        size_bytes=int(7e9 * 4.91 / 8),
        library="gguf",
        tags=("gguf", "fr", "license:mit"),
    )
    assert json.dumps(found.public())


async def test_the_filters_of_the_hub_are_asked_of_the_hub(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    query = Query("llama", "meta", "text-generation", 6 * 10**9, 128 * 10**9, None, "mit", False, "gguf")
    await Hub(load(), client).search(query)
    asked = httpx2.QueryParams(hub.seen[-1].query)
    assert asked["search"] == "llama"
    assert asked["author"] == "meta"
    assert asked["pipeline_tag"] == "text-generation"
    assert asked["num_parameters"] == "min:6B,max:128B"
    assert asked["gated"] == "false"
    assert asked.get_list("filter") == ["gguf", "license:mit"]
    assert asked["sort"] == "downloads"
    assert asked["limit"] == "20"
    assert "siblings" not in asked.get_list("expand")


@pytest.mark.parametrize(
    ("least", "most", "span"),
    [
        (None, None, None),
        (500_000_000, None, None),
        (None, 500_000_000, "max:1B"),
        (7_615_616_512, 8_030_261_248, "min:7B,max:9B"),
    ],
)
async def test_a_range_of_parameters_is_asked_in_whole_billions_around_it(
    least: int | None, most: int | None, span: str | None
) -> None:
    path = path_of(Query(parameters_min=least, parameters_max=most), None)
    assert httpx2.URL("http://h" + path).params.get("num_parameters") == span


async def test_an_ordered_search_ends_where_its_bound_ends(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    fill(hub, 300)
    latest = sorted((r.updated for r in hub.repos.values() if not r.private), reverse=True)
    page = await Hub(load(), client).search(Query(sort="updated", updated_after=latest[4], limit=100))
    assert len(page.results) == 5
    assert page.cursor is None
    assert len(hub.seen) == 1


# --- what cannot be asked ---


@pytest.mark.parametrize(
    "given",
    [
        {"limit": 0},
        {"limit": 101},
        {"sort": "name"},
        {"format": "pickle"},
        {"text": "a" * 201},
        {"author": "a\nb"},
        {"parameters_min": -1},
        {"size_max": float("inf")},
        {"parameters_min": 2, "parameters_max": 1},
        {"updated_after": 2.0, "updated_before": 1.0},
    ],
)
async def test_a_query_that_means_nothing_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(BadField) as refused:
        Query(**given)
    assert refused.value.facts["field"] in given


@pytest.mark.parametrize("cursor", ["", "x", "W10=", "é", "bnVsbA==", "[" * 9000])
async def test_a_cursor_that_is_not_ours_is_refused(hub: FakeHub, client: httpx2.AsyncClient, cursor: str) -> None:
    with pytest.raises(BadField):
        await Hub(load(), client).search(Query(), cursor)
    assert hub.seen == []


async def test_a_cursor_of_another_query_is_refused(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    fill(hub, 30)
    source = Hub(load(), client)
    page = await source.search(Query(limit=10))
    with pytest.raises(BadField):
        await source.search(Query(limit=10, text="llama"), page.cursor)


# --- a hostile Hub ---


def _next(request: Request, cursor: str) -> dict[str, str]:
    return {"Link": f'<https://evil.example/api/models?cursor={cursor}>; rel="next"'}


async def test_a_cursor_that_comes_again_is_the_end(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.refuse = lambda request: JSONResponse([{"id": "a/b"}], headers=_next(request, "same"))
    page = await Hub(load(), client).search(Query())
    assert [f.id for f in page.results] == ["a/b"]
    assert page.cursor is None
    assert len(hub.seen) == 2


async def test_pages_without_end_stop_after_fifty_and_can_be_gone_on_with(
    hub: FakeHub, client: httpx2.AsyncClient
) -> None:
    hub.refuse = lambda request: JSONResponse([], headers=_next(request, str(len(hub.seen))))
    page = await Hub(load(), client).search(Query())
    assert len(hub.seen) == hub_search.PAGES == 50
    assert page.results == ()
    assert page.cursor is not None


async def test_a_slow_search_stops_with_what_it_has(
    hub: FakeHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_search, "SEARCH_S", 0.0)
    fill(hub, 30)
    page = await Hub(load(), client).search(Query())
    assert page.results == ()
    assert page.cursor is not None


async def test_the_address_of_a_next_page_is_never_followed(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.refuse = lambda request: JSONResponse(
        [{"id": f"a/b{len(hub.seen)}"}], headers=_next(request, "c%20%0Ad") if len(hub.seen) == 1 else {}
    )
    page = await Hub(load(), client).search(Query())
    assert len(hub.seen) == 1
    assert page.cursor is None


async def _dripping() -> AsyncIterator[bytes]:
    for _ in range(40):
        yield b" " * (1 << 20)


@pytest.mark.parametrize(
    ("answer", "raises"),
    [
        (lambda _: Response("{}"), HubAnswer),
        (lambda _: Response("not json"), HubAnswer),
        (lambda _: Response("[" * 100_000), HubAnswer),
        (lambda _: StreamingResponse(_dripping()), HubAnswer),
        (lambda _: Response("", 500), HubAnswer),
        (lambda _: Response("", 404), HubAnswer),
        (lambda _: Response("", 304), HubAnswer),
        (lambda _: Response("", 429), HubBusy),
        (lambda _: Response("", 302, {"Location": "/api/models"}), HubUnreachable),
    ],
)
async def test_a_hostile_answer_to_a_search_ends_in_a_clear_error(
    hub: FakeHub, client: httpx2.AsyncClient, answer: Any, raises: type[DomicileError]
) -> None:
    hub.refuse = answer
    with pytest.raises(raises):
        await Hub(load(), client).search(Query())


async def test_an_answer_that_never_ends_is_given_up(
    hub: FakeHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    monkeypatch.setattr("domicile.sources.hub.ANSWER_S", 0.2)
    hub.refuse = lambda _: StreamingResponse(trickle())
    with pytest.raises(HubUnreachable):
        await Hub(load(), client).search(Query())


async def test_a_wrong_token_is_said_in_a_search_too(
    hub: FakeHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(TokenRefused):
        await Hub(load(), client).search(Query())


HOSTILE: list[object] = [
    None,
    5,
    "text",
    [],
    {},
    {"id": None},
    {"id": "one"},
    {"id": "../../etc/passwd"},
    {"id": "a/b/c"},
    {"id": "a/..b"},
    {"id": "<script>/x"},
    {"id": "a/" + "b" * 97},
]


async def test_entries_without_a_usable_name_are_counted(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.refuse = lambda _: JSONResponse([*HOSTILE, {"id": "good/one"}])
    page = await Hub(load(), client).search(Query())
    assert [f.id for f in page.results] == ["good/one"]
    assert page.unreadable == len(HOSTILE)


@pytest.mark.parametrize("value", [None, True, -1, 2**63, 1.5, "7", [], {}, {"total": "x"}, {"total": -5}])
async def test_a_figure_that_cannot_be_used_is_unknown(value: object) -> None:
    names = ("downloads", "likes", "lastModified", "createdAt", "gguf", "safetensors", "library_name", "pipeline_tag")
    found = found_in({"id": "a/b", "tags": value, "siblings": value, **dict.fromkeys(names, value)})
    assert found is not None
    figures = (found.downloads, found.likes, found.parameters, found.size_bytes, found.updated, found.created)
    assert figures == (None,) * 6


async def test_text_of_the_hub_cannot_move_a_cursor_or_reorder_letters(
    hub: FakeHub, client: httpx2.AsyncClient
) -> None:
    evil = "\x1b[2Jmit\u202egpl\x07"
    hub.refuse = lambda _: JSONResponse(
        [{"id": "a/b", "tags": [f"license:{evil}", "x" * 5000], "pipeline_tag": evil, "library_name": evil}]
    )
    (found,) = (await Hub(load(), client).search(Query())).results
    shown = repr((found.licence, found.task, found.library, found.tags))
    assert "\x1b" not in str(found.licence)
    assert "\u202e" not in str(found.tags)
    assert "\\x1b" not in shown
    assert max(map(len, found.tags)) == 200


# --- the cache ---


async def test_a_search_is_asked_once_in_ten_minutes(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    fill(hub, 30)
    first = await Hub(load(), client).search(Query())
    asked = len(hub.seen)
    again = await Hub(load(), client).search(Query())
    assert again.results == first.results
    assert len(hub.seen) == asked
    assert again.age_s >= 0
    assert not again.stale


async def test_without_the_hub_the_last_answer_is_given_with_its_age(
    hub: FakeHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hub, 30)
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    first = await Hub(load(), client).search(Query())
    clock[0] += 7200
    hub.refuse = lambda _: Response("", 503)
    stale = await Hub(load(), client).search(Query())
    assert (stale.results, stale.stale, stale.age_s) == (first.results, True, 7200)
    with pytest.raises(HubBusy):
        await Hub(load(), client).search(Query(text="never asked"))
    hub.refuse = None
    fresh = await Hub(load(), client).search(Query())
    assert (fresh.stale, fresh.age_s) == (False, 0.0)
    assert hub.seen[-1].if_none_match is not None


async def test_offline_asks_nothing(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    fill(hub, 30)
    first = await Hub(load(), client).search(Query())
    asked = len(hub.seen)
    page = await Hub(load(), client, offline=True).search(Query())
    assert page == Page(first.results, first.cursor, age_s=page.age_s, stale=True)
    with pytest.raises(HubUnreachable) as refused:
        await Hub(load(), client, offline=True).search(Query(text="other"))
    assert refused.value.facts["reason"] == "offline"
    assert len(hub.seen) == asked


async def test_what_a_token_saw_is_not_shown_without_it(
    hub: FakeHub, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/secret", {"README.md": b"# secret"}, private=True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (await Hub(load(), client).search(Query())).results
    assert (await Hub(load(), client).describe(ModelRef.parse("org/secret"))).private
    monkeypatch.delenv("HF_TOKEN")
    assert not (await Hub(load(), client).search(Query())).results
    with pytest.raises(HubUnreachable):
        await Hub(load(), client, offline=True).describe(ModelRef.parse("org/secret"))


# --- the description of one repository ---


async def test_a_description_says_who_publishes_and_what_the_scan_found(
    hub: FakeHub, client: httpx2.AsyncClient
) -> None:
    hub.add(
        "org/repo",
        {"m-Q4_K_M.gguf": b"x", "pytorch_model.bin": b"x", "modeling.py": b"x", "ggml-base.bin": b"x"},
        downloads=12,
        likes=4,
        tags=("gguf",),
        gguf={"total": 5, "context_length": 8192, "architecture": "llama"},
        unsafe={"pytorch_model.bin": "unsafe", "modeling.py": "newword", "../x": "unsafe"},
    )
    found = await Hub(load(), client).describe(ModelRef.parse("org/repo"))
    assert (found.author, found.downloads, found.likes, found.context) == ("org", 12, 4, 8192)
    assert found.scan is not None
    assert found.scan.verdict == "unsafe"
    assert found.scan.of("modeling.py") == "suspicious"
    assert found.scan.of("m-Q4_K_M.gguf") == "safe"
    assert found.scan.runs_code == ("pytorch_model.bin", "modeling.py")
    assert set(found.scan.issues) == {"pytorch_model.bin", "modeling.py"}
    assert json.dumps(found.scan.public())


async def test_what_was_not_scanned_is_not_called_safe(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add("org/repo", {"m-Q4_K_M.gguf": b"x"}, scanned=False)
    found = await Hub(load(), client).describe(ModelRef.parse("org/repo"))
    assert found.scan is not None
    assert found.scan.verdict == found.scan.of("m-Q4_K_M.gguf") == "unscanned"


async def test_a_description_is_confirmed_without_being_sent_again(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add("org/repo", {f"m{n}-Q4_K_M.gguf": b"x" for n in range(50)})
    source = Hub(load(), client)
    first = await source.describe(ModelRef.parse("org/repo"))
    told = hub.told_bytes
    assert await source.describe(ModelRef.parse("org/repo")) == first
    assert hub.told_bytes == told
    hub.repos["org/repo"].files["new-Q8_0.gguf"] = b"x"
    assert len((await source.describe(ModelRef.parse("org/repo"))).files) == 51
    offline = await Hub(load(), client, offline=True).describe(ModelRef.parse("org/repo"))
    assert len(offline.files) == 51


# --- the Hub we test with, and the official client ---


async def test_the_official_client_finds_the_same_in_the_hub_we_test_with(
    hub: FakeHub, client: httpx2.AsyncClient
) -> None:
    import asyncio

    fill(hub, 300)
    api = HfApi(endpoint=hub.url, token=False)
    cases: list[tuple[dict[str, Any], Query]] = [
        ({}, Query(limit=100)),
        ({"search": "qwen"}, Query("qwen", limit=100)),
        ({"author": "meta"}, Query(author="meta", limit=100)),
        ({"filter": ["gguf", "license:mit"]}, Query(format="gguf", licence="mit", limit=100)),
        ({"pipeline_tag": "text-to-image"}, Query(task="text-to-image", limit=100)),
        ({"gated": True}, Query(gated=True, limit=100)),
        (
            {"num_parameters": "min:6B,max:128B"},
            Query(parameters_min=6 * 10**9, parameters_max=128 * 10**9, limit=100),
        ),
        ({"num_parameters": "min:1B", "filter": "gguf"}, Query(parameters_min=10**9, format="gguf", limit=100)),
        ({"sort": "likes"}, Query(sort="likes", limit=100)),
        ({"sort": "last_modified"}, Query(sort="updated", limit=100)),
        ({"sort": "created_at", "expand": ["createdAt", "gguf", "tags"]}, Query(sort="created", limit=100)),
    ]

    def official(given: dict[str, Any]) -> list[str]:
        return [m.id for m in api.list_models(**{"sort": "downloads", **given})]

    for given, query in cases:
        theirs = await asyncio.to_thread(official, given)
        ours = [f.id for f in await _all(Hub(load(), client), query)]
        if query.sort == "created":  # days are shared: the order within one is the Hub's
            assert sorted(theirs) == sorted(ours)
        else:
            assert theirs == ours
    (one,) = await asyncio.to_thread(lambda: list(api.list_models(search="qwen", limit=1, full=True)))
    assert one.siblings is not None
    name = next(iter(hub.repos))
    hub.repos[name].unsafe["x.bin"] = "unsafe"
    hub.repos[name].private = False
    info = await asyncio.to_thread(api.model_info, name, securityStatus=True)
    assert info.security_repo_status == {
        "scansDone": True,
        "filesWithIssues": [{"path": "x.bin", "level": "unsafe"}],
    }
    assert info.created_at is not None
