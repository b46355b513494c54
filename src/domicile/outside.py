"""Addresses that a person or an answer gave us: which of them may be asked, and how much of an answer is read.

A name is resolved once, every address behind it must be public, and the connection goes to the address that was
looked at (against rebinding). This machine and private networks are refused, unless the person has added the very
`host:port` to their places; so is plain http. Knows no site and no format.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from domicile import __version__
from domicile.db import Database
from domicile.egress import Egress, Way
from domicile.errors import BadField, DomicileError, HubAnswer, HubBusy, HubUnreachable, PlaceRefused
from domicile.threaded import Count, Twin

ANSWER_LIMIT = 32 * 2**20
ANSWER_S = 30.0
REDIRECTS = 5
PURPOSE = "url"
_PORTS = {"http": 80, "https": 443}
_PLACE = re.compile(r"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253}):[0-9]{1,5}")
_KEY = "places"


class Places:
    """The `host:port` of this machine or of the person's own network that they have allowed, one by one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[str]:
        kept: list[str] = json.loads(self._database.kept(_KEY) or "[]")
        return kept

    def add(self, said: str) -> str:
        """Allow a place; its canonical form. Raises `BadField`."""
        place = self._read(said)
        self._database.keep(_KEY, json.dumps(sorted({*self.list(), place})))
        return place

    def remove(self, said: str) -> str:
        place = self._read(said)
        kept = self.list()
        if place not in kept:
            raise BadField(field="place", problem=place, reason="place_unknown", there=", ".join(kept) or "-")
        self._database.keep(_KEY, json.dumps([p for p in kept if p != place]))
        return place

    @staticmethod
    def _read(said: str) -> str:
        """`nas.local:8080`, `[fe80::1]:80`, or an address (`http://nas.local:8080/x`)."""
        text = said.strip().lower()
        scheme, _, rest = text.partition("://") if "://" in text else ("https", "", text)
        place = rest.split("/")[0]
        if re.fullmatch(r"[^\[\]:]+|\[[^\]]*\]", place):
            place = f"{place}:{_PORTS.get(scheme, 443)}"
        if not _PLACE.fullmatch(place) or not 0 < int(place.rsplit(":", 1)[1]) < 65536:
            raise BadField(field="place", problem=said[:200], reason="place")
        return place


def place_of(url: httpx2.URL) -> str:
    """`host:port` of an address."""
    host = f"[{url.host}]" if ":" in url.host else url.host.lower()
    return f"{host}:{url.port or _PORTS.get(url.scheme, 443)}"


def is_public(address: str) -> bool:
    """Is this the address of something on the internet, in whichever notation an IPv4 one is wrapped?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Resolve = Callable[[str, int], list[str]]


def _resolve(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order; also of `2130706433` and `0x7f.1`, as a connection would."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def look_at(url: httpx2.URL, allowed: Collection[str], resolve: Resolve = _resolve) -> list[str]:
    """The addresses to connect to, for `url`. Raises `PlaceRefused`, or `ConnectError` for a name that has none."""
    place = place_of(url)
    ours = place in allowed
    if url.scheme != "https" and not ours:
        raise PlaceRefused(place=place, reason="http")
    try:
        addresses = resolve(url.host, url.port or _PORTS[url.scheme])
    except (OSError, UnicodeError) as trouble:
        raise httpx2.ConnectError(str(trouble)) from trouble
    if not ours and (inner := [a for a in addresses if not is_public(a)]):
        raise PlaceRefused(place=place, address=inner[0])
    return addresses[:4]


def _pinned(request: httpx2.Request, address: str) -> httpx2.Request:
    """The same, to an address. The certificate is still checked for the name: that is what `sni_hostname` is for."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def _key(url: httpx2.URL) -> str:
    """One transport for each: two names behind one address must not share a connection made for either."""
    return f"{url.scheme}://{place_of(url)}"


class Guarded(httpx2.AsyncBaseTransport):
    """A transport for addresses that came from outside, through the door. `allowed` are the person's places."""

    def __init__(self, egress: Egress, allowed: Callable[[], Collection[str]], resolve: Resolve = _resolve) -> None:
        self.allowed = allowed
        self._egress, self._resolve = egress, resolve
        self._inner: dict[str, Way] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._egress.ask_leave(request.url, PURPOSE)
        addresses = await asyncio.to_thread(look_at, request.url, self.allowed(), self._resolve)
        trouble: httpx2.ConnectError | None = None
        for address in addresses:
            key = _key(request.url)
            if key not in self._inner:
                self._inner[key] = self._egress.transport(PURPOSE, proxies=False)
            try:
                return await self._inner[key].handle_async_request(_pinned(request, address))
            except httpx2.ConnectError as failed:
                trouble = failed
        raise trouble or httpx2.ConnectError("no address", request=request)

    async def aclose(self) -> None:
        for inner in self._inner.values():
            await inner.aclose()


class _GuardedThreads(httpx2.BaseTransport):
    """The same, for a client that is used in threads."""

    def __init__(self, twin: Twin, allowed: Collection[str]) -> None:
        self._twin, self._allowed = twin, frozenset(allowed)
        self._inner: dict[str, Twin] = {}

    def begin(self, request: httpx2.Request) -> Count:
        return self._twin.begin(request)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._twin.ask_leave(request.url)
        trouble: httpx2.ConnectError | None = None
        for address in look_at(request.url, self._allowed):
            key = _key(request.url)
            if key not in self._inner:
                self._inner[key] = self._twin.another()
            try:
                return self._inner[key].handle_request(_pinned(request, address))
            except httpx2.ConnectError as failed:
                trouble = failed
        raise trouble or httpx2.ConnectError("no address", request=request)

    def close(self) -> None:
        for inner in self._inner.values():
            inner.close()


class GuardedClient(httpx2.AsyncClient):
    """The client for addresses that came from outside: no redirect is followed by itself, no proxy is asked."""

    def __init__(self, egress: Egress, allowed: Callable[[], Collection[str]], timeout: httpx2.Timeout) -> None:
        super().__init__(transport=Guarded(egress, allowed), timeout=timeout, follow_redirects=False, trust_env=False)
        self._places, self._way = allowed, egress.transport(PURPOSE, proxies=False)

    def for_threads(self) -> httpx2.Client:
        """The same guard for a downloader that works in threads, with the places that are allowed now. Call it on the
        loop of the house."""
        guard = _GuardedThreads(Twin(self._way), self._places())
        return httpx2.Client(transport=guard, timeout=self.timeout, follow_redirects=False, trust_env=False)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that was read: its head, and what was wanted of its body."""

    status: int
    headers: httpx2.Headers
    body: bytes
    url: httpx2.URL


async def read(
    client: httpx2.AsyncClient,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    limit: int = ANSWER_LIMIT,
    cut: bool = False,
    seconds: float = ANSWER_S,
    elsewhere: bool = False,
) -> Said:
    """GET within bounds: so many bytes, so many seconds for the whole answer, redirects within the same origin only.

    `elsewhere` lets a redirect lead to another https host, without the `Authorization`.
    `cut` gives the first `limit` bytes of a longer answer. Raises `HubUnreachable`, `HubAnswer` and
    `PlaceRefused`; a status of 400 and more is the caller's to judge.
    """
    try:
        async with asyncio.timeout(seconds):
            async with opened(client, url, headers or {}, elsewhere=elsewhere) as answer:
                body = bytearray()
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > limit:
                        if not cut:
                            raise HubAnswer(host=answer.url.host, problem=f"> {limit} B")
                        break
                return Said(answer.status_code, answer.headers, bytes(body[:limit]), answer.url)
    except TimeoutError as trouble:
        raise HubUnreachable(host=host_of(url), problem=f"> {seconds:.0f} s", reason="slow") from trouble


@asynccontextmanager
async def opened(
    client: httpx2.AsyncClient, url: str, headers: Mapping[str, str], *, elsewhere: bool = False
) -> AsyncIterator[httpx2.Response]:
    """An answer whose body is still to come, after at most five redirects that stay where they were (see `read`)."""
    asked = {"User-Agent": f"domicile/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        at = httpx2.URL(url)
        for _ in range(REDIRECTS + 1):
            async with client.stream("GET", at, headers=asked, follow_redirects=False) as answer:
                if not answer.is_redirect:
                    if answer.headers.get("Content-Encoding", "identity") != "identity":
                        raise HubAnswer(host=at.host, problem="Content-Encoding")
                    yield answer
                    return
                onward = at.join(answer.headers.get("Location", ""))
            if (onward.scheme, place_of(onward)) != (at.scheme, place_of(at)):
                if not elsewhere or (onward.scheme != "https" and at.scheme == "https"):
                    raise HubAnswer(host=at.host, problem=onward.host[:200], reason="redirect")
                asked.pop("Authorization", None)
            at = onward
    except (httpx2.HTTPError, httpx2.InvalidURL) as trouble:
        raise HubUnreachable.because(host_of(url), trouble) from trouble
    raise HubAnswer(host=at.host, problem=f"> {REDIRECTS}", reason="redirects")


def judged(status: int, host: str) -> DomicileError | None:
    """The error of a status that any server may answer; None for a success and for what each source words itself."""
    if status < 300:
        return None
    if status in {429, 503}:
        return HubBusy(host=host, status_code=status)
    return HubAnswer(host=host, problem=f"HTTP {status}")


def host_of(url: str) -> str:
    try:
        return httpx2.URL(url).host
    except httpx2.InvalidURL:
        return url[:60]
