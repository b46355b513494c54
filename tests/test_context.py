"""No silent loss of context: too long is refused with both numbers, or whole messages go and it is said.

Against the real engine and the model that comes with the house. What holds for `House.answer` holds for every
dialect: each of them comes through it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion

from domicile.answering import Answer, Ask, whole
from domicile.app import House, open_house
from domicile.config import load
from domicile.context import droppable, room_to_answer
from domicile.errors import BadField, ContextTooLong
from domicile.web import build
from domicile.web.guard import Rules
from tests.fakes.inside import InProcess

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
CONTEXT = 512
Message = dict[str, Any]


@asynccontextmanager
async def _house(**given: Any) -> AsyncIterator[tuple[House, httpx2.AsyncClient]]:
    async with open_house(load(context=CONTEXT, conversation_cache=0, **given)) as house:
        transport = InProcess(build(house, Rules(frozenset({"house"}))))
        async with httpx2.AsyncClient(transport=transport, base_url="http://house", timeout=60) as http:
            yield house, http


def _body(messages: list[Message], **more: Any) -> bytes:
    return json.dumps({"model": "graine", "messages": messages, "max_tokens": 8, "temperature": 0, **more}).encode()


def _said(role: str, words: int, **more: Any) -> Message:
    return {"role": role, "content": "mot " * words, **more}


def _call(number: int) -> list[Message]:
    call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": f"d{number}"}]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "mot " * 60},
        {"role": "tool", "tool_call_id": f"d{number}", "content": "mot " * 60},
    ]


SYSTEM = {"role": "system", "content": "Réponds en un mot."}
LONG = [SYSTEM, *([_said("user", 60), _said("assistant", 60)] * 6), {"role": "user", "content": "Bonjour"}]
TOOLS = [SYSTEM, _said("user", 60), *_call(1), _said("assistant", 40), _said("user", 30), *_call(2), *_call(3)]
TWO_SYSTEMS = [SYSTEM, *LONG[1:6], {"role": "developer", "content": "Sois bref."}, *LONG[6:]]

ASKED = [("body", {"context": "trim"}, {}), ("header", {}, {"context": "trim"}), ("setting", {}, {})]


# -- the table: every dialect comes through here --


@pytest.mark.parametrize("messages", [LONG, TOOLS, TWO_SYSTEMS], ids=["talk", "tools", "two systems"])
@pytest.mark.parametrize(("way", "body", "said"), ASKED, ids=[a[0] for a in ASKED])
async def test_kept_and_dropped_are_what_was_sent_and_it_is_said(
    messages: list[Message], way: str, body: dict[str, Any], said: dict[str, str]
) -> None:
    asked = Ask("graine", CHAT, _body(messages, **body), said=said)
    given = {"context_overflow": "trim"} if way == "setting" else {}
    async with _house(**given) as (house, _), house.answer(asked) as answer:
        reply = json.loads(await whole(answer.reply.body))
    sent, kept, dropped = _numbers(answer.notes["Context-Dropped"])
    assert kept + dropped == sent == len(messages)
    assert dropped > 0
    told = {"messages_sent": sent, "messages_kept": kept, "messages_dropped": dropped}
    assert reply["usage"]["domicile"] == {"context": told}
    assert reply["usage"]["prompt_tokens"] + 8 <= CONTEXT


async def test_what_fits_is_left_alone_and_nothing_is_said() -> None:
    async with _house() as (house, _):
        asked = Ask("graine", CHAT, _body([SYSTEM, {"role": "user", "content": "Bonjour"}], context="trim"))
        async with house.answer(asked) as answer:
            reply = json.loads(await whole(answer.reply.body))
    assert not answer.notes
    assert "domicile" not in reply


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": LONG}),
        (CHAT, {"messages": LONG, "context": "refuse"}),
        (CHAT, {"messages": [SYSTEM, _said("user", 2000)]}),
        ("/v1/completions", {"prompt": "mot " * 2000}),
        ("/v1/completions", {"prompt": "mot " * 2000, "context": "trim"}),
        ("/v1/completions", {"prompt": [12] * CONTEXT}),
    ],
)
async def test_too_long_is_refused_with_both_numbers(path: str, body: dict[str, Any]) -> None:
    async with _house() as (house, _):
        with pytest.raises(ContextTooLong) as told:
            async with house.answer(Ask("graine", path, json.dumps({"model": "graine", **body}).encode())):
                pass
    assert told.value.facts["context"] == CONTEXT
    assert int(str(told.value.facts["prompt"])) >= CONTEXT


async def test_what_cannot_be_dropped_is_refused_even_when_trimming_was_asked_for() -> None:
    async with _house() as (house, _):
        messages = [SYSTEM, _said("user", 60), _said("assistant", 60), _said("user", 2000)]
        with pytest.raises(ContextTooLong) as told:
            async with house.answer(Ask("graine", CHAT, _body(messages, context="trim"))):
                pass
    assert told.value.facts["reason"] == "last"


async def test_a_way_nobody_knows_is_refused() -> None:
    async with _house() as (house, _):
        with pytest.raises(BadField):
            async with house.answer(Ask("graine", CHAT, _body(LONG, context="shorten"))):
                pass


# -- what is left out --


def test_instructions_and_the_last_question_always_stay() -> None:
    for messages in (LONG, TOOLS, TWO_SYSTEMS):
        gone = {i for unit in droppable(messages) for i in unit}
        kept = [m for i, m in enumerate(messages) if i not in gone]
        assert [m for m in messages if m["role"] in {"system", "developer"}] == [
            m for m in kept if m["role"] in {"system", "developer"}
        ]
        last = max(i for i, m in enumerate(messages) if m["role"] == "user")
        assert last not in gone


def test_a_call_and_all_its_results_stay_or_go_together() -> None:
    units = droppable(TOOLS)
    for messages in (TOOLS, [*TOOLS, *_call(4)]):
        units = droppable(messages)
        for count in range(len(units) + 1):
            gone = {i for unit in units[:count] for i in unit}
            kept = [m for i, m in enumerate(messages) if i not in gone]
            calls = {c["id"] for m in kept for c in m.get("tool_calls") or ()}
            results = {m["tool_call_id"] for m in kept if m["role"] == "tool"}
            assert calls == results


def test_after_dropping_roles_still_alternate() -> None:
    units = droppable(LONG)
    for count in range(len(units) + 1):
        gone = {i for unit in units[:count] for i in unit}
        roles = [m["role"] for i, m in enumerate(LONG) if i not in gone and m["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


@pytest.mark.parametrize(
    ("data", "room"),
    [({}, 128), ({"max_tokens": 20}, 20), ({"max_completion_tokens": 400}, 256), ({"max_tokens": -1}, 128)],
)
def test_room_is_left_for_the_answer(data: dict[str, Any], room: int) -> None:
    assert room_to_answer(data, CONTEXT) == room


# -- through OpenAI's route, with OpenAI's client --


def _numbers(header: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"sent=(\d+); kept=(\d+); dropped=(\d+)", header)
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3])


async def test_openais_client_reads_a_trimmed_answer_whole_and_streamed() -> None:
    async with _house() as (_, http):
        through: Any = http
        client = openai.AsyncOpenAI(base_url="http://house/v1", api_key="any", http_client=through)
        messages: Any = LONG
        raw = await client.chat.completions.with_raw_response.create(
            model="graine", messages=messages, max_tokens=8, temperature=0, extra_body={"context": "trim"}
        )
        sent, kept, dropped = _numbers(raw.headers["x-domicile-context-dropped"])
        assert kept + dropped == sent == len(LONG)
        parsed = raw.parse()
        assert isinstance(parsed, ChatCompletion)
        text = parsed.choices[0].message.content
        stream = await client.chat.completions.create(
            model="graine", messages=messages, max_tokens=8, temperature=0, stream=True,
            stream_options={"include_usage": True}, extra_headers={"X-Domicile-Context": "trim"},
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    ends = [c for c in chunks if c.choices and c.choices[0].finish_reason]
    assert ends[0].model_extra is not None
    assert ends[0].model_extra["domicile"]["context"]["messages_dropped"] == dropped
    usage = next(c.usage for c in chunks if c.usage)
    assert usage.model_extra is not None
    assert usage.model_extra["domicile"]["context"]["messages_kept"] == kept


async def test_five_megabytes_are_refused_at_once_and_the_model_goes_on_answering() -> None:
    async with _house() as (_, http):
        await http.post(CHAT, content=_body([{"role": "user", "content": "Bonjour"}]))  # awake
        answer = await http.post(CHAT, content=_body([{"role": "user", "content": "Bonjour le monde " * 300_000}]))
        again = await http.post(CHAT, content=_body([{"role": "user", "content": "Bonjour"}]))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["context"] == CONTEXT
    # An estimate, by the little that was read of it: the engine counts 1,500,011 and takes seconds for that.
    assert 1_400_000 < error["prompt"] < 1_600_000
    assert "about" in error["message"]
    assert again.status_code == 200


async def test_an_answer_that_fills_the_context_ends_there_and_says_so() -> None:
    async with _house() as (_, http):
        body = _body([_said("user", 150)], max_tokens=4000, ignore_eos=True)
        answer = (await http.post(CHAT, content=body)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT


async def test_a_body_that_need_not_change_reaches_the_engine_as_it_came() -> None:
    async with _house() as (house, _):
        asked = Ask("graine", CHAT, _body([{"role": "user", "content": "Bonjour"}], context="trim", stream=True))
        async with house.answer(asked) as answer:
            assert isinstance(answer, Answer)
            text = await whole(answer.reply.body)
    assert text.endswith(b"data: [DONE]\n\n")
    assert b"domicile" not in text
