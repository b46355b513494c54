"""The same Llama as an ONNX graph, written operator by operator.

Only plain operators (opset 17), so that every onnxruntime, in Python or in a browser, runs it.
Inputs `input_ids`, `attention_mask` (past and present), `past_key_values.N.key/value`; outputs
`logits` and `present.N.key/value`. Positions come from the mask, so left padding is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]
OPSET = 17


class _Graph:
    """Nodes and constants, each with a name made up on the way."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)).replace("-", "m"), values)

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def linear(self, x: str, name: str, weight: Array) -> str:
        return self.op("MatMul", x, self.constant(name, weight.T, np.float32))

    def norm(self, x: str, name: str, weight: Array, epsilon: float) -> str:
        square = self.op("Mul", x, x)
        mean = self.op("ReduceMean", square, axes=[-1], keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant("epsilon", epsilon, np.float32)))
        return self.op("Mul", self.op("Div", x, root), self.constant(name, weight, np.float32))

    def dims(self, x: str, axis: int) -> str:
        """One dimension of a tensor, as a vector of one number."""
        return self.op("Slice", self.op("Shape", x), self.ints(axis), self.ints(axis + 1))


def _rotary(g: _Graph, x: str, cos: str, sin: str, half: int) -> str:
    left = g.op("Slice", x, g.ints(0), g.ints(half), g.ints(3))
    right = g.op("Slice", x, g.ints(half), g.ints(2 * half), g.ints(3))
    turned = g.op("Concat", g.op("Neg", right), left, axis=3)
    return g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin))


def _positions(g: _Graph, shape: dict[str, Any]) -> tuple[str, str, str]:
    """Cosines, sines and the additive mask, from the attention mask."""
    head = shape["head_dim"]
    steps = np.arange(shape["max_position_embeddings"])[:, None]
    inverse = 1.0 / shape["rope_theta"] ** (np.arange(0, head, 2) / head)
    angles = np.concatenate([steps * inverse, steps * inverse], axis=1)
    length, total = g.dims("input_ids", 1), g.dims("attention_mask", 1)
    past = g.op("Sub", total, length)
    running = g.op("CumSum", "attention_mask", g.constant("axis_1", 1))
    position = g.op("Max", g.op("Sub", running, g.ints(1)), g.ints(0))
    mine = g.op("Slice", position, past, total, g.ints(1))
    one = g.ints(1)
    cos = g.op("Unsqueeze", g.op("Gather", g.constant("cos", np.cos(angles), np.float32), mine), one)
    sin = g.op("Unsqueeze", g.op("Gather", g.constant("sin", np.sin(angles), np.float32), mine), one)
    scalar = g.constant("scalar_shape", np.zeros(0))
    last = g.op("Reshape", total, scalar)
    zero, unit = g.constant("zero", 0), g.constant("unit", 1)
    keys = g.op("Unsqueeze", g.op("Range", zero, last, unit), g.ints(0))
    queries = g.op("Unsqueeze", g.op("Range", g.op("Reshape", past, scalar), last, unit), one)
    causal = g.op("LessOrEqual", keys, queries)
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.BOOL), g.ints(1, 2))
    allowed = g.op("And", real, causal)
    nothing, minus = g.constant("nothing", 0, np.float32), g.constant("minus", -1e9, np.float32)
    return cos, sin, g.op("Where", allowed, nothing, minus)


def _attention(
    g: _Graph, x: str, i: int, shape: dict[str, Any], weights: dict[str, Array], places: tuple[str, str, str]
) -> str:
    cos, sin, mask = places
    head, heads, shared = shape["head_dim"], shape["num_attention_heads"], shape["num_key_value_heads"]
    where = f"model.layers.{i}.self_attn"

    def split(name: str, count: int) -> str:
        flat = g.linear(x, f"{where}.{name}", weights[f"{where}.{name}.weight"])
        return g.op("Transpose", g.op("Reshape", flat, g.ints(0, 0, count, head)), perm=[0, 2, 1, 3])

    query = _rotary(g, split("q_proj", heads), cos, sin, head // 2)
    key = _rotary(g, split("k_proj", shared), cos, sin, head // 2)
    key = g.op("Concat", f"past_key_values.{i}.key", key, axis=2, out=f"present.{i}.key")
    value = g.op("Concat", f"past_key_values.{i}.value", split("v_proj", shared), axis=2, out=f"present.{i}.value")

    def repeat(y: str) -> str:
        copies = g.op("Concat", *[g.op("Unsqueeze", y, g.ints(2))] * (heads // shared), axis=2)
        return g.op("Reshape", copies, g.ints(0, heads, -1, head))

    scores = g.op("MatMul", query, g.op("Transpose", repeat(key), perm=[0, 1, 3, 2]))
    scores = g.op("Mul", scores, g.constant("scale", head**-0.5, np.float32))
    shares = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", shares, repeat(value)), perm=[0, 2, 1, 3])
    return g.linear(
        g.op("Reshape", mixed, g.ints(0, 0, heads * head)),
        f"{where}.o_proj",
        weights[f"{where}.o_proj.weight"],
    )


def build(shape: dict[str, Any], weights: dict[str, Array]) -> onnx.ModelProto:
    g = _Graph()
    epsilon, layers = shape["rms_norm_eps"], shape["num_hidden_layers"]
    embedding = weights["model.embed_tokens.weight"]
    x = g.op("Gather", g.constant("embed_tokens", embedding, np.float32), "input_ids")
    places = _positions(g, shape)
    for i in range(layers):
        where = f"model.layers.{i}"
        name = f"{where}.input_layernorm"
        inner = g.norm(x, name, weights[f"{name}.weight"], epsilon)
        x = g.op("Add", x, _attention(g, inner, i, shape, weights, places))
        name = f"{where}.post_attention_layernorm"
        inner = g.norm(x, name, weights[f"{name}.weight"], epsilon)
        gate = g.linear(inner, f"{where}.gate", weights[f"{where}.mlp.gate_proj.weight"])
        up = g.linear(inner, f"{where}.up", weights[f"{where}.mlp.up_proj.weight"])
        active = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        x = g.op("Add", x, g.linear(active, f"{where}.down", weights[f"{where}.mlp.down_proj.weight"]))
    x = g.norm(x, "model.norm", weights["model.norm.weight"], epsilon)
    g.op("MatMul", x, g.op("Transpose", "embed_tokens", perm=[1, 0]), out="logits")

    numbers, floats = TensorProto.INT64, TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info("input_ids", numbers, ["batch_size", "sequence_length"]),
        helper.make_tensor_value_info("attention_mask", numbers, ["batch_size", "total_sequence_length"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", floats, ["batch_size", "sequence_length", shape["vocab_size"]])]
    for i in range(layers):
        for part in ("key", "value"):
            fixed = (shape["num_key_value_heads"], shape["head_dim"])
            past = ["batch_size", fixed[0], "past_sequence_length", fixed[1]]
            present = ["batch_size", fixed[0], "total_sequence_length", fixed[1]]
            inputs.append(helper.make_tensor_value_info(f"past_key_values.{i}.{part}", floats, past))
            outputs.append(helper.make_tensor_value_info(f"present.{i}.{part}", floats, present))
    graph = helper.make_graph(g.nodes, "graine", inputs, outputs, list(g.constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="domicile")
    model.ir_version = 8
    return model


def save(shape: dict[str, Any], weights: dict[str, Array], path: Path) -> None:
    model = build(shape, weights)
    onnx.checker.check_model(model)
    onnx.save(model, path)
