"""ONNX graphs looked at before a runtime opens them: where their weights lie, and whose operators they use.

A tensor may say that its bytes are in another file: runtimes were made to read what they should not that way, three
times over (CVE-2022-25882, 2024-27318, 2026-34446). Here every such name must be a plain file of the graph's own
folder, no link, and operators must be of a domain that the runtime brings: another one means a library to load. Walks
protobuf by the numbers of `onnx.proto`, in bounds; reads no weight. For children as well: onnxruntime is
imported where a graph is opened.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError

_MOST_GRAPH = 2**31
_MOST_FIELDS = 2_000_000
_MOST_DEPTH = 32
_MOST_NAME = 1024
INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "tensor": {13: "external"},
}
"""Which field of which message is a message worth entering."""
DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview"}
    | {"com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"}
    | {"com.microsoft.dml", "org.pytorch.aten"}
)
"""What onnxruntime brings."""


def checked(graph: Path, root: Path) -> Path:
    """The same path, once everything that the graph would make a runtime open is plain and in its folder, which is in
    `root`. Raises `UnfitError`."""
    plain(graph, root)
    size = graph.stat().st_size
    if not 8 <= size <= _MOST_GRAPH:
        raise UnfitError(f"{graph.name}: not an ONNX model")
    with graph.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        locations = _locations(graph.name, data, size)
    for location in sorted(locations):
        parts = location.split("/")
        if not location or "\\" in location or "\0" in location or {"", ".", ".."} & set(parts) or ":" in parts[0]:
            raise UnfitError(f"{graph.name}: weights outside the folder: {location[:80]!r}")
        plain(graph.parent.joinpath(*parts), graph.parent)
    return graph


def plain(path: Path, root: Path) -> None:
    """Raise `UnfitError` unless a path is a file inside a folder, with no link on the way from there."""
    real = root.resolve()
    inside = path.resolve()
    if path.is_symlink() or not path.is_file() or not inside.is_relative_to(real):
        raise UnfitError(f"{path.name[:80]} is not a plain file of the folder")
    if inside != real / path.relative_to(root):
        raise UnfitError(f"{path.name[:80]} is reached by a link")


def session_of(graph: Path, root: Path, threads: int) -> Any:
    """A session of onnxruntime on a graph, looked at first. Raises `UnfitError`, and ImportError."""
    import onnxruntime

    checked(graph, root)
    wished = onnxruntime.SessionOptions()
    wished.intra_op_num_threads, wished.inter_op_num_threads = threads, 1
    wished.log_severity_level = 3
    wished.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights beside the arena, which grows by powers of two: 2.1 GB for 1.3 GB of weights (bench/RESULTS.md).
    wished.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return onnxruntime.InferenceSession(str(graph), wished, providers=["CPUExecutionProvider"])
    except Exception as trouble:  # its exceptions have no base of their own
        if "alloc" in str(trouble).lower():
            raise MemoryError(str(trouble)[:300]) from trouble
        raise UnfitError(str(trouble)[:300]) from trouble


def _locations(name: str, data: mmap.mmap, size: int) -> set[str]:
    """Every `location` of the external data of a model's tensors."""
    found: set[str] = set()
    stack: list[tuple[str, int]] = [("model", size)]
    at, fields = 0, 0
    keys: set[bytes] = set()
    values: set[str] = set()
    while stack:
        message, end = stack[-1]
        if at == end:
            stack.pop()
            if message == "external" and b"location" in keys:  # readers differ in which of several they take: all
                found |= values
            continue
        fields += 1
        if fields > _MOST_FIELDS:
            raise UnfitError(f"{name}: more than {_MOST_FIELDS} fields")
        tag, at = _varint(name, data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(name, data, at, end)
        elif wire in {1, 5}:
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(name, data, at, end)
            if length > end - at:
                raise UnfitError(f"{name}: a message longer than the one around it")
            entered = INSIDE.get(message, {}).get(number)
            if entered:
                if len(stack) >= _MOST_DEPTH:
                    raise UnfitError(f"{name}: graphs nested deeper than {_MOST_DEPTH}")
                stack.append((entered, at + length))
                keys, values = set(), set()
                continue
            if message in {"external", "opset"} and number in {1, 2}:
                if length > _MOST_NAME:
                    raise UnfitError(f"{name}: a name of {length} bytes")
                said = data[at : at + length]
                if message == "opset":
                    if (domain := said.decode("utf-8", "replace")) not in DOMAINS:
                        raise UnfitError(f"{name}: operators of {domain[:80]!r}")
                elif number == 1:
                    keys.add(said)
                else:
                    values.add(said.decode("utf-8", "replace"))
            at += length
        else:
            raise UnfitError(f"{name}: wire type {wire}")
        if at > end:
            raise UnfitError(f"{name}: a field that ends outside its message")
    return found


def _varint(name: str, data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise UnfitError(f"{name}: a field that ends outside its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise UnfitError(f"{name}: a number of more than ten bytes")
