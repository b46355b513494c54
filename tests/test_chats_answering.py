"""Answers that survive the asker: written by the house, rejoined, stopped, branched, cut and gone on with."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from domicile.app import open_house
from domicile.chats.feed import Feed
from domicile.config import load
from domicile.errors import OutOfMemory
from tests.conftest import OpenHouse, Visiting
from tests.test_chats import URL, attach, code, ended, make, say, tell, told

pytestmark = pytest.mark.anyio


class Listener:
    """Who listens to a chat: every event, and what a page would show of it."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, Any]] = []
        self.texts: dict[str, str] = {}

    def hear(self, number: int, name: str, data: Any) -> None:
        self.events.append((number, name, data))
        if name == "snapshot":
            self.texts = {m["id"]: m["text"] for m in data["messages"]}
        elif name == "message":
            self.texts[data["id"]] = data["text"]
        elif name == "delta":
            self.texts[data["message"]] = self.texts.get(data["message"], "") + data.get("text", "")

    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


@asynccontextmanager
async def listening(
    http: httpx2.AsyncClient, chat: str, after: int | None = None
) -> AsyncIterator[tuple[Listener, Callable[[Callable[[], bool]], Any]]]:
    """Listen while the context lasts; `until(condition)` waits for it to hold after an event."""
    listener, news = Listener(), asyncio.Event()

    async def listen() -> None:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        async with http.stream("GET", f"{URL}/{chat}/events", headers=headers, timeout=None) as answer:
            number, name = 0, ""
            async for line in answer.aiter_lines():
                if line.startswith("id:"):
                    number = int(line[3:])
                elif line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    listener.hear(number, name, json.loads(line[5:]))
                    news.set()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                news.clear()
                await news.wait()

    task = asyncio.create_task(listen())
    try:
        if after is None:
            await until(lambda: bool(listener.events))
        yield listener, until
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask(http: httpx2.AsyncClient, chat: str, **wanted: Any) -> list[dict[str, Any]]:
    answer = await http.post(f"{URL}/{chat}/answer", json=wanted)
    assert answer.status_code == 202, answer.text
    made: list[dict[str, Any]] = answer.json()["messages"]
    return made


async def test_a_page_that_reloads_in_the_middle_rejoins_with_all_so_far(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        visit.parrot.speaking.clear()
        async with listening(visit.http, chat) as (first, until):
            _, answer = await ask(visit.http, chat, text="un deux trois")
            await until(lambda: first.texts.get(answer["id"]) == "un ")
            seen = first.events[-1][0]
        async with (
            listening(visit.http, chat) as (again, until),
            listening(visit.http, chat, seen) as (late, until_late),
        ):
            assert again.names() == ["snapshot"]  # all there is, then what comes
            assert again.texts[answer["id"]] == "un "
            visit.parrot.speaking.set()
            await until(lambda: again.texts[answer["id"]] == "un deux trois ")
            await until_late(lambda: "message" in late.names())
            assert "".join(d["text"] for _, n, d in late.events if n == "delta") == "deux trois "
            assert "snapshot" not in late.names()  # who says where it was is told only what came after
            numbers = [n for n, _, _ in late.events]
            assert numbers == sorted(set(numbers))
            assert numbers[0] > seen


async def test_an_answer_goes_on_when_nobody_listens(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        answer = await say(visit.http, visit.house, chat, "un deux trois")
        assert (answer["text"], answer["state"]) == ("un deux trois ", "done")
        assert (answer["model"], answer["served_by"]) == ("graine", "home")
        assert answer["tokens_per_second"] > 0


async def test_who_waits_hears_its_place_then_the_waking_then_the_words(visiting: Visiting) -> None:
    async with visiting() as visit:
        one, two = [await make(visit.http) for _ in range(2)]
        visit.parrot.hatching.clear()
        visit.parrot.speaking.clear()
        async with listening(visit.http, one) as (first, until), listening(visit.http, two) as (second, until_two):
            await ask(visit.http, one, text="un deux")
            await until(lambda: ("status", "waking") in [(n, d.get("status")) for _, n, d in first.events])
            visit.parrot.hatching.set()
            await until(lambda: "delta" in first.names())
            await ask(visit.http, two, text="trois")
            await until_two(
                lambda: any(n == "status" and d.get("position") == 1 for _, n, d in second.events)  # one slot
            )
            visit.parrot.speaking.set()
            await until_two(lambda: second.names()[-1] == "message" and second.events[-1][2]["state"] == "done")


async def test_an_answer_that_is_stopped_keeps_what_it_said_and_can_go_on(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        visit.parrot.speaking.clear()
        async with listening(visit.http, chat) as (listener, until):
            _, answer = await ask(visit.http, chat, text="un deux trois")
            await until(lambda: listener.texts.get(answer["id"]) == "un ")
            refused = await visit.http.post(f"{URL}/{chat}/answer", json={"text": "et puis ?"})
            assert code(refused) == (409, "answer_under_way")
            refused = await visit.http.patch(f"{URL}/{chat}/messages/{answer['id']}", json={"text": "x"})
            assert code(refused) == (409, "answer_under_way")
            stopped = await visit.http.post(f"{URL}/{chat}/stop")
            assert stopped.json() == {"stopped": [answer["id"]]}
            await until(lambda: listener.events[-1][1] == "message")
            assert (listener.events[-1][2]["text"], listener.events[-1][2]["state"]) == ("un ", "stopped")
        assert visit.parrot.awake_now[0].answering == 0  # the model was let go
        visit.parrot.speaking.set()
        (again,) = await ask(visit.http, chat, **{"continue": answer["id"]})
        assert again["id"] == answer["id"]
        whole = await ended(visit.house, chat, answer["id"], visit.http)
        assert (whole["text"], whole["state"]) == ("un un  ", "done")  # a parrot goes on by repeating the last message
        sent = json.loads(visit.parrot.awake_now[0].asked[-1][1])
        assert sent["messages"][-1] == {"role": "assistant", "content": "un "}
        assert sent["chat_template_kwargs"] == {"enable_thinking": False}


async def test_another_answer_and_a_question_put_otherwise_are_branches(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        first = await say(visit.http, visit.house, chat, "un")
        (second,) = await ask(visit.http, chat, regenerate=first["id"], parameters={"temperature": 0.1})
        await ended(visit.house, chat, second["id"], visit.http)
        question, third = await ask(visit.http, chat, edit=first["parent"], text="deux")
        await ended(visit.house, chat, third["id"], visit.http)
        whole = await told(visit.http, f"{URL}/{chat}")
        assert (second["parent"], question["parent"]) == (first["parent"], None)
        assert second["parameters"] == {"temperature": 0.1}
        assert whole["path"] == [question["id"], third["id"]]
        shown = await visit.http.patch(f"{URL}/{chat}", json={"leaf": first["parent"]})
        assert shown.json()["leaf"] == second["id"]  # its newest branch
        follow = await say(visit.http, visit.house, chat, "suite")
        sent = json.loads(visit.parrot.awake_now[0].asked[-1][1])
        assert [m["content"] for m in sent["messages"]] == ["un", "un ", "suite"]
        fork = (await visit.http.post(f"{URL}/{chat}/fork", json={"message": follow["parent"]})).json()
        assert [m["text"] for m in fork["messages"]] == ["un", "un ", "suite"]
        assert fork["id"] != chat
        await visit.http.delete(f"{URL}/{chat}")
        assert len((await told(visit.http, f"{URL}/{fork['id']}"))["messages"]) == 3


async def test_two_models_answer_side_by_side(visiting: Visiting) -> None:
    async with visiting() as visit:
        visit.house.copy("graine", "autre")
        chat = await make(visit.http)
        question, one, two = await ask(visit.http, chat, text="un", models=["graine", "autre"])
        answers = [await ended(visit.house, chat, m["id"], visit.http) for m in (one, two)]
        assert [(a["parent"], a["text"], a["state"], a["model"]) for a in answers] == [
            (question["id"], "un ", "done", "graine"),
            (question["id"], "un ", "done", "autre"),
        ]
        refused = await visit.http.post(f"{URL}/{chat}/answer", json={"text": "x", "models": list("abcde")})
        assert code(refused) == (400, "bad_field")


async def test_a_model_that_nobody_knows_is_refused_before_anything_is_kept(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        refused = await visit.http.post(f"{URL}/{chat}/answer", json={"text": "x", "model": "grain"})
        assert code(refused) == (404, "model_not_found")
        assert (await told(visit.http, f"{URL}/{chat}"))["messages"] == []


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 400),
        ({"text": " "}, 400),
        ({"edit": "m", "regenerate": "m"}, 400),
        ({"regenerate": "m", "text": "x"}, 400),
        ({"continue": "message-x"}, 404),
        ({"text": "x", "parent": "message-x"}, 404),
        ({"text": "x", "attachments": ["file-x"]}, 404),
        ({"text": "x", "parameters": {"top_p": 2}}, 400),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(visiting: Visiting, wanted: dict[str, Any], status: int) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        assert (await visit.http.post(f"{URL}/{chat}/answer", json=wanted)).status_code == status


async def test_an_answer_that_cannot_begin_says_why_in_the_language_of_who_reads(visiting: Visiting) -> None:
    async with visiting() as visit:
        visit.parrot.ill = OutOfMemory(name="graine", limit=1 << 30)
        chat = await make(visit.http)
        answer = await say(visit.http, visit.house, chat, "un")
        assert (answer["state"], answer["text"], answer["error"]["code"]) == ("failed", "", "out_of_memory")
        french = await visit.http.get(f"{URL}/{chat}", headers={"Accept-Language": "fr"})
        assert french.json()["messages"][-1]["error"]["message"] != answer["error"]["message"]


async def test_a_model_that_dies_midway_leaves_what_it_said_marked_as_cut(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        visit.parrot.speaking.clear()
        async with listening(visit.http, chat) as (listener, until):
            _, answer = await ask(visit.http, chat, text="un deux")
            await until(lambda: listener.texts.get(answer["id"]) == "un ")
            visit.parrot.awake_now[0].gone.set()
            await until(lambda: listener.names()[-1] == "message")
        last = listener.events[-1][2]
        assert (last["text"], last["state"], last["error"]["code"]) == ("un ", "cut", "engine_died")


async def test_a_chat_that_is_deleted_while_it_is_answered_is_gone(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        visit.parrot.speaking.clear()
        async with listening(visit.http, chat) as (listener, until):
            _, answer = await ask(visit.http, chat, text="un deux")
            await until(lambda: listener.texts.get(answer["id"]) == "un ")
            await visit.http.delete(f"{URL}/{chat}")
            await until(lambda: listener.names()[-1] == "removed")
        assert visit.parrot.awake_now[0].answering == 0
        assert (await told(visit.http))["total"] == 0


async def test_a_house_that_closes_keeps_what_was_said(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        visit.parrot.speaking.clear()
        async with listening(visit.http, chat) as (listener, until):
            _, answer = await ask(visit.http, chat, text="un deux")
            await until(lambda: listener.texts.get(answer["id"]) == "un ")
    async with open_house(load(), {}) as house:
        message = house.chats.whole(chat).messages[answer["id"]]
        assert (message.text, message.state) == ("un ", "cut")


async def test_a_file_too_long_for_the_context_is_given_shorter_and_that_is_said(visiting: Visiting) -> None:
    async with visiting() as visit:
        chat = await make(visit.http)
        made = await attach(visit.http, b"mot " * 20_000, "livre.txt")
        answer = await say(visit.http, visit.house, chat, "Résume.", made["id"])
        (given,) = answer["files"]
        assert given["name"] == "livre.txt"
        assert (given["cut"], given["reason"], given["characters"]) == (True, "room", 80_000)
        sent = json.loads(visit.parrot.awake_now[0].asked[-1][1])["messages"][-1]["content"]
        assert f"Only the first {given['given_characters']} of 80000 characters" in sent
        assert sent.endswith("Résume.")


async def test_a_list_of_chats_hears_what_comes_and_goes(visiting: Visiting) -> None:
    async with visiting() as visit:
        feed = visit.house.chats.follow_list(None)
        assert (await anext(feed)).name == "snapshot"
        chat = await make(visit.http)
        await tell(visit.http, chat, "Bonjour")
        await visit.http.delete(f"{URL}/{chat}")
        events = [await anext(feed) for _ in range(3)]
        assert [e.name for e in events] == ["chat", "chat", "removed"]
        assert events[1].data.title == "Bonjour"


async def test_a_watcher_who_was_away_for_too_long_gets_everything_anew() -> None:
    feed = Feed(remembered=3)
    start = feed.number
    for n in range(10):
        feed.tell("delta", n)
    feed.end()

    async def heard(after: int | None) -> list[Any]:
        return [e.data async for e in feed.follow(after, lambda: "all")]

    assert await heard(start + 8) == [8, 9]
    assert await heard(start + 2) == ["all"]
    assert await heard(None) == ["all"]
    assert await heard(12) == ["all"]  # of another house
    assert feed.followers == 0


# -- PDF --


def _pdf(*texts: str, stream: bytes | None = None, locked: bool = False) -> bytes:
    """A PDF of one page for each text."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    for text in texts:
        page = writer.add_blank_page(200, 200)
        font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
        named = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(named)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(stream or f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(content.flate_encode())
    if locked:
        writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.slow
async def test_the_text_of_a_pdf_is_read_page_by_page(visiting: Visiting) -> None:
    async with visiting() as visit:
        made = await attach(visit.http, _pdf("Bonjour le monde", "Page deux"), "lettre.pdf")
        assert (made["kind"], made["pages"], made["pages_read"], made["cut"]) == ("pdf", 2, 2, False)
        text = (await told(visit.http, f"{URL}/attachments/{made['id']}"))["text"]
        assert text == "Bonjour le monde\n\nPage deux"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: _pdf(" " * 10), "holds no text"),
        (lambda: b"%PDF-1.7\n" + os.urandom(500), "can be read"),
        (lambda: _pdf("x", locked=True), "password"),
        (lambda: _pdf("x", stream=b"q " * (400 << 20 >> 1)), "memory or time|holds no text|can be read"),
    ],
    ids=["no text", "broken", "locked", "bomb"],
)
async def test_a_pdf_that_cannot_be_read_is_refused_within_bounds(
    visiting: Visiting, made: Callable[[], bytes], reason: str
) -> None:
    import re

    data = made()
    assert len(data) < 1 << 20
    async with visiting() as visit:
        began = time.process_time()
        refused = await visit.http.post(f"{URL}/attachments?name=a.pdf", content=data, timeout=None)
        assert code(refused) == (415, "attachment_refused")
        assert re.search(reason, refused.json()["error"]["message"])
        assert time.process_time() - began < 5  # the house itself did none of it
        assert (await visit.http.get("/domicile/health")).status_code == 200


# -- a real house --


@pytest.mark.slow
def test_a_house_killed_in_the_middle_of_an_answer_keeps_what_was_said(
    open_house_process: Callable[..., OpenHouse],
) -> None:
    opened = open_house_process(OMP_WAIT_POLICY="passive", DOMICILE_THREADS="1")
    with httpx2.Client(base_url=opened.url, timeout=60, trust_env=False) as http:
        chat = http.post(URL, json={"model": "graine", "parameters": {"max_tokens": 3500, "seed": 1}}).json()["id"]
        endless = "root ::= [a-z ] root"
        body = {"text": "Raconte.", "parameters": {"grammar": endless}}
        answer = http.post(f"{URL}/{chat}/answer", json=body).json()["messages"][-1]["id"]
        said = ""
        with http.stream("GET", f"{URL}/{chat}/events") as stream:
            began = None
            for line in stream.iter_lines():
                if line.startswith("data:") and '"text"' in line:
                    data = json.loads(line[5:])
                    if data.get("message") == answer:
                        began = began or time.monotonic()
                        said += data["text"]
                if began is not None and time.monotonic() - began > 1.3:
                    break
            os.kill(opened.process.pid, signal.SIGKILL)
            opened.process.wait()
    again = open_house_process()
    with httpx2.Client(base_url=again.url, timeout=60, trust_env=False) as http:
        whole = http.get(f"{URL}/{chat}").json()
        kept = whole["messages"][-1]
        assert (kept["id"], kept["state"]) == (answer, "cut")
        assert len(kept["text"]) > 20
        assert said.startswith(kept["text"]) or kept["text"].startswith(said)
        word = kept["text"].split()[0]
        assert [c["id"] for c in http.get(URL, params={"q": word}).json()["chats"]] == [chat]
        going = http.post(f"{URL}/{chat}/answer", json={"continue": answer, "parameters": {"max_tokens": 5}})
        assert going.status_code == 202
        for _ in range(600):
            after = http.get(f"{URL}/{chat}").json()["messages"][-1]
            if after["state"] != "writing":
                break
            time.sleep(0.05)
        assert after["state"] == "done"
        assert after["text"].startswith(kept["text"])
