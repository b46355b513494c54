"""Small real models: an encoder of random weights that gives vectors, and *graine* under another template."""

from __future__ import annotations

import string
from pathlib import Path

import gguf
import numpy as np
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

from domicile.library import EMBEDDED_FILE

_BOTH = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call functions.\n\nTheir signatures are within <tools></tools>:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each call, return within <tool_call></tool_call>:\n<tool_call>\n" }}
    {{- "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.reasoning_content %}
            {{- '\n<think>\n' + message.reasoning_content + '\n</think>\n' }}
        {%- endif %}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
TOOLS_TEMPLATE = "".join(line for line in _BOTH.splitlines(keepends=True) if "reasoning" not in line).replace(
    "        {%- endif %}\n        {%- if message.content %}", "        {%- if message.content %}"
)
"""In the manner of Qwen2.5: tools."""
THINKING_TEMPLATE = (
    _BOTH.rstrip().removesuffix("{%- endif %}")
    + r"""
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- else %}
        {{- '<think>\n' }}
    {%- endif %}
{%- endif %}"""
)
"""In the manner of Qwen3-Thinking: and thinking, unless it is told not to."""


def able(path: Path, template: str = TOOLS_TEMPLATE) -> Path:
    """*graine* with a template that has a place for tools. It still knows nothing of them: a grammar leads it."""
    reader = gguf.GGUFReader(EMBEDDED_FILE)
    writer = gguf.GGUFWriter(path, "llama")
    arch = reader.get_field("general.architecture")
    assert arch is not None
    writer.arch = str(arch.contents())
    said = {"tokenizer.chat_template": MetadataDetails(gguf.GGUFValueType.STRING, template)}
    copy_with_new_metadata(reader, writer, said, ["tokenizer.chat_template"])
    return path


def caller(path: Path) -> Path:
    """A model of one layer that only knows what follows what: after the start of its turn it calls a tool.

    Its embeddings are one number each, its layer adds nothing, its output says the next token; the rest of the call
    is what the engine's grammar leaves it.
    """
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
    specials += ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
    tokens = [*specials, *bytes_to_unicode().values()]
    place = {token: number for number, token in enumerate(tokens)}
    width = 320
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("a model that calls")
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(5)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [4] * 2 + [3] * 3 + [1] * 256)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TOOLS_TEMPLATE)
    writer.add_file_type(0)
    embedding = np.zeros((len(tokens), width), np.float32)
    embedding[np.arange(len(tokens)), np.arange(len(tokens))] = 1
    follows = np.zeros((len(tokens), width), np.float32)
    follows[2, :] = 0.1
    follows[place["p"], place["<|fim_middle|>"]] = 1  # between two texts it says "p", then no more
    follows[place["<tool_call>"], place["Ċ"]] = follows[place["Ċ"], place["<tool_call>"]] = 1
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", follows)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((width, width), np.float32))
    for name, shape in (("ffn_gate", (32, width)), ("ffn_up", (32, width)), ("ffn_down", (width, 32))):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    finish(writer)
    return path


def encoder(
    path: Path,
    *,
    n_embd: int = 64,
    n_layer: int = 2,
    context: int = 128,
    pooling: gguf.PoolingType = gguf.PoolingType.MEAN,
) -> Path:
    """A BERT of random weights: vectors of `n_embd` numbers, texts of at most `context` tokens. With the pooling `RANK`
    it is a reranker: one score for a question and a text."""
    letters = [*string.ascii_lowercase, *string.digits]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{c}" for c in letters), *letters]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("encoder of random weights")
    writer.add_context_length(context)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(4 * n_embd)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 5 + [1] * (len(tokens) - 5))
    writer.add_token_type_count(2)
    for name, place in (("pad", 0), ("unk", 1), ("bos", 2), ("sep", 3), ("eos", 3), ("mask", 4)):
        getattr(writer, f"add_{name}_token_id")(place)
    writer.add_file_type(0)
    random = np.random.default_rng(0)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.1).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(n_embd, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(n_embd, np.float32))

    matrix("token_embd", len(tokens), n_embd)
    matrix("token_types", 2, n_embd)
    matrix("position_embd", context, n_embd)
    norm("token_embd_norm")
    for layer in range(n_layer):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"):
            out, inside = {"ffn_up": (4 * n_embd, n_embd), "ffn_down": (n_embd, 4 * n_embd)}.get(part, (n_embd, n_embd))
            matrix(f"blk.{layer}.{part}", out, inside)
            writer.add_tensor(f"blk.{layer}.{part}.bias", np.zeros(out, np.float32))
        norm(f"blk.{layer}.attn_output_norm")
        norm(f"blk.{layer}.layer_output_norm")
    if pooling == gguf.PoolingType.RANK:
        for name, rows in (("cls", n_embd), ("cls.output", 1)):
            matrix(name, rows, n_embd)
            writer.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))
    finish(writer)
    return path


def adapter(path: Path) -> Path:
    """A low-rank adapter of random weights, strong enough to change what *graine* says."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    random = np.random.default_rng(0)
    for tensor in gguf.GGUFReader(EMBEDDED_FILE).tensors:
        if "attn_output" in tensor.name:
            inside, out = (int(n) for n in tensor.shape)
            for part, shape in (("a", (4, inside)), ("b", (out, 4))):
                writer.add_tensor(f"{tensor.name}.lora_{part}", random.standard_normal(shape).astype(np.float32))
    finish(writer)
    return path


def bytes_to_unicode() -> dict[int, str]:
    """The letters that GPT-2's tokenizer writes bytes with."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


def finish(writer: gguf.GGUFWriter) -> None:
    """Write a file out."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
