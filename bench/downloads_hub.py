"""A Hub for measuring downloads: one file, over as many connections as are asked for, each slowed if wanted.

Run as a program: `python -m bench.downloads_hub FILE SHA256 [BYTES_PER_S_A_CONNECTION] [LATENCY_S]`; its first line is
its port. Bytes leave through sendfile from a file in memory, so that the server is not what is measured. A connection
is slowed by a bucket of its own; an answer begins after the latency. `GET /served` tells the bytes of files that left.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SLICE = 2**16


class Hub:
    def __init__(self, path: str, sha256: str, rate: float, latency_s: float) -> None:
        self.file, self.size = os.open(path, os.O_RDONLY), Path(path).stat().st_size
        self.sha256, self.rate, self.latency_s = sha256, rate, latency_s
        self.served = 0
        self.lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.rate:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**18)
        got = b""
        try:
            while True:
                while b"\r\n\r\n" not in got:
                    more = connection.recv(65536)
                    if not more:
                        return
                    got += more
                head, _, got = got.partition(b"\r\n\r\n")
                self.answer(connection, head.decode("latin-1"))
        except OSError:
            return
        finally:
            connection.close()

    def answer(self, connection: socket.socket, head: str) -> None:
        method, path, _ = head.split("\r\n", maxsplit=1)[0].split(" ")
        time.sleep(self.latency_s)
        if path == "/served":
            _send(connection, json.dumps({"served": self.served}).encode())
            return
        if path.startswith("/api/"):
            sibling = {"rfilename": "model.gguf", "size": self.size, "lfs": {"sha256": self.sha256, "size": self.size}}
            facts = {"id": "org/repo", "modelId": "org/repo", "sha": COMMIT, "siblings": [sibling], "tags": []}
            _send(connection, json.dumps(facts).encode())
            return
        start, end, status = 0, self.size, 200
        if asked := re.search(r"(?i)\r\nrange: *bytes=(\d+)-(\d*)", head):
            start, end, status = int(asked[1]), min(int(asked[2] or self.size - 1) + 1, self.size), 206
        headers = [
            f"HTTP/1.1 {status} x",
            f"Content-Length: {end - start}",
            f'ETag: "{self.sha256}"',
            f'X-Linked-ETag: "{self.sha256}"',
            f"X-Linked-Size: {self.size}",
            f"X-Repo-Commit: {COMMIT}",
            "Accept-Ranges: bytes",
            "Content-Type: application/octet-stream",
            *([f"Content-Range: bytes {start}-{end - 1}/{self.size}"] if status == 206 else []),
        ]
        connection.sendall("\r\n".join([*headers, "", ""]).encode())
        if method != "HEAD":
            self.pour(connection, start, end)

    def pour(self, connection: socket.socket, start: int, end: int) -> None:
        began, first = time.monotonic(), start
        while start < end:
            sent = os.sendfile(connection.fileno(), self.file, start, min(end - start, _SLICE if self.rate else 2**30))
            start += sent
            with self.lock:
                self.served += sent
            if self.rate and (ahead := (start - first) / self.rate - (time.monotonic() - began)) > 0:
                time.sleep(ahead)


def _send(connection: socket.socket, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    connection.sendall(head.encode() + body)


def main() -> None:
    path, sha256, *rest = sys.argv[1:]
    rate, latency_s = (float(rest[i]) if len(rest) > i else 0.0 for i in (0, 1))
    hub = Hub(path, sha256, rate, latency_s)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as door:
        print(door.getsockname()[1], flush=True)
        while True:
            connection, _ = door.accept()
            threading.Thread(target=hub.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
