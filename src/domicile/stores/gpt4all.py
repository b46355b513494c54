"""GPT4All's folder: GGUF files side by side. What it is still fetching begins with `incomplete-`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from domicile import names
from domicile.stores import place
from domicile.stores.found import Folder, Found, models_in
from domicile.stores.place import Where
from domicile.types import Copy

OWNER = "gpt4all"


def roots(where: Where) -> list[Path]:
    chosen = _chosen(where)
    return [chosen or where.data() / "nomic.ai" / "GPT4All", where.person / ".cache" / "gpt4all"]


def _chosen(where: Where) -> Path | None:
    """The folder that somebody set in its window (`modelPath` of its settings, on Linux and macOS)."""
    said = place.text(where.person / ".config" / "nomic.ai" / "GPT4All.ini", where.person, 65536) or ""
    found = re.search(r"^modelPath=(/[^\r\n]{1,1000})$", said, re.MULTILINE)
    return where.named(found[1]) if found else None


def scan(root: Path) -> Iterator[Found]:
    sizes = {n: s for n, s in place.files(root, root).items() if n.lower().endswith(".gguf")}
    stems: dict[str, dict[str, object]] = {}
    for name in sizes:
        stems.setdefault(names.read(name).stem, {})[name] = None
    for stem, own in stems.items():
        yield from models_in(Folder(OWNER, root, root, stem), {n: sizes[n] for n in own}, several=False)


def leavings(copy: Copy) -> list[Path]:
    return list(copy.files)
