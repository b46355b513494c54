"""The jobs in the house's own database. Several processes may keep them together; each looks four times a second for
what the others wrote, while somebody listens."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from domicile.db import Database
from domicile.jobs.book import Book, Record
from domicile.jobs.store import KEPT_AFTER, KEPT_EVENTS, KEPT_JOBS, Bell
from domicile.types import Job

T = TypeVar("T")
_LOOK_S = 0.25


class SqliteStore:
    """Used from one thread: the event loop's, like the database. What it does takes milliseconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bell = Bell()

    def now(self) -> float:
        return time.time()

    async def change(self, rule: Callable[[Book], T], *, durable: bool = True) -> T:
        with self._database.write(durable=durable) as w:
            rows = w.execute("SELECT state FROM jobs WHERE NOT over ORDER BY rowid").fetchall()
            records = [_record(row) for row in rows]
            book = Book({r.job.id: r for r in records})
            result = rule(book)
            for record in book.changed.values():
                w.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET over = excluded.over, state = excluded.state",
                    (record.job.id, record.key, record.job.over, json.dumps(record.stored())),
                )
            for job in book.tells():
                _tell(w, job)
        if book.changed:
            self._bell.ring()
        return result

    async def records(self) -> list[Record]:
        return [_record(row) for row in self._database.read("SELECT state FROM jobs ORDER BY rowid")]

    async def active(self) -> list[Record]:
        return [_record(row) for row in self._database.read("SELECT state FROM jobs WHERE NOT over ORDER BY rowid")]

    async def find(self, job_id: str) -> Record | None:
        rows = self._database.read("SELECT state FROM jobs WHERE id = ?", job_id)
        return _record(rows[0]) if rows else None

    async def events(self, after: int, job_id: str | None = None) -> tuple[int, list[tuple[int, Job]]]:
        last = self._database.read("SELECT max(seq) AS n FROM sqlite_sequence WHERE name = 'job_events'")[0]["n"] or 0
        of_one = "" if job_id is None else " AND job = ?"
        rows = self._database.read(
            f"SELECT number, state FROM job_events WHERE number > ?{of_one} ORDER BY number",  # noqa: S608 - two texts of ours
            *([after] if job_id is None else [after, job_id]),
        )
        return int(last), [(row["number"], Job(**json.loads(row["state"]))) for row in rows]

    async def wait(self, timeout_s: float) -> None:
        await self._bell.wait(min(timeout_s, _LOOK_S))

    async def close(self) -> None:
        """Nothing of its own to close."""


def _record(row: sqlite3.Row) -> Record:
    return Record.read(json.loads(row["state"]))


def _tell(w: sqlite3.Connection, job: Job) -> None:
    w.execute("INSERT INTO job_events (job, state) VALUES (?, ?)", (job.id, json.dumps(asdict(job))))
    w.execute(
        "DELETE FROM job_events WHERE job = ?1 AND number <= (SELECT number FROM job_events WHERE job = ?1"
        " ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        (job.id, KEPT_AFTER if job.over else KEPT_EVENTS),
    )
    if job.over:
        w.execute(
            "DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM jobs WHERE over ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (KEPT_JOBS,),
        )
        w.execute("DELETE FROM job_events WHERE job NOT IN (SELECT id FROM jobs)")
