"""The child that holds one encoder: a sentence-transformers folder, or a plain transformers one, that gives vectors.

Runs with the Python of the extra `transformers`. The folder says what becomes of a text: `modules.json` lists the steps
(Transformer, Pooling, Dense, Normalize), each with its own configuration (sentence-transformers 5, `util/file_io`).
Nothing in it can run code: the model's class comes from the library by its `model_type` alone, weights are safetensors,
the tokenizer is `tokenizer.json`, and a step of a class that is not named here is refused. A vector has length one
always, as OpenAI's have, whether or not the folder ends with Normalize.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child_http import Counts, Handler, Refusal, Response, as_json
from domicile.child_life import UnfitError, live

_TEXT_BYTES = 64 << 20
_BATCH_TOKENS = 8192
"""Of one batch, padding included."""
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted",
    "pooling_mode_lasttoken": "last",
}
_SAFE_CONFIG = frozenset({"auto_map", "custom_pipelines", "trust_remote_code", "_name_or_path", "name_or_path"})
"""Keys of a configuration that name code or another place."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """What a folder says of itself."""

    place: Path
    config: dict[str, Any]
    poolings: tuple[str, ...]
    dense: tuple[Path, ...]
    most_tokens: int
    prompt: str
    """Put before each text when the folder names a prompt for all; else nothing is."""


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """See `child_life.live`."""
    import torch
    from tokenizers import Tokenizer

    torch.set_num_threads(int(asked["threads"]))
    folder = _read(Path(asked["model"]).parent)
    try:
        tokenizer = Tokenizer.from_file(str(_file(folder.place, "tokenizer.json")))
    except Exception as trouble:  # the library raises a bare Exception
        raise UnfitError(f"tokenizer.json: {str(trouble)[:200]}") from trouble
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encode = _encoder(torch, folder)
    counts = Counts()

    async def embeddings(data: dict[str, Any]) -> Response:
        began = time.perf_counter()
        rows = [_tokens(tokenizer, folder, one) for one in _inputs(data.get("input"))]
        total = sum(len(row) for row in rows)
        vectors = await _in_thread(lambda stop: encode(rows, stop))
        counts.prompt += total
        counts.rate = total / max(1e-9, time.perf_counter() - began)
        told = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
        usage = {"prompt_tokens": total, "total_tokens": total}
        return as_json({"object": "list", "model": asked["alias"], "data": told, "usage": usage})

    async def tokenize(data: dict[str, Any]) -> Response:
        special = data.get("add_special") is True
        return as_json({"tokens": tokenizer.encode(str(data.get("content", "")), add_special_tokens=special).ids})

    async def tell(_: dict[str, Any]) -> Response:
        return as_json(counts.public())

    return {"POST /v1/embeddings": embeddings, "POST /tokenize": tokenize, "GET /counts": tell}


# -- what is asked --


def _inputs(said: object) -> Sequence[str | list[int]]:
    if not isinstance(said, list) or not all(isinstance(one, (str, list)) for one in said):
        raise Refusal("input must be a list of texts or of lists of tokens", param="input")
    return said


def _tokens(tokenizer: Any, folder: _Folder, one: str | list[int]) -> list[int]:
    """A text's tokens. Raises `Refusal` in the words of llama.cpp's server, which the house knows."""
    ids: list[int] = one if isinstance(one, list) else tokenizer.encode(folder.prompt + one).ids
    most = tokenizer.get_vocab_size()
    if not ids or not all(isinstance(i, int) and 0 <= i < most for i in ids):
        raise Refusal(f"tokens must be between 0 and {most - 1}", param="input")
    if len(ids) > folder.most_tokens:
        said = f"input ({len(ids)} tokens) is too large to process (current batch size: {folder.most_tokens})"
        raise Refusal(said, 400, "exceed_context_size_error", n_prompt_tokens=len(ids), n_ctx=folder.most_tokens)
    return ids


async def _in_thread(work: Callable[[threading.Event], list[list[float]]]) -> list[list[float]]:
    """Work in a thread that stops after the batch it is at when the caller leaves."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


# -- the folder --


def _read(place: Path) -> _Folder:
    config = {k: v for k, v in _json(place, "config.json").items() if k not in _SAFE_CONFIG and k[:5] != "_attn"}
    poolings: tuple[str, ...] = ("mean",)
    dense: list[Path] = []
    if (place / "modules.json").exists():
        poolings = ()
        for step in sorted(_steps(place), key=lambda one: int(one.get("idx", 0))):
            kind, inside = str(step.get("type", "")).rsplit(".", 1)[-1], str(step.get("path", ""))
            if kind == "Pooling":
                poolings = _poolings(_json(place, f"{inside}/config.json"))
            elif kind == "Dense":
                dense.append(_file(place, f"{inside}/config.json").parent)
            elif kind not in {"Transformer", "Normalize"}:
                raise UnfitError(f"modules.json: a step of the class {kind[:80]!r} is not known here")
        if not poolings:
            raise UnfitError("modules.json: no Pooling")
    said = _json(place, "sentence_bert_config.json", optional=True).get("max_seq_length")
    trained = config.get("max_position_embeddings")
    limits = [n for n in (said, trained) if isinstance(n, int) and n > 0]
    prompts = _json(place, "config_sentence_transformers.json", optional=True)
    named = prompts.get("default_prompt_name")
    listed = prompts.get("prompts")
    prompt = listed.get(named) if isinstance(listed, dict) and isinstance(named, str) else ""
    return _Folder(place, config, poolings, tuple(dense), min(limits, default=512), prompt or "")


def _steps(place: Path) -> list[dict[str, Any]]:
    try:
        said = json.loads(_file(place, "modules.json").read_bytes())
    except ValueError as trouble:
        raise UnfitError(f"modules.json: {trouble}") from trouble
    if not isinstance(said, list) or len(said) > 16 or not all(isinstance(one, dict) for one in said):
        raise UnfitError("modules.json: not a list of steps")
    return said


def _poolings(config: dict[str, Any]) -> tuple[str, ...]:
    """Both ways of saying it: a switch for each kind (2019), or one name (`pooling_mode`)."""
    named = config.get("pooling_mode")
    kinds = {"lasttoken": "last", "weightedmean": "weighted", "mean_sqrt_len_tokens": "mean_sqrt_len"}
    if isinstance(named, str):
        return (kinds.get(named, named),)
    found = tuple(kind for key, kind in _POOLINGS.items() if config.get(key) is True)
    return found or ("mean",)


def _file(place: Path, inside: str) -> Path:
    """A plain file of the folder: no way out of it, no link."""
    parts = [part for part in inside.split("/") if part]
    path = place.joinpath(*parts)
    if not parts or any(part in {".", ".."} or "\\" in part or "\0" in part for part in parts):
        raise UnfitError(f"{inside[:100]!r} is no path inside the folder")
    if path.is_symlink() or path.parent.resolve() != place.resolve().joinpath(*parts[:-1]) or not path.is_file():
        raise UnfitError(f"{inside[:100]} is not a plain file here")
    if path.suffix == ".json" and path.stat().st_size > _TEXT_BYTES:
        raise UnfitError(f"{inside[:100]} is too large")
    return path


def _json(place: Path, inside: str, *, optional: bool = False) -> dict[str, Any]:
    if optional and not place.joinpath(inside).exists():
        return {}
    try:
        said = json.loads(_file(place, inside).read_bytes())
    except (ValueError, RecursionError) as trouble:
        raise UnfitError(f"{inside[:100]}: {str(trouble)[:200]}") from trouble
    if not isinstance(said, dict):
        raise UnfitError(f"{inside[:100]}: not an object")
    return said


# -- the arithmetic --


def _encoder(torch: Any, folder: _Folder) -> Callable[[list[list[int]], threading.Event], list[list[float]]]:
    model = _model(torch, folder)
    dense = [_dense(torch, place) for place in folder.dense]

    def encode(rows: list[list[int]], stop: threading.Event) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in rows]
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        while order and not stop.is_set():
            longest = len(rows[order[-1]])
            batch, order = order[-max(1, _BATCH_TOKENS // longest) :], order[: -max(1, _BATCH_TOKENS // longest)]
            ids = torch.zeros((len(batch), longest), dtype=torch.long)
            mask = torch.zeros((len(batch), longest), dtype=torch.long)
            for at, number in enumerate(batch):
                ids[at, : len(rows[number])] = torch.tensor(rows[number])
                mask[at, : len(rows[number])] = 1
            with torch.inference_mode():
                states = model(input_ids=ids, attention_mask=mask).last_hidden_state
                vectors = torch.cat([_pooled(torch, kind, states, mask) for kind in folder.poolings], 1)
                for step in dense:
                    vectors = step(vectors)
                vectors = torch.nn.functional.normalize(vectors.float(), dim=1)
            for number, vector in zip(batch, vectors.tolist(), strict=True):
                found[number] = vector
        return found

    return encode


def _model(torch: Any, folder: _Folder) -> Any:
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    kind = folder.config.get("model_type")
    try:
        config = AutoConfig.for_model(kind, **{k: v for k, v in folder.config.items() if k != "model_type"})
        with torch.device("meta"):
            model = AutoModel.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as trouble:
        raise UnfitError(f"config.json: {str(trouble)[:200]}") from trouble
    weights: dict[str, Any] = {}
    for path in sorted(folder.place.glob("*.safetensors")):
        weights |= load_file(_file(folder.place, path.name))
    own = dict(model.named_parameters())
    prefix = f"{model.base_model_prefix}."
    named = {name.removeprefix(prefix) if name not in own else name: tensor for name, tensor in weights.items()}
    missing = [name for name in own if name not in named and "pooler" not in name]
    if missing:
        raise UnfitError(f"weights are missing: {', '.join(missing[:5])}")
    wrong = [name for name, tensor in own.items() if name in named and named[name].shape != tensor.shape]
    if wrong:
        raise UnfitError(f"weights of another shape: {', '.join(wrong[:5])}")
    model = AutoModel.from_config(config, dtype=torch.float32)  # its buffers (positions) are made here
    model.load_state_dict({name: named[name].float() for name in own if name in named}, strict=False)
    return model.eval()


def _dense(torch: Any, place: Path) -> Callable[[Any], Any]:
    from safetensors.torch import load_file

    config = _json(place, "config.json")
    weights = load_file(_file(place, "model.safetensors"))
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    after = {"Tanh": torch.tanh, "Identity": lambda x: x, "ReLU": torch.relu, "GELU": torch.nn.functional.gelu}
    if activation not in after:
        raise UnfitError(f"{place.name}: the activation {activation[:80]!r} is not known here")
    weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    return lambda x: after[activation](torch.nn.functional.linear(x, weight, None if bias is None else bias.float()))


def _pooled(torch: Any, kind: str, states: Any, mask: Any) -> Any:
    """Vectors of a batch (texts x width) from the states of its tokens (texts x tokens x width)."""
    kept = mask.unsqueeze(-1).to(states.dtype)
    if kind == "cls":
        return states[:, 0]
    if kind == "last":
        return states[torch.arange(len(states)), mask.sum(1) - 1]
    if kind == "max":
        return states.masked_fill(kept == 0, float("-inf")).max(1).values
    if kind == "weighted":
        kept = kept * torch.arange(1, states.shape[1] + 1).view(1, -1, 1)
    total = kept.sum(1).clamp(min=1e-9)
    summed = (states * kept).sum(1)
    if kind == "mean_sqrt_len":
        return summed / torch.sqrt(total)
    if kind in {"mean", "weighted"}:
        return summed / total
    raise UnfitError(f"the pooling {kind[:80]!r} is not known here")
