"""A safetensors model in memory: which class, which number format on this hardware, where when memory is short.

Knows transformers' automatic classes and what this machine computes in natively. Never remote code, never pickle,
never the network; the folder it is given has been made safe (`folder`).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.textgen.eyes import processor_of

_NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to answer."""

    model: Any
    tokenizer: Any
    processor: Any
    """For pictures; None for a model of words alone."""
    dtype: str
    ends: frozenset[int]
    """Tokens that end an answer."""
    together: bool
    """Can several rows share one cache?"""
    encodes: bool
    """An encoder reads the prompt (T5, BART): text to text."""


def load(folder: Path, offload: Path) -> Loaded:
    """Load what lies in a sanitised folder. Raises `UnfitError`, `MemoryError`, and ImportError for torch alone."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **_SAFE)
        model = _model(transformers, torch, config, folder, offload)
        processor = processor_of(transformers, folder, _SAFE) if _sees(config) else None
        tokenizer = getattr(processor, "tokenizer", None) or transformers.AutoTokenizer.from_pretrained(folder, **_SAFE)
    except ImportError as trouble:  # torch and transformers are here: it is the model that wants something else
        raise UnfitError(f"it needs what this engine does not have: {_line(trouble)}") from trouble
    except (ValueError, KeyError, OSError, TypeError, AttributeError) as trouble:
        raise UnfitError(_line(trouble)) from trouble
    model.eval()
    ends = _ends(model, tokenizer)
    _plain_generation(transformers, model, tokenizer, ends)
    encodes = bool(config.is_encoder_decoder)
    together = not encodes and processor is None and _plain_cache(torch, model)
    return Loaded(model, tokenizer, processor, str(model.dtype).removeprefix("torch."), ends, together, encodes)


def _model(transformers: Any, torch: Any, config: Any, folder: Path, offload: Path) -> Any:
    if config.is_encoder_decoder:
        kind = transformers.AutoModelForSeq2SeqLM
    elif _sees(config) and type(config) in transformers.AutoModelForImageTextToText._model_mapping:
        kind = transformers.AutoModelForImageTextToText
    else:
        kind = transformers.AutoModelForCausalLM
    if type(config) not in kind._model_mapping:
        raise UnfitError(f"a {config.model_type} gives no text in this version of transformers")
    where: dict[str, Any] = {}
    if torch.cuda.is_available():
        where = {"device_map": "auto", "offload_folder": str(offload)}  # what the card does not hold: memory, then disk
    dtype = getattr(torch, dtype_for(_stored(config), cpu_features(), _card(torch)))
    return kind.from_pretrained(folder, config=config, dtype=dtype, use_safetensors=True, **_SAFE, **where)


def _sees(config: Any) -> bool:
    return getattr(config, "vision_config", None) is not None


def _stored(config: Any) -> str:
    dtype = getattr(config, "dtype", None) or getattr(getattr(config, "text_config", None), "dtype", None)
    return str(dtype or "float32").removeprefix("torch.")


def _card(torch: Any) -> str | None:
    """What a graphics card computes in, where there is one."""
    if not torch.cuda.is_available():
        return None
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def dtype_for(stored: str, features: frozenset[str], card: str | None) -> str:
    """The number format: half precision where it is native, as wide as stored elsewhere; never narrower than stored on
    a processor, so that what a publisher kept exact stays exact."""
    if card is not None:
        return card
    if stored in {"bfloat16", "float16"}:
        return "bfloat16" if features & _NATIVE_BF16 else "float32"
    return "float32"


def cpu_features(proc: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets of this processor, where the system tells."""
    try:
        lines = proc.read_text("ascii", "replace").splitlines()
    except OSError:
        return frozenset({"bf16"}) if platform.machine() == "arm64" else frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(found.partition(":")[2].split())


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    said = [getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id]
    return frozenset(int(i) for one in said if one is not None for i in (one if isinstance(one, list) else [one]))


def _plain_generation(transformers: Any, model: Any, tokenizer: Any, ends: frozenset[int]) -> None:
    """Of what a repository says about generation only where an answer begins: the rest is the caller's to say."""
    own = model.generation_config
    kept = {k: getattr(own, k, None) for k in ("decoder_start_token_id", "bos_token_id", "forced_bos_token_id")}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends, default=0)
    model.generation_config = transformers.GenerationConfig(pad_token_id=pad, **kept)


def _plain_cache(torch: Any, model: Any) -> bool:
    """Does it keep plain keys and values of every token, and nothing else? Asked of the model itself."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    with torch.inference_mode():
        tokens = torch.zeros((1, 2), dtype=torch.long, device=model.device)
        try:
            cache = model(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values
        except (TypeError, ValueError, RuntimeError, AttributeError):
            return False
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def _line(trouble: BaseException) -> str:
    text = " ".join(str(trouble).split())
    return f"{type(trouble).__name__}: {text}"[:300]
