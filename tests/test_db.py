"""The one SQLite file: what was acknowledged stays, what is damaged is set aside, who writes waits their turn."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from domicile.config import load
from domicile.db import MIGRATIONS, Database
from domicile.errors import HomeNotWritable, NewerDatabase
from domicile.library import Library

ROOT = Path(__file__).parent.parent
WRITER = """
import sys
from pathlib import Path
from domicile.db import Database
database = Database(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    database.keep(f"{sys.argv[2]}-{number}", "x" * 200)
    print(f"{sys.argv[2]}-{number}", flush=True)
"""
OPENER = """
import sys
from pathlib import Path
from domicile.db import Database
print("imported", flush=True)
sys.stdin.readline()
print(Database(Path(sys.argv[1])).set_aside)
"""


def _writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return _python(WRITER, str(path), name, str(count))


def _python(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        text=True,
    )


def _begin(writer: subprocess.Popen[str]) -> None:
    assert writer.stdout is not None
    assert writer.stdin is not None
    assert writer.stdout.readline() == "ready\n"
    writer.stdin.write("go\n")
    writer.stdin.flush()


def test_what_was_acknowledged_survives_a_kill_of_its_writers(tmp_path: Path) -> None:
    path = tmp_path / "domicile.db"
    acknowledged: set[str] = set()
    for round_ in range(3):
        writers = [_writer(path, f"{round_}-{name}", 100_000) for name in ("a", "b")]
        for writer in writers:
            _begin(writer)
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(10):
                acknowledged.add(writer.stdout.readline().strip())
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            with writer:
                assert writer.stdout is not None
                acknowledged |= set(writer.stdout.read().split("\n")[:-1])
    database = Database(path)
    assert database.set_aside is None
    kept = {row["key"] for row in database.read("SELECT key FROM kept")}
    assert len(acknowledged) >= 60
    assert acknowledged <= kept
    assert len(kept - acknowledged) <= 6  # one a writer may be on the disk without having been said
    database.close()


def test_several_writers_wait_for_each_other_and_none_sees_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "domicile.db"
    writers = [_writer(path, name, 25) for name in ("a", "b", "c")]
    for writer in writers:
        _begin(writer)
    for writer in writers:
        said, complaint = writer.communicate(timeout=60)
        assert (writer.returncode, complaint) == (0, "")
        assert len(said.split()) == 25
    database = Database(path)
    assert len(database.read("SELECT key FROM kept")) == 75
    database.close()
    assert list(tmp_path.glob("*.damaged-*")) == []


@pytest.mark.parametrize("before", [None, b"not a database at all" * 100])
def test_processes_that_open_it_at_the_same_moment_all_open_it(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "domicile.db"
    if before is not None:
        path.write_bytes(before)
    openers = [_python(OPENER, str(path)) for _ in range(4)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "imported\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    said = [opener.communicate(timeout=60) for opener in openers]
    assert [complaint for _, complaint in said] == [""] * 4
    aside = {word.strip() for word, _ in said} - {"None"}
    assert aside == ({str(tmp_path / "domicile.db.damaged-1")} if before else set())


def test_a_database_that_another_program_keeps_locked_is_never_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "domicile.db"
    Database(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("domicile.db.BUSY_S", 0.1)
    with pytest.raises(HomeNotWritable) as refused:
        Database(path)
    assert "locked" in str(refused.value.facts["problem"])
    other.execute("ROLLBACK")
    other.close()
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_a_writer_that_waited_in_vain_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domicile.db.BUSY_S", 0.1)
    path = tmp_path / "domicile.db"
    database, other = Database(path), Database(path)
    with other.write(), pytest.raises(HomeNotWritable):
        database.keep("a", "1")
    database.keep("a", "2")
    assert other.kept("a") == "2"
    database.close()
    other.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "domicile.db")
    with pytest.raises(sqlite3.IntegrityError), database.write() as w:
        w.executemany("INSERT INTO kept VALUES (?, ?)", [("a", "1"), ("a", "2")])
    assert database.kept("a") is None
    database.keep("a", "2")
    database.keep("a", None)
    assert database.kept("a") is None
    database.close()


def _filled(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "domicile.db"
    database = Database(path)
    with database.write() as w:
        w.executemany("INSERT INTO kept VALUES (?, ?)", [(f"key-{number}", "x" * 300) for number in range(200)])
    database.close()
    assert not path.with_name("domicile.db-wal").exists()
    return path


def _header(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def _half_overwritten(path: Path) -> None:
    size = path.stat().st_size
    _header(path, size // 2, os.urandom(size - size // 2))


def _sql(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.executescript(statement)


def _another_program(path: Path, version: int) -> None:
    path.unlink()
    _sql(path, f"CREATE TABLE bookmarks (url TEXT); PRAGMA user_version={version}")
    path.write_bytes(path.read_bytes().ljust(3 * 4096, b"\0"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": lambda p: p.write_bytes(os.urandom(20_000)),
    "a text": lambda p: p.write_text("this is no database\n" * 100, "utf-8"),
    "a few bytes": lambda p: p.write_bytes(b"SQL"),
    "truncated in a page": lambda p: os.truncate(p, 5000),
    "truncated to its header": lambda p: os.truncate(p, 100),
    "truncated to half": lambda p: os.truncate(p, p.stat().st_size // 2 // 4096 * 4096),
    "half overwritten": _half_overwritten,
    "wrong magic": lambda p: _header(p, 0, b"SQLite format 9\0"),
    "zeros at its start": lambda p: _header(p, 0, bytes(8192)),
    "steps forgotten": lambda p: _header(p, 60, bytes(4)),
    "a page size of 3": lambda p: _header(p, 16, b"\0\3"),
    "a page of zeros": lambda p: _header(p, 4096 * 3, bytes(4096)),
    "half a page": lambda p: _header(p, 4096 * 2, os.urandom(2048)),
    "another program's tables": lambda p: _another_program(p, len(MIGRATIONS)),
    "another program's tables, unnumbered": lambda p: _another_program(p, 0),
    "a column missing": lambda p: _sql(p, "ALTER TABLE models DROP COLUMN licence"),
    "a table missing": lambda p: _sql(p, "DROP TABLE kept"),
    "a number of steps that nobody wrote": lambda p: _header(p, 60, b"\x7f\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_database_is_set_aside_and_rebuilt_from_the_models_in_our_folder(tmp_path: Path, kind: str) -> None:
    path = _filled(tmp_path)
    settings = load()
    file = settings.models / "org" / "repo" / "x-Q4_K_M.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUFxxxx")
    DAMAGE[kind](path)
    damaged = path.read_bytes()
    database = Database(path)
    assert database.set_aside == path.with_name("domicile.db.damaged-1")
    assert database.set_aside.read_bytes()[1000:] == damaged[1000:]
    assert database.kept("key-1") is None
    assert [m.name for m in Library(settings, database).list() if m.source == "hub"] == ["org/repo:Q4_K_M"]
    database.keep("a", "1")
    database.close()
    again = Database(path)
    assert (again.set_aside, again.kept("a")) == (None, "1")
    again.close()


def test_a_database_of_a_later_domicile_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    _sql(path, f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerDatabase) as refused:
        Database(path)
    assert refused.value.facts == {"path": str(path), "found": len(MIGRATIONS) + 1, "known": len(MIGRATIONS)}
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.damaged-*")) == []


def test_what_survives_a_kill_and_not_a_power_cut_is_seen_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "domicile.db"
    database, other = Database(path), Database(path)
    with database.write(durable=False) as w:
        w.execute("INSERT INTO kept VALUES ('a', '1')")
    assert other.kept("a") == "1"
    database.keep("b", "2")
    assert database.read("PRAGMA synchronous")[0][0] == 2
    database.close()
    other.close()


def test_a_second_damaged_database_does_not_replace_the_first(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    for number in (1, 2):
        path.write_bytes(os.urandom(5000))
        database = Database(path)
        assert database.set_aside == path.with_name(f"domicile.db.damaged-{number}")
        database.close()


@pytest.mark.parametrize("emptied", [lambda p: p.write_bytes(b""), lambda p: p.unlink()], ids=["emptied", "deleted"])
def test_a_lost_database_is_made_anew_and_the_models_in_our_folder_are_found_again(
    tmp_path: Path, emptied: Callable[[Path], object]
) -> None:
    path = _filled(tmp_path)
    emptied(path)
    settings = load()
    file = settings.models / "org" / "repo" / "x-Q4_K_M.gguf"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUFxxxx")
    database = Database(path)
    assert database.set_aside is None
    assert [m.name for m in Library(settings, database).list() if m.source == "hub"] == ["org/repo:Q4_K_M"]
    database.close()


def test_a_log_of_writes_that_was_deleted_loses_no_more_than_the_log(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    writer = _writer(path, "a", 100_000)
    _begin(writer)
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.kill()
    writer.communicate(timeout=20)
    assert path.with_name("domicile.db-wal").exists()
    path.with_name("domicile.db-wal").unlink()
    database = Database(path)
    assert database.set_aside is None
    assert database.kept("key-1") is not None
    database.close()


def test_a_log_of_writes_that_is_garbage_is_no_loss(tmp_path: Path) -> None:
    path = _filled(tmp_path)
    path.with_name("domicile.db-wal").write_bytes(os.urandom(50_000))
    database = Database(path)
    assert database.kept("key-1") is not None
    database.close()


def test_a_folder_in_the_place_of_the_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "domicile.db"
    path.mkdir()
    (path / "precious").write_text("x", "utf-8")
    with pytest.raises(HomeNotWritable) as refused:
        Database(path)
    assert refused.value.facts["path"] == str(tmp_path)
    assert (path / "precious").exists()


def test_a_home_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be", "utf-8")
    for path in (tmp_path / "home" / "domicile.db", Path("/proc/domicile/domicile.db")):
        with pytest.raises(HomeNotWritable) as refused:
            Database(path)
        assert refused.value.facts["path"] == str(path.parent)
        assert refused.value.facts["problem"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_without_the_right_to_write_is_refused_in_words(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(HomeNotWritable):
            Database(tmp_path / "domicile.db")
    finally:
        tmp_path.chmod(0o700)


def test_the_steps_that_build_the_database_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "domicile.db"
    first = Database(path)
    first.keep("a", "1")
    assert first.read("PRAGMA user_version")[0][0] == len(MIGRATIONS)
    first.close()
    step = "CREATE TABLE later (n INTEGER); INSERT INTO later VALUES (1);"
    monkeypatch.setattr("domicile.db.MIGRATIONS", (*MIGRATIONS, step))
    for _ in range(2):
        database = Database(path)
        assert [row["n"] for row in database.read("SELECT n FROM later")] == [1]
        assert database.kept("a") == "1"
        database.close()


def test_every_step_says_nothing_that_would_be_cut_in_the_middle() -> None:
    for step in MIGRATIONS:  # statements are split at semicolons
        for statement in step.split(";"):
            bare = re.sub(r"--[^\n]*", "", statement).strip()
            assert not bare or sqlite3.complete_statement(bare + ";")
