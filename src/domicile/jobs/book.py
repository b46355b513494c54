"""The jobs as a book, and the rules of what may be written in it: pure, so that every back end keeps the same ones.

A store opens the book in a transaction, hands it to a rule, and writes what the rule changed. Who runs a job is its
`holder` (a process), which gives a sign of life (`beat`) every second. A job whose holder is dead is queued again, and
whoever takes it up goes on from what is on the disk.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from domicile.jobs.hours import ALWAYS, is_open, opens_at
from domicile.types import Job

MARGIN = 1.05
"""Room asked of the disk for each byte of a download."""


@dataclass(frozen=True, slots=True)
class Record:
    """A job, and what only the room needs to know of it. Times in seconds since 1970."""

    job: Job
    key: str
    arguments: Mapping[str, Any]
    created_at: float
    download: bool = True
    """Does it count among the simultaneous downloads, and obey their hours?"""
    holder: str | None = None
    beat: float = 0.0
    wanted: Literal["run", "pause", "cancel"] = "run"
    left: bool = False
    """Paused only because the process that ran it was told to leave: another one that asked for it takes it up."""
    reserved_bytes: int = 0
    """Room on the disk for the whole of it, margin included; 0 while its size is unknown."""

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def read(stored: Mapping[str, Any]) -> Record:
        return Record(**{**stored, "job": Job(**stored["job"])})

    @property
    def still_needs(self) -> int:
        """Bytes of the disk it has reserved and not yet filled."""
        return max(0, self.reserved_bytes - self.job.downloaded_bytes)

    def now(self, **fields: Any) -> Record:
        """The same record with its job changed."""
        return replace(self, job=replace(self.job, **fields))


@dataclass(frozen=True, slots=True)
class Policy:
    """What the house allows its downloads: how many at once (0: any number), how fast (0: any speed), when."""

    most: int = 3
    limit: int = 0
    hours: str = ALWAYS


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part in what goes on: its own downloads, of all that run."""

    mine: int
    all: int


@dataclass
class Book:
    """The records of jobs that are not over, by id. Changes are noted in `changed`; nothing else is written."""

    records: dict[str, Record]
    changed: dict[str, Record] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Record]:
        return iter([self.changed.get(i, r) for i, r in self.records.items()] + self._new())

    def _new(self) -> list[Record]:
        return [r for i, r in self.changed.items() if i not in self.records]

    def get(self, job_id: str) -> Record | None:
        return self.changed.get(job_id) or self.records.get(job_id)

    def put(self, record: Record) -> Record:
        if self.get(record.job.id) != record:
            self.changed[record.job.id] = record
        return record

    def tells(self) -> Iterator[Job]:
        """The new state of each job whose state changed: what listeners are told."""
        for job_id, record in self.changed.items():
            before = self.records.get(job_id)
            if before is None or before.job != record.job:
                yield record.job


Dead = Callable[[str, float], bool]
"""Is the holder of a job, whose last sign of life was then, dead?"""


def enter(
    book: Book,
    kind: str,
    model: str,
    arguments: Mapping[str, Any],
    *,
    wishes: Mapping[str, Any],
    download: bool,
    policy: Policy,
    now: float,
) -> Record:
    """The job that does this already, with the new wishes (priority, limit, hours), or a new one at the queue's end.

    One that is paused goes on: whoever asks for it wants it.
    """
    key = f"{kind}:{model.lower()}"
    said = {name: value for name, value in wishes.items() if value is not None}
    for record in book:
        if record.key == key and not record.job.over:
            wished = record.now(**said)
            return book.put(go_on(wished, policy, now) if wished.job.status == "paused" else wished)
    job = Job(uuid.uuid4().hex[:12], kind, model, **said)
    return book.put(_queued(Record(job, key, dict(arguments), now, download), policy, now))


def go_on(record: Record, policy: Policy, now: float) -> Record:
    """A paused job back into the queue."""
    return _queued(replace(record, wanted="run", left=False), policy, now)


def _queued(record: Record, policy: Policy, now: float) -> Record:
    free = replace(record, holder=None, beat=0.0)
    step = "queued" if is_open(hours_of(record, policy), now) else "scheduled"
    return free.now(status="queued", step=step, speed=None, error=None, resume_at=None)


def hours_of(record: Record, policy: Policy) -> str:
    return (record.job.hours or policy.hours) if record.download else ALWAYS


def ask(book: Book, job_id: str, wanted: Literal["pause", "cancel"], *, dead: Dead, now: float) -> None:
    """Stop a job. One that a living process runs is only asked to: its holder sees it within a second."""
    record = book.get(job_id)
    if record is None:
        return
    if record.job.status == "running" and record.holder is not None and not dead(record.holder, record.beat):
        book.put(replace(record, wanted=wanted))
    else:
        book.put(stopped(record, wanted, now))


def stopped(record: Record, wanted: Literal["pause", "cancel"], now: float, *, left: bool = False) -> Record:
    """`left`: not by a person, but because the process that ran it leaves."""
    free = replace(record, holder=None, beat=0.0, wanted="run", left=left)
    if wanted == "cancel":
        return replace(free, reserved_bytes=0).now(status="cancelled", speed=None, resume_at=None, completed_at=now)
    return free.now(status="paused", speed=None, step="left" if left else None, resume_at=None)


def resume(book: Book, job_id: str, policy: Policy, now: float) -> None:
    """Back into the queue; a job that was just asked to pause is asked no longer."""
    record = book.get(job_id)
    if record is None:
        return
    if record.job.status == "paused":
        book.put(go_on(record, policy, now))
    elif record.wanted == "pause":
        book.put(replace(record, wanted="run"))


def tidy(book: Book, asked: Collection[str], *, dead: Dead, policy: Policy, now: float) -> None:
    """What time alone brings about: dead holders, pauses that are over, hours that open."""
    for record in book:
        match record.job.status:
            case "running" if record.holder is None or dead(record.holder, record.beat):
                wanted = record.wanted
                book.put(_queued(record, policy, now) if wanted == "run" else stopped(record, wanted, now))
            case "paused" if record.left and record.job.id in asked:
                book.put(go_on(record, policy, now))
            case "paused" if record.job.resume_at is not None and record.job.resume_at <= now:
                book.put(go_on(record, policy, now))
            case "queued":
                book.put(_queued(record, policy, now))


def claim(
    book: Book,
    me: str,
    kinds: Collection[str],
    asked: Collection[str] | None,
    *,
    policy: Policy,
    now: float,
) -> Record | None:
    """Take the next job that may run: of those `asked` (None: of all), the highest priority, then the oldest."""
    able = next(iter(ready(book, kinds, asked, policy=policy, now=now)), None)
    if able is None:
        return None
    mine = replace(able, holder=me, beat=now, wanted="run", left=False)
    return book.put(mine.now(status="running", step=None, started_at=able.job.started_at or now))


def ready(
    book: Book, kinds: Collection[str], asked: Collection[str] | None, *, policy: Policy, now: float
) -> list[Record]:
    """The queued jobs that may run now, first first; downloads no more than still may run beside the others."""
    running = sum(r.download for r in book if r.job.status == "running")
    places = max(0, policy.most - running) if policy.most else len(book.records) + len(book.changed)
    queue = [
        r
        for r in book
        if r.job.status == "queued"
        and r.job.kind in kinds
        and (asked is None or r.job.id in asked)
        and is_open(hours_of(r, policy), now)
    ]
    queue.sort(key=lambda r: (-r.job.priority, r.created_at))
    downloads = [r.job.id for r in queue if r.download][:places]
    return [r for r in queue if not r.download or r.job.id in downloads]


def beat(book: Book, me: str, ids: Iterable[str], now: float) -> dict[str, Record | None]:
    """A sign of life for the jobs this process runs; None for each that it holds no longer."""
    held: dict[str, Record | None] = {}
    for job_id in ids:
        record = book.get(job_id)
        mine = record is not None and record.holder == me and record.job.status == "running"
        held[job_id] = book.put(replace(record, beat=now)) if record is not None and mine else None
    return held


def share(book: Book, me: str) -> Share:
    downloads = [r for r in book if r.job.status == "running" and r.download]
    return Share(sum(r.holder == me for r in downloads), len(downloads))


def reserve(book: Book, job_id: str, size_bytes: int, here_bytes: int, free_bytes: int) -> int:
    """Room for the whole of a download: the bytes that are missing, 0 when it was reserved.

    `here_bytes` of it are on the disk already. What other jobs that run or wait still need is not free.
    """
    record = book.get(job_id)
    if record is None:
        return 0
    others = sum(r.still_needs for r in book if r.job.id != job_id and r.job.status in {"running", "queued"})
    whole = int(size_bytes * MARGIN)
    missing = whole - here_bytes - (free_bytes - others)
    if missing > 0:
        return missing
    reserved = replace(record, reserved_bytes=whole)
    book.put(reserved.now(size_bytes=size_bytes, downloaded_bytes=here_bytes))
    return 0


def next_moment(records: Iterable[Record], policy: Policy, now: float) -> float | None:
    """When something will happen by itself: hours that open, a pause that ends."""
    moments = [r.job.resume_at for r in records if r.job.status == "paused" and r.job.resume_at is not None]
    moments += [opens_at(hours_of(r, policy), now) for r in records if r.job.status == "queued"]
    return min(moments, default=None)
