"""Models that other tools keep on this machine, found in place without copying a byte.

Knows where each tool keeps them (STORES), how to recognise a store that is somewhere else, and what deleting one of
its models would take. Reads names, sizes and small files, never weights; what is there may be hostile (`place`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from domicile.config import Settings
from domicile.stores import gpt4all, hf, llamacpp, loose, ollama, tree
from domicile.stores.found import Found
from domicile.stores.place import Where, folders, is_dir, look_again
from domicile.types import Copy

OWN = "house"
"""Our own store: files that somebody put there by hand."""


@dataclass(frozen=True, slots=True)
class Store:
    """One tool. `leavings` are the files that would go with one of its models."""

    owner: str
    roots: Callable[[Where], list[Path]]
    scan: Callable[[Path], Iterator[Found]]
    leavings: Callable[[Copy], list[Path]]


STORES: tuple[Store, ...] = (
    Store(ollama.OWNER, ollama.roots, ollama.scan, ollama.leavings),
    Store(hf.OWNER, hf.roots, hf.scan, hf.leavings),
    Store(tree.OWNER, tree.roots, tree.scan, tree.leavings),
    Store(llamacpp.OWNER, llamacpp.roots, llamacpp.scan, llamacpp.leavings),
    Store(gpt4all.OWNER, gpt4all.roots, gpt4all.scan, gpt4all.leavings),
    Store(loose.OWNER, loose.roots, loose.scan, loose.leavings),
)


def here(settings: Settings) -> Where:
    """This machine, as whoever runs the house has it."""
    return Where(settings, Path.home(), sys.platform, dict(os.environ))


def places(where: Where) -> list[tuple[str, Path]]:
    """Every folder that is there: whose it is, and where. A folder of a person may be another tool's store."""
    found: dict[Path, str] = {}
    for store in STORES:
        for root in store.roots(where):
            if is_dir(root):
                found.setdefault(root.resolve(), recognised(root) if store.owner == loose.OWNER else store.owner)
    own = where.settings.models
    if is_dir(own):
        found[own.resolve()] = OWN
    return [(owner, root) for root, owner in found.items()]


def recognised(root: Path) -> str:
    """Whose layout a folder has."""
    if ollama.recognises(root):
        return ollama.OWNER
    if hf.recognises(root):
        return hf.OWNER
    return llamacpp.OWNER if llamacpp.recognises(root) else loose.OWNER


def scan(where: Where) -> list[Found]:
    """Everything that every store holds."""
    look_again()
    return _unique(f for owner, root in places(where) for f in scan_one(owner, root))


def scan_one(owner: str, root: Path) -> Iterator[Found]:
    if owner == OWN:
        return tree.scan(root, OWN)
    return next(s for s in STORES if s.owner == owner).scan(root)


def scan_path(path: Path) -> list[Found]:
    """What a folder or a file that somebody names holds."""
    look_again()
    if is_dir(path):
        root = path.resolve()
        return _unique(scan_one(recognised(root), root))
    return _unique(loose.of_file(path))


def leavings(copy: Copy) -> list[Path]:
    """The files that would be deleted with a copy, all of them under its root."""
    store = next((s for s in STORES if s.owner == copy.owner), None)
    gone = list(copy.files) if store is None else store.leavings(copy)
    root = copy.root.resolve()
    return [p for p in dict.fromkeys(gone) if p.parent.resolve().is_relative_to(root)]


def watched(where: Where, most: int = 5000) -> dict[Path, int]:
    """The folders of every store and when each last changed: they change when a file comes or goes."""
    times: dict[Path, int] = {}
    waiting = [(root, root, 0) for _, root in places(where)]
    while waiting and len(times) < most:
        at, root, depth = waiting.pop()
        try:
            times[at] = at.stat().st_mtime_ns
        except OSError:
            continue
        if depth < 6:
            waiting += [(f, root, depth + 1) for f in folders(at)]
    return times


def _unique(found: Iterable[Found]) -> list[Found]:
    """No two with one owner and title: the second root's get a number. Names are such that a person can type them."""
    seen: set[tuple[str, str]] = set()
    result = []
    for one in found:
        title, number = one.title, 2
        while (one.owner, title.lower()) in seen:
            title, number = f"{one.title}-{number}", number + 1
        seen.add((one.owner, title.lower()))
        result.append(replace(one, title=title, name=typeable(one.name) if title == one.title else typeable(title)))
    return result


def typeable(name: str) -> str:
    """A name of the house from what a tool or a folder calls it: letters, digits and `._-`, the Hub's slash and colon.

    What has no publisher (`folder/sub/file`) becomes one word.
    """
    head, colon, tag = name.partition(":")
    parts = [re.sub(r"[^A-Za-z0-9._-]+", "-", p).strip("-.")[:90] or "model" for p in head.split("/")]
    parts = [re.sub(r"-{2,}", "-", re.sub(r"\.{2,}", ".", p)) for p in parts]
    kept = parts if len(parts) == 2 else ["-".join(parts)[:90]]
    tag = re.sub(r"[^A-Za-z0-9._-]+", "-", tag).strip("-.")[:60]
    return "/".join(kept) + (f":{tag}" if colon and tag else "")
