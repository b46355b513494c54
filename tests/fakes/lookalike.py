"""A program that talks like the llama child and loads nothing. What it does is in the model's name.

    python lookalike.py     (as `domicile.engines.llama.Llama(child=...)` starts it)

`well` answers; `silent` never gets ready; `badfile` says that it cannot load; `memory` says so and logs why;
`segv` and `killed` end by a signal while loading; `dies` ends by SIGKILL in the middle of an answer.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    kind = asked["alias"]
    print("environment: " + " ".join(sorted(os.environ)), file=sys.stderr, flush=True)
    if kind == "silent":
        time.sleep(60)
    if kind == "badfile":
        print("0.00.001 E llama_model_load: error loading model: invalid magic characters", file=sys.stderr, flush=True)
        _say(failed="load", problem="Failed to init server")
        raise SystemExit(5)
    if kind == "memory":
        print("0.00.001 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer", file=sys.stderr)
        _say(failed="load", problem="Failed to init server")
        raise SystemExit(5)
    if kind in {"segv", "killed"}:
        os.kill(os.getpid(), signal.SIGSEGV if kind == "segv" else signal.SIGKILL)
    door = socket.socket(socket.AF_UNIX)
    door.bind(asked["address"])
    door.listen()
    _say(ready=f"unix://{asked['address']}")
    while True:
        connection, _ = door.accept()
        threading.Thread(target=_answer, args=(connection, kind, asked["key"]), daemon=True).start()


def _say(**words: str) -> None:
    print(json.dumps(words), flush=True)


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _answer(connection: socket.socket, kind: str, key: str) -> None:
    with connection:
        came = b""
        while b"\r\n\r\n" not in came:
            came += connection.recv(65536)
        head, _, body = came.partition(b"\r\n\r\n")
        length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
        while len(body) < length:
            body += connection.recv(65536)
        if b"/health" in head:
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"ok"}')
            return
        assert f"Bearer {key}".encode() in head
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hello "}}]}\n\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        end = b"data: [DONE]\n\n"
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))


if __name__ == "__main__":
    main()
