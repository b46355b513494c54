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
from domicile import memory
from domicile.llama_builds import Build
from domicile.tunable import TUNABLE
from domicile.types import Death, Facts, FitReport, Hardware, Plan, Reason, Speculation, Terms

BATCH, SMALL_BATCH = 512, 128
EMBEDDED_TOKENS = 8192
"""The longest text that an embedding model reads, as far as its context and memory go."""
_POOLING_LAST = 3
_MOST_SLOTS = 4
_QUANTISED_KV = "q8_0"

By = Literal["house", "you", "settings", "request", "model"]
"""Who chose a value; `model`: what comes with it, its Modelfile or Ollama's own settings."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What holds for every model, from the settings. 0 is "chosen for you"."""

    context: int
    slots: int = 0
    threads: int = 0
    threads_for: int = 1
    """The number of threads that suits this machine."""
    overflow: str = "refuse"
    """What becomes of a prompt longer than the context."""
    sound: str = "int8"
    """The arithmetic of models that hear."""


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
    build: Build | None = None
    """Of llama.cpp; None where that is not the engine, or for its wheel."""


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
    usual: Usual,
    own: Mapping[str, Any],
    terms: Terms,
    *,
    drafts: Sequence[Draft] = (),
    projector: tuple[Path, int] | None = None,
) -> Tuning:
    """The settings for one waking. `own` are the model's (`read`); `drafts` can guess for it, the best first;
    `projector` is the file of its eyes, and the bytes that takes."""
    eyes_bytes = projector[1] if projector else 0
    asked, by_context, why_context = _context(facts, usual, own, terms)
    wish = _wish(facts, usual, own, asked)
    threads = own.get("threads") or usual.threads or usual.threads_for

    def judge(one: _Try) -> FitReport:
        return fitting.fit(
            facts, machine, context=one.context, kv_type_k=one.kv, kv_type_v=one.kv, slots=one.slots,
            ubatch=one.batch, flash_attention=one.flash, gpu_layers=one.gpu_layers, cache_bytes=one.cache,
            projector_bytes=eyes_bytes, sound=usual.sound,
        )  # fmt: skip

    if terms.careful is not None:
        wish, threads = _safer(wish, threads, terms.careful, facts, judge(wish).gpu_layers)
    steps = _steps(wish, own, facts, low=own.get("low_memory"), careful=terms.careful)
    chosen, report, shortened = _first_that_fits(steps, judge, may_shorten=not own.get("context"))
    chosen, slots_why = _more_slots(chosen, report, facts, machine, usual, own, judge, terms)
    report = judge(chosen)
    speculation, draft, why_speculation = _speculation(own, drafts, terms.careful)
    plan = replace(
        _plan(report, machine, chosen, own, terms),
        speculation=speculation,
        draft=str(draft.path) if draft else None,
        projector=str(projector[0]) if projector else None,
    )
    made = _Made(chosen, plan, threads, report, draft)
    why = {
        "context": Reason("tune.context_short", {"asked": asked, "context": report.context})
        if shortened
        else why_context,
        "slots": slots_why,
        "kv": _why_kv(chosen, wish, own),
        "gpu_layers": _why_layers(report, facts, machine),
        "speculation": why_speculation,
    }
    by = _deciders(own, usual, "house" if shortened or terms.careful else by_context)
    note = None
    if terms.careful is not None:
        note = Reason("tune.careful", {"died": terms.careful, "context": report.context, "kv": chosen.kv})
    keep = own.get("keep_alive")
    way = own.get("overflow") or usual.overflow
    why["overflow"] = Reason("tune.trim" if way == "trim" else "tune.refuse", {})
    choices = _explained(made, why, by, usual)
    return Tuning(plan, threads, report, choices, note, draft, None if keep is None else math.inf if keep < 0 else keep)


def _wish(facts: Facts, usual: Usual, own: Mapping[str, Any], context: int) -> _Try:
    """What is tried first: the model's own settings, and the usual ones."""
    return _Try(
        context=context,
        slots=own.get("slots") or usual.slots or 1,
        kv=own.get("kv") or "f16",
        batch=own.get("batch") or _batch(facts, context),
        flash=own.get("flash_attention", True) is not False,
        gpu_layers=own.get("gpu_layers"),
        cache=own.get("cache"),
    )


def _plan(report: FitReport, machine: Hardware, chosen: _Try, own: Mapping[str, Any], terms: Terms) -> Plan:
    """What the engine is told, but for who guesses and who sees."""
    plan = fitting.plan(
        report, machine, kv_type_k=chosen.kv, kv_type_v=chosen.kv, slots=chosen.slots, ubatch=chosen.batch,
        flash_attention=chosen.flash,
    )  # fmt: skip
    split = tuple(own["split"]) if own.get("split") and report.gpu_layers else plan.tensor_split
    return replace(plan, mmap=bool(own.get("mmap")) and terms.careful is None, tensor_split=split)


def _in_one_batch(facts: Facts) -> bool:
    """Is a text read in one batch, or not at all? Vectors are, but where the last token alone tells
    (llama.cpp server, `server_slot::can_split`)."""
    return facts.task in {"feature-extraction", "text-ranking"} and facts.extra.get("pooling_type") != _POOLING_LAST


def _batch(facts: Facts, context: int) -> int:
    return max(BATCH, min(context, EMBEDDED_TOKENS)) if _in_one_batch(facts) else BATCH


@dataclass(frozen=True, slots=True)
class _Made:
    """What was chosen, whole."""

    chosen: _Try
    plan: Plan
    threads: int
    report: FitReport
    draft: Draft | None


def _deciders(own: Mapping[str, Any], usual: Usual, context: By) -> dict[str, By]:
    """Who chose each setting."""
    by: dict[str, By] = {name: "house" if own.get(name) is None else "you" for name in TUNABLE}
    by["context"] = context
    for name, given in (("slots", usual.slots), ("threads", usual.threads)):
        if given and by[name] == "house":
            by[name] = "settings"
    return by


def _explained(made: _Made, why: Mapping[str, Reason], by: Mapping[str, By], usual: Usual) -> dict[str, Choice]:
    chosen, plan, room = made.chosen, made.plan, {"room": made.report.available_bytes}
    small, whole = chosen.batch < BATCH, chosen.batch > BATCH and by["batch"] == "house"
    values: dict[str, tuple[Any, Reason]] = {
        "context": (made.report.context, why["context"]),
        "slots": (chosen.slots, why["slots"]),
        "kv": (chosen.kv, why["kv"]),
        "gpu_layers": (made.report.gpu_layers, why["gpu_layers"]),
        "split": (list(plan.tensor_split), Reason("tune.split" if plan.tensor_split else "tune.no_split", {})),
        "threads": (
            made.threads,
            Reason("tune.threads" if made.threads == usual.threads_for else "tune.asked", {"n": made.threads}),
        ),
        "batch": (
            chosen.batch,
            Reason("tune.batch_small" if small else "tune.batch_whole" if whole else "tune.batch", {}),
        ),
        "flash_attention": (chosen.flash, Reason("tune.flash" if chosen.flash else "tune.no_flash", {})),
        "mmap": (plan.mmap, Reason("tune.mmap" if plan.mmap else "tune.no_mmap", {})),
        "projector": (plan.projector is not None, _why_eyes(plan, made.report, by)),
        "low_memory": (small, Reason("tune.low_memory" if small else "tune.enough_memory", room)),
        "overflow": ("trim" if why["overflow"].key == "tune.trim" else "refuse", why["overflow"]),
        "cache": (plan.cache_ram_bytes, Reason("tune.cache", {"size": plan.cache_ram_bytes})),
        "speculation": (plan.speculation, why["speculation"]),
        "draft": (made.draft.name if made.draft else None, why["speculation"]),
    }
    return {name: Choice(value, by[name], reason) for name, (value, reason) in values.items()}


def _context(facts: Facts, usual: Usual, own: Mapping[str, Any], terms: Terms) -> tuple[int, By, Reason]:
    """Tokens of one conversation that are wished, by whom, and why so many."""
    trained = facts.context_length
    wished, why = usual.context, Reason("tune.context", {"n": usual.context})
    by: By = "settings"
    if own.get("context"):
        wished, by, why = int(own["context"]), "you", Reason("tune.asked", {"n": own["context"]})
    if terms.context is not None and terms.context > wished:
        wished, by, why = terms.context, "request", Reason("tune.requested", {"n": terms.context})
    if trained and wished > trained and by != "you":
        return trained, "house", Reason("tune.trained", {"n": trained})
    return max(1, wished), by, why


def _safer(wish: _Try, threads: int, died: Death, facts: Facts, layers: int) -> tuple[_Try, int]:
    """What may mend a death: of memory, half the context and smaller parts; of a crash, the plainest way through the
    engine (cache as it is trained, no graphics card, fewer threads)."""
    if died == "memory":
        return replace(
            wish,
            context=max(min(wish.context, fitting.SMALLEST_CONTEXT), wish.context // 2),
            slots=1,
            kv=_quantised(wish, facts),
            batch=wish.batch // 2 if _in_one_batch(facts) else min(wish.batch, SMALL_BATCH),
            gpu_layers=layers * 3 // 4 if layers else wish.gpu_layers,
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
    batch = wish.batch if "batch" in own or _in_one_batch(facts) else min(wish.batch, SMALL_BATCH)
    cache = wish.cache if "cache" in own else 0
    modest = replace(wish, kv=kv, batch=batch, cache=cache)
    if low is True:
        return [modest]
    if low is False:
        return [wish]
    steps = [wish, replace(wish, kv=kv), modest]
    if wish.slots > 1 and not own.get("slots"):
        steps.append(replace(modest, slots=1))  # a conversation that is long enough before several short ones
    return [s for n, s in enumerate(steps) if s not in steps[:n]]


def _first_that_fits(
    steps: Sequence[_Try], judge: Callable[[_Try], FitReport], *, may_shorten: bool
) -> tuple[_Try, FitReport, bool]:
    """The first step that fits; else the most modest one, with the longest context that fits if it may be shorter."""
    judged = [(step, judge(step)) for step in steps]
    for step, report in judged:
        if report.verdict in {"fits", "tight", "unknown"}:
            return step, report, False
    partly = [(step, report) for step, report in judged if report.verdict == "partly_on_gpu"]
    if partly:
        step, report = max(partly, key=lambda one: one[1].gpu_layers)
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
    usual: Usual,
    own: Mapping[str, Any],
    judge: Callable[[_Try], FitReport],
    terms: Terms,
) -> tuple[_Try, Reason]:
    """More conversations at once where they cost little: all of the model on a card, or eight cores and more."""
    if own.get("slots") or usual.slots:
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


def _why_eyes(plan: Plan, report: FitReport, by: Mapping[str, By]) -> Reason:
    if plan.projector:
        return Reason("tune.projector", {"size": report.projector_bytes})
    return Reason("tune.projector_off" if by["projector"] == "you" else "tune.no_projector", {})


def _why_layers(report: FitReport, facts: Facts, machine: Hardware) -> Reason:
    everything = len(facts.layers) + 1
    if not any(gpu.engine for gpu in machine.gpus):
        return Reason("tune.no_gpu", {})
    if report.gpu_layers >= everything:
        return Reason("tune.all_layers", {"n": report.gpu_layers})
    return Reason("tune.some_layers", {"n": report.gpu_layers, "all": everything})
