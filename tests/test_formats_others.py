"""Safetensors, ONNX, MLC, diffusers and Whisper: what their headers say, and that a header that lies is told
so."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile import formats
from domicile.errors import FormatTrouble, Malformed, RunsCode, UnknownFormat
from domicile.types import Facts, Layer
from tests.fakes import hostile
from tests.fakes.bounds import bounded
from tests.fakes.hostile import entry
from tests.fakes.ranges import Held, served

Files = Mapping[str, bytes]


def look(files: Files, badge: bool = False) -> Facts:
    return anyio.run(lambda: formats.read({n: Held(d) for n, d in files.items()}, badge=badge))


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


# --- safetensors ---

LIES = list(hostile.refused_safetensors())

QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 8,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "sliding_window": 1024,
    "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}
FULL = Layer("attention", 4, 2, 16, 16, n_ff=128)


def weights(tensors: Mapping[str, tuple[str, tuple[int, ...], int]], metadata: str = "") -> bytes:
    at, parts = 0, [f'"__metadata__":{metadata}'] if metadata else []
    for name, (kind, shape, size) in tensors.items():
        parts.append(json.dumps(name) + ":" + entry(kind, shape, at, at + size))
        at += size
    return hostile.safetensors("{" + ",".join(parts) + "}   ", at)


SMALL = weights({"model.embed_tokens.weight": ("BF16", (8, 64), 1024), "model.norm.weight": ("F32", (64,), 256)})


@pytest.mark.parametrize("data", [d for _, d in LIES], ids=[n for n, _ in LIES])
def test_a_header_that_lies_is_refused(data: bytes) -> None:
    assert isinstance(bounded(lambda: look({"model.safetensors": data})), FormatTrouble)


def test_a_folder_of_transformers() -> None:
    files = {
        "model.safetensors": SMALL,
        "config.json": as_json(QWEN),
        "tokenizer_config.json": as_json({"tokenizer_class": "Qwen2Tokenizer", "chat_template": "{{ m }}"}),
    }
    facts = look(files)
    assert (facts.format, facts.architecture, facts.task) == ("safetensors", "qwen2", "text-generation")
    assert (facts.weights_bytes, facts.parameters, facts.quantisation) == (1280, 8 * 64 + 64, "BF16")
    assert facts.layers == (FULL, FULL)
    assert (facts.tokenizer, facts.chat_template) == ("Qwen2Tokenizer", "{{ m }}")
    assert (facts.token_embedding_bytes, facts.tied_embeddings) == (1024, True)
    assert facts.tensors[0].dims == (64, 8)
    assert facts.exact
    badge = look(files, badge=True)
    assert badge.layers == facts.layers
    assert (badge.exact, badge.bytes_read) == (False, len(files["config.json"]))


def test_a_large_metadata_is_passed_over() -> None:
    metadata = json.dumps({"notes": 'x"{}\\' * 100_000, "format": "pt"})
    facts = bounded(lambda: look({"a.safetensors": weights({"a": ("U8", (3,), 3)}, metadata)}))
    assert isinstance(facts, Facts)
    assert facts.weights_bytes == 3


def test_shards_and_their_index() -> None:
    files = {
        "model-00001-of-00002.safetensors": weights({"a.weight": ("F16", (4,), 8)}),
        "model-00002-of-00002.safetensors": weights({"lm_head.weight": ("F16", (4,), 8)}),
        "model.safetensors.index.json": as_json(
            {"metadata": {"total_size": 16}, "weight_map": {"a.weight": "model-00001-of-00002.safetensors"}}
        ),
    }
    facts = look(files)
    assert (facts.weights_bytes, facts.n_tensors, facts.output_bytes) == (16, 2, 8)
    for name in ("model-00003-of-00002.safetensors", "../elsewhere.safetensors", "/etc/passwd"):
        index = as_json({"weight_map": {"a.weight": name}})
        with pytest.raises(Malformed):
            look({**files, "model.safetensors.index.json": index})
    endless = b'{"weight_map":{' + b'"a":"b",' * 600_000 + b'"c":"d"'
    assert isinstance(bounded(lambda: look({**files, "model.safetensors.index.json": endless})), Malformed)
    with pytest.raises(Malformed, match="two shards"):
        look({"a.safetensors": files["model-00001-of-00002.safetensors"]} | files)


def config(**changes: object) -> dict[str, object]:
    return {**QWEN, "use_sliding_window": None, "sliding_window": None, **changes}


CONFIGS: dict[str, tuple[dict[str, object], tuple[Layer, ...]]] = {
    "mistral": (
        config(model_type="mistral", sliding_window=4096),
        (Layer("attention", 4, 2, 16, 16, 4096, n_ff=128),) * 2,
    ),
    "gemma2": (
        config(model_type="gemma2", sliding_window=4096, head_dim=32),
        (Layer("attention", 4, 2, 32, 32, 4096, n_ff=128), Layer("attention", 4, 2, 32, 32, n_ff=128)),
    ),
    "gemma3": (
        {
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            "vision_config": {"hidden_size": 1},
            "text_config": config(model_type="gemma3_text", sliding_window=512, sliding_window_pattern=2),
        },
        (Layer("attention", 4, 2, 16, 16, 512, n_ff=128), FULL),
    ),
    "gpt-oss": (
        config(layer_types=["sliding_attention", "full_attention"], sliding_window=128),
        (Layer("attention", 4, 2, 16, 16, 128, n_ff=128), FULL),
    ),
    "deepseek": (
        config(model_type="deepseek_v3", kv_lora_rank=512, qk_rope_head_dim=64),
        (Layer("attention", 4, 1, 576, 0, n_ff=128),) * 2,
    ),
    "qwen3-next": (
        config(
            layer_types=["linear_attention", "full_attention"],
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_num_value_heads=4,
            linear_value_head_dim=8,
            linear_conv_kernel_dim=4,
        ),
        (Layer("recurrent", state_bytes=4 * (3 * (32 + 32) + 4 * 64), n_ff=128), FULL),
    ),
    "lfm2": (
        config(layer_types=["conv", "full_attention"], conv_L_cache=3),
        (Layer("recurrent", state_bytes=4 * 64 * 2, n_ff=128), FULL),
    ),
    "nemotron-h": (
        config(
            hybrid_override_pattern="M*",
            conv_kernel=4,
            ssm_state_size=16,
            mamba_num_heads=4,
            mamba_head_dim=32,
            n_groups=1,
        ),
        (Layer("recurrent", state_bytes=4 * (3 * (128 + 32) + 128 * 16), n_ff=128), FULL),
    ),
    "a word not known": (config(layer_types=["telepathy", "full_attention"]), ()),
    "heads 0": (config(num_attention_heads=0), ()),
    "too many layers": (config(num_hidden_layers=2**32 - 1), ()),
    "a text": (config(num_hidden_layers="2"), ()),
    "negative": (config(hidden_size=-64), ()),
    "rwkv": (config(model_type="rwkv7"), ()),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_each_layer_of_a_configuration(name: str) -> None:
    given_, expected = CONFIGS[name]
    facts = look({"model.safetensors": SMALL, "config.json": as_json(given_)})
    assert facts.layers == expected


def test_a_mixture_and_packed_weights() -> None:
    tensors = {
        "model.layers.0.mlp.experts.0.up_proj.weight": ("F16", (10,), 20),
        "model.layers.0.mlp.experts.1.up_proj.weight": ("F16", (10,), 20),
        "model.norm.weight": ("F16", (4,), 8),
    }
    mixture = config(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=10)
    facts = look({"model.safetensors": weights(tensors), "config.json": as_json(mixture)})
    assert (facts.parameters, facts.active_parameters, facts.n_ff_expert) == (24, 14, 10)
    packed = config(quantization_config={"quant_method": "awq"})
    facts = look({"model.safetensors": weights({"a.qweight": ("I32", (2,), 8)}), "config.json": as_json(packed)})
    assert (facts.parameters, facts.quantisation) == (None, "awq")


BAD_JSON = {
    "nested lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "cut": b'{"a":',
    "a list": b"[]",
    "a long number": b'{"a":' + b"9" * 5000 + b"}",
    "NaN": b'{"a":NaN}',
    "not UTF-8": b'{"a":"\xff"}',
    "many values": b'{"a":[' + b"0," * 500_000 + b"0]}",
    "too large": b'{"a":"' + b"x" * 2**22 + b'"}',
    "wide characters": b'{"a":"' + "\U0001f600".encode() * (2**20 - 10) + b'", "b":}',
    "many objects": b'{"a":[' + b'{"a":1},' * 500_000 + b"0]}",
    "many allowed objects": b'{"a":[' + b'{"b":1},' * 99_000 + b'0],"c":}',
    "empty": b"",
    "two": b"{}{}",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_bad_document_is_told(name: str) -> None:
    answer = bounded(lambda: look({"model.safetensors": SMALL, "config.json": BAD_JSON[name]}))
    assert isinstance(answer, Malformed)
    assert answer.facts["file"] == "config.json"


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_change_of_bytes_escapes_the_errors(data: st.DataObject) -> None:
    raw = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1300))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    try:
        facts = look({"model.safetensors": bytes(raw), "config.json": as_json(QWEN)})
    except FormatTrouble:
        return
    assert 0 <= (facts.weights_bytes or 0) <= len(raw)


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.text(max_size=4), st.floats(allow_nan=False))


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from([*QWEN, "kv_lora_rank", "layer_types", "head_dim", "num_experts"]), _VALUES))
def test_no_configuration_escapes_the_errors(changes: dict[str, object]) -> None:
    try:
        facts = look({"model.safetensors": SMALL, "config.json": as_json({**QWEN, **changes})})
    except FormatTrouble:
        return
    assert all(0 <= layer.head_dim_k <= 2**21 for layer in facts.layers)


# --- code ---


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt", "a.pkl", "a.h5", "a.joblib"])
def test_code_by_name_is_never_opened(name: str) -> None:
    class Closed:
        size_bytes = 100

        async def read(self, offset: int, length: int) -> bytes:
            return b"\0" * length

    with pytest.raises(RunsCode):
        anyio.run(formats.read, {name: Closed(), "config.json": Closed()})
    with pytest.raises(RunsCode):
        anyio.run(formats.read, {name: Closed()})


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x80\x02", b"\x80\x05", b"\x89HDF\r\n\x1a\n"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.gguf", "a.onnx", "ggml-a.bin", "blob"])
def test_code_by_magic_is_refused_under_any_name(name: str, magic: bytes) -> None:
    with pytest.raises(RunsCode):
        look({name: magic + b"\0" * 200})


def test_what_nobody_knows_is_told() -> None:
    for files in ({"a.txt": b"hello"}, {"a.txt": b"", "b.txt": b""}, {"blob": b""}):
        with pytest.raises(UnknownFormat):
            look(files)


def test_a_safetensors_without_a_name_is_known() -> None:
    assert look({"blob": SMALL}).weights_bytes == 1280


# --- ONNX ---


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def stored(name: str, dims: tuple[int, ...], kind: int, raw: bytes = b"", **outside: str) -> bytes:
    body = b"".join(field(1, d) for d in dims) + field(2, kind) + field(8, name.encode())
    if raw:
        body += field(9, raw)
    for key, value in outside.items():
        body += field(13, field(1, key.encode()) + field(2, value.encode()))
    return body + (field(14, 1) if outside else b"")


def onnx(*tensors: bytes, domain: str = "", node: bytes = b"") -> bytes:
    graph = b"".join(field(5, t) for t in tensors) + (field(1, node) if node else b"")
    opset = (field(1, domain.encode()) if domain else b"") + field(2, 21)
    extra = field(8, field(2, 21)) if domain else b""
    return field(1, 10) + field(2, b"tests") + field(7, graph) + field(8, opset) + extra


def test_an_onnx_model_with_weights_inside_and_beside() -> None:
    model = onnx(
        stored("inside", (2, 3), 1, b"\0" * 24),
        stored("beside", (4, 4), 10, location="model.onnx_data", offset="64", length="32"),
    )
    genai = {
        "model": {
            "type": "qwen2",
            "context_length": 4096,
            "vocab_size": 99,
            "decoder": {
                "head_size": 16,
                "hidden_size": 64,
                "num_attention_heads": 4,
                "num_hidden_layers": 2,
                "num_key_value_heads": 2,
            },
        }
    }
    files = {"model.onnx": model, "model.onnx_data": b"\0" * 96, "genai_config.json": as_json(genai)}
    facts = look(files)
    assert (facts.format, facts.architecture, facts.task) == ("onnx", "qwen2", "text-generation")
    assert (facts.weights_bytes, facts.n_tensors, facts.quantisation) == (56, 2, "F16")
    assert facts.layers == (Layer("attention", 4, 2, 16, 16),) * 2
    assert (facts.context_length, facts.n_vocab, facts.extra["opset"]) == (4096, 99, 21)
    assert look(files, badge=True).weights_bytes == len(model) + 96


@pytest.mark.parametrize(
    "place",
    [
        {"location": "../secret"},
        {"location": "/etc/passwd"},
        {"location": "..\\secret"},
        {"location": "a/../../secret"},
        {"location": "absent.data"},
        {"location": ""},
        {"location": "w.data", "offset": "80", "length": "32"},
        {"location": "w.data", "offset": "-1", "length": "32"},
        {"location": "w.data", "offset": "9" * 40},
        {"location": "w.data", "length": "31"},
        {"location": "w.data", "offset": "٣"},
    ],
)
@pytest.mark.parametrize("where", ["graph", "node", "subgraph"])
def test_weights_outside_the_folder_are_refused(place: dict[str, str], where: str) -> None:
    tensor = stored("t", (4, 4), 10, b"", **place)
    if where == "graph":
        model = onnx(tensor)
    elif where == "node":
        model = onnx(node=field(5, field(5, tensor)))
    else:
        model = onnx(node=field(5, field(6, field(5, tensor))))
    with pytest.raises(Malformed):
        look({"m.onnx": model, "w.data": b"\0" * 96})


def test_operators_of_a_library_are_refused() -> None:
    with pytest.raises(RunsCode):
        look({"m.onnx": onnx(domain="evil.ops")})
    assert look({"m.onnx": onnx(domain="com.microsoft")}).weights_bytes == 0


def _deep(levels: int) -> bytes:
    inside = stored("t", (1,), 1, b"\0" * 4)
    graph = field(5, inside)
    for _ in range(levels):
        graph = field(1, field(5, field(6, graph)))
    return field(1, 10) + field(8, field(2, 21)) + field(7, graph)


BAD_ONNX = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "text": b"hello, this is not a model" * 9,
    "deep": _deep(200),
    "cut": onnx(stored("a", (2, 3), 1, b"\0" * 24))[:-9],
    "no opset": field(1, 10) + field(7, b"") + b"\0" * 0,
    "long varint": b"\xff" * 64,
    "length 2^63": field(1, 10) + varint(7 << 3 | 2) + varint(2**63) + b"x" * 20,
    "inner longer than outer": field(1, 10)
    + varint(7 << 3 | 2)
    + varint(4)
    + varint(5 << 3 | 2)
    + varint(90)
    + b"x" * 99,
    "group": field(1, 10) + bytes([7 << 3 | 3]) + b"x" * 20,
    "no bytes": onnx(stored("a", (2, 3), 1)),
    "huge": onnx(stored("a", (2**40, 2**40), 1, b"\0" * 4)),
    "type 99": onnx(stored("a", (1,), 99, b"\0" * 4)),
    "many dims": onnx(stored("a", (1,) * 100, 1, b"\0" * 4)),
    "many tensors": field(1, 10) + field(8, field(2, 21)) + field(7, field(5, b"") * 200_000),
    "many fields": field(1, 10) + field(8, field(2, 21)) + field(3, b"") * 2_000_000,
    "long name": onnx(stored("a" * 10_000, (1,), 1, b"\0" * 4)),
}


@pytest.mark.parametrize("name", BAD_ONNX)
def test_a_bad_onnx_is_told(name: str) -> None:
    assert isinstance(bounded(lambda: look({"m.onnx": BAD_ONNX[name]})), FormatTrouble)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_no_onnx_escapes_the_errors(data: st.DataObject) -> None:
    raw = bytearray(onnx(stored("a", (2, 3), 1, b"\0" * 24), stored("b", (4,), 1, location="w.data")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with suppress(FormatTrouble):
        look({"m.onnx": bytes(raw), "w.data": b"\0" * 16})


# --- MLC ---

MLC = {
    "model_type": "llama",
    "quantization": "q4f16_1",
    "context_window_size": 4096,
    "prefill_chunk_size": 1024,
    "vocab_size": 8,
    "model_config": {k: v for k, v in QWEN.items() if k not in {"sliding_window", "model_type"}},
}


def mlc(*records: object) -> dict[str, bytes]:
    cache = {"metadata": {"ParamSize": 3, "ParamBytes": 30.0}, "records": list(records)}
    return {
        "mlc-chat-config.json": as_json(MLC),
        "ndarray-cache.json": as_json(cache),
        "params_shard_0.bin": b"\0" * 20,
        "params_shard_1.bin": b"\0" * 10,
    }


def test_an_mlc_folder() -> None:
    files = mlc({"dataPath": "params_shard_0.bin", "nbytes": 20}, {"dataPath": "params_shard_1.bin", "nbytes": 10})
    facts = look(files)
    assert (facts.format, facts.architecture, facts.quantisation) == ("mlc", "llama", "q4f16_1")
    assert (facts.weights_bytes, facts.context_length, facts.extra["prefill_chunk_size"]) == (30, 4096, 1024)
    assert facts.layers == (FULL, FULL)
    badge = look(files, badge=True)
    assert (badge.weights_bytes, badge.layers) == (30, facts.layers)
    assert badge.bytes_read == len(files["mlc-chat-config.json"])


@pytest.mark.parametrize(
    "record",
    [
        {"dataPath": "../x", "nbytes": 20},
        {"dataPath": "params_shard_0.bin", "nbytes": 21},
        {"dataPath": "params_shard_0.bin", "nbytes": -1},
        {"dataPath": "params_shard_0.bin"},
        {"nbytes": 20},
        "params_shard_0.bin",
        None,
    ],
)
def test_an_mlc_list_that_lies_is_refused(record: object) -> None:
    with pytest.raises(Malformed):
        look(mlc(record))


# --- diffusers ---

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "safety_checker": [None, None],
}


def pictures(index: object = INDEX) -> dict[str, bytes]:
    one = weights({"w": ("F32", (4,), 16)})
    half = weights({"w": ("F16", (4,), 8)})
    return {
        "model_index.json": as_json(index),
        "text_encoder/model.safetensors": one,
        "text_encoder/model.fp16.safetensors": half,
        "unet/diffusion_pytorch_model.safetensors": one,
        "vae/diffusion_pytorch_model.fp16.safetensors": half,
    }


def test_a_diffusers_folder() -> None:
    facts = look(pictures())
    assert (facts.format, facts.architecture, facts.task) == (
        "diffusers",
        "StableDiffusionPipeline",
        "text-to-image",
    )
    assert facts.weights_bytes == 16 + 16 + 8
    assert facts.extra == {"component.text_encoder": 16, "component.unet": 16, "component.vae": 8}
    assert facts.quantisation == "F32"
    badge = look(pictures(), badge=True)
    assert badge.bytes_read == len(as_json(INDEX))
    assert not badge.exact


def test_a_pipeline_of_its_own_code_is_refused() -> None:
    for library in ("my_pipeline", "os", "builtins", 7):
        with pytest.raises(RunsCode):
            look(pictures({**INDEX, "unet": [library, "Net"]}))
    with pytest.raises(Malformed):
        look(pictures({**INDEX, "../vae": ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(UnknownFormat):
        look(pictures({**INDEX, "image_encoder": ["transformers", "CLIPVisionModel"]}))


# --- Whisper ---


def test_a_whisper_of_transformers() -> None:
    said = {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "d_model": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "encoder_layers": 3,
        "decoder_ffn_dim": 256,
        "vocab_size": 8,
        "max_target_positions": 448,
        "num_mel_bins": 80,
    }
    facts = look({"model.safetensors": SMALL, "config.json": as_json(said)})
    assert (facts.format, facts.task) == ("whisper", "automatic-speech-recognition")
    assert (facts.n_embd, facts.n_ff, facts.context_length) == (64, 256, 448)
    assert facts.layers == (Layer("attention", 4, 4, 16, 16, n_ff=256),) * 2
    assert facts.extra["encoder_layers"] == 3


def ct2(spec: str = "WhisperSpec", version: int = 6, size: int | None = None) -> bytes:
    def named(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    dims = (8, 64)
    data = 8 * 64 * 2
    head = struct.pack("<I", version) + named(spec) + struct.pack("<II", 3, 1)
    head += named("decoder/embeddings/weight") + struct.pack("<B2IBI", 2, *dims, 4, data if size is None else size)
    return head + b"\0" * data


def test_a_whisper_of_ctranslate2() -> None:
    facts = look({"model.bin": ct2(), "vocabulary.json": b"[]", "config.json": b"{}"})
    assert (facts.format, facts.extra["container"], facts.quantisation) == ("whisper", "ctranslate2", "F16")
    assert (facts.n_vocab, facts.n_embd, facts.n_tensors) == (8, 64, 1)


@pytest.mark.parametrize(
    "data",
    [
        ct2("TransformerSpec"),
        ct2(version=0),
        ct2(size=7),
        ct2(size=2**32 - 1),
        ct2()[:30],
        b"",
        b"PK\x03\x04",
    ],
)
def test_another_model_bin_is_refused(data: bytes) -> None:
    with pytest.raises(FormatTrouble):
        look({"model.bin": data, "vocabulary.json": b"[]"})


def ggml(*values: int) -> bytes:
    return b"lmgg" + struct.pack("<11i", *values) + b"\0" * 100


def test_a_whisper_of_whisper_cpp() -> None:
    data = ggml(51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    for name in ("ggml-tiny.bin", "blob"):
        facts = look({name: data})
        assert (facts.format, facts.quantisation, facts.n_vocab) == ("whisper", "F16", 51864)
        assert facts.layers == (Layer("attention", 6, 6, 64, 64, n_ff=1536),) * 4
    for bad in (ggml(*[0] * 11), ggml(*[-1] * 11), ggml(*[2**31 - 1] * 11), data[:20]):
        with pytest.raises(FormatTrouble):
            look({"ggml-tiny.bin": bad})


# --- from afar ---

AFAR: dict[str, tuple[dict[str, bytes], int, int]] = {
    "safetensors": ({"model.safetensors": SMALL, "config.json": as_json(QWEN)}, 1, 2),
    "mlc": (mlc({"dataPath": "params_shard_0.bin", "nbytes": 20}), 1, 2),
    "diffusers": (pictures(), 1, 4),
    "onnx": ({"m.onnx": onnx(stored("a", (2, 3), 1, b"\0" * 24)), "config.json": as_json(QWEN)}, 1, 2),
    "whisper": ({"model.bin": ct2(), "vocabulary.json": b"[]"}, 1, 1),
}


@pytest.mark.parametrize("family", AFAR)
def test_near_and_far_say_the_same_and_what_it_cost(family: str, tmp_path: Path) -> None:
    files, for_a_badge, for_all = AFAR[family]
    holes = {n: d + b"\0" * 10**6 if n == "model.bin" else d for n, d in files.items()}

    async def go() -> None:
        here = {}
        for name, data in holes.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            here[name] = formats.LocalBytes(path)
        async with served(holes) as client:
            for badge, requests in ((True, for_a_badge), (False, for_all)):
                far = {n: formats.RangedBytes(client, f"/{n}", len(d)) for n, d in holes.items()}
                there = await formats.read(far, badge=badge)
                assert there == await formats.read(here, badge=badge)
                assert there.bytes_read == sum(f.bytes_fetched for f in far.values()) <= 66_000
                assert sum(f.requests for f in far.values()) == requests

    anyio.run(go)
