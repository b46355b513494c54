"""What models take in the engines beside llama.cpp: the sums of the house against children that were measured."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

MEASURED = Path(__file__).parents[1] / "bench" / "data" / "fit_formats.csv"
ROWS = list(csv.DictReader(MEASURED.read_text("utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']} {row['shape']} {row['detail']}")
def test_what_was_said_is_within_a_tenth_of_what_was_taken_and_hardly_under(row: dict[str, str]) -> None:
    from bench.fit_formats import predicted_again

    off = predicted_again(row) / int(row["taken"]) - 1
    assert -0.03 < off < 0.1
