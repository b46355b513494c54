"""Putting a model into Ollama's own store, without its server: blobs by digest, then the manifest.

A blob is the same bytes on the same disk: shared by the file system where it can (reflink), else a second name of the
file (hard link). The manifest comes last, whole, so that Ollama sees a complete model or none. Layout: `stores.ollama`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.errors import HomeNotWritable
from domicile.giving.modelfile import Recipe
from domicile.stores import place as reading
from domicile.stores.ollama import MEDIA, REGISTRY, blob
from domicile.stores.ollama import layers as layers_of
from domicile.types import Facts

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_FICLONE = 0x40049409
"""linux/fs.h: share the extents of a whole file (btrfs, XFS, bcachefs, ZFS)."""


class CannotLink(Exception):
    """The bytes cannot be shared with that folder: another file system, or one that has no links."""


def share(source: Path, root: Path, digest: str) -> str:
    """Have the bytes of a file under their digest in the store. `reflink`, `hardlink`, or `there` when it was.

    Raises `CannotLink`.
    """
    target = blob(root, digest)
    real = source.resolve()
    try:
        if target.is_file() and target.stat().st_size == real.stat().st_size:
            return "there"
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f"{target.name}.domicile-{os.getpid()}.tmp")
        how = "reflink" if _reflink(real, beside) else "hardlink"
        if how == "hardlink":
            os.link(real, beside)
        beside.replace(target)
    except OSError as trouble:
        raise CannotLink(trouble.strerror or str(trouble)) from trouble
    return how


def _reflink(source: Path, target: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        with source.open("rb") as read, target.open("xb") as written:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
    except OSError as trouble:
        with contextlib.suppress(OSError):
            target.unlink()
        if trouble.errno in {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS}:
            raise
        return False
    return True


def manifest_path(root: Path, name: str) -> Path:
    """Where the manifest of `model:tag` or `namespace/model:tag` is."""
    head, _, tag = name.partition(":")
    namespace, _, model = head.rpartition("/")
    return root / "manifests" / REGISTRY / (namespace or "library") / model / (tag or "latest")


def is_taken(root: Path, name: str, digest: str) -> bool:
    """Is the name that of another model there?"""
    at = manifest_path(root, name)
    named = {layer.digest for layer in layers_of(reading.json_object(at, root)) if layer.kind == "model"}
    return at.exists() and named != {digest}


def enter(root: Path, name: str, weights: Sequence[tuple[str, str, int]], made: Recipe, facts: Facts | None) -> None:
    """Write the small blobs and the manifest, in place of the one of that name. `weights` are the large blobs: what
    each is (`model`, `projector`), its digest and its size. Raises `HomeNotWritable`."""
    place = manifest_path(root, name)
    layers = [_layer(*one) for one in weights]
    try:
        for kind, content in _contents(made).items():
            layers.append(_layer(kind, _write_blob(root, content), len(content)))
        config = _json(_config(facts, [layer["digest"] for layer in layers]))
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, "digest": f"sha256:{_write_blob(root, config)}", "size": len(config)},
                "layers": layers,
            }
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(place, manifest)
    except OSError as trouble:
        raise HomeNotWritable(path=str(root), problem=trouble.strerror or str(trouble)) from trouble


def _contents(made: Recipe) -> dict[str, bytes]:
    said: dict[str, bytes] = {}
    if made.template is not None:
        said["template"] = made.template.encode()
    if made.system:
        said["system"] = made.system.encode()
    if made.licence:
        said["license"] = made.licence.encode()
    if made.parameters:
        said["params"] = _json(made.parameters)
    return said


def _config(facts: Facts | None, digests: list[str]) -> dict[str, Any]:
    family = (facts.architecture if facts else None) or ""
    said = {
        "model_format": "gguf",
        "model_family": family,
        "model_families": [family] if family else [],
        "model_type": _parameters(facts.parameters) if facts and facts.parameters else "",
        "file_type": (facts.quantisation if facts else None) or "",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    return {k: v for k, v in said.items() if v}


def _parameters(count: int) -> str:
    """`494.03M`, `8.0B`: as Ollama shows them."""
    return f"{count / 1e9:.1f}B" if count >= 10**9 else f"{count / 1e6:.2f}M"


def _layer(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": MEDIA + kind, "digest": f"sha256:{digest}", "size": size}


def _write_blob(root: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    place = blob(root, digest)
    if not (place.is_file() and place.read_bytes() == content):
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(place, content)
    return digest


def _replace(place: Path, content: bytes) -> None:
    beside = place.with_name(f"{place.name}.domicile-{os.getpid()}.tmp")
    with beside.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(place)


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
