"""The child of the ONNX engine: one model that writes text, or gives vectors or scores, asked in OpenAI's dialect.

Runs with the Python of the extra `onnx`. The routes, how tokens are chosen and how callers take turns are `textgen`'s;
what an encoder's states become is `encoding`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_http import Handler
from domicile.child_life import UnfitError, live
from domicile.encoding import graph as graph_of_encoder
from domicile.encoding.routes import tokenizer_of
from domicile.textgen import template
from domicile.textgen.graphs import GENAI, Opened, open_folder
from domicile.textgen.rows import Row
from domicile.textgen.turns import Turns
from domicile.textgen.voice import Voice
from domicile.thrift import give_back

_PIECE = 256
"""Tokens of a prompt read at once at most: a graph gives scores of every word for each of them."""
_SCORES = 2**24
"""So many scores at most (64 MiB). What both are is known to the fit (`runtime_memory`)."""


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """The model, and the routes that answer for it."""
    if asked["embedding"]:
        return graph_of_encoder.routes(asked)
    files = [Path(file) for file in asked["files"]]
    graph = Path(asked["model"])
    config = next((f for name in (GENAI, "config.json") for f in files if f.name == name), None)
    root = config.parent if config else graph.parent
    if graph.suffix != ".onnx":
        graph = next((f for f in files if f.suffix == ".onnx"), graph)
    if not graph.resolve().is_relative_to(root.resolve()):
        raise UnfitError(f"{graph.name} is outside its folder")
    opened = open_folder(root, graph, int(asked["threads"]))
    give_back()
    return Onnx(opened, root, asked).routes()


class Onnx(Voice):
    """A model of onnxruntime."""

    def __init__(self, opened: Opened, root: Path, asked: Mapping[str, Any]) -> None:
        slots = max(1, int(asked["plan"]["n_parallel"]))
        tokens = int(asked["plan"]["n_ctx"])
        context = min(tokens // slots, opened.context or tokens)
        super().__init__(str(asked["alias"]), context, runtime=opened.runtime)
        self._tokenizer = tokenizer_of(root)
        self._template = template.read(root, asked.get("template"))
        piece = min(_PIECE, _SCORES // max(1, self.vocabulary()))
        self._turns = Turns(opened.start, slots, tokens, max(1, piece))
        self.ends = opened.ends

    def encode(self, text: str) -> list[int]:
        """See `Voice`."""
        return list(self._tokenizer.encode(text).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Voice`."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def vocabulary(self) -> int:
        """See `Voice`."""
        return int(self._tokenizer.get_vocab_size())

    def rendered(self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
        """See `Voice`."""
        return self._template.render(messages, data)

    def read_chat(
        self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, Any]]:
        """See `Voice`. A template writes the special tokens itself."""
        special = self._template.source is None
        return list(self._tokenizer.encode(self.rendered(messages, data), add_special_tokens=special).ids), {}

    def add(self, row: Row) -> None:
        """See `Voice`."""
        self._turns.add(row)
