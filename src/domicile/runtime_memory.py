"""What a model takes in the engines beside llama.cpp: transformers, onnxruntime, CTranslate2. Pure arithmetic.

The most resident memory while it answers: weights in the number format of this hardware, what it keeps of the context,
the largest moment of its graph, and the process with its libraries. The constants were fitted to children with random
weights of public shapes, and each shape was judged by a fit to the others (`bench/fit_formats.py`, bench/RESULTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from domicile import memory
from domicile.picture_memory import NATIVE_HALF
from domicile.types import Facts, Hardware

MIB = 1024**2
PIECE = 1024
"""Tokens of a prompt that are read at once (`textgen.batch`)."""
TEXT = 512
"""Tokens of a text that an encoder reads."""
_HALF = frozenset({"F16", "BF16", "float16", "bfloat16"})
_WIDTHS = {"F32": 4.0, "F16": 2.0, "BF16": 2.0, "I16": 2.0, "I8": 1.0, "Q8_0": 34 / 32, "Q5_0": 22 / 32}
_WIDTHS |= {"Q5_1": 24 / 32, "Q4_0": 18 / 32, "Q4_1": 20 / 32, "float32": 4.0, "float16": 2.0, "bfloat16": 2.0}

TEXT_PROCESS = 370 * MIB
TEXT_TOKEN_BYTES = 1100.0
"""Of the vocabulary: the tokenizer's tables, and scores."""
TEXT_VALUES = 4.0
"""Values kept at once for each token of a piece and each of a layer's widths."""
TEXT_KEPT = 1.6
"""A cache grows by copying: what it held before is there for a moment, or stays with the allocator."""
ENCODER_PROCESS = 362 * MIB
ENCODER_TOKEN_BYTES = 440.0
ENCODER_VALUES = 1.0
GRAPH_PROCESS = 100 * MIB
GRAPH_TOKEN_BYTES = 300.0
GRAPH_VALUES = 2.0
GRAPH_PIECE, GRAPH_SCORES = 256, 2**24
"""Tokens of a prompt a graph reads at once, and the scores of words it may give for them (`engines.onnx_child`)."""
GRAPH_TEXT_PROCESS = 45 * MIB
GRAPH_TEXT_TOKEN_BYTES = 1100.0
GRAPH_KEPT = 2.3
"""Keys and values are handed from one call to the next: both are there for a moment."""
GRAPH_LOOKS = 4.0
"""How each token of a piece looks at every other, for each head, and what is made of it."""
SOUND_PROCESS = {"int8": 205 * MIB, "float32": 162 * MIB}
"""With a minute of sound and its features; eight bits are made of something wider first."""
SOUND_CROSS = 1.7
"""Keys and values of the sound, and those of what is written, five ways at once."""
_FRAMES = 1500
"""Of thirty seconds of sound, which Whisper always hears."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes."""

    weights: int
    kept: int
    work: int
    process: int

    @property
    def bytes(self) -> int:
        return self.weights + self.kept + self.work + self.process


def need(facts: Facts, hardware: Hardware, context: int, slots: int = 1, sound: str = "int8") -> tuple[Need, bool]:
    """What it takes, and whether its kind was measured. `facts.weights_bytes` is known."""
    heard = hearing(facts, sound)
    if heard is not None:
        return heard, True
    if facts.format == "onnx":
        return graph(facts, context), True
    if facts.task in {"feature-extraction", "sentence-similarity", "text-classification", "text-ranking"}:
        return encoder(facts), True
    return text(facts, hardware, context, slots), facts.format == "safetensors" and memory.trouble(facts) is None


def text(facts: Facts, hardware: Hardware, context: int, slots: int) -> Need:
    """A model of transformers that writes: its weights are mapped from the file where they are used as they are
    stored."""
    half = bool(NATIVE_HALF & set(hardware.features))
    stored = facts.quantisation in _HALF
    width = 2 if stored and half else 4
    weights = (facts.weights_bytes or 0) * (2 if stored and not half else 1)
    kept = 0
    if memory.trouble(facts) is None:
        kept = int(memory.kv_bytes(facts, context, slots=slots) * width / 2 * TEXT_KEPT)
    wide = (facts.n_embd or 0) + (facts.n_ff or 0)
    work = int(min(context, PIECE) * wide * width * TEXT_VALUES)
    return Need(weights, kept, work, TEXT_PROCESS + int((facts.n_vocab or 0) * TEXT_TOKEN_BYTES))


def encoder(facts: Facts) -> Need:
    """A model of transformers that gives vectors, in float32."""
    weights = int((facts.weights_bytes or 0) * 4 / _WIDTHS.get(facts.quantisation or "F32", 4.0))
    wide = (facts.n_embd or 0) + (facts.n_ff or 0)
    work = int(TEXT * wide * 4 * ENCODER_VALUES)
    return Need(weights, 0, work, ENCODER_PROCESS + int((facts.n_vocab or 0) * ENCODER_TOKEN_BYTES))


def graph(facts: Facts, context: int) -> Need:
    """A graph of onnxruntime, whose processor computes in float32: half precision is made wider when it is opened, but
    for the table of words, of which rows are taken. Its vocabulary is the longest side of a matrix."""
    matrices = [t.dims for t in facts.tensors if len(t.dims) == 2]
    vocabulary = facts.n_vocab or max((max(dims) for dims in matrices), default=0)
    wide = facts.n_embd or max((min(dims) for dims in matrices), default=0)
    widened = sum(t.size_bytes for t in facts.tensors if t.type == "F16" and t.dims[-1:] != (vocabulary,))
    weights = (sum(t.size_bytes for t in facts.tensors) or facts.weights_bytes or 0) + widened
    if facts.task not in {None, "text-generation"} or memory.trouble(facts) is not None:
        work = int(TEXT * 5 * wide * 4 * GRAPH_VALUES)
        return Need(weights, 0, work, GRAPH_PROCESS + int(vocabulary * GRAPH_TOKEN_BYTES))
    if sum(vocabulary in t.dims and prod(t.dims) >= vocabulary * 64 for t in facts.tensors) == 1:
        weights += vocabulary * wide * 4  # the head is the table of words, turned when it is opened
    piece = max(1, min(GRAPH_PIECE, GRAPH_SCORES // max(1, vocabulary)))
    heads = max((layer.n_head for layer in facts.layers), default=0)
    kept = int(memory.kv_bytes(facts, context) * 2 * GRAPH_KEPT)
    work = piece * 4 * int(2 * vocabulary + heads * context * GRAPH_LOOKS + 5 * wide * GRAPH_VALUES)
    return Need(weights, kept, work, GRAPH_TEXT_PROCESS + int(vocabulary * GRAPH_TEXT_TOKEN_BYTES))


def hearing(facts: Facts, compute: str = "int8") -> Need | None:
    """A Whisper in CTranslate2; None for what is none. It keeps keys and values of thirty seconds of sound for each
    layer, and the scores of one layer of the encoder."""
    width = _WIDTHS.get(facts.quantisation or "")
    if facts.architecture != "whisper" or width is None or not facts.weights_bytes or not facts.n_embd:
        return None
    wide = facts.n_embd
    layers = len(facts.layers) or {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}.get(wide, wide // 40)
    cross = int(layers * _FRAMES * wide * 2 * 4 * SOUND_CROSS)
    scores = int(max(1, wide // 64) * _FRAMES * _FRAMES * 4)
    weights = int(facts.weights_bytes / width * (4 if compute == "float32" else 1))
    return Need(weights, cross, scores, SOUND_PROCESS.get(compute, SOUND_PROCESS["int8"]))
