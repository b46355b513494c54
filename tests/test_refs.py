"""How a person names a model, and which names from outside may become paths of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile.errors import BadName
from domicile.refs import ModelRef, clashing, is_safe_path

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
    ("ollama:llama3.2:3b", ModelRef("ollama", "library/llama3.2", revision="3b")),
    ("ollama:llama3.2", ModelRef("ollama", "library/llama3.2", revision="latest")),
    ("OLLAMA:library/llama3.2:3b", ModelRef("ollama", "library/llama3.2", revision="3b")),
    ("ollama:somebody/mine:q4_K_M", ModelRef("ollama", "somebody/mine", revision="q4_K_M")),
    ("ollama.com/library/llama3.2:3b", ModelRef("ollama", "library/llama3.2", revision="3b")),
    ("https://ollama.com/library/llama3.2", ModelRef("ollama", "library/llama3.2", revision="latest")),
    ("https://ollama.com/somebody/mine?x=1", ModelRef("ollama", "somebody/mine", revision="latest")),
    ("registry.ollama.ai/library/llama3.2:3b", ModelRef("ollama", "library/llama3.2", revision="3b")),
    ("llama3.2:3b", ModelRef("house", "llama3.2:3b")),
    ("https://example.org/a/x.gguf", ModelRef("url", "https://example.org/a/x.gguf")),
    ("https://example.org:8443/x.gguf?sig=a%20b", ModelRef("url", "https://example.org:8443/x.gguf?sig=a%20b")),
    ("http://nas.local:8080/x.gguf", ModelRef("url", "http://nas.local:8080/x.gguf")),
    ("https://[2001:db8::1]/x.onnx", ModelRef("url", "https://[2001:db8::1]/x.onnx")),
    (
        "https://example.org/x.gguf#sha256=" + "AB" * 32,
        ModelRef("url", "https://example.org/x.gguf", revision="ab" * 32),
    ),
    ("https://example.org/x.gguf#top", ModelRef("url", "https://example.org/x.gguf")),
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
    ("https://huggingface.co.evil.example/org/repo", "look_alike"),
    ("https://cdn.hf.co.evil.example/x.gguf", "look_alike"),
    ("https://ollama.com.evil.example/x.gguf", "look_alike"),
    ("ftp://x/y", "other_site"),
    ("gopher://x/y.gguf", "other_site"),
    ("ollama:", "ollama"),
    ("ollama:a/b/c", "ollama"),
    ("ollama:../x", "ollama"),
    ("ollama:con:3b", "ollama"),
    ("ollama:x:", "ollama"),
    ("ollama:x:../../y", "ollama"),
    ("ollama:a.b/x", "ollama"),
    ("https://ollama.com/library/x/tags", "ollama"),
    ("https://user:word@example.org/x.gguf", "url"),
    ("https://user@example.org/x.gguf", "url"),
    ("https://exämple.org/x.gguf", "url"),
    ("https://example.org\\@evil.example/x.gguf", "url"),
    ("https://example.org:99999/x.gguf", "url"),
    ("https://example.org:0/x.gguf", "url"),
    ("https://[::1/x.gguf", "url"),
    ("https:///x.gguf", "url"),
    ("https://example.org/a b.gguf", "url"),
    ("https://example.org/", "url_file"),
    ("https://example.org", "url_file"),
    ("https://example.org/models/", "url_file"),
    ("https://example.org/%2e%2e", "url_file"),
    ("https://example.org/a%2f..%2fb", "url_file"),
    ("https://example.org/nul.gguf", "url_file"),
    ("https://example.org/x.gguf#sha256=abc", "sha256"),
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
