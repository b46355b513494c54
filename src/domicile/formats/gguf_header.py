"""The header of one GGUF file, version 2 and 3, byte by byte.

Knows the layout and the bounds a header must keep to be believed. Does not read weights, does not build the
tokenizer (its arrays, up to sixteen megabytes, are only measured), and does not know what the keys mean:
`gguf` does.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Generator, Mapping, MutableMapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from domicile.errors import Malformed
from domicile.formats import ggml
from domicile.formats.window import HEAD_BYTES, Steps, Want, Window, refuse_code
from domicile.types import Tensor

MAGIC = b"GGUF"
MOST_HEADER = 100 * 2**20
_MOST_KEYS = 16_384
_MOST_KEY = 256
_MOST_TEXT = 8 * 2**20
_MOST_KEPT_TEXT = 2**20
_KEPT_BYTES = 16 * 2**20
"""What all kept values together may take in memory; a value beyond is unknown."""
_MOST_STRINGS = 5_000_000
"""In all arrays together; the largest vocabularies have 800,000 tokens and merges."""
_MOST_ELEMENTS = 4096
"""A longer array of numbers is measured, not kept: only the tokenizer has such."""
MOST_TENSORS = 32_768
_MOST_NAME = 128
_MOST_DIMS = 4
_MOST_ALIGNMENT = 2**20

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_INFO = struct.Struct("<IQ")
_SCALARS: dict[int, struct.Struct] = {
    number: struct.Struct("<" + form)
    for number, form in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_STRING, _ARRAY = 8, 9

Vocabularies = MutableMapping[str, tuple[int, int, int]]
"""Where the arrays of a known tokenizer end: (bytes from the first token, keys passed over, bytes of arrays).

A cache any mapping can be, kept by whoever calls. Publishers requantise the same few tokenizers thousands of
times: with this, the tail of a header costs one small request instead of sixteen megabytes."""


@dataclass(slots=True)
class Header:
    """What was read so far. Filled as the bytes come, so that a part of a header is a part of the truth."""

    file: str
    size: int
    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    """How many elements each array has, kept or not; how many bytes each text that was too long to keep."""
    tokenizer_bytes: int = 0
    n_tensors: int = 0
    tensors: list[Tensor] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    alignment: int = 32
    seen_bytes: int = 0
    data_offset: int | None = None
    """Where the weights start; None until the whole header was read."""
    room: int = _KEPT_BYTES
    strings: int = 0
    """Met in arrays so far."""
    jumped: bool = False
    """Was the tokenizer passed over by memory?"""
    raw: list[bytes] | None = None
    """The key-values a probe needs, as they stand in the file; None when nobody asked."""


def header(into: Header, head: bytes = b"", known: Vocabularies | None = None) -> Steps[None]:
    """Read one file's header. `head` is what the caller already has of its start.

    A jump over a known tokenizer that lands badly is no fault of the file: it is read again in full.
    """
    try:
        yield from _header(into, head, known)
    except Malformed:
        if not into.jumped:
            raise
        again = Header(into.file, into.size, raw=None if into.raw is None else [])
        yield from _header(again, head, None)
        for name in Header.__slots__:
            setattr(into, name, getattr(again, name))


def _header(into: Header, head: bytes, known: Vocabularies | None) -> Steps[None]:
    window = Window(into.file, into.size, head=head, chunk=HEAD_BYTES, ceiling=MOST_HEADER)
    start = yield from window.take(min(8, into.size))
    refuse_code(into.file, start)
    if start[:4] != MAGIC or len(start) < 8:
        raise window.bad("not a GGUF", reason="not_gguf")
    version = _U32.unpack_from(start, 4)[0]
    if version & 0xFFFF == 0 and version:
        raise window.bad("big-endian GGUF", reason="big_endian")
    if version not in {2, 3}:
        raise window.bad(f"GGUF version {version}")
    (n_tensors,) = yield from window.unpack(_U64)
    (n_keys,) = yield from window.unpack(_U64)
    if n_tensors > MOST_TENSORS or n_tensors * 24 > into.size:
        raise window.bad(f"{n_tensors} tensors")
    if n_keys > _MOST_KEYS or n_keys * 13 > into.size:
        raise window.bad(f"{n_keys} keys")
    into.n_tensors = n_tensors
    yield from _keys(window, into, n_keys, known)
    into.alignment = _alignment(window, into.values)
    yield from _tensors(window, into)
    into.seen_bytes = window.offset
    _check_layout(window, into)


def _alignment(window: Window, values: Mapping[str, Any]) -> int:
    given = values.get("general.alignment", 32)
    if not isinstance(given, int) or isinstance(given, bool) or not 0 < given <= _MOST_ALIGNMENT or given & (given - 1):
        raise window.bad(f"alignment {given!r}")
    return given


# --- key-values ---


@dataclass(slots=True)
class _Vocabulary:
    """The run of tokenizer arrays being read, to be remembered when it ends."""

    identity: str
    start: int
    first: int


def _keys(window: Window, into: Header, n_keys: int, known: Vocabularies | None) -> Steps[None]:
    seen: set[bytes] = set()
    run: _Vocabulary | None = None
    i = 0
    while i < n_keys:
        begin = window.offset
        into.seen_bytes = begin
        (length,) = yield from window.unpack(_U64)
        if not 0 < length <= _MOST_KEY:
            raise window.bad(f"a key of {length} bytes")
        name = yield from window.take(length)
        if into.jumped and not re.fullmatch(rb"[\w.\-]{1,128}", name):
            raise window.bad("a jump that landed badly")
        if name in seen:
            raise window.bad(f"the key {_shown(name)} twice")
        seen.add(name)
        (kind,) = yield from window.unpack(_U32)
        key = name.decode("utf-8", "replace")
        if run and not (kind == _ARRAY and key.startswith("tokenizer.")):
            _remember(known, run, begin, i, into.tokenizer_bytes)
            run = None
        if kind != _ARRAY:
            yield from _scalar(window, into, key, name, kind)
        else:
            skipped = yield from _array(window, into, key, name, known)
            if isinstance(skipped, int):
                i += skipped
            elif skipped:
                run = _Vocabulary(skipped.identity, skipped.start, i + 1)
        i += 1
    if run:
        _remember(known, run, window.offset, n_keys, into.tokenizer_bytes)


def _remember(known: Vocabularies | None, run: _Vocabulary, end: int, i: int, tokenizer_bytes: int) -> None:
    if known is not None:
        known[run.identity] = (end - run.start, i - run.first, tokenizer_bytes)


def _scalar(window: Window, into: Header, key: str, name: bytes, kind: int) -> Steps[None]:
    if kind == _STRING:
        (length,) = yield from window.unpack(_U64)
        if length > _MOST_TEXT:
            raise window.bad(f"a text of {length} bytes under {_shown(name)}")
        body = yield from window.take(length)
        if length > _MOST_KEPT_TEXT or not _fits(into, 4 * length):
            into.lengths[key] = length
            return
        into.values[key] = body.decode("utf-8", "replace")
        raw = _U64.pack(length) + body
    else:
        form = _SCALARS.get(kind)
        if form is None:
            raise window.bad(f"value type {kind} under {_shown(name)}")
        raw = yield from window.take(form.size)
        into.values[key] = form.unpack(raw)[0]
    _keep(into, key, name, kind, raw)


def _fits(into: Header, size: int) -> bool:
    if size > into.room:
        return False
    into.room -= size
    return True


def _keep(into: Header, key: str, name: bytes, kind: int, raw: bytes) -> None:
    if into.raw is not None and not key.startswith(("tokenizer.", "split.")):
        into.raw.append(_U64.pack(len(name)) + name + _U32.pack(kind) + raw)


def _array(
    window: Window, into: Header, key: str, name: bytes, known: Vocabularies | None
) -> Generator[Want, bytes, int | _Vocabulary | None]:
    """Measure an array, and keep it when it is short and of numbers.

    The first array of a tokenizer gives how many keys were jumped over, or the run to remember.
    """
    kind = (yield from window.unpack(_U32))[0]
    count = (yield from window.unpack(_U64))[0]
    form = _SCALARS.get(kind)
    if kind == _ARRAY:
        raise window.bad(f"an array of arrays under {_shown(name)}")
    if form is None and kind != _STRING:
        raise window.bad(f"an array of type {kind} under {_shown(name)}")
    if count * (form.size if form else 8) > window.ceiling - window.offset:
        raise window.bad(f"{count} elements under {_shown(name)}")
    into.lengths[key] = count
    begin = window.offset
    if form:
        size = count * form.size
        if count <= _MOST_ELEMENTS:
            raw = yield from window.take(size)
            if _fits(into, 40 * count):
                into.values[key] = tuple(v for (v,) in form.iter_unpack(raw))
                _keep(into, key, name, _ARRAY, _U32.pack(kind) + _U64.pack(count) + raw)
        else:
            window.skip(size)
        into.tokenizer_bytes += size if key.startswith("tokenizer.") else 0
        return None
    run: _Vocabulary | None = None
    if key == "tokenizer.ggml.tokens" and known is not None:
        yield from window.need(min(4096, into.size - begin))
        run = _Vocabulary(_identity(window, into, count), begin, 0)
        if place := known.get(run.identity):
            distance, keys, size = place
            into.jumped = True
            window.skip(distance)
            window.chunk = 2 * HEAD_BYTES
            into.tokenizer_bytes += size
            return keys
    yield from _skip_strings(window, count, into)
    into.tokenizer_bytes += window.offset - begin if key.startswith("tokenizer.") else 0
    return run


def _identity(window: Window, into: Header, count: int) -> str:
    """Which tokenizer this is. Two of one name and size differ early, or are caught on landing."""
    first = zlib.crc32(window.data[window.at : window.at + 4096])
    names = (into.values.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    return "/".join([*(str(n)[:60] for n in names), str(count), f"{first:08x}"])


def _skip_strings(window: Window, count: int, into: Header) -> Steps[None]:
    """Go past `count` strings without making one: a quarter of a million tokens in a tenth of a second."""
    into.strings += count
    if into.strings > _MOST_STRINGS:
        raise window.bad(f"{into.strings} strings")
    unpack, begin, left = _U64.unpack_from, window.offset, count
    while left:
        data, at = window.data, window.at
        last = len(data) - 8
        while left and at <= last:
            at += 8 + unpack(data, at)[0]
            left -= 1
        if window.start + at > window.ceiling:
            raise window.bad("a string that ends outside the file")
        window.at = at
        if left:
            done = count - left
            average = (window.offset - begin) // done + 1 if done else 64
            window.chunk = min(max(average * left, HEAD_BYTES), 2**20)
            yield from window.need(8)
    window.chunk = 2 * HEAD_BYTES


def _shown(name: bytes) -> str:
    return repr(name[:60].decode("utf-8", "replace"))


# --- tensors ---


def _tensors(window: Window, into: Header) -> Steps[None]:
    window.chunk = max(HEAD_BYTES, min((into.n_tensors - len(into.tensors)) * 72, 2**20))
    names: set[str] = set()
    for _ in range(into.n_tensors):
        (length,) = yield from window.unpack(_U64)
        if not 0 < length <= _MOST_NAME:
            raise window.bad(f"a tensor's name of {length} bytes")
        yield from window.need(length + 4)
        name = window.data[window.at : window.at + length]
        (n_dims,) = _U32.unpack_from(window.data, window.at + length)
        window.at += length + 4
        if n_dims > _MOST_DIMS:
            raise window.bad(f"{_shown(name)} has {n_dims} dimensions")
        yield from window.need(8 * n_dims + _INFO.size)
        dims = struct.unpack_from(f"<{n_dims}Q", window.data, window.at)
        kind, offset = _INFO.unpack_from(window.data, window.at + 8 * n_dims)
        window.at += 8 * n_dims + _INFO.size
        tensor = _tensor(window, name, dims, kind)
        if offset % into.alignment or offset + tensor.size_bytes > into.size:
            raise window.bad(f"{_shown(name)} lies outside the file", reason="cut")
        if tensor.name in names:
            raise window.bad(f"the tensor {_shown(name)} twice")
        names.add(tensor.name)
        into.tensors.append(tensor)
        into.offsets.append(offset)


def _tensor(window: Window, name: bytes, dims: tuple[int, ...], kind: int) -> Tensor:
    storage = ggml.TYPES.get(kind)
    if storage is None:
        what = ggml.REMOVED.get(kind, str(kind))
        raise window.bad(f"{_shown(name)} is stored as {what}, a type no longer or not yet known")
    elements = prod(dims)
    if not elements or elements >= 2**63:
        raise window.bad(f"{_shown(name)} has {elements} elements")
    if dims and dims[0] % storage.block:
        raise window.bad(f"{_shown(name)}: rows of {dims[0]} in blocks of {storage.block}")
    size = elements // storage.block * storage.bytes
    return Tensor(name.decode("utf-8", "replace"), dims, storage.name, size)


def _check_layout(window: Window, into: Header) -> None:
    """Every tensor inside the file, none over another. The last may end without its padding."""
    data = -(-window.offset // into.alignment) * into.alignment
    end = 0
    for offset, tensor in sorted(zip(into.offsets, into.tensors, strict=True), key=lambda pair: pair[0]):
        if offset < end:
            raise window.bad(f"{tensor.name[:60]!r} lies over another tensor")
        end = offset + tensor.size_bytes
    if into.tensors and data + end > into.size:
        raise window.bad(f"{data + end - into.size} bytes are missing at the end", reason="cut")
    into.data_offset = data
