"""The child that holds one picture model: diffusers, one drawing at a time, told step by step.

Runs with the Python of the extra `images`. `POST /draw` answers with events: `step` (with a small preview when there is
time for one), `picture` (a PNG in base64), `error`. A caller who leaves ends the drawing after the step it is at.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from domicile.child_http import Handler, Refusal, Response, as_events, as_json, out_of_memory
from domicile.child_life import live
from domicile.drawing import draw as drawing
from domicile.drawing import pipeline
from domicile.drawing.preview import Previews


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """See `child_life.live`."""
    import torch

    torch.set_num_threads(int(asked["threads"]))
    place = Path(asked["folder"]) / "images"
    place.mkdir()
    files = [Path(f) for f in asked["files"]]
    painter = pipeline.load(files, place, asked["format"], asked["plan"].get("modes") or ())
    previews = Previews(painter.pipe)
    one = asyncio.Lock()

    async def draw(data: dict[str, Any]) -> Response:
        wanted = drawing.read(data, painter)
        return as_events(_told(wanted))

    async def _told(wanted: drawing.Wanted) -> AsyncIterator[dict[str, Any]]:
        async with one:
            loop = asyncio.get_running_loop()
            news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
            stop = threading.Event()

            def tell(event: dict[str, Any]) -> None:
                loop.call_soon_threadsafe(news.put_nowait, event)

            def work() -> None:
                try:
                    drawing.draw(painter, previews, wanted, tell, stop, asked["alias"])
                except drawing.StoppedError:
                    pass
                except Refusal as refusal:
                    tell({"type": "error", "message": str(refusal), **refusal.more})
                except Exception as trouble:  # noqa: BLE001 - the loop's thread raises it, so that it is told and logged as any
                    failed.append(trouble)
                finally:
                    loop.call_soon_threadsafe(news.put_nowait, None)

            failed: list[Exception] = []
            thread = asyncio.create_task(asyncio.to_thread(work))
            try:
                yield {
                    "type": "begin",
                    "width": wanted.width,
                    "height": wanted.height,
                    "steps": wanted.steps,
                    "n": wanted.n,
                }
                while (event := await news.get()) is not None:
                    yield event
                if failed:
                    if not out_of_memory(failed[0]):
                        yield {"type": "error", "message": pipeline.line(failed[0]), "code": "engine"}
                    raise failed[0]
            finally:
                stop.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(thread)

    async def tell_about(_: dict[str, Any]) -> Response:
        return as_json(
            {
                "kind": painter.kind,
                "dtype": painter.dtype,
                "device": painter.device,
                "side": painter.side,
                "modes": list(painter.modes),
                "samplers": ["default", "euler"] if painter.flows else ["default", *pipeline.SAMPLERS],
            }
        )

    async def no_words(_: dict[str, Any]) -> Response:
        raise Refusal("this model draws, and does not talk")

    return {
        "POST /draw": draw,
        "POST /about": tell_about,
        "POST /v1/chat/completions": no_words,
        "POST /v1/completions": no_words,
    }
