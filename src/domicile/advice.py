"""What to tell a person before a byte of weights moves: will it fit this machine, how fast, and why.

Crosses the rooms below: a name becomes files (library or Hub), their headers become facts, the facts and the
machine become a report, and for the very file in question the engine itself is asked. Keeps what was predicted and
what came, so that the next prediction is narrower. Does no arithmetic of its own and downloads no weights.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domicile import fit as fitting
from domicile import formats, gpus, hardware, memory, names, projectors, quality, speed
from domicile.config import Settings
from domicile.db import Database
from domicile.engines import probe
from domicile.errors import CardNotFound, DomicileError, ModelFileMissing, ModelNotFound
from domicile.formats.gguf import for_size
from domicile.hardware import calibrate
from domicile.library import Library
from domicile.llama_builds import Build
from domicile.llama_choice import Chooser
from domicile.refs import ModelRef
from domicile.sources import Sources, choose, elsewhere
from domicile.sources.choice import projector_for
from domicile.tuning import Draft, Tuning, Usual, tune
from domicile.types import (
    Calibration,
    Facts,
    FitReport,
    Hardware,
    Installed,
    Reason,
    RemoteFile,
    Repository,
    Terms,
    Variant,
)

_HEADERS_KEPT = 256
_BADGES_KEPT = 2048
"""Small ones: a list of many models is read once, not at every request."""
_AT_ONCE = 6
_NOTABLE_BYTES = 1 << 20
_QUIET = 0.25
"""Threads ready for each core below which a calibration is worth its three seconds again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of a model: the launch it is judged for."""

    context: int | None = None
    """None: what is usual, or what the model was trained on when that is less."""
    kv_type: str = "f16"
    slots: int = 1
    on: str | None = None
    """A card of the table instead of this machine."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """A projector: its file, what it says of itself, and what it adds to its model's memory."""

    file: str
    """Its name."""
    path: Path | None
    """Where it is, when it is here."""
    size_bytes: int
    need_bytes: int
    sees: bool
    """Images; one that does not is ears."""
    facts: Facts


@dataclass(frozen=True, slots=True)
class Known:
    """The facts of one variant, and what it cost to learn them."""

    name: str
    label: str | None
    facts: Facts
    fetched_bytes: int
    requests: int
    sources: Mapping[str, formats.Source]
    repository: Repository | None = None
    eyes: Eyes | None = None
    """Its projector, which is loaded with it."""

    @property
    def projector_bytes(self) -> int:
        return self.eyes.need_bytes if self.eyes else 0


@dataclass(frozen=True, slots=True)
class Opinion:
    """A report on one file, with everything that stands beside it."""

    known: Known
    report: FitReport
    engine: probe.ProbeAnswer | None
    """What the engine itself counted; None when it was not asked (another machine, another format)."""
    rules: tuple[fitting.Rule, ...]
    buy: gpus.Advice | None
    past: Past | None


@dataclass(frozen=True, slots=True)
class Past:
    """The last run of a model here."""

    predicted_bytes: int | None
    actual_bytes: int
    tokens_per_second: float | None
    context: int
    at: float


@dataclass(frozen=True, slots=True)
class Row:
    """One variant of a repository, judged by its badge."""

    variant: Variant
    report: FitReport
    bits: float
    loss: float


@dataclass(frozen=True, slots=True)
class Table:
    """Every variant of a repository for this machine; `best` is the label recommended."""

    repository: Repository
    rows: tuple[Row, ...]
    best: str | None
    reason: Reason
    fetched_bytes: int
    requests: int
    eyes: Eyes | None = None
    """The projector that comes with each of them."""


class Adviser:
    """One for a house."""

    def __init__(self, settings: Settings, database: Database, library: Library, sources: Sources) -> None:
        self._settings = settings
        self._database = database
        self._library = library
        self._sources = sources
        self.chooser = Chooser(settings)
        self._chosen: Mapping[str, str] = {}
        """The build of llama.cpp for each family of weights, as `computed_by` writes it; empty for the wheel."""
        self._machine: Hardware | None = None
        self._detecting = asyncio.Lock()
        self._vocabularies: dict[str, tuple[int, int, int]] = {}
        self._headers: dict[str, Known] = {}
        self._badges: dict[str, Facts] = {}

    # -- the machine --

    async def machine(self, *, measure: bool = False, again: bool = False) -> Hardware:
        """What this machine is, with what is free in it now; `measure` calibrates it if that was never done."""
        async with self._detecting:
            if self._machine is None:
                self._machine = await asyncio.to_thread(hardware.detect, self._settings.models)
                found = self._machine
            else:
                found = await asyncio.to_thread(hardware.refresh, self._machine, self._settings.models)
            found = await self._calibrated(found, measure=measure, again=again)
        return gpus.completed(found)

    async def _calibrated(self, found: Hardware, *, measure: bool, again: bool) -> Hardware:
        """With what was measured of the builds of llama.cpp that wake models here."""
        builds = {family: chosen.build for family, chosen in (await self.chooser.of_families(found)).items()}
        self._chosen = {family: computed_by("", build).removeprefix(" by ") for family, build in builds.items()}
        home, troubles = self._settings.home, []
        calibrations: dict[str | None, Calibration | None] = {}
        quiet = (_busy() or 0.0) < _QUIET
        for build in builds.values():
            identity = build.identity if build else None
            if identity in calibrations:
                continue
            calibrations[identity] = calibrate.kept(home, found, build=build)
            if measure or again:
                outcome = await calibrate.calibrate(home, found, again=again, quieter=quiet, build=build)
                calibrations[identity] = outcome.calibration
                troubles += [outcome.trouble] if outcome.trouble else []
        of = {family: calibrations[build.identity if build else None] for family, build in builds.items()}
        return replace(found, calibration=calibrate.composed(of), unknown=(*found.unknown, *troubles))

    async def doubts(self) -> bool:
        """Could a better calibration be had now: the one there is was disturbed, and the machine is quiet?"""
        found = self._machine
        if found is None or (_busy() or 0.0) >= _QUIET:
            return False
        return calibrate.doubtful((await self._calibrated(found, measure=False, again=False)).calibration)

    async def machine_for_engine(self) -> Hardware:
        """The same as the engine can use it: without the graphics that it does not list."""
        return _for_engine(await self.machine())

    async def _machine_for(self, wish: Wish, *, measure: bool) -> Hardware:
        if wish.on is None:
            return _for_engine(await self.machine(measure=measure))
        card = gpus.find(wish.on)
        if card is None:
            raise CardNotFound(name=wish.on[:100], nearest=", ".join(gpus.nearest(wish.on)))
        return gpus.machine_with(card, vram_gib=gpus.asked_vram(wish.on))

    # -- facts --

    async def known(self, text: str, *, badge: bool = False) -> Known:
        """The facts of what a person named: a model of the library, a file, or a variant on the Hub."""
        ref = ModelRef.parse(text)
        if ref.kind == "file":
            return await self._of_files(ref.name, _shards(Path(ref.name).expanduser().absolute()))
        try:
            model = self._library.ready(str(ref))
        except ModelNotFound:
            ref = elsewhere(ref)
            if ref.kind == "house":
                raise
        else:
            return await self.of(model)
        repository = await self._sources.of(ref).describe(ref)
        return await self._of_variant(repository, choose(repository, ref), badge=badge)

    async def of(self, model: Installed) -> Known:
        """The facts of a model of the library, which is here."""
        known = await self._of_files(model.name, _weights(model))
        return replace(known, eyes=await self.eyes(model, known.facts))

    async def eyes(self, model: Installed, facts: Facts) -> Eyes | None:
        """A model's projector, if it has one that suits it: of its own repository, or as wide as it is."""
        path = await asyncio.to_thread(projectors.found, model)
        if path is None:
            return None
        try:
            its = (await self._of_files(path.name, (path,))).facts
        except (DomicileError, OSError):  # a projector that cannot be read hides no model
            return None
        own = path in model.files
        return _eyes(its, path.name, path) if own or its.extra.get("vision.projection_dim") == facts.n_embd else None

    async def _eyes_of(self, repository: Repository, variant: Variant) -> Eyes | None:
        """The projector among a variant's files, by the first bytes of its header."""
        file = next((f for f in variant.files if names.projector_in([f.path])), None)
        if file is None:
            return None
        key = f"{repository.id}@{repository.commit}:{file.path}"
        if key not in self._headers:
            ranged = self._ranged(repository, file)
            facts = await formats.read({file.path: ranged}, badge=True)
            spent = ranged.bytes_fetched, ranged.requests
            self._keep(key, Known(file.path, None, facts, *spent, {file.path: ranged}, repository))
        return _eyes(self._headers[key].facts, file.path.rsplit("/", 1)[-1], None)

    async def _of_files(self, name: str, files: Sequence[Path]) -> Known:
        key = "|".join(f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files)
        if key not in self._headers:
            sources = _by_path(files)
            facts = await formats.read(sources, vocabularies=self._vocabularies)
            self._keep(key, Known(name, facts.quantisation, facts, 0, 0, sources))
        return self._headers[key]

    async def badge(self, model: Installed) -> Facts:
        """What the first 64 KB of a model of the library say: enough for a list, and quick."""
        path = model.path
        state = path.stat()
        key = f"{path}:{state.st_size}:{state.st_mtime_ns}"
        if key not in self._badges:
            facts = await formats.read(
                {path.name: formats.LocalBytes(path)}, badge=True, vocabularies=self._vocabularies
            )
            while len(self._badges) >= _BADGES_KEPT:
                del self._badges[next(iter(self._badges))]
            self._badges[key] = facts
        return self._badges[key]

    async def _of_variant(self, repository: Repository, variant: Variant, *, badge: bool = False) -> Known:
        key = f"{repository.id}@{repository.commit}:{variant.label}{'?' if badge else ''}"
        if key not in self._headers:
            ranged = {f.path: self._ranged(repository, f) for f in variant.files if _is_read(variant.format, f.path)}
            sources = {path: _Remembered(source) for path, source in ranged.items()}
            facts = await formats.read(sources, badge=badge, vocabularies=self._vocabularies)
            spent = sum(s.bytes_fetched for s in ranged.values()), sum(s.requests for s in ranged.values())
            name = f"{repository.id}:{variant.label}"
            eyes = await self._eyes_of(repository, variant) if variant.role == "model" else None
            self._keep(key, Known(name, variant.label, facts, *spent, sources, repository, eyes))
        return self._headers[key]

    def _keep(self, key: str, known: Known) -> None:
        while len(self._headers) >= _HEADERS_KEPT:
            del self._headers[next(iter(self._headers))]
        self._headers[key] = known

    def _ranged(self, repository: Repository, file: RemoteFile) -> formats.RangedBytes:
        source = self._sources.named(repository.source)
        wanted = source.wanted(repository, file, self._settings.models / file.path)
        return formats.RangedBytes(
            source.client, wanted.url, file.size_bytes, headers=wanted.headers, judge=source.judge
        )

    # -- opinions --

    async def fit(self, text: str, wish: Wish, *, ask_engine: bool = True) -> Opinion:
        """The report of one file: the formula's, corrected by the engine's own count where the two differ."""
        known = await self.known(text)
        machine = await self._machine_for(wish, measure=known.facts.format == "gguf")
        report = self.report(known.facts, machine, wish, known.projector_bytes)
        answer = None
        if ask_engine and wish.on is None and known.facts.format == "gguf" and report.gpu_layers == 0:
            answer = await self._ask_engine(known, report.context, wish)
            report = self._corrected(report, answer, known, machine, wish)
        judged = known.facts.format == "gguf" and report.verdict != "unknown"
        return Opinion(
            known,
            report,
            answer,
            fitting.rules_of_thumb(known.facts, report.context) if judged else (),
            gpus.advise(known.facts, machine, context=report.context, here=report)
            if judged and wish.on is None
            else None,
            self._past(known.name),
        )

    def report(self, facts: Facts, machine: Hardware, wish: Wish, extra_bytes: int = 0) -> FitReport:
        """The formula's report, narrowed by the runs seen on this machine."""
        return fitting.fit(
            facts,
            machine,
            context=_context(wish, facts),
            projector_bytes=extra_bytes,  # and whatever else the formula does not know
            kv_type_k=wish.kv_type,
            kv_type_v=wish.kv_type,
            slots=wish.slots,
            measured=self._measured() if wish.on is None else (),
            busy=_busy() if wish.on is None else None,
            sound=self._settings.speech_compute,
        )

    async def _ask_engine(self, known: Known, context: int, wish: Wish) -> probe.ProbeAnswer:
        with tempfile.TemporaryDirectory(prefix="domicile-probe-") as folder:
            file = Path(folder) / "probe.gguf"
            try:
                await formats.rewrite_probe(known.sources, file, self._vocabularies)
            except DomicileError as trouble:
                return probe.ProbeAnswer(trouble=Reason("probe.refused", {"said": trouble.code}))
            return await probe.ask_engine(
                file,
                context=context * wish.slots,
                slots=wish.slots,
                kv_k=wish.kv_type,
                kv_v=wish.kv_type,
            )

    def _corrected(
        self, report: FitReport, answer: probe.ProbeAnswer, known: Known, machine: Hardware, wish: Wish
    ) -> FitReport:
        """Where formula and engine differ the engine wins, in the verdict too, and the difference is said."""
        if answer.trouble is not None:
            said = str(answer.trouble.facts.get("said") or "")
            if answer.trouble.key == "probe.refused" and _UNSUPPORTED.search(said):
                return fitting.not_estimated(
                    known.facts, machine, report.context, Reason("engine_refuses", {"said": said})
                )
            return replace(report, why=(*report.why, Reason("engine_silent", {})))
        if answer.kv_bytes is None or answer.compute_bytes is None or report.total_bytes is None:
            return report
        compute = answer.compute_bytes + (answer.output_bytes or 0)
        kv, state = answer.kv_bytes, answer.state_bytes or 0
        ours = (report.kv_bytes or 0) + (report.state_bytes or 0) + (report.compute_bytes or 0)
        difference = kv + state + compute - ours
        if difference >= _NOTABLE_BYTES:  # judged again with what the formula forgot
            eyes = known.projector_bytes
            report = replace(self.report(known.facts, machine, wish, eyes + difference), projector_bytes=eyes)
            reason = Reason("engine_differs", {"by": difference})
        elif difference <= -_NOTABLE_BYTES:
            report = replace(report, total_bytes=(report.total_bytes or 0) + difference)
            reason = Reason("engine_differs_less", {"by": -difference})
        else:
            report = replace(report, total_bytes=(report.total_bytes or 0) + difference)
            reason = Reason("engine_agrees", {})
        return replace(report, kv_bytes=kv, state_bytes=state, compute_bytes=compute, why=(*report.why, reason))

    async def outlook(self, models: Iterable[Facts], wish: Wish) -> list[FitReport]:
        """What is to be expected of stand-in facts (`typical`) here; nothing is asked of anybody."""
        machine = await self._machine_for(wish, measure=False)
        return [self.report(facts, machine, wish) for facts in models]

    async def table(self, ref: ModelRef, wish: Wish, *, fresh_s: float = 0.0) -> Table:
        """Every variant of a repository, for the price of one 64 KB range. `fresh_s`: what the Hub said in the last
        seconds will do."""
        repository = await self._sources.of(elsewhere(ref)).describe(elsewhere(ref), fresh_s=fresh_s)
        models = [v for v in repository.variants if v.role == "model" and not v.missing]
        if any(v.format == "gguf" for v in models):  # one badge speaks for all: they must be of one kind
            models = [v for v in models if v.format == "gguf"]
        machine = await self._machine_for(wish, measure=True)
        if not models:
            return Table(repository, (), None, Reason("best_none", {"label": None, "need": None}), 0, 0)
        smallest = min(models, key=lambda v: v.size_bytes)
        badge = await self._of_variant(repository, smallest, badge=True)
        facts = {v.label: replace(for_size(badge.facts, v.size_bytes), quantisation=v.quantisation) for v in models}
        projector = projector_for(smallest, repository.variants)
        eyes = await self._eyes_of(repository, projector) if projector else None
        choice = fitting.best(
            facts,
            machine,
            context=_context(wish, badge.facts),
            kv_type=wish.kv_type,
            slots=wish.slots,
            projector_bytes=eyes.need_bytes if eyes else 0,
            measured=self._measured() if wish.on is None else (),
            busy=_busy() if wish.on is None else None,
        )
        rows = tuple(
            Row(
                v, choice.reports[v.label], quality.bits(v.label, facts[v.label]), quality.loss(v.label, facts[v.label])
            )
            for v in sorted(models, key=lambda v: v.size_bytes)
        )
        return Table(repository, rows, choice.best, choice.reason, badge.fetched_bytes, badge.requests, eyes)

    async def judged(self, ids: Sequence[str], wish: Wish) -> dict[str, Row | None]:
        """The recommended variant of each repository, for one header each; None where there is nothing to judge."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> Row | None:
            async with gate:
                try:
                    table = await self.table(ModelRef.parse(name), wish)
                except DomicileError:  # one repository that cannot be read hides none of the others
                    return None
            return next((row for row in table.rows if row.variant.label == table.best), None)

        return dict(zip(ids, await asyncio.gather(*(one(name) for name in ids)), strict=True))

    async def cards(self, text: str, wish: Wish) -> tuple[gpus.Candidate, ...]:
        """Which cards of the table run this model."""
        known = await self.known(text)
        context = _context(wish, known.facts)
        return gpus.cards_for(known.facts, context=context, kv_type_k=wish.kv_type, kv_type_v=wish.kv_type)

    async def tune(
        self, model: Installed, machine: Hardware, own: Mapping[str, Any], terms: Terms
    ) -> tuple[Tuning, Facts]:
        """The settings to wake a model of the library with, on this machine. Raises what is wrong with its file."""
        facts = (await self._of_files(model.name, _weights(model))).facts
        eyes = await self.eyes(model, facts) if own.get("projector", True) else None
        usual = Usual(
            self._settings.context,
            self._settings.slots,
            self._settings.threads,
            calibrate.threads_for(machine),
            self._settings.context_overflow,
            self._settings.speech_compute,
        )
        drafts = await self._drafts(model, facts, own) if own.get("speculation") == "draft" else ()
        projector = (eyes.path, eyes.need_bytes) if eyes and eyes.path else None
        return tune(facts, machine, usual, own, terms, drafts=drafts, projector=projector), facts

    async def _drafts(self, model: Installed, facts: Facts, own: Mapping[str, Any]) -> Sequence[Draft]:
        """Models here that can guess for this one: the same vocabulary, a third of its size at most; smallest first."""
        found = []
        for other in self._library.list():
            if other.missing or other.format != "gguf" or other.size_bytes * 3 > model.size_bytes:
                continue
            try:
                its = (await self._of_files(other.name, _weights(other))).facts
            except DomicileError:  # a file that cannot be read guesses for nobody
                continue
            if (its.tokenizer, its.n_vocab) != (facts.tokenizer, facts.n_vocab) or its.tokenizer is None:
                continue
            context = own.get("context") or self._settings.context
            need = fitting.fit(its, replace(await self.machine(), gpus=()), context=context).total_bytes
            found.append(Draft(other.name, other.path, need or other.size_bytes * 2))
        return sorted(found, key=lambda d: d.need_bytes)

    # -- what came of it --

    def remember(
        self,
        model: Installed,
        facts: Facts,
        report: FitReport,
        actual_bytes: int,
        rate: float | None,
        launch: str,
        device: str,
    ) -> None:
        """Keep a run: what was predicted and what it took, how it was launched and on what it computed."""
        touched = speed.touched_bytes(facts)
        with self._database.write() as w:
            w.execute(
                "INSERT INTO runs (model, context, predicted_bytes, actual_bytes, tokens_per_second, touched_bytes,"
                " layers, family, device, at, launch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    model.name,
                    report.context,
                    report.total_bytes,
                    actual_bytes,
                    rate,
                    touched,
                    len(facts.layers),
                    speed.family(facts.quantisation),
                    device,
                    time.time(),
                    launch,
                ),
            )

    def _past(self, name: str) -> Past | None:
        rows = self._database.read("SELECT * FROM runs WHERE model = ? ORDER BY at DESC LIMIT 1", name)
        if not rows:
            return None
        row = rows[0]
        return Past(row["predicted_bytes"], row["actual_bytes"], row["tokens_per_second"], row["context"], row["at"])

    def _measured(self) -> tuple[speed.Measured, ...]:
        rows = self._database.read(
            "SELECT * FROM runs WHERE tokens_per_second IS NOT NULL AND touched_bytes IS NOT NULL"
            " ORDER BY at DESC LIMIT 50"
        )
        found = []
        for r in rows:
            device, _, build = str(r["device"]).partition(" by ")
            if device != "cpu" or build == self._chosen.get(r["family"], ""):
                found.append(
                    speed.Measured(r["touched_bytes"], r["layers"], r["tokens_per_second"], r["family"], device)
                )
        return tuple(found)


def computed_by(device: str, build: Build | None) -> str:
    """A device as runs are kept under it: with the build that computed, where that is not the wheel."""
    return device if build is None or build.kind == "wheel" else f"{device} by {build.identity}"


class _Remembered:
    """A source whose bytes are fetched once: the facts and the probe are made from the same ranges."""

    def __init__(self, source: formats.Source) -> None:
        self._source = source
        self._pieces: list[tuple[int, bytes]] = []

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        found = bytearray()
        for start, piece in self._pieces:  # in order; a parser reads forward
            place = offset + len(found)
            if start <= place < start + len(piece) and len(found) < length:
                found += piece[place - start : place - start + length - len(found)]
        if len(found) < length:
            place = offset + len(found)
            fresh = await self._source.read(place, length - len(found))
            self._pieces.append((place, fresh))
            self._pieces.sort(key=lambda p: p[0])
            found += fresh
        return bytes(found)


_UNSUPPORTED = re.compile(r"unknown (model )?architecture|unsupported model", re.IGNORECASE)


def _context(wish: Wish, facts: Facts) -> int:
    """The context that is judged."""
    return wish.context or min(fitting.DEFAULT_CONTEXT, facts.context_length or fitting.DEFAULT_CONTEXT)


def _for_engine(machine: Hardware) -> Hardware:
    """The machine as the engine can use it: without the graphics that it does not list."""
    return replace(machine, gpus=tuple(gpu for gpu in machine.gpus if gpu.engine))


def _shards(path: Path) -> tuple[Path, ...]:
    """The file, or every shard of the model whose first one was named. Raises `ModelFileMissing`."""
    if not path.is_file():
        raise ModelFileMissing(name=path.name, path=str(path), reason="never")
    hint = names.read(path.name)
    if hint.shard is None:
        return (path,)
    family = [p for p in path.parent.iterdir() if (n := names.read(p.name)).stem == hint.stem and n.shard]
    return tuple(sorted(family, key=lambda p: names.read(p.name).shard or (0, 0)))


def _busy() -> float | None:
    """Threads of other programs that are ready to run, for each core (the load of the last minute)."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return None


def _eyes(facts: Facts, file: str, path: Path | None) -> Eyes:
    need = memory.projector_bytes(facts)
    return Eyes(file, path, facts.file_bytes, facts.file_bytes if need is None else need, memory.sees(facts), facts)


def _by_path(files: Sequence[Path]) -> dict[str, formats.Source]:
    """Files by their name; by their path in the folder for a picture model, whose parts have one name in each."""
    index = min((p for p in files if p.name == "model_index.json"), key=lambda p: len(p.parts), default=None)
    if index is None:
        return {p.name: formats.LocalBytes(p) for p in files}
    return {
        p.relative_to(index.parent).as_posix(): formats.LocalBytes(p) for p in files if p.is_relative_to(index.parent)
    }


def _is_read(form: str, path: str) -> bool:
    """Is this a file the engine reads a model's shape in? Beside a GGUF, Ollama keeps texts, projectors, adapters."""
    if form in {"safetensors", "onnx"}:
        return not names.is_step(path)
    return form != "gguf" or (names.read(path).role == "model" and not path.endswith((".txt", ".json")))


def _weights(model: Installed) -> Sequence[Path]:
    """The files that are read for its facts: of a folder's steps (`1_Pooling/`) the model itself is one."""
    own = [p for p in model.files if p == model.path or _is_read(model.format, p.name)]
    if model.format not in {"safetensors", "onnx"} or not any(p.name == "modules.json" for p in own):
        return own
    places = {model.path.parent, model.path.parent.parent} if model.path.parent.name == "onnx" else {model.path.parent}
    return [p for p in own if p.parent in places]
