"""Safetensors: one file or many, with the configuration and the tokenizer's that lie beside them.

Knows the header (a length, then JSON) and the rules that make it safe: in the file, without holes, overlaps
or names twice, every shape as long as its bytes. Does not read weights. A Whisper kept this way is `whisper`.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import PurePosixPath
from typing import Any

from domicile.errors import Malformed, UnknownFormat
from domicile.formats import hfconfig
from domicile.formats.document import Document, document, text
from domicile.formats.gguf_header import Vocabularies
from domicile.formats.window import HEAD_BYTES, Steps, Want, refuse_code, whole
from domicile.refs import is_safe_path
from domicile.types import LORA, Facts, Tensor

MOST_HEADER = 25_000_000
_MOST_INDEX = 32_000_000
_MOST_PAIRS = 500_000
_MOST_TENSORS = 60_000
_MOST_IN_ALL = 150_000
_MOST_JOINED = 2**22
"""A longer header is asked for again whole: joined to its head it would be in memory twice."""
_MOST_SHARDS = 1024
_MOST_DIMS = 16
_MOST_ENTRY = 4096

BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

_STRING = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_ENTRY = re.compile(
    rb"\s*+" + _STRING + rb"\s*+:\s*+(\{[^{}\"]*+(?:" + _STRING + rb'[^{}"]*+)*+\})\s*+([,}])', re.DOTALL
)
"""One tensor, or `__metadata__`: an object of texts, numbers and flat lists, never an object in an object."""
_PAIR = re.compile(rb"\s*+" + _STRING + rb"\s*+:\s*+" + _STRING + rb"\s*+([,}])", re.DOTALL)
"""One line of an index: a tensor and its file."""


def claims(names: Collection[str]) -> bool:
    return any(name.lower().endswith(".safetensors") for name in names)


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    weights = sorted(name for name in files if claims([name]) or len(files) == 1)
    if len(weights) > _MOST_SHARDS:
        raise Malformed(file=weights[0], problem=f"{len(weights)} shards")
    folder = str(PurePosixPath(weights[0]).parent)
    config = yield from _beside(files, folder, "config.json")
    total = sum(files[name] for name in weights)
    if badge:
        return _facts(config, {}, [], total, total, exact=False)
    tensors = yield from headers({name: files[name] for name in weights})
    if len({t.name for t in tensors}) != len(tensors):
        raise Malformed(file=weights[0], problem="a tensor in two shards")
    yield from _check_index(files, folder)
    tokenizer = yield from _beside(files, folder, "tokenizer_config.json")
    template = hfconfig.template(tokenizer)
    jinja = _path(folder, "chat_template.jinja")
    if template is None and jinja in files:
        template = (yield from whole(jinja, files[jinja], 2**20)).decode("utf-8", "replace")
    tokenizer = {**tokenizer, "chat_template": template}
    return _facts(config, tokenizer, tensors, sum(t.size_bytes for t in tensors), total, exact=True)


def _path(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _beside(files: Mapping[str, int], folder: str, name: str) -> Steps[Document]:
    """A configuration in the folder of the weights; empty when there is none."""
    path = _path(folder, name)
    return (yield from document(path, files[path])) if path in files else {}


def _check_index(files: Mapping[str, int], folder: str) -> Steps[None]:
    path = _path(folder, "model.safetensors.index.json")
    if path not in files:
        return
    index = yield from whole(path, files[path], _MOST_INDEX)
    for name in _shards(path, index):
        if not is_safe_path(name):
            raise Malformed(file=path, problem="a shard outside the folder")
        if _path(folder, name) not in files:
            raise Malformed(file=path, problem=f"{name[:80]} is not there")


def _shards(file: str, index: bytes) -> set[str]:
    """The files an index names, read pair by pair: it may hold two hundred thousand tensors."""
    start = re.search(rb'"weight_map"\s*+:\s*+\{', index)
    names: set[bytes] = set()
    at, mark = (start.end(), b",") if start else (0, b"")
    for _ in range(_MOST_PAIRS):
        if mark != b",":
            break
        pair = _PAIR.match(index, at)
        if pair is None or len(names) > _MOST_SHARDS:
            raise Malformed(file=file, problem="weight_map")
        names.add(pair[2])
        at, mark = pair.end(), pair[3]
    else:
        raise Malformed(file=file, problem=f"more than {_MOST_PAIRS} tensors")
    return {name.decode("utf-8", "replace") for name in names}


# --- one file ---


def headers(files: Mapping[str, int]) -> Steps[list[Tensor]]:
    """The tensors of several files, together within bounds."""
    tensors: list[Tensor] = []
    for name in sorted(files):
        tensors += yield from header(name, files[name])
        if len(tensors) > _MOST_IN_ALL:
            raise Malformed(file=name, problem=f"more than {_MOST_IN_ALL} tensors")
    return tensors


def header(file: str, size: int) -> Steps[list[Tensor]]:
    """The tensors of one file, or `Malformed`."""
    head = (yield Want(file, 0, min(HEAD_BYTES, size))) if size else b""
    refuse_code(file, head)
    if len(head) < 8:
        raise Malformed(file=file, problem="ends too early")
    length = int.from_bytes(head[:8], "little")
    if length > MOST_HEADER or 8 + length > size:
        raise Malformed(file=file, problem=f"a header of {length} bytes")
    body = head[8 : 8 + length]
    if length > _MOST_JOINED:
        body = yield Want(file, 8, length)
    elif len(body) < length:
        body += yield Want(file, 8 + len(body), length - len(body))
    if len(body) != length:
        raise Malformed(file=file, problem="shorter than announced")
    return entries(file, body, size - 8 - length)


def entries(file: str, body: bytes, data_bytes: int) -> list[Tensor]:
    """Read the JSON one entry at a time: whole, 25 MB of it would be a quarter of a gigabyte of objects."""
    if not body.startswith(b"{"):
        raise Malformed(file=file, problem="not safetensors")
    at, end, mark = 1, 0, b","
    tensors: list[Tensor] = []
    begins, stops = array("Q"), array("Q")
    names: set[str] = set()
    if re.fullmatch(rb"\{\s*+\}\s*+", body):
        mark, at = b"}", len(body)
    while mark == b",":
        found = _ENTRY.match(body, at)
        if found is None or len(tensors) >= _MOST_TENSORS:
            raise Malformed(file=file, problem=f"entry {len(tensors)} of the header")
        at, mark = found.end(), found[4]
        if len(found[0]) > _MOST_ENTRY and found[1] != b"__metadata__":
            raise Malformed(file=file, problem=f"entry {len(tensors)} of {len(found[0])} bytes")
        name = _name(file, found[1])
        if name in names:
            raise Malformed(file=file, problem=f"{name[:60]!r} twice")
        names.add(name)
        if name == "__metadata__":
            continue
        tensor, begin, stop = _entry(file, name, found[2])
        tensors.append(tensor)
        begins.append(begin)
        stops.append(stop)
    if body[at:].strip():
        raise Malformed(file=file, problem="more after the header's end")
    for begin, stop in sorted(zip(begins, stops, strict=True)):
        if begin != end:
            raise Malformed(file=file, problem="tensors with a hole or an overlap")
        end = stop
    if end != data_bytes:
        raise Malformed(file=file, problem=f"{data_bytes} bytes of weights, {end} in the header")
    return tensors


def _pairs(pairs: list[tuple[str, Any]]) -> Document:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a field twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs)


def _name(file: str, raw: bytes) -> str:
    try:
        return str(json.loads(b'"' + raw + b'"', strict=False)) if b"\\" in raw else raw.decode("utf-8")
    except ValueError as trouble:
        raise Malformed(file=file, problem=f"the name {raw[:60]!r}") from trouble


def _entry(file: str, name: str, raw: bytes) -> tuple[Tensor, int, int]:
    try:
        said = _DECODER.decode(raw.decode("utf-8"))
        kind, dims, (begin, stop) = said["dtype"], said["shape"], said["data_offsets"]
        bits = BITS[kind]
        numbers = (*dims, begin, stop)
        good = len(dims) <= _MOST_DIMS and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
    except (ValueError, KeyError, TypeError, RecursionError) as trouble:
        raise Malformed(file=file, problem=f"tensor {name[:60]!r}: {trouble!r:.100}") from trouble
    if not good or begin > stop or prod(dims) * bits != (stop - begin) * 8:
        raise Malformed(file=file, problem=f"tensor {name[:60]!r}: shape and bytes differ")
    return Tensor(name, tuple(reversed(dims)), kind, stop - begin), begin, stop


# --- facts ---


def _facts(
    config: Document,
    tokenizer: Document,
    tensors: Sequence[Tensor],
    weights: int,
    file_bytes: int,
    *,
    exact: bool,
) -> Facts:
    shape = hfconfig.shape(config)
    picture = None if config else _picture(tensors)
    whisper = text(config, "model_type") == "whisper"
    packed = hfconfig.packed(config)
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type] += tensor.size_bytes
    by_end = {
        t.name.rsplit(".", 2)[-2]: t.size_bytes for t in tensors if t.name.endswith(".weight") and t.name.count(".")
    }
    embedding = next((by_end[k] for k in ("embed_tokens", "wte", "word_embeddings", "embed_in") if k in by_end), None)
    # Packed integers hold several parameters each: their number of elements is not the number of parameters.
    counted = bool(tensors) and (packed is None or not sizes.keys() & {"I32", "U8", "I8", "U32"})
    parameters = sum(prod(t.dims) for t in tensors) if counted else None
    return Facts(
        format="whisper" if whisper else "safetensors",
        file_bytes=file_bytes,
        weights_bytes=weights,
        architecture=picture[0] if picture else shape.architecture,
        task=picture[1] if picture else shape.task,
        parameters=parameters,
        active_parameters=_active(tensors, parameters, shape),
        quantisation=packed or (sizes.most_common(1)[0][0] if sizes else text(config, "torch_dtype", "dtype")),
        context_length=shape.context_length,
        n_vocab=shape.n_vocab,
        n_embd=shape.n_embd,
        n_ff=shape.n_ff,
        n_expert=shape.n_expert,
        n_expert_used=shape.n_expert_used,
        n_ff_expert=shape.n_ff_expert,
        layers=shape.layers,
        tied_embeddings=shape.tied_embeddings,
        token_embedding_bytes=embedding,
        output_bytes=by_end.get("lm_head"),
        tokenizer=text(tokenizer, "tokenizer_class"),
        chat_template=text(tokenizer, "chat_template", most=2**20),
        tensors=tuple(tensors),
        n_tensors=len(tensors) if exact else None,
        extra=hfconfig.scalars(config),
        exact=exact,
    )


def _picture(tensors: Sequence[Tensor]) -> tuple[str, str] | None:
    """Architecture and task of a file without a configuration that draws, or that is laid over one that does."""
    names = {t.name for t in tensors}
    if any("lora_" in name or ".lora." in name for name in names):
        return LORA, LORA
    if "model.diffusion_model.input_blocks.0.0.weight" in names:
        large = "conditioner.embedders.1.model.token_embedding.weight" in names
        second = "cond_stage_model.model.token_embedding.weight" in names
        return "stable-diffusion-xl" if large else f"stable-diffusion-{2 if second else 1}", "text-to-image"
    bare = {name.removeprefix("model.diffusion_model.") for name in names}
    if any(name.startswith("double_blocks.0.") for name in bare):
        return "flux", "text-to-image"
    if any(name.startswith("joint_blocks.0.") for name in bare):
        return "stable-diffusion-3", "text-to-image"
    return None


def _active(tensors: Sequence[Tensor], parameters: int | None, shape: hfconfig.Shape) -> int | None:
    experts = sum(prod(t.dims) for t in tensors if ".experts." in t.name)
    if not parameters or not experts or not shape.n_expert or not shape.n_expert_used:
        return None
    return parameters - experts + experts * min(shape.n_expert_used, shape.n_expert) // shape.n_expert


def folder_of(files: Mapping[str, int], folder: str) -> dict[str, int]:
    """The safetensors a folder is loaded from: the full ones, else one variant (`fp16`), never both."""
    inside = {n: s for n, s in files.items() if str(PurePosixPath(n).parent) == folder and claims([n])}
    if not inside:
        raise UnknownFormat(files=folder[:200])
    groups: dict[str, dict[str, int]] = {}
    for name, size in inside.items():
        found = re.search(r"\.(fp16|bf16|fp32|non_ema|ema)(?:[.-]|$)", PurePosixPath(name).stem)
        groups.setdefault(found[1] if found else "", {})[name] = size
    return groups.get("") or groups[min(groups)]
