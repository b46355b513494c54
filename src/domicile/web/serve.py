"""The house with its door open to the network: uvicorn, with the limits its defaults lack.

Knows the socket, the signals and the doorplate (the file that tells the commands where the house is). SIGTERM or
Ctrl-C closes within eight seconds, streams and all; a second Ctrl-C closes at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from domicile import doorplate
from domicile.app import House, open_house
from domicile.config import Settings
from domicile.errors import AlreadyOpen, BadField, PortTaken
from domicile.web import build
from domicile.web.guard import digest_of, is_loopback, rules
from domicile.web.trouble import bug_of

_KEY_DIGEST = "api_key_sha256"
_GRACE_S = 3
_FILES = 65536
HEADERS_S = 15.0
HEADERS_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Open:
    """A house that is open: where, and the key that was just made (shown once), if one was."""

    house: House
    url: str
    key: str
    """The key of this opening, which the doorplate holds."""
    new_key: str | None
    closed: asyncio.Event
    first_code: str | None = None
    """By which the first visitor makes the first account, where there is none and a key is asked."""


class _Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn without its own signal handling, which ends the process before the house could close."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_door(settings: Settings, *, new_key: bool = False) -> AsyncIterator[Open]:
    """Open the house and listen; `new_key` forgets the key that was made before.

    Raises `AlreadyOpen`, `PortTaken`, `HomeNotWritable`.
    """
    present = doorplate.read(settings)
    if present is not None:
        raise AlreadyOpen(url=present.url, pid=present.pid)
    _allow_files()
    listener = _listen(settings)
    port = listener.getsockname()[1]
    async with open_house(settings, takes="all") as house:
        door_key = secrets.token_urlsafe(24)
        if new_key:
            house.database.keep(_KEY_DIGEST, None)
        made, digests = _digests(house, settings, door_key)
        app = build(house, rules(settings.host, port, settings.allowed_hosts, settings.allowed_origins, digests))
        config = uvicorn.Config(
            app,
            http=Doorman,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody stands in front of us whose word on who called could be taken
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_GRACE_S,
            backlog=2048,
        )
        server = _Server(config)
        shown = "127.0.0.1" if settings.host in {"0.0.0.0", "::", ""} else settings.host  # noqa: S104 - only compared
        url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
        closed = asyncio.Event()
        serving = asyncio.create_task(_serve(server, listener, closed))
        _on_signals(server, house)
        watching = asyncio.create_task(house.watch(), name="watch")
        furnishing = asyncio.create_task(house.furnish(), name="furnish")
        for task in (watching, furnishing):
            task.add_done_callback(_tell)
        try:
            doorplate.write(settings, url, door_key)
            code = house.accounts.first_code() if digests else None
            yield Open(house, url, door_key, made, closed, code)
        finally:
            server.should_exit = True
            house.closing.set()
            watching.cancel()
            furnishing.cancel()
            await asyncio.wait([watching, furnishing])
            await serving
            doorplate.remove(settings)


def _allow_files() -> None:
    """As many open files as the system lets us have, within reason: the usual 1,024 are a thousand visitors."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _tell(watching: asyncio.Task[None]) -> None:
    """A fault nobody foresaw ends the watching, not the house; it is said where bugs are."""
    if not watching.cancelled() and (trouble := watching.exception()) is not None:
        bug_of(trouble)


async def _serve(server: _Server, listener: socket.socket, closed: asyncio.Event) -> None:
    try:
        await server.serve(sockets=[listener])
    finally:
        closed.set()


def _on_signals(server: _Server, house: House) -> None:
    def leave() -> None:
        if server.should_exit:
            server.force_exit = True
        server.should_exit = True
        house.closing.set()

    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(name, leave)
        except NotImplementedError:  # Windows
            signal.signal(name, lambda *_: loop.call_soon_threadsafe(leave))


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol said: asyncio sends at once (TCP_NODELAY) only through a socket that says it is TCP's. Otherwise
    # the body of a short answer waits 40 ms for the receiver to acknowledge its headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(2048)
    except socket.gaierror as trouble:
        listener.close()
        raise BadField(field="host", problem=f"{settings.host} ({trouble.strerror})") from trouble
    except OSError as trouble:
        listener.close()
        raise PortTaken(
            host=settings.host,
            port=settings.port,
            other=settings.port + 1,
            problem=trouble.strerror or str(trouble),
        ) from trouble
    listener.setblocking(False)
    return listener


def _digests(house: House, settings: Settings, door_key: str) -> tuple[str | None, tuple[bytes, ...]]:
    """Which keys open the door, as digests, and the one made just now. On loopback none is asked unless one is set."""
    if settings.api_key:
        return None, (digest_of(settings.api_key), digest_of(door_key))
    if is_loopback(settings.host):
        return None, ()
    kept = house.database.kept(_KEY_DIGEST)
    if kept is not None:
        return None, (bytes.fromhex(kept), digest_of(door_key))
    made = f"dom-{secrets.token_urlsafe(32)}"
    house.database.keep(_KEY_DIGEST, digest_of(made).hex())
    return made, (digest_of(made), digest_of(door_key))


class Doorman(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's HTTP protocol, with a deadline and a size for a request's headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._tail = b""
        """The last bytes that came: the end of the headers may be cut in two by the network."""
        self._in_headers = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_headers()

    def _expect_headers(self) -> None:
        self._in_headers, self._header_bytes, self._tail = True, 0, b""
        self._timer = self.loop.call_later(HEADERS_S, self._too_slow)

    def _too_slow(self) -> None:
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            end = (self._tail + data).find(b"\r\n\r\n")
            self._header_bytes += len(data) if end < 0 else max(0, end - len(self._tail))
            if self._header_bytes > HEADERS_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")
                return
        super().data_received(data)
        self._tail = (self._tail + data[-3:])[-3:]

    def on_message_begin(self) -> None:
        if not self._in_headers:  # another request on a connection that was kept
            self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._timer is not None:
            self._timer.cancel()
        # On a connection that was kept, the first bytes of a request come before it is known that they are headers.
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEADERS_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
