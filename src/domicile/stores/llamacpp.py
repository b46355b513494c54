"""llama.cpp's own cache: before it took to the Hugging Face cache's layout, one flat folder.

There, `org/repo`'s `folder/file.gguf` is `org_repo_folder_file.gguf`; `manifest=org=repo=tag.json` is the Hub's
answer that led to it, and `<file>.json` notes the address it came from. Underscores are ambiguous: the name alone
never tells the repository. Its ETags are those of whoever served the bytes, so they are no digests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domicile.stores import hf, place
from domicile.stores.found import Folder, Found, models_in
from domicile.stores.place import Where
from domicile.types import Copy

OWNER = "llamacpp"
_PART = r"[A-Za-z0-9._-]{1,96}"
_MANIFEST = re.compile(rf"manifest=({_PART})=({_PART})=({_PART})\.json")
_ADDRESS = re.compile(rf"https://(?:huggingface\.co|hf\.co)/({_PART}/{_PART})/resolve/[^/?#]{{1,100}}/[^?#]{{1,500}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def roots(where: Where) -> list[Path]:
    named = where.named(where.settings.llama_cache)
    return [named or where.cache() / "llama.cpp"]


def recognises(root: Path) -> bool:
    return any(_MANIFEST.fullmatch(e.name) for e in place.listed(root))


def scan(root: Path) -> Iterator[Found]:
    if hf.recognises(root):  # newer builds put the Hub's layout wherever LLAMA_CACHE points
        yield from hf.scan(root, OWNER)
    here = place.files(root, root)
    weights = {n: s for n, s in here.items() if n.lower().endswith(".gguf")}
    origin, digests = _origins(root, here, weights)
    for repository in sorted({r for n, r in origin.items() if n in weights}):
        own = {n: s for n, s in weights.items() if origin.get(n) == repository}
        folder = Folder(OWNER, root, root, repository, repository, None, digests)
        yield from models_in(folder, own)
    for name, at in weights.items():
        if name not in origin:
            yield from models_in(Folder(OWNER, root, root, Path(name).stem), {name: at}, several=False)


def _origins(root: Path, here: Any, weights: Any) -> tuple[dict[str, str], dict[str, str]]:
    """The repository of each file that one is known of, and the digests the Hub announced."""
    origin: dict[str, str] = {}
    digests: dict[str, str] = {}
    for name in here:
        if found := _MANIFEST.fullmatch(name):
            repository = f"{found[1]}/{found[2]}"
            before = f"{found[1]}_{found[2]}_"
            said = place.json_object(root / name, root).get("ggufFile")
            file = said.get("rfilename") if isinstance(said, dict) else None
            if not isinstance(said, dict) or not isinstance(file, str):
                continue
            flat = before + file.replace("/", "_")
            shards = re.sub(r"-00001-of-\d{5}\.gguf$", "-", flat)
            origin |= {w: repository for w in weights if w == flat or (shards != flat and w.startswith(shards))}
            lfs = said.get("lfs")
            digest = lfs.get("sha256") or lfs.get("oid") if isinstance(lfs, dict) else None
            if flat in weights and isinstance(digest, str) and _SHA256.fullmatch(digest):
                digests[flat] = digest
        elif name.endswith(".gguf.json"):
            address = place.json_object(root / name, root).get("url")
            if isinstance(address, str) and (known := _ADDRESS.fullmatch(address)):
                origin.setdefault(name.removesuffix(".json"), known[1])
    return origin, digests


def leavings(copy: Copy) -> list[Path]:
    """The files, and the notes beside them."""
    if any(hf._repo_of(p, copy.root) for p in copy.files):
        return hf.leavings(copy)
    beside = [p.with_name(p.name + end) for p in copy.files for end in (".json", ".etag")]
    return [*copy.files, *(p for p in beside if place.regular(p, copy.root))]
