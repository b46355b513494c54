"""A small model that sees: it says the colour of an image, red or blue. Its projector is of LLaVA's kind ("mlp").

Nothing is random. The projector's vision tower keeps the mean of each colour of a patch; the language model, of one
layer, looks at every token alike and says the name of the colour that it met. Layouts: llama.cpp tools/mtmd/clip.cpp.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import gguf
import numpy as np

from tests.fakes.models import bytes_to_unicode, finish

WIDTH = 320
"""Of the language model: what the projector's vectors must be as wide as."""
SIDE = 28
"""Pixels of the side of what the tower looks at: four patches."""
_PATCH = 14
_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n"
    "{%- if message.content is string %}{{ message.content }}"
    "{%- else %}{%- for part in message.content %}{{ part.text }}{%- endfor %}{%- endif %}<|im_end|>\n"
    "{%- endfor %}<|im_start|>assistant\n"
)


def seer(path: Path, *, context: int = 2048) -> Path:
    """The language model. Without an image it says `?`."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "red", "blue"]
    tokens = [*specials, *bytes_to_unicode().values()]
    place = {token: number for number, token in enumerate(tokens)}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("a model that sees")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(5)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, 4, 4] + [1] * 256)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)
    writer.add_file_type(0)
    said = np.zeros((len(tokens), WIDTH), np.float32)
    said[np.arange(len(tokens)), np.arange(len(tokens))] = 1  # a number each: none of the two of the colours below
    answer = np.zeros((len(tokens), WIDTH), np.float32)
    answer[place["?"], place["t"]] = 0.001  # what its turn begins with ends so
    answer[place["red"], WIDTH - 2] = answer[place["blue"], WIDTH - 1] = 1
    for word in ("red", "blue", "?"):
        answer[place["<|im_end|>"], place[word]] = 1000
    value = np.zeros((WIDTH, WIDTH), np.float32)
    value[0, WIDTH - 2] = value[1, WIDTH - 1] = 1
    output = np.zeros((WIDTH, WIDTH), np.float32)
    output[WIDTH - 2, 0] = output[WIDTH - 1, 1] = 1
    writer.add_tensor("token_embd.weight", said)
    writer.add_tensor("output.weight", answer)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    writer.add_tensor("blk.0.attn_v.weight", value)
    writer.add_tensor("blk.0.attn_output.weight", output)
    for name, shape in (("ffn_gate", (32, WIDTH)), ("ffn_up", (32, WIDTH)), ("ffn_down", (WIDTH, 32))):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    finish(writer)
    return path


def projector(
    path: Path, *, width: int = WIDTH, embd: int = 64, side: int = SIDE, blocks: int = 2, ff: int = 64
) -> Path:
    """Its eyes. `width` other than the model's makes a projector of another model; a larger `side` and `embd` the
    size of a real one."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_name("eyes")
    writer.add_file_type(0)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    for key, number in (
        ("image_size", side),
        ("patch_size", _PATCH),
        ("embedding_length", embd),
        ("feed_forward_length", ff),
        ("projection_dim", width),
        ("block_count", blocks),
        ("attention.head_count", max(1, embd // 64)),
    ):
        writer.add_uint32(f"clip.vision.{key}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    patch = np.zeros((embd, 3, _PATCH, _PATCH), np.float32)
    patch[0, 0] = patch[1, 2] = 1 / _PATCH**2
    writer.add_tensor("v.patch_embd.weight", patch)
    writer.add_tensor("v.position_embd.weight", np.zeros(((side // _PATCH) ** 2, embd), np.float32))
    for block in range(blocks):
        at = f"v.blk.{block}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            writer.add_tensor(f"{at}.{name}.weight", np.zeros((embd, embd), np.float32))
            writer.add_tensor(f"{at}.{name}.bias", np.zeros(embd, np.float32))
        for name, shape in (("ffn_down", (ff, embd)), ("ffn_up", (embd, ff))):
            writer.add_tensor(f"{at}.{name}.weight", np.zeros(shape, np.float32))
            writer.add_tensor(f"{at}.{name}.bias", np.zeros(shape[0], np.float32))
        for name in ("ln1", "ln2"):
            writer.add_tensor(f"{at}.{name}.weight", np.ones(embd, np.float32))
            writer.add_tensor(f"{at}.{name}.bias", np.zeros(embd, np.float32))
    first = np.eye(embd, dtype=np.float32)
    second = np.zeros((width, embd), np.float32)
    if width >= 2:
        second[width - 2, 0] = second[width - 1, 1] = 100
    for number, weight in ((0, first), (2, second)):
        writer.add_tensor(f"mm.{number}.weight", weight)
        writer.add_tensor(f"mm.{number}.bias", np.zeros(weight.shape[0], np.float32))
    finish(writer)
    return path


def png(
    colour: tuple[int, int, int], width: int = SIDE, height: int = SIDE, *, said: tuple[int, int] | None = None
) -> bytes:
    """An image of one colour. `said`: the size that its header announces, when that is another."""
    rows = (b"\0" + bytes(colour) * width) * height
    announced = said or (width, height)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *announced, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def bomb(size_bytes: int = 200 << 20) -> bytes:
    """A PNG of 8 by 8 pixels whose data would be this many bytes: a thousandth of that in the file."""
    packer = zlib.compressobj(9)
    piece = b"\0" * (1 << 20)
    data = b"".join(packer.compress(piece) for _ in range(size_bytes >> 20)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
