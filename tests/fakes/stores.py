"""The folders of five tools, as their documentation lays them out, with the content a test gives them.

Every function gives back what the tool itself would call the model; `ollama_runs` and its like are what the tool needs
for the model to go on working.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def ollama(root: Path, title: str, content: bytes, settings: Mapping[str, Any] | None = None) -> Path:
    """`llama3.2:3b` in an Ollama store; the manifest's path."""
    layers = [_layer(root, "model", content)]
    for kind, said in (settings or {}).items():
        layers.append(_layer(root, kind, said.encode() if isinstance(said, str) else json.dumps(said).encode()))
    config = {"model_format": "gguf", "file_type": "Q8_0", "model_family": "llama"}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {**_layer(root, "config", json.dumps(config).encode())},
        "layers": layers,
    }
    head, tag = title.split(":")
    place = root.joinpath("manifests", *_parts(head), tag)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(manifest))
    return place


def _parts(head: str) -> tuple[str, ...]:
    parts = tuple(head.split("/"))
    return {1: ("registry.ollama.ai", "library"), 2: ("registry.ollama.ai",), 3: ()}[len(parts)] + parts


def _layer(root: Path, kind: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    blob = root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    return {
        "mediaType": f"application/vnd.ollama.image.{kind}",
        "digest": f"sha256:{digest}",
        "size": len(content),
    }


def huggingface(root: Path, repository: str, files: Mapping[str, bytes], *, links: bool = True) -> Path:
    """A repository in the Hub's cache; the snapshot's folder."""
    top = root / f"models--{repository.replace('/', '--')}"
    snapshot = top / "snapshots" / COMMIT
    (top / "refs").mkdir(parents=True, exist_ok=True)
    (top / "refs" / "main").write_text(COMMIT)
    (top / "blobs").mkdir(exist_ok=True)
    for name, content in files.items():
        place = snapshot.joinpath(*name.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        if not links:
            place.write_bytes(content)
            continue
        large = name.endswith((".gguf", ".safetensors"))
        header = b"" if large else f"blob {len(content)}\0".encode()
        digest = (hashlib.sha256 if large else hashlib.sha1)(header + content).hexdigest()
        (top / "blobs" / digest).write_bytes(content)
        place.symlink_to(os.path.relpath(top / "blobs" / digest, place.parent))
    return snapshot


def local_dir(folder: Path, files: Mapping[str, bytes]) -> Path:
    """What `hf download --local-dir` leaves."""
    for name, content in files.items():
        place = folder.joinpath(*name.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        note = folder.joinpath(".cache", "huggingface", "download", *f"{name}.metadata".split("/"))
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{COMMIT}\n{hashlib.sha256(content).hexdigest()}\n{place.stat().st_mtime + 1}\n")
    return folder


def lmstudio(root: Path, repository: str, files: Mapping[str, bytes]) -> Path:
    folder = root.joinpath(*repository.split("/"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def llamacpp(root: Path, repository: str, file: str, content: bytes, *, manifest: bool = True) -> Path:
    """A file in llama.cpp's flat cache, with the notes beside it."""
    root.mkdir(parents=True, exist_ok=True)
    organisation, repo = repository.split("/")
    place = root / f"{organisation}_{repo}_{file.replace('/', '_')}"
    place.write_bytes(content)
    address = f"https://huggingface.co/{repository}/resolve/main/{file}"
    place.with_name(place.name + ".json").write_text(json.dumps({"url": address, "etag": '"x"', "lastModified": ""}))
    if manifest:
        said = {"ggufFile": {"rfilename": file, "size": len(content), "lfs": {"sha256": _sha256(content)}}}
        (root / f"manifest={organisation}={repo}=latest.json").write_text(json.dumps(said))
    return place


def gpt4all(root: Path, name: str, content: bytes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
    (root / f"incomplete-other-{name}").write_bytes(content[:100])
    return root / name


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ollama_runs(manifest: Path, root: Path) -> bool:
    """Would Ollama find every layer of a model, whole?"""
    if not manifest.is_file():
        return False
    said = json.loads(manifest.read_text())
    layers = [said["config"], *said["layers"]]
    blobs = [(root / "blobs" / layer["digest"].replace(":", "-"), layer) for layer in layers]
    return all(b.is_file() and f"sha256:{_sha256(b.read_bytes())}" == layer["digest"] for b, layer in blobs)


def bytes_under(*folders: Path) -> int:
    """What the disk holds there, a file with several names once."""
    seen = {}
    for folder in folders:
        for path in folder.rglob("*") if folder.is_dir() else ():
            at = path.lstat()
            seen[at.st_dev, at.st_ino] = at.st_blocks * 512 if path.is_file() and not path.is_symlink() else 0
    return sum(seen.values())
