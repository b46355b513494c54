"""The child that holds one encoder: a sentence-transformers folder, or a plain transformers one, that gives vectors.

Runs with the Python of the extra `transformers`. Nothing in the folder can run code: the model's class comes from the
library by its `model_type` alone, and weights are safetensors. What the folder says, what becomes of the states and
the routes are `encoding`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile.child_http import Handler
from domicile.child_life import UnfitError, live
from domicile.encoding.folder import Folder, file, read
from domicile.encoding.routes import Encoder
from domicile.thrift import give_back


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """See `child_life.live`."""
    import torch

    torch.set_num_threads(int(asked["threads"]))
    folder = read(Path(asked["model"]).parent)
    model = _model(torch, folder)
    give_back()

    def run(ids: Any, mask: Any, _: Any) -> Any:
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
        return states.float().numpy()

    return Encoder(asked, folder, run).routes(ranks=False)


def _model(torch: Any, folder: Folder) -> Any:
    from transformers import AutoConfig, AutoModel
    from transformers.initialization import no_init_weights

    kind = folder.config.get("model_type")
    try:
        config = AutoConfig.for_model(kind, **{k: v for k, v in folder.config.items() if k != "model_type"})
        with torch.device("meta"):
            own = dict(AutoModel.from_config(config, dtype=torch.float32).named_parameters())
        with no_init_weights():  # its buffers (positions) are made; its weights are room that nobody touches
            model = AutoModel.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as trouble:
        raise UnfitError(f"config.json: {str(trouble)[:200]}") from trouble
    named = _weights(torch, folder, own, f"{model.base_model_prefix}.")
    missing = [name for name in own if name not in named and "pooler" not in name]
    if missing:
        raise UnfitError(f"weights are missing: {', '.join(missing[:5])}")
    wrong = [name for name, tensor in own.items() if name in named and named[name].shape != tensor.shape]
    if wrong:
        raise UnfitError(f"weights of another shape: {', '.join(wrong[:5])}")
    model.load_state_dict(named, strict=False, assign=True)
    return model.eval()


def _weights(torch: Any, folder: Folder, own: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The model's own tensors of the files, as float32, in memory of ours: read one by one, so that a model is in
    memory once while it is loaded, and not twice."""
    from safetensors import safe_open

    named: dict[str, Any] = {}
    for path in sorted(folder.place.glob("*.safetensors")):
        with safe_open(file(folder.place, path.name), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                short = name if name in own else name.removeprefix(prefix)
                if short in own:
                    named[short] = opened.get_tensor(name).to(torch.float32, copy=True)
    return named
