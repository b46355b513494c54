"""A text model in ONNX, ready to be read into: through onnxruntime-genai, or by our own loop over onnxruntime.

A folder with `genai_config.json` is onnxruntime-genai's; one as transformers.js lays it out (`onnx/*.onnx` beside a
`config.json`) is run here, with its keys and values handed from one call to the next. What a configuration would make
a runtime load (a library of operators, a provider) is refused or taken out; graphs are looked at by `onnx_folder`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.onnx_folder import checked, plain, session_of
from domicile.textgen.rows import Row
from domicile.textgen.turns import Cache

GENAI = "genai_config.json"
_MOST_TEXT = 4 << 20
_SESSION = frozenset(
    {"log_id", "provider_options", "intra_op_num_threads", "inter_op_num_threads", "enable_cpu_mem_arena"}
    | {"enable_mem_pattern", "graph_optimization_level", "log_severity_level", "use_env_allocators", "providers"}
    | {
        "enable_profiling",
        "disable_cpu_ep_fallback",
        "config_entries",
        "log_verbosity_level",
        "enable_quant_qdq_cleanup",
    }
)
"""What a session may be told by a stranger; anything else may be a library to load."""
_ENTRY = re.compile(r"session\.(?!.*(?:library|path|file|custom|ops)).{1,80}")
_PAST = re.compile(r"past_key_values\.(.+)")
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is ready. `start` makes an empty cache for a row."""

    start: Callable[[Row], Cache]
    context: int | None
    """What it was trained for, where its configuration says so."""
    ends: frozenset[int]
    runtime: str


def open_folder(root: Path, graph: Path, threads: int) -> Opened:
    """Open what lies in a folder. Raises `UnfitError`, and ImportError where a runtime is missing."""
    return _genai(root, threads) if (root / GENAI).is_file() else _loop(root, graph, threads)


def config_of(root: Path, name: str) -> dict[str, Any]:
    """A small object of the folder; empty where it is not there. Raises `UnfitError`."""
    path = root / name
    if not path.exists():
        return {}
    plain(path, root)
    if path.stat().st_size > _MOST_TEXT:
        raise UnfitError(f"{name} is larger than {_MOST_TEXT >> 20} MiB")
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as trouble:
        raise UnfitError(f"{name}: {str(trouble)[:200]}") from trouble
    if not isinstance(said, dict):
        raise UnfitError(f"{name}: not an object")
    return said


def _ends(*configs: Mapping[str, Any]) -> frozenset[int]:
    found: set[int] = set()
    for config in configs:
        said = config.get("eos_token_id")
        found |= {one for one in (said if isinstance(said, list) else [said]) if type(one) is int and one >= 0}
    return frozenset(found)


def _number(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


# -- onnxruntime-genai --


def _genai(root: Path, threads: int) -> Opened:
    import numpy as np
    import onnxruntime_genai as og

    said = config_of(root, GENAI)
    model = said.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("decoder"), dict):
        raise UnfitError(f"{GENAI}: no decoder")
    _refuse_libraries(said, root)
    config = og.Config(str(root))
    config.clear_providers()
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    try:
        loaded = og.Model(config)
    except RuntimeError as trouble:
        raise UnfitError(str(trouble)[:300]) from trouble

    class Read:
        """See `Cache`."""

        def __init__(self, row: Row) -> None:
            asked = og.GeneratorParams(loaded)
            asked.set_search_options(max_length=len(row.prompt) + row.wish.max_tokens + 1, batch_size=1)
            self._generator = og.Generator(loaded, asked)

        def read(self, tokens: Sequence[int]) -> Any:
            self._generator.append_tokens(np.asarray(tokens, dtype=np.int32))
            scores = self._generator.get_logits()
            return np.asarray(scores, dtype=np.float32).reshape(-1, scores.shape[-1])[-1]

    ends = _ends(model, config_of(root, "generation_config.json"))
    return Opened(Read, _number(model.get("context_length")), ends, f"onnxruntime-genai {og.__version__}")


def _refuse_libraries(value: Any, root: Path, key: str = "") -> None:
    """Raise `UnfitError` for what would make the runtime load a library or a file from elsewhere."""
    if isinstance(value, list):
        for one in value:
            _refuse_libraries(one, root, key)
    elif isinstance(value, dict):
        if key in {"session_options", "run_options"} and (more := sorted(set(value) - _SESSION)):
            raise UnfitError(f"{GENAI}: the option {str(more[0])[:80]!r} is not one of this engine")
        for name, one in value.items():
            if key == "config_entries" and not _ENTRY.fullmatch(str(name)):
                raise UnfitError(f"{GENAI}: the entry {str(name)[:80]!r} is not one of this engine")
            if name != "provider_options":  # of no use here: taken out with the providers
                _refuse_libraries(one, root, str(name))
    elif isinstance(value, str) and value and "filename" in key:
        if "/" in value or "\\" in value or value in {".", ".."}:
            raise UnfitError(f"{GENAI}: {value[:80]!r} is no file of the folder")
        path = root / value
        if value.endswith(".onnx"):
            checked(path, root)
        elif path.exists():
            plain(path, root)
    elif isinstance(value, str) and "library" in key.lower():
        raise UnfitError(f"{GENAI}: {key[:80]} names a library")


# -- our own loop --


def _loop(root: Path, graph: Path, threads: int) -> Opened:
    import numpy as np
    import onnxruntime

    config = config_of(root, "config.json")
    session = session_of(graph, root, threads)
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = [one.name for one in session.get_outputs()]
    pasts = {name: _PAST.fullmatch(name) for name in inputs}
    carried = {name: f"present.{found[1]}" for name, found in pasts.items() if found}
    known = {"input_ids", "attention_mask", "position_ids", "use_cache_branch", "num_logits_to_keep"} | set(carried)
    if "input_ids" not in inputs or "logits" not in outputs or (more := sorted(set(inputs) - known)):
        raise UnfitError(f"{graph.name}: a graph of another kind than text ({', '.join(more or sorted(inputs))})"[:300])
    if missing := [name for name in carried.values() if name not in outputs]:
        raise UnfitError(f"{graph.name}: no {missing[0][:80]}")
    wanted = ["logits", *carried.values()]

    def empty(name: str) -> Any:
        """Keys or values of nothing: one conversation, heads, no token, width."""
        shape = inputs[name].shape
        kind = _TYPES.get(inputs[name].type)
        if kind is None or len(shape) != 4 or type(shape[1]) is not int or type(shape[3]) is not int:
            raise UnfitError(f"{graph.name}: {name[:80]} is of another shape than keys and values")
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, shape[1], 0, shape[3]), dtype=kind))

    nothing = {name: empty(name) for name in carried}

    class Read:
        """See `Cache`."""

        def __init__(self, _: Row) -> None:
            self._past = dict(nothing)
            self._tokens: list[int] = []

        def read(self, tokens: Sequence[int]) -> Any:
            before = len(self._tokens)
            self._tokens += tokens
            fresh = list(tokens) if carried else self._tokens
            first = len(self._tokens) - len(fresh)
            said = {
                "input_ids": np.asarray([fresh], dtype=np.int64),
                "attention_mask": np.ones((1, len(self._tokens)), dtype=np.int64),
                "position_ids": np.arange(first, len(self._tokens), dtype=np.int64)[None],
                "use_cache_branch": np.asarray([before > 0]),
                "num_logits_to_keep": np.asarray(1, dtype=np.int64),
            }
            given = {n: onnxruntime.OrtValue.ortvalue_from_numpy(v) for n, v in said.items() if n in inputs}
            made = session.run_with_ort_values(wanted, {**given, **self._past})
            self._past = dict(zip(carried, made[1:], strict=True))
            return made[0].numpy()[0, -1].astype(np.float32)

    ends = _ends(config, config_of(root, "generation_config.json"))
    trained = _number(config.get("max_position_embeddings"))
    return Opened(Read, trained, ends, f"onnxruntime {onnxruntime.__version__}")
