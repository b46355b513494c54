"""How the command line writes: data on stdout, talk on stderr, nothing that a terminal would obey."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from domicile.output import Output, clean

Captured = pytest.CaptureFixture[str]


def test_the_columns_of_a_table_are_aligned_even_with_wide_and_combining_characters(capsys: Captured) -> None:
    rows = [("模型", "1"), ("e\u0301te\u0301", "2"), ("plain", "3"), ("ﾊﾝ", "4")]
    Output("en").table(rows, ["NAME", "N"], rows, "none")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME    N", "模型    1", "e\u0301te\u0301     2", "plain   3", "ﾊﾝ      4"]


def test_a_cell_cannot_forge_another_row(capsys: Captured) -> None:
    Output("en").table([], ["NAME", "N"], [("x\nadmin   1", "2"), ("a\tb", "3")], "none")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_empty_table_is_a_sentence_on_stderr(capsys: Captured) -> None:
    Output("en").table([], ["NAME"], [], "Nothing here.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Nothing here.\n")


HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "8-bit escape": "\x9b31mred",
    "carriage return": "safe\rowned",
    "backspace": "ab\b\bcd",
    "bell": "\a",
    "null": "a\x00b",
    "right to left": "\u202egpj.exe",
    "isolate": "\u2066x\u2069",
    "mark": "\u200f",
    "zero width": "a\u200bb\ufeff",
    "delete": "a\x7fb",
    "tags": "\U000e0041",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_text_from_outside_is_shown_without_what_a_terminal_obeys(kind: str, capsys: Captured) -> None:
    output = Output("en")
    output.result({}, HOSTILE[kind])
    output.table([], ["N"], [(HOSTILE[kind],)], "")
    output.tell(HOSTILE[kind])
    output.error(HOSTILE[kind], HOSTILE[kind])
    captured = capsys.readouterr()
    forbidden = "\x1b\x9b\r\b\a\x00\x7f\u202e\u2066\u2069\u200f\u200b\ufeff\U000e0041"
    assert not set(captured.out + captured.err) & set(forbidden)


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "Où est la 模型 ?\n\t« ici » 👩\u200d💻 — 4,92\u00a0Go"
    assert clean(text) == text


def test_in_json_one_value_is_all_of_stdout(capsys: Captured) -> None:
    output = Output("fr", as_json=True)
    output.table({"models": ["é\x1b"]}, ["N"], [("x",)], "none")
    output.tell("talk")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"models": ["é\x1b"]}
    assert "\x1b" not in captured.out
    assert captured.err == "talk\n"


def test_in_json_a_result_prints_its_value_and_not_its_lines(capsys: Captured) -> None:
    Output("en", as_json=True).result({"a": 1}, "a line")
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_in_json_an_error_is_an_answer_like_any_other(capsys: Captured) -> None:
    Output("en", as_json=True).error("No.", "try this", {"code": "bad_name"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": {"message": "No.", "hint": "try this", "code": "bad_name"}}
    assert captured.err == ""


def test_an_error_is_talk_with_what_to_do_under_it(capsys: Captured) -> None:
    Output("en").error("No.", "try this")
    Output("en").error("No.", None)
    captured = capsys.readouterr()
    assert captured.err == "No.\n  → try this\nNo.\n"
    assert captured.out == ""


def test_quiet_keeps_the_answer_and_the_errors(capsys: Captured) -> None:
    output = Output("en", quiet=True)
    output.tell("talk")
    output.result({}, "answer")
    output.error("No.", None)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("answer\n", "No.\n")


def _job(**fields: Any) -> Mapping[str, Any]:
    job = {"model": "o/r", "status": "running", "step": None, "size_bytes": None, "downloaded_bytes": 0}
    return {**job, "progress": None, "speed": None, "eta": None, **fields}


def test_progress_away_from_a_terminal_is_a_few_plain_lines(capsys: Captured) -> None:
    progress = Output("en").progress()
    progress.show(_job(step="resolve"))
    progress.show(_job(step="resolve"))
    progress.show(_job(step="download", size_bytes=10**9))
    for done in range(0, 10**9, 10**7):
        progress.show(_job(step="download", size_bytes=10**9, downloaded_bytes=done, progress=done / 1e9))
    progress.show(_job(status="done", size_bytes=10**9, downloaded_bytes=10**9, progress=1.0))
    progress.end()
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert "\r" not in captured.err
    assert lines[:2] == ["Looking up o/r …", "Downloading o/r …"]
    assert len(lines) <= 5
    assert lines[-1] == "100%  1.00 GB / 1.00 GB"


def test_progress_tells_speed_and_time_left_in_the_language(capsys: Captured) -> None:
    job = _job(size_bytes=10**9, downloaded_bytes=5 * 10**8, progress=0.5, speed=5e7, eta=10.0)
    Output("fr").progress().show(job)
    assert capsys.readouterr().err.replace("\u00a0", " ") == " 50%  500 Mo / 1,00 Go  50,0 Mo/s  10 s\n"


@pytest.mark.parametrize("output", [Output("en", as_json=True), Output("en", quiet=True)])
def test_progress_is_silent_in_json_and_quiet(output: Output, capsys: Captured) -> None:
    progress = output.progress()
    progress.show(_job(step="download", size_bytes=10, downloaded_bytes=10, progress=1.0, status="done"))
    progress.end()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
