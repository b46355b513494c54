"""The Hugging Face cache, and folders that its client filled (`--local-dir`).

The cache: `models--org--repo/{blobs,refs,snapshots/<commit>/...}`, where a snapshot's files are links to blobs named by
their sha256 (LFS) or git sha1; where links cannot be made they are files. A local folder keeps, for each file,
`.cache/huggingface/download/<path>.metadata`: commit, ETag, time. (In huggingface_hub: `_local_folder.py`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from domicile.stores import place
from domicile.stores.found import Folder, Found, models_in
from domicile.stores.place import Where
from domicile.types import Copy

OWNER = "huggingface"
_REPO = re.compile(r"models--([A-Za-z0-9._-]{1,96})--([A-Za-z0-9._-]{1,96})")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def roots(where: Where) -> list[Path]:
    named = where.named(where.settings.hf_cache)
    home = where.named(where.settings.hf_home) or _default_home(where)
    return [named or home / "hub"]


def _default_home(where: Where) -> Path:
    """`~/.cache/huggingface` on every system, unless `XDG_CACHE_HOME` says otherwise."""
    return (where.named(where.environ.get("XDG_CACHE_HOME", "")) or where.person / ".cache") / "huggingface"


def recognises(root: Path) -> bool:
    return any(_REPO.fullmatch(e.name) for e in place.listed(root))


def scan(root: Path, owner: str = OWNER) -> Iterator[Found]:
    """Each repository at the revision its `main` names, else at the newest one that is here."""
    for repo in place.folders(root):
        found = _REPO.fullmatch(repo.name)
        commit = _commit(repo, root) if found else None
        if found is None or commit is None:
            continue
        at = repo / "snapshots" / commit
        here, blobs = place.below(at, root), (repo / "blobs").resolve()
        blob_of = {p: _blob(at / p, blobs) for p in here}
        sizes = {p: s for p, s in here.items() if blob_of[p] is not None}
        digests = {p: name for p in sizes if _SHA256.fullmatch(name := blob_of[p] or "")}
        title = f"{found[1]}/{found[2]}"
        yield from models_in(Folder(owner, root, at, title, title, commit, digests), sizes)


def _commit(repo: Path, root: Path) -> str | None:
    said = (place.text(repo / "refs" / "main", root, 100) or "").strip()
    here = [f for f in place.folders(repo / "snapshots") if _COMMIT.fullmatch(f.name)]
    if said in {f.name for f in here}:
        return said
    newest = sorted(here, key=lambda f: (f.stat().st_mtime, f.name))
    return newest[-1].name if newest else None


def _blob(path: Path, blobs: Path) -> str | None:
    """The name of the blob that a file of a snapshot links to; empty for a file that is no link.

    None for a link that leads anywhere but to a blob of its own repository.
    """
    if not path.is_symlink():
        return ""
    target = path.resolve()
    return target.name if target.parent == blobs and _BLOB.fullmatch(target.name) else None


def local_digests(folder: Path, root: Path) -> tuple[str | None, dict[str, str]]:
    """What the client noted of a folder it filled: the commit, and the sha256 of files in LFS."""
    notes = folder / ".cache" / "huggingface" / "download"
    commits, digests = set(), {}
    for path in place.below(notes, root) if place.is_dir(notes) else ():
        lines = (place.text(notes / path, root, 1000) or "").splitlines() if path.endswith(".metadata") else []
        if len(lines) >= 2 and _COMMIT.fullmatch(lines[0]):
            commits.add(lines[0])
            etag = lines[1].strip().strip('"')
            name = path.removesuffix(".metadata")
            if _SHA256.fullmatch(etag) and _unchanged_since(folder / name, lines):
                digests[name] = etag
    return (commits.pop() if len(commits) == 1 else None), digests


def _unchanged_since(path: Path, lines: list[str]) -> bool:
    """The client's own rule: a file that changed a second or more after it was noted is not what it noted."""
    try:
        return path.stat().st_mtime - 1 <= float(lines[2])
    except (OSError, ValueError, IndexError):
        return False


def leavings(copy: Copy) -> list[Path]:
    """What to delete for a copy to be gone: the links, and the blobs no other snapshot links to."""
    gone: list[Path] = []
    for path in copy.files:
        gone.append(path)
        repo = _repo_of(path, copy.root)
        if repo is None or not path.is_symlink():
            continue
        blob = path.resolve()
        others = [p for p in (repo / "snapshots").rglob("*") if p.is_symlink() and p not in copy.files]
        if all(o.resolve() != blob for o in others) and blob.parent == (repo / "blobs").resolve():
            gone.append(blob)
    return gone


def _repo_of(path: Path, root: Path) -> Path | None:
    inside = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return root / inside[0] if inside and _REPO.fullmatch(inside[0]) else None
