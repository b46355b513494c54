"""A Hub whose files stop halfway until a test opens the gate: downloads that can be caught in the act."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.fakes.hub import FakeHub


class Halfway:
    """Put in front of a `FakeHub`: the first part of each file comes at once, the rest when `open` is set."""

    def __init__(self, hub: FakeHub) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.starts: list[int] = []
        """Where each answer began in its file."""
        self._hub = hub
        hub.refuse = self._answer

    def _answer(self, request: Request) -> Response | None:
        if not request.url.path.startswith("/cdn/") or request.method != "GET":
            return None
        _, _, org, repo, path = request.url.path.split("/", 4)
        content = self._hub.repos[f"{org}/{repo}"].files[path]
        headers = {"ETag": '"x"', "Accept-Ranges": "bytes"}
        start, end, status = 0, len(content), 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start, end, status = int(asked[1]), int(asked[2] or len(content) - 1) + 1, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self.starts.append(start)
        headers["Content-Length"] = str(end - start)

        async def body() -> AsyncIterator[bytes]:
            half = max(start, min(end, len(content) // 2))
            self._hub.served_bytes += half - start
            yield content[start:half]
            self.reached.set()
            while not self.open.is_set():
                await asyncio.sleep(0.02)
            self._hub.served_bytes += end - half
            yield content[half:end]

        return StreamingResponse(body(), status, headers, "application/octet-stream")
