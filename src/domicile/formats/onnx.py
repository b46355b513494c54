"""ONNX: graphs with their weights inside or beside them, and `genai_config.json` where there is one.

Knows protobuf as far as walking a model takes, and finds every tensor in it, also inside subgraphs and
functions. A tensor kept in another file is believed only when that file is plain, in the folder, and long
enough; operators of a domain the runtime does not bring are refused, for they are libraries to load. Does not
read weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import PurePosixPath
from typing import Any

from domicile.errors import Malformed, RunsCode
from domicile.formats import hfconfig
from domicile.formats.document import Document, count, document, inner, text
from domicile.formats.gguf_header import Vocabularies
from domicile.formats.hfconfig import Shape, shape
from domicile.formats.window import HEAD_BYTES, Steps, Window, refuse_code, whole
from domicile.onnx_folder import DOMAINS, INSIDE
from domicile.refs import is_safe_path
from domicile.types import Facts, Layer, Tensor

_MOST_GRAPH = 2**31
"""Protobuf's own limit; weights inside are stepped over."""
_MOST_FIELDS = 600_000
_MOST_TENSORS = 50_000
_MOST_DEPTH = 32
_MOST_TEXT = 1024
_MOST_TEXTS = 8 * 2**20
_MOST_READ = 64 * 2**20
_MOST_FILES = 64

_WANTED = frozenset({("tensor", 1), ("tensor", 8), ("external", 1), ("external", 2), ("opset", 1)})
_RAW = frozenset({4, 5, 7, 9, 10, 11})
"""The fields a tensor's own bytes may be in."""
_TYPES = {
    1: ("F32", 32), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32),
    7: ("I64", 64), 8: ("STRING", 0), 9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32),
    13: ("U64", 64), 14: ("C64", 64), 15: ("C128", 128), 16: ("BF16", 16), 17: ("F8_E4M3FN", 8),
    18: ("F8_E4M3FNUZ", 8), 19: ("F8_E5M2", 8), 20: ("F8_E5M2FNUZ", 8), 21: ("U4", 4), 22: ("I4", 4),
    23: ("F4", 4), 24: ("F8_E8M0", 8),
}  # fmt: skip


def claims(names: Collection[str]) -> bool:
    return any(n.lower().endswith(".onnx") or PurePosixPath(n).name == "genai_config.json" for n in names)


@dataclass(slots=True)
class _Stored:
    """One TensorProto."""

    dims: list[int] = field(default_factory=list)
    kind: int = 0
    name: str = ""
    raw: int = 0
    external: dict[str, str] = field(default_factory=dict)
    outside: bool = False


@dataclass(slots=True)
class Model:
    ir_version: int | None = None
    opset: int | None = None
    tensors: list[_Stored] = field(default_factory=list)
    fields: int = 0
    texts: int = 0
    domain: str = ""
    version: int = 0


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    graphs = sorted(n for n in files if n.lower().endswith(".onnx") or (len(files) == 1 and "." not in n))
    if len(graphs) > _MOST_FILES:
        raise Malformed(file=graphs[0], problem=f"{len(graphs)} graphs")
    by_name = {PurePosixPath(name).name: name for name in sorted(files, key=lambda n: (-n.count("/"), n))}
    genai: Document = {}
    config: Document = {}
    if path := by_name.get("genai_config.json"):
        genai = yield from document(path, files[path])
    if path := by_name.get("config.json"):
        config = yield from document(path, files[path])
    told = yield from _words(by_name, files)
    task = "feature-extraction" if "modules.json" in by_name else _ranks(config)
    data = {n: s for n, s in files.items() if ".onnx_data" in n or n.endswith((".onnx.data", ".data"))}
    total = sum(files[n] for n in graphs) + sum(data.values())
    if badge:
        return _facts(genai, config, [], total or None, total, {}, told, task, exact=False)
    tensors: list[Tensor] = []
    extra: dict[str, int | float | str | bool] = {}
    for name in graphs:
        model = yield from graph(name, files[name])
        tensors += _tensors(name, model, files)
        extra = {k: v for k in ("ir_version", "opset") if (v := getattr(model, k)) is not None}
    weights = sum(t.size_bytes for t in tensors)
    return _facts(genai, config, tensors, weights if graphs else None, total, extra, told, task, exact=bool(graphs))


def _words(by_name: Mapping[str, str], files: Mapping[str, int]) -> Steps[str | None]:
    """The chat template, where one is beside the graph."""
    if path := by_name.get("tokenizer_config.json"):
        found = hfconfig.template((yield from document(path, files[path])))
        if found:
            return found
    if path := by_name.get("chat_template.jinja"):
        return (yield from whole(path, files[path], 2**20)).decode("utf-8", "replace")
    return None


def _ranks(config: Document) -> str | None:
    """A classifier of one class is a reranker; None for anything else."""
    labels = config.get("id2label")
    classes: Any = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    one = config.get("num_labels") == 1 or (isinstance(labels, dict) and len(labels) == 1)
    return "text-ranking" if one and name.endswith("ForSequenceClassification") else None


# --- protobuf ---


def graph(file: str, size: int) -> Steps[Model]:
    """Walk one model, entering only what can hold a tensor or name an operator's library."""
    window = Window(file, size, chunk=HEAD_BYTES, ceiling=_MOST_GRAPH, grows=True, most_read=_MOST_READ)
    yield from window.need(min(16, size))
    refuse_code(file, window.data[:16])
    if size < 8 or window.data[0] >> 3 not in {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25}:
        raise window.bad("not an ONNX model", reason="not_onnx")
    model = Model()
    stack: list[tuple[str, int]] = [("model", size)]
    while stack:
        message, end = stack[-1]
        if window.offset == end:
            _leave(window, model, stack.pop()[0])
            continue
        model.fields += 1
        if model.fields > _MOST_FIELDS:
            raise window.bad(f"more than {_MOST_FIELDS} fields")
        tag = _small(window)
        if tag is None:
            tag = yield from _varint(window)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length = _small(window)
            if length is None:
                length = yield from _varint(window)
            if window.offset + length > end:
                raise window.bad("a message longer than the one around it")
            entered = INSIDE.get(message, {}).get(number)
            if entered:
                if len(stack) >= _MOST_DEPTH:
                    raise window.bad(f"graphs nested deeper than {_MOST_DEPTH}")
                stack.append((entered, window.offset + length))
                _enter(window, model, entered)
            elif (message, number) in _WANTED:
                yield from _bytes(window, model, message, number, length)
            else:
                if message == "tensor" and number in _RAW:
                    model.tensors[-1].raw += length
                window.skip(length)
        elif wire == 0:
            value = yield from _varint(window)
            _number(window, model, message, number, value)
        elif wire in {1, 5}:
            window.skip(8 if wire == 1 else 4)
        else:
            raise window.bad(f"wire type {wire}")
        if window.offset > end:
            raise window.bad("a field that ends outside its message")
    if model.ir_version is None or model.opset is None:
        raise window.bad("not an ONNX model", reason="not_onnx")
    return model


def _small(window: Window) -> int | None:
    """A number of one byte that is already here, as nearly all are: a generator costs ten times more."""
    at = window.at
    if at < len(window.data) and (byte := window.data[at]) < 0x80:
        window.at = at + 1
        return byte
    return None


def _varint(window: Window) -> Steps[int]:
    value = 0
    for shift in range(0, 70, 7):
        if not window.has(1):
            yield from window.need(1)
        byte = window.data[window.at]
        window.at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1)
    raise window.bad("a number of more than ten bytes")


def _enter(window: Window, model: Model, message: str) -> None:
    if message == "tensor":
        if len(model.tensors) >= _MOST_TENSORS:
            raise window.bad(f"more than {_MOST_TENSORS} tensors")
        model.tensors.append(_Stored())
    elif message == "external":
        model.tensors[-1].external[""] = ""
    elif message == "opset":
        model.domain, model.version = "", 0


def _leave(window: Window, model: Model, message: str) -> None:
    if message == "opset":
        if model.domain not in DOMAINS:
            raise RunsCode(file=window.file, kind=f"operators of {model.domain[:80]!r}")
        if model.domain in {"", "ai.onnx"}:
            model.opset = model.version


def _number(window: Window, model: Model, message: str, number: int, value: int) -> None:
    if message == "model" and number == 1:
        model.ir_version = value
    elif message == "opset" and number == 2:
        model.version = value
    elif message == "tensor":
        tensor = model.tensors[-1]
        if number == 1:
            if len(tensor.dims) >= 64:
                raise window.bad("a tensor of more than 64 dimensions")
            tensor.dims.append(value)
        elif number == 2:
            tensor.kind = value
        elif number == 14:
            tensor.outside = value == 1


def _bytes(window: Window, model: Model, message: str, number: int, length: int) -> Steps[None]:
    """A field of interest: a short text, or packed dimensions."""
    if length > _MOST_TEXT:
        raise window.bad(f"a name of {length} bytes")
    model.texts += length
    if model.texts > _MOST_TEXTS:
        raise window.bad("too many names")
    end = window.offset + length
    if (message, number) == ("tensor", 1):
        while window.offset < end:
            value = yield from _varint(window)
            _number(window, model, "tensor", 1, value)
        return
    said = (yield from window.take(length)).decode("utf-8", "replace")
    if message == "opset":
        model.domain = said
    elif number == 8:
        model.tensors[-1].name = said
    elif number == 1:
        model.tensors[-1].external[""] = said
    else:
        stored = model.tensors[-1].external
        if len(stored) > 16:
            raise window.bad("a tensor with more than 16 places")
        stored[stored.get("", "")] = said


def _tensors(file: str, model: Model, files: Mapping[str, int]) -> list[Tensor]:
    made = []
    for stored in model.tensors:
        kind = _TYPES.get(stored.kind)
        if kind is None or any(d >= 2**48 for d in stored.dims):
            raise Malformed(file=file, problem=f"tensor {stored.name[:60]!r} of type {stored.kind}")
        elements = prod(stored.dims)
        size = -(-elements * kind[1] // 8)
        if stored.outside or stored.external:
            size = _outside(file, stored, size, files)
        elif elements and kind[1] and not stored.raw:
            raise Malformed(file=file, problem=f"tensor {stored.name[:60]!r} without its bytes")
        elif size > files[file]:
            raise Malformed(file=file, problem=f"tensor {stored.name[:60]!r} larger than the file")
        made.append(Tensor(stored.name, tuple(reversed(stored.dims)), kind[0], size if kind[1] else stored.raw))
    return made


def _outside(file: str, stored: _Stored, size: int, files: Mapping[str, int]) -> int:
    """A tensor in another file: where runtimes were made to read what they should not, three times over.

    (CVE-2022-25882, 2024-27318, 2026-34446.) Only a file that is one of the model's own, in its folder or
    below.
    """
    where = stored.external.get("location", "")
    if not is_safe_path(where):
        raise Malformed(file=file, problem=f"weights outside the folder: {where[:80]!r}")
    path = str(PurePosixPath(file).parent / where)
    if path not in files:
        raise Malformed(file=file, problem=f"{where[:80]} is not there")
    digits = {key: stored.external.get(key, "") for key in ("offset", "length")}
    if any(not (d.isascii() and d.isdigit() and len(d) <= 18) for d in digits.values() if d):
        raise Malformed(file=file, problem=f"tensor {stored.name[:60]!r}: offset or length")
    offset, length = int(digits["offset"] or 0), int(digits["length"] or size)
    if length != size or offset + length > files[path]:
        raise Malformed(file=file, problem=f"tensor {stored.name[:60]!r} lies outside {where[:80]}")
    return size


# --- facts ---


def _genai_layers(decoder: Document) -> tuple[Layer, ...]:
    n = count(decoder, "num_hidden_layers", most=1024) or 0
    heads = count(decoder, "num_attention_heads", most=2**16)
    head = count(decoder, "head_size", most=2**20)
    if not heads or not head:
        return ()
    kv = count(decoder, "num_key_value_heads", most=2**16) or heads
    sliding = inner(decoder, "sliding_window")
    window = count(sliding, "window_size")
    which: Any = sliding.get("layers")
    slides = {i for i in which if isinstance(i, int)} if isinstance(which, list) else set(range(n))
    return tuple(
        Layer("attention", heads, kv, head, head, window if window and i in slides else None) for i in range(n)
    )


def _facts(
    genai: Document,
    config: Document,
    tensors: Sequence[Tensor],
    weights: int | None,
    total: int,
    extra: Mapping[str, int | float | str | bool],
    template: str | None,
    task: str | None,
    *,
    exact: bool,
) -> Facts:
    of_config = shape(config) if config else Shape()
    model = inner(genai, "model")
    decoder = inner(model, "decoder")
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size_bytes
    return Facts(
        format="onnx",
        file_bytes=total,
        weights_bytes=weights,
        architecture=text(model, "type") or of_config.architecture,
        task=task or of_config.task or ("text-generation" if decoder else None),
        chat_template=template if template and len(template) <= 2**20 else None,
        quantisation=max(sizes, key=lambda k: sizes[k]) if sizes else None,
        context_length=count(model, "context_length") or of_config.context_length,
        n_vocab=count(model, "vocab_size") or of_config.n_vocab,
        n_embd=count(decoder, "hidden_size", most=2**20) or of_config.n_embd,
        n_ff=of_config.n_ff,
        n_expert=of_config.n_expert,
        n_expert_used=of_config.n_expert_used,
        n_ff_expert=of_config.n_ff_expert,
        layers=_genai_layers(decoder) or of_config.layers,
        tied_embeddings=of_config.tied_embeddings,
        tensors=tuple(tensors),
        n_tensors=len(tensors) if exact else None,
        extra=extra,
        exact=exact,
    )
