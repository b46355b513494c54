"""A Hub and its CDN that go wrong on purpose: plain sockets, one fault a preset.

`Faulty(content)` listens on two ports: the origin, which redirects to the CDN, and the CDN, which does ranges. A fault
is a function of one request (`Ask`) that answers in place of them, or returns False to let the honest answer be given.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass
class Ask:
    """One request. `number` counts from 1 on its side (`hub` or `cdn`); `start` and `end` (exclusive) are its range."""

    faulty: Faulty
    side: str
    number: int
    path: str
    headers: Mapping[str, str]
    connection: socket.socket
    start: int
    end: int
    ranged: bool

    @property
    def body(self) -> bytes:
        return self.faulty.content[self.start : self.end]

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bool:
        """A whole answer; `Content-Length` is that of the body unless given, and left out when given as empty."""
        told = {"Content-Length": str(len(body)), **(headers or {})}
        lines = [f"HTTP/1.1 {status} x", *(f"{k}: {v}" for k, v in told.items() if v), "", ""]
        with self.faulty.lock:
            self.faulty.served_bytes += len(body) if status in {200, 206} else 0
        self.connection.sendall("\r\n".join(lines).encode() + body)
        return True

    def part(self, body: bytes | None = None, **headers: str) -> bool:
        """The honest answer, with another body or other headers (`__` for a dash) if wanted."""
        body = self.body if body is None else body
        told = {k.replace("__", "-"): v for k, v in headers.items()}
        told = {"ETag": self.faulty.etag, **told}
        if not self.ranged:
            return self.answer(200, told, body)
        about = f"bytes {self.start}-{self.end - 1}/{len(self.faulty.content)}"
        return self.answer(206, {"Content-Range": about, **told}, body)

    def cut(self, count: int) -> bool:
        """Announce everything, send so many bytes, hang up."""
        length = str(self.end - self.start)
        self.part(self.body[:count], Content__Length=length)
        self.hang_up()
        return True

    def hang_up(self) -> bool:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def silence(self, seconds: float = 30.0) -> bool:
        """Nothing more, until the client has had enough."""
        self.connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            self.connection.recv(1)
        return self.hang_up()


Fault = Callable[[Ask], bool]


def honest(_: Ask) -> bool:
    return False


@dataclass
class Faulty:
    content: bytes
    fault: Fault = honest
    etag: str = '"one"'
    served_bytes: int = 0
    tokens_at_cdn: list[str] = field(default_factory=list)
    asked: list[Ask] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ports: dict[str, int] = field(default_factory=dict)
    signature: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    """For faults that remember."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['hub']}/org/repo/resolve/main/m.gguf"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def cdn(self, path: str = "/m.gguf") -> str:
        return f"http://localhost:{self.ports['cdn']}{path}?signature={self.signature}"

    def _serve(self, side: str, connection: socket.socket) -> None:
        got = b""
        with contextlib.suppress(OSError, ValueError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                while b"\r\n\r\n" not in got:
                    more = connection.recv(65536)
                    if not more:
                        return
                    got += more
                head, _, got = got.partition(b"\r\n\r\n")
                self._one(side, connection, head.decode("latin-1"))

    def _one(self, side: str, connection: socket.socket, head: str) -> None:
        first, *rest = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
        start, end, ranged = 0, len(self.content), "range" in headers
        if ranged:
            a, _, b = headers["range"].removeprefix("bytes=").partition("-")
            start, end = int(a), min(int(b or end - 1) + 1, end)
        with self.lock:
            number = sum(a.side == side for a in self.asked) + 1
            ask = Ask(self, side, number, first.split(" ")[1], headers, connection, start, end, ranged)
            self.asked.append(ask)
            if side == "cdn" and "authorization" in headers:
                self.tokens_at_cdn.append(headers["authorization"])
        if self.fault(ask):
            return
        if side == "hub":
            ask.answer(302, {"Location": self.cdn(), "X-Linked-ETag": f'"{self.sha256}"'})
        else:
            ask.part()


@contextlib.contextmanager
def running(faulty: Faulty) -> Iterator[Faulty]:
    """The two sides, each in threads, while the context lasts."""
    listening = []
    open_ones: list[socket.socket] = []

    def accept(side: str, door: socket.socket) -> None:
        while True:
            try:
                connection, _ = door.accept()
            except OSError:
                return
            open_ones.append(connection)
            threading.Thread(target=faulty._serve, args=(side, connection), daemon=True).start()

    for side in ("hub", "cdn"):
        door = socket.create_server(("127.0.0.1", 0), backlog=200)
        faulty.ports[side] = door.getsockname()[1]
        listening.append(door)
        threading.Thread(target=accept, args=(side, door), daemon=True).start()
    try:
        yield faulty
    finally:
        for door in (*listening, *open_ones):
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                door.close()


# -- faults --


def first(count: int, fault: Fault, side: str = "cdn") -> Fault:
    """The fault for the first requests of a side, honesty after."""
    return lambda ask: ask.side == side and ask.number <= count and fault(ask)


def always(fault: Fault, side: str = "cdn") -> Fault:
    return lambda ask: ask.side == side and fault(ask)


def status(code: int, **headers: str) -> Fault:
    told = {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda ask: ask.answer(code, told)


def flipped(ask: Ask) -> bool:
    return ask.part(bytes([ask.body[0] ^ 1]) + ask.body[1:])


def shifted(ask: Ask) -> bool:
    if not ask.ranged:
        return False
    size = len(ask.faulty.content)
    body = ask.faulty.content[7 : 7 + ask.end - ask.start]
    return ask.part(body, Content__Range=f"bytes 7-{6 + len(body)}/{size}")


def shifted_unsaid(ask: Ask) -> bool:
    """The header is right, the bytes are not."""
    return ask.ranged and ask.part((ask.faulty.content[7:] + b"x" * 7)[ask.start : ask.end])


def without_ranges(ask: Ask) -> bool:
    return ask.answer(200, {"ETag": ask.faulty.etag}, ask.faulty.content)


def without_ranges_or_length(ask: Ask) -> bool:
    ask.answer(200, {"Content-Length": "", "Connection": "close"}, ask.faulty.content)
    return ask.hang_up()


def unlike(total: str) -> Fault:
    def fault(ask: Ask) -> bool:
        return ask.ranged and ask.part(Content__Range=f"bytes {ask.start}-{ask.end - 1}/{total}")

    return fault


def endless(ask: Ask) -> bool:
    ask.answer(200, {"Content-Length": "", "Connection": "close"})
    with contextlib.suppress(OSError):
        while True:
            ask.connection.sendall(b"x" * 65536)
    return True


def too_long(ask: Ask) -> bool:
    """A chunked part that goes on after its end."""
    body = ask.body + b"more" * 5000
    ask.part(b"", Content__Length="", Transfer__Encoding="chunked")
    ask.connection.sendall(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    return True


def chunked(ask: Ask) -> bool:
    ask.part(b"", Content__Length="", Transfer__Encoding="chunked")
    for at in range(0, len(ask.body), 5000):
        piece = ask.body[at : at + 5000]
        ask.connection.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
    ask.connection.sendall(b"0\r\n\r\n")
    return True


def until_closed(ask: Ask) -> bool:
    ask.part(Content__Length="", Connection="close")
    return ask.hang_up()


def stalled(ask: Ask) -> bool:
    ask.part(ask.body[:1000], Content__Length=str(ask.end - ask.start))
    return ask.silence()


def late(ask: Ask) -> bool:
    return ask.silence()


def dripping(ask: Ask) -> bool:
    """A byte now and then, never silent for long."""
    ask.part(b"", Content__Length=str(ask.end - ask.start))
    with contextlib.suppress(OSError):
        for byte in ask.body:
            ask.connection.sendall(bytes([byte]))
            time.sleep(0.05)
    return ask.hang_up()


def one_at_a_time(ask: Ask) -> bool:
    """A second connection meanwhile is turned away."""
    if ask.side != "cdn":
        return False
    with ask.faulty.lock:
        busy = ask.faulty.memory.get("busy", 0)
        ask.faulty.memory["busy"] = busy + 1
    try:
        if busy:
            return ask.answer(503)
        for_now = ask.body
        ask.part(b"", Content__Length=str(len(for_now)))
        for at in range(0, len(for_now), 32768):
            ask.connection.sendall(for_now[at : at + 32768])
            time.sleep(0.001)
        return True
    finally:
        with ask.faulty.lock:
            ask.faulty.memory["busy"] -= 1


def etag_changes(after: int, *, content: bytes | None = None) -> Fault:
    """Another version from the so-manieth request on."""

    def fault(ask: Ask) -> bool:
        if ask.side == "cdn" and ask.number > after:
            ask.faulty.etag = '"two"'
            if content is not None:
                return ask.part(content[ask.start : ask.end])
        return False

    return fault


def weak_etags(ask: Ask) -> bool:
    return ask.part(ETag=f'W/"{ask.number}"')


def expires(every: int) -> Fault:
    """A signature is good for so many requests of the CDN."""

    def fault(ask: Ask) -> bool:
        if ask.side == "hub":
            ask.faulty.signature += 1
            ask.faulty.memory["left"] = every
            return False
        with ask.faulty.lock:
            ask.faulty.memory["left"] -= 1
            gone = ask.faulty.memory["left"] < 0 or f"signature={ask.faulty.signature}" not in ask.path
        return gone and ask.answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>")

    return fault


def hops(count: int, last: str | None = None) -> Fault:
    """The origin sends itself on so many times, then to the CDN or to an address."""

    def fault(ask: Ask) -> bool:
        if ask.side != "hub":
            return False
        hop = int(ask.path.partition("hop=")[2] or 0)
        if hop < count:
            return ask.answer(307, {"Location": f"/org/repo/resolve/main/m.gguf?hop={hop + 1}"})
        return ask.answer(302, {"Location": last or ask.faulty.cdn()})

    return fault


def to(address: str) -> Fault:
    return hops(0, address)


def garbage(ask: Ask) -> bool:
    ask.connection.sendall(b"\x00\x01 this is no HTTP\r\n\r\n" * 10)
    return ask.hang_up()


def header_bomb(ask: Ask) -> bool:
    return ask.answer(200, {f"X-{i}": "x" * 1000 for i in range(2000)})


def portal(ask: Ask) -> bool:
    return ask.answer(200, {"Content-Type": "text/html"}, b"<html>Please log in to this network</html>")
