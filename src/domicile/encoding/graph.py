"""An encoder in ONNX: vectors, or scores where its head gives them (rerankers).

The graph is looked at before it is opened, and lies in the folder of its `config.json` or in `onnx/` of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domicile.child_http import Handler
from domicile.child_life import UnfitError
from domicile.encoding.folder import read
from domicile.encoding.routes import Encoder
from domicile.onnx_folder import session_of
from domicile.thrift import give_back

_GIVEN = ("input_ids", "attention_mask", "token_type_ids")
_STATES = ("last_hidden_state", "token_embeddings", "hidden_states")
_WHOLE = ("sentence_embedding", "embeddings", "dense_vecs")


def routes(asked: dict[str, Any]) -> dict[str, Handler]:
    """Open the graph of an encoder, and who answers for it. Raises `UnfitError`."""
    import numpy as np

    graph = Path(asked["model"])
    root = next((place for place in (graph.parent, graph.parent.parent) if (place / "config.json").is_file()), None)
    if root is None:
        raise UnfitError("no config.json")
    folder = read(root)
    session = session_of(graph, root, int(asked["threads"]))
    inputs = {one.name for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    if "input_ids" not in inputs or (more := sorted(inputs - set(_GIVEN))):
        raise UnfitError(
            f"{graph.name}: a graph of another kind than texts ({', '.join(more or sorted(inputs))})"[:300]
        )
    ranks = "logits" in outputs and len(outputs["logits"].shape) == 2
    wanted = next((name for name in ("logits" if ranks else "", *_STATES, *_WHOLE) if name in outputs), None)
    if wanted is None:
        raise UnfitError(f"{graph.name}: neither states nor scores among {', '.join(outputs)}"[:300])

    def run(ids: Any, mask: Any, kinds: Any) -> Any:
        given = {name: made for name, made in zip(_GIVEN, (ids, mask, kinds), strict=True) if name in inputs}
        return session.run([wanted], given)[0].astype(np.float32)

    give_back()
    return Encoder(asked, folder, run).routes(ranks=ranks)
