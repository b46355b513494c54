"""A client that asks streamed chats in any of four dialects and says when each piece came. A process of its own.

Reads one JSON line on stdin for each volley (`url`, `key`, `model`, `dialect`, `prompts`, `tokens`) and answers with
one on stdout (`streams`: the moments of the request, of the first piece and of the end, and how many tokens the
answer says it has). A line is looked at for a few letters only, in every dialect, so that the client costs them alike.
`peer` is OpenAI's dialect as any server writes it, spaces or not; one that says no usage has a token in each piece.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from bench.streams import connect


def request(volley: dict[str, Any], prompt: str) -> tuple[str, dict[str, Any]]:
    """Route and body."""
    messages = [{"role": "user", "content": prompt}]
    asked: dict[str, Any] = {"model": volley["model"], "stream": True}
    tokens = volley["tokens"]
    if volley["dialect"] == "ollama":
        return "/api/chat", {**asked, "messages": messages, "options": {"num_predict": tokens, "temperature": 0}}
    if volley["dialect"] == "anthropic":
        return "/v1/messages", {**asked, "messages": messages, "max_tokens": tokens, "temperature": 0}
    if volley["dialect"] == "responses":
        kept = {"store": False, "max_output_tokens": tokens, "temperature": 0}
        return "/v1/responses", {**asked, "input": prompt, **kept}
    usage = {"stream_options": {"include_usage": True}}
    return "/v1/chat/completions", {**asked, "messages": messages, "max_tokens": tokens, "temperature": 0, **usage}


PIECE = {
    "openai": (b'"delta":{"content":"',),
    "ollama": (b'"content":"',),
    "anthropic": (b'"text_delta"',),
    "responses": (b'"delta":"',),
    "peer": (b'"content":"', b'"content": "'),
}
LAST = {
    "peer": b'"completion_tokens"',
    "openai": b'"usage":{',
    "ollama": b'"done":true',
    "anthropic": b'"message_delta"',
    "responses": b'"usage":{',
}


def tokens_in(dialect: str, line: bytes) -> int:
    found = json.loads(line[line.index(b"{") :])
    if dialect == "ollama":
        return int(found["eval_count"])
    usage = found.get("usage") or found["response"]["usage"]
    return int(usage["completion_tokens" if dialect in {"openai", "peer"} else "output_tokens"])


async def ask(volley: dict[str, Any], prompt: str) -> dict[str, float]:
    """One streamed chat. Raises `RuntimeError` with what the server said instead."""
    place = urlsplit(volley["url"])
    path, asked = request(volley, prompt)
    body = json.dumps(asked).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc or 'engine'}\r\nAuthorization: Bearer {volley['key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await connect(place)
    piece, last_mark = PIECE[volley["dialect"]], LAST[volley["dialect"]]
    first = last = 0.0
    tokens = pieces = 0
    try:
        started = time.perf_counter()
        writer.write(head.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{status.decode().strip()} {(await reader.read(2000)).decode(errors='replace')}")
        while line := await reader.readline():
            if b"{" not in line:
                continue
            if last_mark in line and b'"created_at":' not in line[:12]:
                tokens, last = tokens_in(volley["dialect"], line) or tokens, time.perf_counter()
                first = first or last
            elif any(mark in line for mark in piece):
                last = time.perf_counter()
                first = first or last
                pieces += 1
        return {"began": started, "first": first, "last": last, "tokens": tokens or pieces}
    finally:
        writer.close()


async def volleys() -> None:
    for line in sys.stdin:
        volley = json.loads(line)
        streams = await asyncio.gather(*(ask(volley, prompt) for prompt in volley["prompts"]))
        print(json.dumps({"streams": streams}), flush=True)


if __name__ == "__main__":
    asyncio.run(volleys())
