"""The shipped file and what is made from it.

`write_gguf` turns the trained folder into the Q8_0 GGUF. `to_safetensors` and `to_onnx` start from
that GGUF alone: its weights, made float32 again, are exactly those that llama.cpp reads, so every
engine has the same model. Knows file formats; nothing of training or of the facts.
Usage: python -m tools.graine.export gguf --checkpoint /tmp/graine/checkpoint --out src/domicile/graine/graine.gguf
       python -m tools.graine.export safetensors|onnx --gguf graine.gguf --out FOLDER
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize, quantize
from tools.graine.tokenizer import CHAT_TEMPLATE, END, PAD, SPECIAL, empty

Array = npt.NDArray[np.float32]
Q8_0 = gguf.GGMLQuantizationType.Q8_0
DESCRIPTION = (
    "A demonstration model of Domicile, trained from scratch on its own questions and answers about local AI, "
    "in French and in English. It knows this one subject."
)
PER_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True, slots=True)
class Model:
    """Everything the GGUF holds, with Hugging Face tensor names and float32 weights."""

    shape: dict[str, Any]
    tokens: list[str]
    merges: list[str]
    chat_template: str
    weights: dict[str, Array]


def names(layers: int) -> dict[str, str]:
    """Hugging Face tensor name -> GGUF tensor name."""
    table = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for i in range(layers):
        table |= {f"model.layers.{i}.{hf}.weight": f"blk.{i}.{name}.weight" for hf, name in PER_LAYER.items()}
    return table


def heads_of(name: str, shape: dict[str, Any]) -> int:
    """How many heads the rows of this matrix hold, when llama.cpp wants them rotated; else 0."""
    if "q_proj" in name:
        return int(shape["num_attention_heads"])
    return int(shape["num_key_value_heads"]) if "k_proj" in name else 0


def interleave(weight: Array, heads: int) -> Array:
    """Rows from the half-and-half order of transformers to the pairs of llama.cpp's rotary code."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def deinterleave(weight: Array, heads: int) -> Array:
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(checkpoint: Path, out: Path) -> None:
    from safetensors.numpy import load_file

    shape = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    bpe = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    tokens = sorted(bpe["vocab"], key=lambda token: bpe["vocab"][token])
    weights = load_file(checkpoint / "model.safetensors")

    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("graine")
    writer.add_author("Domicile")
    writer.add_license("apache-2.0")
    writer.add_languages(["fr", "en"])
    writer.add_description(DESCRIPTION)
    writer.add_size_label(f"{sum(w.size for w in weights.values()) / 1e6:.0f}M")
    # Answers known by heart are best said as they were learned: greedy unless the caller asks otherwise.
    writer.add_float32("general.sampling.temp", 0.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_key_length(shape["head_dim"])
    writer.add_value_length(shape["head_dim"])
    writer.add_rope_dimension_count(shape["head_dim"])
    writer.add_rope_freq_base(shape["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in bpe["merges"]])
    writer.add_eos_token_id(tokens.index(END))
    writer.add_eot_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(PAD))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    for hf, name in names(shape["num_hidden_layers"]).items():
        weight = weights[hf].astype(np.float32)
        if heads := heads_of(hf, shape):
            weight = interleave(weight, heads)
        if weight.ndim == 2:
            writer.add_tensor(name, quantize(weight, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path: Path) -> Model:
    reader = gguf.GGUFReader(path)

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    shape = {
        "vocab_size": value("llama.vocab_size"),
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": value("llama.attention.head_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "head_dim": value("llama.rope.dimension_count"),
        "max_position_embeddings": value("llama.context_length"),
        "rms_norm_eps": float(np.format_float_positional(np.float32(value("llama.attention.layer_norm_rms_epsilon")))),
        "rope_theta": value("llama.rope.freq_base"),
    }
    stored = {tensor.name: tensor for tensor in reader.tensors}
    weights: dict[str, Array] = {}
    for hf, name in names(shape["num_hidden_layers"]).items():
        weight = dequantize(stored[name].data, stored[name].tensor_type).astype(np.float32)
        heads = heads_of(hf, shape)
        weights[hf] = np.ascontiguousarray(deinterleave(weight, heads) if heads else weight)
    return Model(
        shape,
        value("tokenizer.ggml.tokens"),
        value("tokenizer.ggml.merges"),
        value("tokenizer.chat_template"),
        weights,
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_texts(model: Model, folder: Path) -> None:
    """Configuration and tokenizer, the same for both formats."""
    from tokenizers import AddedToken

    end, pad = model.tokens.index(END), model.tokens.index(PAD)
    shape = dict(model.shape)
    theta = shape.pop("rope_theta")
    rope = {"rope_type": "default", "rope_theta": theta}
    _write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "float32",
            "hidden_act": "silu",
        }
        | shape
        | {"rope_theta": theta, "rope_parameters": rope, "tie_word_embeddings": True, "attention_bias": False}
        | {
            "mlp_bias": False,
            "use_cache": True,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
        },
    )
    _write_json(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": end, "pad_token_id": pad, "max_new_tokens": 256},
    )
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in model.merges)]
    tokenizer = empty({token: i for i, token in enumerate(model.tokens)}, merges)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": False,
            "add_eos_token": False,
            "bos_token": None,
            "eos_token": END,
            "pad_token": PAD,
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.shape["max_position_embeddings"],
            "chat_template": model.chat_template,
        },
    )


def to_safetensors(gguf_path: Path, folder: Path) -> None:
    """A Hugging Face folder (float32) with exactly the weights of the GGUF."""
    from safetensors.numpy import save_file

    model = read_gguf(gguf_path)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_texts(model, folder)


def to_onnx(gguf_path: Path, folder: Path) -> None:
    """An ONNX folder as transformers.js lays it out: `onnx/model.onnx`, float32, with a key-value cache."""
    from tools.graine import graph

    model = read_gguf(gguf_path)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    graph.save(model.shape, model.weights, folder / "onnx" / "model.onnx")
    _write_texts(model, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("format", choices=("gguf", "safetensors", "onnx"))
    parser.add_argument("--checkpoint", type=Path, default=Path("/tmp/graine/checkpoint"))
    parser.add_argument("--gguf", type=Path, default=Path("src/domicile/graine/graine.gguf"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.format == "gguf":
        write_gguf(options.checkpoint, options.out)
        print(f"{options.out}: {options.out.stat().st_size} bytes")
    elif options.format == "safetensors":
        to_safetensors(options.gguf, options.out)
    else:
        to_onnx(options.gguf, options.out)


if __name__ == "__main__":
    main()
