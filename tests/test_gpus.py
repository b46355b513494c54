"""What the table of cards promises: whole names only, and the traps said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domicile import gpus, i18n, quality
from tests.shapes import EIGHT_B, card, facts, laptop


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "RTX 5090 Mobile"),
        ("RTX 4070 Ti SUPER", "RTX 4070 Ti Super"),
        ("RTX 4070 Ti", "RTX 4070 Ti"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("AMD Radeon RX 7900 XTX", "RX 7900 XTX"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770"),
        ("RTX 3060 12GB", "RTX 3060"),
        ("M3 Max", "Apple M3 Max (30-core GPU)"),
        ("Apple M4 Max (40-core GPU)", "Apple M4 Max (40-core GPU)"),
    ],
)
def test_a_card_is_found_by_its_whole_name(said: str, name: str) -> None:
    found = gpus.find(said)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "said",
    ["RTX 4060 Max-Q", "RTX 4090 D", "RTX 3060 16GB", "RTX 40", "4090 Ti", "AMD Radeon Graphics", "", "?"],
)
def test_a_card_that_only_resembles_one_is_not_it(said: str) -> None:
    assert gpus.find(said) is None


def test_the_memory_said_with_a_name_is_kept() -> None:
    assert gpus.asked_vram("RTX 3060 12GB") == 12
    assert gpus.asked_vram("RTX 4090") is None


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    assert "RTX 4090" in gpus.nearest("RTX 4090 D")
    assert gpus.nearest("toaster") == ()


def test_a_laptop_card_reads_slower_than_its_namesake() -> None:
    desktop, laptop_card = gpus.find("RTX 4090"), gpus.find("RTX 4090 Laptop")
    assert desktop is not None
    assert laptop_card is not None
    assert laptop_card.bandwidth_bytes_per_s < 0.6 * desktop.bandwidth_bytes_per_s
    assert "laptop" in laptop_card.traps


def test_the_machines_own_cards_get_the_tables_bandwidth() -> None:
    machine = laptop(gpus=(replace(card("NVIDIA GeForce RTX 3060"), bandwidth_bytes_per_s=None),))
    assert gpus.completed(machine).gpus[0].bandwidth_bytes_per_s == 360e9


def test_every_trap_of_the_table_has_words() -> None:
    words = {lang: i18n.words(lang) for lang in i18n.LANGUAGES}
    traps = {trap for one in gpus.cards() for trap in one.traps}
    assert traps
    assert all(f"trap.{trap}" in words[lang] for trap in traps for lang in ("en", "fr"))
    assert "passive" in (gpus.find("Tesla P40") or gpus.cards()[0]).traps
    assert "dual_chip" in (gpus.find("Tesla K80") or gpus.cards()[0]).traps


def test_which_cards_run_this_model() -> None:
    some = [gpus.find(name) for name in ("RTX 4090", "RTX 3060", "RTX 3050 Mobile", "GTX 1050 Ti")]
    found = gpus.cards_for(EIGHT_B, among=[one for one in some if one])
    whole = [(c.card.name, c.vram_gib) for c in found if c.whole]
    assert whole == [("RTX 3060", 8), ("RTX 3060", 12), ("RTX 4090", 24)]
    assert {c.report.verdict for c in found if not c.whole} == {"partly_on_gpu"}
    fastest = max(found, key=lambda c: c.tokens_per_second)
    assert fastest.card.name == "RTX 4090"


def test_another_machine_can_be_asked_about() -> None:
    chip = gpus.find("Apple M2")
    assert chip is not None
    machine = gpus.machine_with(chip, vram_gib=16)
    assert machine.ram_bytes == 16 << 30
    assert machine.gpus[0].unified


def test_advice_is_computed() -> None:
    enough = gpus.advise(facts(), laptop())
    assert enough.reason.key == "enough_here"
    slow = gpus.advise(EIGHT_B, laptop(ram_gib=32), wish=30)
    assert slow.reason.key == "buy_for_speed"
    assert slow.candidates[0].card.launch_usd is not None
    assert slow.candidates[0].tokens_per_second >= 30
    huge = replace(EIGHT_B, weights_bytes=400_000_000_000)
    assert gpus.advise(huge, laptop()).reason.key == "no_card"
    cannot = gpus.advise(EIGHT_B, laptop(ram_gib=4))
    assert cannot.reason.key == "buy_to_run"


def test_quantisations_are_known_by_the_names_people_write() -> None:
    written = {
        "q4_k_m": "Q4_K_M",
        "UD-Q4_K_XL": "Q4_K_M",
        "Q4_K": "Q4_K_M",
        "model-IQ3_XXS": "IQ3_XXS",
        "BF16": "BF16",
        "Q6_K_L": "Q6_K",
    }
    for said, label in written.items():
        found = quality.find(said)
        assert found is not None, said
        assert found.label == label
    assert quality.find("Q4_9") is None


def test_fewer_bits_lose_more_on_both_families() -> None:
    order = [quality.find(label) for label in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")]
    losses = [row.loss_llama3_8b for row in order if row and row.loss_llama3_8b is not None]
    assert losses == sorted(losses)
    assert quality.loss("Q4_K_M") == pytest.approx(2.82)
    assert quality.bits("Q4_K_M", replace(EIGHT_B)) == pytest.approx(4.90, abs=0.01)
