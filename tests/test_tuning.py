"""The settings of a waking suit the machine, each says why, and a person's own give way to nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from domicile import memory, tunable
from domicile.errors import BadField
from domicile.tuning import Draft, Tuning, Usual, tune
from domicile.types import Facts, Gpu, Hardware, Layer, Terms

GIB = 1 << 30
FACTS = Facts(
    format="gguf",
    file_bytes=4 * GIB,
    weights_bytes=4 * GIB,
    architecture="llama",
    context_length=131072,
    n_vocab=32000,
    n_embd=4096,
    n_ff=11008,
    layers=(Layer(n_head=32, n_head_kv=32, head_dim_k=128, head_dim_v=128, n_ff=11008),) * 32,
    tokenizer="llama",
    tokenizer_bytes=1 << 20,
)
USUAL = Usual(context=8192, threads_for=6)


def _machine(room_gib: float, cores: int = 6, *gpus: Gpu) -> Hardware:
    return Hardware(
        "linux", "a cpu", "x86_64", cores, 2 * cores, None, (), 64 * GIB, 32 * GIB, None, gpus, None,
        room_bytes=int(room_gib * GIB),
    )  # fmt: skip


def _tuned(room_gib: float, terms: Terms = Terms(), *, machine: Hardware | None = None, **own: Any) -> Tuning:  # noqa: B008
    return tune(FACTS, machine or _machine(room_gib), USUAL, tunable.read(own), terms)


def test_with_room_enough_everything_is_as_the_house_gives_it() -> None:
    found = _tuned(30)
    assert (found.plan.n_ctx, found.plan.type_k, found.plan.n_ubatch, found.threads) == (8192, "f16", 512, 6)
    assert found.report.verdict == "fits"
    assert {c.by for c in found.choices.values()} == {"house", "settings"}


def test_short_memory_takes_the_cache_first_then_the_batch_and_the_context_last() -> None:
    wide, kv = _tuned(9.2), _tuned(7)
    assert (wide.plan.type_k, wide.plan.context) == ("f16", 8192)
    assert (kv.plan.type_k, kv.plan.context) == ("q8_0", 8192)
    short = _tuned(5.5)
    assert (short.plan.type_k, short.plan.n_ubatch) == ("q8_0", 128)
    assert 2048 <= short.plan.context < 8192
    assert short.choices["context"].why.key == "tune.context_short"
    assert short.choices["low_memory"].value is True
    for found in (wide, kv, short):
        assert found.report.total_bytes is not None
        assert found.report.total_bytes <= (found.report.available_bytes or 0)


def test_a_persons_own_settings_give_way_to_nothing() -> None:
    found = _tuned(5, context=16384, kv="f16", batch=512, cache="1GiB", slots=2, threads=3, keep_alive=-1)
    plan = found.plan
    assert (plan.context, plan.n_parallel, plan.type_k, plan.n_ubatch, found.threads) == (16384, 2, "f16", 512, 3)
    assert plan.cache_ram_bytes == GIB
    assert found.report.verdict == "no"
    assert found.keep_alive_s == math.inf
    assert {found.choices[n].by for n in ("context", "kv", "batch", "slots", "threads", "cache")} == {"you"}


def test_a_request_may_ask_for_more_context_but_not_for_less_nor_for_more_than_the_model_has() -> None:
    assert _tuned(60, Terms(context=16384)).plan.context == 16384
    assert _tuned(60, Terms(context=1024)).plan.context == 8192
    more = tune(replace(FACTS, context_length=12000), _machine(60), USUAL, {}, Terms(context=1 << 20))
    assert more.report.context == 12000


def test_after_a_death_of_memory_everything_is_smaller_and_that_is_said() -> None:
    usual, careful = _tuned(30), _tuned(30, Terms(careful="memory"))
    assert careful.plan.context == usual.plan.context // 2
    assert (careful.plan.type_k, careful.plan.n_ubatch, careful.plan.cache_ram_bytes) == ("q8_0", 128, 0)
    assert (careful.report.total_bytes or 0) < (usual.report.total_bytes or 0)
    assert careful.note is not None
    assert careful.note.facts["died"] == "memory"


def test_after_a_crash_the_engine_goes_the_plainest_way() -> None:
    careful = _tuned(30, Terms(careful="fault"), kv="q8_0", speculation="ngram", mmap="on")
    plan = careful.plan
    assert (plan.type_k, plan.gpu_layers, plan.speculation, plan.mmap) == ("f16", 0, "off", False)
    assert careful.threads == 3


def test_a_card_that_holds_all_of_it_answers_several_and_one_that_does_not_takes_what_it_holds() -> None:
    card = Gpu("A card", "cuda", 48 * GIB, 48 * GIB, engine=True)
    whole = _tuned(30, machine=_machine(30, 6, card))
    assert whole.plan.gpu_layers == 33
    assert whole.plan.n_parallel > 1
    assert whole.choices["gpu_layers"].why.key == "tune.all_layers"
    small = _tuned(30, machine=_machine(30, 6, replace(card, vram_free_bytes=4 * GIB)))
    assert 0 < small.plan.gpu_layers < 33
    fewer = _tuned(30, Terms(careful="memory"), machine=_machine(30, 6, card))
    assert 0 < fewer.plan.gpu_layers <= 33 * 3 // 4


def test_two_cards_share_by_what_is_free_unless_a_person_says_otherwise() -> None:
    card = Gpu("A card", "cuda", 24 * GIB, 5 * GIB, engine=True)
    machine = _machine(30, 6, card, replace(card, vram_free_bytes=9 * GIB))
    assert _tuned(30, machine=machine).plan.tensor_split == pytest.approx((4 / 12, 8 / 12))
    assert _tuned(30, machine=machine, split="1,1").plan.tensor_split == (1.0, 1.0)


def test_a_draft_is_used_when_there_is_one_and_its_absence_is_said() -> None:
    from pathlib import Path

    draft = Draft("small", Path("small.gguf"), GIB)
    own = tunable.read({"speculation": "draft"})
    found = tune(FACTS, _machine(30), USUAL, own, Terms(), drafts=[draft])
    assert (found.plan.speculation, found.plan.draft, found.draft) == ("draft", "small.gguf", draft)
    none = tune(FACTS, _machine(30), USUAL, own, Terms())
    assert none.plan.speculation == "off"
    assert none.choices["speculation"].why.key == "tune.no_draft"
    assert _tuned(30, speculation="ngram").plan.speculation == "ngram"


def test_low_memory_can_be_asked_for_and_refused() -> None:
    assert _tuned(30, low_memory="on").plan.n_ubatch == 128
    assert _tuned(7, low_memory="off").plan.type_k == "f16"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"context": "8192"}, {"context": 8192}),
        ({"kv": "Q8_0"}, {"kv": "q8_0"}),
        ({"keep_alive": "10m"}, {"keep_alive": 600.0}),
        ({"keep_alive": "-1"}, {"keep_alive": -1.0}),
        ({"cache": "512MiB"}, {"cache": 512 << 20}),
        ({"mmap": True, "flash_attention": "off"}, {"mmap": True, "flash_attention": False}),
        ({"split": "3,1"}, {"split": [3.0, 1.0]}),
        ({"context": None, "kv": ""}, {"context": None, "kv": None}),
    ],
)
def test_settings_are_read_as_people_write_them(given: dict[str, object], read: dict[str, object]) -> None:
    assert tunable.read(given) == read


@pytest.mark.parametrize(
    "given",
    [
        {"contex": 1}, {"context": 0}, {"context": True}, {"context": "many"}, {"kv": "f8"}, {"split": "0,0"},
        {"slots": 65}, {"mmap": "perhaps"}, {"keep_alive": "soon"}, {"cache": "-1"}, {"draft": "x" * 501},
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_refused_by_name(given: dict[str, object]) -> None:
    with pytest.raises(BadField) as told:
        tunable.read(given)
    assert told.value.facts["field"] == next(iter(given))


def test_every_kv_type_that_can_be_counted_can_be_set() -> None:
    assert all(tunable.read({"kv": kind}) == {"kv": kind} for kind in memory.KV_TYPES)
