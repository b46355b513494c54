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


def checkpoint(model: Path, target: Path) -> Path:
    """A folder of Stable Diffusion 1 as one file, under the names that CompVis gave its tensors."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = {}
    for name, tensor in load_file(model / "unet" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"model.diffusion_model.{_network(name)}"] = tensor.contiguous()
    for name, tensor in load_file(model / "vae" / "diffusion_pytorch_model.safetensors").items():
        own = _autoencoder(name)
        attention = ".mid.attn_1." in own and tensor.ndim == 2
        tensors[f"first_stage_model.{own}"] = (tensor[:, :, None, None] if attention else tensor).contiguous()
    for name, tensor in load_file(model / "text_encoder" / "model.safetensors").items():
        own = name if name.startswith("text_model.") else f"text_model.{name}"
        tensors[f"cond_stage_model.transformer.{own}"] = tensor.contiguous()
    save_file(tensors, target)
    return target


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _network(name: str) -> str:
    """Of a network with two levels of one block each, the first with attention."""
    for ours, theirs in (
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"),
        ("down_blocks.0.attentions.0", "input_blocks.1.1"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.1.conv"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"),
        ("up_blocks.1.attentions.0", "output_blocks.2.1"),
        ("up_blocks.1.resnets.1", "output_blocks.3.0"),
        ("up_blocks.1.attentions.1", "output_blocks.3.1"),
    ):
        if name.startswith(f"{ours}."):
            part, _, end = name.removeprefix(f"{ours}.").rpartition(".")
            inner = _RESNET.get(part, part) if "resnets" in ours else part
            return ".".join(p for p in (theirs, inner, end) if p)
    raise KeyError(name)


def _autoencoder(name: str) -> str:
    parts = name.split(".")
    if parts[0] not in {"encoder", "decoder"}:
        return name
    side, rest = parts[0], ".".join(parts[1:])
    rest = rest.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    rest = rest.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    rest = rest.replace("mid_block.attentions.0", "mid.attn_1")
    for ours, theirs in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        rest = rest.replace(f"attn_1.{ours}", f"attn_1.{theirs}")
    inner = rest.split(".")
    if inner[0] in {"down_blocks", "up_blocks"}:
        level = int(inner[1]) if inner[0] == "down_blocks" else 3 - int(inner[1])
        way = "down" if inner[0] == "down_blocks" else "up"
        kinds = {"resnets": "block", "downsamplers": "downsample", "upsamplers": "upsample"}
        place = [kinds[inner[2]], *([inner[3]] if inner[2] == "resnets" else [])]
        rest = ".".join([way, str(level), *place, *inner[4:]])
    return f"{side}.{rest}"


def lora(target: Path) -> Path:
    """An adapter for the network of `pipeline()`, strong enough to be seen."""
    import diffusers
    import torch
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = pipeline()["unet"]
        net.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]))
        torch.manual_seed(3)
        weights = {k: torch.randn_like(v) for k, v in get_peft_model_state_dict(net).items()}
        diffusers.StableDiffusionPipeline.save_lora_weights(
            target.parent, unet_lora_layers=weights, weight_name=target.name, safe_serialization=True
        )
    return target
