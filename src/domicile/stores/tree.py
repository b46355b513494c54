"""LM Studio's folder, and our own store: `publisher/repository/files`, as the Hub has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from domicile.stores import hf, place
from domicile.stores.found import Folder, Found, models_in
from domicile.stores.place import Where
from domicile.types import Copy

OWNER = "lmstudio"


def roots(where: Where) -> list[Path]:
    pointer = place.text(where.person / ".lmstudio-home-pointer", where.person, 4096)
    home = where.named(pointer.strip()) if pointer and Path(pointer.strip()).is_absolute() else None
    return [(home or where.person / ".lmstudio") / "models", where.person / ".cache" / "lm-studio" / "models"]


def scan(root: Path, owner: str = OWNER) -> Iterator[Found]:
    for publisher in place.folders(root):
        for repo in place.folders(publisher):
            title = f"{publisher.name}/{repo.name}"
            commit, digests = hf.local_digests(repo, root)
            folder = Folder(owner, root, repo, title, title, commit, digests)
            yield from models_in(folder, place.below(repo, root))


def leavings(copy: Copy) -> list[Path]:
    return list(copy.files)
