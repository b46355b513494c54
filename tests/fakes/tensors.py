"""Tiny safetensors models with random weights, made by the real library: folders as publishers lay them out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from tools.graine import export

GRAINE = Path(__file__).parents[2] / "src" / "domicile" / "graine" / "graine.gguf"


def graine(folder: Path) -> Path:
    """graine's own weights in float32: the same model as the GGUF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export.to_safetensors(GRAINE, folder)
    return folder


def with_words_of(source: Path, folder: Path, model: Any) -> Path:
    """Save a model of transformers beside the tokenizer of another folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """A folder as the fake hub takes it."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def rewritten(folder: Path, name: str, **more: Any) -> None:
    """Add fields to a configuration."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
