"""What models take in the engines beside llama.cpp: the sums of the house against children that were measured."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from domicile import runtime_memory
from domicile.engines import onnx_child
from domicile.runtime_memory import graph
from domicile.types import Facts, Layer, Tensor

MEASURED = Path(__file__).parents[1] / "bench" / "data" / "fit_formats.csv"
ROWS = list(csv.DictReader(MEASURED.read_text("utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']} {row['shape']} {row['detail']}")
def test_what_was_said_is_within_a_tenth_of_what_was_taken_and_hardly_under(row: dict[str, str]) -> None:
    from bench.fit_formats import predicted_again

    off = predicted_again(row) / int(row["taken"]) - 1
    assert -0.03 < off < 0.1


def _graph(stored: str) -> Facts:
    """smollm2-135m as a graph whose head is its table of words."""
    width, words = (2 if stored == "F16" else 4), 49152
    sizes = words * 576 * width, 106_000_000 * width
    tensors = (Tensor("table", (576, words), stored, sizes[0]), Tensor("rest", (106_000_000,), stored, sizes[1]))
    layers = (Layer("attention", 9, 3, 64, 64, n_ff=1536),) * 30
    task = "text-generation"
    return Facts(
        "onnx", sum(sizes), sum(sizes), "llama", task=task, n_vocab=words, n_embd=576, layers=layers, tensors=tensors
    )


def test_a_graph_in_half_precision_needs_what_one_in_float32_does_but_for_its_table_of_words() -> None:
    half, full = graph(_graph("F16"), 2048), graph(_graph("F32"), 2048)
    assert full.bytes - half.bytes == 49152 * 576 * 2
    assert full.weights == (106_000_000 + 2 * 49152 * 576) * 4  # the head is made of the table


def test_the_fit_knows_how_many_tokens_a_graph_reads_at_once() -> None:
    assert (onnx_child._PIECE, onnx_child._SCORES) == (runtime_memory.GRAPH_PIECE, runtime_memory.GRAPH_SCORES)
