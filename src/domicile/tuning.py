"""The settings a model is woken with, each with its reason: chosen for this machine, or by a person.

Pure arithmetic over the fit: takes facts, a machine and wishes, gives a `Tuning`. The order of giving way, when
memory is short: first a smaller cache of keys and values, then smaller batches, then a shorter context; a person's
own choice gives way to nothing. Knows no file, no engine and no language: a reason is a key and its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from domicile import fit as fitting
from domicile import memory, speed
from domicile.config import byte_count, seconds
from domicile.errors import BadField
from domicile.types import Death, Facts, FitReport, Hardware, Plan, Reason, Speculation, Terms

SLOT_CONTEXT = 4096
"""Tokens a conversation gets at least, where the memory allows it: a page of chat sends more than a thousand."""
BATCH, SMALL_BATCH = 512, 128
_MOST_SLOTS = 4
_QUANTISED_KV = "q8_0"

By = Literal["house", "you", "settings", "request"]
"""Who chose a value."""


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(str(value))
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(value)
        return number

    return read


def _one_of(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        said = str(value).strip().lower()
        if said not in allowed:
            raise ValueError(value)
        return said

    return read


def _switch(value: object) -> bool:
    said = str(value).strip().lower()
    if said in {"on", "true", "yes", "1"}:
        return True
    if said in {"off", "false", "no", "0"}:
        return False
    raise ValueError(value)


def _duration(value: object) -> float:
    found = seconds(value)
    return -1.0 if math.isinf(found) else found  # JSON knows no infinity


def _shares(value: object) -> list[float]:
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    found = [float(str(part)) for part in parts]
    if not found or any(not 0 <= part <= 1000 for part in found) or not sum(found):
        raise ValueError(value)
    return found


def _name(value: object) -> str:
    said = str(value).strip()
    if not said or len(said) > 500:
        raise ValueError(value)
    return said


TUNABLE: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "context": (_whole(256, 1 << 24), "256 ... 16777216"),
    "slots": (_whole(1, 64), "1 ... 64"),
    "kv": (_one_of(*memory.KV_TYPES), ", ".join(memory.KV_TYPES)),
    "gpu_layers": (_whole(0, 4096), "0 ... 4096"),
    "split": (_shares, "0.6,0.4"),
    "threads": (_whole(1, 512), "1 ... 512"),
    "batch": (_whole(16, 8192), "16 ... 8192"),
    "flash_attention": (_switch, "on, off"),
    "mmap": (_switch, "on, off"),
    "low_memory": (_switch, "on, off"),
    "cache": (byte_count, "0, 512MiB"),
    "speculation": (_one_of("off", "ngram", "draft"), "off, ngram, draft"),
    "draft": (_name, "org/repo:Q4_K_M"),
    "keep_alive": (_duration, "0, 10m, -1"),
}
"""What can be set for one model (`domicile set`): how it is read, and what may be written."""


def read(given: Mapping[str, object]) -> dict[str, Any]:
    """Settings as a person or a program writes them; None or an empty text gives the choice back to the house (and
    stays None here). Raises `BadField`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in TUNABLE:
            raise BadField(field=name[:60], problem=name[:60], reason="tunable", allowed=", ".join(TUNABLE))
        if value is None or value == "":
            found[name] = None
            continue
        parse, allowed = TUNABLE[name]
        try:
            found[name] = parse(value)
        except (ValueError, TypeError, OverflowError) as trouble:
            raise BadField(field=name, problem=repr(value)[:80], reason="one_of", allowed=allowed) from trouble
    return found


@dataclass(frozen=True, slots=True)
class House:
    """What holds for every model, from the settings. 0 is "chosen for you"."""

    context: int
    slots: int = 0
    threads: int = 0
    threads_for: int = 1
    """The number of threads that suits this machine."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A small model that can guess for a larger one."""

    name: str
    path: Path
    need_bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting: its value, who chose it, and why."""

    value: Any
    by: By
    why: Reason


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to wake a model."""

    plan: Plan
    threads: int
    report: FitReport
    choices: Mapping[str, Choice]
    note: Reason | None
    """Settings are safer than usual, and why."""
    draft: Draft | None
    keep_alive_s: float | None


@dataclass(frozen=True, slots=True)
class _Try:
    """One launch that is held against the machine."""

    context: int
    slots: int
    kv: str
    batch: int
    flash: bool
    gpu_layers: int | None
    cache: int | None


def tune(
    facts: Facts,
    machine: Hardware,
    house: House,
    own: Mapping[str, Any],
    terms: Terms,
    *,
    drafts: Sequence[Draft] = (),
    measured: Sequence[speed.Measured] = (),
) -> Tuning:
    """The settings for one waking. `own` are the model's (`read`); `drafts` can guess for it, the best first."""
    asked, by_context, why_context = _context(facts, house, own, terms)
    wish = _Try(
        context=asked,
        slots=own.get("slots") or house.slots or 1,
        kv=own.get("kv") or "f16",
        batch=own.get("batch") or BATCH,
        flash=own.get("flash_attention", True) is not False,
        gpu_layers=own.get("gpu_layers"),
        cache=own.get("cache"),
    )
    threads = own.get("threads") or house.threads or house.threads_for
    if terms.careful is not None:
        wish, threads = _safer(wish, threads, terms.careful, facts)
    low = own.get("low_memory")
    steps = list(_steps(wish, own, facts, low=low, careful=terms.careful))

    def judge(one: _Try) -> FitReport:
        return fitting.fit(
            facts, machine, context=one.context, kv_type_k=one.kv, kv_type_v=one.kv, slots=one.slots,
            ubatch=one.batch, flash_attention=one.flash, gpu_layers=one.gpu_layers, cache_bytes=one.cache,
            measured=measured,
        )  # fmt: skip

    chosen, report, shortened = _first_that_fits(steps, judge, may_shorten="context" not in own and not _told(terms))
    chosen, slots_why = _more_slots(chosen, report, facts, machine, house, own, judge, terms)
    report = judge(chosen)
    plan = fitting.plan(
        report, machine, kv_type_k=chosen.kv, kv_type_v=chosen.kv, slots=chosen.slots, ubatch=chosen.batch,
        flash_attention=chosen.flash,
    )  # fmt: skip
    speculation, draft, why_speculation = _speculation(own, drafts, terms.careful)
    plan = replace(
        plan,
        mmap=bool(own.get("mmap")) and terms.careful is None,
        speculation=speculation,
        draft=str(draft.path) if draft else None,
        tensor_split=tuple(own["split"]) if own.get("split") and report.gpu_layers else plan.tensor_split,
    )
    by = {name: "you" if own.get(name) is not None else "house" for name in TUNABLE}
    choices = {
        "context": Choice(
            report.context,
            "house" if shortened or terms.careful else by_context,
            Reason("tune.context_short", {"asked": asked, "context": report.context}) if shortened else why_context,
        ),
        "slots": Choice(chosen.slots, "settings" if house.slots and not own.get("slots") else by["slots"], slots_why),
        "kv": Choice(chosen.kv, by["kv"], _why_kv(chosen, wish, own)),
        "gpu_layers": Choice(report.gpu_layers, by["gpu_layers"], _why_layers(report, facts, machine)),
        "split": Choice(list(plan.tensor_split), by["split"], _why_split(plan)),
        "threads": Choice(
            threads,
            "settings" if house.threads and not own.get("threads") else by["threads"],
            Reason("tune.threads" if threads == house.threads_for else "tune.asked", {"n": threads}),
        ),
        "batch": Choice(
            chosen.batch, by["batch"], Reason("tune.batch" if chosen.batch >= BATCH else "tune.batch_small", {})
        ),
        "flash_attention": Choice(chosen.flash, by["flash_attention"], Reason("tune.flash", {})),
        "mmap": Choice(plan.mmap, by["mmap"], Reason("tune.mmap" if plan.mmap else "tune.no_mmap", {})),
        "low_memory": Choice(
            chosen.batch < BATCH and chosen.kv != "f16",
            by["low_memory"],
            Reason("tune.low_memory" if chosen.batch < BATCH else "tune.enough_memory", {"room": report.available_bytes}),
        ),
        "cache": Choice(plan.cache_ram_bytes, by["cache"], Reason("tune.cache", {"size": plan.cache_ram_bytes})),
        "speculation": Choice(speculation, by["speculation"], why_speculation),
        "draft": Choice(draft.name if draft else None, by["draft"], why_speculation),
    }
    note = None
    if terms.careful is not None:
        note = Reason("tune.careful", {"died": terms.careful, "context": report.context, "kv": chosen.kv})
    keep = own.get("keep_alive")
    return Tuning(plan, threads, report, choices, note, draft, None if keep is None else math.inf if keep < 0 else keep)


def _told(terms: Terms) -> bool:
    return False if terms.context is None else terms.careful is None and terms.context < SLOT_CONTEXT


def _context(facts: Facts, house: House, own: Mapping[str, Any], terms: Terms) -> tuple[int, By, Reason]:
    """Tokens of one conversation that are wished, by whom, and why so many."""
    trained = facts.context_length
    if own.get("context"):
        wished, by, why = int(own["context"]), "you", Reason("tune.asked", {"n": own["context"]})
    else:
        wished, by, why = house.context, "settings", Reason("tune.context", {"n": house.context})
    if terms.context is not None and terms.context > wished:
        wished, by, why = terms.context, "request", Reason("tune.requested", {"n": terms.context})
    if trained and wished > trained and by != "you":
        return trained, "house", Reason("tune.trained", {"n": trained})
    return max(1, wished), by, why  # type: ignore[return-value]


def _safer(wish: _Try, threads: int, died: Death, facts: Facts) -> tuple[_Try, int]:
    """What may mend a death: of memory, half the context and smaller parts; of a crash, the plainest way through the
    engine (cache as it is trained, no graphics card, fewer threads)."""
    if died == "memory":
        layers = len(facts.layers) + 1 if wish.gpu_layers is None else wish.gpu_layers
        return replace(
            wish,
            context=max(min(wish.context, fitting.SMALLEST_CONTEXT), wish.context // 2),
            slots=1,
            kv=_quantised(wish, facts),
            batch=min(wish.batch, SMALL_BATCH),
            gpu_layers=layers * 3 // 4,
            cache=0,
        ), threads
    if died == "fault":
        short = max(min(wish.context, fitting.SMALLEST_CONTEXT), wish.context // 2)
        plain = replace(wish, kv="f16", gpu_layers=0, cache=0, context=short, slots=1)
        return plain, max(1, threads // 2)
    return wish, threads


def _quantised(wish: _Try, facts: Facts) -> str:
    allowed = memory.trouble(memory.loaded(facts), _QUANTISED_KV, _QUANTISED_KV, wish.flash) is None
    return _QUANTISED_KV if allowed and wish.kv in {"f16", "f32", "bf16"} else wish.kv


def _steps(
    wish: _Try, own: Mapping[str, Any], facts: Facts, *, low: bool | None, careful: Death | None
) -> Sequence[_Try]:
    """From the best to the most modest; a person's own settings stay in all of them."""
    kv = wish.kv if "kv" in own or careful == "fault" else _quantised(wish, facts)
    batch = wish.batch if "batch" in own else min(wish.batch, SMALL_BATCH)
    cache = wish.cache if "cache" in own else 0
    modest = replace(wish, kv=kv, batch=batch, cache=cache)
    if low is True:
        return [modest]
    if low is False:
        return [wish]
    steps = [wish, replace(wish, kv=kv), modest]
    return [s for n, s in enumerate(steps) if s not in steps[:n]]


def _first_that_fits(
    steps: Sequence[_Try], judge: Callable[[_Try], FitReport], *, may_shorten: bool
) -> tuple[_Try, FitReport, bool]:
    """The first step that fits; else the most modest one, with the longest context that fits if it may be shorter."""
    for step in steps:
        report = judge(step)
        if report.verdict in {"fits", "tight", "partly_on_gpu", "unknown"}:
            return step, report, False
    last = steps[-1]
    report = judge(last)
    if may_shorten and report.max_context and fitting.SMALLEST_CONTEXT <= report.max_context < last.context:
        last = replace(last, context=report.max_context)
        return last, judge(last), True
    return last, report, False


def _more_slots(
    chosen: _Try,
    report: FitReport,
    facts: Facts,
    machine: Hardware,
    house: House,
    own: Mapping[str, Any],
    judge: Callable[[_Try], FitReport],
    terms: Terms,
) -> tuple[_Try, Reason]:
    """More conversations at once where they cost little: all of the model on a card, or eight cores and more."""
    if own.get("slots") or house.slots:
        return chosen, Reason("tune.asked", {"n": chosen.slots})
    each = (report.kv_bytes or 0) + (report.state_bytes or 0)
    whole_on_card = report.gpu_layers == len(facts.layers) + 1
    most = _MOST_SLOTS if whole_on_card else 2 if (machine.physical_cores or 1) >= 8 else 1
    if terms.careful is None and report.verdict == "fits":
        for slots in range(most, 1, -1):
            more = replace(chosen, slots=slots)
            found = judge(more)
            same = (found.verdict, found.gpu_layers) == (report.verdict, report.gpu_layers)
            if same and (found.total_bytes or 0) <= (found.available_bytes or 0) // 2:
                return more, Reason("tune.slots", {"n": slots, "each": each})
    return chosen, Reason("tune.one_slot", {"each": each})


def _speculation(
    own: Mapping[str, Any], drafts: Sequence[Draft], careful: Death | None
) -> tuple[Speculation, Draft | None, Reason]:
    wished = own.get("speculation")
    if careful is not None and wished not in {None, "off"}:
        return "off", None, Reason("tune.careful_plain", {})
    if wished == "ngram":
        return "ngram", None, Reason("tune.ngram", {})
    if wished == "draft":
        named = own.get("draft")
        draft = next((d for d in drafts if named is None or d.name == named), None)
        if draft is None:
            return "off", None, Reason("tune.no_draft", {"name": named})
        return "draft", draft, Reason("tune.draft", {"name": draft.name})
    return "off", None, Reason("tune.no_speculation", {})


def _why_kv(chosen: _Try, wish: _Try, own: Mapping[str, Any]) -> Reason:
    if own.get("kv"):
        return Reason("tune.asked", {"n": chosen.kv})
    return Reason("tune.kv" if chosen.kv == wish.kv else "tune.kv_small", {"kv": chosen.kv})


def _why_layers(report: FitReport, facts: Facts, machine: Hardware) -> Reason:
    everything = len(facts.layers) + 1
    if not any(gpu.engine for gpu in machine.gpus):
        return Reason("tune.no_gpu", {})
    if report.gpu_layers >= everything:
        return Reason("tune.all_layers", {"n": report.gpu_layers})
    return Reason("tune.some_layers", {"n": report.gpu_layers, "all": everything})


def _why_split(plan: Plan) -> Reason:
    return Reason("tune.split" if plan.tensor_split else "tune.no_split", {})
