"""A tiny Whisper as onnx-community publishes them for transformers.js: an encoder, a decoder with its cache, and the
words around them. Its weights are random; it is only led to say a few words between two timestamps, so that there is
something to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.fakes import whisper

START, END, LANGUAGES = 50258, 50257, 50259
TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS = 50359, 50358, 50363
SAYS = (256, 257, 258)
SPEAKS_FOR = 12
"""Positions of words; then a timestamp of two seconds, and the end."""


class Graph:
    """Nodes and constants that are put down one after the other."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.held: dict[str, Any] = {}

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> str:
        self.held.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(f"i{values}", values, np.int64)

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [out or f"n{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])

    def linear(self, x: str, name: str) -> str:
        made = self.op("MatMul", x, self.constant(f"{name}.w", self.weights[f"{name}.weight"].T))
        bias = self.weights.get(f"{name}.bias")
        return made if bias is None else self.op("Add", made, self.constant(f"{name}.b", bias))

    def norm(self, x: str, name: str) -> str:
        scale, bias = (self.constant(f"{name}.{end}", self.weights[f"{name}.{end}"]) for end in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)

    def heads(self, x: str, heads: int, width: int) -> str:
        return self.op("Transpose", self.op("Reshape", x, self.ints(0, -1, heads, width // heads)), perm=[0, 2, 1, 3])

    def attend(self, q: str, k: str, v: str, width: int, heads: int, mask: str | None = None) -> str:
        scale = self.constant("scale", (width // heads) ** -0.5)
        scores = self.op("MatMul", self.op("Mul", q, scale), self.op("Transpose", k, perm=[0, 1, 3, 2]))
        shares = self.op("Softmax", scores if mask is None else self.op("Add", scores, mask), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", shares, v), perm=[0, 2, 1, 3])
        return self.op("Reshape", mixed, self.ints(0, -1, width))

    def feed(self, x: str, at: str) -> str:
        inner = self.op("Gelu", self.linear(self.norm(x, f"{at}.final_layer_norm"), f"{at}.fc1"))
        return self.op("Add", x, self.linear(inner, f"{at}.fc2"))

    def save(self, path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        def named(told: dict[str, Any]) -> list[Any]:
            return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in told.items()]

        graph = helper.make_graph(self.nodes, "whisper", named(inputs), named(outputs), list(self.held.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        path.write_bytes(model.SerializeToString())


def folder(place: Path) -> Path:
    """The whole of a repository."""
    from safetensors.numpy import load_file

    source = whisper.transformers(place / "source")
    config = json.loads((source / "config.json").read_text())
    weights = {k.removeprefix("model."): v for k, v in load_file(source / "model.safetensors").items()}
    made = place / "onnx-whisper"
    (made / "onnx").mkdir(parents=True)
    _encoder(weights, config, made / "onnx" / "encoder_model.onnx")
    _decoder(weights, config, made / "onnx" / "decoder_model_merged.onnx")
    _words(source, made, config)
    return made


def _encoder(weights: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    g, width, heads = Graph(weights), config["d_model"], config["encoder_attention_heads"]
    x = "input_features"
    for number, stride in ((1, 1), (2, 2)):
        kernel, bias = (
            g.constant(f"conv{number}.{e}", weights[f"encoder.conv{number}.{e}"]) for e in ("weight", "bias")
        )
        x = g.op("Gelu", g.op("Conv", x, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride]))
    x = g.op("Transpose", x, perm=[0, 2, 1])
    x = g.op("Add", x, g.constant("positions", weights["encoder.embed_positions.weight"]))
    for layer in range(config["encoder_layers"]):
        at = f"encoder.layers.{layer}"
        own = g.norm(x, f"{at}.self_attn_layer_norm")
        q, k, v = (g.heads(g.linear(own, f"{at}.self_attn.{p}_proj"), heads, width) for p in "qkv")
        x = g.op("Add", x, g.linear(g.attend(q, k, v, width, heads), f"{at}.self_attn.out_proj"))
        x = g.feed(x, at)
    g.op("Identity", g.norm(x, "encoder.layer_norm"), out="last_hidden_state")
    sound = (TensorProto.FLOAT, ["batch_size", 80, 3000])
    g.save(path, {"input_features": sound}, {"last_hidden_state": (TensorProto.FLOAT, ["batch_size", 1500, width])})


def _decoder(weights: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    g, width, heads = Graph(weights), config["d_model"], config["decoder_attention_heads"]
    layers = range(config["decoder_layers"])
    cache = ["batch_size", heads, "past_decoder_sequence_length", width // heads]
    inputs: dict[str, Any] = {
        "input_ids": (TensorProto.INT64, ["batch_size", "decoder_sequence_length"]),
        "encoder_hidden_states": (TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", width]),
    }
    outputs: dict[str, Any] = {
        "logits": (TensorProto.FLOAT, ["batch_size", "decoder_sequence_length", config["vocab_size"]])
    }
    one = g.ints(1)
    past = g.op("Slice", g.op("Shape", "past_key_values.0.decoder.key"), g.ints(2), g.ints(3))
    every = g.op("Add", past, g.op("Slice", g.op("Shape", "input_ids"), one, g.ints(2)))
    first, last = (g.op("Reshape", n, g.constant("scalar", np.zeros(0), np.int64)) for n in (past, every))
    zero, step = g.constant("zero", 0, np.int64), g.constant("step", 1, np.int64)
    at_now, at_all = g.op("Range", first, last, step), g.op("Range", zero, last, step)
    later = g.op("Less", g.op("Unsqueeze", at_now, one), g.op("Unsqueeze", at_all, g.ints(0)))
    mask = g.op("Mul", g.op("Cast", later, to=TensorProto.FLOAT), g.constant("low", -1e9))
    words = g.constant("words", weights["decoder.embed_tokens.weight"])
    positions = g.constant("positions", weights["decoder.embed_positions.weight"])
    x = g.op("Add", g.op("Gather", words, "input_ids"), g.op("Gather", positions, at_now))
    for layer in layers:
        at = f"decoder.layers.{layer}"
        own = g.norm(x, f"{at}.self_attn_layer_norm")
        q, k, v = (g.heads(g.linear(own, f"{at}.self_attn.{p}_proj"), heads, width) for p in "qkv")
        held = []
        for part, name in ((k, "key"), (v, "value")):
            inputs[f"past_key_values.{layer}.decoder.{name}"] = (TensorProto.FLOAT, cache)
            outputs[f"present.{layer}.decoder.{name}"] = (TensorProto.FLOAT, [*cache[:2], "all", cache[3]])
            before = f"past_key_values.{layer}.decoder.{name}"
            held.append(g.op("Concat", before, part, axis=2, out=f"present.{layer}.decoder.{name}"))
        mixed = g.attend(q, held[0], held[1], width, heads, mask)
        x = g.op("Add", x, g.linear(mixed, f"{at}.self_attn.out_proj"))
        own = g.norm(x, f"{at}.encoder_attn_layer_norm")
        q = g.heads(g.linear(own, f"{at}.encoder_attn.q_proj"), heads, width)
        k, v = (g.heads(g.linear("encoder_hidden_states", f"{at}.encoder_attn.{p}_proj"), heads, width) for p in "kv")
        x = g.op("Add", x, g.linear(g.attend(q, k, v, width, heads), f"{at}.encoder_attn.out_proj"))
        x = g.feed(x, at)
    table = g.constant("words.T", weights["decoder.embed_tokens.weight"].T)
    logits = g.op("MatMul", g.norm(x, "decoder.layer_norm"), table)
    led = np.zeros((4, config["vocab_size"]), np.float32)  # at the beginning, while it speaks, after that, at the end
    led[0, NO_TIMESTAMPS + 1], led[1, list(SAYS)], led[2, NO_TIMESTAMPS + 101], led[3, END] = 500, 500, 900, 900
    begun = g.op("Min", g.op("Max", g.op("Sub", at_now, g.constant("told", 2, np.int64)), zero), step)
    over = g.op("Max", g.op("Sub", at_now, g.constant("speaks", SPEAKS_FOR - 1, np.int64)), zero)
    turn = g.op("Add", begun, g.op("Min", over, g.constant("two", 2, np.int64)))
    g.op("Add", logits, g.op("Gather", g.constant("led", led), turn), out="logits")
    g.save(path, inputs, outputs)


def _words(source: Path, made: Path, config: dict[str, Any]) -> None:
    """The small files, as a browser's library reads them."""
    languages = {"<|en|>": LANGUAGES, "<|fr|>": LANGUAGES + 6}
    generation = {
        "decoder_start_token_id": START,
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": END,
        "is_multilingual": True,
        "lang_to_id": languages,
        "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
        "no_timestamps_token_id": NO_TIMESTAMPS,
        "max_initial_timestamp_index": 0,
        "max_length": 40,
        "return_timestamps": False,
        "begin_suppress_tokens": [220, END],
        "suppress_tokens": [],
    }
    sound = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "chunk_length": 30,
        "feature_size": 80,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_value": 0.0,
        "sampling_rate": 16_000,
    }
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, "clean_up_tokenization_spaces": True}
    whole = {
        **config,
        "decoder_start_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
        "is_encoder_decoder": True,
    }
    for name, said in (
        ("config.json", whole),
        ("generation_config.json", generation),
        ("preprocessor_config.json", sound),
        ("tokenizer_config.json", tokenizer),
    ):
        (made / name).write_text(json.dumps(said))
    told = json.loads((source / "tokenizer.json").read_text("utf-8"))
    for token in told["added_tokens"]:
        token["special"] = token["id"] <= NO_TIMESTAMPS  # as OpenAI's own file has it
    (made / "tokenizer.json").write_text(json.dumps(told), "utf-8")
