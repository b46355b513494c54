"""How much, how deep and how slowly a request may come, over real sockets; and what its fields must be."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx2
import psutil
import pytest

from domicile.config import load
from domicile.errors import BadField, DomicileError, GrammarTooLarge, MissingField
from domicile.web import asking
from domicile.web import serve as serve_module
from domicile.web.limits import Limits
from domicile.web.serve import Open, open_door
from tests.conftest import Visiting

anyio = pytest.mark.anyio
LIMIT = 100_000
LONG = 10.0
"""A deadline that no test should reach: those that measure one make it shorter."""


@pytest.fixture
async def door() -> AsyncIterator[Open]:
    async with open_door(load(port=0, body_limit=LIMIT)) as opened:
        yield opened


class Wire:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def status(self) -> int:
        """Of the next answer; 0 when the connection was closed without one."""
        async with asyncio.timeout(LONG):
            try:
                line = await self._reader.readline()
            except ConnectionError:
                return 0
        return int(line.split()[1]) if line else 0

    async def answer(self) -> tuple[int, bytes]:
        """An answer whole, so that another may follow."""
        status = await self.status()
        async with asyncio.timeout(LONG):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            return status, await self._reader.readexactly(length)

    async def closed(self) -> bool:
        async with asyncio.timeout(LONG):
            try:
                while await self._reader.read(65536):
                    pass
            except ConnectionError:
                pass
            return True

    async def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def wire(door: Open) -> AsyncIterator[Wire]:
    host, port = door.url.removeprefix("http://").split(":")
    opened = Wire(*await asyncio.open_connection(host, int(port)))
    yield opened
    await opened.close()


def _head(door: Open, start: str = "GET /domicile/version", *more: str) -> bytes:
    lines = [f"{start} HTTP/1.1", f"Host: {door.url.removeprefix('http://')}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@anyio
async def test_what_is_answered_leaves_at_once_and_waits_for_no_acknowledgement(door: Open, wire: Wire) -> None:
    wire.send(_head(door))
    assert (await wire.answer())[0] == 200
    here = int(door.url.rpartition(":")[2])
    ours = [
        one.fd
        for one in psutil.Process().net_connections("tcp4")
        if one.laddr.port == here and one.status == psutil.CONN_ESTABLISHED
    ]
    assert len(ours) == 1
    with socket.socket(fileno=os.dup(ours[0])) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- headers --


@anyio
async def test_headers_of_64_kib_are_refused_before_they_have_all_come(door: Open, wire: Wire) -> None:
    wire.send(_head(door, "GET /domicile/version", "X-Long: " + "x" * 65536))
    assert await wire.status() == 431
    assert await wire.closed()


@anyio
async def test_headers_that_never_end_are_refused(door: Open, wire: Wire) -> None:
    wire.send(_head(door)[:-2])
    for number in range(4):
        wire.send(f"X-{number}: {'x' * 10_000}\r\n".encode())
        await asyncio.sleep(0)
    assert await wire.status() == 431


@anyio
async def test_headers_of_64_kib_are_refused_on_a_connection_that_was_kept(door: Open, wire: Wire) -> None:
    wire.send(_head(door))
    assert (await wire.answer())[0] == 200
    wire.send(_head(door, "GET /domicile/version", "X-Long: " + "x" * 65536))
    assert await wire.status() == 431
    assert await wire.closed()


@anyio
async def test_headers_of_30_kib_are_let_in_and_the_connection_is_kept(door: Open, wire: Wire) -> None:
    for _ in range(3):
        wire.send(_head(door, "GET /domicile/version", "X-Long: " + "x" * 30_000))
        assert (await wire.answer())[0] == 200


@anyio
async def test_a_large_body_is_not_taken_for_headers_wherever_the_network_cuts(door: Open, wire: Wire) -> None:
    body = json.dumps({"model": "x" * 60_000}).encode()
    whole = _head(door, "POST /domicile/pull", f"Content-Length: {len(body)}") + body
    for cut in (1, 2, 3, 4, 5):
        end = whole.index(b"\r\n\r\n")
        wire.send(whole[: end + cut])
        await asyncio.sleep(0.05)  # there is no gate between two packets: only time keeps them apart
        wire.send(whole[end + cut :])
        assert (await wire.answer())[0] == 400


@anyio
async def test_headers_that_come_too_slowly_are_closed(door: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "HEADERS_S", 0.2)
    host, port = door.url.removeprefix("http://").split(":")
    for begun in (b"", b"GET / HT", _head(door)[:-2]):
        wire = Wire(*await asyncio.open_connection(host, int(port)))
        wire.send(begun)
        assert await wire.status() == 408
        assert await wire.closed()
        await wire.close()


@anyio
async def test_slow_headers_after_a_first_answer_are_closed_as_well(
    door: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "HEADERS_S", 0.2)
    host, port = door.url.removeprefix("http://").split(":")
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    wire.send(_head(door))
    assert (await wire.answer())[0] == 200
    wire.send(_head(door)[:-2])
    assert await wire.status() == 408
    await wire.close()


@anyio
@pytest.mark.parametrize(
    "said", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
async def test_what_is_no_http_is_refused_and_the_house_stays_open(door: Open, wire: Wire, said: bytes) -> None:
    wire.send(said)
    assert await wire.status() in {400, 0}
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{door.url}/domicile/health")).status_code == 200


@anyio
async def test_two_lengths_or_a_length_and_chunks_are_refused(door: Open) -> None:
    host, port = door.url.removeprefix("http://").split(":")
    for more in (["Content-Length: 2", "Content-Length: 3"], ["Content-Length: 2", "Transfer-Encoding: chunked"]):
        wire = Wire(*await asyncio.open_connection(host, int(port)))
        wire.send(_head(door, "POST /domicile/pull", *more) + b"{}")
        assert await wire.status() == 400
        await wire.close()


# -- bodies --


@anyio
async def test_a_body_that_announces_too_much_is_refused_before_it_comes(door: Open, wire: Wire) -> None:
    wire.send(_head(door, "POST /domicile/pull", f"Content-Length: {10**15}"))
    status, body = await wire.answer()
    assert status == 413
    assert json.loads(body)["error"]["code"] == "body_too_large"


@anyio
async def test_a_body_that_is_too_large_in_chunks_is_refused(door: Open, wire: Wire) -> None:
    wire.send(_head(door, "POST /domicile/pull", "Transfer-Encoding: chunked"))
    for _ in range(11):
        wire.send(b"%x\r\n%s\r\n" % (LIMIT // 10, b" " * (LIMIT // 10)))
    status, body = await wire.answer()
    assert status == 413
    assert json.loads(body)["error"]["code"] == "body_too_large"


@anyio
async def test_a_body_of_exactly_the_limit_is_read(door: Open, wire: Wire) -> None:
    body = b'{"model": "two words"}'.ljust(LIMIT)
    wire.send(_head(door, "POST /domicile/pull", f"Content-Length: {LIMIT}") + body)
    status, said = await wire.answer()
    assert (status, json.loads(said)["error"]["code"]) == (400, "bad_name")


@anyio
async def test_a_body_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits.__init__, "__defaults__", (0.2,))
    async with open_door(load(port=0)) as door:
        host, port = door.url.removeprefix("http://").split(":")
        for framing, part in (("Content-Length: 100", b'{"mo'), ("Transfer-Encoding: chunked", b'4\r\n{"mo\r\n')):
            wire = Wire(*await asyncio.open_connection(host, int(port)))
            wire.send(_head(door, "POST /domicile/pull", framing) + part)
            status, body = await wire.answer()
            assert status == 408
            assert json.loads(body)["error"]["code"] == "slow_request"
            await wire.close()


@anyio
async def test_a_caller_who_leaves_in_the_middle_of_a_body_breaks_nothing(door: Open, wire: Wire) -> None:
    wire.send(_head(door, "POST /domicile/pull", "Content-Length: 100") + b'{"mo')
    await wire.close()
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{door.url}/domicile/health")).status_code == 200
    assert await door.house.jobs.list() == []


@anyio
async def test_a_compressed_body_is_not_unpacked(visiting: Visiting) -> None:
    import gzip

    async with visiting() as visit:
        bomb = gzip.compress(b" " * 10_000_000)
        answer = await visit.http.post("/domicile/pull", content=bomb, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")


# -- JSON --

BAD_JSON: dict[str, bytes] = {
    "no JSON": b"hello",
    "cut": b'{"model": "x"',
    "a comma too many": b'{"model": "x",}',
    "invalid UTF-8": b'{"model": "\xff"}',
    "overlong UTF-8": b'{"model": "\xc0\xaf"}',
    "UTF-16": '{"model": "x"}'.encode("utf-16"),
    "a lone surrogate": b'{"model": "\\ud800"}',
    "a lone surrogate in capitals": b'{"model": "\\uDFFF"}',
    "a lone surrogate in a key": b'{"\\udc00": 1}',
    "a lone surrogate deep inside": b'{"a": [{"b": ["x\\uD83D"]}]}',
    "a surrogate in bytes": b'{"model": "\xed\xa0\x80"}',
    "a list": b"[1]",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "65 levels": b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "100 000 levels": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100 000 objects": b'{"a":' * 100_000,
    "a number of 5 000 digits": b'{"a": ' + b"9" * 5000 + b"}",
}


@anyio
@pytest.mark.parametrize("kind", BAD_JSON)
@pytest.mark.parametrize("path", ["/domicile/pull", "/v1/chat/completions"])
async def test_a_body_that_is_no_json_object_is_refused_in_words(visiting: Visiting, kind: str, path: str) -> None:
    async with visiting() as visit:
        answer = await visit.http.post(path, content=BAD_JSON[kind])
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")
        assert answer.json()["error"]["hint"]


@anyio
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "\xf0\x9f\x98\x80 \\ud83d\\ude00 \\\\ud800"}',
        b'{"model": "a b"' + b', "a":' + b"[" * 63 + b"]" * 63 + b"}",
    ],
)
async def test_a_pair_of_surrogates_and_64_levels_are_read(visiting: Visiting, body: bytes) -> None:
    async with visiting() as visit:
        answer = await visit.http.post("/domicile/pull", content=body)
        assert answer.json()["error"]["code"] == "bad_name"


@anyio
async def test_an_empty_body_is_an_empty_object(visiting: Visiting) -> None:
    async with visiting() as visit:
        for body in (b"", b" \n"):
            answer = await visit.http.post("/domicile/pull", content=body)
            assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("missing_field", "model")


# -- fields --


def _nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


HI = [{"role": "user", "content": "hi"}]
CHAT: list[tuple[dict[str, Any], str]] = [
    ({}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": {"role": "user"}}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [*HI, None]}, "messages[1]"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": 1}]}, "messages[0].role"),
    ({"messages": [*HI, {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": True}]}, "messages[0].content"),
]
PROMPT: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": {"a": 1}}, "prompt"),
    ({"prompt": True}, "prompt"),
]
SAMPLING: list[tuple[dict[str, Any], str]] = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 1e300}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": float("inf")}, "temperature"),
    ({"temperature": [1]}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_p": -1}, "top_p"),
    ({"min_p": 2}, "min_p"),
    ({"presence_penalty": 2.5}, "presence_penalty"),
    ({"frequency_penalty": "x"}, "frequency_penalty"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"seed": 2**63}, "seed"),
    ({"seed": "x"}, "seed"),
    ({"seed": {}}, "seed"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"max_tokens": 2**63}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"max_completion_tokens": 2**21}, "max_completion_tokens"),
    ({"stop": 5}, "stop"),
    ({"stop": {"a": 1}}, "stop"),
    ({"stop": ["a", 5]}, "stop"),
    ({"stop": ["a"] * 65}, "stop"),
    ({"stop": [["a"]]}, "stop"),
    ({"grammar": 5}, "grammar"),
    ({"grammar": "x" * (asking.GRAMMAR_BYTES + 1)}, "grammar"),
    ({"grammar": "é" * (asking.GRAMMAR_BYTES // 2 + 1)}, "grammar"),
    ({"grammar": "root ::= " + "(" * 33 + "x" + ")" * 33}, "grammar"),
    ({"grammar": "root ::= " + "([" * 20}, "grammar"),
    ({"response_format": {"a": "x" * asking.SCHEMA_BYTES}}, "response_format"),
    ({"response_format": _nested(40)}, "response_format"),
    ({"json_schema": _nested(36)}, "json_schema"),
    ({"tools": [_nested(40)]}, "tools"),
    ({"tools": [{"function": {"description": "x" * asking.SCHEMA_BYTES}}]}, "tools"),
]
GOOD: list[dict[str, Any]] = [
    {},
    {"temperature": 0, "top_p": 1, "min_p": 0.05, "n": 1, "seed": -1, "max_tokens": -1},
    {"temperature": None, "stop": None, "grammar": None, "tools": None},
    {"stop": "a"},
    {"stop": []},
    {"stop": ["a"] * 64},
    {"max_tokens": 1 << 20},
    {"grammar": "root ::= " + "(" * 32 + "x" + ")" * 32},
    {"grammar": "x" * asking.GRAMMAR_BYTES},
    {"json_schema": _nested(30)},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": _nested(30)}}},
    {"a_field_we_do_not_know": {"stays": "in the body"}},
]


def _field_of(error: DomicileError) -> object:
    assert isinstance(error, (BadField, MissingField, GrammarTooLarge))
    assert error.status == 400
    return error.facts["field"]


@pytest.mark.parametrize(("data", "field"), CHAT, ids=[str(d)[:50] for d, _ in CHAT])
def test_a_chat_that_cannot_be_read_is_refused_naming_the_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(DomicileError) as refused:
        asking.check_chat(data)
    assert _field_of(refused.value) == field


@pytest.mark.parametrize(("data", "field"), PROMPT, ids=[str(d) for d, _ in PROMPT])
def test_a_prompt_that_cannot_be_read_is_refused_naming_the_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(DomicileError) as refused:
        asking.check_prompt(data)
    assert _field_of(refused.value) == field


@pytest.mark.parametrize(("data", "field"), SAMPLING, ids=[str(d)[:40] for d, _ in SAMPLING])
def test_a_wish_beyond_its_bounds_is_refused_naming_the_field(data: dict[str, Any], field: str) -> None:
    checks: tuple[tuple[Callable[[Mapping[str, Any]], None], dict[str, Any]], ...] = (
        (asking.check_sampling, {}),
        (asking.check_chat, {"messages": HI}),
        (asking.check_prompt, {"prompt": "hi"}),
    )
    for check, needed in checks:
        with pytest.raises(DomicileError) as refused:
            check({**needed, **data})
        assert _field_of(refused.value) == field
        assert len(str(refused.value.facts.get("problem", ""))) <= 80


@pytest.mark.parametrize("data", GOOD, ids=[str(d)[:40] for d in GOOD])
def test_a_wish_within_its_bounds_is_let_through(data: dict[str, Any]) -> None:
    asking.check_chat({"messages": HI, **data})
    asking.check_prompt({"prompt": ["hi"], **data})


def test_a_schema_that_refers_to_anything_but_its_own_parts_is_refused() -> None:
    for reference in ("http://evil.example/x", "https://evil.example/x", "file:///etc/passwd", "//evil.example/x"):
        with pytest.raises(DomicileError) as refused:
            asking.check_sampling({"json_schema": {"properties": {"a": {"$ref": reference}}}})
        assert _field_of(refused.value) == "json_schema"
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}, "$ref": {}}}}}
    asking.check_sampling({"json_schema": tree})


OTHER_FIELDS: list[tuple[str, str, Any, str]] = [
    ("POST", "/v1/chat/completions", {"messages": HI}, "model"),
    ("POST", "/v1/chat/completions", {"messages": HI, "model": 5}, "model"),
    ("POST", "/v1/chat/completions", {"messages": HI, "model": " "}, "model"),
    ("POST", "/v1/chat/completions", {"messages": HI, "model": "x", "stream": "yes"}, "stream"),
    ("POST", "/v1/chat/completions", {"messages": HI, "model": "x", "stream": 1}, "stream"),
    ("POST", "/v1/completions", {"prompt": "hi", "model": []}, "model"),
    ("POST", "/v1/completions", {"model": "x", "stream": False}, "prompt"),
    ("POST", "/domicile/pull", {"model": None}, "model"),
    ("POST", "/domicile/pull", {"model": {"a": 1}}, "model"),
    ("POST", "/domicile/models", {}, "path"),
    ("POST", "/domicile/models", {"path": 5}, "path"),
    ("POST", "/domicile/models", {"path": "relative.gguf"}, "path"),
    ("POST", "/domicile/models/graine/wake", {"keep_alive": "soon"}, "keep_alive"),
    ("POST", "/domicile/models/graine/wake", {"keep_alive": []}, "keep_alive"),
    ("POST", "/domicile/models/graine/wake", {"keep_alive": True}, "keep_alive"),
    ("POST", "/domicile/models/graine/wake", {"keep_alive": float("nan")}, "keep_alive"),
    ("POST", "/domicile/models/graine/wake", {"keep_alive": 10**400}, "keep_alive"),
]


@anyio
@pytest.mark.parametrize(
    ("method", "path", "body", "field"), OTHER_FIELDS, ids=[f"{p} {str(b)[:50]}" for _, p, b, _ in OTHER_FIELDS]
)
async def test_over_the_api_a_field_of_the_wrong_kind_is_named(
    visiting: Visiting, method: str, path: str, body: Any, field: str
) -> None:
    async with visiting() as visit:
        answer = await visit.http.request(method, path, content=json.dumps(body))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == field
        assert visit.parrot.wakes == 0


@anyio
@pytest.mark.parametrize("path", ["/" + "x" * 5000, "/nowhere/x.gguf", "/a\x00b", "/dev/null", "/proc/self/mem", "/"])
async def test_a_path_that_is_no_model_is_refused_and_never_a_bug(visiting: Visiting, path: str) -> None:
    async with visiting() as visit:
        answer = await visit.http.post("/domicile/models", json={"path": path})
        assert answer.status_code in {409, 422}
