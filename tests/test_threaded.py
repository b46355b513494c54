"""Bodies read by threads: in large pieces where they come fast, and no later than they come where they do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from domicile.db import Database
from domicile.egress import Egress
from domicile.threaded import GATHER, threaded

SIZE = 5 * GATHER + 1234
CONTENT = bytes(range(256)) * (SIZE // 256 + 1)


@contextlib.contextmanager
def server(piece: int, pause_s: float) -> Iterator[tuple[str, list[int]]]:
    """Sends CONTENT in pieces, for every question on a connection; tells how many each connection had."""
    asked: list[int] = []

    def serve(connection: socket.socket) -> None:
        mine = len(asked)
        asked.append(0)
        with contextlib.suppress(OSError), connection:
            while b"\r\n\r\n" in connection.recv(65536):
                asked[mine] += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
                for at in range(0, SIZE, piece):
                    connection.sendall(CONTENT[at : min(at + piece, SIZE)])
                    time.sleep(pause_s)

    with socket.create_server(("127.0.0.1", 0)) as door:

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = door.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/x", asked


def _read(client: httpx2.Client, url: str) -> list[bytes]:
    pieces: list[bytes] = []
    with client.stream("GET", url) as answer:
        expect = answer.extensions["network_stream"].get_extra_info("expect")
        for chunk in answer.iter_raw():
            if not pieces:
                expect(SIZE - len(chunk))
            pieces.append(chunk)
    return pieces


@pytest.mark.anyio
@pytest.mark.parametrize(("piece", "pause_s"), [(GATHER // 8, 0.001), (GATHER, 0.0), (GATHER, 0.3)])
async def test_pieces_are_gathered_and_the_connection_is_kept(tmp_path: Path, piece: int, pause_s: float) -> None:
    """The last row comes slower than anybody gathers: nothing waits for what has not been sent."""
    database = Database(tmp_path / "d.sqlite3")
    egress = Egress(database)
    with server(piece, pause_s) as (url, asked):
        async with egress.client("download", timeout=20) as way:
            client = threaded(way, timeout=20)
            for _ in range(2 if pause_s < 0.1 else 1):
                pieces = await asyncio.to_thread(_read, client, url)
                assert b"".join(pieces) == CONTENT[:SIZE]
                if sys.platform == "linux" and pause_s == 0.001:
                    assert len(pieces) < SIZE / piece / 2
            client.close()
        assert len(asked) == 1  # one connection, whatever was asked on it
    await egress.aclose()
    database.close()
