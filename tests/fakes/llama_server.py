"""A program that talks like `llama-server` and loads nothing; `placed` puts one somewhere under that name.

What it does besides is in its settings, a JSON object beside it: `wrong` (answers another token), `dies` (a signal,
when it is asked), `speed` (what its timings say), `lacks` (flags it does not know), `silent` (is no llama-server).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

FLAGS = """
-m,    --model FNAME                    model path (env: LLAMA_ARG_MODEL)
-a,    --alias STRING                   set model name aliases
                                        (env: LLAMA_ARG_ALIAS)
--host HOST                             ip address to listen, or bind to an UNIX socket if the address ends with .sock
                                        (env: LLAMA_ARG_HOST)
--api-key-file FNAME                    path to file containing API keys
--offline                               Offline mode (env: LLAMA_ARG_OFFLINE)
--ui, --webui, --no-ui, --no-webui      whether to enable the Web UI (env: LLAMA_ARG_UI)
--cors-origins ORIGINS                  origins
--metrics                               metrics endpoint
--slots, --no-slots                     slots endpoint
--slot-save-path PATH                   path to save slot kv cache
--jinja, --no-jinja                     whether to use jinja
-t,    --threads N                      number of CPU threads
-tb,   --threads-batch N                number of threads in batches
--threads-http N                        number of HTTP threads
--context-shift, --no-context-shift     whether to shift the context
-np,   --parallel N                     number of slots
-c,    --ctx-size N                     size of the prompt context
-b,    --batch-size N                   logical batch
-ub,   --ubatch-size N                  physical batch
-kvu,  --kv-unified, -no-kvu, --no-kv-unified
                                        unified buffer
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
-fa,   --flash-attn [on|off|auto]       Flash Attention
-cram, --cache-ram N                    cache size in MiB
-ctxcp, --ctx-checkpoints, --swa-checkpoints N
                                        checkpoints
-ngl,  --gpu-layers, --n-gpu-layers N   layers in VRAM
-dev,  --device <dev1,dev2,..>          devices
-ts,   --tensor-split N0,N1,N2,...      fractions
-lm,   --load-mode MODE                 mmap or none
-mm,   --mmproj FILE                    projector (env: LLAMA_ARG_MMPROJ)
--lora FNAME                            path to LoRA adapter
--embedding, --embeddings               embeddings
--rerank, --reranking                   reranking
--chat-template-file JINJA_TEMPLATE_FILE
                                        template
"""


def placed(folder: Path, **wishes: object) -> Path:
    """One in a folder, ready to be run."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "llama-server"
    (folder / "wishes.json").write_text(json.dumps(wishes))
    source = Path(__file__).resolve()
    program.write_text(
        f"#!{sys.executable}\nimport runpy, sys\n"
        f"runpy.run_path({str(source)!r})['main']({str(folder / 'wishes.json')!r}, sys.argv[1:])\n"
    )
    program.chmod(0o755)
    return program


def main(wishes_file: str, words: list[str]) -> None:
    wishes = json.loads(Path(wishes_file).read_text())
    if wishes.get("silent"):
        print("hello")
        return
    if words == ["--help"]:
        lacking = wishes.get("lacks", [])
        print("\n".join(line for line in FLAGS.splitlines() if not any(flag in line for flag in lacking)))
        return
    if words == ["--version"]:
        print("version: 7 (abc1234)\nbuilt with a fake", file=sys.stderr)
        return
    if "-lv" in words:
        print("0 I system_info: n_threads = 2 / 2 | CPU : AVX2 = 1 | AVX512 = 1 | AMX_INT8 = 0 | OPENMP = 1 | ")
        raise SystemExit(1)
    said = dict(zip(words[::1], [*words[1:], ""], strict=True))
    print(f"0 I argv: {' '.join(words)}", file=sys.stderr)
    print(f"0 I environment: {' '.join(sorted(os.environ))}", file=sys.stderr, flush=True)
    model = os.environ["LLAMA_ARG_MODEL"]
    if b"bad" in Path(model).read_bytes()[:16]:
        print("0.00.001 E llama_model_load: error loading model: invalid magic characters", file=sys.stderr, flush=True)
        raise SystemExit(1)
    try:
        socket.create_connection(("127.0.0.1", 9), 1)
        net = "connected"
    except ConnectionRefusedError:
        net = "connected"
    except OSError as trouble:
        net = type(trouble).__name__
    key = Path(said["--api-key-file"]).read_text()
    door = socket.socket(socket.AF_UNIX)
    door.bind(said["--host"])
    door.listen()
    while True:
        connection, _ = door.accept()
        threading.Thread(target=_answer, args=(connection, key, wishes, words, net), daemon=True).start()


def _answer(connection: socket.socket, key: str, wishes: dict[str, Any], words: list[str], net: str) -> None:
    with connection:
        came = b""
        while b"\r\n\r\n" not in came:
            came += connection.recv(65536)
        head, _, body = came.partition(b"\r\n\r\n")
        length = next(
            (int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        assert f"Bearer {key}".encode() in head
        path = head.split(b" ")[1]
        if path == b"/health":
            said: object = {"status": "ok"}
        elif path == b"/completion":
            if "dies" in wishes:
                os.kill(os.getpid(), getattr(signal, wishes["dies"]))
                time.sleep(10)  # another thread may be the one that dies of it
            said = _completion(json.loads(body), wishes)
        elif path == b"/metrics":
            said = "llamacpp:prompt_tokens_total 3\nllamacpp:tokens_predicted_total 4\n"
        else:
            said = {"argv": words, "net": net, "environment": sorted(os.environ)}
        text = said.encode() if isinstance(said, str) else json.dumps(said).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)


def _completion(asked: dict[str, Any], wishes: dict[str, Any]) -> dict[str, Any]:
    seed, count = sum(asked["prompt"]), asked["n_predict"]
    shift = 1 if wishes.get("wrong") else 0
    tokens = [(seed + 7 * place + shift) % 500 for place in range(count)]
    speed = float(wishes.get("speed", 1.0))
    return {
        "completion_probabilities": [
            {"id": token, "logprob": -0.2, "top_logprobs": [{"id": token, "logprob": -0.2}]} for token in tokens
        ],
        "timings": {
            "prompt_per_second": 100 * speed,
            "predicted_per_second": 10 * speed,
            "predicted_ms": 400 / speed,
            "predicted_n": count,
        },
    }
