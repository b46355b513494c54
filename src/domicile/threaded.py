"""The door to the world outside, for code that runs in threads: a twin of a way out, into the same ledger.

Rows are written by the thread of the house's loop, which owns the database: a thread waits for its exchange to be
written down before it connects, and tells the bytes now and then. They are counted before encryption, unlike those of
`egress`. Offline, a twin is shut like its original.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, runtime_checkable

import httpcore2
import httpx2

from domicile.egress import Way, ours, proxy_for, trust
from domicile.errors import Offline
from domicile.ledger import Entry

T = TypeVar("T")
GATHER = 2**17
"""Bytes of a body that are read together, where they come within `_GATHER_S`: each reading passes six layers."""
_GATHER_S = 0.25
_TELL_EVERY_S = 0.5
_WAIT_S = 10.0


def threaded(client: httpx2.AsyncClient, **settings: Any) -> httpx2.Client:
    """A client for threads that leaves by the way out of an asynchronous one. Call it on the loop of the house: what is
    said there (`egress.about`, `offline`) holds for it. Settings are those of `httpx2.Client`.

    A client that did not come from the door (a test's) gets a twin that does not either.
    """
    way = client._transport
    return httpx2.Client(**{**settings, **({"transport": Twin(way)} if isinstance(way, Way) else {})})


@contextlib.contextmanager
def beside(client: httpx2.Client, url: httpx2.URL, what: str) -> Iterator[Callable[[int], None]]:
    """An exchange that a library makes by itself on behalf of a thread, written down before it begins.

    Gives what counts the bytes that came: those of the content, for nobody sees the network's. `what` stands for the
    method (`XET`). Raises `Offline`. A client that did not come from the door counts nothing.
    """
    way = client._transport
    if not isinstance(way, (Twin, Beside)):
        yield lambda _: None
        return
    count = way.begin(httpx2.Request(what, url))
    try:
        yield lambda came: count.carried(down=came)
    except BaseException as trouble:
        count.end(type(trouble).__name__)
        raise
    finally:
        count.end()


@runtime_checkable
class Beside(Protocol):
    """A transport that can write down what others do beside it."""

    def begin(self, request: httpx2.Request) -> Count: ...


_NOW: ContextVar[Count | None] = ContextVar("now", default=None)


class Twin(httpx2.BaseTransport):
    """The transport of a twin. Made on the loop of the house."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        self._said = contextvars.copy_context()
        self._pools: dict[str | None, httpcore2.ConnectionPool] = {}
        self._making = threading.Lock()

    def another(self) -> Twin:
        """Another of the same, whose connections are its own. May be made in a thread."""
        made = copy.copy(self)
        made._pools, made._making = {}, threading.Lock()
        return made

    def ask_leave(self, url: httpx2.URL) -> None:
        """Raises `Offline` when the door is shut."""
        self._said.copy().run(self._way.egress.ask_leave, url, self._way.purpose)

    def begin(self, request: httpx2.Request) -> Count:
        """Written down, before it leaves. Raises `Offline`."""
        way = self._way
        entry = self._on_loop(lambda: self._said.copy().run(way.egress.begin, request, way.purpose), request.url.host)
        proxy = proxy_for(request.url) if way.proxies else None
        if proxy is not None:
            entry.through(httpx2.URL(proxy).host)
        return Count(entry, self._loop)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        proxy = proxy_for(request.url) if self._way.proxies else None
        count = self.begin(request)
        token = _NOW.set(count)
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        try:
            answer = self._pool(proxy).handle_request(
                httpcore2.Request(
                    request.method, url, headers=request.headers.raw, content=request.stream,
                    extensions=request.extensions,
                )
            )  # fmt: skip
        except BaseException as trouble:
            count.end(type(trouble).__name__)
            raise ours(trouble, request) from trouble
        finally:
            _NOW.reset(token)
        count.answered(answer.status)
        body = _Body(answer, count, request)
        return httpx2.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)

    def _on_loop(self, work: Callable[[], T], host: str) -> T:
        """Done by the loop's thread. Raises `Offline` when the house has closed: nothing leaves unwritten."""
        if threading.get_ident() == self._owner:
            return work()
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as trouble:  # noqa: BLE001 - handed over to the thread that waits
                done.set_exception(trouble)

        try:
            self._loop.call_soon_threadsafe(run)
            return done.result(_WAIT_S)
        except (RuntimeError, TimeoutError) as trouble:
            raise Offline(host=host, purpose=self._way.purpose, reason="ledger") from trouble

    def _pool(self, proxy: str | None) -> httpcore2.ConnectionPool:
        with self._making:
            if proxy not in self._pools:
                settings: dict[str, Any] = {
                    "ssl_context": trust(),
                    "max_connections": None,
                    "max_keepalive_connections": 64,
                    "keepalive_expiry": 15.0,
                    "network_backend": _Backend(),
                }
                if proxy is None:
                    self._pools[proxy] = httpcore2.ConnectionPool(**settings)
                elif proxy.startswith("socks"):
                    self._pools[proxy] = httpcore2.SOCKSProxy(proxy_url=proxy, **settings)
                else:
                    asked = httpx2.Proxy(proxy)
                    self._pools[proxy] = httpcore2.HTTPProxy(
                        proxy_url=str(asked.url), proxy_auth=asked.raw_auth, **settings
                    )
            return self._pools[proxy]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


class Count:
    """What one thread counts for an entry of the ledger, told to the loop now and then."""

    def __init__(self, entry: Entry, loop: asyncio.AbstractEventLoop) -> None:
        self._entry, self._loop = entry, loop
        self._up = self._down = 0
        self._told_at = time.monotonic()
        self._over = False

    def on(self, connection: str, address: str) -> None:
        self._tell(self._entry.on, connection, address)

    def answered(self, status: int) -> None:
        self._tell(self._entry.answered, status)

    def carried(self, up: int = 0, down: int = 0) -> None:
        self._up, self._down = self._up + up, self._down + down
        if self._over or time.monotonic() - self._told_at > _TELL_EVERY_S:
            self._flush()

    def end(self, error: str | None = None) -> None:
        if not self._over:
            self._flush()
            self._over = True
            self._tell(self._entry.end, error)

    def _flush(self) -> None:
        self._told_at = time.monotonic()
        self._tell(self._entry.carried, self._up, self._down)
        self._up = self._down = 0

    def _tell(self, say: Callable[..., None], *what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the house has closed: its ledger is closed as well
            self._loop.call_soon_threadsafe(say, *what)


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, count: Count, request: httpx2.Request) -> None:
        self._answer, self._count, self._request = answer, count, request

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer.iter_stream()
        except Exception as trouble:
            self._count.end(type(trouble).__name__)
            raise ours(trouble, self._request) from trouble

    def close(self) -> None:
        try:
            self._answer.close()
        finally:
            self._count.end()


class _Backend(httpcore2.NetworkBackend):
    """Opens connections whose bytes are counted. The system chooses among the addresses of a name."""

    def __init__(self) -> None:
        self._tcp = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        stream = self._tcp.connect_tcp(host, port, timeout, local_address, socket_options)
        peer = stream.get_extra_info("server_addr")
        address = str(peer[0]) if isinstance(peer, tuple) else host
        return _Counted(stream, secrets.token_hex(6), address)


class _Counted(httpcore2.NetworkStream):
    """A connection whose bytes are entered under the exchange they belong to (HTTP/1.1 has one at a time)."""

    def __init__(self, inner: httpcore2.NetworkStream, connection: str, address: str) -> None:
        self._inner, self._connection, self._address = inner, connection, address
        self._count: Count | None = None
        self._due = 0
        held = inner.get_extra_info("socket")
        self._plain = held if type(held) is socket.socket and sys.platform == "linux" else None
        self._low = 1

    def _now(self) -> Count | None:
        asking = _NOW.get()
        if asking is not None and asking is not self._count:
            asking.on(self._connection, self._address)
            self._count = asking
        return self._count

    def expect(self, due: int) -> None:
        """So many bytes of a body are still to come, and may be read in larger pieces than are asked for."""
        self._due = due

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        count = self._now()
        if self._due > max_bytes:
            came = self._gathered(max(max_bytes, min(self._due, GATHER)), timeout)
        else:
            self._wakes_at(1)
            came = self._inner.read(max_bytes, timeout)
        self._due = max(0, self._due - len(came))
        if count is not None:
            count.carried(down=len(came))
        return came

    def _gathered(self, most: int, timeout: float | None) -> bytes:
        """What comes within a moment, in one piece. The system is asked to wake us only when enough is there (Linux;
        an encrypted connection, whose bytes are not what the system counts, is read on until then)."""
        patience = _GATHER_S if timeout is None else min(_GATHER_S, timeout)
        if self._wakes_at(most):
            with contextlib.suppress(httpcore2.ReadTimeout):
                return self._inner.read(most, patience)
            self._wakes_at(1)
            return self._inner.read(most, timeout)
        parts = [self._inner.read(most, timeout)]
        got, until = len(parts[0]), time.monotonic() + patience
        while parts[-1] and got < most and (left := until - time.monotonic()) > 0:
            try:
                parts.append(self._inner.read(most - got, left))
            except (httpcore2.NetworkError, httpcore2.TimeoutException):  # a fault is met again by the next reading
                break
            got += len(parts[-1])
        return b"".join(parts)

    def _wakes_at(self, count: int) -> bool:
        """From now on a wait for bytes ends when so many are there; False where the system cannot be told."""
        if self._low != count and self._plain is not None:
            try:
                self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            except OSError:
                self._plain = None
            self._low = count
        return self._plain is not None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        count = self._now()
        self._inner.write(buffer, timeout)
        if count is not None:
            count.carried(up=len(buffer))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Counted(self._inner.start_tls(ssl_context, server_hostname, timeout), self._connection, self._address)

    def get_extra_info(self, info: str) -> Any:
        return self.expect if info == "expect" else self._inner.get_extra_info(info)
