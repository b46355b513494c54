"""Who may knock: names against rebinding, origins against pages, keys beyond loopback, headers on every answer."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from domicile.app import House, open_house
from domicile.config import load
from domicile.web import ROUTES, build, trouble
from domicile.web.guard import SECURITY_HEADERS, Rules, is_loopback, key_in, rules
from domicile.web.serve import Open, open_door
from tests.conftest import Visiting
from tests.fakes.inside import InProcess
from tests.fakes.parrot import Parrot

pytestmark = pytest.mark.anyio

PORT = 11435
OURS = rules("127.0.0.1", PORT, ["Studio.Example:8080"], [], ())
Headers = dict[str, str] | list[tuple[str, str]]


@dataclass
class Door:
    """A house behind rules, and whoever knocks at it with headers of their own."""

    house: House
    parrot: Parrot
    http: httpx2.AsyncClient

    async def knock(self, headers: Headers, method: str = "GET", path: str = "/domicile/version") -> httpx2.Response:
        return await self.http.request(method, path, headers=headers)


@asynccontextmanager
async def _door(asked: Rules) -> AsyncIterator[Door]:
    parrot = Parrot()
    async with open_house(load(), {"parrot": parrot}) as house:
        transport = InProcess(build(house, asked))
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{PORT}") as http:
            yield Door(house, parrot, http)


REFUSED_HOSTS = [
    "",
    "localhost",
    "127.0.0.1",
    "[::1]",
    "localhost:80",
    "localhost:11434",
    f"localhost.:{PORT}",
    f"localhost:{PORT}.",
    f"localhost:0{PORT}",
    f"localhost:{PORT}0",
    f"localhost:{PORT}/",
    f"localhost:{PORT}, evil.example",
    f"localhost:{PORT}@evil.example",
    f"evil@localhost:{PORT}",
    f"localhost :{PORT}",
    f"localhost\t:{PORT}",
    f"http://localhost:{PORT}",
    f"localhost.localdomain:{PORT}",
    f"x.localhost:{PORT}",
    f"127.0.0.1.nip.io:{PORT}",
    f"localtest.me:{PORT}",
    f"evil.example:{PORT}",
    f"evil.local:{PORT}",
    f"evil.internal:{PORT}",
    f"127.0.0.2:{PORT}",
    f"127.1:{PORT}",
    f"127.0.1:{PORT}",
    f"0.0.0.0:{PORT}",
    f"0:{PORT}",
    f"2130706433:{PORT}",
    f"0x7f000001:{PORT}",
    f"0177.0.0.1:{PORT}",
    f"192.168.0.1:{PORT}",
    f"10.0.0.1:{PORT}",
    f"169.254.169.254:{PORT}",
    f"::1:{PORT}",
    f"[::]:{PORT}",
    f"[::ffff:127.0.0.1]:{PORT}",
    f"[0:0:0:0:0:0:0:1]:{PORT}",
    f"[::1%25lo]:{PORT}",
    f"[::1:{PORT}",
    "studio.example",
    "studio.example:8081",
    f"studio.example:{PORT}",
    f"ⓛocalhost:{PORT}",
    f"lоcalhost:{PORT}",  # a Cyrillic o
    "a" * 5000,
]
ACCEPTED_HOSTS = [
    f"localhost:{PORT}",
    f"LOCALHOST:{PORT}",
    f"LocalHost:{PORT}",
    f"127.0.0.1:{PORT}",
    f"[::1]:{PORT}",
    "studio.example:8080",
    "Studio.Example:8080",
    "STUDIO.EXAMPLE:8080",
]


async def test_a_host_that_is_not_exactly_ours_is_refused_before_anything_is_looked_at() -> None:
    async with _door(OURS) as door:
        for host in REFUSED_HOSTS:
            for path in ("/domicile/version", "/nowhere"):
                answer = await door.http.get(path, headers=[(b"Host", host.encode())])
                assert answer.status_code == 403, host
                assert answer.json()["error"]["code"] == "host_refused"
    assert len(REFUSED_HOSTS) >= 39


async def test_a_host_that_is_ours_is_let_in_however_it_is_capitalised() -> None:
    async with _door(OURS) as door:
        assert [(await door.knock({"Host": host})).status_code for host in ACCEPTED_HOSTS] == [200] * 8


async def test_two_hosts_are_no_host() -> None:
    async with _door(OURS) as door:
        for second in (f"localhost:{PORT}", "evil.example"):
            answer = await door.knock([("Host", f"localhost:{PORT}"), ("Host", second)])
            assert answer.status_code == 403


async def test_on_the_port_of_the_web_the_port_need_not_be_said() -> None:
    async with _door(rules("127.0.0.1", 80, [], [], ())) as door:
        for host in ("localhost", "127.0.0.1", "[::1]", "localhost:80"):
            assert (await door.knock({"Host": host})).status_code == 200
        assert (await door.knock({"Host": "evil.example"})).status_code == 403


def test_a_house_on_the_network_answers_to_the_names_of_this_machine_and_to_no_other() -> None:
    hosts = rules("0.0.0.0", PORT, [], [], (b"x",)).hosts
    assert f"127.0.0.1:{PORT}" in hosts
    assert all(host.endswith(f":{PORT}") for host in hosts)
    assert not any(host.startswith(("evil", "*", ":", "[]")) for host in hosts)
    assert all(host == host.lower() for host in hosts)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", "::ffff:8.8.8.8", "127"]
)
def test_everything_else_is_the_network(host: str) -> None:
    assert not is_loopback(host)


FOREIGN: list[tuple[str, Headers]] = [
    ("origin", {"Origin": "https://evil.example"}),
    ("null", {"Origin": "null"}),
    ("empty", {"Origin": ""}),
    ("our name, another port", {"Origin": "http://127.0.0.1:3000"}),
    ("our name, no port", {"Origin": "http://127.0.0.1"}),
    ("another name of ours", {"Origin": f"http://localhost:{PORT}"}),
    ("our name as a prefix", {"Origin": f"http://127.0.0.1:{PORT}.evil.example"}),
    ("our name as a user", {"Origin": f"http://127.0.0.1:{PORT}@evil.example"}),
    ("another scheme", {"Origin": f"ftp://127.0.0.1:{PORT}"}),
    ("an extension", {"Origin": "chrome-extension://abcdefgh"}),
    ("a file", {"Origin": "file://"}),
    ("two", {"Origin": f"http://127.0.0.1:{PORT} https://evil.example"}),
    ("a path", {"Origin": f"http://127.0.0.1:{PORT}/"}),
    ("cross-site without origin", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    ("same-site without origin", {"Sec-Fetch-Site": "same-site"}),
    ("a navigation", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ("an unheard site", {"Sec-Fetch-Site": "anything"}),
    ("cross-site with our origin", {"Origin": f"http://127.0.0.1:{PORT}", "Sec-Fetch-Site": "cross-site"}),
    ("a form", {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"}),
    ("a plain text", {"Origin": "https://evil.example", "Content-Type": "text/plain"}),
    ("a method in disguise", {"Origin": "https://evil.example", "X-HTTP-Method-Override": "DELETE"}),
    ("a forwarded host", {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}),
]


async def test_no_page_of_a_foreign_origin_changes_or_reads_anything(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    async with _door(OURS) as door:
        door.house.library.add_file(file)
        before = door.house.library.list()
        attacks = [
            ("POST", "/domicile/pull", '{"model": "org/repo"}'),
            ("POST", "/domicile/models", f'{{"path": "{other}"}}'),
            ("POST", "/domicile/models/x/wake", "{}"),
            ("POST", "/domicile/models/x/activate", ""),
            ("POST", "/domicile/models/x/sleep", ""),
            ("DELETE", "/domicile/models/x", ""),
            ("DELETE", "/domicile/jobs/1", ""),
            ("POST", "/v1/chat/completions", '{"model": "x", "messages": [{"role": "user", "content": "a"}]}'),
            ("POST", "/v1/completions", '{"model": "x", "prompt": "a"}'),
            ("PUT", "/domicile/pull", "{}"),
            ("PATCH", "/domicile/pull", "{}"),
            ("OPTIONS", "/domicile/pull", ""),
            *[(r.method, r.path, "") for r in ROUTES if r.method == "GET"],
        ]
        for kind, headers in FOREIGN:
            for method, path, body in attacks:
                answer = await door.http.request(method, path, headers=headers, content=body)
                assert answer.status_code == 403, (kind, method, path)
                error = answer.json()["error"]  # Ollama's are a text
                of_ollama = path.startswith("/api/") and not path.startswith(trouble.OURS)
                assert isinstance(error, str) if of_ollama else error["code"] == "origin_refused"
                assert "access-control-allow-origin" not in answer.headers
        assert door.house.library.list() == before
        assert await door.house.jobs.list() == []
        assert door.parrot.wakes == 0


async def test_reading_never_changes_anything(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    async with _door(OURS) as door:
        door.house.library.add_file(file)
        before = door.house.library.list()
        for route in ROUTES:
            if route.path != "/domicile/doctor":  # which asks the embedded model, in order to know
                async with door.http.stream("GET", route.path.replace("{name:path}", "x")):
                    pass  # (one stream of events never ends)
        assert door.house.library.list() == before
        assert await door.house.jobs.list() == []
        assert door.parrot.wakes == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": f"http://127.0.0.1:{PORT}"},
        {"Origin": f"https://127.0.0.1:{PORT}"},
        {"Origin": f"HTTP://127.0.0.1:{PORT}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
)
async def test_programs_our_own_pages_and_typed_addresses_are_let_in(headers: dict[str, str]) -> None:
    async with _door(OURS) as door:
        answer = await door.knock(headers)
        assert answer.status_code == 200
        assert not any(name.startswith("access-control") for name in answer.headers)


LISTED = rules("127.0.0.1", PORT, [], ["https://friend.example"], ())


async def test_an_origin_that_is_listed_gets_exactly_its_own_headers() -> None:
    async with _door(LISTED) as door:
        headers = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
        for path, status in (("/domicile/version", 200), ("/nowhere", 404)):
            answer = await door.knock(headers, path=path)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://friend.example"
            assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
            assert "origin" in answer.headers["vary"].lower()
            assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_of_a_listed_origin_is_answered_and_of_another_refused() -> None:
    async with _door(LISTED) as door:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        answer = await door.knock({"Origin": "https://friend.example", **asks}, "OPTIONS", "/v1/chat/completions")
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "*" not in "".join(v for k, v in answer.headers.items() if k.startswith("access-control"))
        answer = await door.knock({"Origin": "https://evil.example", **asks}, "OPTIONS", "/v1/chat/completions")
        assert answer.status_code == 403
        answer = await door.knock(asks, "OPTIONS", "/v1/chat/completions")
        assert answer.status_code == 405


@pytest.mark.parametrize(
    "origin",
    [
        "https://friend.example.evil.example",
        "https://friend.example:443",
        "http://friend.example",
        "https://Friend.example",
        "https://xfriend.example",
        "https://friend.example/",
        "*",
        "null",
    ],
)
async def test_an_origin_that_only_looks_like_a_listed_one_is_refused(origin: str) -> None:
    async with _door(LISTED) as door:
        answer = await door.knock({"Origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_star_in_the_list_opens_nothing() -> None:
    async with _door(rules("127.0.0.1", PORT, ["*", "*:11435"], ["*", "https://*.example"], ())) as door:
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example:11435"}, {"Origin": "null"}):
            answer = await door.knock(headers)
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers


async def test_a_listed_origin_still_needs_the_key_but_for_its_preflight() -> None:
    digest = hashlib.sha256(b"right").digest()
    async with _door(rules("127.0.0.1", PORT, [], ["https://friend.example"], (digest,))) as door:
        headers = {"Origin": "https://friend.example"}
        assert (await door.knock(headers)).status_code == 401
        assert (await door.knock({**headers, "X-Api-Key": "right"})).status_code == 200
        asks = {**headers, "Access-Control-Request-Method": "POST"}
        assert (await door.knock(asks, "OPTIONS", "/domicile/pull")).status_code == 204


async def test_every_answer_has_its_security_headers(visiting: Visiting) -> None:
    async with visiting(body_limit=100) as visit:
        answers = [
            await visit.http.get("/domicile/version"),
            await visit.http.get("/nowhere"),
            await visit.http.get("/domicile/version", headers={"Origin": "https://evil.example"}),
            await visit.http.post("/domicile/pull", content=b"x" * 101),
            await visit.http.request("PUT", "/domicile/pull"),
            await visit.http.post("/domicile/pull", content=b"{"),
        ]
        assert [a.status_code for a in answers] == [200, 404, 403, 413, 405, 400]
        for answer in answers:
            assert {k: answer.headers.get(k) for k in SECURITY_HEADERS} == SECURITY_HEADERS


def test_the_policy_of_our_pages_allows_no_inline_script_and_no_foreign_image() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "http:" not in policy
    assert "https:" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy


# -- keys --


@asynccontextmanager
async def _on_the_network(*, new_key: bool = False) -> AsyncIterator[tuple[Open, httpx2.AsyncClient]]:
    async with (
        open_door(load(host="0.0.0.0", port=0), new_key=new_key) as door,
        httpx2.AsyncClient(base_url=door.url, trust_env=False) as http,
    ):
        yield door, http


async def test_beyond_loopback_a_key_is_made_once_shown_once_and_kept_only_as_a_digest() -> None:
    async with _on_the_network() as (door, http):
        key = door.new_key
        assert key is not None
        assert len(key) >= 40
        assert (await http.get("/domicile/version", headers={"Authorization": f"Bearer {key}"})).status_code == 200
    home = load().home
    everything = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert key.encode() not in everything
    assert hashlib.sha256(key.encode()).hexdigest().encode() in everything
    async with _on_the_network() as (door, http):
        assert door.new_key is None
        assert (await http.get("/domicile/version", headers={"X-Api-Key": key})).status_code == 200
    async with _on_the_network(new_key=True) as (door, http):
        assert door.new_key not in {None, key}
        assert (await http.get("/domicile/version", headers={"X-Api-Key": key})).status_code == 401


async def test_on_loopback_no_key_is_asked_unless_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door(load(port=0)) as door, httpx2.AsyncClient(base_url=door.url, trust_env=False) as http:
        assert door.new_key is None
        assert (await http.get("/domicile/version")).status_code == 200
        assert (await http.get("/domicile/version", headers={"X-Api-Key": "any"})).status_code == 200
    monkeypatch.setenv("DOMICILE_API_KEY", "mine")
    async with open_door(load(port=0)) as door, httpx2.AsyncClient(base_url=door.url, trust_env=False) as http:
        assert (await http.get("/domicile/version")).status_code == 401
        for key in ("mine", door.key):
            assert (await http.get("/domicile/version", headers={"X-Api-Key": key})).status_code == 200


async def test_the_key_of_an_opening_is_for_its_owner_only_and_ends_with_it() -> None:
    async with _on_the_network() as (door, http):
        plate = load().doorplate
        assert plate.stat().st_mode & 0o777 == 0o600
        assert (await http.get("/domicile/version", headers={"X-Api-Key": door.key})).status_code == 200
        old = door.key
    assert not plate.exists()
    async with _on_the_network() as (_, http):
        assert (await http.get("/domicile/version", headers={"X-Api-Key": old})).status_code == 401


WRONG: list[dict[str, bytes]] = [
    {},
    {"Authorization": b""},
    {"Authorization": b"Bearer"},
    {"Authorization": b"Bearer "},
    {"Authorization": b"Bearer wrong"},
    {"Authorization": b"right"},
    {"Authorization": b"Basic right"},
    {"Authorization": b"Basic cmlnaHQ6cmlnaHQ="},
    {"Authorization": b"Bearer right right"},
    {"Authorization": b"Bearer Right"},
    {"Authorization": b"Bearer " + b"x" * 20_000},
    {"Authorization": b"Bearer \xff\xfe\x80"},
    {"Authorization": "Bearer clé".encode()},
    {"X-Api-Key": b""},
    {"X-Api-Key": b"wrong"},
    {"X-Api-Key": b"righ"},
    {"X-Api-Key": b"\xc3\x28"},
    {"Cookie": b"key=right"},
    {"Authorization": b"Bearer wrong", "X-Api-Key": b"right"},
]


async def test_a_wrong_key_is_refused_and_never_repeated() -> None:
    digest = hashlib.sha256(b"right").digest()
    async with _door(rules("127.0.0.1", PORT, [], [], (digest,))) as door:
        for headers in WRONG:
            for path in ("/domicile/version", "/", "/nowhere", "/v1/models", "/domicile/openapi.json?key=right"):
                answer = await door.http.get(path, headers=[(k.encode(), v) for k, v in headers.items()])
                assert answer.status_code == 401, headers
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert "wrong" not in answer.text


@pytest.mark.parametrize("key", ["right", "clé à moi", "voilà", "鍵", "a" * 5000])
@pytest.mark.parametrize(
    "form", ["Authorization: Bearer {}", "authorization: bearer {}", "X-Api-Key: {}", "x-api-key: {} "]
)
async def test_the_right_key_opens_in_every_form_a_client_sends_it(key: str, form: str) -> None:
    digest = hashlib.sha256(key.encode()).digest()
    async with _door(rules("127.0.0.1", PORT, [], [], (b"another", digest))) as door:
        name, _, value = form.format(key).partition(": ")
        answer = await door.http.get("/domicile/version", headers=[(name.encode(), value.encode())])
        assert answer.status_code == 200


def test_one_function_reads_the_key() -> None:
    from starlette.datastructures import Headers as Received

    assert key_in(Received({"authorization": "Bearer a", "x-api-key": "b"})) == "a"
    assert key_in(Received({"authorization": "Basic a", "x-api-key": "b"})) == "b"
    assert key_in(Received({})) == ""


async def test_on_the_network_a_foreign_name_is_refused_even_with_the_key() -> None:
    async with _on_the_network() as (door, http):
        for host in ("evil.example", f"evil.local:{door.url.rsplit(':', 1)[1]}"):
            headers = {"X-Api-Key": str(door.new_key), "Host": host}
            assert (await http.get("/domicile/version", headers=headers)).status_code == 403
