"""Pictures made here: who draws, what is asked of it, and the drawings that go on whoever looks.

Between the faces, which know dialects, and the child, which knows diffusers. A drawing of the page is a task of the
house: it goes on when the page is closed, several may watch it, and its pictures are kept in the gallery. A drawing of
the API belongs to its request: whoever leaves ends it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domicile import __version__, pictures
from domicile.answering import Answer, Ask, whole
from domicile.chats.feed import Event, Feed
from domicile.config import Settings
from domicile.errors import (
    BadField,
    BadImage,
    DomicileError,
    DrawingNotFound,
    EngineDied,
    ModelCannot,
    NoPictureModel,
    QueueFull,
)
from domicile.gallery import Gallery
from domicile.library import Library
from domicile.types import LORA, PICTURES, Installed, Ticket

MOST_SIDE, LEAST_SIDE = 4096, 64
MOST_STEPS, MOST_PICTURES, MOST_LORAS = 200, 16, 8
MOST_PROMPT = 20_000
SAMPLERS = (
    "default", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde_karras", "dpmpp_sde_karras", "ddim",
    "heun", "lms", "pndm", "unipc", "lcm",
)  # fmt: skip
_CANNOT = frozenset({"inpaint_only", "no_image", "no_mask", "no_mask_given", "sampler"})
_MOST_OPEN, _REMEMBERED = 32, 64
_EVENT_BYTES = 256 << 20

State = Literal["waiting", "drawing", "done", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A drawing that is asked for; None is what suits the model."""

    prompt: str
    model: str | None = None
    negative: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    n: int = 1
    sampler: str = "default"
    strength: float | None = None
    loras: tuple[tuple[str, float], ...] = ()
    image: bytes | None = None
    mask: bytes | None = None
    previews: bool = True
    partials: int = 0
    keep_alive_s: float | None = None

    def checked(self) -> Wanted:
        """The same, within bounds. Raises `BadField`, `BadImage`."""
        if len(self.prompt) > MOST_PROMPT:
            raise BadField(field="prompt", problem=str(len(self.prompt)), reason="between", least=0, most=MOST_PROMPT)
        bounds: tuple[tuple[str, float | None, float, float], ...] = (
            ("width", self.width, LEAST_SIDE, MOST_SIDE),
            ("height", self.height, LEAST_SIDE, MOST_SIDE),
            ("steps", self.steps, 1, MOST_STEPS),
            ("guidance", self.guidance, 0, 50),
            ("seed", self.seed, 0, 2**63 - 1 - MOST_PICTURES),
            ("n", self.n, 1, MOST_PICTURES),
            ("strength", self.strength, 0, 1),
            ("partial_images", self.partials, 0, 3),
            ("loras", len(self.loras), 0, MOST_LORAS),
            *((f"loras.{name}", scale, -8.0, 8.0) for name, scale in self.loras),
        )
        for name, value, least, most in bounds:
            if value is not None and not least <= value <= most:
                raise BadField(field=name, problem=str(value)[:40], reason="between", least=least, most=most)
        if self.sampler not in SAMPLERS:
            raise BadField(field="sampler", problem=self.sampler[:60], reason="one_of", allowed=", ".join(SAMPLERS))
        for name, data in (("image", self.image), ("mask", self.mask)):
            if data is not None:
                pictures.look(name, data)
        if self.mask is not None and self.image is None:
            raise BadField(field="mask", problem="mask", reason="mask_alone")
        return self


@dataclass(slots=True)
class Drawing:
    """One drawing of the page."""

    id: str
    wanted: Wanted
    model: str
    began_at: float
    state: State = "waiting"
    steps: int = 0
    step: int = 0
    index: int = 0
    preview: str | None = None
    step_seconds: float | None = None
    position: int | None = None
    pictures: list[dict[str, Any]] = field(default_factory=list)
    error: DomicileError | None = None
    feed: Feed = field(default_factory=lambda: Feed(512))
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.state in {"done", "failed", "stopped"}

    def public(self) -> dict[str, Any]:
        """As the API shows it; an error is told by the face, in its reader's language."""
        return {
            "id": self.id,
            "model": self.model,
            "prompt": self.wanted.prompt,
            "n": self.wanted.n,
            "state": self.state,
            "index": self.index,
            "step": self.step,
            "steps": self.steps,
            "step_seconds": self.step_seconds,
            "position": self.position,
            "preview": self.preview,
            "pictures": list(self.pictures),
            "began_at": self.began_at,
        }


class Studio:
    """One for a house. `answer` asks a model of the library; it wakes it, and waits for a turn."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        answer: Callable[[Ask], AbstractAsyncContextManager[Answer]],
    ) -> None:
        self._settings, self._library, self._answer = settings, library, answer
        self.gallery = Gallery(settings.home / "pictures")
        self._drawings: dict[str, Drawing] = {}

    async def close(self) -> None:
        """End every drawing."""
        tasks = [d.task for d in self._drawings.values() if d.task is not None and not d.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- who draws --

    def models(self) -> Sequence[Installed]:
        """The models that draw, the last used first."""
        found = [m for m in self._library.list() if m.task in PICTURES and m.format != "gguf" and not m.missing]
        return sorted(found, key=lambda m: (not m.active, -(m.last_used_at or m.added_at or 0.0)))

    def loras(self) -> Sequence[Installed]:
        """The adapters that may be laid over one."""
        return [m for m in self._library.list() if m.task == LORA and not m.missing]

    def model(self, name: str | None) -> Installed:
        """The model of a name; of none, the one that drew last. Raises `NoPictureModel`, `ModelNotFound`,
        `ModelCannot`."""
        if not name:
            found = self.models()
            if not found:
                raise NoPictureModel
            return found[0]
        model = self._library.ready(name)
        if model.format == "gguf" and model.task in PICTURES:
            raise ModelCannot(name=model.name, problem="gguf", reason="draw_gguf")
        if model.task not in PICTURES:
            raise ModelCannot(name=model.name, problem="draw", reason="draw")
        return model

    def _lora(self, name: str) -> Path:
        known = {m.name.lower(): m for m in self.loras()}
        known |= {alias.lower(): m for m in self.loras() for alias in m.aliases}
        found = known.get(name.lower())
        if found is None:
            there = ", ".join(m.name for m in self.loras())
            raise BadField(field="loras", problem=name[:120], reason="lora_unknown", there=there)
        return next((p for p in found.files if p.suffix.lower() == ".safetensors"), found.path)

    # -- drawing --

    async def draw(self, wanted: Wanted, ticket: Ticket | None = None) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one drawing, as the child tells them: `begin`, `step`, `picture`. Closing the iterator ends it.
        Raises what is wrong."""
        wanted = wanted.checked()
        model = self.model(wanted.model)
        seed = wanted.seed if wanted.seed is not None else secrets.randbelow(2**32)
        with tempfile.TemporaryDirectory(prefix="domicile-draw-") as folder:
            body = json.dumps(self._body(wanted, seed, Path(folder))).encode()
            async with self._answer(Ask(model.name, "/draw", body, wanted.keep_alive_s, ticket=ticket)) as answer:
                if answer.reply.status != 200:
                    raise _refused(model.name, json.loads(await whole(answer.reply.body))["error"])
                async for event in _events(answer.reply.body):
                    if "error" in event:
                        raise _refused(model.name, event["error"])
                    if event["type"] == "error":
                        raise _refused(model.name, event)
                    yield {**event, "model": model.name}

    def _body(self, wanted: Wanted, seed: int, folder: Path) -> dict[str, Any]:
        said: dict[str, Any] = {
            name: getattr(wanted, name)
            for name in (
                "prompt", "negative", "width", "height", "steps", "guidance", "n", "sampler", "strength", "previews",
                "partials",
            )
        }  # fmt: skip
        said["seed"] = seed
        said["loras"] = [{"name": n, "path": str(self._lora(n)), "scale": scale} for n, scale in wanted.loras]
        said["said_by"] = f"Domicile {__version__}"
        for name, data in (("image", wanted.image), ("mask", wanted.mask)):
            if data is not None:
                (folder / name).write_bytes(data)
                said[name] = str(folder / name)
        return said

    def about(self, event: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
        """What is kept of a picture beside it."""
        kept = ("model", "seed", "width", "height", "steps", "guidance", "sampler", "seconds", "step_seconds")
        return {
            "prompt": wanted.prompt,
            "negative": wanted.negative,
            **{k: event.get(k) for k in kept},
            "strength": wanted.strength if wanted.image else None,
            "loras": [{"name": name, "scale": scale} for name, scale in wanted.loras],
            "parameters": event.get("parameters"),
        }

    # -- drawings of the page --

    def begin(self, wanted: Wanted) -> Drawing:
        """Begin a drawing whose pictures are kept. Raises what is wrong with it."""
        wanted = wanted.checked()
        model = self.model(wanted.model)
        for name, _ in wanted.loras:
            self._lora(name)
        if sum(not d.over for d in self._drawings.values()) >= _MOST_OPEN:
            raise QueueFull(name=model.name, n=_MOST_OPEN, retry_after=30)
        drawing = Drawing(secrets.token_hex(8), replace(wanted, model=model.name), model.name, time.time())
        self._drawings[drawing.id] = drawing
        for old in [d.id for d in self._drawings.values() if d.over][:-_REMEMBERED]:
            del self._drawings[old]
        drawing.task = asyncio.create_task(self._run(drawing), name=f"draw {drawing.id}")
        return drawing

    async def _run(self, drawing: Drawing) -> None:
        ticket = Ticket()
        watch = asyncio.create_task(self._watch_place(drawing, ticket))
        state: State = "done"
        try:
            async with contextlib.aclosing(self.draw(drawing.wanted, ticket)) as events:
                async for event in events:
                    self._note(drawing, event)
        except DomicileError as trouble:
            drawing.error, state = trouble, "failed"
        except asyncio.CancelledError:
            state = "stopped"
        except BaseException:
            state = "failed"
            raise
        finally:
            watch.cancel()
            drawing.state, drawing.preview, drawing.position = state, None, None
            drawing.feed.tell("over", drawing)
            drawing.feed.end()

    async def _watch_place(self, drawing: Drawing, ticket: Ticket) -> None:
        while True:
            await asyncio.sleep(1.0)
            position = ticket.position()
            if position != drawing.position:
                drawing.position = position
                drawing.feed.tell("state", drawing)

    def _note(self, drawing: Drawing, event: Mapping[str, Any]) -> None:
        if event["type"] == "begin":
            drawing.state, drawing.steps, drawing.position = "drawing", int(event["steps"]), None
            drawing.feed.tell("state", drawing)
        elif event["type"] == "step":
            drawing.index, drawing.step, drawing.steps = int(event["index"]), int(event["step"]), int(event["steps"])
            drawing.preview = event.get("preview") or drawing.preview
            drawing.feed.tell(
                "step",
                {k: event.get(k) for k in ("index", "step", "steps", "seconds", "preview")},
            )
        elif event["type"] == "picture":
            about = self.about(event, drawing.wanted)
            kept = self.gallery.keep(base64.b64decode(event["png"]), about)
            drawing.step_seconds = event.get("step_seconds")
            drawing.pictures.append(kept.public())
            drawing.preview = None
            drawing.feed.tell("picture", kept.public())

    def drawings(self) -> Sequence[Drawing]:
        """Those that go on, and the last that ended, newest first."""
        return list(reversed(self._drawings.values()))

    def drawing(self, name: str) -> Drawing:
        """Raises `DrawingNotFound`."""
        if name not in self._drawings:
            raise DrawingNotFound(name=name[:60])
        return self._drawings[name]

    def follow(self, drawing: Drawing, after: int | None) -> AsyncIterator[Event]:
        """What happens to a drawing, from a snapshot on."""
        return drawing.feed.follow(after, lambda: drawing)

    async def stop(self, name: str) -> Drawing:
        """End a drawing after the step it is at; pictures that are whole stay."""
        drawing = self.drawing(name)
        if drawing.task is not None and not drawing.task.done():
            drawing.task.cancel()
            await asyncio.wait({drawing.task})
        return drawing


async def _events(body: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON of server-sent events."""
    kept = bytearray()
    async for chunk in body:
        kept += chunk
        if len(kept) > _EVENT_BYTES:
            raise EngineDied(name="images", reason="garbled", how="an event without an end")
        while (end := kept.find(b"\n\n")) >= 0:
            event = bytes(kept[:end])
            del kept[: end + 2]
            if event.startswith(b"data: {"):
                yield json.loads(event[6:])


def _refused(name: str, said: Mapping[str, Any]) -> DomicileError:
    message, code = str(said.get("message", ""))[:300], said.get("code")
    if code in _CANNOT:
        return ModelCannot(name=name, problem=message, reason=str(code))
    if code == "lora":
        return BadField(field="loras", problem=message, reason="lora")
    if code == "image":
        return BadImage(field="image", problem=message)
    if said.get("param") == "size":
        return BadField(field="size", problem=message, reason="between", least=LEAST_SIDE, most=MOST_SIDE)
    return EngineDied(name=name, reason="garbled", how=message)
