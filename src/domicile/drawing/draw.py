"""One drawing: what is asked, read and bounded; its steps as they come; and the pictures, with how they were made.

A picture is a PNG that says in a text chunk `parameters` how it was made, in the words of A1111's web UI, which
other tools read. Pictures of one drawing are made one after the other, each with the next seed, so that the memory is
that of one and any of them can be made again alone.
"""

from __future__ import annotations

import base64
import io
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child_http import Refusal
from domicile.drawing import pipeline
from domicile.drawing.pipeline import Painter
from domicile.drawing.preview import Previews, png
from domicile.textgen.folder import UnsafeError

MOST_SIDE, LEAST_SIDE = 4096, 64
MOST_STEPS, MOST_PICTURES = 200, 16
MOST_IMAGE_PIXELS = 50_000_000
_PREVIEW_EVERY_S = 0.25
_GRID = 8
Tell = Callable[[dict[str, Any]], None]


class StoppedError(Exception):
    """The caller left."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A drawing that is asked for."""

    prompt: str
    negative: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    n: int
    sampler: str
    strength: float
    image: Path | None
    mask: Path | None
    loras: tuple[tuple[Path, float, str], ...]
    previews: bool
    partials: int
    """How many larger previews of each picture are told apart."""
    said_by: str
    """What to write of the program into the picture."""


def read(data: Mapping[str, Any], painter: Painter) -> Wanted:
    """What the house asks: it has checked kinds and bounds. What is not said is what suits the model."""
    side, (usual_steps, usual_guidance) = painter.side, painter.usual
    loras = tuple((Path(one["path"]), float(one.get("scale", 1.0)), str(one["name"])) for one in data.get("loras", ()))
    width, height = int(data.get("width") or side), int(data.get("height") or side)
    grid = max(_GRID, painter.scale * (2 if painter.flows else 1))
    for field, value in (("width", width), ("height", height)):
        if not LEAST_SIDE <= value <= MOST_SIDE:
            raise Refusal(f"{field} must be between {LEAST_SIDE} and {MOST_SIDE}", param="size")
    steps = data.get("steps")
    guidance, strength = data.get("guidance"), data.get("strength")
    return Wanted(
        str(data.get("prompt", "")),
        str(data.get("negative") or ""),
        max(grid, width // grid * grid),
        max(grid, height // grid * grid),
        int(steps) if steps is not None else usual_steps,
        float(guidance) if guidance is not None else usual_guidance,
        int(data["seed"]),
        int(data.get("n") or 1),
        str(data.get("sampler") or "default"),
        0.75 if strength is None else float(strength),
        Path(data["image"]) if data.get("image") else None,
        Path(data["mask"]) if data.get("mask") else None,
        loras,
        bool(data.get("previews", True)),
        int(data.get("partials") or 0),
        str(data.get("said_by") or "Domicile")[:60],
    )


def draw(
    painter: Painter, previews: Previews, wanted: Wanted, tell: Tell, stop: threading.Event, alias: str = ""
) -> None:
    """Draw, telling each step and each picture. Raises `Refusal` for what this model cannot do, `StoppedError`."""
    import torch

    begun = _Begun(painter, wanted)
    for place in range(wanted.n):
        seed = wanted.seed + place
        progress = _Progress(begun, previews, place, tell, stop)
        with torch.inference_mode():
            made = begun.pipe(
                **begun.arguments,
                generator=torch.Generator("cpu").manual_seed(seed),
                callback_on_step_end=progress.step,
                callback_on_step_end_tensor_inputs=["latents"],
            ).images[0]
        if stop.is_set():
            raise StoppedError
        said = parameters(wanted, seed, alias)
        tell(
            {
                "type": "picture",
                "index": place,
                "png": base64.b64encode(_png(made, said)).decode("ascii"),
                "seed": seed,
                "width": made.width,
                "height": made.height,
                "steps": wanted.steps,
                "guidance": wanted.guidance,
                "sampler": wanted.sampler,
                "parameters": said,
                "seconds": round(progress.seconds, 3),
                "step_seconds": progress.step_seconds,
            }
        )


class _Begun:
    """A drawing whose pipeline, sampler, adapters and pictures to start from are there."""

    def __init__(self, painter: Painter, wanted: Wanted) -> None:
        self.painter, self.wanted = painter, wanted
        try:
            self.pipe = pipeline.pipeline_for(painter, wanted.image is not None, wanted.mask is not None)
            pipeline.choose_sampler(painter, self.pipe, wanted.sampler)
        except LookupError as trouble:
            raise Refusal(_WHY[str(trouble.args[0])], code=str(trouble.args[0])) from trouble
        try:
            pipeline.lay(painter, self.pipe, [(path, scale) for path, scale, _ in wanted.loras])
        except (UnsafeError, ValueError, KeyError, RuntimeError, OSError) as trouble:
            raise Refusal(
                f"the LoRA cannot be used with this model: {pipeline.line(trouble)}", code="lora"
            ) from trouble
        vae: Any = getattr(painter.pipe, "vae", None)
        large = wanted.width * wanted.height > pipeline.TILED_PIXELS or "vae_tiling" in painter.modes
        if hasattr(vae, "enable_tiling"):
            vae.enable_tiling() if large else vae.disable_tiling()
        self.arguments = self._arguments()

    def _arguments(self) -> dict[str, Any]:
        import inspect

        wanted = self.wanted
        known = inspect.signature(self.pipe.__call__).parameters
        said: dict[str, Any] = {
            "prompt": wanted.prompt,
            "negative_prompt": wanted.negative or None,
            "num_inference_steps": wanted.steps,
            "guidance_scale": wanted.guidance,
            "width": wanted.width,
            "height": wanted.height,
            "output_type": "pil",
        }
        if wanted.image is not None:
            size = (wanted.width, wanted.height)
            said["image"] = _opened(wanted.image, size, "RGB")
            said["strength"] = wanted.strength
            if wanted.mask is not None:
                said["mask_image"] = _mask(wanted.mask, size)
            elif "Inpaint" in type(self.pipe).__name__:
                raise Refusal(_WHY["no_mask_given"], code="no_mask_given")
            if "strength" in known:  # of the steps asked for, only this share is taken: ask for as many as shall be
                said["num_inference_steps"] = max(1, math.ceil(wanted.steps / max(0.01, wanted.strength)))
        return {name: value for name, value in said.items() if name in known and value is not None}


_WHY = {
    "inpaint_only": "this model fills a part of a picture: send a picture and a mask",
    "no_image": "this model cannot start from a picture",
    "no_mask": "this model cannot fill a part of a picture",
    "no_mask_given": "this model fills a part of a picture: send a mask",
    "sampler": "this model cannot be used with this sampler",
}


class _Progress:
    """The steps of one picture."""

    def __init__(self, begun: _Begun, previews: Previews, place: int, tell: Tell, stop: threading.Event) -> None:
        self._begun, self._previews, self._place, self._tell, self._stop = begun, previews, place, tell, stop
        self._began = self._last = time.perf_counter()
        self._shown = 0.0
        self._times: list[float] = []
        self._partials = 0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def step_seconds(self) -> float | None:
        """The median of the steps but the first, which waits for the text."""
        times = sorted(self._times[1:] or self._times)
        return round(times[len(times) // 2], 4) if times else None

    def step(self, pipe: Any, index: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Called by diffusers after each step. A caller who has left ends the drawing here."""
        if self._stop.is_set():
            raise StoppedError
        now = time.perf_counter()
        self._times.append(now - self._last)  # the preview of a step counts with the next one
        self._last = now
        wanted = self._begun.wanted
        steps = int(getattr(pipe, "_num_timesteps", 0) or wanted.steps)
        event: dict[str, Any] = {
            "type": "step",
            "index": self._place,
            "step": index + 1,
            "steps": steps,
            "seconds": round(now - self._began, 3),
        }
        due = self._due(index + 1, steps)
        if due or (wanted.previews and now - self._shown > _PREVIEW_EVERY_S and index + 1 < steps):
            self._shown = now
            image = self._previews.image(tensors["latents"], wanted.height, wanted.width)
            event["preview"] = png(image)
            if due:
                event["partial"] = self._partials
                event["preview"] = png(image, (wanted.width, wanted.height))
                self._partials += 1
        self._tell(event)
        return tensors

    def _due(self, step: int, steps: int) -> bool:
        """Is one of the larger previews due: spread evenly, none with the picture itself?"""
        wanted = self._begun.wanted.partials
        return self._partials < wanted and step < steps and step >= (self._partials + 1) * steps / (wanted + 1)


def parameters(wanted: Wanted, seed: int, alias: str) -> str:
    """How a picture was made, as A1111's web UI writes it."""
    first = wanted.prompt + "".join(f" <lora:{name}:{scale:g}>" for _, scale, name in wanted.loras)
    lines = [first]
    if wanted.negative:
        lines.append(f"Negative prompt: {wanted.negative}")
    facts = {
        "Steps": wanted.steps,
        "Sampler": wanted.sampler,
        "CFG scale": f"{wanted.guidance:g}",
        "Seed": seed,
        "Size": f"{wanted.width}x{wanted.height}",
        "Model": alias,
    }
    if wanted.image is not None:
        facts["Denoising strength"] = f"{wanted.strength:g}"
    facts["Version"] = wanted.said_by
    lines.append(", ".join(f"{k}: {v}" for k, v in facts.items() if v != ""))
    return "\n".join(lines)


def _png(image: Any, said: str) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_itxt("parameters", said) if not said.isascii() else about.add_text("parameters", said)
    kept = io.BytesIO()
    image.save(kept, "PNG", pnginfo=about)
    return kept.getvalue()


def _opened(path: Path, size: tuple[int, int], mode: str) -> Any:
    """A picture to start from, in the size of the one to come: its middle, whole in one direction."""
    import warnings

    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = MOST_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "GIF", "BMP", "WEBP")) as opened:
                turned = ImageOps.exif_transpose(opened)
                return ImageOps.fit(turned.convert(mode), size, Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as trouble:
        raise Refusal(f"the picture cannot be read: {str(trouble)[:200]}", code="image", param="image") from trouble


def _mask(path: Path, size: tuple[int, int]) -> Any:
    """White where the picture is drawn anew. As OpenAI has it, that is where a mask is transparent; a mask without
    transparency is read as it is: white is drawn anew."""
    from PIL import ImageOps

    image = _opened(path, size, "RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] < 255:
        return ImageOps.invert(alpha)
    return image.convert("L")
