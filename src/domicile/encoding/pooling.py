"""One vector of the states of a text's tokens, as sentence-transformers' steps say. numpy alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.encoding.folder import described, file

_MOST_HEADER = 1 << 20
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def pooled(kind: str, states: Any, mask: Any) -> Any:
    """Vectors of a batch (texts x width) from the states of its tokens (texts x tokens x width)."""
    import numpy as np

    kept = mask[..., None].astype(np.float32)
    if kind == "cls":
        return states[:, 0]
    if kind == "last":
        return states[np.arange(len(states)), mask.sum(1) - 1]
    if kind == "max":
        return np.where(kept == 0, -np.inf, states).max(1)
    if kind == "weighted":
        kept = kept * np.arange(1, states.shape[1] + 1, dtype=np.float32)[None, :, None]
    total = np.maximum(kept.sum(1), 1e-9)
    summed = (states * kept).sum(1)
    if kind == "mean_sqrt_len":
        return summed / np.sqrt(total)
    if kind in {"mean", "weighted"}:
        return summed / total
    raise UnfitError(f"the pooling {kind[:80]!r} is not known here")


def normalised(vectors: Any) -> Any:
    """Vectors at length one."""
    import numpy as np

    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def dense(place: Path) -> Callable[[Any], Any]:
    """The step Dense of a folder: a matrix, a bias and an activation. Raises `UnfitError`."""
    import numpy as np

    config = described(place, "config.json")
    weights = _tensors(file(place, "model.safetensors"))
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    after: dict[str, Callable[[Any], Any]] = {
        "Tanh": np.tanh,
        "Identity": lambda x: x,
        "ReLU": lambda x: np.maximum(x, 0),
        "GELU": _gelu,
    }
    if activation not in after:
        raise UnfitError(f"{place.name}: the activation {activation[:80]!r} is not known here")
    if "linear.weight" not in weights:
        raise UnfitError(f"{place.name}: no linear.weight")
    weight, bias = weights["linear.weight"], weights.get("linear.bias", np.float32(0))
    return lambda x: after[activation](x @ weight.T + bias)


def _gelu(x: Any) -> Any:
    import math

    import numpy as np

    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float32])(x / math.sqrt(2)))


def _tensors(path: Path) -> dict[str, Any]:
    """The tensors of a small safetensors file, as float32. Raises `UnfitError`."""
    import numpy as np

    body = path.read_bytes()
    length = int.from_bytes(body[:8], "little")
    if len(body) < 8 or not 2 <= length <= min(_MOST_HEADER, len(body) - 8):
        raise UnfitError(f"{path.name}: no safetensors file")
    found = {}
    try:
        for name, said in json.loads(body[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = (8 + length + int(n) for n in said["data_offsets"])
            if said["dtype"] not in _STORED or not 8 + length <= begin <= end <= len(body):
                raise UnfitError(f"{path.name}: {str(name)[:80]} is not stored as this engine reads it")
            flat = np.frombuffer(body[begin:end], dtype=_STORED[said["dtype"]])
            found[str(name)] = flat.reshape([int(n) for n in said["shape"]]).astype(np.float32)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as trouble:
        raise UnfitError(f"{path.name}: {str(trouble)[:200]}") from trouble
    return found
