"""What the house counts, and what the machine is doing, for whoever watches."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing

import pytest

from domicile.live import Live, Tally
from domicile.metrics import Counter, Histogram
from domicile.types import Load
from tests.conftest import Visiting

pytestmark = pytest.mark.anyio
_LINE = re.compile(r'^[a-z_:][a-z0-9_:]*(\{([a-z_]+="(\\.|[^"\\])*",?)+\})? (-?[0-9.e+-]+|NaN|\+Inf)$')
CHAT = {"model": "graine", "messages": [{"role": "user", "content": "one two three"}]}


def test_a_histogram_counts_what_is_at_most_each_bound() -> None:
    seen = Histogram("x_seconds", "Words.", ("model",), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3):
        seen.see(value, 'a "b"\n')
    assert list(seen.lines()) == [
        "# HELP x_seconds Words.",
        "# TYPE x_seconds histogram",
        'x_seconds_bucket{model="a \\"b\\"\\n",le="0.1"} 2',
        'x_seconds_bucket{model="a \\"b\\"\\n",le="1"} 3',
        'x_seconds_bucket{model="a \\"b\\"\\n",le="+Inf"} 4',
        'x_seconds_sum{model="a \\"b\\"\\n"} 3.65',
        'x_seconds_count{model="a \\"b\\"\\n"} 4',
    ]


def test_a_counter_says_nothing_before_it_counts() -> None:
    counter = Counter("x_total", "Words.", ("kind",))
    assert list(counter.lines()) == []
    counter.add("a")
    counter.add("a", by=2)
    assert list(counter.lines())[-1] == 'x_total{kind="a"} 3'


async def test_metrics_count_requests_tokens_models_and_answers(visiting: Visiting) -> None:
    async with visiting() as visit:
        assert (await visit.http.post("/v1/chat/completions", json={**CHAT, "stream": True})).status_code == 200
        assert (await visit.http.post("/v1/chat/completions", json={**CHAT, "model": "nobody"})).status_code == 404
        await visit.http.post("/domicile/models/graine/sleep")
        answer = await visit.http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        assert all(line.startswith("# ") or _LINE.match(line) for line in lines)
        assert 'domicile_requests_total{model="graine",served_by="home",outcome="ok"} 1' in lines
        assert 'domicile_tokens_total{model="graine",kind="generated"} 3' in lines
        assert 'domicile_http_requests_total{method="POST",status="404"} 1' in lines
        assert 'domicile_model_events_total{event="wake",model="graine",kind=""} 1' in lines
        assert "domicile_models_awake 0" in lines
        assert any(line.startswith('domicile_request_seconds_count{model="graine",served_by="home"}') for line in lines)
        assert not any("nobody" in line for line in lines)


async def test_the_machine_tells_what_it_does_to_whoever_listens(visiting: Visiting) -> None:
    async with visiting() as visit:
        visit.house.live = Live(_load, visit.house.runner.children, lambda: 3, visit.house.tally, beat_s=0.01)
        answer = await visit.http.get("/domicile/machine/events", params={"count": "3", "every": "2"})
        events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        assert [(e["cpu_percent"], e["waiting"]) for e in events] == [(7.0, 3)] * 3
        assert re.findall(r"^id: (\d+)", answer.text, re.MULTILINE) == ["1", "3", "5"]
        assert (await visit.http.get("/domicile/machine/events", params={"every": "0"})).status_code == 400


async def test_one_reading_serves_all_who_look_and_nobody_reads_when_nobody_looks() -> None:
    readings = 0

    def load() -> Load:
        nonlocal readings
        readings += 1
        return _load()

    live = Live(load, list, lambda: 0, Tally(), beat_s=0.01)

    async def look() -> list[int]:
        async with aclosing(live.follow()) as views:
            seen = []
            async for view in views:
                seen.append(view.number)
                if len(seen) == 3:
                    return seen
        raise AssertionError

    seen = await asyncio.gather(look(), look(), look())
    assert all(numbers == [1, 2, 3] for numbers in seen)
    after = readings
    assert after <= 4
    await asyncio.sleep(0.05)
    assert readings == after
    await live.close()


def _load() -> Load:
    return Load(1.0, 7.0, 100, 50)
