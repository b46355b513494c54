"""Writes a small model of random weights: a valid GGUF that an engine loads and that says nothing sensible.

Knows one shape (a llama of a few wide layers), one storage of each family of quantisations, and how to make their
blocks without numpy: a piece of random bytes whose scales are patched, repeated to fill each tensor. Knows nothing
of engines, of measuring, or of reading a GGUF.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

Storage = Literal[
    "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4",
]  # fmt: skip
STORAGES: tuple[Storage, ...] = get_args(Storage)

_ALIGNMENT = 32
_PIECE_BLOCKS = 8192
_PIECE_WEIGHTS = 65521
"""Where a block is one weight: a prime, so that no two rows of a matrix are the same."""
_F32 = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """How a storage type packs weights. `scales` are float16 values at byte offsets: they keep the weights of
    a layer near 1/sqrt(width), so that nothing overflows and no NaN can appear (a random float16 would be one
    in 32)."""

    ggml_type: int
    weights: int
    size_bytes: int
    scales: tuple[tuple[int, float], ...] = ()


_BLOCKS: dict[Storage, _Block] = {
    "F16": _Block(1, 1, 2),
    "BF16": _Block(30, 1, 2),
    "Q8_0": _Block(8, 32, 34, ((0, 3.0e-4),)),
    "Q4_0": _Block(2, 32, 18, ((0, 4.8e-3),)),
    "Q5_0": _Block(6, 32, 22, ((0, 2.4e-3),)),
    "Q2_K": _Block(10, 256, 84, ((80, 1.7e-3), (82, 2.5e-3))),
    "Q3_K": _Block(11, 256, 110, ((108, 5.1e-4),)),
    "Q4_K": _Block(12, 256, 144, ((0, 1.5e-4), (2, 1.1e-3))),
    "Q5_K": _Block(13, 256, 176, ((0, 5.0e-5), (2, 7.7e-4))),
    "Q6_K": _Block(14, 256, 210, ((208, 1.6e-5),)),
    "IQ1_S": _Block(19, 256, 50, ((0, 3.1e-3),)),
    "IQ2_XXS": _Block(16, 256, 66, ((0, 4.1e-4),)),
    "IQ2_XS": _Block(17, 256, 74, ((0, 3.9e-4),)),
    "IQ2_S": _Block(22, 256, 82, ((0, 3.9e-4),)),
    "IQ3_XXS": _Block(18, 256, 98, ((0, 1.5e-4),)),
    "IQ3_S": _Block(21, 256, 110, ((0, 1.6e-4),)),
    "IQ4_NL": _Block(20, 32, 18, ((0, 3.3e-4),)),
    "IQ4_XS": _Block(23, 256, 136, ((0, 1.8e-5),)),
    "MXFP4": _Block(39, 32, 17),
}
_SPREAD = 0.022
"""Standard deviation of the weights, in all storages about."""
_MXFP4_EXPONENT = 120


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a sample. The widths are those of a 1B model, so that a layer's matrices are as big as real
    ones."""

    n_layer: int
    n_embd: int = 2048
    n_ff: int = 5632
    n_head: int = 32
    n_head_kv: int = 8
    n_vocab: int = 512
    context: int = 4096
    gain: float = 1.0
    """Of the last norm: how far the scores of tokens lie apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was written. `touched_bytes` is what one token reads: everything but the rows of the embedding
    table that it does not look up."""

    path: Path
    storage: Storage
    size_bytes: int
    weights_bytes: int
    touched_bytes: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dims: tuple[int, ...]
    block: _Block | None
    """None for F32."""

    @property
    def size_bytes(self) -> int:
        count = 1
        for dim in self.dims:
            count *= dim
        return count * 4 if self.block is None else count // self.block.weights * self.block.size_bytes


def layer_bytes(storage: Storage) -> int:
    """What one layer of a sample weighs, to choose how many."""
    return sum(t.size_bytes for t in _tensors(Shape(1), storage) if t.name.startswith("blk."))


def write(path: Path, storage: Storage, shape: Shape, *, hollow: bool = False) -> Sample:
    """Write the sample. `hollow`: the header only, the weights being a hole of the right length (a sparse
    file), and no tokenizer: what the engine needs to count memory and no more."""
    tensors = _tensors(shape, storage)
    header = _header(shape, tensors, tokenizer=not hollow)
    size = len(header) + sum(_padded(t.size_bytes) for t in tensors)
    with path.open("wb") as file:
        file.write(header)
        if hollow:
            file.truncate(size)
        else:
            piece = _piece(_BLOCKS[storage])
            for tensor in tensors:
                _fill(file, tensor, piece, shape.gain if tensor.name == "output_norm.weight" else 1.0)
    weights = sum(t.size_bytes for t in tensors)
    embedding = tensors[0].size_bytes
    touched = weights - embedding + embedding // shape.n_vocab
    return Sample(path, storage, size, weights, touched)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _tensors(shape: Shape, storage: Storage) -> list[_Tensor]:
    block = _BLOCKS[storage]
    wide, narrow = shape.n_embd, shape.n_embd // shape.n_head * shape.n_head_kv
    found = [
        _Tensor("token_embd.weight", (wide, shape.n_vocab), block),
        _Tensor("output_norm.weight", (wide,), None),
        _Tensor("output.weight", (wide, shape.n_vocab), block),
    ]
    for layer in range(shape.n_layer):
        for name, dims in (
            ("attn_norm", (wide,)),
            ("attn_q", (wide, wide)),
            ("attn_k", (wide, narrow)),
            ("attn_v", (wide, narrow)),
            ("attn_output", (wide, wide)),
            ("ffn_norm", (wide,)),
            ("ffn_gate", (wide, shape.n_ff)),
            ("ffn_up", (wide, shape.n_ff)),
            ("ffn_down", (shape.n_ff, wide)),
        ):
            found.append(_Tensor(f"blk.{layer}.{name}.weight", dims, block if len(dims) == 2 else None))
    return found


def _fill(file: BinaryIO, tensor: _Tensor, piece: bytes, value: float) -> None:
    """The piece, from a place in it that is the tensor's own: two tensors of one content would answer each other."""
    size = tensor.size_bytes
    if tensor.block is None:
        file.write(struct.pack("<f", value) * (size // 4))
    else:
        start = zlib.crc32(tensor.name.encode()) % _PIECE_BLOCKS * tensor.block.size_bytes
        turned = piece[start:] + piece[:start]
        whole, rest = divmod(size, len(turned))
        file.writelines(turned for _ in range(whole))
        file.write(memoryview(turned)[:rest])
    file.write(b"\0" * (_padded(size) - size))


def _piece(block: _Block) -> bytes:
    """Some thousand blocks of random weights with sound scales; always the same ones."""
    chance = random.Random(20261120)  # noqa: S311
    if block.weights == 1:
        values = [chance.gauss(0, _SPREAD) for _ in range(_PIECE_WEIGHTS)]
        if block.ggml_type == _BLOCKS["F16"].ggml_type:
            return struct.pack(f"<{_PIECE_WEIGHTS}e", *values)
        whole = struct.pack(f"<{_PIECE_WEIGHTS}f", *values)
        return bytes(byte for place, byte in enumerate(whole) if place % 4 >= 2)
    piece = bytearray(chance.randbytes(_PIECE_BLOCKS * block.size_bytes))
    if block.ggml_type == _BLOCKS["MXFP4"].ggml_type:
        piece[:: block.size_bytes] = bytes([_MXFP4_EXPONENT]) * _PIECE_BLOCKS
    for offset, scale in block.scales:
        low, high = struct.pack("<e", scale)
        piece[offset :: block.size_bytes] = bytes([low]) * _PIECE_BLOCKS
        piece[offset + 1 :: block.size_bytes] = bytes([high]) * _PIECE_BLOCKS
    return bytes(piece)


def _header(shape: Shape, tensors: list[_Tensor], *, tokenizer: bool) -> bytes:
    values = list(_values(shape))
    values += list(_tokenizer(shape.n_vocab)) if tokenizer else [_pair("tokenizer.ggml.model", _text("none"), 8)]
    head = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values))
    offset = 0
    for tensor in tensors:
        head += _text(tensor.name) + struct.pack("<I", len(tensor.dims))
        head += b"".join(struct.pack("<Q", dim) for dim in tensor.dims)
        head += struct.pack("<IQ", _F32 if tensor.block is None else tensor.block.ggml_type, offset)
        offset += _padded(tensor.size_bytes)
    return bytes(head.ljust(_padded(len(head)), b"\0"))


def _values(shape: Shape) -> Iterator[bytes]:
    yield _pair("general.architecture", _text("llama"), 8)
    yield _pair("general.name", _text("domicile calibration"), 8)
    for key, number in (
        ("vocab_size", shape.n_vocab),
        ("context_length", shape.context),
        ("embedding_length", shape.n_embd),
        ("block_count", shape.n_layer),
        ("feed_forward_length", shape.n_ff),
        ("attention.head_count", shape.n_head),
        ("attention.head_count_kv", shape.n_head_kv),
        ("rope.dimension_count", shape.n_embd // shape.n_head),
    ):
        yield _pair(f"llama.{key}", struct.pack("<I", number), 4)
    yield _pair("llama.attention.layer_norm_rms_epsilon", struct.pack("<f", 1e-5), 6)


def _tokenizer(count: int) -> Iterator[bytes]:
    """A vocabulary of bytes: three special tokens, the 256 bytes, then fillers."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    names += [f"▁w{n}" for n in range(count - len(names))]
    kinds += [1] * (count - len(kinds))
    yield _pair("tokenizer.ggml.model", _text("llama"), 8)
    yield _array("tokenizer.ggml.tokens", 8, [_text(name) for name in names])
    yield _array("tokenizer.ggml.scores", 6, [struct.pack("<f", -float(n)) for n in range(count)])
    yield _array("tokenizer.ggml.token_type", 5, [struct.pack("<i", kind) for kind in kinds])
    for key, token in (("unknown", 0), ("bos", 1), ("eos", 2)):
        yield _pair(f"tokenizer.ggml.{key}_token_id", struct.pack("<I", token), 4)
    yield _pair("tokenizer.ggml.add_bos_token", b"\1", 7)


def _text(said: str) -> bytes:
    raw = said.encode()
    return struct.pack("<Q", len(raw)) + raw


def _pair(key: str, value: bytes, kind: int) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _array(key: str, kind: int, items: list[bytes]) -> bytes:
    return _pair(key, struct.pack("<IQ", kind, len(items)) + b"".join(items), 9)
