"""Weights of a Whisper to a folder of CTranslate2, which faster-whisper opens. No torch: numpy and the specification.

Source of the layout: CTranslate2's own converter (`WhisperLoader`), whose files ours equal. One tensor is in memory
at a time beside what is written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.hearing.languages import LANGUAGES
from domicile.hearing.tensors import Get, Shape


def convert(
    weights: Mapping[str, Get],
    shape: Shape,
    words: Sequence[str],
    target: Path,
    *,
    quantisation: str | None,
    generation: Mapping[str, Any],
) -> None:
    """Write `model.bin`, `config.json`, `vocabulary.json` to a folder. `generation` is transformers' file of that name,
    or empty. Raises `UnfitError` where a tensor is missing."""
    from ctranslate2.specs import whisper_spec

    spec = whisper_spec.WhisperSpec(
        shape.encoder_layers, shape.encoder_heads, shape.decoder_layers, shape.decoder_heads
    )
    laid = _Layout(weights)
    laid.encoder(spec.encoder)
    laid.decoder(spec.decoder)
    spec.register_vocabulary(list(words))
    _configure(spec.config, shape, words, generation)
    spec.validate()
    # Its own `optimize` compares every pair of tensors to find this one.
    spec.decoder.projection.weight = "decoder/embeddings/weight"
    spec._quantize(quantisation)
    spec.save(str(target))


class _Layout:
    """Tensors by transformers' names, put where CTranslate2 has them."""

    def __init__(self, weights: Mapping[str, Get]) -> None:
        self._weights = weights

    def _get(self, name: str) -> Any:
        get = self._weights.get(name)
        if get is None:
            raise UnfitError(f"weights are missing: {name}")
        return get()

    def encoder(self, spec: Any) -> None:
        for conv in ("conv1", "conv2"):
            getattr(spec, conv).weight = self._get(f"encoder.{conv}.weight")
            getattr(spec, conv).bias = self._get(f"encoder.{conv}.bias")
        self._common(spec, "encoder")
        for n, layer in enumerate(spec.layer):
            self._layer(layer, f"encoder.layers.{n}")

    def decoder(self, spec: Any) -> None:
        spec.embeddings.weight = spec.projection.weight = self._get("decoder.embed_tokens.weight")
        self._common(spec, "decoder")
        for n, layer in enumerate(spec.layer):
            self._layer(layer, f"decoder.layers.{n}")
            own = f"decoder.layers.{n}.encoder_attn"
            self._linears(layer.attention.linear[0], own, ("q_proj",))
            self._linears(layer.attention.linear[1], own, ("k_proj", "v_proj"))
            self._linears(layer.attention.linear[2], own, ("out_proj",))
            self._norm(layer.attention.layer_norm, f"{own}_layer_norm")

    def _common(self, spec: Any, side: str) -> None:
        spec.position_encodings.encodings = self._get(f"{side}.embed_positions.weight")
        self._norm(spec.layer_norm, f"{side}.layer_norm")

    def _layer(self, spec: Any, own: str) -> None:
        self._linears(spec.self_attention.linear[0], f"{own}.self_attn", ("q_proj", "k_proj", "v_proj"))
        self._linears(spec.self_attention.linear[1], f"{own}.self_attn", ("out_proj",))
        self._norm(spec.self_attention.layer_norm, f"{own}.self_attn_layer_norm")
        self._linears(spec.ffn.linear_0, own, ("fc1",))
        self._linears(spec.ffn.linear_1, own, ("fc2",))
        self._norm(spec.ffn.layer_norm, f"{own}.final_layer_norm")

    def _norm(self, spec: Any, name: str) -> None:
        spec.gamma, spec.beta = self._get(f"{name}.weight"), self._get(f"{name}.bias")

    def _linears(self, spec: Any, own: str, parts: Sequence[str]) -> None:
        """Several projections as one; Whisper's keys have no bias, which is a bias of zeros."""
        import numpy as np

        matrices = [self._get(f"{own}.{part}.weight") for part in parts]
        spec.weight = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        biases = [self._weights.get(f"{own}.{part}.bias") for part in parts]
        made = [
            np.zeros(matrix.shape[0], np.float32) if bias is None else np.asarray(bias())
            for bias, matrix in zip(biases, matrices, strict=True)
        ]
        spec.bias = made[0] if len(made) == 1 else np.concatenate(made).astype(made[0].dtype)


def _configure(config: Any, shape: Shape, words: Sequence[str], generation: Mapping[str, Any]) -> None:
    ids = {word: n for n, word in enumerate(words)}
    heads = _pairs(generation.get("alignment_heads"), shape)
    half = range(shape.decoder_layers // 2, shape.decoder_layers)
    config.alignment_heads = heads or [list(pair) for pair in itertools.product(half, range(shape.decoder_heads))]
    config.lang_ids = sorted(ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids)
    config.suppress_ids = _numbers(generation.get("suppress_tokens"), shape.n_vocab)
    first = _numbers(generation.get("begin_suppress_tokens"), shape.n_vocab)
    config.suppress_ids_begin = first or [ids[word] for word in ("\u0120", "<|endoftext|>") if word in ids]


def _numbers(said: Any, below: int) -> list[int]:
    return [n for n in said if isinstance(n, int) and 0 <= n < below] if isinstance(said, list) else []


def _pairs(said: Any, shape: Shape) -> list[list[int]]:
    """(layer, head) pairs whose attention follows the sound."""
    if not isinstance(said, list):
        return []
    pairs = [p for p in said if isinstance(p, list) and len(p) == 2 and all(isinstance(n, int) for n in p)]
    return [p for p in pairs if 0 <= p[0] < shape.decoder_layers and 0 <= p[1] < shape.decoder_heads]


def features(target: Path, n_mels: int) -> None:
    """Tell faster-whisper how many bands the model hears."""
    (target / "preprocessor_config.json").write_text(json.dumps({"feature_size": n_mels}))
