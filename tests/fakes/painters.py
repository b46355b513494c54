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


def flowing(place: Path, kind: str) -> Path:
    """A diffusers folder of a model that follows a flow: `StableDiffusion3Pipeline`, `FluxPipeline`,
    `ZImagePipeline` or `Flux2KleinPipeline`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _flowing(place, kind)


def _flowing(place: Path, kind: str) -> Path:
    import diffusers
    import torch
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, Qwen3ForCausalLM, Qwen3Model

    torch.manual_seed(7)
    tokenizer(place / "words", "<|endoftext|>")
    words = CLIPTokenizer.from_pretrained(place / "words")
    parts: dict[str, Any] = {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)}
    blocks = {
        "block_out_channels": (32, 32, 32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "sample_size": 64,
    }
    if kind == "Flux2KleinPipeline":
        parts["vae"] = diffusers.AutoencoderKLFlux2(**blocks, latent_channels=8)
        parts["transformer"] = diffusers.Flux2Transformer2DModel(
            in_channels=32, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=3 * 32, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        )  # fmt: skip
        parts |= {"text_encoder": Qwen3ForCausalLM(_qwen(28)), "tokenizer": qwen_words()}
        parts["is_distilled"] = True
    else:
        parts["vae"] = diffusers.AutoencoderKL(
            **blocks, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
            use_post_quant_conv=False,
        )  # fmt: skip
    if kind == "ZImagePipeline":
        parts["transformer"] = diffusers.ZImageTransformer2DModel(
            in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=32,
            axes_dims=[4, 6, 6], axes_lens=[512, 64, 64],
        )  # fmt: skip
        parts |= {"text_encoder": Qwen3Model(_qwen(2)), "tokenizer": qwen_words()}
    elif kind == "FluxPipeline":
        parts["transformer"] = diffusers.FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 6, 6), guidance_embeds=False,
        )  # fmt: skip
        parts |= {"text_encoder": CLIPTextModel(_clip()), "tokenizer": words}
        parts |= {"text_encoder_2": _t5(), "tokenizer_2": t5_words()}
    elif kind == "StableDiffusion3Pipeline":
        parts["transformer"] = diffusers.SD3Transformer2DModel(
            sample_size=8, in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64, out_channels=16,
            pos_embed_max_size=32,
        )  # fmt: skip
        parts |= {"text_encoder": CLIPTextModelWithProjection(_clip()), "tokenizer": words}
        parts |= {"text_encoder_2": CLIPTextModelWithProjection(_clip()), "tokenizer_2": words}
        parts |= {"text_encoder_3": _t5(64), "tokenizer_3": t5_words()}
    getattr(diffusers, kind)(**parts).save_pretrained(place / kind, safe_serialization=True)
    return place / kind


def _clip() -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=49408, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
        projection_dim=32, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip


def _t5(width: int = 32) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=300, d_model=width, d_kv=16, d_ff=32, num_layers=1, num_heads=2))


def t5_words() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import T5TokenizerFast

    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz ,."]
    made = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return T5TokenizerFast(tokenizer_object=made, extra_ids=0)


def _qwen(layers: int) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=300, hidden_size=32, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, eos_token_id=257, pad_token_id=256,
    )  # fmt: skip


def qwen_words() -> Any:
    """Letters of Qwen's tokenizer, with a template that would be run if it were the file's own that is used."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import Qwen2TokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    words = Qwen2TokenizerFast(tokenizer_object=made, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    words.chat_template = "{{ raise_exception('not this one') }}"
    return words
