"""A child program with everything an engine's has but a model: it says what it is told to do, in tokens of a word.

The model's file is a JSON object of wishes: `die` (a signal while loading), `exit`, `raise`, `eat` (bytes), `slow` (s).
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

runpy.run_path(str(Path(__file__).parents[2] / "src" / "domicile" / "boot_child.py"))["reach"]()

from domicile.child_http import Counts, Handler, Refusal, Response, as_events, as_json  # noqa: E402
from domicile.child_life import UnfitError, live  # noqa: E402


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    wishes = json.loads(Path(asked["model"]).read_text())
    if "die" in wishes:
        os.kill(os.getpid(), getattr(signal, wishes["die"]))
    if "exit" in wishes:
        os._exit(wishes["exit"])
    if "raise" in wishes:
        raise {"import": ImportError, "unfit": UnfitError, "value": ValueError}[wishes["raise"]]("a reason")
    if "eat" in wishes:
        bytearray(wishes["eat"])
    time.sleep(wishes.get("slow", 0))
    counts = Counts()
    left: list[str] = []

    async def chat(data: dict[str, Any]) -> Response:
        words = str(data.get("messages", [{}])[-1].get("content", "")).split()
        if words == ["eat"]:
            bytearray(1 << 40)
        if words == ["bug"]:
            raise KeyError("bug")
        if words == ["no"]:
            raise Refusal("no", 422, "invalid_request_error", param="messages")
        if words == ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if not data.get("stream"):
            counts.prompt += len(words)
            return as_json({"echo": words})

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            try:
                for number in range(1_000_000):
                    yield {"n": number}
                    await asyncio.sleep(0.001)
            finally:
                left.append("left")

        return as_events(chunks())

    async def tell(_: dict[str, Any]) -> Response:
        return as_json(counts.public())

    async def world(_: dict[str, Any]) -> Response:
        try:
            socket.create_connection(("127.0.0.1", 9), 1)
            net = "connected"
        except OSError as trouble:
            net = type(trouble).__name__ + str(trouble.errno)
        ours = sorted(name for name in sys.modules if name.startswith("domicile."))
        return as_json({"net": net, "left": left, "environment": sorted(os.environ), "ours": ours, "asked": asked})

    return {"POST /v1/chat/completions": chat, "GET /counts": tell, "POST /world": world}


if __name__ == "__main__":
    live(load)
