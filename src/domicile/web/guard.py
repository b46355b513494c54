"""Who may knock: decided before any route is looked at, and denied by default.

An exact list of Host names in every mode (against DNS rebinding), no foreign Origin and no cross-site request
(against pages open in the person's browser), no CORS unless an origin is listed exactly, and a key as soon as the
house listens on anything but loopback. Knows headers; knows no route, so that no prefix can be forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domicile.errors import HostRefused, KeyRequired, OriginRefused
from domicile.web.trouble import answer_error

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


class Guard:
    """The ASGI door in front of everything."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

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

        refusal = self._refusal(headers, origin, allowed, scope["method"])
        if refusal is not None:
            await answer_error(refusal, scope)(scope, receive, send_with_headers)
        elif allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight()(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refusal(
        self, headers: Headers, origin: str | None, allowed: bool, method: str
    ) -> HostRefused | OriginRefused | KeyRequired | None:
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
        if not self._rules.key_digests or (allowed and method == "OPTIONS"):
            return None
        given = digest_of(key_in(headers))
        # Every digest is compared, whichever matches: time says nothing about the keys.
        if not any([hmac.compare_digest(given, known) for known in self._rules.key_digests]):
            return KeyRequired()
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
