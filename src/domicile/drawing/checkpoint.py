"""A single-file checkpoint (`.safetensors` as Stable Diffusion's own code wrote it): what its tensors say it is.

Such a file brings no configuration, and diffusers would ask the Hub for one of its family. Here it is derived from the
shapes of its tensors, so that nothing is asked for and pruned models run too. What shapes do not tell (heads, noise
schedule, activation) is what Stable Diffusion 1, 2 and XL were published with. Keys are those of CompVis' latent
diffusion and Stability's generative-models. The tokenizer is CLIP's for all (`data/`, OpenAI, MIT licence).
Standard library only.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.textgen.folder import UnsafeError

Shapes = Mapping[str, tuple[int, ...]]
_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_HEAD = 64
"""Width of a head in everything after the first Stable Diffusion, and in every CLIP."""
_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Family:
    """What a checkpoint is."""

    name: str
    """`sd1`, `sd2` or `sdxl`."""
    pipeline: str
    inpaint: bool


def family_of(shapes: Shapes) -> Family:
    """Raises `UnsafeError` with what is missing for a checkpoint that cannot be run by itself."""
    if f"{_UNET}input_blocks.0.0.weight" not in shapes:
        found = "a transformer alone (Flux, Stable Diffusion 3)" if _is_transformer(shapes) else "no picture model"
        raise UnsafeError(f"it is {found}: get the whole model, a folder with model_index.json")
    if f"{_VAE}decoder.conv_in.weight" not in shapes:
        raise UnsafeError("it has no VAE: get a checkpoint that holds the whole model")
    inpaint = shapes[f"{_UNET}input_blocks.0.0.weight"][1] == 9
    filling = "Inpaint" if inpaint else ""
    if "conditioner.embedders.1.model.token_embedding.weight" in shapes:
        return Family("sdxl", f"StableDiffusionXL{filling}Pipeline", inpaint)
    if "cond_stage_model.model.token_embedding.weight" in shapes:
        return Family("sd2", f"StableDiffusion{filling}Pipeline", inpaint)
    if "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight" in shapes:
        return Family("sd1", f"StableDiffusion{filling}Pipeline", inpaint)
    raise UnsafeError("it has no text encoder that is known here: get a checkpoint that holds the whole model")


def _is_transformer(shapes: Shapes) -> bool:
    return any(
        k.removeprefix(_UNET).startswith(("double_blocks.", "joint_blocks.", "transformer_blocks.")) for k in shapes
    )


def written(shapes: Shapes, family: Family, target: Path) -> Path:
    """The folder of configurations that diffusers wants beside such a file. Returns it."""
    two = family.name == "sdxl"
    index: dict[str, Any] = {
        "_class_name": family.pipeline,
        "_diffusers_version": "0",
        "scheduler": ["diffusers", "EulerDiscreteScheduler" if two else "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    if two:
        index |= {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "force_zeros_for_empty_prompt": True,
        }
        index["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
    else:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
    pooled = shapes["conditioner.embedders.1.model.text_projection"][1] if two else 0
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        "": ("model_index.json", index),
        "scheduler": ("scheduler_config.json", _schedule(shapes, family)),
        "unet": ("config.json", _unet(shapes, family, pooled)),
        "vae": ("config.json", _vae(shapes, two)),
    }
    if family.name == "sd2":
        parts["text_encoder"] = ("config.json", _open_clip(shapes, "cond_stage_model.model."))
    else:
        prefix = "conditioner.embedders.0.transformer." if two else "cond_stage_model.transformer."
        parts["text_encoder"] = ("config.json", _clip(shapes, f"{prefix}text_model."))
    if two:
        parts["text_encoder_2"] = ("config.json", _open_clip(shapes, "conditioner.embedders.1.model."))
    for place, (name, said) in parts.items():
        (target / place).mkdir(parents=True, exist_ok=True)
        (target / place / name).write_text(json.dumps(said), "utf-8")
    tokenizer(target / "tokenizer", "<|endoftext|>" if family.name != "sd2" else "!")
    if two:
        tokenizer(target / "tokenizer_2", "!")
    return target


def _schedule(shapes: Shapes, family: Family) -> dict[str, Any]:
    v = family.name == "sd2" or "v_pred" in shapes
    said = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "prediction_type": "v_prediction" if v else "epsilon",
        **({"rescale_betas_zero_snr": True} if "ztsnr" in shapes else {}),
    }
    if family.name == "sdxl":
        return {"_class_name": "EulerDiscreteScheduler", "interpolation_type": "linear", **said}
    return {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False, **said}


def _unet(shapes: Shapes, family: Family, pooled: int) -> dict[str, Any]:
    """Levels of the network: how wide, how many blocks, and how deep its attention is in each."""
    widths: list[int] = []
    depths: list[int] = []
    blocks = place = 0
    linear, cross = False, 0
    while True:
        place += 1
        name = f"{_UNET}input_blocks.{place}."
        if f"{name}0.op.weight" in shapes:
            continue
        wide = shapes.get(f"{name}0.out_layers.3.weight")
        if wide is None:
            break
        first = f"{_UNET}input_blocks.{place - 1}.0.op.weight" in shapes or place == 1
        depth = 0
        while f"{name}1.transformer_blocks.{depth}.attn2.to_k.weight" in shapes:
            cross = shapes[f"{name}1.transformer_blocks.{depth}.attn2.to_k.weight"][1]
            depth += 1
        linear = linear or len(shapes.get(f"{name}1.proj_in.weight", ())) == 2
        if first:
            widths.append(wide[0])
            depths.append(depth)
        blocks += len(widths) == 1
        if place > 200:
            raise UnsafeError("its network has too many blocks")
    if not widths or not cross:
        raise UnsafeError("its network is not one that is known here")
    down = ["CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths]
    up = ["CrossAttnUpBlock2D" if d else "UpBlock2D" for d in reversed(depths)]
    heads: Any = 8 if family.name == "sd1" else [max(1, w // _HEAD) for w in widths]
    middle = 0
    while f"{_UNET}middle_block.1.transformer_blocks.{middle}.attn2.to_k.weight" in shapes:
        middle += 1
    said: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": shapes[f"{_UNET}input_blocks.0.0.weight"][1],
        "out_channels": shapes[f"{_UNET}out.2.weight"][0],
        "sample_size": {"sd1": 64, "sd2": 96, "sdxl": 128}[family.name],
        "block_out_channels": widths,
        "layers_per_block": blocks,
        "down_block_types": down,
        "up_block_types": up,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "cross_attention_dim": cross,
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "transformer_layers_per_block": [max(1, d) for d in depths] if family.name == "sdxl" else 1,
    }
    if family.name == "sdxl" and middle != max(1, depths[-1]):
        said["mid_block_type"] = None if not middle else said["mid_block_type"]
    label = shapes.get(f"{_UNET}label_emb.0.0.weight")
    if label is not None:
        said |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (label[1] - pooled) // 6,
            "projection_class_embeddings_input_dim": label[1],
        }
    return said


def _vae(shapes: Shapes, two: bool) -> dict[str, Any]:
    widths: list[int] = []
    while (found := shapes.get(f"{_VAE}encoder.down.{len(widths)}.block.0.conv2.weight")) is not None:
        widths.append(found[0])
    blocks = 0
    while f"{_VAE}encoder.down.0.block.{blocks}.conv2.weight" in shapes:
        blocks += 1
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": blocks,
        "latent_channels": shapes[f"{_VAE}decoder.conv_in.weight"][1],
        "sample_size": 1024 if two else 512,
        "scaling_factor": 0.13025 if two else 0.18215,
        "force_upcast": two,
    }


def _clip(shapes: Shapes, prefix: str) -> dict[str, Any]:
    words, width = shapes[f"{prefix}embeddings.token_embedding.weight"]
    layers = 0
    while f"{prefix}encoder.layers.{layers}.mlp.fc1.weight" in shapes:
        layers += 1
    return _text_config(
        words, width, layers, shapes[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0], width, "quick_gelu", 1
    )


def _open_clip(shapes: Shapes, prefix: str) -> dict[str, Any]:
    words, width = shapes[f"{prefix}token_embedding.weight"]
    layers = 0
    while f"{prefix}transformer.resblocks.{layers}.mlp.c_fc.weight" in shapes:
        layers += 1
    wide = shapes[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"][0]
    projection = shapes.get(f"{prefix}text_projection", (width, width))[1]
    if prefix.startswith("cond_stage_model"):
        layers -= layers == 24  # Stable Diffusion 2 reads the last layer but one
    return _text_config(words, width, layers, wide, projection, "gelu", 1)


def _text_config(
    words: int, width: int, layers: int, wide: int, projection: int, activation: str, pad: int
) -> dict[str, Any]:
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // _HEAD),
        "max_position_embeddings": 77,
        "hidden_act": activation,
        "layer_norm_eps": 1e-05,
        "projection_dim": projection,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": pad,
    }


def tokenizer(target: Path, pad: str) -> None:
    """CLIP's byte-pair tokenizer as transformers reads it: 256 bytes, the same at the end of a word, 48,894 merges."""
    target.mkdir(parents=True, exist_ok=True)
    merges = gzip.decompress((_DATA / "clip-merges.txt.gz").read_bytes()).decode("utf-8").splitlines()
    letters = _letters()
    words = [*letters, *(f"{c}</w>" for c in letters), *(m.replace(" ", "") for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (target / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}), "utf-8")
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    said = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad,
        "do_lower_case": True,
        "add_prefix_space": False,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")


def _letters() -> list[str]:
    """A printable character for each byte, in the order GPT-2 gave them."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in shown] + [chr(256 + n) for n in range(256 - len(shown))]
