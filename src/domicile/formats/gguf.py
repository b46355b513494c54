"""GGUF, the models of llama.cpp: in one file or in shards, whole or from the first 64 KB.

Knows what the keys and tensors of a header mean for memory, and how to write a probe: a header without
weights that the engine itself can be asked about. The bytes are `gguf_header`'s, the layers `architectures`'.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from domicile.errors import Malformed
from domicile.formats import ggml
from domicile.formats.architectures import Hyper, encoder_only, layers
from domicile.formats.gguf_header import MAGIC, MOST_TENSORS, Header, Vocabularies, header
from domicile.formats.window import HEAD_BYTES, Steps, Want
from domicile.types import Facts, Tensor

_MOST_SHARDS = 1024


def claims(names: Collection[str]) -> bool:
    return any(re.search(r"\.gguf(?:-\d+-of-\d+)?$", name, re.IGNORECASE) for name in names)


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    """The facts of a model: one file, or every shard of one (names to sizes)."""
    shards = sorted(name for name in files if claims([name]) or len(files) == 1)
    if len(shards) > _MOST_SHARDS:
        raise Malformed(file=shards[0], problem=f"{len(shards)} shards")
    total = sum(files[name] for name in shards)
    first = shards[0]
    head = yield Want(first, 0, min(HEAD_BYTES, files[first]))
    if badge:
        return of_head(first, files[first], head, total, known)
    headers = yield from _headers({name: files[name] for name in shards}, head, known)
    return _facts(headers, total)


def _headers(
    files: Mapping[str, int], head: bytes, known: Vocabularies | None, *, keep: bool = False
) -> Steps[list[Header]]:
    """Every shard's header, together within the bounds of one."""
    headers: list[Header] = []
    tensors = strings = 0
    for name in sorted(files):
        one = Header(name, files[name], strings=strings, raw=[] if keep else None)
        yield from header(one, b"" if headers else head, known)
        headers.append(one)
        tensors, strings = tensors + len(one.tensors), one.strings
        if tensors > MOST_TENSORS:
            raise Malformed(file=name, problem=f"more than {MOST_TENSORS} tensors")
    _check_shards(headers)
    return headers


def of_head(file: str, size: int, head: bytes, total: int, known: Vocabularies | None = None) -> Facts:
    """A badge from the first bytes of a file: every hyper-parameter, no tensor.

    All quantisations of a repository share their hyper-parameters: `for_size` makes the badge of the others.
    """
    read = Header(file, size)
    reading = header(read, head, known)
    with suppress(StopIteration):
        next(reading)  # runs until it wants more than the head
    return _facts([read], total)


def for_size(badge: Facts, file_bytes: int) -> Facts:
    """The same badge for another quantisation of the same model, of another size."""
    seen = badge.file_bytes - (badge.weights_bytes or 0)
    return replace(
        badge,
        file_bytes=file_bytes,
        weights_bytes=max(0, file_bytes - seen),
        quantisation=None,
        parameters=None,
        active_parameters=None,
        token_embedding_bytes=None,
        output_bytes=None,
        tensors=(),
        exact=False,
        bytes_read=0,
    )


def _check_shards(headers: Sequence[Header]) -> None:
    """A split model says how many parts and tensors it has; shard 1 carries the keys."""
    if len(headers) == 1 and not headers[0].values.get("split.count"):
        return
    parts = headers[0].values.get("split.count")
    declared = headers[0].values.get("split.tensors.count")
    found = sum(len(h.tensors) for h in headers)
    if parts != len(headers):
        raise Malformed(file=headers[0].file, problem=f"{len(headers)} of {parts} shards")
    if len(headers) > 1 and isinstance(declared, int) and declared != found:
        raise Malformed(file=headers[0].file, problem=f"{found} tensors of {declared}")
    names = {t.name for h in headers for t in h.tensors}
    if len(names) != found:
        raise Malformed(file=headers[0].file, problem="a tensor in two shards")


# --- facts ---


def _facts(headers: Sequence[Header], file_bytes: int) -> Facts:
    first = headers[0]
    values = first.values
    complete = all(h.data_offset is not None for h in headers)
    arch = _text(values, "general.architecture") or ""
    hyper = Hyper(arch, values)
    tensors = tuple(t for h in headers for t in h.tensors) if complete else ()
    experts, used = hyper.number("expert_count"), hyper.number("expert_used_count")
    declared = Hyper("split", values).number("tensors.count")
    totals = _totals(tensors, hyper) if complete else _Totals()
    weights = totals.bytes if complete else max(0, file_bytes - sum(h.seen_bytes for h in headers))
    return Facts(
        format="gguf",
        file_bytes=file_bytes,
        weights_bytes=weights,
        architecture=arch or None,
        name=_text(values, "general.name"),
        task=_task(arch, values, hyper),
        parameters=totals.parameters,
        active_parameters=totals.active(experts, used),
        quantisation=_quantisation(values, tensors),
        context_length=hyper.number("context_length"),
        n_vocab=first.lengths.get("tokenizer.ggml.tokens") or hyper.number("vocab_size"),
        n_embd=hyper.number("embedding_length"),
        n_ff=hyper.widest("feed_forward_length"),
        n_expert=experts or None,
        n_expert_used=used or None,
        n_ff_expert=hyper.number("expert_feed_forward_length"),
        layers=layers(hyper),
        tied_embeddings=None if totals.embedding is None or encoder_only(arch) else totals.output is None,
        token_embedding_bytes=totals.embedding,
        output_bytes=totals.output,
        tokenizer=_tokenizer(values),
        tokenizer_bytes=first.tokenizer_bytes if complete else None,
        chat_template=_template(values),
        chat_templates=_templates(first),
        licence=_text(values, "general.license"),
        tensors=tensors,
        n_tensors=len(tensors) if complete else declared or first.n_tensors,
        extra=_extra(arch, values, totals),
        exact=complete,
    )


@dataclass(frozen=True, slots=True)
class _Totals:
    bytes: int = 0
    parameters: int | None = None
    expert_parameters: int = 0
    expert_bytes: int = 0
    nextn_bytes: int = 0
    embedding: int | None = None
    output: int | None = None

    def active(self, experts: int | None, used: int | None) -> int | None:
        if not self.parameters or not experts or not used or used > experts or not self.expert_parameters:
            return None
        return self.parameters - self.expert_parameters + self.expert_parameters * used // experts


def _totals(tensors: Sequence[Tensor], hyper: Hyper) -> _Totals:
    blocks, nextn = hyper.number("block_count") or 0, hyper.number("nextn_predict_layers") or 0
    extra = tuple(f"blk.{i}." for i in range(max(0, blocks - nextn), blocks)) if 0 < nextn <= 64 else ()
    experts = [t for t in tensors if "_exps." in t.name]
    sizes = {t.name: t.size_bytes for t in tensors}
    return _Totals(
        bytes=sum(sizes.values()),
        parameters=sum(math.prod(t.dims) for t in tensors),
        expert_parameters=sum(math.prod(t.dims) for t in experts),
        expert_bytes=sum(t.size_bytes for t in experts),
        nextn_bytes=sum(t.size_bytes for t in tensors if t.name.startswith(extra)) if extra else 0,
        embedding=sizes.get("token_embd.weight"),
        output=sizes.get("output.weight"),
    )


def _extra(arch: str, values: Mapping[str, Any], totals: _Totals) -> dict[str, int | float | str | bool]:
    """The architecture's scalars by their own key, without its name before them."""
    own = {k.removeprefix(f"{arch}."): v for k, v in values.items() if arch and k.startswith(f"{arch}.")}
    kept: dict[str, int | float | str | bool] = {k: v for k, v in own.items() if isinstance(v, (int, float, bool))}
    for key in ("general.type", "general.size_label"):
        if said := _text(values, key):
            kept[key] = said
    for key in ("projector_type", "vision.projector_type"):
        if said := _text(values, f"{arch}.{key}"):
            kept[key] = said
    if any(f"tokenizer.ggml.{key}_token_id" in values for key in ("fim_pre", "prefix")):
        kept["fim"] = True
    if totals.expert_bytes:
        kept["expert_bytes"] = totals.expert_bytes
    if totals.nextn_bytes:
        kept["nextn_bytes"] = totals.nextn_bytes
    return kept


_IMAGE = frozenset({"flux", "sd1", "sd2", "sdxl", "sd3", "lumina2", "qwen_image", "z_image", "wan", "hidream"})
_POOLING_RANK = 4


def _task(arch: str, values: Mapping[str, Any], hyper: Hyper) -> str | None:
    """The Hub's name of the task. A projector and an adapter have none of their own."""
    if not arch or arch == "clip" or values.get("general.type") in {"adapter", "mmproj", "imatrix", "vocab"}:
        return None
    if arch in _IMAGE:
        return "text-to-image"
    pooling = hyper.number("pooling_type")
    if pooling == _POOLING_RANK:
        return "text-ranking"
    if pooling or encoder_only(arch):
        return "feature-extraction"
    return "text-generation" if hyper.number("block_count") else None


def _quantisation(values: Mapping[str, Any], tensors: Sequence[Tensor]) -> str | None:
    kind = values.get("general.file_type")
    label = ggml.FILE_TYPES.get(kind) if isinstance(kind, int) else None
    if label:
        return label
    by_type: Counter[str] = Counter()
    for tensor in tensors:
        by_type[tensor.type] += tensor.size_bytes
    return by_type.most_common(1)[0][0] if by_type else None


def _tokenizer(values: Mapping[str, Any]) -> str | None:
    parts = [_text(values, f"tokenizer.ggml.{key}") for key in ("model", "pre")]
    return "/".join(p for p in parts if p) or None


def _template(values: Mapping[str, Any]) -> str | None:
    said = values.get(_TEMPLATE)
    return said if isinstance(said, str) and said else None


_TEMPLATE = "tokenizer.chat_template"


def _templates(header: Header) -> dict[str, str | None]:
    """Every template of the header by its name; None for one that was too long to keep."""
    keys = [k for k in (*header.values, *header.lengths) if k == _TEMPLATE or k.startswith(f"{_TEMPLATE}.")]
    found = {k.removeprefix(_TEMPLATE).lstrip(".") or "default": header.values.get(k) for k in keys}
    return {name: text if isinstance(text, str) else None for name, text in found.items() if text != ""}


def _text(values: Mapping[str, Any], key: str, most: int = 200) -> str | None:
    said = values.get(key)
    return said[:most] if isinstance(said, str) and said else None


# --- probe ---


@dataclass(frozen=True, slots=True)
class Probe:
    """A model without weights: `head` is the file's start, the rest to `size_bytes` is a hole."""

    head: bytes
    size_bytes: int


def probe(files: Mapping[str, int], known: Vocabularies | None) -> Steps[Probe]:
    """A header that says all the original said except the tokenizer, of all shards in one.

    llama.cpp opens it mapped and without repacking (the hole is never read) and prints the buffers the model
    would take, in milliseconds; so does `llama-fit-params`. The tokenizer's arrays are the bulk of a header
    and change no size but their own: the vocabulary is declared absent ("none"), its length given instead.
    """
    headers = yield from _headers(files, b"", known, keep=True)
    first = headers[0]
    arch = _text(first.values, "general.architecture")
    n_vocab = first.lengths.get("tokenizer.ggml.tokens")
    if arch is None:
        raise Malformed(file=first.file, problem="no general.architecture")
    keys = [*(first.raw or ()), _key("tokenizer.ggml.model", b"none")]
    if n_vocab and f"{arch}.vocab_size" not in first.values:
        keys.append(_key(f"{arch}.vocab_size", n_vocab))
    tensors = [t for h in headers for t in h.tensors]
    numbers = {storage.name: number for number, storage in ggml.TYPES.items()}
    infos, offset = [], 0
    for tensor in tensors:
        raw = tensor.name.encode()
        dims = struct.pack(f"<I{len(tensor.dims)}Q", len(tensor.dims), *tensor.dims)
        infos.append(struct.pack("<Q", len(raw)) + raw + dims + struct.pack("<IQ", numbers[tensor.type], offset))
        offset += -(-tensor.size_bytes // first.alignment) * first.alignment
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(infos)
    head += b"\0" * (-len(head) % first.alignment)
    return Probe(head, len(head) + offset)


def _key(name: str, value: bytes | int) -> bytes:
    start = struct.pack("<Q", len(name)) + name.encode()
    if isinstance(value, int):
        return start + struct.pack("<II", 4, value)
    return start + struct.pack("<IQ", 8, len(value)) + value
