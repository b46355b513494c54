"""What was answered is kept: bounded, dated, apart for each token, and never trusted when it is damaged."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from domicile.cache import Cache, Kept, scope_of


def _entry(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_put_is_got(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c", clock=lambda: 100.0)
    assert cache.get("", "q") is None
    kept = Kept(b"\x00line\nbody\xff", 90.0, 'W/"e"', "next")
    cache.put("", "q", kept)
    assert cache.get("", "q") == kept
    assert cache.age_s(kept) == 10.0
    cache.put("", "q", Kept(b"", 95.0))
    assert cache.get("", "q") == Kept(b"", 95.0)
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_nothing_is_made_before_something_is_kept(tmp_path: Path) -> None:
    Cache(tmp_path / "c").get("", "q")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("question", ["../../etc/passwd", "/abs", "a\0b", "x" * 100_000, "\ud800", "CON"])
def test_a_question_never_becomes_a_path(tmp_path: Path, question: str) -> None:
    folder = tmp_path / "c"
    cache = Cache(folder)
    cache.put("", question, Kept(b"x", 1.0))
    assert cache.get("", question) == Kept(b"x", 1.0)
    name = _entry(folder).name
    assert len(name) == 64
    assert set(name) <= set("0123456789abcdef")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_each_token_has_its_own_answers(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(scope_of("hf_a"), "q", Kept(b"secret", 1.0))
    assert cache.get(scope_of(""), "q") is None
    assert cache.get(scope_of("hf_b"), "q") is None
    assert cache.get(scope_of("hf_a"), "q") == Kept(b"secret", 1.0)
    assert "hf_a" not in _entry(tmp_path).read_text("latin-1") + _entry(tmp_path).name


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    Cache(tmp_path).put("", "q", Kept(b"x", 1.0))
    assert stat.S_IMODE(_entry(tmp_path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:10],
        lambda b: b[:-1],
        lambda b: b[:-1] + b"X",
        lambda b: b + b"more",
        lambda b: b"\n" + b,
        lambda b: b"[" * 100_000,
        lambda b: b"null\n" + b.split(b"\n", 1)[1],
        lambda b: b.replace(b'"form": 1', b'"form": 2'),
        lambda b: b.replace(b'"etag": null', b'"etag": 5'),
        lambda b: b.replace(b'"at": 1.0', b'"at": "x"'),
        lambda b: b"\xff" * 500,
    ],
)
def test_a_damaged_entry_is_a_miss(tmp_path: Path, damage: object) -> None:
    cache = Cache(tmp_path)
    cache.put("", "q", Kept(b"body\nof two lines", 1.0))
    path = _entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.get("", "q") is None
    cache.put("", "q", Kept(b"again", 2.0))
    assert cache.get("", "q") == Kept(b"again", 2.0)


def test_an_entry_under_another_name_is_a_miss(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("", "public", Kept(b"a", 1.0))
    one = _entry(tmp_path)
    cache.put("", "other", Kept(b"b", 1.0))
    (two,) = (p for p in tmp_path.iterdir() if p != one)
    two.write_bytes(one.read_bytes())
    assert cache.get("", "other") is None


def test_a_date_in_the_future_is_now(tmp_path: Path) -> None:
    cache = Cache(tmp_path, clock=lambda: 50.0)
    cache.put("", "q", Kept(b"x", 1e12))
    kept = cache.get("", "q")
    assert kept is not None
    assert cache.age_s(kept) == 0.0


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=20_000)
    for n in range(20):
        cache.put("", str(n), Kept(b"x" * 2000, float(n)))
        for path in tmp_path.iterdir():
            head = json.loads(path.read_bytes().split(b"\n")[0])
            os.utime(path, (head["at"], head["at"]))
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 20_000
    there = [n for n in range(20) if cache.get("", str(n))]
    assert there == list(range(20 - len(there), 20))
    assert len(there) >= 7


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=1000)
    cache.put("", "q", Kept(b"x" * 251, 1.0))
    cache.put("", "r", Kept(b"", 1.0, next="n" * 70_000))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "c")
    cache.put("", "q", Kept(b"x", 1.0))
    assert cache.get("", "q") is None
