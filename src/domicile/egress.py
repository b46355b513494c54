"""The one door to the world outside: whatever goes through it is written down first, and offline it is shut.

Every client of the house that asks anybody else gets its transport here (a test reads the source and refuses another
way out). Each exchange is entered in the `ledger`: when, to which host, port and address, why, for which model or job,
and how many bytes went up and down, as the network carries them (TLS included). Offline, the door refuses before a
name is even looked up.

Knows HTTP; knows no site. What is not here: names are looked up by the system, and the engines' children
have no network at all (`seal`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.request import getproxies, proxy_bypass

import anyio
import anyio.abc
import httpcore2
import httpx2
import psutil

from domicile.db import Database
from domicile.errors import Offline
from domicile.ledger import Entry, Exchange, Ledger

_PATIENCE_S = 2.0
"""For an address when there are others to try."""
_KEPT_ALIVE_S = 15.0

Judge = Callable[[str, Sequence[str]], None]
"""Raises when a host, with the addresses it has now, may not be connected to."""


@dataclass(frozen=True, slots=True)
class About:
    """What the house is doing when it asks: the reason that is written down."""

    purpose: str | None = None
    model: str | None = None
    job: str | None = None
    offline: bool = False


_ABOUT: ContextVar[About] = ContextVar("about", default=About())  # noqa: B039 - frozen
_NOW: ContextVar[Entry | None] = ContextVar("now", default=None)


@contextmanager
def about(purpose: str | None = None, *, model: str | None = None, job: str | None = None) -> Iterator[None]:
    """Whatever is asked within (and in the tasks started within) is for this."""
    said = _ABOUT.get()
    token = _ABOUT.set(replace(said, purpose=purpose or said.purpose, model=model or said.model, job=job or said.job))
    try:
        yield
    finally:
        _ABOUT.reset(token)


@contextmanager
def offline() -> Iterator[None]:
    """Within (and in the tasks started within) the door is shut."""
    token = _ABOUT.set(replace(_ABOUT.get(), offline=True))
    try:
        yield
    finally:
        _ABOUT.reset(token)


class Egress:
    """The door and its ledger."""

    def __init__(self, database: Database, *, offline: bool = False) -> None:
        self.ledger = Ledger(database)
        self._offline = offline
        self._transports: list[Way] = []

    @property
    def offline(self) -> bool:
        """Is the door shut, for the house or for whoever asks now?"""
        return self._offline or _ABOUT.get().offline

    def turn(self, *, offline: bool) -> None:
        """Shut the door, or open it: for what begins from now on."""
        self._offline = offline

    def transport(self, purpose: str, *, judge: Judge | None = None, proxies: bool = True) -> Way:
        """A way out. `purpose` is written down where nobody said better; `judge` sees every address before it is used,
        and the connection goes to an address that it saw. Closed with the door."""
        made = Way(self, purpose, judge, proxies)
        self._transports.append(made)
        return made

    def client(
        self, purpose: str, *, judge: Judge | None = None, proxies: bool = True, **settings: Any
    ) -> httpx2.AsyncClient:
        """A client whose way out is this door. Settings are those of `httpx2.AsyncClient`."""
        return httpx2.AsyncClient(transport=self.transport(purpose, judge=judge, proxies=proxies), **settings)

    async def aclose(self) -> None:
        for transport in list(self._transports):
            await transport.aclose()
        self.ledger.close()

    def closed(self, transport: Way) -> None:
        with contextlib.suppress(ValueError):
            self._transports.remove(transport)

    def ask_leave(self, url: httpx2.URL, purpose: str) -> None:
        """Raises `Offline` when the door is shut: for whoever looks a name up before they knock."""
        if self.offline:
            raise Offline(host=url.host, purpose=_ABOUT.get().purpose or purpose)

    def note(self, host: str, port: int, what: str, purpose: str) -> Entry:
        """Write down what a program of somebody else's, which we start, is about to ask. Raises `Offline` instead when
        the door is shut."""
        said = _ABOUT.get()
        if self.offline:
            raise Offline(host=host, purpose=purpose)
        return self.ledger.begin(Exchange(time.time(), host, port, purpose, what, said.model, said.job))

    def begin(self, request: httpx2.Request, purpose: str) -> Entry:
        """Write down what is about to be asked. Raises `Offline` instead when the door is shut."""
        self.ask_leave(request.url, purpose)
        # A guard that chose the address says whose it is where the certificate is checked.
        host, said = str(request.extensions.get("sni_hostname") or request.url.host), _ABOUT.get()
        why = said.purpose or purpose
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        what = f"{request.method} {request.url.path[:200]}"
        return self.ledger.begin(Exchange(time.time(), host, port, why, what, said.model, said.job))


# -- the transport --


class Way(httpx2.AsyncBaseTransport):
    """A pool of connections, made when it is first used (see `trust`)."""

    def __init__(self, egress: Egress, purpose: str, judge: Judge | None, proxies: bool) -> None:
        self.egress, self.purpose = egress, purpose
        self._judge, self.proxies = judge, proxies
        self._pools: dict[str | None, httpcore2.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = self.egress.begin(request, self.purpose)
        proxy = proxy_for(request.url) if self.proxies else None
        if proxy is not None:
            exchange.through(httpx2.URL(proxy).host)
        token = _NOW.set(exchange)
        try:
            answer = await self._pool(proxy).handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except BaseException as trouble:
            exchange.end(type(trouble).__name__)
            raise ours(trouble, request) from trouble
        finally:
            _NOW.reset(token)
        exchange.answered(answer.status)
        body = _Body(answer, exchange, request)
        return httpx2.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)

    def _pool(self, proxy: str | None) -> httpcore2.AsyncConnectionPool:
        if proxy not in self._pools:
            settings: dict[str, Any] = {
                "ssl_context": trust(),
                "max_connections": 100,
                "max_keepalive_connections": 20,
                "keepalive_expiry": _KEPT_ALIVE_S,
                # Through a proxy it is the proxy that looks names up: there is nothing here to judge.
                "network_backend": _Backend(self._judge if proxy is None else None),
            }
            if proxy is None:
                self._pools[proxy] = httpcore2.AsyncConnectionPool(**settings)
            elif proxy.startswith("socks"):
                self._pools[proxy] = httpcore2.AsyncSOCKSProxy(proxy_url=proxy, **settings)
            else:
                asked = httpx2.Proxy(proxy)
                self._pools[proxy] = httpcore2.AsyncHTTPProxy(
                    proxy_url=str(asked.url), proxy_auth=asked.raw_auth, **settings
                )
        return self._pools[proxy]

    async def aclose(self) -> None:
        self.egress.closed(self)
        for pool in self._pools.values():
            await pool.aclose()


def trust() -> ssl.SSLContext:
    """Whose certificates are believed. Reading them takes tens of milliseconds: once, for as long as the environment
    names the same."""
    return _trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _trust(*_: str | None) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def proxy_for(url: httpx2.URL) -> str | None:
    """The proxy that the environment (or the system) names for an address, as every other program reads it."""
    if proxy_bypass(url.host):
        return None
    named = getproxies()
    found = named.get(url.scheme) or named.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def ours(trouble: BaseException, request: httpx2.Request) -> BaseException:
    """The same trouble under the name that users of httpx2 catch (its own transport maps them alike)."""
    if type(trouble).__module__.startswith("httpcore2"):
        kind = getattr(httpx2, type(trouble).__name__, httpx2.TransportError)
        mapped: BaseException = kind(str(trouble), request=request)
        return mapped
    return trouble


class _Body(httpx2.AsyncByteStream):
    """The body of an answer; the exchange ends with it."""

    def __init__(self, answer: httpcore2.Response, exchange: Entry, request: httpx2.Request) -> None:
        self._answer, self._exchange, self._request = answer, exchange, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.aiter_stream():
                yield part
        except Exception as trouble:
            self._exchange.end(type(trouble).__name__)
            raise ours(trouble, self._request) from trouble

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        finally:
            self._exchange.end()


class _Backend(httpcore2.AsyncNetworkBackend):
    """Opens connections: looks a name up once, shows the addresses to the judge, and goes to one that was seen."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge = judge
        self._tcp = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await _addresses(host, port, timeout)
        if self._judge is not None:
            self._judge(host, addresses)
        trouble: Exception | None = None
        for place, address in enumerate(addresses):
            last = place == len(addresses) - 1
            patience = timeout if last else min(timeout or _PATIENCE_S, _PATIENCE_S)
            try:
                stream = await self._tcp.connect_tcp(address, port, patience, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                trouble = failed
                continue
            connection = secrets.token_hex(6)
            # Counted below TLS: these are the bytes that the network carries.
            stream._stream = _Counted(stream._stream, connection, address)  # type: ignore[attr-defined]
            return stream
        raise trouble or httpcore2.ConnectError(f"{host}: no address")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _addresses(host: str, port: int, timeout: float | None) -> list[str]:
    """Every address of a name, IPv6 and IPv4 in turn, the system's first choice first."""
    try:
        with anyio.fail_after(timeout):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as trouble:
        raise httpcore2.ConnectTimeout(host) from trouble
    except (OSError, UnicodeError) as trouble:
        raise httpcore2.ConnectError(f"{host}: {trouble}") from trouble
    unique = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    families: list[list[str]] = [[a for a in unique if ":" in a], [a for a in unique if ":" not in a]]
    if unique and ":" not in unique[0]:
        families.reverse()
    turns = max((len(f) for f in families), default=0)
    return [family[i] for i in range(turns) for family in families if i < len(family)][:6]


class _Counted(anyio.abc.ByteStream):
    """A connection whose bytes are entered under the exchange they belong to (HTTP/1.1 has one at a time)."""

    def __init__(self, inner: anyio.abc.ByteStream, connection: str, address: str) -> None:
        self._inner = inner
        self._connection, self._address = connection, address
        self._exchange: Entry | None = None

    def _now(self) -> Entry | None:
        asking = _NOW.get()  # set while a request is sent; its answer is read later, by whoever wants it
        if asking is not None and asking is not self._exchange:
            asking.on(self._connection, self._address)
            self._exchange = asking
        return self._exchange

    async def send(self, item: bytes) -> None:
        exchange = self._now()
        await self._inner.send(item)
        if exchange is not None:
            exchange.carried(up=len(item))

    async def receive(self, max_bytes: int = 65536) -> bytes:
        exchange = self._now()
        came = await self._inner.receive(max_bytes)
        if exchange is not None:
            exchange.carried(down=len(came))
        return came

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes


# -- a process without a network --


def shut_process() -> None:
    """No Python code of this process connects anywhere but to this machine, or looks a name up, from now on.

    For the programs that are ours from the start (`domicile --offline`): it cannot be undone. The door refuses by
    itself; this is for whatever would go around it.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host: object = arguments[0]
    elif event in {"socket.connect", "socket.sendto", "socket.sendmsg"} and isinstance(arguments[-1], tuple):
        host = arguments[-1][0]
    else:
        return
    if host is not None and not _is_here(host):
        raise Offline(host=str(host)[:200], purpose="?")


def _is_here(host: object) -> bool:
    text = host.decode("latin-1") if isinstance(host, bytes) else str(host)
    if text in {"", "localhost"}:
        return True
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text.strip("[]").split("%")[0])
        return address.is_loopback or str(address) in _own_addresses()
    return False


@cache
def _own_addresses() -> frozenset[str]:
    """Of this machine: a house may listen there."""
    found = (a.address.split("%")[0] for addresses in psutil.net_if_addrs().values() for a in addresses)
    return frozenset(found)
