"""A client that asks several streamed chats at once and says when each token came. A process of its own.

Reads one JSON line on stdin for each volley (`url`, `key`, `model`, `prompts`, `tokens`, `cached`) and answers with
one on stdout (`streams`: the moments of the request and of each chunk of text, how many tokens, and the speed the
engine itself reports).
A `url` is `http://HOST:PORT` or `unix:PATH`. Plain asyncio, nothing of ours: whatever it costs, it costs both sides of
a comparison alike.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import SplitResult, urlsplit


async def ask(volley: dict[str, Any], prompt: str) -> dict[str, Any]:
    """One streamed chat. Raises `RuntimeError` with what the server said instead."""
    place = urlsplit(volley["url"])
    body = json.dumps(
        {
            "model": volley["model"],
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": volley["tokens"],
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": volley["cached"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc or 'engine'}\r\n"
        f"Authorization: Bearer {volley['key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await connect(place)
    try:
        started = time.perf_counter()
        writer.write(head.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{status.decode().strip()} {(await reader.read(2000)).decode(errors='replace')}")
        while await reader.readline() != b"\r\n":
            pass
        return {"began": started, **await _follow(reader)}
    finally:
        writer.close()


async def connect(place: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To `http://HOST:PORT` or `unix:PATH`."""
    if place.scheme == "unix":
        return await asyncio.open_unix_connection(place.path)
    return await asyncio.open_connection(place.hostname, place.port)


async def _follow(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The moments of the chunks that hold text. Chunk sizes of the encoding are lines that do not begin a datum."""
    came: list[float] = []
    tokens, own = 0, 0.0
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise RuntimeError(line.decode())
        choices = chunk.get("choices") or [{}]
        if (choices[0].get("delta") or {}).get("content"):
            came.append(now)
        if chunk.get("usage"):
            tokens = chunk["usage"]["completion_tokens"]
        own = (chunk.get("timings") or {}).get("predicted_per_second", own)
    return {"came": came, "tokens": tokens, "own": own}


async def volleys() -> None:
    for line in sys.stdin:
        volley = json.loads(line)
        streams = await asyncio.gather(*(ask(volley, prompt) for prompt in volley["prompts"]))
        print(json.dumps({"streams": streams}), flush=True)


if __name__ == "__main__":
    asyncio.run(volleys())
