"""How a person names a model, and which names from outside may become paths of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.errors import BadName
from domicile.types import Installed, Job, ModelRef, RemoteFile, Variant, clashing, is_safe_path

HUB = "hub"
NAMES: list[tuple[str, ModelRef]] = [
    ("graine", ModelRef("house", "graine")),
    ("  graine\n", ModelRef("house", "graine")),
    ("graine:latest", ModelRef("house", "graine:latest")),
    ("qwen2.5:0.5b-instruct_q4", ModelRef("house", "qwen2.5:0.5b-instruct_q4")),
    ("org/repo", ModelRef("hub", "org/repo")),
    ("Org-1/Repo.2_x", ModelRef("hub", "Org-1/Repo.2_x")),
    ("org/repo:q4_k_m", ModelRef("hub", "org/repo", quantisation="q4_k_m")),
    ("org/repo:UD-Q4_K_XL", ModelRef("hub", "org/repo", quantisation="UD-Q4_K_XL")),
    ("org/repo@v1.0", ModelRef("hub", "org/repo", revision="v1.0")),
    ("org/repo@v1.0:Q8_0", ModelRef("hub", "org/repo", quantisation="Q8_0", revision="v1.0")),
    ("org/repo/x.gguf", ModelRef("hub", "org/repo", path="x.gguf")),
    ("org/repo/Q4/x-00001-of-00002.gguf", ModelRef("hub", "org/repo", path="Q4/x-00001-of-00002.gguf")),
    ("org/repo@abc/x.gguf", ModelRef("hub", "org/repo", path="x.gguf", revision="abc")),
    ("hf.co/org/repo", ModelRef("hub", "org/repo")),
    ("HF.co/org/repo:Q4_K_M", ModelRef("hub", "org/repo", quantisation="Q4_K_M")),
    ("huggingface.co/org/repo/x.gguf", ModelRef("hub", "org/repo", path="x.gguf")),
    ("https://huggingface.co/org/repo", ModelRef("hub", "org/repo")),
    ("https://www.huggingface.co/org/repo/", ModelRef("hub", "org/repo")),
    ("http://hf.co/org/repo#files", ModelRef("hub", "org/repo")),
    ("https://huggingface.co/org/repo/tree/main", ModelRef("hub", "org/repo", revision="main")),
    ("https://huggingface.co/org/repo/tree/dev/Q4", ModelRef("hub", "org/repo", path="Q4", revision="dev")),
    (
        "https://huggingface.co/org/repo/resolve/main/x.gguf?download=true",
        ModelRef("hub", "org/repo", path="x.gguf", revision="main"),
    ),
    (
        "https://huggingface.co/org/repo/blob/main/Q4/x.gguf",
        ModelRef("hub", "org/repo", path="Q4/x.gguf", revision="main"),
    ),
    (
        "https://huggingface.co/org/repo/resolve/main/my%20model.gguf",
        ModelRef("hub", "org/repo", path="my model.gguf", revision="main"),
    ),
    ("hf.co/org/repo.gguf", ModelRef("hub", "org/repo.gguf")),
    ("file:x", ModelRef("file", "x")),
    ("file:/models/x.gguf", ModelRef("file", "/models/x.gguf")),
    ("./x.gguf", ModelRef("file", "./x.gguf")),
    ("../x", ModelRef("file", "../x")),
    ("~/x.gguf", ModelRef("file", "~/x.gguf")),
    ("/x", ModelRef("file", "/x")),
    ("C:\\x.gguf", ModelRef("file", "C:\\x.gguf")),
    ("d:/x.gguf", ModelRef("file", "d:/x.gguf")),
    ("\\\\server\\share\\x.gguf", ModelRef("file", "\\\\server\\share\\x.gguf")),
    (".\\x.gguf", ModelRef("file", ".\\x.gguf")),
    ("x.gguf", ModelRef("file", "x.gguf")),
    ("X.GGUF", ModelRef("file", "X.GGUF")),
    ("dir/x.gguf", ModelRef("file", "dir/x.gguf")),
]

BAD_NAMES: list[tuple[str, str]] = [
    ("", "empty"),
    (" \t\n", "empty"),
    ("file:", "empty"),
    ("file:  ", "empty"),
    ("x" * 501, "too_long"),
    ("gra\nine", "control"),
    ("gra\x00ine", "control"),
    ("org/re\x1b[31mpo", "control"),
    ("org/repo\x7f", "control"),
    ("https://ollama.com/library/x", "other_site"),
    ("https://huggingface.co.evil.example/org/repo", "other_site"),
    ("ftp://x/y", "other_site"),
    ("hf.co/graine", "form"),
    ("https://huggingface.co/", "form"),
    ("hf.co/hf.co/repo", "form"),
    ("two words", "form"),
    ("-graine", "form"),
    ("graine:", "form"),
    ("graine:a:b", "form"),
    ("org@evil.example", "form"),
    ("org/", "form"),
    ("org//repo", "form"),
    ("org/.repo", "form"),
    ("org/repo-", "form"),
    ("org/re--po", "form"),
    ("org/re..po", "form"),
    ("órg/repo", "form"),
    ("a" * 97 + "/repo", "form"),
    ("org/repo@", "revision"),
    ("org/repo@../x", "revision"),
    ("org/repo@-x", "revision"),
    ("https://huggingface.co/org/repo/resolve/refs%2Fpr%2F1/x.gguf", "revision"),
    ("org/repo:", "quantisation"),
    ("org/repo:Q4 K", "quantisation"),
    ("org/repo:Q4:K", "quantisation"),
    ("org/repo/../x.gguf", "path"),
    ("org/repo/a/../../x.gguf", "path"),
    ("org/repo/con.gguf", "path"),
    ("org/repo/a\\b.gguf", "path"),
    ("org/repo/x.gguf:Q4_K_M", "path"),
    ("https://hf.co/org/repo/resolve/main/%2e%2e/x.gguf", "path"),
    ("https://hf.co/org/repo/resolve/main/a%00.gguf", "path"),
    ("https://hf.co/org/repo/resolve/main/a%5C..%5Cb.gguf", "path"),
]


@pytest.mark.parametrize(("typed", "meant"), NAMES, ids=[n for n, _ in NAMES])
def test_a_name_is_read_as_a_person_means_it(typed: str, meant: ModelRef) -> None:
    assert ModelRef.parse(typed) == meant


@pytest.mark.parametrize("typed", [n for n, _ in NAMES])
def test_a_name_written_down_is_read_back_as_the_same_model(typed: str) -> None:
    ref = ModelRef.parse(typed)
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize(("typed", "reason"), BAD_NAMES, ids=[ascii(n[:40]) for n, _ in BAD_NAMES])
def test_a_bad_name_is_refused_with_its_reason(typed: str, reason: str) -> None:
    with pytest.raises(BadName) as refused:
        ModelRef.parse(typed)
    assert refused.value.facts["reason"] == reason


def test_a_refused_name_is_shown_without_what_could_harm_a_terminal_and_not_whole() -> None:
    with pytest.raises(BadName) as refused:
        ModelRef.parse("a\x1b]0;owned\x07b")
    assert str(refused.value.facts["name"]).isprintable()
    with pytest.raises(BadName) as refused:
        ModelRef.parse("x" * 100_000)
    assert len(str(refused.value.facts["name"])) < 100


_PIECES = st.sampled_from([
    "org", "/", "repo", ":", "@", "Q4_K_M", ".gguf", "hf.co/", "https://", "huggingface.co/", "resolve", "blob", "main",
    "file:", "./", "~", "C:\\", "..", ".", " ", "?download=true", "#", "%20", "%2F", "%00", "\u00a0", "-",
])  # fmt: skip
_TYPED = st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=9).map("".join))


@given(_TYPED)
def test_whatever_is_typed_is_a_name_or_a_bad_name_and_is_read_back_alike(typed: str) -> None:
    try:
        ref = ModelRef.parse(typed)
    except BadName:
        return
    assert ModelRef.parse(str(ref)) == ref
    assert ref.path is None or is_safe_path(ref.path)


HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/../x",
    "a/..",
    "a/./x",
    "...",
    "a//x",
    "a/",
    "/x",
    "//server/share/x",
    "/etc/passwd",
    "\\x",
    "\\\\server\\share\\x",
    "\\\\?\\C:\\x",
    "C:\\x",
    "C:/x",
    "c:x",
    "a/C:x",
    "..\\x",
    "a\\..\\x",
    "a\\b",
    "x.gguf:stream",
    "x\x00",
    "x\x00.gguf",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x1bb",
    "a\x7fb",
    "a\x85b",
    "a\x9bb",
    "con",
    "CON",
    "con.txt",
    "a/con.tar.gz",
    "Nul.gguf",
    "con .txt",
    "aux/x",
    "prn",
    "com1",
    "COM9.gguf",
    "COM¹.gguf",
    "lpt²",
    "LPT0.x",
    "conin$",
    "CONOUT$.txt",
    "x.",
    "a./x",
    "x ",
    "a /x",
    "x\u00a0",
    "x\u3000",
    "x" * 201,
    "é" * 101,
    "a/" + "x" * 201 + "/b",
    "/".join(["abc"] * 300),
    "\ud800",
    "x\udfff.gguf",
    "a*b",
    "a?b",
    'a"b',
    "a<b",
    "a>b",
    "a|b",
]
GOOD = [
    "x",
    "x.gguf",
    "Q4_K_M/x-00001-of-00003.gguf",
    "a/b/c/d.json",
    ".gitattributes",
    "..x",
    "x..gguf",
    "console.txt",
    "com10",
    "nul-model.gguf",
    "my model (1) [2] {3} é 模型.gguf",
    "x" * 200,
    "a,b;c=d+e@f#g%20h&i!j'k~l^m$.gguf",
]


@pytest.mark.parametrize("name", HOSTILE, ids=[ascii(n[:30]) for n in HOSTILE])
def test_a_hostile_name_never_becomes_a_path(name: str) -> None:
    assert not is_safe_path(name)


@pytest.mark.parametrize("name", GOOD, ids=[ascii(n[:30]) for n in GOOD])
def test_an_ordinary_name_may_become_a_path(name: str) -> None:
    assert is_safe_path(name)


@given(st.text(max_size=80))
def test_a_path_called_safe_stays_inside_its_folder(name: str) -> None:
    if is_safe_path(name):
        top = Path("/store/org/repo")
        assert top.joinpath(*name.split("/")).is_relative_to(top)
        assert ".." not in name.split("/")


def test_an_installed_model_is_shown_without_where_it_lies() -> None:
    model = Installed("x", Path("/home/me/secret/x.gguf"), "gguf", 3, "file", files=(Path("/home/me/secret/x.gguf"),))
    assert "/home" not in str(model.public())
    assert model.public()["files"] == ["x.gguf"]


def test_a_job_knows_its_progress_and_what_is_left_only_when_they_can_be_known() -> None:
    job = Job("1", "pull", "x")
    assert (job.progress, job.eta, job.over) == (None, None, False)
    job = Job("1", "pull", "x", "running", size_bytes=1000, downloaded_bytes=250, speed=250.0)
    assert (job.progress, job.eta) == (0.25, 3.0)
    assert Job("1", "pull", "x", "done", size_bytes=10, downloaded_bytes=11).progress == 1.0
    assert all(Job("1", "pull", "x", status).over for status in ("done", "failed", "cancelled"))


def test_a_variant_is_as_large_as_its_files_together() -> None:
    assert Variant("Q4_K_M", "Q4_K_M", (RemoteFile("a", 2), RemoteFile("b", 3))).size_bytes == 5


@pytest.mark.parametrize(
    ("paths", "clash"),
    [
        (["a.gguf", "b.gguf", "Q4/a.gguf"], set()),
        (["a.gguf", "A.GGUF", "b.gguf"], {"a.gguf", "A.GGUF"}),
        (["caf\u00e9.gguf", "cafe\u0301.gguf"], {"caf\u00e9.gguf", "cafe\u0301.gguf"}),
        (["Q4/a.gguf", "q4/b.gguf", "c.gguf"], {"Q4/a.gguf", "q4/b.gguf"}),
        (["Q4/a.gguf", "Q4/b.gguf", "q4"], {"Q4/a.gguf", "Q4/b.gguf", "q4"}),
        (["stra\u00dfe.gguf", "STRASSE.gguf"], {"stra\u00dfe.gguf", "STRASSE.gguf"}),
    ],
)
def test_names_that_would_meet_on_another_disk_are_found(paths: list[str], clash: set[str]) -> None:
    assert clashing(paths) == clash


@pytest.mark.parametrize("path", ["m.gguf.partial", "m.gguf.PARTIAL", "a/m.gguf.partial.journal", "m.partial.lock/x"])
def test_a_name_that_passes_for_an_unfinished_file_of_ours_is_refused(path: str) -> None:
    assert not is_safe_path(path)
