"""A picture model in memory: its pipeline, the number format of this hardware, and the modes that spare memory.

Knows diffusers' classes (those of `folder.PIPELINES`) and their samplers. Never the network, never pickle, never a
class that a file names by itself: the folder it is given has been made safe.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.drawing import checkpoint, folder
from domicile.textgen.folder import UnsafeError
from domicile.textgen.loading import cpu_features

_NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
TILED_PIXELS = 1024 * 1024
"""Pictures larger than this are decoded in tiles, whatever the memory."""
_MOST_LORAS = 8

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": False}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde_karras": (
        "DPMSolverMultistepScheduler",
        {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
    ),
    "dpmpp_sde_karras": ("DPMSolverSinglestepScheduler", {"use_karras_sigmas": True}),
    "ddim": ("DDIMScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""By the names people know from A1111 and ComfyUI. `default` is the model's own."""


@dataclass(slots=True)
class Painter:
    """A model that is ready to draw."""

    pipe: Any
    kind: str
    """The class of its pipeline, as its index says it."""
    dtype: str
    device: str
    scheduler: Any
    """As the model brought it."""
    modes: tuple[str, ...]
    others: dict[str, Any] = field(default_factory=dict)
    """Pipelines over the same parts: from a picture, and filling one."""
    loras: dict[str, str] = field(default_factory=dict)
    """Path and time of change, and the name diffusers knows it by."""

    @property
    def flows(self) -> bool:
        """Is it of those that follow a flow (Stable Diffusion 3, Flux, Z-Image), which know one sampler?"""
        return "Flow" in type(self.scheduler).__name__

    @property
    def usual(self) -> tuple[int, float]:
        """Steps and guidance that suit it, as its own configuration tells; distilled models want few and none."""
        transformer: Any = getattr(self.pipe, "transformer", None)
        plan = self.scheduler.config
        match self.kind:
            case "FluxPipeline":  # schnell was distilled without guidance
                return (28, 3.5) if transformer.config.guidance_embeds else (4, 0.0)
            case "Flux2KleinPipeline":
                return (4, 1.0) if self.pipe.config.get("is_distilled") else (28, 4.0)
            case "ZImagePipeline":  # Turbo's schedule is shifted by 3, the base model's by 6
                return (8, 0.0) if plan.get("shift", 3.0) <= 3.0 else (28, 4.0)
        kind = type(self.scheduler).__name__
        trailing = plan.get("timestep_spacing") == "trailing"
        if kind == "LCMScheduler" or (kind.startswith("EulerAncestral") and trailing):  # LCM, Turbo
            return 4, 0.0
        return (28 if self.flows else 20), 7.0

    @property
    def side(self) -> int:
        """Pixels a side that it was trained on."""
        net: Any = getattr(self.pipe, "unet", None) or getattr(self.pipe, "transformer", None)
        sample = getattr(net.config, "sample_size", None)
        if self.kind == "FluxPipeline" or not isinstance(sample, int):
            return 1024
        return sample * self.scale

    @property
    def scale(self) -> int:
        """Pixels of a side for one of its latents."""
        return int(getattr(self.pipe, "vae_scale_factor", 8))


def load(files: Sequence[Path], place: Path, form: str, modes: Sequence[str]) -> Painter:
    """Load a diffusers folder or a single checkpoint; `place` is an empty folder of ours. Raises `UnfitError`."""
    import diffusers
    import torch
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    card = torch.cuda.is_available()
    device = "cuda" if card else "cpu"
    dtype = getattr(torch, dtype_for(cpu_features(), torch.cuda.is_bf16_supported() if card else None))
    try:
        if form == "diffusers":
            target, kind = folder.prepared(files, place / "model")
            pipe = getattr(diffusers, kind).from_pretrained(
                target, torch_dtype=dtype, use_safetensors=True, local_files_only=True, variant=_variant(target)
            )
        else:
            pipe, kind = _single(diffusers, files, place / "config", dtype)
    except UnsafeError as trouble:
        raise UnfitError(str(trouble)) from trouble
    except ImportError as trouble:
        raise UnfitError(f"it needs what this engine does not have: {line(trouble)}") from trouble
    except (ValueError, KeyError, OSError, TypeError, AttributeError, IndexError, RuntimeError) as trouble:
        if isinstance(trouble, RuntimeError) and "memory" in str(trouble).lower():
            raise
        raise UnfitError(line(trouble)) from trouble
    pipe.set_progress_bar_config(disable=True)
    used = _spared(pipe, device, modes)
    return Painter(pipe, kind, str(dtype).removeprefix("torch."), device, pipe.scheduler, used)


def dtype_for(features: frozenset[str], card_bf16: bool | None) -> str:
    """Half precision where it is native. `card_bf16`: whether the graphics card computes in bfloat16; None without."""
    if card_bf16 is not None:
        return "bfloat16" if card_bf16 else "float16"
    return "bfloat16" if features & _NATIVE_BF16 else "float32"


def _variant(target: Path) -> str | None:
    """Which precision the files of a folder are of, where their names say so."""
    names = [p.name for p in target.glob("*/*.safetensors")]
    for variant in ("fp16", "bf16"):
        if any(f".{variant}." in n or f".{variant}-" in n for n in names):
            return variant
    return None


def _single(diffusers: Any, files: Sequence[Path], place: Path, dtype: Any) -> tuple[Any, str]:
    file = next((f for f in files if f.name.lower().endswith(".safetensors")), None)
    if file is None:
        raise UnsafeError("there is no .safetensors file")
    real = folder.weights(file.resolve())
    shapes = read_shapes(real)
    if is_lora(shapes):
        raise UnsafeError("it is a LoRA, which goes on top of a model: name it in `loras`")
    family = checkpoint.family_of(shapes)
    config = checkpoint.written(shapes, family, place)
    kind = getattr(diffusers, family.pipeline)
    pipe = kind.from_single_file(str(real), config=str(config), local_files_only=True, torch_dtype=dtype)
    return pipe, family.pipeline


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The tensors of a safetensors file, by name. Its header has been bounded."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        said = json.loads(opened.read(length))
    if not isinstance(said, dict):
        raise UnsafeError(f"{file.name[:100]} is no safetensors file")
    try:
        return {k: tuple(int(n) for n in v["shape"]) for k, v in said.items() if k != "__metadata__"}
    except (TypeError, KeyError, ValueError) as trouble:
        raise UnsafeError(f"{file.name[:100]} has a damaged header") from trouble


def is_lora(shapes: checkpoint.Shapes) -> bool:
    """Is this an adapter? Every trainer writes `lora_up`/`lora_down` or `lora_A`/`lora_B`."""
    return any("lora_" in key or ".lora." in key for key in shapes)


def _spared(pipe: Any, device: str, modes: Sequence[str]) -> tuple[str, ...]:
    """Put the pipeline where it computes, and switch on what was chosen to spare memory. Returns what took effect."""
    used = []
    vae: Any = getattr(pipe, "vae", None)
    if "vae_slicing" in modes and hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
        used.append("vae_slicing")
    if "vae_tiling" in modes and hasattr(vae, "enable_tiling"):
        vae.enable_tiling()
        used.append("vae_tiling")
    if device == "cuda" and "sequential_offload" in modes:
        pipe.enable_sequential_cpu_offload()
        used.append("sequential_offload")
    elif device == "cuda" and "model_offload" in modes:
        pipe.enable_model_cpu_offload()
        used.append("model_offload")
    else:
        pipe.to(device)
    if "attention_slicing" in modes:
        pipe.enable_attention_slicing()
        used.append("attention_slicing")
    return tuple(used)


# -- for one drawing --


def pipeline_for(painter: Painter, image: bool, mask: bool) -> Any:
    """The pipeline of a drawing, over the same parts. Raises `LookupError` for what the model cannot do."""
    import diffusers

    from_picture, filling = folder.PIPELINES[painter.kind]
    if not image:
        if "Inpaint" in painter.kind:
            raise LookupError("inpaint_only")
        return painter.pipe
    name = filling if mask else from_picture
    if name is None:
        raise LookupError("no_mask" if mask else "no_image")
    if name == painter.kind:
        return painter.pipe
    if name not in painter.others:
        painter.others[name] = getattr(diffusers, name)(**painter.pipe.components)
        painter.others[name].set_progress_bar_config(disable=True)
    return painter.others[name]


def choose_sampler(painter: Painter, pipe: Any, name: str) -> None:
    """Give a pipeline the sampler of this drawing. Raises `LookupError` for one it cannot use."""
    import diffusers

    kind, options = SAMPLERS.get(name, ("", {}))
    if name == "default" or (painter.flows and name == "euler"):
        pipe.scheduler = type(painter.scheduler).from_config(painter.scheduler.config)
        return
    if painter.flows or not kind:
        raise LookupError("sampler")
    pipe.scheduler = getattr(diffusers, kind).from_config(painter.scheduler.config, **options)


def lay(painter: Painter, pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Lay adapters over the model's weights, each with its strength; none takes the last ones off. Raises
    `UnsafeError` for what is none, `ValueError` for one of another family."""
    if len(loras) > _MOST_LORAS:
        raise UnsafeError(f"more than {_MOST_LORAS} LoRAs")
    if not loras:
        if painter.loras:
            pipe.disable_lora()
        return
    from safetensors.torch import load_file

    names = []
    for path, _ in loras:
        real = path.resolve()
        key = f"{real}:{real.stat().st_mtime_ns}"
        if key not in painter.loras:
            if not is_lora(read_shapes(folder.weights(real))):
                raise UnsafeError(f"{path.name[:100]} is no LoRA")
            name = f"lora{len(painter.loras)}"
            pipe.load_lora_weights(load_file(real), adapter_name=name)
            painter.loras[key] = name
        names.append(painter.loras[key])
    pipe.enable_lora()
    pipe.set_adapters(names, [scale for _, scale in loras])


def line(trouble: BaseException) -> str:
    """An error of a library, in one line."""
    text = " ".join(str(trouble).split())
    return f"{type(trouble).__name__}: {text}"[:300]
