"""Accounts: the first visit, sessions, keys, roles on every route, and what somebody hostile would try."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest

from domicile.accounts import OWNER, Accounts
from domicile.accounts.attempts import BY_ADDRESS, BY_NAME, WINDOW_S, Attempts
from domicile.app import House, open_house
from domicile.config import Settings, load
from domicile.errors import TooManyAttempts
from domicile.web import ROUTES, build, roles
from domicile.web.guard import SESSION_COOKIE, Rules, digest_of
from tests.fakes.inside import InProcess
from tests.fakes.parrot import Parrot

pytestmark = pytest.mark.anyio

HOUSE_KEY = "dom-the-key-of-the-house"
BASE = "http://house:80"
PAGE = {"Origin": "http://house", "Sec-Fetch-Site": "same-origin"}
ADMIN = {"name": "ada", "password": "correct horse battery"}
USER = {"name": "zoe", "password": "staple of the stable"}


@dataclass
class Away:
    """A house that listens beyond this machine, and a browser without a session."""

    house: House
    http: httpx2.AsyncClient

    def visitor(self) -> httpx2.AsyncClient:
        rules = Rules(frozenset({"house"}), key_digests=(digest_of(HOUSE_KEY),))
        return httpx2.AsyncClient(transport=InProcess(build(self.house, rules)), base_url="http://house")

    async def first(self) -> httpx2.Response:
        code = self.house.accounts.first_code()
        return await self.http.post("/domicile/account/first", json={"code": code, **ADMIN}, headers=PAGE)

    async def user(self) -> httpx2.AsyncClient:
        """The browser of somebody who is no administrator."""
        made = await self.http.post("/domicile/accounts", json=USER, headers=PAGE)
        assert made.status_code == 201, made.text
        visitor = self.visitor()
        assert (await visitor.post("/domicile/account/sign-in", json=USER, headers=PAGE)).status_code == 200
        return visitor


@asynccontextmanager
async def _away() -> AsyncIterator[Away]:
    async with open_house(load(), {"parrot": Parrot()}) as house:
        rules = Rules(frozenset({"house"}), key_digests=(digest_of(HOUSE_KEY),))
        async with httpx2.AsyncClient(transport=InProcess(build(house, rules)), base_url="http://house") as http:
            yield Away(house, http)


def _code(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


# -- the first visit --


async def test_the_first_visitor_needs_the_code_and_becomes_the_administrator_with_the_houses_history() -> None:
    async with _away() as away:
        page = await away.http.get("/settings", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "js/entry.js" in page.text
        assert '"first": true' in page.text
        wrong = {"code": "AAAA-AAAA-AAAA-AAAA", **ADMIN}
        assert _code(await away.http.post("/domicile/account/first", json=wrong, headers=PAGE)) == "code_refused"
        made = await away.first()
        assert (made.status_code, made.json()["role"]) == (201, "admin")
        assert away.house.accounts.get("Ada").id == OWNER
        assert away.house.accounts.first_code() is None
        again = await away.http.post("/domicile/account/first", json={"code": "", **ADMIN}, headers=PAGE)
        assert again.status_code in {400, 403}
        inside = await away.http.get("/settings", headers={"Accept": "text/html"})
        assert "js/main.js" in inside.text
        assert (await away.http.get("/domicile/account")).json()["name"] == "ada"


async def test_two_first_visitors_at_once_make_one_administrator() -> None:
    import asyncio

    async with _away() as away:
        code = away.house.accounts.first_code()
        asked = [
            away.http.post("/domicile/account/first", json={"code": code, **ADMIN, "name": name}, headers=PAGE)
            for name in ("one", "two", "three")
        ]
        answers = await asyncio.gather(*asked)
        assert sorted(a.status_code for a in answers) == [201, 403, 403]
        assert len(away.house.accounts.all()) == 1


async def test_on_loopback_nothing_is_asked(visiting: object) -> None:
    async with visiting() as visit:  # type: ignore[operator]
        me = (await visit.http.get("/domicile/account")).json()
        assert (me["closed"], me["role"], me["signed_in"]) == (False, "admin", False)
        page = await visit.http.get("/", headers={"Accept": "text/html"})
        assert "js/main.js" in page.text
        refused = await visit.http.post("/domicile/account/first", json={"code": "x", **ADMIN})
        assert refused.status_code == 400
        made = await visit.http.post("/domicile/account/keys", json={"name": "editor"})
        assert made.json()["key"].startswith("dom-")


async def test_nothing_but_hashes_is_kept_in_a_file_for_the_owner_alone(settings: Settings) -> None:
    async with _away() as away:
        await away.first()
        token = away.http.cookies[SESSION_COOKIE]
        key = (await away.http.post("/domicile/account/keys", json={"name": "k"}, headers=PAGE)).json()["key"]
    kept = b"".join(p.read_bytes() for p in settings.home.glob("accounts.db*"))
    for secret in (ADMIN["password"], token, key, key[4:]):
        assert secret.encode() not in kept
    assert b"$argon2id$" in kept
    assert settings.accounts.stat().st_mode & 0o077 == 0


# -- sessions --


async def test_the_cookie_is_httponly_strict_and_secure_where_the_page_is() -> None:
    async with _away() as away:
        cookie = (await away.first()).headers["set-cookie"].lower()
        for flag in ("httponly", "samesite=strict", "path=/", "max-age="):
            assert flag in cookie
        assert "secure" not in cookie
        assert "domain" not in cookie
        over = {"Origin": "https://house", "Sec-Fetch-Site": "same-origin"}
        answer = await away.visitor().post("/domicile/account/sign-in", json=ADMIN, headers=over)
        assert "; secure" in answer.headers["set-cookie"].lower()


async def test_a_session_that_was_planted_is_never_taken_over() -> None:
    async with _away() as away:
        await away.first()
        visitor = away.visitor()
        planted = "A" * 43
        headers = {**PAGE, "Cookie": f"{SESSION_COOKIE}={planted}"}
        answer = await visitor.post("/domicile/account/sign-in", json=ADMIN, headers=headers)
        assert planted not in answer.headers["set-cookie"]
        stolen = await away.visitor().get("/domicile/models", headers={"Cookie": f"{SESSION_COOKIE}={planted}"})
        assert stolen.status_code == 401


async def test_signing_in_again_ends_the_session_before() -> None:
    async with _away() as away:
        await away.first()
        old = away.http.cookies[SESSION_COOKIE]
        await away.http.post("/domicile/account/sign-in", json=ADMIN, headers=PAGE)
        assert away.http.cookies[SESSION_COOKIE] != old
        assert away.house.accounts.by_session(old) is None


async def test_going_out_and_going_out_everywhere() -> None:
    async with _away() as away:
        await away.first()
        one, two = away.visitor(), away.visitor()
        for visitor in (one, two):
            await visitor.post("/domicile/account/sign-in", json=ADMIN, headers=PAGE)
        assert len((await one.get("/domicile/account/sessions")).json()["sessions"]) == 3
        token = one.cookies[SESSION_COOKIE]
        assert (await one.post("/domicile/account/sign-out", headers=PAGE)).json() == {"signed_out": True}
        assert away.house.accounts.by_session(token) is None
        assert (await two.get("/domicile/models")).status_code == 200
        assert (await away.http.post("/domicile/account/sign-out-everywhere", headers=PAGE)).json() == {"ended": 2}
        assert (await two.get("/domicile/models")).status_code == 401


async def test_a_session_ends_unused_and_in_any_case(settings: Settings) -> None:
    now = 1_000_000.0
    people = Accounts(settings.accounts, 100.0, 250.0, clock=lambda: now)
    account = await people.add(ADMIN["name"], ADMIN["password"], "user")
    assert account.role == "admin"
    token = people.begin_session(account.id, "::1", "test")
    for _ in range(3):
        now += 80
        assert people.by_session(token) is not None
    now += 20
    assert people.by_session(token) is None  # used, but too old
    other = people.begin_session(account.id, "::1", "test")
    now += 101
    assert people.by_session(other) is None  # unused
    people.close()


async def test_a_new_password_ends_every_other_session() -> None:
    async with _away() as away:
        await away.first()
        thief = away.visitor()
        await thief.post("/domicile/account/sign-in", json=ADMIN, headers=PAGE)
        wrong = {"old": "not the password", "new": "another long password"}
        assert (await away.http.post("/domicile/account/password", json=wrong, headers=PAGE)).status_code == 401
        right = {**wrong, "old": ADMIN["password"]}
        assert (await away.http.post("/domicile/account/password", json=right, headers=PAGE)).status_code == 200
        assert (await thief.get("/domicile/models")).status_code == 401
        assert (await away.http.get("/domicile/models")).status_code == 200


# -- what somebody hostile would try --


async def test_a_cookie_alone_changes_nothing() -> None:
    """No Origin, a foreign one, another site: a browser of our own page would have said so."""
    async with _away() as away:
        await away.first()
        for headers, status in (
            ({}, 401),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "none"}, 401),
        ):
            answer = await away.http.post("/domicile/account/keys", json={"name": "x"}, headers=headers)
            assert answer.status_code == status, headers
        assert (await away.http.get("/domicile/account/keys")).json() == {"keys": []}


async def test_guessing_is_stopped_by_name_and_by_address_and_says_for_how_long() -> None:
    async with _away() as away:
        await away.first()
        statuses = []
        for number in range(BY_NAME + 2):
            answer = await away.visitor().post(
                "/domicile/account/sign-in", json={"name": "ADA ", "password": f"guess {number}"}, headers=PAGE
            )
            statuses.append(answer.status_code)
        assert statuses == [401] * (BY_NAME - 1) + [401, 429, 429] or statuses == [401] * BY_NAME + [429, 429]
        assert int(answer.headers["retry-after"]) > 60
        right = await away.visitor().post("/domicile/account/sign-in", json=ADMIN, headers=PAGE)
        assert right.status_code == 429
        assert (await away.http.get("/domicile/models")).status_code == 200  # who is in stays in


def test_attempts_are_counted_before_they_are_made_and_forgotten_after_a_while() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for number in range(BY_ADDRESS):
        attempts.begin(f"name {number}", "10.0.0.9")
    with pytest.raises(TooManyAttempts):
        attempts.begin("another", "10.0.0.9")
    attempts.begin("another", "10.0.0.8")
    now = WINDOW_S + 1
    attempts.begin("another", "10.0.0.9")
    for _ in range(BY_ADDRESS + 5):  # one's own account is no way to try those of others without end
        attempts.begin("mine", "10.0.0.7")
        attempts.succeeded("mine", "10.0.0.7")


async def test_a_name_nobody_has_is_refused_in_the_same_words_after_the_same_work() -> None:
    async with _away() as away:
        await away.first()
        told = []
        for name in (ADMIN["name"], "nobody"):
            answer = await away.visitor().post(
                "/domicile/account/sign-in", json={"name": name, "password": "wrong password"}, headers=PAGE
            )
            told.append((answer.status_code, answer.json()))
        assert told[0] == told[1]


async def test_a_wrong_password_of_nobody_does_the_work_of_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    from domicile.accounts import passwords

    tried: list[str | None] = []
    real = passwords.holds

    def watched(given: str, kept: str | None) -> bool:
        tried.append(kept)
        return real(given, kept)

    monkeypatch.setattr(passwords, "holds", watched)
    async with _away() as away:
        await away.http.post("/domicile/account/sign-in", json=USER, headers=PAGE)
    assert tried == [None]
    assert passwords._nobody().startswith("$argon2id$")


async def test_a_bad_name_or_password_is_refused_by_name() -> None:
    async with _away() as away:
        code = away.house.accounts.first_code()
        for bad in (
            {"name": ADMIN["name"], "password": "short"},
            {"name": "long-long-long", "password": "LONG-long-long"},
            {"name": "ada", "password": "aaaaaaaaaaaaaaaa"},
            {"name": "ada", "password": "x" * 2000},
            {"name": "a b", "password": ADMIN["password"]},
            {"name": "../x", "password": ADMIN["password"]},
            {"name": "", "password": ADMIN["password"]},
            {"name": "ada", "password": 7},
        ):
            answer = await away.http.post("/domicile/account/first", json={"code": code, **bad}, headers=PAGE)
            assert answer.status_code == 400, bad
            assert str(bad["password"]) not in answer.text or len(str(bad["password"])) < 3
        assert away.house.accounts.all() == []


# -- roles --


def _addressed(path: str) -> str:
    import re

    return re.sub(r"\{\w+(:path)?\}", "none", path)


async def test_nobody_and_users_are_refused_on_every_route_that_is_not_theirs() -> None:
    assert roles.strangers(ROUTES) == set()
    async with _away() as away:
        await away.first()
        user = await away.user()
        nobody = away.visitor()
        asked = 0
        for row in ROUTES:
            need, path = roles.need_of(row), _addressed(row.path)
            if need == "nobody":
                continue
            answer = await nobody.request(row.method, path, headers=PAGE)
            assert answer.status_code == 401, (row.method, path)
            if need == "admin":
                answer = await user.request(row.method, path, headers=PAGE)
                assert answer.status_code == 403, (row.method, path)
                asked += 1
        assert asked > 80
        me = (await user.get("/domicile/account")).json()
        assert (me["name"], me["role"]) == ("zoe", "user")
        assert (await user.get("/domicile/machine?calibrate=again")).status_code == 403
        assert (await nobody.get("/nowhere")).status_code == 401
        assert (await user.get("/nowhere")).status_code == 404


async def test_a_user_has_a_history_of_their_own() -> None:
    async with _away() as away:
        await away.first()
        user = await away.user()
        made = (await user.post("/domicile/chats", json={"title": "secret"}, headers=PAGE)).json()
        assert (await away.http.get("/domicile/chats")).json()["chats"] == []
        assert (await away.http.get(f"/domicile/chats/{made['id']}")).status_code == 404
        assert len((await user.get("/domicile/chats")).json()["chats"]) == 1
        gone = await away.http.delete("/domicile/accounts/zoe", headers=PAGE)
        assert gone.json()["chats"] == 1
        assert (await user.get("/domicile/chats")).status_code == 401


async def test_a_role_changes_at_once_and_the_last_administrator_stays() -> None:
    async with _away() as away:
        await away.first()
        user = await away.user()
        for method, body in (("PATCH", {"role": "user"}), ("DELETE", None)):
            answer = await away.http.request(method, "/domicile/accounts/ada", json=body, headers=PAGE)
            assert _code(answer) == "last_administrator"
        assert (await user.patch("/domicile/accounts/zoe", json={"role": "admin"}, headers=PAGE)).status_code == 403
        await away.http.patch("/domicile/accounts/zoe", json={"role": "admin"}, headers=PAGE)
        assert (await user.get("/domicile/egress")).status_code == 200
        await user.patch("/domicile/accounts/ada", json={"role": "user"}, headers=PAGE)
        assert (await away.http.get("/domicile/egress")).status_code == 403
        taken = await user.post("/domicile/accounts", json={**USER, "name": "ADA"}, headers=PAGE)
        assert (taken.status_code, _code(taken)) == (409, "account_taken")


# -- keys --


async def test_a_key_is_shown_once_opens_every_dialect_with_its_owners_role_and_can_be_revoked() -> None:
    async with _away() as away:
        await away.first()
        user = await away.user()
        made = (await user.post("/domicile/account/keys", json={"name": "my  editor"}, headers=PAGE)).json()
        listed = (await user.get("/domicile/account/keys")).json()["keys"]
        assert [k["name"] for k in listed] == ["my editor"]
        assert made["key"] not in str(listed)
        tool = away.visitor()
        bearer, anthropic = {"Authorization": f"Bearer {made['key']}"}, {"X-Api-Key": made["key"]}
        for path in ("/v1/models", "/api/tags", "/domicile/models"):
            for headers in (bearer, anthropic):
                assert (await tool.get(path, headers=headers)).status_code == 200, path
        assert (await tool.get("/domicile/accounts", headers=bearer)).status_code == 403
        assert (await tool.get("/v1/models", headers={"Authorization": f"Bearer {made['key']}x"})).status_code == 401
        assert (await away.http.get("/domicile/account/keys")).json() == {"keys": []}
        other = await away.http.delete(f"/domicile/account/keys/{made['id']}", headers=PAGE)
        assert _code(other) == "key_not_found"
        await user.delete(f"/domicile/account/keys/{made['id']}", headers=PAGE)
        assert (await tool.get("/v1/models", headers=bearer)).status_code == 401


async def test_a_key_that_is_wrong_is_not_saved_by_a_session() -> None:
    async with _away() as away:
        await away.first()
        answer = await away.http.get("/domicile/models", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401


async def test_the_key_of_the_house_is_the_owners() -> None:
    async with _away() as away:
        key = {"Authorization": f"Bearer {HOUSE_KEY}"}
        assert (await away.http.get("/domicile/egress", headers=key)).status_code == 200
        made = await away.http.post("/domicile/accounts", json=USER, headers=key)
        assert made.json()["role"] == "admin"  # the first one is
        assert time.time() - made.json()["made_at"] < 60


async def test_what_is_open_ends_with_the_session_that_asked_for_it() -> None:
    async with _away() as away:
        await away.first()
        zoe = await away.user()
        heard: list[str] = []
        listening = asyncio.Event()

        async def listen() -> None:
            async with zoe.stream("GET", "/domicile/events", headers=PAGE) as events:
                async for line in events.aiter_lines():
                    heard.append(line)
                    listening.set()

        open_stream = asyncio.create_task(listen())
        await asyncio.wait_for(listening.wait(), 20)
        cookie = {"Cookie": f"{SESSION_COOKIE}={zoe.cookies[SESSION_COOKIE]}"}
        assert (await zoe.post("/domicile/account/sign-out", headers=PAGE)).json() == {"signed_out": True}
        begun = time.monotonic()
        await asyncio.wait_for(open_stream, 20)  # it ends by itself, and whole
        assert time.monotonic() - begun < 10
        assert "event: awake" in heard
        assert (await away.visitor().get("/domicile/events", headers={**PAGE, **cookie})).status_code == 401


@pytest.mark.parametrize("end", ["revoked", "removed", "another role"])
async def test_what_is_open_ends_with_the_key_that_asked_for_it(end: str) -> None:
    async with _away() as away:
        await away.first()
        zoe = await away.user()
        made = (await zoe.post("/domicile/account/keys", json={"name": "editor"}, headers=PAGE)).json()
        listening = asyncio.Event()

        async def listen() -> None:
            bearer = {"Authorization": f"Bearer {made['key']}"}
            async with away.visitor().stream("GET", "/domicile/events", headers=bearer) as events:
                async for _ in events.aiter_lines():
                    listening.set()

        open_stream = asyncio.create_task(listen())
        await asyncio.wait_for(listening.wait(), 20)
        if end == "revoked":
            answer = await zoe.delete(f"/domicile/account/keys/{made['id']}", headers=PAGE)
        elif end == "removed":
            answer = await away.http.delete("/domicile/accounts/zoe", headers=PAGE)
        else:
            answer = await away.http.patch("/domicile/accounts/zoe", json={"role": "admin"}, headers=PAGE)
        assert answer.status_code == 200, answer.text
        await asyncio.wait_for(open_stream, 20)  # it ends by itself, and whole
