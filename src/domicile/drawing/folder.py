"""A picture model's folder made safe to hand to diffusers: its own classes alone, configurations without
code, no links.

Knows `model_index.json`: which pipeline and which class each component is. What is not on the lists here is refused, so
that neither a custom pipeline nor a class with other habits is ever looked up. Only safetensors are weights. Standard
library only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from domicile.textgen.folder import MOST_HEADER, MOST_TEXT, UnsafeError, cleaned

INDEX = "model_index.json"
_SAFE_PARTS = 3
_MOST_FILES = 500
_TEXTS = (".json", ".txt", ".model")

PIPELINES: dict[str, tuple[str | None, str | None]] = {
    "StableDiffusionPipeline": ("StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
    "StableDiffusionXLPipeline": ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
    "StableDiffusion3Pipeline": ("StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
    "FluxPipeline": ("FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    "ZImagePipeline": ("ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    "Flux2KleinPipeline": ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
    "LatentConsistencyModelPipeline": ("LatentConsistencyModelImg2ImgPipeline", None),
    "StableDiffusionInpaintPipeline": (None, "StableDiffusionInpaintPipeline"),
    "StableDiffusionXLInpaintPipeline": (None, "StableDiffusionXLInpaintPipeline"),
}
"""The pipelines that are run: for each, the classes that start from a picture, and that fill a part of one."""
_CONVERSATIONS = frozenset({"ZImagePipeline", "Flux2KleinPipeline"})
"""Those that put what is described into a conversation, by the template of their tokenizer."""
_QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
"""Qwen3's, for what pipelines say. It stands in place of the file's own, which would be a program of a stranger's."""

_COMPONENTS = {
    "diffusers": {
        "UNet2DConditionModel",
        "AutoencoderKL",
        "AutoencoderTiny",
        "SD3Transformer2DModel",
        "FluxTransformer2DModel",
        "AutoencoderKLFlux2",
        "Flux2Transformer2DModel",
        "ZImageTransformer2DModel",
    },
    "transformers": {
        "CLIPTextModel",
        "CLIPTextModelWithProjection",
        "CLIPTokenizer",
        "CLIPTokenizerFast",
        "T5EncoderModel",
        "T5Tokenizer",
        "T5TokenizerFast",
        "Qwen2Tokenizer",
        "Qwen2TokenizerFast",
        "Qwen3ForCausalLM",
        "Qwen3Model",
    },
}
_LEFT_OUT = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Not loaded: a judge of pictures (docs/why.md), and what only other tasks need."""


def prepared(files: Sequence[Path], target: Path) -> tuple[Path, str]:
    """A copy of a diffusers folder at `target`: small files read and cleaned, weights as links of ours. Returns it, and
    the pipeline's class. Raises `UnsafeError`."""
    index = min((f for f in files if f.name == INDEX), key=lambda f: len(f.parts), default=None)
    if index is None:
        raise UnsafeError(f"there is no {INDEX}")
    root = index.parent
    if len(files) > _MOST_FILES:
        raise UnsafeError(f"more than {_MOST_FILES} files")
    kind, said, wanted = _read_index(_read(index, root))
    target.mkdir(parents=True)
    for file in files:
        try:
            inside = PurePosixPath(file.relative_to(root).as_posix())
        except ValueError as trouble:
            raise UnsafeError(f"{file.name} is outside of its folder") from trouble
        if len(inside.parts) != 2 or inside.parts[0] not in wanted or file.name.startswith("."):
            continue
        place = target / inside.parts[0]
        place.mkdir(exist_ok=True)
        lower = file.name.lower()
        if lower.endswith(".safetensors"):
            (place / file.name).symlink_to(weights(_inside(file, root)))
        elif lower.endswith(_TEXTS):
            _copy(file, root, place / file.name)
    if kind in _CONVERSATIONS:
        _with_template(target / "tokenizer" / "tokenizer_config.json")
    (target / INDEX).write_text(json.dumps(said), "utf-8")
    return target, kind


def _with_template(file: Path) -> None:
    if not file.is_file():
        raise UnsafeError(f"there is no {file.name}")
    said = json.loads(file.read_text("utf-8"))
    if not isinstance(said, dict):
        raise UnsafeError(f"{file.name} is no object")
    file.write_text(json.dumps({**said, "chat_template": _QWEN3}), "utf-8")


def _read_index(said: Any) -> tuple[str, dict[str, Any], set[str]]:
    if not isinstance(said, dict):
        raise UnsafeError(f"{INDEX} is no object")
    kind = said.get("_class_name")
    if not isinstance(kind, str) or kind not in PIPELINES:
        raise UnsafeError(f"the pipeline {str(kind)[:80]!r} is not one that is run here")
    kept: dict[str, Any] = {"_class_name": kind, "_diffusers_version": "0"}
    wanted: set[str] = set()
    for name, value in said.items():
        if name.startswith("_"):
            continue
        if not isinstance(value, list):
            if isinstance(value, (bool, int, float)) or value is None:
                kept[name] = value
            continue
        if name in _LEFT_OUT or value == [None, None]:
            kept[name] = [None, None]
            continue
        if not _is_plain(name) or len(value) != 2 or not _is_ours(*value):
            raise UnsafeError(f"the component {name[:60]!r} is of a class that is not loaded here: {str(value)[:120]}")
        kept[name] = value
        wanted.add(name)
    if "requires_safety_checker" in kept:
        kept["requires_safety_checker"] = False
    return kind, kept, wanted


def _is_plain(name: str) -> bool:
    return name.isascii() and name.replace("_", "").isalnum() and len(name) < 60


def _is_ours(library: object, kind: object) -> bool:
    if not isinstance(library, str) or not isinstance(kind, str):
        return False
    if library == "diffusers" and kind.endswith("Scheduler") and kind.isalnum():
        return True
    return kind in _COMPONENTS.get(library, set())


def _inside(file: Path, root: Path) -> Path:
    """The true place of a file of the folder. A cache of the Hub's client keeps its files in `blobs` beside
    `snapshots` and links to them; no other link is followed."""
    real, home = file.resolve(), root.resolve()
    blobs = home.parent.parent / "blobs"
    if not real.is_file() or not (real.is_relative_to(home) or real.parent == blobs):
        raise UnsafeError(f"{file.name} leads out of its folder")
    return real


def weights(real: Path) -> Path:
    """The same file, which begins as safetensors do. Raises `UnsafeError`."""
    size = real.stat().st_size
    with real.open("rb") as opened:
        head = opened.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{" or not 0 < length <= min(MOST_HEADER, size - 8):
        raise UnsafeError(f"{real.name[:100]} is no safetensors file")
    return real


def _read(file: Path, root: Path) -> Any:
    real = _inside(file, root)
    if real.stat().st_size > MOST_TEXT:
        raise UnsafeError(f"{file.name} is larger than {MOST_TEXT >> 20} MiB")
    try:
        return json.loads(real.read_bytes())
    except (ValueError, RecursionError) as trouble:
        raise UnsafeError(f"{file.name} is no JSON") from trouble


def _copy(file: Path, root: Path, target: Path) -> None:
    if file.suffix.lower() != ".json":
        real = _inside(file, root)
        if real.stat().st_size > MOST_TEXT:
            raise UnsafeError(f"{file.name} is larger than {MOST_TEXT >> 20} MiB")
        target.write_bytes(real.read_bytes())
        return
    said = _read(file, root)
    if file.name.endswith(".index.json"):
        shards = said.get("weight_map", {}).values() if isinstance(said, dict) else [None]
        if not all(
            isinstance(s, str) and s.endswith(".safetensors") and "/" not in s and "\\" not in s for s in shards
        ):
            raise UnsafeError(f"{file.name} names other files than shards")
    elif file.name not in {"vocab.json", "tokenizer.json"}:  # words, among them perhaps these
        said = cleaned(said)
    target.write_text(json.dumps(said), "utf-8")
