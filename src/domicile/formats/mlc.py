"""MLC: models compiled for the browser and for phones, in a folder of shards.

Knows `mlc-chat-config.json` (shape, context) and the list of shards (`ndarray-cache.json`, since 2025
`tensor-cache.json`). Does not know the compiled library a model needs: that is the browser engine's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

from domicile.errors import Malformed
from domicile.formats.document import Document, count, document, inner, text
from domicile.formats.gguf_header import Vocabularies
from domicile.formats.hfconfig import Shape, shape
from domicile.formats.window import Steps
from domicile.refs import is_safe_path
from domicile.types import Facts

_CONFIG = "mlc-chat-config.json"
_CACHES = ("tensor-cache.json", "ndarray-cache.json")


def claims(names: Collection[str]) -> bool:
    return any(PurePosixPath(name).name in {_CONFIG, *_CACHES} for name in names)


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    by_name = {PurePosixPath(name).name: name for name in sorted(files, reverse=True)}
    config: Document = {}
    if path := by_name.get(_CONFIG):
        config = yield from document(path, files[path])
    shards = {n: size for n, size in files.items() if PurePosixPath(n).name.startswith("params_shard_")}
    total = sum(shards.values())
    cache = next((by_name[name] for name in _CACHES if name in by_name), None)
    if badge or cache is None:
        return _facts(config, {}, total or None, total, exact=False)
    listed = yield from document(cache, files[cache])
    weights = _check_records(cache, listed, files)
    return _facts(config, inner(listed, "metadata"), weights, total or weights, exact=True)


def _check_records(cache: str, listed: Document, files: Mapping[str, int]) -> int:
    """The sum of the shards, each a plain name beside the list and as long as said."""
    records: Any = listed.get("records")
    if not isinstance(records, list):
        raise Malformed(file=cache, problem="no records")
    folder, total = PurePosixPath(cache).parent, 0
    seen: set[str] = set()
    for record in records:
        name = text(record, "dataPath", most=1000) if isinstance(record, dict) else None
        size = count(record, "nbytes") if isinstance(record, dict) else None
        if name is None or size is None or not is_safe_path(name) or name in seen:
            raise Malformed(file=cache, problem=f"record {len(seen)}")
        seen.add(name)
        there = files.get(str(folder / name))
        if there is not None and there != size:
            raise Malformed(file=cache, problem=f"{name[:80]}: {size} bytes, {there} there")
        total += size
    return total


def _facts(config: Document, metadata: Document, weights: int | None, total: int, *, exact: bool) -> Facts:
    model = inner(config, "model_config")
    of_model = shape({"model_type": config.get("model_type"), **model}) if model else Shape()
    known: dict[str, Any] = {f.name: getattr(of_model, f.name) for f in fields(Shape)}
    known["architecture"] = text(config, "model_type") or known["architecture"]
    known["task"] = "text-generation" if config else None
    context = count(config, "context_window_size")
    if context:
        known["context_length"] = context
    known["n_vocab"] = count(config, "vocab_size") or known["n_vocab"]
    extra = {k: v for k in ("prefill_chunk_size", "sliding_window_size") if (v := count(config, k)) is not None}
    return Facts(
        format="mlc",
        file_bytes=total,
        weights_bytes=weights,
        parameters=count(metadata, "ParamSize"),
        quantisation=text(config, "quantization", most=40),
        tokenizer=None,
        extra=extra,
        exact=exact,
        **known,
    )
