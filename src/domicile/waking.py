"""How a model is woken: the settings kept for it, those chosen for the room there is, and what it took in the end.

Between the rooms that know (advice), decide (tuning) and do (runner). What a waking needs is what was predicted, or
what the same launch took before when that was more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile import tunable
from domicile.config import Settings
from domicile.db import Database
from domicile.ears import hears
from domicile.engines import Awake, Launch
from domicile.runner import Bytes, Prepared
from domicile.types import PICTURES, Facts, FitReport, Hardware, Installed, Plan, Reason, Terms

if TYPE_CHECKING:
    from domicile.advice import Adviser
    from domicile.tuning import Tuning

_UNKNOWN = 1 << 60
_MARGIN_BYTES = 1 << 30
"""What a child may take beyond its need before its allocations fail: a prediction may be wrong, and stacks count."""
_TORCH_SLOTS = 8
"""Conversations decoded together by the torch engine, unless a person said how many."""
_NOTABLE = 1.02
"""A run is kept again when it took this much more than before."""


@dataclass(slots=True)
class _Run:
    """What was predicted of a waking, until it is known what it takes."""

    report: FitReport
    facts: Facts
    plan: Plan
    launch: str
    """What decides its memory, in a word."""
    device: str
    peak_bytes: int = 0


class Waker:
    """One for a house. `adviser` is asked for when it is needed: half of the start-up would be its imports."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        adviser: Callable[[], Adviser],
        log_of: Callable[[str], Path],
        derived: Callable[[str], Mapping[str, object]] = lambda _: {},
        dressed: Callable[[Launch, Facts], Launch] = lambda launch, _: launch,
    ) -> None:
        self._settings = settings
        self._database = database
        self._adviser = adviser
        self._log_of = log_of
        self._derived = derived
        """Settings that a model brings by itself; a person's own win."""
        self._dressed = dressed
        self._runs: dict[str, _Run] = {}

    # -- the settings of one model --

    def own(self, name: str) -> dict[str, Any]:
        """What a person has set for a model."""
        rows = self._database.read("SELECT settings FROM tuned WHERE model = ?", name)
        found: dict[str, Any] = json.loads(rows[0]["settings"]) if rows else {}
        return {key: value for key, value in found.items() if key in tunable.TUNABLE}

    def set(self, name: str, given: Mapping[str, object]) -> dict[str, Any]:
        """Keep settings for a model; None gives one back to the house. Raises `BadField`."""
        merged = {k: v for k, v in {**self.own(name), **tunable.read(given)}.items() if v is not None}
        with self._database.write() as w:
            if merged:
                w.execute("INSERT OR REPLACE INTO tuned VALUES (?, ?)", (name, json.dumps(merged)))
            else:
                w.execute("DELETE FROM tuned WHERE model = ?", (name,))
        return merged

    def forget(self, name: str) -> None:
        with self._database.write() as w:
            w.execute("DELETE FROM tuned WHERE model = ?", (name,))

    async def tuning(self, model: Installed, terms: Terms, room: Bytes | None = None) -> tuple[Tuning, Facts, Hardware]:
        """The settings a model would be woken with in this room (None: what is free now), each with its reason."""
        machine = await self._adviser().machine_for_engine()
        if room is not None:
            machine = _with_room(machine, room)
        derived, own = self._derived(model.name), self.own(model.name)
        tuning, facts = await self._adviser().tune(model, machine, {**derived, **own}, terms)
        if model.format == "gguf":
            tuning = await self._built(tuning, facts, machine, own.get("build"))
        return _told(tuning, derived.keys() - own.keys()), facts, machine

    async def _built(self, tuning: Tuning, facts: Facts, machine: Hardware, own: str | None) -> Tuning:
        """With the build of llama.cpp that holds the model."""
        from domicile.speed import family
        from domicile.tuning import Choice

        chosen = await self._adviser().chooser.choose(family(facts.quantisation), machine, own)
        value = chosen.build.kind if chosen.build else None
        choices = {**tuning.choices, "build": Choice(value, chosen.by, chosen.why)}
        return replace(tuning, build=chosen.build, choices=choices)

    # -- waking --

    async def free(self) -> Bytes:
        """What models may take now: of the memory, and of each graphics card."""
        from domicile.fit import ram_room, vram_room

        machine = await self._adviser().machine_for_engine()
        ram = ram_room(machine)
        devices = tuple(0 if gpu.unified else vram_room(gpu) or 0 for gpu in machine.gpus)
        return Bytes(_UNKNOWN if ram is None else ram, devices)

    async def prepare(self, model: Installed, terms: Terms, room: Bytes) -> Prepared:
        """How to wake a model in this room, and what it takes. Raises what is wrong with its file."""
        from domicile.advice import computed_by

        tuning, facts, machine = await self.tuning(model, terms, room)
        if hears(model):  # one file at a time has all threads
            tuning = replace(tuning, plan=replace(tuning.plan, n_parallel=1))
        elif facts.task in PICTURES:
            tuning = _for_pictures(tuning, facts, machine)
        elif model.format in {"safetensors", "onnx"}:
            tuning = _for_torch(tuning)
        need = self._need(model, tuning, machine)
        device = computed_by(_device(tuning.report, machine), tuning.build)
        self._runs[model.name] = _Run(
            tuning.report, facts, tuning.plan, computed_by(tuning.plan.label, tuning.build), device
        )
        ceiling = int(room.ram * 0.9) if tuning.plan.gpu_layers else _ceiling(need, tuning.plan)
        launch = Launch(
            model=model,
            plan=tuning.plan,
            threads=tuning.threads,
            memory_bytes=self._settings.engine_memory or ceiling,
            deadline_s=self._settings.wake_timeout,
            log=self._log_of(model.name),
            build=tuning.build,
            compute=self._settings.speech_compute if hears(model) else "",
            sound_s=self._settings.speech_hours * 3600 if hears(model) else 0.0,
        )
        return Prepared(self._dressed(launch, facts), need, facts.context_length, tuning.keep_alive_s, tuning.note)

    def _need(self, model: Installed, tuning: Tuning, machine: Hardware) -> Bytes:
        report = tuning.report
        drafted = tuning.draft.need_bytes if tuning.draft else 0
        if report.total_bytes is None:  # nothing is known of it but its size
            return Bytes(model.size_bytes * 6 // 5 + (256 << 20) + drafted)
        cards = tuple(0 if gpu.unified else used for gpu, used in zip(machine.gpus, report.device_bytes, strict=False))
        ram = report.total_bytes - sum(cards)
        return Bytes(max(ram, self._taken_before(model.name, tuning)) + drafted, cards)

    def _taken_before(self, name: str, tuning: Tuning) -> int:
        """The most the same launch took, of its last five runs; 0 when it never ran so. The prompt cache, which
        grows beside it, is not in it."""
        from domicile.advice import computed_by

        rows = self._database.read(
            "SELECT actual_bytes FROM runs WHERE model = ? AND launch = ? ORDER BY at DESC LIMIT 5",
            name,
            computed_by(tuning.plan.label, tuning.build),
        )
        return max((int(r["actual_bytes"]) for r in rows), default=0)

    # -- what came of it --

    def remember(self, model: Installed, awake: Awake) -> None:
        """After an answer: what the model really takes, beside what was predicted; once for each waking, and again
        when it has grown without its prompt cache."""
        run = self._runs.get(model.name)
        if run is None or (run.peak_bytes and run.plan.cache_ram_bytes):
            return
        actual = awake.resident_bytes()
        if actual is not None and actual > run.peak_bytes * _NOTABLE:
            run.peak_bytes = actual
            self._adviser().remember(
                model, run.facts, run.report, actual, awake.tokens_per_second(), run.launch, run.device
            )


def _for_pictures(tuning: Tuning, facts: Facts, machine: Hardware) -> Tuning:
    """One drawing at a time, with what spares memory where it is short."""
    from domicile.fit import ram_room
    from domicile.picture_memory import modes_for

    modes = modes_for(facts, machine, ram_room(machine))
    plan = replace(tuning.plan, n_ctx=tuning.plan.context, n_parallel=1, modes=modes, cache_ram_bytes=0)
    return replace(tuning, plan=plan)


def _told(tuning: Tuning, brought: Set[str]) -> Tuning:
    """The tuning, which says of these settings that they came with the model."""
    came = {
        name: replace(choice, by="model", why=Reason("tune.brought", {}))
        for name, choice in tuning.choices.items()
        if name in brought and choice.by == "you"
    }
    return replace(tuning, choices={**tuning.choices, **came}) if came else tuning


def _for_torch(tuning: Tuning) -> Tuning:
    """Several short conversations share the memory of one long context there: more at once cost nothing."""
    if tuning.choices["slots"].by != "house":
        return tuning
    context = tuning.plan.context
    return replace(tuning, plan=replace(tuning.plan, n_ctx=context * _TORCH_SLOTS, n_parallel=_TORCH_SLOTS))


def _with_room(machine: Hardware, room: Bytes) -> Hardware:
    """The machine with that much free in it for one more model."""
    from domicile.fit import VRAM_RESERVE_BYTES

    gpus = tuple(
        gpu
        if gpu.unified or gpu.vram_bytes is None
        else replace(gpu, vram_free_bytes=max(0, free) + VRAM_RESERVE_BYTES)
        for gpu, free in zip(machine.gpus, room.devices + (0,) * len(machine.gpus), strict=False)
    )
    return replace(machine, gpus=gpus, room_bytes=None if room.ram >= _UNKNOWN else max(0, room.ram))


def _ceiling(need: Bytes, plan: Plan) -> int:
    return max(need.ram * 3 // 2, need.ram + _MARGIN_BYTES) + plan.cache_ram_bytes


def _device(report: FitReport, machine: Hardware) -> str:
    """What computes: `cpu`, the cards by name, or both."""
    if not report.gpu_layers:
        return "cpu"
    cards = [gpu.name for gpu, used in zip(machine.gpus, report.device_bytes, strict=False) if used]
    partly = report.verdict == "partly_on_gpu"
    return " + ".join([*(cards or [machine.gpus[0].name]), *(["cpu"] if partly else [])])


def settings_shown(tuning: Tuning, say: Callable[[Reason], str]) -> list[dict[str, Any]]:
    """Each setting: its value, who chose it, and why."""
    return [
        {"name": name, "value": choice.value, "by": choice.by, "why": say(choice.why)}
        for name, choice in tuning.choices.items()
    ]
