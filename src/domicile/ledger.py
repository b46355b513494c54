"""The ledger of what leaves this machine: one row for each exchange, written before its connection is opened.

Rows are kept in the house's database, the newest KEPT of them, and brought up to date while an exchange lasts: a kill
loses at most seconds of its bytes, never the exchange. Knows no network.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from domicile.db import Database
from domicile.errors import DomicileError, Offline

KEPT = 20_000
"""Exchanges the ledger holds; the oldest go first."""
_WRITE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as the ledger keeps them. Times are seconds since 1970."""

    at: float
    host: str
    port: int
    purpose: str
    request: str
    """Method and path; what was searched for is left out."""
    model: str | None = None
    job: str | None = None
    id: int = 0
    ended_at: float | None = None
    connection: str | None = None
    """Exchanges on one connection share it."""
    address: str | None = None
    via: str | None = None
    """The proxy, which then is where the address leads."""
    status: int | None = None
    error: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0

    def public(self) -> dict[str, Any]:
        return asdict(self)


class Ledger:
    """The rows, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[int, Entry] = {}

    def begin(self, row: Exchange) -> Entry:
        """Write down what is about to be asked. Raises `Offline` when that cannot be done: then it must not leave."""
        entry = Entry(self, row)
        self._open[entry.row.id] = entry
        return entry

    def exchanges(self, since: float = 0.0, limit: int = 1000) -> Sequence[Exchange]:
        """What went out, newest first."""
        for entry in list(self._open.values()):
            entry.write()
        rows = self._database.read("SELECT * FROM egress WHERE at >= ? ORDER BY id DESC LIMIT ?", since, limit)
        return [Exchange(**dict(row)) for row in rows]

    def totals(self, since: float = 0.0) -> Sequence[dict[str, Any]]:
        """Exchanges, connections and bytes, by purpose and host."""
        rows = self._database.read(
            "SELECT purpose, host, count(*) AS exchanges, count(DISTINCT connection) AS connections,"
            " sum(bytes_up) AS bytes_up, sum(bytes_down) AS bytes_down, max(at) AS last_at"
            " FROM egress WHERE at >= ? GROUP BY purpose, host ORDER BY last_at DESC",
            since,
        )
        return [dict(row) for row in rows]

    def save(self, row: Exchange) -> int:
        """Insert or update; the row's number. No disk is waited for: a kill loses nothing, a power cut seconds."""
        values = {name: value for name, value in asdict(row).items() if name != "id"}
        try:
            with self._database.write(durable=False) as w:
                if row.id:
                    changes = ", ".join(f"{name} = :{name}" for name in values)
                    w.execute(f"UPDATE egress SET {changes} WHERE id = :id", asdict(row))  # noqa: S608 - our own names
                    return row.id
                names, places = ", ".join(values), ", ".join(f":{name}" for name in values)
                number = w.execute(f"INSERT INTO egress ({names}) VALUES ({places})", values).lastrowid or 0  # noqa: S608
                if number % 100 == 0:
                    w.execute("DELETE FROM egress WHERE id <= ?", (number - KEPT,))
        except (sqlite3.Error, DomicileError) as trouble:
            if row.id:  # it has left, and an end that cannot be written must not break what was asked
                return row.id
            raise Offline(host=row.host, purpose=row.purpose, reason="ledger") from trouble
        return number

    def forget(self, entry: Entry) -> None:
        self._open.pop(entry.row.id, None)

    def close(self) -> None:
        for entry in list(self._open.values()):
            entry.end("closed")


class Entry:
    """An exchange under way."""

    def __init__(self, ledger: Ledger, row: Exchange) -> None:
        self._ledger = ledger
        self.row = replace(row, id=ledger.save(row))
        self._written_at = time.monotonic()

    def through(self, proxy: str) -> None:
        self.row = replace(self.row, via=proxy)

    def on(self, connection: str, address: str) -> None:
        """The connection it goes through."""
        self.row = replace(self.row, connection=connection, address=address)

    def answered(self, status: int) -> None:
        self.row = replace(self.row, status=status)

    def carried(self, up: int = 0, down: int = 0) -> None:
        """Bytes, as the network carries them."""
        self.row = replace(self.row, bytes_up=self.row.bytes_up + up, bytes_down=self.row.bytes_down + down)
        # What comes after the end (a farewell) is written at once, and long answers now and then.
        if self.row.ended_at is not None or time.monotonic() - self._written_at > _WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        self._written_at = time.monotonic()
        self._ledger.save(self.row)

    def end(self, error: str | None = None) -> None:
        if self.row.ended_at is None:
            self.row = replace(self.row, ended_at=time.time(), error=error)
            self.write()
            self._ledger.forget(self)
