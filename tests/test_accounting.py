"""Memory is given to whoever asked first; models nobody uses give theirs back, the longest unused first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domicile.runner.accounting import Bytes, Decision, Holding, decide, reachable


def _holding(name: str, ram: int, used_at: float, *, busy: bool = False, pinned: bool = False) -> Holding:
    return Holding(name, Bytes(ram), busy, pinned, used_at)


def test_what_fits_goes_without_disturbing_anybody() -> None:
    assert decide(Bytes(10), Bytes(10), [_holding("a", 5, 1)]) == Decision(go=True)


def test_the_longest_unused_sleeps_and_no_more_than_needed() -> None:
    holdings = [_holding("new", 10, 3), _holding("old", 10, 1), _holding("middle", 10, 2)]
    assert decide(Bytes(15), Bytes(5), holdings).evict == ("old",)
    assert decide(Bytes(25), Bytes(5), holdings).evict == ("old", "middle")


def test_a_small_model_is_spared_when_a_larger_one_must_sleep_anyway() -> None:
    holdings = [_holding("small", 2, 1), _holding("large", 20, 2)]
    assert decide(Bytes(20), Bytes(0), holdings).evict == ("large",)


def test_a_model_in_use_is_drained_and_never_sent_to_sleep() -> None:
    holdings = [_holding("idle", 5, 9), _holding("busy", 20, 1, busy=True)]
    assert decide(Bytes(22), Bytes(0), holdings) == Decision(evict=("idle",), drain=("busy",))
    assert decide(Bytes(4), Bytes(0), holdings) == Decision(evict=("idle",))


def test_a_pinned_model_stays_and_what_never_fits_is_said_at_once() -> None:
    holdings = [_holding("pinned", 20, 1, pinned=True), _holding("idle", 5, 2)]
    assert decide(Bytes(10), Bytes(0), holdings).never
    assert decide(Bytes(5), Bytes(0), holdings).evict == ("idle",)


def test_each_graphics_card_counts_by_itself() -> None:
    holdings = [
        Holding("on first", Bytes(1, (8, 0)), False, False, 1),
        Holding("second", Bytes(1, (0, 8)), False, False, 2),
    ]
    assert decide(Bytes(0, (0, 8)), Bytes(5, (8, 0)), holdings).evict == ("second",)
    assert decide(Bytes(0, (12, 12)), Bytes(5, (0, 0)), holdings).never


_HOLDINGS = st.lists(
    st.builds(
        Holding,
        st.uuids().map(str),
        st.builds(Bytes, st.integers(1, 50), st.tuples(st.integers(0, 20), st.integers(0, 20))),
        st.booleans(),
        st.booleans(),
        st.floats(0, 100),
    ),
    max_size=7,
    unique_by=lambda h: h.name,
)
_BYTES = st.builds(Bytes, st.integers(0, 100), st.tuples(st.integers(0, 40), st.integers(0, 40)))


@given(_BYTES, _BYTES, _HOLDINGS)
def test_whatever_is_decided_is_enough_is_needed_and_spares_who_is_busy_or_pinned(
    need: Bytes, free: Bytes, holdings: list[Holding]
) -> None:
    decision = decide(need, free, holdings)
    by_name = {h.name: h for h in holdings}
    moved = [by_name[n] for n in decision.evict + decision.drain]
    assert not any(h.pinned for h in moved)
    assert not any(by_name[n].busy for n in decision.evict)
    assert decision.go == need.fits(free)
    if decision.never:
        assert not need.fits(reachable(free, [h for h in holdings if not h.pinned]))
        assert not moved
    elif not decision.go:
        assert need.fits(reachable(free, moved))
        for spared in moved:
            assert not need.fits(reachable(free, [h for h in moved if h is not spared]))
