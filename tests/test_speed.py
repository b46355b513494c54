"""What speed promises: an interval with its reason, or unknown with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domicile import speed
from domicile.types import Calibration, Layer
from tests.shapes import EIGHT_B, card, facts, laptop


def test_a_dense_model_reads_all_of_itself_but_one_row_of_its_embedding() -> None:
    assert speed.touched_bytes(EIGHT_B) == 4_920_000_000 - 300_000_000
    assert speed.touched_bytes(facts()) == 762_810_000  # tied: the embedding is the output, and is read


def test_a_mixture_reads_the_experts_it_uses() -> None:
    mixture = replace(
        EIGHT_B, n_expert=128, n_expert_used=8, parameters=30_000_000_000, active_parameters=3_000_000_000
    )
    touched = speed.touched_bytes(mixture)
    assert touched == pytest.approx(0.1 * 4_620_000_000)


def test_a_longer_conversation_reads_more() -> None:
    short = speed.touched_bytes(facts(), context=100, kv_cell_bytes=32768)
    assert speed.touched_bytes(facts(), context=1100, kv_cell_bytes=32768) == (short or 0) + 1000 * 32768


def test_published_cards_are_inside_their_interval() -> None:
    """Llama-3-8B Q4_K_M, tokens a second as published (bench/data/public_speed.csv)."""
    for name, gbps, published in (
        ("RTX 3090", 936, 111.74),
        ("RTX 4090", 1008, 127.74),
        ("RTX 4070 Ti", 504, 82.21),
    ):
        told = speed.estimate(EIGHT_B, laptop(), touched=4.69e9, gpu=card(name, gbps=gbps))
        assert told.low is not None
        assert told.high is not None
        assert told.low < published < told.high
        assert told.why.key == "speed_bandwidth"


def test_stacked_memory_is_not_believed_at_its_word() -> None:
    told = speed.estimate(EIGHT_B, laptop(), touched=4.69e9, gpu=card("A100", 80, 2039))
    assert (told.low or 0) < 133.4 < (told.high or 0)


def test_a_processor_is_unknown_until_it_is_calibrated() -> None:
    told = speed.estimate(facts(), laptop(calibrated=False), touched=8e8)
    assert (told.low, told.high, told.why.key) == (None, None, "speed_not_calibrated")


def test_each_family_of_types_has_its_own_calibration() -> None:
    machine = replace(laptop(), calibration=Calibration("llama", 30e9, 1.0, 0.5, 4, 0.0))
    legacy = speed.estimate(replace(facts(), quantisation="Q8_0"), machine, touched=1e9)
    k = speed.estimate(replace(facts(), quantisation="Q4_K_M"), machine, touched=1e9)
    assert legacy.low == pytest.approx(2 * (k.low or 0), rel=0.02)  # a token has a cost of its own


def test_a_busy_machine_lowers_the_low_end_most_and_says_so() -> None:
    free = speed.estimate(facts(), laptop(), touched=8e8)
    busy = speed.estimate(facts(), laptop(), touched=8e8, busy=1.0)
    assert busy.why.key == "speed_busy"
    assert (busy.low or 0) < 0.5 * (free.low or 0)
    assert 0.7 * (free.high or 0) < (busy.high or 0) < (free.high or 0)


def test_a_first_run_moves_the_interval_and_a_second_narrows_it() -> None:
    machine = laptop()
    before = speed.estimate(facts(), machine, touched=8e8)
    middle = ((before.low or 0) + (before.high or 0)) / 2
    one = [speed.Measured(8e8, 16, 1.3 * middle, "k")]
    two = [*one, speed.Measured(4e8, 24, 2.6 * middle, "k")]
    first = speed.estimate(facts(), machine, touched=8e8, measured=one)
    second = speed.estimate(facts(), machine, touched=8e8, measured=two)
    assert (first.low or 0) < 1.3 * middle < (first.high or 0)
    assert (second.high or 0) - (second.low or 0) < (first.high or 0) - (first.low or 0)
    assert (first.high or 0) - (first.low or 0) < (before.high or 0) - (before.low or 0)
    assert second.why.key == "speed_measured"
    assert second.why.facts["n"] == 2


def test_a_run_of_the_other_family_or_of_another_device_says_nothing() -> None:
    runs = [speed.Measured(8e8, 16, 500.0, "legacy"), speed.Measured(8e8, 16, 500.0, "k", device="RTX 4090")]
    assert speed.estimate(facts(), laptop(), touched=8e8, measured=runs).why.key == "speed_calibrated"


def test_the_prompt_has_a_class_not_a_number() -> None:
    small = replace(facts(), parameters=300_000_000)
    assert speed.estimate(EIGHT_B, laptop(), touched=5e9).prefill == "slow"
    assert speed.estimate(small, laptop(), touched=3e8).prefill == "fast"
    assert speed.estimate(EIGHT_B, laptop(), touched=5e9, gpu=card()).prefill == "very_fast"


def test_a_gpu_without_a_known_bandwidth_is_unknown() -> None:
    told = speed.estimate(EIGHT_B, laptop(), touched=5e9, gpu=replace(card(), bandwidth_bytes_per_s=None))
    assert (told.low, told.why.key) == (None, "speed_unknown_gpu")


def test_a_file_of_which_nothing_is_known_has_no_speed() -> None:
    assert speed.touched_bytes(replace(facts(), weights_bytes=None)) is None
    told = speed.estimate(replace(facts(), layers=()), laptop(), touched=1e9)
    assert told.why.key == "speed_unknown_model"
    assert speed.estimate(replace(facts(), layers=(Layer(),)), laptop(), touched=None).low is None
