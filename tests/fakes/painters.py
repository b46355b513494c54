"""Picture models of random weights, made by the real diffusers: small enough for a test, in the layouts people have.

`folder` is a diffusers folder, `checkpoint` the single file that A1111 and ComfyUI use (CompVis' names of tensors),
`lora` an adapter for either.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from domicile.drawing.checkpoint import tokenizer


def pipeline(xl: bool = False) -> Any:
    """A Stable Diffusion whose pictures are 64 pixels a side."""
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(7)
    text = {
        "vocab_size": 49408,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "projection_dim": 64,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    net: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (64, 128),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 128 if xl else 64,
    }
    if xl:
        net |= {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (1, 2),
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64 + 6 * 8,
        }
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        sample_size=64,
        scaling_factor=0.13025 if xl else 0.18215,
    )
    parts: dict[str, Any] = {
        "vae": vae,
        "unet": diffusers.UNet2DConditionModel(**net),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text, hidden_act="quick_gelu")),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }
    if xl:
        parts["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**text, hidden_act="gelu"))
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )
    return parts


def folder(place: Path, xl: bool = False) -> Path:
    """A diffusers folder, as the Hub has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries about each other: the tests' own are errors
        return _folder(place, xl)


def _folder(place: Path, xl: bool) -> Path:
    import diffusers
    from transformers import CLIPTokenizer

    tokenizer(place / "words", "<|endoftext|>")
    parts = pipeline(xl)
    words = CLIPTokenizer.from_pretrained(place / "words")
    if xl:
        made = diffusers.StableDiffusionXLPipeline(**parts, tokenizer=words, tokenizer_2=words)
    else:
        made = diffusers.StableDiffusionPipeline(
            **parts, tokenizer=words, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    made.save_pretrained(place / "model", safe_serialization=True)
    return place / "model"


def files(model: Path) -> dict[str, bytes]:
    """A folder as a repository holds it."""
    return {p.relative_to(model).as_posix(): p.read_bytes() for p in sorted(model.rglob("*")) if p.is_file()}
