"""Which build of llama.cpp wakes a model: the one measured to be the fastest here for its kind of weights, or the one
a person wants; and why.

Reads the record of the last trial, one small file (`<home>/calibration/<machine>-llama-trial.json`). Knows the
builds by name; tries none (`llama_trial` does).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from domicile.config import Settings
from domicile.hardware.calibrate import machine_id
from domicile.llama_builds import Build, Builds, Kind
from domicile.types import Hardware, Reason

READ_TOKENS, WRITTEN_TOKENS = 512, 128
"""The work by which builds are compared: a question of a page, and an answer of a paragraph or two."""
NOTABLE = 1.03
"""Another build than the wheel must be this much faster: less is noise."""
FAMILIES = ("legacy", "k")
"""As `speed.family`."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens a second of one build on one sample."""

    read: float
    written: float

    @property
    def seconds(self) -> float:
        """Of the work by which builds are compared."""
        return READ_TOKENS / self.read + WRITTEN_TOKENS / self.written


@dataclass(frozen=True, slots=True)
class Tried:
    """One build in a trial."""

    kind: Kind
    same: bool | None
    """Whether it answered as the wheel does; None where there was no wheel to compare with."""
    problem: str = ""
    """Where it did not: with which weights, and how."""
    pace: Mapping[str, Pace] = field(default_factory=dict)
    """For each family; empty where it was not measured."""


@dataclass(frozen=True, slots=True)
class Record:
    """The last trial: builds by identity, measured in turn."""

    at: float
    builds: Mapping[str, Tried]

    def keep(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"{place.name}.new")
        beside.write_text(json.dumps(asdict(self), indent=1), "utf-8")
        beside.replace(place)


def place_of(home: Path, machine: str) -> Path:
    return home / "calibration" / f"{machine}-llama-trial.json"


def read(place: Path) -> Record | None:
    """The record that is kept; None where there is none, or none that is sound."""
    try:
        raw = json.loads(place.read_text("utf-8"))
        return Record(
            float(raw["at"]),
            {
                str(identity): Tried(
                    one["kind"],
                    one["same"],
                    str(one["problem"]),
                    {f: Pace(float(p["read"]), float(p["written"])) for f, p in one["pace"].items()},
                )
                for identity, one in raw["builds"].items()
            },
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A build, who chose it, and why. None: there is none here."""

    build: Build | None
    by: Literal["house", "you", "settings"]
    why: Reason


def choose(
    builds: Mapping[Kind, Build],
    record: Record | None,
    family: str,
    *,
    own: str | None = None,
    usual: str = "auto",
    named: bool = False,
) -> Chosen:
    """The build for weights of a family. `own` is the model's setting, `usual` everybody's; `named`: the settings name
    a `llama-server`, which is then used before it was tried."""
    wished, by = (own, "you") if own not in {None, "auto"} else (usual, "settings")
    if wished not in {None, "auto"}:
        if wished in builds:
            return Chosen(builds[wished], by, Reason("tune.asked", {"n": wished}))  # type: ignore[index, arg-type]
        found = _automatic(builds, record, family, named=named)
        return Chosen(found.build, "house", Reason("tune.build_missing", {"kind": wished, **_facts(found.build)}))
    found = _automatic(builds, record, family, named=named)
    if named and "server" not in builds:
        return replace(found, why=Reason("tune.build_unfit", _facts(found.build)))
    return found


def _facts(build: Build | None) -> dict[str, str]:
    return {"build": build.kind if build else "-", "version": build.version if build else "-"}


def _automatic(builds: Mapping[Kind, Build], record: Record | None, family: str, *, named: bool) -> Chosen:
    tried = {kind: record.builds[b.identity] for kind, b in builds.items() if record and b.identity in record.builds}
    able: dict[Kind, Build] = {
        kind: b for kind, b in builds.items() if kind not in tried or tried[kind].same is not False
    }
    paces = {kind: tried[kind].pace[family] for kind in able if kind in tried and family in tried[kind].pace}
    if len(paces) > 1:
        return _fastest(able, paces, record.at if record else 0.0)
    wrong = next((kind for kind in builds if kind not in able), None)
    if named and "server" in able and "server" not in tried:
        return Chosen(able["server"], "settings", Reason("tune.build_named", _facts(able["server"])))
    for kind in ("wheel", "native", "server"):
        if kind not in able:
            continue
        facts = _facts(able[kind])
        others = [other for other in able if other != kind]
        if wrong is not None:
            return Chosen(able[kind], "house", Reason("tune.build_wrong", {**facts, "kind": wrong}))
        if others:
            return Chosen(able[kind], "house", Reason("tune.build_untried", {**facts, "kind": others[0]}))
        return Chosen(able[kind], "house", Reason("tune.build_only", facts))
    return Chosen(None, "house", Reason("tune.build_none", {}))


def _fastest(able: Mapping[Kind, Build], paces: Mapping[Kind, Pace], at: float) -> Chosen:
    best = min(paces, key=lambda kind: paces[kind].seconds * (NOTABLE if kind != "wheel" else 1.0))
    rivals = [kind for kind in paces if kind != best]
    rival: Kind = "wheel" if "wheel" in rivals else min(rivals, key=lambda kind: paces[kind].seconds)
    facts = {
        **_facts(able[best]),
        "kind": rival,
        "read": round(paces[best].read / paces[rival].read, 2),
        "written": round(paces[best].written / paces[rival].written, 2),
        "at": at,
    }
    return Chosen(able[best], "house", Reason("tune.build_fastest", facts))


class Chooser:
    """Which build for which weights, in one house."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.builds = Builds(settings)

    async def all(self) -> dict[Kind, Build]:
        return await asyncio.to_thread(self.builds.all)

    def place(self, machine: Hardware) -> Path:
        """Where the last trial on this machine is kept."""
        return place_of(self._settings.home, machine_id(machine))

    async def choose(self, family: str, machine: Hardware, own: str | None = None) -> Chosen:
        """See `choose`."""
        return (await self.of_families(machine, own))[family]

    async def of_families(self, machine: Hardware, own: str | None = None) -> dict[str, Chosen]:
        builds, settings = await self.all(), self._settings
        record = await asyncio.to_thread(read, self.place(machine))
        return {
            family: choose(
                builds, record, family, own=own, usual=settings.llama_build, named=bool(settings.llama_server)
            )
            for family in FAMILIES
        }
