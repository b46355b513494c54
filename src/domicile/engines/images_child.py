"""The child that holds one picture model: diffusers, one drawing at a time, told step by step.

Runs with the Python of the extra `images`. `POST /draw` answers with events: `step` (with a small preview when there is
time for one), `picture` (a PNG in base64), `error`. A caller who leaves ends the drawing after the step it is at.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
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
    studio = _Studio(painter, str(asked["alias"]))
    return {
        "POST /draw": studio.draw,
        "POST /about": studio.about,
        "POST /v1/chat/completions": _no_words,
        "POST /v1/completions": _no_words,
    }


async def _no_words(_: dict[str, Any]) -> Response:
    raise Refusal("this model draws, and does not talk")


class _Studio:
    """A painter, and the one drawing it is at."""

    def __init__(self, painter: pipeline.Painter, alias: str) -> None:
        self._painter, self._alias = painter, alias
        self._previews = Previews(painter.pipe)
        self._one = asyncio.Lock()

    async def about(self, _: dict[str, Any]) -> Response:
        painter = self._painter
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

    async def draw(self, data: dict[str, Any]) -> Response:
        return as_events(self._told(drawing.read(data, self._painter)))

    async def _told(self, wanted: drawing.Wanted) -> AsyncIterator[dict[str, Any]]:
        """The events of a drawing, which goes on in a thread; leaving this stops it after the step it is at."""
        async with self._one:
            loop, stop = asyncio.get_running_loop(), threading.Event()
            news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

            def tell(event: dict[str, Any] | None) -> None:
                loop.call_soon_threadsafe(news.put_nowait, event)

            thread = asyncio.create_task(asyncio.to_thread(self._work, wanted, tell, stop))
            try:
                sizes = {"width": wanted.width, "height": wanted.height, "steps": wanted.steps, "n": wanted.n}
                yield {"type": "begin", **sizes}
                while (event := await news.get()) is not None:
                    yield event
                failed = await thread
                if failed is not None:
                    if not out_of_memory(failed):
                        yield {"type": "error", "message": pipeline.line(failed), "code": "engine"}
                    raise failed
            finally:
                stop.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(thread)

    def _work(
        self, wanted: drawing.Wanted, tell: Callable[[dict[str, Any] | None], None], stop: threading.Event
    ) -> Exception | None:
        """Draw; give what failed, for the loop's thread to raise: so it is told and logged as any other."""
        try:
            drawing.draw(self._painter, self._previews, wanted, tell, stop, self._alias)
        except drawing.StoppedError:
            pass
        except Refusal as refusal:
            tell({"type": "error", "message": str(refusal), **refusal.more})
        except Exception as trouble:  # noqa: BLE001 - raised by whoever waits
            return trouble
        finally:
            tell(None)
        return None
