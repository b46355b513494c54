"""Cards one could have: what they hold, how fast they read, what they cost, and which of them run a model.

Knows a table (`gpus.csv`): bandwidths and power from vendors' specifications, cross-checked with llmfit's
table where that was right; tensor throughput from huggingface.js; launch prices in dollars as announced,
only where surely known, without tax, for the size people mean first. Knows nothing of this machine's own
cards (that is `hardware/`). Names are matched whole: an RTX 4090 Laptop is not an RTX 4090, and reads memory
at half its pace.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from domicile import fit as _fit
from domicile.types import Calibration, Facts, FitReport, Gpu, Hardware, Reason

_TABLE = Path(__file__).parent / "gpus.csv"
_GB = 1_000_000_000
_GIB = 1 << 30
_NOISE = frozenset({
    "nvidia", "geforce", "tesla", "quadro", "amd", "ati", "radeon", "intel", "apple", "instinct", "tm", "r",
    "c", "gpu", "graphics", "generation", "gen", "card", "series", "with", "design", "corporation", "inc",
})  # fmt: skip
_SAME = {"mobile": "laptop", "maxq": "max-q", "workstation": "ws"}


@dataclass(frozen=True, slots=True)
class Card:
    """One card or chip. What is not surely known is None."""

    vendor: str
    architecture: str
    name: str
    vram_gib: tuple[int, ...]
    """Every size it was sold with, smallest first; empty when it has no memory of its own."""
    bandwidth_bytes_per_s: float
    memory: str
    fp16_tflops: float | None
    power_w: int | None
    year: int | None
    compute_capability: str | None
    launch_usd: int | None
    """Announced at launch, for the size people mean first."""
    traps: tuple[str, ...]
    """Keys under `trap.` in the locale: passive, dual_chip, old_cuda, slow_half, laptop, shared_memory,
    no_rocm, power, several_sizes."""
    also: tuple[str, ...] = ()

    @property
    def backend(self) -> Literal["cuda", "rocm", "metal", "vulkan", "intel"]:
        match self.vendor:
            case "NVIDIA":
                return "cuda"
            case "Apple":
                return "metal"
            case "Intel":
                return "vulkan"
        return "vulkan" if "no_rocm" in self.traps else "rocm"

    @property
    def unified(self) -> bool:
        return "shared_memory" in self.traps

    def gpu(self, vram_gib: int | None = None) -> Gpu:
        """This card as a GPU of a machine, idle. Of several sizes, the smallest."""
        size = vram_gib or (self.vram_gib[0] if self.vram_gib else None)
        total = size * _GIB if size else None
        return Gpu(
            name=self.name,
            backend=self.backend,
            vram_bytes=total,
            vram_free_bytes=total,
            compute_capability=self.compute_capability,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            unified=self.unified,
            engine=True,
            why=Reason("why.read", {"where": "gpus.csv"}),
        )


@cache
def cards() -> tuple[Card, ...]:
    """The whole table, in its order."""
    with _TABLE.open(encoding="utf-8", newline="") as lines:
        return tuple(_card(row) for row in csv.DictReader(lines))


def _card(row: dict[str, str]) -> Card:
    return Card(
        vendor=row["vendor"],
        architecture=row["architecture"],
        name=row["name"],
        vram_gib=tuple(sorted(int(size) for size in row["vram_gb"].split("/") if size)),
        bandwidth_bytes_per_s=float(row["bandwidth_gbps"]) * _GB,
        memory=row["memory"],
        fp16_tflops=float(row["fp16_tflops"]) if row["fp16_tflops"] else None,
        power_w=int(row["power_w"]) if row["power_w"] else None,
        year=int(row["year"]) if row["year"] else None,
        compute_capability=row["compute_capability"] or None,
        launch_usd=int(row["launch_usd"]) if row["launch_usd"] else None,
        traps=tuple(row["traps"].split()),
        also=tuple(name for name in row["also"].split(";") if name),
    )


# -- names ---------------------------------------------------------------------------------------------------


def _key(name: str) -> tuple[str, ...]:
    """A name without case, vendor, punctuation and spacing: `GeForce RTX4090 Laptop GPU` and `rtx 4090
    mobile` are the same."""
    said = name.lower().replace("max-q", "maxq")
    words = re.findall(r"[a-z]+|[0-9]+(?:\.[0-9]+)?|\+", said)
    return tuple(_SAME.get(word, word) for word in words if word not in _NOISE)


def _without_size(key: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    if len(key) > 2 and key[-1] in {"gb", "g", "gib"} and key[-2].isdigit():
        return key[:-2], int(key[-2])
    return key, None


@cache
def _index() -> dict[tuple[str, ...], Card]:
    index: dict[tuple[str, ...], Card] = {}
    for card in cards():
        for name in (card.name, *card.also):
            index.setdefault(_key(name), card)
        # "M3 Max" was sold with two GPUs: without the number of cores, the slower one is meant.
        bare = _key(card.name.split("(")[0])
        if "(" in card.name and (bare not in index or card.bandwidth_bytes_per_s < index[bare].bandwidth_bytes_per_s):
            index[bare] = card
    return index


def find(name: str) -> Card | None:
    """The card of this name, whole. A size of memory may follow (`RTX 3060 12GB`) when it was sold with
    it."""
    key = _key(name)
    if not key:
        return None
    card = _index().get(key)
    if card is not None:
        return card
    shorter, size = _without_size(key)
    card = _index().get(shorter)
    return card if card is not None and size in card.vram_gib else None


def asked_vram(name: str) -> int | None:
    """The memory a person said with the name, in GiB."""
    return _without_size(_key(name))[1]


def nearest(name: str, n: int = 3) -> tuple[str, ...]:
    """Names of the table that look like this one."""
    known = {" ".join(_key(card.name)): card.name for card in cards()}
    close = difflib.get_close_matches(" ".join(_key(name)), known, n=n, cutoff=0.5)
    return tuple(known[key] for key in close)


def completed(hardware: Hardware) -> Hardware:
    """The same machine, its GPUs given the bandwidth of the table where none was read."""
    gpus = tuple(
        replace(gpu, bandwidth_bytes_per_s=card.bandwidth_bytes_per_s)
        if not gpu.bandwidth_bytes_per_s and (card := find(gpu.name))
        else gpu
        for gpu in hardware.gpus
    )
    return replace(hardware, gpus=gpus)


# -- other machines ------------------------------------------------------------------------------------------


def machine_with(
    card: Card,
    *,
    vram_gib: int | None = None,
    ram_gib: int = 32,
    count: int = 1,
    cpu: Calibration | None = None,
) -> Hardware:
    """A machine one could have: this card, and 32 GiB of ordinary memory unless said. For Apple and other
    chips that share it, the card's memory is the machine's."""
    gpu = card.gpu(vram_gib)
    ram = gpu.vram_bytes if card.unified and gpu.vram_bytes else ram_gib * _GIB
    return Hardware(
        os="darwin" if card.vendor == "Apple" else "linux",
        cpu=card.name if card.vendor == "Apple" else None,
        arch="arm64" if card.vendor == "Apple" else "x86_64",
        physical_cores=8,
        logical_cores=8,
        usable_cores=8.0,
        features=("neon",) if card.vendor == "Apple" else ("avx2",),
        ram_bytes=ram,
        ram_available_bytes=int(ram * 0.85),
        container_limit_bytes=None,
        gpus=(gpu,) * count,
        disk_free_bytes=None,
        calibration=cpu,
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A card, at one of its sizes, and how a model does on it."""

    card: Card
    vram_gib: int
    report: FitReport

    @property
    def whole(self) -> bool:
        """Does all of the model run on it?"""
        return self.report.verdict in {"fits", "tight"}

    @property
    def tokens_per_second(self) -> float:
        """The low end of the interval, which is what one may count on."""
        return self.report.tokens_per_second.low or 0.0


def cards_for(
    facts: Facts,
    *,
    context: int = _fit.DEFAULT_CONTEXT,
    kv_type_k: str = "f16",
    kv_type_v: str = "f16",
    among: Iterable[Card] | None = None,
    whole_only: bool = False,
) -> tuple[Candidate, ...]:
    """Which cards run this model: those that hold all of it first, the least memory that does first, then by
    speed. Each size of a card is a candidate of its own."""
    found = []
    for card in cards() if among is None else among:
        for size in card.vram_gib:
            report = _fit.fit(
                facts,
                machine_with(card, vram_gib=size),
                context=context,
                kv_type_k=kv_type_k,
                kv_type_v=kv_type_v,
                cache_bytes=0,
            )
            found.append(Candidate(card, size, report))
    if whole_only:
        found = [c for c in found if c.whole]
    return tuple(
        sorted(found, key=lambda c: (not c.whole, c.vram_gib if c.whole else -c.vram_gib, -c.tokens_per_second))
    )


# -- what to buy ---------------------------------------------------------------------------------------------

READING_TOKENS_PER_SECOND = 8.0
"""As fast as most people read: about 250 words a minute, 1.4 tokens a word in French, and a margin."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Buy something, or not: the reason, and the cards it speaks of, best first."""

    reason: Reason
    here: FitReport
    candidates: tuple[Candidate, ...] = ()


def advise(
    facts: Facts,
    hardware: Hardware,
    *,
    context: int = _fit.DEFAULT_CONTEXT,
    here: FitReport | None = None,
    wish: float = READING_TOKENS_PER_SECOND,
    budget_usd: int | None = None,
) -> Advice:
    """GPU or CPU: is this machine enough for this model at `wish` tokens a second, and if not, what would be.

    `here` is the report of this machine where it is known already (with its load and its past runs). Cards with a
    trap that a home computer cannot take (passive cooling, two chips, a laptop's) are left out.
    """
    here = here or _fit.fit(facts, hardware, context=context)
    told = here.tokens_per_second
    facts_said: dict[str, object] = {
        "wish": round(wish),
        "low": _rounded(told.low),
        "high": _rounded(told.high),
    }
    if here.verdict in {"fits", "tight", "partly_on_gpu"} and told.low is not None and told.low >= wish:
        return Advice(Reason("enough_here", facts_said), here)
    homely = [c for c in cards() if not {"passive", "dual_chip", "laptop", "shared_memory"} & set(c.traps)]
    able = [
        c
        for c in cards_for(facts, context=context, among=homely, whole_only=True)
        if c.tokens_per_second >= wish and (budget_usd is None or (c.card.launch_usd or budget_usd + 1) <= budget_usd)
    ]
    able.sort(key=lambda c: (c.card.launch_usd is None, c.card.launch_usd or 0, -c.tokens_per_second))
    if not able:
        return Advice(Reason("no_card", facts_said), here)
    first = able[0]
    facts_said |= {
        "name": first.card.name,
        "vram": first.vram_gib,
        "usd": first.card.launch_usd,
        "card_low": _rounded(first.report.tokens_per_second.low),
        "card_high": _rounded(first.report.tokens_per_second.high),
    }
    key = "buy_to_run" if here.verdict in {"no", "unknown", "smaller_context"} else "buy_for_speed"
    return Advice(Reason(key, facts_said), here, tuple(able[:5]))


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1 if rate < 10 else 0)
