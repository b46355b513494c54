"""Small ONNX folders as publishers lay them out: graine for transformers.js and for onnxruntime-genai, MiniLM as
sentence-transformers exports it, and graphs that want what they should not have."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper
from tools.graine import export

GRAINE = Path(__file__).parents[2] / "src" / "domicile" / "graine" / "graine.gguf"


def graine(folder: Path) -> Path:
    """graine's own weights, float32, with a key-value cache: `onnx/model.onnx`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export.to_onnx(GRAINE, folder)
    return folder


def genai(source: Path, folder: Path, **session: Any) -> Path:
    """The same for onnxruntime-genai: the graph beside a `genai_config.json` that names its inputs."""
    folder.mkdir()
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    shutil.copy(source / "onnx" / "model.onnx", folder / "model.onnx")
    config = json.loads((source / "config.json").read_text())
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": [], **session},
        "filename": "model.onnx",
        "head_size": config["head_dim"],
        "hidden_size": config["hidden_size"],
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": config["num_attention_heads"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
    }
    model = {
        "bos_token_id": config["eos_token_id"],
        "context_length": config["max_position_embeddings"],
        "decoder": decoder,
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
        "type": "llama",
        "vocab_size": config["vocab_size"],
    }
    search = {"max_length": config["max_position_embeddings"], "past_present_share_buffer": False}
    (folder / "genai_config.json").write_text(json.dumps({"model": model, "search": search}))
    return folder


def bert(source: Path, folder: Path, *, classes: int = 0) -> Path:
    """A BERT's safetensors folder as `onnx/model.onnx` of plain operators: states of tokens, or scores of `classes`."""
    import numpy as np
    from safetensors.numpy import load_file

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    nodes: list[Any] = []
    held: dict[str, Any] = {}

    def constant(name: str, value: Any, kind: Any = np.float32) -> str:
        held.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def op(kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [out or f"n{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def ints(*values: int) -> str:
        return constant(f"i{values}", values, np.int64)

    def linear(x: str, name: str) -> str:
        made = op("MatMul", x, constant(f"{name}.weight", weights[f"{name}.weight"].T))
        return op("Add", made, constant(f"{name}.bias", weights[f"{name}.bias"]))

    def norm(x: str, name: str) -> str:
        scale = constant(f"{name}.weight", weights[f"{name}.weight"])
        bias = constant(f"{name}.bias", weights[f"{name}.bias"])
        return op("LayerNormalization", x, scale, bias, axis=-1, epsilon=config["layer_norm_eps"])

    def table(name: str) -> str:
        return constant(name, weights[f"embeddings.{name}.weight"])

    length = op("Slice", op("Shape", "input_ids"), ints(1), ints(2))
    scalar = op("Reshape", length, constant("scalar", np.zeros(0), np.int64))
    zero, one = constant("zero", 0, np.int64), constant("one", 1, np.int64)
    x = op("Gather", table("word_embeddings"), "input_ids")
    x = op("Add", x, op("Gather", table("token_type_embeddings"), "token_type_ids"))
    x = norm(
        op("Add", x, op("Gather", table("position_embeddings"), op("Range", zero, scalar, one))), "embeddings.LayerNorm"
    )
    real = op("Unsqueeze", op("Cast", "attention_mask", to=TensorProto.FLOAT), ints(1, 2))
    mask = op("Mul", op("Sub", constant("unit", 1.0), real), constant("low", -1e9))
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"

        def split(name: str, x: str = x, at: str = at) -> str:
            flat = linear(x, f"{at}.attention.self.{name}")
            return op("Transpose", op("Reshape", flat, ints(0, 0, heads, width // heads)), perm=[0, 2, 1, 3])

        keys = op("Transpose", split("key"), perm=[0, 1, 3, 2])
        scores = op("Mul", op("MatMul", split("query"), keys), constant("scale", (width // heads) ** -0.5))
        mixed = op("MatMul", op("Softmax", op("Add", scores, mask), axis=-1), split("value"))
        mixed = op("Reshape", op("Transpose", mixed, perm=[0, 2, 1, 3]), ints(0, 0, width))
        x = norm(op("Add", x, linear(mixed, f"{at}.attention.output.dense")), f"{at}.attention.output.LayerNorm")
        inner = linear(x, f"{at}.intermediate.dense")
        erf = op("Erf", op("Mul", inner, constant("root", 0.5**0.5)))
        inner = op("Mul", op("Mul", inner, constant("half", 0.5)), op("Add", erf, constant("unit", 1.0)))
        x = norm(op("Add", x, linear(inner, f"{at}.output.dense")), f"{at}.output.LayerNorm")
    if classes:
        first = op("Gather", x, zero, axis=1)
        head = np.random.default_rng(0).standard_normal((width, classes))
        last, shape = op("MatMul", first, constant("head", head), out="logits"), ["texts", classes]
    else:
        last, shape = op("Identity", x, out="last_hidden_state"), ["texts", "tokens", width]
    names = ("input_ids", "attention_mask", "token_type_ids")
    given = [helper.make_tensor_value_info(n, TensorProto.INT64, ["texts", "tokens"]) for n in names]
    made = [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "bert", given, made, list(held.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "onnx").mkdir()
    onnx.save(model, folder / "onnx" / "model.onnx")
    return folder


def reaching(path: Path, location: str, *, domain: str = "") -> Path:
    """A graph of one tensor whose bytes are said to lie at `location`; its operator is of `domain`."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="8")
    info = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    node = helper.make_node("Identity", ["w"], ["y"], domain=domain)
    graph = helper.make_graph([node], "g", [], [info], [tensor])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path
