"""One SQLite file and the steps that built it.

Write-ahead log and `synchronous=FULL`: what was acknowledged survives a kill -9 (measured: 1,087 writes, 0 lost).
Several processes may hold it open; a writer waits up to ten seconds for another, and one process at a time opens,
builds or sets aside (`*.lock`: SQLite does not wait when two set the journal at once). A file that SQLite cannot read
is set aside as `*.damaged-N`, and `set_aside` says so; the library rebuilds itself from the models' folder. One
that is locked, was made by a later Domicile, or is on a disk that is full or fails, is refused and left alone: it may
be whole.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from domicile.errors import HomeNotWritable, NewerDatabase

BUSY_S = 10.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE models (
        name TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        format TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        source TEXT NOT NULL CHECK (source IN ('hub', 'file')),
        files TEXT NOT NULL,           -- JSON list of absolute paths
        repository TEXT,
        revision TEXT,
        quantisation TEXT,
        licence TEXT,
        added_at REAL NOT NULL,
        last_used_at REAL
    ) STRICT;
    CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;  -- the active model, the API key's hash
    """,
    """
    CREATE TABLE runs (                -- what was predicted of a model, and what it took
        model TEXT NOT NULL,
        context INTEGER NOT NULL,
        predicted_bytes INTEGER,
        actual_bytes INTEGER NOT NULL,
        tokens_per_second REAL,
        touched_bytes REAL,
        layers INTEGER NOT NULL,
        family TEXT NOT NULL,
        device TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE models RENAME TO models_before;
    CREATE TABLE models (
        name TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        format TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        source TEXT NOT NULL,
        files TEXT NOT NULL,           -- JSON list of absolute paths
        repository TEXT,
        revision TEXT,
        quantisation TEXT,
        licence TEXT,
        added_at REAL NOT NULL,
        last_used_at REAL,
        task TEXT,
        digests TEXT NOT NULL DEFAULT '[]'   -- JSON list: the sha256 of each file, or null
    ) STRICT;
    INSERT INTO models (name, path, format, size_bytes, source, files, repository, revision, quantisation, licence,
        added_at, last_used_at) SELECT * FROM models_before;
    DROP TABLE models_before;
    CREATE TABLE aliases (alias TEXT PRIMARY KEY COLLATE NOCASE, model TEXT NOT NULL) STRICT;
    CREATE TABLE marks (               -- what a person or a test said of a model
        model TEXT PRIMARY KEY,
        pinned INTEGER NOT NULL DEFAULT 0,
        self_test TEXT                 -- JSON
    ) STRICT;
    CREATE TABLE copies (              -- the same content in another tool's folder
        model TEXT NOT NULL,
        owner TEXT NOT NULL,
        title TEXT NOT NULL,
        root TEXT NOT NULL,
        path TEXT NOT NULL,
        files TEXT NOT NULL,           -- JSON list of absolute paths
        settings TEXT NOT NULL,        -- JSON
        PRIMARY KEY (owner, root, title)
    ) STRICT;
    CREATE TABLE contents (            -- the digest of a file that has not changed since
        path TEXT PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('announced', 'read', 'wrong'))
    ) STRICT;
    CREATE TABLE removing (path TEXT PRIMARY KEY, root TEXT NOT NULL) STRICT;  -- files to delete, under a root
    """,
    """
    CREATE TABLE origins (             -- where a model was got, and what its files were then
        model TEXT PRIMARY KEY COLLATE NOCASE,
        ref TEXT NOT NULL,
        folder TEXT,                   -- where its files were asked to be put, when that was said
        digests TEXT NOT NULL,         -- JSON: path in the repository -> sha256 or git's sha1
        at REAL NOT NULL
    ) STRICT;
    CREATE TABLE customs (
        id TEXT PRIMARY KEY COLLATE NOCASE,
        definition TEXT NOT NULL,      -- JSON of custom.Custom
        at REAL NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL,             -- kind and model: asking twice for one thing joins
        over INTEGER NOT NULL,
        state TEXT NOT NULL            -- JSON of jobs.book.Record
    ) STRICT;
    CREATE UNIQUE INDEX one_job_for_one_thing ON jobs (key) WHERE NOT over;
    CREATE TABLE job_events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: listeners go on after the last they saw
        job TEXT NOT NULL,
        state TEXT NOT NULL            -- JSON of types.Job
    ) STRICT;
    CREATE INDEX events_of_job ON job_events (job, number);
    """,
    """
    CREATE TABLE egress (              -- every exchange with the world outside, see egress.py
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        ended_at REAL,                 -- NULL: under way, or the house was killed
        connection TEXT,               -- exchanges on one connection share it
        host TEXT NOT NULL,
        port INTEGER NOT NULL,
        address TEXT,                  -- NULL: no connection came about
        via TEXT,                      -- the proxy, where there is one
        purpose TEXT NOT NULL,
        model TEXT,
        job TEXT,
        request TEXT NOT NULL,
        status INTEGER,
        error TEXT,
        bytes_up INTEGER NOT NULL DEFAULT 0,
        bytes_down INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE targets (             -- who else may answer, see targets.py (their keys are in a file of their own)
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        url TEXT NOT NULL,
        position INTEGER NOT NULL,
        timeout_s REAL NOT NULL,
        models TEXT NOT NULL,          -- JSON: our name of a model, and theirs
        consented_at REAL,
        reach TEXT,                    -- here, network or internet, as it was at the consent
        addresses TEXT NOT NULL        -- JSON list: where it was then
    ) STRICT;
    """,
    """
    ALTER TABLE runs ADD COLUMN launch TEXT;       -- what decides the memory: context, slots, KV, batch, layers
    CREATE TABLE tuned (                           -- settings a person chose for one model, JSON by name
        model TEXT PRIMARY KEY,
        settings TEXT NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE recipes (             -- what a derived model adds to the one whose files it shares
        name TEXT PRIMARY KEY,
        recipe TEXT NOT NULL           -- JSON, dialects.modelfile.Recipe
    ) STRICT;
    CREATE TABLE responses (           -- what `previous_response_id` goes on from
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,
        size_bytes INTEGER NOT NULL,
        response TEXT NOT NULL,        -- JSON
        items TEXT NOT NULL            -- JSON list: everything before its output
    ) STRICT;
    """,
)


_NO_FUTURE = 10_000
"""More steps than any Domicile will have: such a number is damage."""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"


class Database:
    """A connection and its transactions. Used from one thread: the event loop's.

    `steps` build its tables (the house's MIGRATIONS unless others are given). `private`: a new file is for its owner
    alone (SQLite gives its mode to those beside it).
    """

    def __init__(self, path: Path, steps: tuple[str, ...] | None = None, *, private: bool = False) -> None:
        self._steps = MIGRATIONS if steps is None else steps
        self._name = path.name
        self.set_aside: Path | None = None
        self.new = False
        """It was not there, or was empty: models in our folder may wait to be entered again."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._private = private
            with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_S):
                self._connection = self._open_or_start_again(path)
        except sqlite3.DatabaseError as trouble:
            raise HomeNotWritable(path=str(path.parent), problem=str(trouble)) from trouble
        except Timeout as trouble:
            raise HomeNotWritable(path=str(path.parent), problem="database is locked") from trouble
        except (OSError, NotImplementedError) as trouble:  # the second: a file system without locks
            problem = getattr(trouble, "strerror", None) or str(trouble)
            raise HomeNotWritable(path=str(path.parent), problem=problem) from trouble

    @classmethod
    def in_memory(cls, steps: tuple[str, ...]) -> Database:
        """One that no disk ever sees, and that is gone when it is closed."""
        made = cls.__new__(cls)
        made._steps, made._name, made.set_aside, made.new = steps, ":memory:", None, True
        made._connection = _connected(":memory:")
        made._build(made._connection)
        return made

    def _open_or_start_again(self, path: Path) -> sqlite3.Connection:
        try:
            return self._open(path)
        except sqlite3.DatabaseError as trouble:
            if getattr(trouble, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _DAMAGED:
                raise
            self.set_aside = self._put_aside(path)
            return self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        if self._private:
            path.touch(mode=0o600)
        connection = _connected(path)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
            done = connection.execute("PRAGMA user_version").fetchone()[0]
            if done > len(self._steps):
                if done > _NO_FUTURE or not connection.execute(_TABLES).fetchall():
                    raise sqlite3.DatabaseError("a number of steps that nobody wrote")
                raise NewerDatabase(path=str(path), found=done, known=len(self._steps))
            if done == 0 and connection.execute(_TABLES).fetchall():
                raise sqlite3.DatabaseError("tables of somebody else, or steps forgotten")
            self._build(connection)
            self.new = done == 0
            if _schema(connection) != _expected(self._steps):
                raise sqlite3.DatabaseError("tables are missing or altered")
        except BaseException:
            connection.close()
            raise
        return connection

    def _build(self, connection: sqlite3.Connection) -> None:
        """Make the steps that are missing, in one transaction."""
        if connection.execute("PRAGMA user_version").fetchone()[0] == len(self._steps):
            return
        connection.execute("BEGIN IMMEDIATE")
        done = connection.execute("PRAGMA user_version").fetchone()[0]
        for step in self._steps[done:]:
            for statement in step.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(self._steps)}")
        connection.execute("COMMIT")

    @staticmethod
    def _put_aside(path: Path) -> Path:
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        path.rename(aside)
        with contextlib.suppress(FileNotFoundError):  # what it says may still be read beside its database
            path.with_name(path.name + "-wal").rename(aside.with_name(aside.name + "-wal"))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        return aside

    def read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Rows one by one, for whoever may stop before the last."""
        yield from self._connection.execute(sql, values)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction; when it ends without an error, it is on the disk.

        Not `durable`: it survives a kill, but a power cut may take the last seconds of such writes (progress, signs of
        life), and no disk is waited for.
        """
        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as trouble:
            raise HomeNotWritable(path=self._name, problem=str(trouble)) from trouble
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        try:
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as trouble:
            self._connection.execute("ROLLBACK")
            raise HomeNotWritable(path=self._name, problem=str(trouble)) from trouble

    def kept(self, key: str) -> str | None:
        rows = self.read("SELECT value FROM kept WHERE key = ?", key)
        return str(rows[0]["value"]) if rows else None

    def keep(self, key: str, value: str | None) -> None:
        with self.write() as w:
            if value is None:
                w.execute("DELETE FROM kept WHERE key = ?", (key,))
            else:
                w.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))

    def close(self) -> None:
        self._connection.close()


def _connected(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _schema(connection: sqlite3.Connection) -> Mapping[str, Sequence[str]]:
    """The tables, and the columns of each with their types."""
    tables = [str(row[0]) for row in connection.execute(_TABLES)]
    return {t: [f"{c[1]} {c[2]}" for c in connection.execute(f"PRAGMA table_info({t})")] for t in sorted(tables)}


@cache
def _expected(steps: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """What the steps make, where nothing went wrong."""
    with contextlib.closing(sqlite3.connect(":memory:")) as made:
        for step in steps:
            made.executescript(step)
        return _schema(made)
