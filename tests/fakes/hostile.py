"""Headers that lie, built byte by byte: GGUF and safetensors, each with the name of its lie.

Also the honest builders they start from, so that a test can break one thing at a time.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence

Pairs = Sequence[tuple[str, bytes]]


def string(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def u8(n: int) -> bytes:
    return struct.pack("<IB", 0, n)


def u32(n: int) -> bytes:
    return struct.pack("<II", 4, n)


def i32(n: int) -> bytes:
    return struct.pack("<Ii", 5, n)


def u64(n: int) -> bytes:
    return struct.pack("<IQ", 10, n)


def f32(x: float) -> bytes:
    return struct.pack("<If", 6, x)


def boolean(b: bool) -> bytes:
    return struct.pack("<I?", 7, b)


def text(value: str | bytes) -> bytes:
    return struct.pack("<I", 8) + string(value)


def array(kind: int, items: Iterable[bytes], count: int | None = None) -> bytes:
    made = list(items)
    return struct.pack("<IIQ", 9, kind, len(made) if count is None else count) + b"".join(made)


def ints(*values: int) -> bytes:
    return array(5, (struct.pack("<i", v) for v in values))


def bools(*values: bool) -> bytes:
    return array(7, (struct.pack("<?", v) for v in values))


def texts(values: Iterable[str | bytes], count: int | None = None) -> bytes:
    return array(8, (string(v) for v in values), count)


def info(name: str | bytes, dims: Sequence[int], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(
    keys: Pairs,
    infos: Sequence[bytes] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data_bytes: int = 0,
    alignment: int = 32,
) -> bytes:
    counts = (len(infos) if n_tensors is None else n_tensors, len(keys) if n_keys is None else n_keys)
    head = magic + struct.pack("<IQQ", version, *counts)
    head += b"".join(string(name) + value for name, value in keys) + b"".join(infos)
    return head + b"\0" * (-len(head) % alignment + data_bytes)


TINY: Pairs = (
    ("general.architecture", text("llama")),
    ("llama.block_count", u32(2)),
    ("llama.embedding_length", u32(64)),
    ("llama.feed_forward_length", u32(128)),
    ("llama.attention.head_count", u32(4)),
    ("llama.attention.head_count_kv", u32(2)),
    ("llama.context_length", u32(2048)),
    ("tokenizer.ggml.model", text("gpt2")),
    ("tokenizer.ggml.tokens", texts(f"t{i}" for i in range(8))),
    ("tokenizer.ggml.token_type", ints(*[1] * 8)),
    ("tokenizer.chat_template", text("{{ messages }}")),
)
TINY_INFOS = (info("token_embd.weight", (64, 8), 0, 0), info("blk.0.attn_q.weight", (64, 64), 1, 2048))
TINY_DATA = 2048 + 8192


def tiny(**changes: bytes | None) -> bytes:
    """The honest small model, with some keys (`__` for a dot) replaced, added, or left out by None."""
    keys = dict(TINY)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            keys.pop(key, None)
        else:
            keys[key] = value
    return gguf(list(keys.items()), TINY_INFOS, data_bytes=TINY_DATA)


_HUGE = (2**63, 2**63 - 1, 2**64 - 1, 2**64 - 8, 2**32, 2**32 - 1, 2**31, 10**9)


def refused_ggufs() -> Iterator[tuple[str, bytes]]:
    """(what is wrong, the file): each must be a `FormatTrouble`."""
    yield "empty", b""
    for n in (1, 3, 4, 7, 8, 15, 23):
        yield f"cut at {n}", gguf(TINY)[:n]
    yield "magic", gguf(TINY, magic=b"GGML")
    yield "big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    for version in (0, 1, 4, 99, 2**31, 2**32 - 1):
        yield f"version {version}", gguf(TINY, version=version)
    for n in _HUGE:
        yield f"{n} keys", gguf(TINY, n_keys=n)
        yield f"{n} tensors", gguf(TINY, TINY_INFOS, n_tensors=n, data_bytes=TINY_DATA)
        yield f"key of {n}", gguf([], n_keys=1) + struct.pack("<Q", n) + b"x" * 64
        yield f"text of {n}", gguf([("a", struct.pack("<IQ", 8, n) + b"x" * 64)])
        yield f"array of {n} texts", gguf([("a", texts(["x"] * 9, n))])
        yield f"tokens of {n}", gguf([*TINY[:7], ("tokenizer.ggml.tokens", texts(["x"] * 9, n))])
        yield f"array of {n} bytes", gguf([("a", array(0, [b"1"] * 9, n))])
        yield f"array of {n} doubles", gguf([("a", array(12, [b"12345678"] * 9, n))])
        yield f"a token of {n}", gguf([("a", struct.pack("<IIQQ", 9, 8, 2, n) + b"x" * 64)])
        yield f"offset {n}", gguf(TINY, [info("a", (4,), 0, n)], data_bytes=64)
        yield f"dimension {n}", gguf(TINY, [info("a", (n,), 0, 0)], data_bytes=64)
        yield f"dimensions {n} squared", gguf(TINY, [info("a", (n, n), 0, 0)], data_bytes=64)
        yield f"tensor's name of {n}", gguf(TINY, [struct.pack("<Q", n) + b"x" * 64], data_bytes=64)
    nested = struct.pack("<IIQ", 9, 9, 1)
    for depth in (1, 2, 1000, 100_000):
        yield f"arrays {depth} deep", gguf([("a", nested + struct.pack("<IQ", 9, 1) * depth)])
    for kind in (13, 14, 255, 2**32 - 1):
        yield f"value type {kind}", gguf([("a", struct.pack("<IQ", kind, 0))])
        yield f"array of type {kind}", gguf([("a", array(kind, [b"\0" * 8]))])
    for alignment in (0, 1000, 2**21, 2**31, 2**32 - 1, 3, 31):
        yield f"alignment {alignment}", tiny(general__alignment=u32(alignment))
    yield "alignment as text", tiny(general__alignment=text("32"))
    yield "alignment as float", tiny(general__alignment=f32(32.0))
    yield "negative alignment", tiny(general__alignment=i32(-32))
    yield "key twice", gguf([*TINY, TINY[1]], TINY_INFOS, data_bytes=TINY_DATA)
    yield "architecture twice", gguf([*TINY, ("general.architecture", text("qwen2"))])
    yield "empty key", gguf([("", u32(1))])
    yield "long key", gguf([("k" * 65_536, u32(1))])
    yield "tensor twice", gguf(TINY, [info("a", (4,), 0, 0), info("a", (4,), 0, 32)], data_bytes=64)
    yield (
        "tensors over each other",
        gguf(TINY, [info("a", (16,), 0, 0), info("b", (16,), 0, 32)], data_bytes=96),
    )
    yield "tensors in one place", gguf(TINY, [info("a", (16,), 0, 0), info("b", (16,), 0, 0)], data_bytes=96)
    yield "offset not aligned", gguf(TINY, [info("a", (4,), 0, 4)], data_bytes=64)
    yield "tensor beyond the end", gguf(TINY, [info("a", (1024,), 0, 0)], data_bytes=64)
    yield "tensor one byte beyond", gguf(TINY, [info("a", (16,), 0, 0)], data_bytes=64)[:-1]
    yield "no name", gguf(TINY, [info("", (4,), 0, 0)], data_bytes=64)
    yield "long name", gguf(TINY, [info("n" * 300, (4,), 0, 0)], data_bytes=64)
    for n_dims in (5, 64, 2**31, 2**32 - 1):
        broken = string("a") + struct.pack("<I", n_dims) + b"\1" * 64
        yield f"{n_dims} dimensions", gguf(TINY, [broken], data_bytes=64)
    for kind in (4, 5, 31, 32, 33, 36, 37, 38, 42, 100, 2**31, 2**32 - 1):
        yield f"storage {kind}", gguf(TINY, [info("a", (256,), kind, 0)], data_bytes=4096)
    for kind, width in ((2, 31), (8, 33), (12, 128), (14, 255), (39, 16), (40, 32), (23, 32)):
        yield (
            f"rows of {width} in storage {kind}",
            gguf(TINY, [info("a", (width,), kind, 0)], data_bytes=4096),
        )
    yield "dimension 0", gguf(TINY, [info("a", (0,), 0, 0)], data_bytes=64)
    yield "dimension 0 of two", gguf(TINY, [info("a", (4, 0), 0, 0)], data_bytes=64)
    yield "elements that overflow to 0", gguf(TINY, [info("a", (2**32, 2**32), 0, 0)], data_bytes=64)
    yield "many empty texts", gguf([("a", texts([], 12_000_000))]) + b"\0" * (12_000_000 * 8)
    yield "many keys", gguf([(f"k{i}", u8(1)) for i in range(20_000)])
    whole = tiny()
    end = len(whole) - TINY_DATA
    for cut in sorted({*range(24, end, 13)}):
        yield f"cut at {cut}", whole[:cut]
    yield "without weights", whole[:end]
    yield "zip", b"PK\x03\x04" + whole
    yield "pickle", b"\x80\x04\x95" + whole


_KNOWN = (
    "llama.block_count",
    "llama.embedding_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.feed_forward_length",
    "llama.context_length",
    "llama.expert_count",
    "llama.rope.dimension_count",
    "llama.attention.sliding_window",
    "llama.attention.sliding_window_pattern",
    "llama.ssm.conv_kernel",
    "llama.nextn_predict_layers",
    "general.file_type",
    "general.name",
    "general.architecture",
    "tokenizer.chat_template",
    "tokenizer.ggml.model",
    "split.count",
)


def strange_ggufs() -> Iterator[tuple[str, bytes]]:
    """(what is strange, the file): read as unknown, or refused; never a number that is wrong or negative."""
    yield "many long texts", gguf([*TINY, *((f"t{i}", text(b"\xf0\x9f\x98\x80" * 2**18)) for i in range(60))])
    yield "many arrays", gguf([*TINY, *((f"a{i}", array(0, [b"\1" * 4096], 4096)) for i in range(8000))])
    yield "many long keys", gguf([*TINY, *((f"{i:0>250}", u8(1)) for i in range(16_000))])
    names = [info(f"{i:0>120}", (1, 1, 1, 1), 0, 32 * i) for i in range(32_000)]
    yield "many long names", gguf(TINY, names, data_bytes=32 * 32_000)
    for key in _KNOWN:
        name = key.replace(".", "__")
        values = {
            "0": u32(0),
            "2^32-1": u32(2**32 - 1),
            "2^64-1": u64(2**64 - 1),
            "-1": i32(-1),
            "a text": text("x"),
            "a float": f32(float("nan")),
            "true": boolean(True),
            "an array": ints(1),
            "a negative array": ints(-5, -5),
            "an empty array": ints(),
            "texts": texts(["a", "b"]),
            "not UTF-8": text(b"\xff\xfe\x00\x80"),
        }
        for what, value in values.items():
            yield f"{key} is {what}", tiny(**{name: value})
        yield f"no {key}", tiny(**{name: None})


# --- safetensors ---


def entry(kind: str, shape: Sequence[int], begin: int, end: int) -> str:
    return json.dumps({"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]})


def safetensors(header: str | bytes, data_bytes: int = 0, length: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + b"\0" * data_bytes


def refused_safetensors() -> Iterator[tuple[str, bytes]]:
    good = entry("F32", (2, 2), 0, 16)
    yield "empty", b""
    yield "seven bytes", b"\0" * 7
    for n in (*_HUGE, 25_000_001, 10**6):
        yield f"header of {n}", safetensors('{"a":' + good + "}", 16, length=n)
    for cut in range(8, 60, 4):
        yield f"cut at {cut}", safetensors('{"a":' + good + "}", 16)[:cut]
    yield "name twice", safetensors('{"a":' + good + ',"a":' + good + "}", 16)
    yield "metadata twice", safetensors('{"__metadata__":{},"__metadata__":{},"a":' + good + "}", 16)
    yield (
        "a field twice",
        safetensors('{"a":{"dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]}}', 16),
    )
    yield "a hole", safetensors('{"a":' + good + ',"b":' + entry("F32", (1,), 20, 24) + "}", 24)
    yield "an overlap", safetensors('{"a":' + good + ',"b":' + entry("F32", (1,), 12, 16) + "}", 16)
    yield "starts late", safetensors('{"a":' + entry("F32", (1,), 4, 8) + "}", 8)
    yield "bytes left over", safetensors('{"a":' + good + "}", 17)
    yield "bytes missing", safetensors('{"a":' + good + "}", 15)
    yield "beyond the file", safetensors('{"a":' + entry("F32", (2**40,), 0, 2**42) + "}", 16)
    yield "shape and bytes", safetensors('{"a":' + entry("F32", (3,), 0, 16) + "}", 16)
    yield "shape that overflows", safetensors('{"a":' + entry("F32", (2**62, 4), 0, 16) + "}", 16)
    yield "backwards", safetensors('{"a":' + entry("F32", (0,), 16, 0) + "}", 16)
    yield "negative shape", safetensors('{"a":' + entry("F32", (-2, -2), 0, 16) + "}", 16)
    yield "negative offset", safetensors('{"a":' + entry("F32", (4,), -16, 0) + "}", 16)
    yield "shape of floats", safetensors('{"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}}', 16)
    yield "shape of true", safetensors('{"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}', 1)
    yield "unknown type", safetensors('{"a":' + entry("Q9", (4,), 0, 16) + "}", 16)
    yield "type is a number", safetensors('{"a":{"dtype":4,"shape":[4],"data_offsets":[0,16]}}', 16)
    yield "type is a list", safetensors('{"a":{"dtype":[],"shape":[4],"data_offsets":[0,16]}}', 16)
    yield "three offsets", safetensors('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8,16]}}', 16)
    yield "no shape", safetensors('{"a":{"dtype":"F32","data_offsets":[0,16]}}', 16)
    yield "shape is a text", safetensors('{"a":{"dtype":"F32","shape":"4","data_offsets":[0,16]}}', 16)
    yield "entry is a number", safetensors('{"a":4}', 16)
    yield "a list", safetensors("[" + good + "]", 16)
    yield "not JSON", safetensors("{" + "x" * 40 + "}", 16)
    yield "space first", safetensors(' {"a":' + good + "}", 16)
    yield "two objects", safetensors('{"a":' + good + '}{"b":' + good + "}", 16)
    yield "deep lists", safetensors('{"a":{"dtype":"F32","shape":' + "[" * 3000 + "]" * 3000 + "}}", 16)
    yield "very deep lists", safetensors('{"a":{"shape":' + "[" * 5_000_000 + "}}", 16)
    yield "deep objects", safetensors('{"a":' * 5_000_000, 16)
    yield "an endless name", safetensors('{"' + "a" * 20_000_000, 16)
    yield "an endless escaped name", safetensors('{"' + "\\\\" * 10_000_000, 16)
    yield "an endless escaped text", safetensors('{"a":{"dtype":"' + "\\n" * 10_000_000, 16)
    yield "endless spaces", safetensors("{" + " " * 20_000_000, 16)
    yield (
        "a long number",
        safetensors('{"a":{"dtype":"F32","shape":[' + "9" * 4000 + '],"data_offsets":[0,16]}}', 16),
    )
    yield "a longer number", safetensors('{"a":{"shape":[' + "9" * 20_000_000 + "]}}", 16)
    yield "infinity", safetensors('{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,16]}}', 16)
    yield "not UTF-8", safetensors(b'{"\xff\xfe":' + good.encode() + b"}", 16)
    yield "many dimensions", safetensors('{"a":' + entry("U8", (1,) * 100, 0, 1) + "}", 1)
    many = ",".join(f'"{i}":' + entry("U8", (0,), 0, 0) for i in range(300_000))
    yield "many tensors", safetensors("{" + many + "}", 0)
    long = ",".join(f'"{i:0>330}":' + entry("U8", (0,), 0, 0) for i in range(62_000))
    yield "as much as is read", safetensors("{" + long + "}", 0)
    yield "zip", b"PK\x03\x04" + safetensors('{"a":' + good + "}", 16)
    yield "pickle", b"\x80\x02" + safetensors('{"a":' + good + "}", 16)
