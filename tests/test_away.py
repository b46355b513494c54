"""Who answers when the house cannot: targets with a consent alone, for the listed reasons alone, always said."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from domicile import away as room
from domicile import errors
from domicile.client import HouseSaid
from domicile.config import load
from domicile.db import Database
from domicile.errors import (
    BadModelFile,
    ContextTooLong,
    DomicileError,
    EngineDied,
    ModelFileMissing,
    NoConsent,
    OutOfMemory,
    ShuttingDown,
    StillBusy,
)
from domicile.hardware import sample
from domicile.targets import Targets, reach_of
from tests.conftest import Visit, Visiting
from tests.fakes.hub import FakeHub
from tests.fakes.target import FakeTarget, running
from tests.nursery import run

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"


@pytest.fixture
def elsewhere() -> Iterator[FakeTarget]:
    with running(FakeTarget()) as target:
        yield target


@pytest.fixture
def another() -> Iterator[FakeTarget]:
    with running(FakeTarget(words=("from", "another"))) as target:
        yield target


def _chat(said: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "polly", "messages": [{"role": "user", "content": said}], **more}


def _install(visit: Visit, folder: Path) -> None:
    sample.write(folder / "polly.gguf", "Q8_0", sample.Shape(1), hollow=True)
    visit.house.library.add_file(folder / "polly.gguf")


async def _target(visit: Visit, target: FakeTarget, name: str = "nas", *, consent: bool = True, **more: Any) -> None:
    added = await visit.http.post("/domicile/targets", json={"name": name, "url": target.url, **more})
    assert added.status_code == 201, added.text
    if consent:
        given = await visit.http.post(f"/domicile/targets/{name}/consent", json={"consent": True})
        assert given.status_code == 200, given.text


async def _ask(visit: Visit, header: str | None = "home-then-away", **more: Any) -> httpx2.Response:
    headers = {"X-Domicile-Strategy": header} if header else {}
    return await visit.http.post(CHAT, json=_chat(**more), headers=headers)


FACTS: dict[str, Any] = {
    "name": "polly", "limit": 1, "engine": "llama", "reason": "killed", "how": "SIGKILL", "seconds": 1, "done": 1,
    "job": "j", "n": 1, "window": 1, "retry_after": 1,
}  # fmt: skip
ILL = [(ill, why) for code, why in room.FALLBACK_ON.items() if (ill := errors.of_code(code, **FACTS)) is not None]
NOT_IN_LIST = [
    BadModelFile(name="polly", reason="crash", problem="SIGSEGV"),
    ModelFileMissing(name="polly", path="polly.gguf"),
    ContextTooLong(name="polly", prompt=9000, context=4096, enough=10240),
    EngineDied(name="polly", reason="stopped"),
    ShuttingDown(),
    StillBusy(name="polly"),
]


@pytest.mark.parametrize(("ill", "why"), ILL, ids=lambda x: x.code if isinstance(x, DomicileError) else x)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_home_may_fail_by_for_somebody_else_to_answer(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, ill: DomicileError, why: str, stream: bool
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, models={"polly": "mistral"})
        visit.parrot.ill = ill
        answer = await _ask(visit, stream=stream, temperature=0.5, keep_alive=5)
    assert answer.status_code == 200
    assert answer.headers["x-domicile-served-by"] == "nas; model=mistral"
    assert answer.headers["x-domicile-fallback"] == why
    assert "elsewhere" in answer.text
    heard = elsewhere.heard[-1].data
    assert heard["model"] == "mistral"
    assert heard["temperature"] == 0.5
    assert "keep_alive" not in heard
    assert elsewhere.heard[-1].headers["x-domicile-strategy"] == "home"


@pytest.mark.parametrize("ill", NOT_IN_LIST, ids=lambda e: e.code + str(e.facts.get("reason", "")))
async def test_what_home_fails_by_otherwise_stays_at_home(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, ill: DomicileError
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        visit.parrot.ill = ill
        answer = await _ask(visit)
    assert answer.status_code == ill.status
    assert elsewhere.connections == 0


def test_the_list_names_errors_and_every_trouble_of_an_engine_was_thought_about() -> None:
    codes = {ill.code for ill, _ in ILL}
    assert set(room.FALLBACK_ON) <= codes
    stays = {e().code for e in errors.EngineTrouble.__subclasses__()} - codes
    assert stays == {"bad_model_file", "install_failed", "nobody_answers", "not_supported"}


async def test_answers_from_elsewhere_are_counted_under_who_gave_them(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        await _ask(visit)
        await _ask(visit, "away")
        await visit.http.post("/domicile/models/polly/sleep")
        visit.parrot.ill = OutOfMemory(**FACTS)
        await _ask(visit, stream=True)
        elsewhere.fault = "refuses 500"
        assert (await _ask(visit, "away")).status_code >= 500
        lines = (await visit.http.get("/metrics")).text.splitlines()
    counted = {line for line in lines if line.startswith("domicile_requests_total{")}
    of_polly = 'domicile_requests_total{model="polly",served_by='
    assert counted == {
        of_polly + '"home",outcome="ok"} 1',
        of_polly + '"home",outcome="out_of_memory"} 1',
        of_polly + '"nas",outcome="ok"} 2',
        of_polly + '"nobody",outcome="nobody_answers"} 1',
    }
    assert 'domicile_request_seconds_count{model="polly",served_by="nas"} 2' in lines
    assert 'domicile_first_byte_seconds_count{model="polly",served_by="nas"} 2' in lines


async def test_a_misspelt_name_never_leaves(visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, models={"*": "mistral"})
        for strategy in ("home", "home-then-away", "away"):
            answer = await _ask(visit, strategy, model="poly")
            assert answer.status_code == 404
            assert answer.json()["error"]["nearest"] == "polly"
    assert elsewhere.connections == 0


@pytest.mark.parametrize("strategy", [None, "home", "home-then-away", "away"])
async def test_without_a_consent_nothing_is_sent(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, strategy: str | None
) -> None:
    async with visiting(strategy=strategy or "home") as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, consent=False)
        visit.parrot.ill = OutOfMemory(name="polly", limit=1)
        answer = await _ask(visit, strategy)
        tested = await visit.http.post("/domicile/targets/nas/test")
        listed = (await visit.http.get("/domicile/targets")).json()["targets"][0]
    assert elsewhere.connections == 0
    assert answer.json()["error"]["code"] == ("no_target" if strategy == "away" else "out_of_memory")
    assert answer.status_code == (403 if strategy == "away" else 503)
    assert (tested.status_code, tested.json()["error"]["code"]) == (403, "no_consent")
    assert (listed["consent"], listed["addresses"]) == (False, [])


async def test_the_consent_alone_sends_nothing_and_can_be_withdrawn(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        shown = (await visit.http.get("/domicile/targets/nas")).json()
        assert elsewhere.connections == 0
        assert (shown["reach"], shown["addresses"]) == ("here", ["127.0.0.1"])
        assert (await _ask(visit, "away")).status_code == 200
        await visit.http.post("/domicile/targets/nas/consent", json={"consent": False})
        refused = await _ask(visit, "away")
    assert refused.json()["error"]["code"] == "no_target"
    assert len(elsewhere.heard) == 1


async def test_home_answers_when_it_can_whoever_else_could(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        body = json.dumps(_chat(stream=True)).encode()
        bare = await visit.http.post(CHAT, content=body)
        both = await visit.http.post(CHAT, content=body, headers={"X-Domicile-Strategy": "home-then-away"})
        engine_heard = visit.parrot.awake_now[0].asked
    assert bare.content == both.content  # byte for byte, as the engine said it
    assert "served_by" not in both.text
    assert both.headers["x-domicile-served-by"] == "home; model=polly"
    assert [sent for _, sent in engine_heard] == [body, body]
    assert elsewhere.connections == 0


async def test_nobody_takes_over_after_the_first_word(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        visit.parrot.speaking.clear()
        asked = visit.http.stream(
            "POST", CHAT, json=_chat("one two", stream=True), headers={"X-Domicile-Strategy": "home-then-away"}
        )
        async with asked as answer:
            lines = answer.aiter_lines()
            assert "one" in await anext(lines)
            visit.parrot.awake_now[0].gone.set()
            rest = [json.loads(line[6:]) async for line in lines if line.startswith("data: {")]
    assert rest[-1]["error"]["code"] == "engine_died"
    assert elsewhere.connections == 0


async def test_a_first_word_that_is_late_comes_from_elsewhere(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting(first_token=0.05) as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        visit.parrot.hatching.clear()
        answer = await _ask(visit, stream=True)
        visit.parrot.hatching.set()
    assert answer.headers["x-domicile-fallback"] == "first_token_late"
    assert answer.headers["x-domicile-served-by"].startswith("nas;")


async def test_an_answer_in_one_piece_is_not_late(visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget) -> None:
    async with visiting(first_token=0.001) as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        assert (await _ask(visit)).headers["x-domicile-served-by"].startswith("home;")
    assert elsewhere.connections == 0


async def test_while_a_model_downloads_somebody_else_answers_then_home_does(
    visiting: Visiting, hub: FakeHub, elsewhere: FakeTarget, tmp_path: Path
) -> None:
    sample.write(tmp_path / "a.gguf", "Q8_0", sample.Shape(1, 256, 512, 8, 8))
    hub.add("org/repo", {"a-Q8_0.gguf": (tmp_path / "a.gguf").read_bytes()})
    gate = asyncio.Event()
    async with visiting() as visit:
        await _target(visit, elsewhere)
        describe = visit.house.hub.describe

        async def gated(*asked: Any, **more: Any) -> Any:
            await gate.wait()
            return await describe(*asked, **more)

        visit.house.hub.describe = gated  # type: ignore[method-assign] # holds the download at its start
        job = (await visit.http.post("/domicile/pull", json={"model": "org/repo:Q8_0"})).json()["id"]
        at_home = await _ask(visit, "home", model="org/repo:Q8_0")
        meanwhile = await _ask(visit, model="org/repo:q8_0")
        other = await _ask(visit, model="org/repo:Q4_K_M")
        gate.set()
        assert (await visit.house.jobs.wait(job)).status == "done"
        after = await _ask(visit, model="org/repo:Q8_0")
    assert (at_home.status_code, at_home.json()["error"]["code"]) == (503, "still_downloading")
    assert "Retry-After" in at_home.headers
    assert meanwhile.headers["x-domicile-fallback"] == "still_downloading"
    assert meanwhile.json()["served_by"] == "nas"
    assert other.status_code == 404
    assert after.headers["x-domicile-served-by"] == "home; model=org/repo:Q8_0"


FAULTS = ["refuses 500", "refuses 401", "refuses 404", "refuses 429", "page", "garbage", "empty", "packed", "breaks"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_target_that_fails_before_its_first_word_gives_way_to_the_next(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget, fault: str
) -> None:
    elsewhere.fault = fault
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first")
        await _target(visit, another, "second")
        answer = await _ask(visit, "away")
        health = [t["health"]["well"] for t in (await visit.http.get("/domicile/targets")).json()["targets"]]
        again = await _ask(visit, "away")
    assert answer.json()["served_by"] == again.json()["served_by"] == "second"
    assert answer.headers["x-domicile-served-by"] == "second; model=polly"
    assert health == [False, True]
    assert len(elsewhere.heard) == 1  # it rests
    assert "alert" not in answer.text


async def test_a_target_that_breaks_off_is_an_error_and_nobody_takes_over(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    elsewhere.fault = "breaks"
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first")
        await _target(visit, another, "second")
        answer = await _ask(visit, "away", stream=True)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert events[0]["served_by"] == "first"
    assert events[-1]["error"]["code"] == "target_silent"
    assert another.connections == 0


async def test_a_target_that_says_nothing_is_left_in_time(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    elsewhere.fault = "silent"
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first", timeout=0.1)
        await _target(visit, another, "second")
        answer = await _ask(visit, "away")
    assert answer.json()["served_by"] == "second"


async def test_when_nobody_can_one_sentence_says_so(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    elsewhere.fault, another.fault = "refuses 503", "refuses 401"
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first")
        await _target(visit, another, "second")
        visit.parrot.ill = OutOfMemory(name="polly", limit=1)
        answer = await visit.http.post(
            CHAT, json=_chat(), headers={"X-Domicile-Strategy": "home-then-away", "Accept-Language": "fr"}
        )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["why"]) == (503, "nobody_answers", "does_not_fit")
    assert error["summary"].startswith("Personne ne peut répondre pour l'instant\u00a0: ni polly")
    assert "first (HTTP 503), second (HTTP 401)" in error["summary"]
    assert "Retry-After" in answer.headers


async def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    elsewhere.fault, elsewhere.onward = "elsewhere", another.url + "/chat/completions"
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, key="sk-secret")
        answer = await _ask(visit, "away")
    assert answer.status_code == 503
    assert another.connections == 0
    assert elsewhere.heard[0].headers["authorization"] == "Bearer sk-secret"


async def test_keys_are_kept_for_the_owner_alone_and_never_told(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first", key="sk-first")
        await _target(visit, another, "second")
        told = (await visit.http.get("/domicile/targets")).text + (await visit.http.get("/domicile/egress")).text
        await _ask(visit, "away")
        kept = load().target_keys
        mode = stat.S_IMODE(kept.stat().st_mode)
        database = b"".join(p.read_bytes() for p in kept.parent.glob("domicile.db*"))
        await visit.http.delete("/domicile/targets/first")
        assert "sk-first" not in kept.read_text("utf-8")
        await _ask(visit, "away")
    assert mode == 0o600
    assert "sk-first" not in told
    assert b"sk-first" not in database
    assert elsewhere.heard[0].headers["authorization"] == "Bearer sk-first"
    assert "authorization" not in another.heard[0].headers


async def test_the_order_is_the_persons(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget, another: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere, "first")
        await _target(visit, another, "second")
        assert (await _ask(visit, "away")).json()["served_by"] == "first"
        await visit.http.post("/domicile/targets/order", json={"names": ["second"]})
        assert (await _ask(visit, "away")).json()["served_by"] == "second"


async def test_a_consent_holds_for_where_it_was_given(tmp_path: Path) -> None:
    """A name that moves inside (rebinding), or to another machine of the network, is not followed."""
    database = Database(tmp_path / "x.db")
    targets = Targets(database, tmp_path / "keys.json")
    targets.add("nas", "http://nas.local:8000")
    targets.add("cloud", "https://cloud.example/api/v3")
    nas = targets.consent("nas", ["192.168.1.5"])
    cloud = targets.consent("cloud", ["9.9.9.9"])
    assert (nas.url, nas.reach) == ("http://nas.local:8000/v1", "network")
    assert (cloud.url, cloud.reach) == ("https://cloud.example/api/v3", "internet")
    nas.judge("nas.local", ["192.168.1.5"])
    cloud.judge("cloud.example", ["1.1.1.1", "2606:4700::1111"])
    for target, addresses in ((nas, ["192.168.1.6"]), (cloud, ["1.1.1.1", "127.0.0.1"]), (cloud, ["10.0.0.1"])):
        with pytest.raises(NoConsent):
            target.judge("x", addresses)
    database.close()


@pytest.mark.parametrize(
    ("addresses", "reach"),
    [
        (["127.0.0.1"], "here"),
        (["::1", "127.0.0.1"], "here"),
        (["10.1.2.3"], "network"),
        (["100.64.0.9"], "network"),
        (["fd00::5"], "network"),
        (["8.8.8.8"], "internet"),
        (["::ffff:10.0.0.1"], "network"),
        (["64:ff9b::7f00:1"], "here"),
        (["169.254.169.254"], None),
        (["fe80::1%eth0"], None),
        (["0.0.0.0"], None),
        (["224.0.0.1"], None),
        (["8.8.8.8", "10.0.0.1"], None),
        ([], None),
    ],
)
def test_where_an_address_is(addresses: list[str], reach: str | None) -> None:
    assert reach_of(addresses) == reach


@pytest.mark.parametrize(
    ("asked", "code", "status"),
    [
        ({"name": "n", "url": "ftp://x"}, "bad_field", 400),
        ({"name": "n", "url": "http://user:hunter2@x/v1"}, "bad_field", 400),
        ({"name": "n"}, "bad_field", 400),
        ({"name": "A b", "url": "http://x"}, "bad_field", 400),
        ({"name": "home", "url": "http://x"}, "bad_field", 400),
        ({"name": "n", "url": "http://x", "timeout": "soon"}, "bad_field", 400),
        ({"name": "n", "url": "http://x", "models": ["a"]}, "bad_field", 400),
        ({"name": "n", "url": "http://x", "models": {"a": "b\r\nX: y"}}, "bad_field", 400),
        ({"name": "n", "url": "http://x", "key": "a b"}, "bad_field", 400),
        ({"url": "http://x"}, "missing_field", 400),
    ],
)
async def test_what_is_no_target_is_refused(visiting: Visiting, asked: dict[str, Any], code: str, status: int) -> None:
    async with visiting() as visit:
        answer = await visit.http.post("/domicile/targets", json=asked)
        listed = (await visit.http.get("/domicile/targets")).json()["targets"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "hunter2" not in answer.text
    assert listed == []


async def test_a_place_that_never_may_be_asked_gets_no_consent(visiting: Visiting) -> None:
    async with visiting() as visit:
        for name, url in (
            ("meta", "http://169.254.169.254"),
            ("zero", "http://0.0.0.0:1"),
            ("plain", "http://8.8.8.8"),
        ):
            await visit.http.post("/domicile/targets", json={"name": name, "url": url})
            answer = await visit.http.post(f"/domicile/targets/{name}/consent", json={"consent": True})
            assert answer.status_code == 400, name
        assert (await visit.http.post("/domicile/targets/nobody/consent", json={"consent": True})).status_code == 404


async def test_the_same_target_again_changes_it_and_another_address_is_another_target(
    visiting: Visiting, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        await _target(visit, elsewhere)
        await _target(visit, elsewhere, consent=False, models={"a": "b"}, timeout="2m")
        taken = await visit.http.post("/domicile/targets", json={"name": "nas", "url": "http://x"})
        shown = (await visit.http.get("/domicile/targets/nas")).json()
    assert (shown["consent"], shown["models"], shown["timeout_s"]) == (True, {"a": "b"}, 120)
    assert taken.status_code == 400


async def test_a_model_that_only_a_target_has_is_asked_there(visiting: Visiting, elsewhere: FakeTarget) -> None:
    async with visiting() as visit:
        await _target(visit, elsewhere, models={"big": "mistral"})
        answer = await _ask(visit, "away", model="big")
        at_home = await _ask(visit, "home-then-away", model="big")
    assert answer.headers["x-domicile-served-by"] == "nas; model=mistral"
    assert at_home.status_code == 404


async def test_the_strategy_of_a_conversation_is_a_header_or_a_field_else_the_setting(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting(strategy="away") as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        said = [
            await _ask(visit, None),
            await _ask(visit, None, strategy="home"),
            await _ask(visit, "away", strategy="home"),
        ]
        bad = await _ask(visit, "cloud")
    assert [a.headers["x-domicile-served-by"].split(";")[0] for a in said] == ["nas", "home", "nas"]
    assert bad.json()["error"]["param"] == "strategy"
    assert bad.status_code == 400


def test_the_strategy_setting_is_one_of_three() -> None:
    with pytest.raises(errors.BadField):
        load({**os.environ, "DOMICILE_STRATEGY": "cloud"})


async def test_offline_nobody_elsewhere_is_asked(visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget) -> None:
    async with visiting() as visit:
        await _target(visit, elsewhere)
    async with visiting(offline=True) as visit:
        _install(visit, tmp_path)
        visit.parrot.ill = OutOfMemory(name="polly", limit=1)
        home, gone = await _ask(visit), await _ask(visit, "away")
        tested = await visit.http.post("/domicile/targets/nas/test")
        consent = await visit.http.post("/domicile/targets/nas/consent", json={"consent": True})
        ledger = (await visit.http.get("/domicile/egress")).json()
    assert [a.json()["error"]["code"] for a in (home, gone, tested, consent)] == [
        "out_of_memory", "offline", "offline", "offline",
    ]  # fmt: skip
    assert elsewhere.connections == 0
    assert (ledger["offline"], ledger["exchanges"]) == (True, [])


async def test_the_official_client_reads_who_served_it(
    visiting: Visiting, tmp_path: Path, elsewhere: FakeTarget
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        await _target(visit, elsewhere)
        client = openai.AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=_of(visit), max_retries=0)
        away: Any = {"strategy": "away"}
        messages: Any = _chat()["messages"]
        whole = await client.chat.completions.create(model="polly", messages=messages, extra_body=away)
        stream = await client.chat.completions.create(model="polly", messages=messages, stream=True, extra_body=away)
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == "from elsewhere"
    assert whole.model_extra is not None
    assert whole.model_extra["served_by"] == "nas"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "from elsewhere "
    assert {(c.model_extra or {}).get("served_by") for c in chunks} == {"nas"}


def _of(visit: Visit) -> Any:
    """The visit's client, as openai wants one: it knows only the httpx it depends on."""
    import importlib

    openai_http = importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.split(".")[0])
    if openai_http is httpx2:
        return visit.http

    class Through(openai_http.AsyncBaseTransport):  # type: ignore[misc,name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            answer = await visit.http.send(
                visit.http.build_request(
                    request.method, str(request.url), content=await request.aread(), headers=request.headers.raw
                )
            )
            return openai_http.Response(answer.status_code, headers=answer.headers.raw, content=answer.content)

    return openai_http.AsyncClient(transport=Through())


def test_from_python(elsewhere: FakeTarget, tmp_path: Path) -> None:
    from domicile import Domicile

    with Domicile() as home:
        home.add_target("nas", elsewhere.url, models={"graine": "mistral"})
        with pytest.raises(HouseSaid):
            home.chat("Bonjour", strategy="away")
        home.consent("nas")
        assert home.test_target("nas")["there"] == ["mistral"]
        assert home.chat("Bonjour", strategy="away") == "from elsewhere "
        purposes = [(e["purpose"], e["status"]) for e in home.egress()["exchanges"]]
        assert purposes == [("answer", 200), ("test", 200)]
        assert [t["name"] for t in home.order_targets("nas")] == ["nas"]
        home.remove_target("nas")
        assert home.targets() == []


@pytest.mark.slow
def test_on_the_command_line_a_model_that_is_not_here_yet_is_pulled_while_another_answers(
    hub: FakeHub, elsewhere: FakeTarget, tmp_path: Path
) -> None:
    sample.write(tmp_path / "a.gguf", "Q8_0", sample.Shape(1))
    hub.add("org/repo", {"a-Q8_0.gguf": (tmp_path / "a.gguf").read_bytes()})
    for words in (("target", "add", "nas", elsewhere.url), ("target", "consent", "nas", "--yes")):
        assert run(*words).returncode == 0
    said = run("run", "--strategy", "home-then-away", "org/repo:Q8_0", "Hi")
    assert said.stdout == "from elsewhere \n", said.stderr
    assert "org/repo:Q8_0 is being downloaded" in said.stderr
    assert "(nas answers, not this machine)" in said.stderr
