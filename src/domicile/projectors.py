"""Where a model's eyes are: the projector (`mmproj`) that turns an image into what a GGUF model reads.

Among its own files when it was pulled with them, in Ollama's store when Ollama has it, or beside it in a folder that
somebody else keeps. Knows names and places; what a projector needs is `memory`'s, and whether it suits is the
adviser's to read.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from domicile import names
from domicile.sources.choice import projector_for
from domicile.stores import ollama
from domicile.types import Installed, RemoteFile

_MOST = 2000
"""Files of a folder that are looked at."""


def found(model: Installed) -> Path | None:
    """The projector's file, or None for a model without one. One that lies beside a model of another tool, or of a
    loose folder, need not be its own: its width must be compared before it is used (`Installed.files` tells)."""
    if model.format != "gguf" or model.missing:
        return None
    own = names.projector_in(str(p) for p in model.files)
    if own is not None:
        return Path(own)
    for copy in model.copies:
        if copy.owner == ollama.OWNER and not copy.missing:
            for digest in _digests(copy.settings.get("projector")):
                blob = ollama.blob(copy.root, digest)
                if _is_file(blob):
                    return blob
    return _beside(model.path) if model.source in {"file", "adopted"} else None


def _digests(said: object) -> Sequence[str]:
    listed = said if isinstance(said, list) else []
    return [d for d in listed if isinstance(d, str) and len(d) == 64 and set(d) <= set("0123456789abcdef")]


def _beside(path: Path) -> Path | None:
    """The projector in a model's folder, where there is one of its name or of none."""
    try:
        there = [p for _, p in zip(range(_MOST), sorted(path.parent.glob("*.gguf")), strict=False)]
        sizes = {p.name: p.stat().st_size for p in there if _is_file(p)}
    except OSError:
        return None
    variants = names.variants([RemoteFile(name, size) for name, size in sizes.items()])
    model = next((v for v in variants if any(f.path == path.name for f in v.files)), None)
    chosen = projector_for(model, variants) if model else None
    return path.with_name(chosen.files[0].path) if chosen else None


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
