"""Whisper as speech engines keep it: the `model.bin` of CTranslate2, the `ggml-*.bin` of whisper.cpp.

Knows the first kilobytes of both, which hold the shape. Does not walk the weights: their bytes are the
file's. A Whisper in safetensors is read by `safetensors`, in ONNX by `onnx`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from math import prod
from pathlib import PurePosixPath

from domicile.formats.gguf_header import Vocabularies
from domicile.formats.window import HEAD_BYTES, Steps, Window, refuse_code
from domicile.types import Facts, Layer

_GGML = b"lmgg"
_TASK = "automatic-speech-recognition"
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")
_HYPER = struct.Struct("<11i")
_SIZES = {0: ("F32", 4), 1: ("I8", 1), 2: ("I16", 2), 3: ("I32", 4), 4: ("F16", 2), 5: ("BF16", 2)}
"""CTranslate2's numbers of its types."""
_FTYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1"}


def is_ggml(head: bytes) -> bool:
    return head[:4] == _GGML


def claims(names: Collection[str]) -> bool:
    plain = {PurePosixPath(name).name for name in names}
    ct2 = "model.bin" in plain and any(n.startswith("vocabulary.") for n in plain)
    return ct2 or any(n.startswith("ggml-") and n.endswith(".bin") for n in plain)


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    bins = [n for n in files if n.endswith(".bin")] or list(files)
    name = min(bins, key=lambda n: (PurePosixPath(n).name != "model.bin", n))
    size = files[name]
    window = Window(name, size, chunk=HEAD_BYTES, ceiling=HEAD_BYTES)
    start = yield from window.take(min(4, size))
    refuse_code(name, window.data[:16])
    if is_ggml(start):
        return (yield from _ggml(window))
    return (yield from _ctranslate2(window, start))


def _ggml(window: Window) -> Steps[Facts]:
    values = yield from window.unpack(_HYPER)
    if not all(0 < v < 2**20 for v in values[:10]) or max(values[4], values[8]) > 1024:
        raise window.bad("not the shape of a Whisper")
    n_vocab, audio_ctx, audio_state, _, audio_layer, text_ctx, state, heads, n_layer, mels, ftype = values
    head = state // heads
    layer = Layer("attention", heads, heads, head, head, n_ff=4 * state)
    return Facts(
        format="whisper",
        file_bytes=window.size,
        weights_bytes=window.size,
        architecture="whisper",
        task=_TASK,
        quantisation=_FTYPES.get(ftype % 1000),  # thousands are the version of the quantisation
        context_length=text_ctx,
        n_vocab=n_vocab,
        n_embd=state,
        n_ff=4 * state,
        layers=(layer,) * n_layer,
        extra={
            "container": "ggml",
            "encoder_layers": audio_layer,
            "encoder_context": audio_ctx,
            "encoder_embd": audio_state,
            "n_mels": mels,
        },
        exact=False,
    )


def _ctranslate2(window: Window, start: bytes) -> Steps[Facts]:
    """A version, the name of a specification, then variables in the order of their names."""
    version = _U32.unpack(start)[0] if len(start) == 4 else 0
    if not 2 <= version <= 100:
        raise window.bad("not a CTranslate2 model", reason="not_ctranslate2")
    spec = yield from _name(window)
    if "Whisper" not in spec:
        raise window.bad(f"a CTranslate2 model of {spec[:60]!r}, not a Whisper")
    (revision,) = yield from window.unpack(_U32)
    (n_variables,) = yield from window.unpack(_U32)
    if n_variables > 100_000 or n_variables * 8 > window.size:
        raise window.bad(f"{n_variables} variables")
    shape: tuple[int, int] | None = None
    kind: str | None = None
    for _ in range(min(n_variables, 16)):
        name, dims, stored, size = yield from _variable(window, version)
        if name == "decoder/embeddings/weight" and len(dims) == 2:
            shape, kind = (dims[0], dims[1]), stored
            break
        if window.offset + size > window.ceiling:
            break
        window.skip(size)
    return Facts(
        format="whisper",
        file_bytes=window.size,
        weights_bytes=window.size,
        architecture="whisper",
        task=_TASK,
        quantisation=kind,
        n_vocab=shape[0] if shape else None,
        n_embd=shape[1] if shape else None,
        n_tensors=n_variables,
        extra={"container": "ctranslate2", "revision": revision},
        exact=False,
    )


def _variable(window: Window, version: int) -> Steps[tuple[str, tuple[int, ...], str, int]]:
    name = yield from _name(window)
    rank = (yield from window.take(1))[0]
    if rank > 8:
        raise window.bad(f"{name[:60]!r} has {rank} dimensions")
    raw = yield from window.take(4 * rank)
    dims = struct.unpack(f"<{rank}I", raw)
    kind = (yield from window.take(1))[0]
    (size,) = yield from window.unpack(_U32)
    if version < 4:  # an element's size and their number, before there were types
        return name, dims, {1: "I8", 2: "I16", 4: "F32"}.get(kind, "F32"), size * kind
    stored, width = _SIZES.get(kind, ("", 0))
    if not width or prod(dims) * width != size or window.offset + size > window.size:
        raise window.bad(f"{name[:60]!r}: shape and bytes differ")
    return name, dims, stored, size


def _name(window: Window) -> Steps[str]:
    """A length that counts the final zero, the text, the zero."""
    (length,) = yield from window.unpack(_U16)
    if not 1 < length <= 1024:
        raise window.bad(f"a name of {length} bytes")
    return (yield from window.take(length))[:-1].decode("utf-8", "replace")
