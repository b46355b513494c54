"""The folders of other tools: what is in them is found in place, and what is hostile there is not followed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from domicile import stores
from domicile.config import load
from domicile.refs import ModelRef
from domicile.stores import hf, llamacpp, loose, ollama, tree
from domicile.stores.found import Found
from domicile.stores.place import Where, digest_in
from tests.fakes import stores as fakes

GGUF = b"GGUF" + bytes(range(256)) * 8
OTHER = b"GGUF" + bytes(reversed(range(256))) * 8
SHA256 = hashlib.sha256(GGUF).hexdigest()


def _where(tmp_path: Path, platform: str = "linux", **environ: str) -> Where:
    return Where(load({"DOMICILE_HOME": str(tmp_path / "home"), **environ}), tmp_path / "person", platform, environ)


def _only(found: list[Found]) -> Found:
    assert len(found) == 1, [f.title for f in found]
    return found[0]


@pytest.mark.parametrize(
    ("owner", "platform", "environ", "folder"),
    [
        ("ollama", "linux", {}, "~/.ollama/models"),
        ("ollama", "darwin", {"OLLAMA_MODELS": "/big/ollama"}, "/big/ollama"),
        ("huggingface", "linux", {}, "~/.cache/huggingface/hub"),
        ("huggingface", "win32", {}, "~/.cache/huggingface/hub"),
        ("huggingface", "linux", {"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ("huggingface", "linux", {"HF_HOME": "/hf"}, "/hf/hub"),
        ("huggingface", "linux", {"HF_HOME": "/hf", "HF_HUB_CACHE": "/cache"}, "/cache"),
        ("lmstudio", "linux", {}, "~/.lmstudio/models"),
        ("lmstudio", "linux", {}, "~/.cache/lm-studio/models"),
        ("llamacpp", "linux", {}, "~/.cache/llama.cpp"),
        ("llamacpp", "darwin", {}, "~/Library/Caches/llama.cpp"),
        ("llamacpp", "win32", {"LOCALAPPDATA": "/local"}, "/local/llama.cpp"),
        ("llamacpp", "linux", {"LLAMA_CACHE": "~/gguf"}, "~/gguf"),
        ("gpt4all", "linux", {}, "~/.local/share/nomic.ai/GPT4All"),
        ("gpt4all", "darwin", {}, "~/Library/Application Support/nomic.ai/GPT4All"),
        ("folder", "linux", {}, "~/ComfyUI/models"),
        ("folder", "linux", {"DOMICILE_MODEL_FOLDERS": os.pathsep.join(["/a", "/b"])}, "/b"),
    ],
)
def test_each_tool_is_looked_for_where_it_keeps_its_models(
    tmp_path: Path, owner: str, platform: str, environ: dict[str, str], folder: str
) -> None:
    where = _where(tmp_path, platform, **environ)
    store = next(s for s in stores.STORES if s.owner == owner)
    assert Path(folder.replace("~", str(where.person))) in store.roots(where)


def test_lm_studio_may_have_moved_its_home(tmp_path: Path) -> None:
    where = _where(tmp_path)
    where.person.mkdir()
    (where.person / ".lmstudio-home-pointer").write_text("/elsewhere/lm\n")
    assert Path("/elsewhere/lm/models") in tree.roots(where)


def test_ollama_models_are_found_with_what_is_kept_beside_the_weights(tmp_path: Path) -> None:
    settings = {"template": "{{ .Prompt }}", "system": "Be kind.", "params": {"stop": ["<end>"], "top_k": 3}}
    fakes.ollama(tmp_path, "llama3.2:3b", GGUF, {**settings, "license": "MIT License\nmore"})
    fakes.ollama(tmp_path, "hf.co/org/repo-GGUF:Q4_K_M", OTHER)
    hub, own = sorted(ollama.scan(tmp_path), key=lambda f: f.title)
    assert (own.title, own.name, own.digests, own.quantisation) == ("llama3.2:3b", "llama3.2:3b", (SHA256,), "Q8_0")
    assert own.licence == "MIT License"
    assert own.settings == {
        "template": "{{ .Prompt }}",
        "system": "Be kind.",
        "parameters": {"stop": ["<end>"], "top_k": 3},
    }
    assert (hub.name, hub.repository) == ("org/repo-GGUF:Q4_K_M", "org/repo-GGUF")


@pytest.mark.parametrize("links", [True, False])
def test_the_cache_of_the_hub_is_read_in_both_layouts(tmp_path: Path, links: bool) -> None:
    fakes.huggingface(tmp_path, "org/repo", {"x-Q4_K_M.gguf": GGUF, "q8/x-Q8_0.gguf": OTHER}, links=links)
    found = {f.title: f for f in hf.scan(tmp_path)}
    assert found.keys() == {"org/repo:Q4_K_M", "org/repo:Q8_0"}
    one = found["org/repo:Q4_K_M"]
    assert (one.revision, one.repository, one.quantisation) == (fakes.COMMIT, "org/repo", "Q4_K_M")
    assert one.digests == ((SHA256,) if links else (None,))
    assert one.path.read_bytes() == GGUF


def test_models_of_other_formats_are_found_as_folders(tmp_path: Path) -> None:
    fakes.huggingface(
        tmp_path,
        "org/st",
        {"model.safetensors": b"s" * 50, "config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"p" * 9},
    )
    fakes.huggingface(
        tmp_path,
        "org/sd",
        {"model_index.json": b"{}", "unet/x.safetensors": b"u" * 50, "unet/config.json": b"{}"},
    )
    found = {f.title: f for f in hf.scan(tmp_path)}
    assert {t: f.format for t, f in found.items()} == {"org/st": "safetensors", "org/sd": "diffusers"}
    assert found["org/st"].path.is_dir()
    assert {p.name for p in found["org/st"].files} == {"model.safetensors", "config.json", "tokenizer.json"}


def test_what_a_local_download_of_the_hub_noted_is_believed_while_the_file_is_the_same(tmp_path: Path) -> None:
    folder = fakes.local_dir(tmp_path / "mine", {"x-Q4_K_M.gguf": GGUF})
    one = _only(list(loose.scan(folder)))
    assert (one.digests, one.revision) == ((SHA256,), fakes.COMMIT)
    later = one.path.stat().st_mtime + 100
    os.utime(one.path, (later, later))
    assert _only(list(loose.scan(folder))).digests == (None,)


def test_llama_cpp_s_flat_cache_tells_the_repository_by_its_notes_only(tmp_path: Path) -> None:
    fakes.llamacpp(tmp_path, "org_with/some_repo", "sub/x-Q4_K_M.gguf", GGUF)
    fakes.llamacpp(tmp_path, "other/repo", "y-Q8_0.gguf", OTHER, manifest=False)
    (tmp_path / "z-Q2_K.gguf").write_bytes(b"GGUF" + b"z" * 40)
    found = {f.title: f for f in llamacpp.scan(tmp_path)}
    assert found.keys() == {"org_with/some_repo:Q4_K_M", "other/repo:Q8_0", "z-Q2_K"}
    assert found["org_with/some_repo:Q4_K_M"].digests == (SHA256,)
    assert found["other/repo:Q8_0"].digests == (None,)


def test_llama_cpp_s_cache_in_the_layout_of_the_hub_is_read_as_such(tmp_path: Path) -> None:
    fakes.huggingface(tmp_path, "org/repo", {"x-Q4_K_M.gguf": GGUF})
    one = _only(list(llamacpp.scan(tmp_path)))
    assert (one.owner, one.title) == ("llamacpp", "org/repo:Q4_K_M")


def test_shards_are_one_model_and_a_missing_one_makes_none(tmp_path: Path) -> None:
    folder = fakes.lmstudio(tmp_path, "org/repo", {f"x-Q4_K_M-0000{n}-of-00002.gguf": GGUF for n in (1, 2)})
    assert len(_only(list(tree.scan(tmp_path))).files) == 2
    (folder / "x-Q4_K_M-00002-of-00002.gguf").unlink()
    assert list(tree.scan(tmp_path)) == []


def test_image_checkpoints_are_models_and_their_parts_are_not(tmp_path: Path) -> None:
    for place in ("checkpoints/sub/dream.safetensors", "loras/style.safetensors", "vae/x.safetensors"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (tmp_path / "checkpoints" / "old.ckpt").write_bytes(b"PK\x03\x04")
    found = {f.title: f for f in loose.scan(tmp_path)}
    assert found.keys() == {"checkpoints/sub/dream", "checkpoints/old"}
    assert [t for t, f in found.items() if f.runs_code] == ["checkpoints/old"]


def test_what_is_still_being_fetched_is_not_there_yet(tmp_path: Path) -> None:
    for name in ("a.gguf.part", "b.gguf.partial", "c.gguf.incomplete", "incomplete-d.gguf", ".e.gguf"):
        (tmp_path / name).write_bytes(GGUF)
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "liar.gguf").write_bytes(b"<html>")
    assert list(loose.scan(tmp_path)) == []


def test_a_folder_that_somebody_names_is_read_by_its_layout(tmp_path: Path) -> None:
    fakes.ollama(tmp_path / "o", "x:1", GGUF)
    fakes.huggingface(tmp_path / "h", "org/repo", {"x-Q4_K_M.gguf": GGUF})
    fakes.llamacpp(tmp_path / "l", "org/repo", "x-Q4_K_M.gguf", GGUF)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "My model (1).gguf").write_bytes(GGUF)
    owners = [_only(stores.scan_path(tmp_path / d)).owner for d in "ohlm"]
    assert owners == ["ollama", "huggingface", "llamacpp", "folder"]
    assert _only(stores.scan_path(tmp_path / "m" / "My model (1).gguf")).name == "My-model-1"
    assert stores.scan_path(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "name",
    ["My model (1)", "a/b/c", "llama3.2:3b", "org/repo:Q4_K_M", "été/x", "..", "-x-", "a--b", "x" * 300, "héhé:a b"],
)
def test_a_name_that_a_store_gives_is_made_one_that_can_be_typed(name: str) -> None:
    made = stores.typeable(name)
    assert ModelRef.parse(made).kind in {"house", "hub"}


# -- hostile stores --


@pytest.mark.parametrize(
    "said",
    [
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:../../../../etc/passwd",
        "sha256-" + "A" * 64,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha256:" + "a" * 60 + "/../",
        None,
        3,
        ["sha256:" + "a" * 64],
    ],
)
def test_what_is_no_digest_from_end_to_end_never_meets_the_disk(said: object) -> None:
    assert digest_in(said) is None


def _manifest(tmp_path: Path, text: str) -> list[Found]:
    place = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "x" / "latest"
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "blobs").mkdir(exist_ok=True)
    (tmp_path / "blobs" / f"sha256-{SHA256}").write_bytes(GGUF)
    place.write_text(text)
    return list(ollama.scan(tmp_path))


def _layers(digest: object, size: object = len(GGUF), kind: object = "application/vnd.ollama.image.model") -> str:
    return json.dumps({"layers": [{"mediaType": kind, "digest": digest, "size": size}]})


def test_a_manifest_is_believed_only_where_it_makes_sense(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(GGUF)
    right = _layers(f"sha256:{SHA256}")
    assert len(_manifest(tmp_path, right)) == 1
    for wrong in (
        "",
        "[]",
        "null",
        "{" * 5000,
        "[" * 100_000,
        "x" * (2 << 20),
        json.dumps({"layers": "x"}),
        json.dumps({"layers": [None, 3, []]}),
        _layers("sha256:../secret"),
        _layers(f"sha256:{SHA256}/../../secret"),
        _layers(f"sha256:{SHA256}", 3),
        _layers(f"sha256:{SHA256}", "big"),
        _layers(f"sha256:{SHA256}", -1),
        _layers(f"sha256:{SHA256}", kind=["x"]),
        _layers("sha256:" + "0" * 64),
    ):
        assert _manifest(tmp_path, wrong) == [], wrong[:80]


def test_a_link_that_leaves_the_store_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret-Q4_K_M.gguf").write_bytes(GGUF)
    root = tmp_path / "store"
    (root / "org" / "repo").mkdir(parents=True)
    (root / "org" / "repo" / "x-Q4_K_M.gguf").symlink_to(outside / "secret-Q4_K_M.gguf")
    (root / "org" / "linked").symlink_to(outside)
    assert list(tree.scan(root)) == []
    assert list(loose.scan(root)) == []
    blobs = tmp_path / "o" / "blobs"
    fakes.ollama(tmp_path / "o", "x:1", OTHER)
    blob = next(b for b in blobs.iterdir() if b.read_bytes() == OTHER)
    blob.unlink()
    (outside / "same").write_bytes(OTHER)
    blob.symlink_to(outside / "same")
    assert list(ollama.scan(tmp_path / "o")) == []


def test_a_link_of_the_hub_s_cache_leads_to_a_blob_of_its_repository_or_nowhere(tmp_path: Path) -> None:
    snapshot = fakes.huggingface(tmp_path, "org/repo", {"x-Q4_K_M.gguf": GGUF})
    fakes.huggingface(tmp_path, "org/other", {"y-Q8_0.gguf": OTHER})
    (tmp_path / "notes-Q2_K.gguf").write_bytes(OTHER)
    theirs = next((tmp_path / "models--org--other" / "blobs").iterdir())
    (snapshot / "stolen-Q8_0.gguf").symlink_to(theirs)
    (snapshot / "notes-Q2_K.gguf").symlink_to(tmp_path / "notes-Q2_K.gguf")
    assert {f.title for f in hf.scan(tmp_path)} == {"org/repo:Q4_K_M", "org/other:Q8_0"}


def test_circles_pipes_and_names_that_are_no_text_stop_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "org" / "repo"
    folder.mkdir(parents=True)
    (folder / "x-Q4_K_M.gguf").write_bytes(GGUF)
    (folder / "round").symlink_to(folder)
    (folder / "self.gguf").symlink_to(folder / "self.gguf")
    os.mkfifo(folder / "pipe-Q8_0.gguf")
    os.mkfifo(folder / "config.json")
    (folder / os.fsdecode(b"\xff\xfe-Q8_0.gguf")).write_bytes(GGUF)
    (folder / "new\nline-Q8_0.gguf").write_bytes(GGUF)
    deep = tmp_path.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "deep.gguf").write_bytes(GGUF)
    assert _only(list(tree.scan(tmp_path))).title == "org/repo:Q4_K_M"
    assert _only(list(loose.scan(tmp_path))).path.name == "x-Q4_K_M.gguf"


def test_what_would_go_with_a_model_is_what_nobody_else_needs(tmp_path: Path) -> None:
    root = tmp_path / "o"
    first = fakes.ollama(root, "x:1", GGUF, {"template": "shared", "system": "mine"})
    fakes.ollama(root, "x:2", GGUF, {"template": "shared"})
    one = next(f for f in ollama.scan(root) if f.title == "x:1")
    gone = stores.leavings(one.copy)
    assert first in gone
    assert [p.read_bytes() for p in gone if p != first] == [b"mine"]
    cache = tmp_path / "h"
    fakes.huggingface(cache, "org/repo", {"a-Q4_K_M.gguf": GGUF, "b-Q8_0.gguf": GGUF})
    one = next(f for f in hf.scan(cache) if f.quantisation == "Q4_K_M")
    assert stores.leavings(one.copy) == [one.path]  # the other file is a link to the same blob
