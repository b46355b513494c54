"""Who may knock: decided before any route is looked at, and denied by default.

An exact list of Host names in every mode (against DNS rebinding), no foreign Origin and no cross-site request
(against pages open in the person's browser), no CORS unless an origin is listed exactly, and a key as soon as the
house listens on anything but loopback: the house's own, one of a person's account, or the session of a browser. Then
each route asks for a role, an administrator's unless `roles.py` says otherwise. `Guard._admission` is the one function
that decides who comes in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile.errors import DomicileError, HostRefused, KeyRequired, NotYours, OriginRefused
from domicile.web.roles import RANK, Need
from domicile.web.trouble import answer_error

if TYPE_CHECKING:
    from domicile.accounts import Accounts, Caller

SESSION_COOKIE = "domicile_session"
_LOOK_S = 1.0
"""How often a stream looks whether the session it was asked by lasts."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self' blob:; worker-src 'self' blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """`hosts` are whole Host headers, lower case. `key_digests` are sha256 of the keys; empty: no key is asked."""

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    key_digests: tuple[bytes, ...] = ()


def rules(
    host: str, port: int, extra_hosts: Iterable[str], origins: Iterable[str], key_digests: tuple[bytes, ...]
) -> Rules:
    """The rules of a house that listens on `host:port`."""
    names = {"localhost", "127.0.0.1", "[::1]", _bracketed(host)}
    if not is_loopback(host):
        names |= _own_names()
    hosts = {f"{name}:{port}" for name in names} | {h.lower() for h in extra_hosts}
    if port == 80:
        hosts |= names
    return Rules(frozenset(hosts), frozenset(origins), key_digests)


def is_loopback(host: str) -> bool:
    """Is this an address that only this machine reaches?"""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _own_names() -> set[str]:
    """The addresses and the names by which this machine is called on its networks."""
    import psutil

    names = {socket.gethostname().lower(), f"{socket.gethostname().lower().removesuffix('.local')}.local"}
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family in {socket.AF_INET, socket.AF_INET6}:
                names.add(_bracketed(address.address.split("%")[0]))
    return names


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host.lower()


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_in(headers: Headers) -> str:
    """The key of a request, in whichever form a client sends it: the one place that reads it."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    said = value if scheme.lower() == "bearer" and value else headers.get("x-api-key", "")
    return said.encode("latin-1").decode("utf-8", "surrogateescape").strip()  # headers are bytes, shown as latin-1


def session_in(headers: Headers) -> str:
    """The session a browser says it has."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(SESSION_COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


def caller_of(request: Request) -> Caller | None:
    """Who asks: None is nobody in particular (the page without a session). On loopback it is the owner."""
    found: Caller | None = request.scope.get("domicile.caller")
    if found is None and not request.scope.get("domicile.closed"):
        return _owner()
    return found


def _passing(scope: Scope) -> Caller | None:
    """Who asks, where they may be shown out before the answer has ended."""
    caller: Caller | None = scope.get("domicile.caller")
    return caller if caller is not None and caller.may_end else None


def _owner() -> Caller:
    from domicile.accounts import OWNER, Caller

    return Caller(OWNER, "admin")


class Guard:
    """The ASGI door in front of everything. `need` tells the least role that may ask what a request asks; `people`
    are the accounts, where a key is asked."""

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        need: Callable[[Scope], Need] = lambda _: "user",
        people: Callable[[], Accounts] | None = None,
    ) -> None:
        self._app = app
        self._rules = rules
        self._need = need
        self._people = people

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin is not None and origin in self._rules.origins

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    out.setdefault(name, value)
                if allowed and origin is not None:
                    out["Access-Control-Allow-Origin"] = origin
                    out["Cross-Origin-Resource-Policy"] = "cross-origin"
                    out.add_vary_header("Origin")
            await send(message)

        refusal = self._refusal(headers, origin, allowed) or self._admission(scope, headers, origin, allowed)
        if refusal is not None:
            await answer_error(refusal, scope)(scope, receive, send_with_headers)
        elif allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight()(scope, receive, send_with_headers)
        elif (caller := _passing(scope)) is not None and self._people is not None:
            await self._while_let_in(self._people(), caller, scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    async def _while_let_in(self, people: Accounts, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. A stream ends, as if it were over, within about a second of the session or key it was asked by."""
        streams = asyncio.Event()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and "content-length" not in Headers(raw=message["headers"]):
                streams.set()
            await send(message)

        work = asyncio.ensure_future(self._app(scope, receive, noted))
        begun = asyncio.create_task(streams.wait())
        try:
            await asyncio.wait({work, begun}, return_when=asyncio.FIRST_COMPLETED)
            while not work.done() and people.lasts(caller):
                await asyncio.wait({work}, timeout=_LOOK_S)
            over = work.done()
            if over:
                work.result()
        finally:
            for task in (work, begun):
                task.cancel()
            await asyncio.wait({work, begun})
        if not over:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _refusal(self, headers: Headers, origin: str | None, allowed: bool) -> DomicileError | None:
        """Of a name that is not ours, or a page that is not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._rules.hosts:
            return HostRefused(host=", ".join(hosts)[:200])
        ours = origin is not None and origin.lower() in {
            f"http://{hosts[0].lower()}",
            f"https://{hosts[0].lower()}",
        }
        if origin is not None and not (allowed or ours):
            return OriginRefused(origin=origin[:200])
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} and not allowed:
            return OriginRefused(origin=headers.get("referer", "?")[:200])
        return None

    def _admission(self, scope: Scope, headers: Headers, origin: str | None, allowed: bool) -> DomicileError | None:
        """Who comes in, noted in the scope; or why not. No key asked: everybody, who all are the owner.

        A key that is given decides alone. A session counts only for a request of our own page: a browser says so with
        every request that changes something, and the cookie is SameSite=Strict besides.
        """
        if not self._rules.key_digests:
            return None
        if allowed and scope["method"] == "OPTIONS":
            return None
        said = key_in(headers)
        given = digest_of(said)
        # Every digest is compared, whichever matches: time says nothing about the keys.
        if any([hmac.compare_digest(given, known) for known in self._rules.key_digests]):
            caller: Caller | None = _owner()
        elif self._people is None:
            return KeyRequired()
        elif said:
            caller = self._people().by_key(given)
            if caller is None:
                return KeyRequired()
        else:
            ours = (origin is not None and not allowed) or headers.get("sec-fetch-site") == "same-origin"
            counts = not allowed and (ours or scope["method"] in _READING)
            caller = self._people().by_session(session_in(headers)) if counts else None
        scope["domicile.closed"], scope["domicile.caller"] = True, caller
        if caller is not None:
            scope["domicile.user"] = caller.id
        if RANK[need := self._need(scope)] > RANK[caller.role if caller is not None else "nobody"]:
            return KeyRequired() if caller is None else NotYours(role=need)
        return None


def _preflight() -> PlainTextResponse:
    return PlainTextResponse(
        "",
        204,
        {
            "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, HEAD",
            "Access-Control-Allow-Headers": "authorization, content-type, x-api-key, last-event-id, "
            "x-domicile-strategy, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access",
            "Access-Control-Max-Age": "600",
        },
    )
