"""Ollama's store: `manifests/<host>/<namespace>/<model>/<tag>` name blobs, `blobs/sha256-<digest>` are their bytes.

A manifest is a Docker image manifest; its layers are told by media type: the model, template, system prompt, parameters
(JSON), licence, projector. Read in Ollama's documentation and source; every digest is checked before it meets the disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.plain import line
from domicile.stores import place
from domicile.stores.found import Found
from domicile.stores.place import Where
from domicile.types import Copy

OWNER = "ollama"
REGISTRY = "registry.ollama.ai"
MEDIA = "application/vnd.ollama.image."
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MOST_LAYERS = 256
_MOST_MANIFESTS = 10_000
_TEXT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Layer:
    kind: str
    """The media type's last word: `model`, `template`, `params`, ..."""
    digest: str
    size_bytes: int


def roots(where: Where) -> list[Path]:
    named = where.named(where.settings.ollama_models)
    if named is not None:
        return [named]
    own = where.person / ".ollama" / "models"
    # As a service on Linux it runs under an account of its own.
    return [own, Path("/usr/share/ollama/.ollama/models")] if where.platform == "linux" else [own]


def recognises(root: Path) -> bool:
    return place.is_dir(root / "manifests") and place.is_dir(root / "blobs")


def blob(root: Path, digest: str) -> Path:
    """Where the bytes of a digest (64 hexadecimal digits, nothing else) are."""
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    return root / "blobs" / f"sha256-{digest}"


def manifests(root: Path) -> Iterator[tuple[Path, str]]:
    """Every manifest and what `ollama list` calls it."""
    count = 0
    for host in place.folders(root / "manifests"):
        for namespace in place.folders(host):
            for model in place.folders(namespace):
                for tag in place.files(model, root):
                    parts = (host.name, namespace.name, model.name, tag)
                    count += 1
                    if count > _MOST_MANIFESTS:
                        return
                    if all(_PART.fullmatch(p) for p in parts):
                        yield model / tag, title_of(*parts)


def title_of(host: str, namespace: str, model: str, tag: str) -> str:
    """`llama3.2:3b`, `person/model:tag`, `hf.co/org/repo:Q4_K_M`."""
    before = [] if host == REGISTRY else [host]
    before += [] if host == REGISTRY and namespace == "library" else [namespace]
    return "/".join([*before, model]) + f":{tag}"


def layers(manifest: dict[str, Any]) -> list[Layer]:
    """The layers whose digest and size make sense."""
    said = manifest.get("layers")
    found = []
    for entry in said[:_MOST_LAYERS] if isinstance(said, list) else ():
        if not isinstance(entry, dict):
            continue
        kind, size, digest = entry.get("mediaType"), entry.get("size"), place.digest_in(entry.get("digest"))
        if isinstance(kind, str) and kind.startswith(MEDIA) and digest and isinstance(size, int) and size > 0:
            found.append(Layer(kind.removeprefix(MEDIA), digest, size))
    return found


def scan(root: Path) -> Iterator[Found]:
    for path, title in manifests(root):
        manifest = place.json_object(path, root)
        every = layers(manifest)
        weights = [layer for layer in every if layer.kind == "model"]
        paths = tuple(blob(root, layer.digest) for layer in weights)
        if not paths or not all(_is_whole(p, root, w) for p, w in zip(paths, weights, strict=True)):
            continue
        if not place.starts_with(paths[0], b"GGUF"):
            continue
        configured = manifest.get("config")
        digest = place.digest_in(configured.get("digest")) if isinstance(configured, dict) else None
        config = place.json_object(blob(root, digest), root) if digest else {}
        name = title.removeprefix("hf.co/").removeprefix("huggingface.co/")
        licence = _text(root, every, "license")
        quantisation = config.get("file_type")
        yield Found(
            OWNER,
            title,
            root,
            name,
            paths[0],
            paths,
            "gguf",
            sum(w.size_bytes for w in weights),
            tuple(w.digest for w in weights),
            name.rsplit(":", 1)[0] if name != title else None,
            None,
            line(quantisation, 40) if isinstance(quantisation, str) and quantisation else None,
            line(licence.strip().split("\n")[0].strip(), 80) if licence and licence.strip() else None,
            _settings(root, every),
        )


def _is_whole(path: Path, root: Path, layer: Layer) -> bool:
    found = place.regular(path, root)
    return found is not None and found.st_size == layer.size_bytes


def _settings(root: Path, every: list[Layer]) -> dict[str, Any]:
    """What Ollama adds to each request of this model."""
    said: dict[str, Any] = {}
    for kind in ("template", "system"):
        if text := _text(root, every, kind):
            said[kind] = text
    try:
        parameters = json.loads(_text(root, every, "params") or "{}")
    except (ValueError, RecursionError):
        parameters = {}
    if isinstance(parameters, dict) and (kept := {k: v for k, v in parameters.items() if _is_plain(v)}):
        said["parameters"] = kept
    if any(layer.kind == "projector" for layer in every):
        said["projector"] = [layer.digest for layer in every if layer.kind == "projector"]
    return said


def _is_plain(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return len(values) <= 64 and all(isinstance(v, (str, int, float, bool)) for v in values)


def _text(root: Path, every: list[Layer], kind: str) -> str | None:
    layer = next((item for item in every if item.kind == kind), None)
    return place.text(blob(root, layer.digest), root, _TEXT_BYTES) if layer else None


def leavings(copy: Copy) -> list[Path]:
    """The manifest of a copy, and the blobs that no other manifest names."""
    own: list[Path] = []
    mine: set[str] = set()
    others: set[str] = set()
    for path, title in manifests(copy.root):
        manifest = place.json_object(path, copy.root)
        used = {layer.digest for layer in layers(manifest)}
        configured = manifest.get("config")
        digest = place.digest_in(configured.get("digest")) if isinstance(configured, dict) else None
        used |= {digest} if digest else set()
        if title == copy.title:
            own.append(path)
            mine |= used
        else:
            others |= used
    return own + [p for d in sorted(mine - others) if place.regular(p := blob(copy.root, d), copy.root)]
