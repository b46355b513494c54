"""The weights of a Whisper under transformers' names, mapped from disk: safetensors, or a file of whisper.cpp.

Every length a file says is compared with what is there before it is believed. A quantised matrix of whisper.cpp is
given in float32, dequantised when it is asked for.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from domicile.child_life import UnfitError

Get = Callable[[], Any]
"""Gives the array when it is asked for."""
_MOST_HEADER = 25_000_000
_MOST_TENSORS = 20_000


@dataclass(frozen=True, slots=True)
class Shape:
    """How a Whisper is built."""

    encoder_layers: int
    encoder_heads: int
    decoder_layers: int
    decoder_heads: int
    n_mels: int
    n_vocab: int


def _bad(file: str, problem: str) -> NoReturn:
    raise UnfitError(f"{file}: {problem}")


def safetensors(files: Sequence[Path]) -> dict[str, Get]:
    """Every tensor of the shards. bfloat16 is given in float32."""
    found: dict[str, Get] = {}
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(_MOST_HEADER, size - 8):
                _bad(file.name, "no safetensors file")
            try:
                header = json.loads(opened.read(length))
            except (ValueError, RecursionError):
                _bad(file.name, "its header is no JSON")
        for name, entry in header.items() if isinstance(header, dict) else ():
            if name != "__metadata__":
                found[_plain(name)] = _safetensor(file, size, 8 + length, name, entry)
    return found


def _plain(name: str) -> str:
    """`model.encoder.conv1.weight` and `encoder.conv1.weight` are one."""
    return name.removeprefix("model.")


def _safetensor(file: Path, size: int, base: int, name: str, entry: Any) -> Get:
    kinds = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        dtype, width = kinds[kind]
    except (KeyError, TypeError, ValueError):
        _bad(file.name, f"{name[:80]} is of a kind that is not known here")
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)) or len(shape) > 4:
        _bad(file.name, f"{name[:80]} has no shape")
    if end - begin != math.prod(shape) * width or base + end > size:
        _bad(file.name, f"{name[:80]} is cut off")

    def get() -> Any:
        import numpy as np

        raw = np.memmap(file, dtype=dtype, mode="c", offset=base + begin, shape=shape)
        return (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw

    return get


# -- whisper.cpp --

_BLOCK = 32
_KINDS = {0: ("F32", 4, 1), 1: ("F16", 2, 1), 2: ("Q4_0", 18, 32), 3: ("Q4_1", 20, 32), 6: ("Q5_0", 22, 32)}
_KINDS |= {7: ("Q5_1", 24, 32), 8: ("Q8_0", 34, 32)}
"""ggml's numbers of its types: name, bytes and values of a block."""
_PARTS = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_WHOLE = {
    "encoder.positional_embedding": "encoder.embed_positions.weight",
    "decoder.positional_embedding": "decoder.embed_positions.weight",
    "decoder.token_embedding.weight": "decoder.embed_tokens.weight",
    "encoder.ln_post.weight": "encoder.layer_norm.weight",
    "encoder.ln_post.bias": "encoder.layer_norm.bias",
    "decoder.ln.weight": "decoder.layer_norm.weight",
    "decoder.ln.bias": "decoder.layer_norm.bias",
}
_BLOCK_NAME = re.compile(r"(encoder|decoder)\.blocks\.(\d{1,3})\.(.+)\.(weight|bias)")


def renamed(name: str) -> str:
    """OpenAI's name of a tensor in transformers' words."""
    found = _BLOCK_NAME.fullmatch(name)
    if found and found[3] in _PARTS:
        return f"{found[1]}.layers.{found[2]}.{_PARTS[found[3]]}.{found[4]}"
    return _WHOLE.get(name, name)


def ggml(file: Path) -> tuple[Shape, list[bytes], dict[str, Get]]:
    """The shape, the tokens by rank, and every tensor of a file of whisper.cpp."""
    size = file.stat().st_size
    with file.open("rb") as opened:

        def take(count: int) -> bytes:
            got = opened.read(count) if 0 <= count <= size - opened.tell() else b""
            if len(got) < count:
                _bad(file.name, "it is cut off")
            return got

        if take(4) != b"lmgg":
            _bad(file.name, "no file of whisper.cpp")
        values = struct.unpack("<11i", take(44))
        n_vocab, _, _, heads, layers, _, _, text_heads, text_layers, mels, _ = values
        if not all(0 < n < 1 << 20 for n in values[:10]) or max(layers, text_layers) > 1024:
            _bad(file.name, "not the shape of a Whisper")
        rows, columns = struct.unpack("<2i", take(8))
        if not (0 < rows <= 1024 and 0 < columns <= 4096):
            _bad(file.name, "no mel filters")
        take(4 * rows * columns)
        (count,) = struct.unpack("<i", take(4))
        if not 0 < count <= n_vocab:
            _bad(file.name, "no vocabulary")
        tokens = [take(min(1024, struct.unpack("<I", take(4))[0])) for _ in range(count)]
        found: dict[str, Get] = {}
        while opened.tell() < size and len(found) < _MOST_TENSORS:
            rank, length, kind = struct.unpack("<3i", take(12))
            if not (0 < rank <= 4 and 0 < length <= 256 and kind in _KINDS):
                _bad(file.name, "a tensor of a kind that is not known here")
            dims = struct.unpack(f"<{rank}i", take(4 * rank))
            name = renamed(take(length).decode("utf-8", "replace"))
            _, width, block = _KINDS[kind]
            total = math.prod(dims)
            if min(dims) <= 0 or total % block or dims[0] % block:
                _bad(file.name, f"{name[:80]} has no shape")
            held = total // block * width
            if held > size - opened.tell():
                _bad(file.name, f"{name[:80]} is cut off")
            found[name] = _ggml_tensor(file, opened.tell(), held, kind, tuple(reversed(dims)))
            opened.seek(held, 1)
    return Shape(layers, heads, text_layers, text_heads, mels, n_vocab), tokens, found


def _ggml_tensor(file: Path, offset: int, held: int, kind: int, shape: tuple[int, ...]) -> Get:
    def get() -> Any:
        import numpy as np

        if kind < 2:
            array = np.memmap(file, dtype="<f4" if kind == 0 else "<f2", mode="c", offset=offset, shape=shape)
        else:
            raw = np.memmap(file, dtype=np.uint8, mode="c", offset=offset, shape=(held,))
            array = dequantised(raw.reshape(-1, _KINDS[kind][1]), _KINDS[kind][0]).reshape(shape)
        # A bias of a convolution is kept as a column.
        return array[:, 0] if len(shape) == 2 and shape[1] == 1 else array

    return get


def dequantised(blocks: Any, kind: str) -> Any:
    """Blocks of 32 values (ggml-common.h) as float32: low halves of the bytes first, then high ones."""
    import numpy as np

    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    if kind == "Q8_0":
        return blocks[:, 2:].view(np.int8).astype(np.float32) * scale
    at, least = 2, None
    if kind in {"Q4_1", "Q5_1"}:
        least, at = blocks[:, 2:4].copy().view("<f2").astype(np.float32), 4
    fifth = None
    if kind in {"Q5_0", "Q5_1"}:
        bits = blocks[:, at : at + 4].copy().view("<u4")
        fifth, at = (bits >> np.arange(_BLOCK, dtype=np.uint32)) & 1, at + 4
    halves = blocks[:, at:]
    values = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32)
    if fifth is not None:
        values += fifth.astype(np.float32) * 16
    if least is not None:
        return values * scale + least
    return (values - (8 if fifth is None else 16)) * scale


def shape_of(weights: Mapping[str, Get], config: Mapping[str, Any]) -> Shape:
    """The shape that a `config.json` of transformers says."""

    def number(key: str) -> int:
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 20:
            _bad("config.json", f"{key} is no number")
        return value

    if config.get("model_type") != "whisper" or "encoder.conv1.weight" not in weights:
        _bad("config.json", "not a Whisper")
    return Shape(
        number("encoder_layers"),
        number("encoder_attention_heads"),
        number("decoder_layers"),
        number("decoder_attention_heads"),
        number("num_mel_bins"),
        number("vocab_size"),
    )
