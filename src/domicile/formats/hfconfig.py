"""What a Hugging Face `config.json` says of a model's shape.

Knows the names families give the same things, nested or not, and which of their layers attend, slide or
recur. Knows nothing of weights. A family whose layers it cannot name has none here: unknown is better than
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domicile.formats.document import Document, count, flag, inner, text
from domicile.types import Layer

_MOST_LAYERS = 1024
_MOST_HEADS = 2**16
_MOST_WIDTH = 2**20

_SLIDING = frozenset({"sliding_attention", "local", "chunked_attention"})
_FULL = frozenset({"full_attention", "attention", "global", "moe", "dense"})
_RECURRENT = frozenset({"linear_attention", "mamba", "mamba2", "conv", "short_conv", "recurrent"})


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of `Facts` that a configuration knows, under the same names."""

    architecture: str | None = None
    task: str | None = None
    context_length: int | None = None
    n_vocab: int | None = None
    n_embd: int | None = None
    n_ff: int | None = None
    n_expert: int | None = None
    n_expert_used: int | None = None
    n_ff_expert: int | None = None
    layers: tuple[Layer, ...] = ()
    tied_embeddings: bool | None = None


def shape(config: Document) -> Shape:
    """Read a configuration; of a model with eyes or ears, its language part."""
    language = next(
        (part for key in ("text_config", "llm_config", "language_config") if (part := inner(config, key))),
        config,
    )
    experts = count(language, "num_experts", "num_local_experts", "n_routed_experts", most=_MOST_HEADS) or None
    feed = count(language, "intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim", most=_MOST_WIDTH)
    tied = flag(language, "tie_word_embeddings")
    return Shape(
        architecture=text(language, "model_type") or text(config, "model_type"),
        task=_task(config),
        context_length=count(
            language,
            "max_position_embeddings",
            "n_positions",
            "max_sequence_length",
            "seq_length",
            "max_target_positions",
        ),
        n_vocab=count(language, "vocab_size"),
        n_embd=count(language, "hidden_size", "d_model", "n_embd", most=_MOST_WIDTH),
        n_ff=feed,
        n_expert=experts,
        n_expert_used=count(language, "num_experts_per_tok", "num_experts_per_token", "top_k_experts")
        if experts
        else None,
        n_ff_expert=count(language, "moe_intermediate_size", "expert_ffn_hidden_size") or feed if experts else None,
        layers=layers(language),
        tied_embeddings=flag(config, "tie_word_embeddings") if tied is None else tied,
    )


_TASKS = (
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForSequenceClassification", "text-classification"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("ForMaskedLM", "fill-mask"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("Model", "feature-extraction"),
)


def _task(config: Document) -> str | None:
    """By the suffix of the class: what its head is for."""
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    if text(config, "model_type") == "whisper" or name.startswith("Whisper"):
        return "automatic-speech-recognition"
    if name and any(
        config.get(key) for key in ("vision_config", "vision_tower", "image_token_index", "image_token_id")
    ):
        return "image-text-to-text"
    return next((task for suffix, task in _TASKS if name.endswith(suffix)), None)


def layers(config: Document) -> tuple[Layer, ...]:
    if text(config, "model_type") == "whisper":
        return _whisper(config)
    n = count(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers", most=_MOST_LAYERS)
    width = count(config, "hidden_size", "d_model", "n_embd", most=_MOST_WIDTH)
    if not n or not width:
        return ()
    heads = count(config, "num_attention_heads", "n_head", "num_heads", "n_heads", most=_MOST_HEADS)
    kinds = _kinds(config, n)
    feed = count(config, "intermediate_size", "ffn_dim", "n_inner", most=_MOST_WIDTH) or 0
    if kinds is None or (not heads and any(kind in _FULL | _SLIDING for kind in kinds)):
        return ()
    state = _state_bytes(config, width, kinds) if any(kind in _RECURRENT for kind in kinds) else 0
    if state is None:
        return ()
    window = count(config, "sliding_window", "attention_chunk_size", "sliding_window_size")
    made = []
    for kind in kinds:
        if kind in _RECURRENT:
            made.append(Layer(kind="recurrent", state_bytes=state, n_ff=feed))
        elif kind == "none":
            made.append(Layer(kind="none", n_ff=feed))
        else:
            kv_heads, k, v = _widths(config, width, heads or 1, full=kind in _FULL)
            slides = window if kind in _SLIDING and window else None
            made.append(Layer("attention", heads or 0, kv_heads, k, v, slides, n_ff=feed))
    return tuple(made)


def _whisper(config: Document) -> tuple[Layer, ...]:
    """Its decoder. `num_hidden_layers` counts the encoder's, which keep nothing between tokens."""
    n, width = count(config, "decoder_layers", most=_MOST_LAYERS), count(config, "d_model", most=_MOST_WIDTH)
    heads = count(config, "decoder_attention_heads", most=_MOST_HEADS)
    if not n or not width or not heads:
        return ()
    head, feed = width // heads, count(config, "decoder_ffn_dim", most=_MOST_WIDTH) or 0
    return (Layer("attention", heads, heads, head, head, n_ff=feed),) * n


def _widths(config: Document, width: int, heads: int, full: bool) -> tuple[int, int, int]:
    """(heads of K and V, width of K, width of V)."""
    rank, rope = (
        count(config, "kv_lora_rank", most=_MOST_WIDTH),
        count(config, "qk_rope_head_dim", most=_MOST_WIDTH),
    )
    if rank and rope:
        return 1, rank + rope, 0
    kv = count(config, "num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", most=_MOST_HEADS)
    if kv is None:
        kv = 1 if flag(config, "multi_query") else heads
    head = count(config, "head_dim", "attention_head_dim", "kv_channels", most=_MOST_WIDTH) or width // heads
    if full and (wide := count(config, "global_head_dim", most=_MOST_WIDTH)):
        head = wide
        kv = count(config, "num_global_key_value_heads", most=_MOST_HEADS) or kv
    return kv, head, head


def _kinds(config: Document, n: int) -> Sequence[str] | None:
    """What each layer does, in the words of `layer_types`; None when a word is not known."""
    given = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(given, list):
        kinds = [str(kind) for kind in given[:n]]
        return kinds if len(kinds) == n and all(k in _FULL | _SLIDING | _RECURRENT for k in kinds) else None
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        words = {"M": "mamba", "*": "full_attention", "-": "none", "E": "none"}
        return [words[c] for c in pattern] if len(pattern) == n and set(pattern) <= set(words) else None
    family = text(config, "model_type") or ""
    if family in {"mamba", "mamba2", "falcon_mamba"}:
        return ["mamba"] * n
    if family.startswith(("rwkv", "xlstm", "recurrent_gemma")):
        return None
    if (period := count(config, "attn_layer_period")) and (offset := count(config, "attn_layer_offset")) is not None:
        return ["attention" if i % period == offset % period else "mamba" for i in range(n)]
    if isinstance(indices := config.get("full_attn_idxs"), list):
        return ["full_attention" if i in indices else "conv" for i in range(n)]
    if interval := count(config, "full_attention_interval"):
        return ["full_attention" if (i + 1) % interval == 0 else "linear_attention" for i in range(n)]
    return _sliding(config, family, n)


def _sliding(config: Document, family: str, n: int) -> list[str]:
    """Families older than `layer_types`."""
    if not count(config, "sliding_window") or flag(config, "use_sliding_window") is False:
        return ["full_attention"] * n
    if flag(config, "use_sliding_window") and (first := count(config, "max_window_layers")) is not None:
        return ["full_attention" if i < first else "sliding_attention" for i in range(n)]
    default = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}.get(family, 0)
    period = count(config, "sliding_window_pattern", "_sliding_window_pattern", most=_MOST_LAYERS) or default
    if not period:
        return ["sliding_attention"] * n
    return ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(n)]


def _state_bytes(config: Document, width: int, kinds: Sequence[str]) -> int | None:
    """One sequence in one recurrent layer, in F32; the same sums as llama.cpp's."""

    def get(*keys: str) -> int | None:
        return count(config, *keys, most=_MOST_WIDTH)

    if "conv" in kinds or "short_conv" in kinds:
        cache = get("conv_L_cache")
        return 4 * width * (cache - 1) if cache else None
    if "linear_attention" in kinds:
        sizes = [
            get(f"linear_{key}")
            for key in (
                "num_key_heads",
                "key_head_dim",
                "num_value_heads",
                "value_head_dim",
                "conv_kernel_dim",
            )
        ]
        known: list[int] = [size for size in sizes if size]
        if len(known) != len(sizes):
            return None
        k_heads, k, v_heads, v, kernel = known
        return 4 * ((kernel - 1) * (2 * k_heads * k + v_heads * v) + v_heads * k * v)
    kernel_, state = get("mamba_d_conv", "conv_kernel"), get("mamba_d_state", "state_size", "ssm_state_size")
    heads, head = get("mamba_n_heads", "mamba_num_heads"), get("mamba_d_head", "mamba_head_dim")
    inner_ = heads * head if heads and head else None
    if inner_ is None:
        expand = get("mamba_expand", "expand")
        inner_ = expand * width if expand else get("intermediate_size")
    if not kernel_ or not state or not inner_:
        return None
    groups = get("mamba_n_groups", "n_groups") or 0
    return 4 * ((kernel_ - 1) * (inner_ + 2 * groups * state) + inner_ * state)


def scalars(config: Document) -> dict[str, int | float | str | bool]:
    """What a sum may need and no field of `Facts` names."""
    kept: dict[str, int | float | str | bool] = {}
    for key in ("encoder_layers", "max_source_positions", "num_mel_bins"):
        if (value := count(config, key)) is not None:
            kept[key] = value
    if config.get("auto_map") or config.get("custom_pipelines"):
        kept["remote_code"] = True  # loading it as published wants Python of the repository
    return kept


def packed(config: Document) -> str | None:
    """The quantisation method of packed weights (awq, gptq, bitsandbytes, fp8 ...)."""
    return text(inner(config, "quantization_config"), "quant_method", most=40)


def template(tokenizer_config: Document) -> str | None:
    """`chat_template`: one, or several by name, of which `default`."""
    given: Any = tokenizer_config.get("chat_template")
    if isinstance(given, list):
        named = [t for t in given if isinstance(t, dict)]
        given = next((t.get("template") for t in named if t.get("name") == "default"), None)
    return given if isinstance(given, str) and given else None
