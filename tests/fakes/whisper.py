"""Tiny Whispers with random weights in every layout that is known, and files of sound; made by the tests."""

from __future__ import annotations

import json
import math
import struct
import warnings
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from domicile.hearing import words

VOCABULARY = 51865
BYTES = [*(bytes([b]) for b in range(256)), b"he", b" t", b" the"]


def tokens(n_vocab: int = VOCABULARY) -> list[str]:
    return words.of_bytes(BYTES, n_vocab)


def transformers(folder: Path, **shape: Any) -> Path:
    """A folder as openai/whisper-tiny has it: safetensors, configuration, tokenizer."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(11)
    usual: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "init_std": 0.2,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = WhisperForConditionalGeneration(WhisperConfig(**{**usual, **shape}))
        model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(words.tokenizer_of(tokens()), "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    return folder


def ctranslate2(source: Path, folder: Path) -> Path:
    """The same model as Systran's repositories have it, by CTranslate2's own specification."""
    from domicile.hearing.folder import prepared

    folder.mkdir()
    weights = source / "model.safetensors"
    made = prepared(weights, [weights], folder, None, "float32")
    (made / "made_of.json").unlink()
    return made


def ggml(source: Path, file: Path, *, kind: str = "F16") -> Path:
    """The same model as whisper.cpp has it (convert-h5-to-ggml.py); matrices in F16 or Q8_0, Q5_0, Q5_1, Q4_0, Q4_1."""
    import numpy as np
    from safetensors.numpy import load_file

    from domicile.hearing import tensors

    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    names = {ours: theirs for theirs, ours in _openai(config).items()}
    with file.open("wb") as out:
        layers, heads = config["encoder_layers"], config["encoder_attention_heads"]
        state, text = config["d_model"], config["decoder_layers"]
        out.write(
            struct.pack("<I11i", 0x67676D6C, VOCABULARY, 1500, state, heads, layers, 448, state, heads, text, 80, 1)
        )
        out.write(struct.pack("<2i", 80, 201) + bytes(4 * 80 * 201))
        out.write(struct.pack("<i", len(BYTES)) + b"".join(struct.pack("<I", len(t)) + t for t in BYTES))
        for name, array in weights.items():
            ours = name.removeprefix("model.")
            if ours == "proj_out.weight":
                continue
            shape = (*array.shape, 1) if ours.startswith("encoder.conv") and array.ndim == 1 else array.shape
            matrix = array.ndim > 1 and "embed_positions" not in ours
            own = kind if matrix and array.shape[-1] % 32 == 0 else "F16" if matrix else "F32"
            number = next(n for n, (k, _, _) in tensors._KINDS.items() if k == own)
            said = names[ours].encode()
            out.write(struct.pack(f"<3i{len(shape)}i", len(shape), len(said), number, *reversed(shape)) + said)
            out.write(_encoded(np.ascontiguousarray(array, np.float32), own))
    return file


def _openai(config: dict[str, Any]) -> dict[str, str]:
    """OpenAI's names and transformers' of every tensor."""
    from domicile.hearing.tensors import renamed

    parts = ["attn.query", "attn.key", "attn.value", "attn.out", "attn_ln", "mlp.0", "mlp.2", "mlp_ln"]
    found = []
    for side, count in (("encoder", config["encoder_layers"]), ("decoder", config["decoder_layers"])):
        cross = [p.replace("attn", "cross_attn", 1) for p in parts[:5]] if side == "decoder" else []
        for n in range(count):
            found += [f"{side}.blocks.{n}.{p}.{end}" for p in (*parts, *cross) for end in ("weight", "bias")]
    found += ["encoder.positional_embedding", "decoder.positional_embedding", "decoder.token_embedding.weight"]
    found += [f"{p}.{end}" for p in ("encoder.ln_post", "decoder.ln") for end in ("weight", "bias")]
    found += [f"encoder.conv{n}.{end}" for n in (1, 2) for end in ("weight", "bias")]
    return {name: renamed(name) for name in found}


def _encoded(array: Any, kind: str) -> bytes:
    """Quantised as ggml's reference code does it."""
    import numpy as np

    if kind in {"F32", "F16"}:
        return bytes(array.astype("<f4" if kind == "F32" else "<f2").tobytes())
    rows = array.reshape(-1, 32)
    if kind == "Q8_0":
        scale = (abs(rows).max(1, keepdims=True) / 127).astype("<f2")
        quants = np.rint(rows / np.maximum(scale.astype("f4"), 1e-9)).clip(-127, 127).astype(np.int8)
        return bytes(np.concatenate([scale.view(np.uint8), quants.view(np.uint8)], 1).tobytes())
    most = 31 if kind[1] == "5" else 15
    if kind.endswith("1"):
        low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
        scale, head = ((high - low) / most).astype("<f2"), [low.astype("<f2")]
        quants = np.rint((rows - low) / np.maximum(scale.astype("f4"), 1e-9)).clip(0, most).astype(np.uint8)
    else:
        half = (most + 1) // 2
        scale, head = (abs(rows).max(1, keepdims=True) / (half - 1)).astype("<f2"), []
        quants = (np.rint(rows / np.maximum(scale.astype("f4"), 1e-9)) + half).clip(0, most).astype(np.uint8)
    parts = [scale.view(np.uint8), *(h.view(np.uint8) for h in head)]
    if most == 31:
        bits = ((quants >> 4).astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
        parts.append(bits.reshape(-1, 1).view(np.uint8))
        quants = quants & 15
    parts.append(quants[:, :16] | (quants[:, 16:] << 4))
    return bytes(np.concatenate(parts, 1).tobytes())


# -- sound --


def tone(seconds: float, rate: int = 16_000) -> Any:
    """A tone that changes with some noise, as 16-bit samples."""
    import numpy as np

    at = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(7).normal(0, 400, len(at))
    return (9000 * np.sin(2 * math.pi * (200 + 150 * np.sin(at)) * at) + noise).astype("<i2")


def wav(path: Path, seconds: float, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(tone(seconds, rate).tobytes())
    return path


def encoded(path: Path, seconds: float, *, codec: str, rate: int = 48_000, form: str | None = None) -> Path:
    """A file in a codec of FFmpeg's (`libmp3lame`, `aac`, `libopus`, `flac`...), by the path's ending."""
    import av

    samples = tone(seconds, rate)
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = "mono"
        for piece in _pieces(samples, 960):
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _pieces(samples: Any, size: int) -> Iterable[Any]:
    return (samples[n : n + size] for n in range(0, len(samples), size))
