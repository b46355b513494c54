"""The child that holds one encoder: a sentence-transformers folder, or a plain transformers one, that gives vectors.

Runs with the Python of the extra `transformers`. Nothing in the folder can run code: the model's class comes from the
library by its `model_type` alone, and weights are safetensors. What the folder says, what becomes of the states and
the routes are `encoding`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domicile.child_http import Handler
from domicile.child_life import UnfitError, live
from domicile.encoding.folder import Folder, file, read
from domicile.encoding.routes import Encoder


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """See `child_life.live`."""
    import torch

    torch.set_num_threads(int(asked["threads"]))
    folder = read(Path(asked["model"]).parent)
    model = _model(torch, folder)

    def run(ids: Any, mask: Any, _: Any) -> Any:
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        return states.float().numpy()

    return Encoder(asked, folder, run).routes(ranks=False)


def _model(torch: Any, folder: Folder) -> Any:
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
        weights |= load_file(file(folder.place, path.name))
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
