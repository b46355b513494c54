"""Tiny models with eyes, random weights, as publishers lay them out: LLaVA, Idefics3 (SmolVLM), Qwen2-VL; and pictures
in the formats that people send."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

from tests.fakes import tensors

SEERS = ("llava", "idefics3", "smolvlm", "qwen2_vl")
_MARKS = {
    "llava": "<image>",
    "idefics3": "<image>",
    "smolvlm": "<image>",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}


def folder(kind: str, words: Path, place: Path) -> Path:
    """A model of that kind, with the tokenizer of another folder and the tokens of pictures added to it."""
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(words)
        model, processor = {"llava": _llava, "idefics3": _idefics3, "smolvlm": _smolvlm, "qwen2_vl": _qwen2_vl}[kind](
            tokenizer
        )
        place.mkdir()
        model.save_pretrained(place)
        processor.save_pretrained(place)
    (place / "chat_template.jinja").write_text(_template(_MARKS[kind]))
    return place


def _template(mark: str) -> str:
    return (
        "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}" + mark + "{% else %}"
        "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    )


def _language(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id or 0, "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip


def _vision(**more: Any) -> dict[str, Any]:
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**small, "image_size": 56, "patch_size": 14, **more}


def _llava(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_vision(projection_dim=32)), text_config=LlamaConfig(**_language(tokenizer)),
        image_token_id=token,
        image_seq_length=16, vision_feature_layer=-1,
    )  # fmt: skip
    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    made = LlavaProcessor(images, tokenizer, patch_size=14, vision_feature_select_strategy="default",
                          image_token="<image>", num_additional_image_tokens=1)  # fmt: skip
    return LlavaForConditionalGeneration(config), made


def _idefics3(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    marks = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    images = Idefics3ImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    config = Idefics3Config(
        vision_config=_vision(), text_config=LlamaConfig(**_language(tokenizer)), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    made = Idefics3Processor(images, tokenizer, image_seq_len=4)
    return Idefics3ForConditionalGeneration(config), made


def _smolvlm(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    marks = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    images = SmolVLMImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    config = SmolVLMConfig(
        vision_config=_vision(), text_config=LlamaConfig(**_language(tokenizer)), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    return SmolVLMForConditionalGeneration(config), Described(images, tokenizer, "SmolVLMProcessor", image_seq_len=4)


def _qwen2_vl(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(marks), strict=True))
    language = {
        **_language(tokenizer),
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
    }
    config = Qwen2VLConfig(
        text_config=language,
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14},
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112)
    return Qwen2VLForConditionalGeneration(config), Described(images, tokenizer, "Qwen2VLProcessor")


class Described:
    """A processor that knows films, saved as publishers do: the library makes one with torchvision alone."""

    def __init__(self, images: Any, tokenizer: Any, kind: str, **more: Any) -> None:
        self._images, self._tokenizer, self._said = images, tokenizer, {"processor_class": kind, **more}

    def save_pretrained(self, place: Path) -> None:
        self._images.save_pretrained(place)
        tensors.rewritten(place, "preprocessor_config.json", processor_class=self._said["processor_class"])
        self._tokenizer.save_pretrained(place)
        (place / "processor_config.json").write_text(json.dumps(self._said))


def picture(form: str, size: tuple[int, int] = (90, 60), colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A picture of one colour in a format of Pillow's."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


def webp_of(width: int, height: int) -> bytes:
    """A WebP that announces so many pixels, and holds none."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + (22).to_bytes(4, "little") + b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes(4) + size
