"""The files of the page: what lies in `static/`, served with types, digests and compression; nothing outside of it.

An address that carries the digest of the whole (`/static/<digest>/js/main.js`) never changes its content and is kept
by the browser for good; one without it (`/static/js/main.js`) is asked again each time. Knows files, no words.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Whatever has another ending is not served."""
_LOOK_S = 1.0
_PACKED = {".css", ".js", ".mjs", ".json", ".svg", ".txt", ".wasm", ".webmanifest"}
_IMPORT = re.compile(rb"""(?:^|[;\s}])(?:import|export)\b[^"'();]*?["'](\.{1,2}/[^"']+)["']""")


@dataclass(frozen=True, slots=True)
class Served:
    """A file as it leaves: `packed` is its gzip form where that is smaller."""

    content: bytes
    packed: bytes | None
    kind: str
    etag: str


def digest() -> str:
    """One short name for everything that lies in `static/`; another one within a second of a change.

    Looking at every file costs five milliseconds, and a page asks for sixty files at once.
    """
    return _digest(int(time.monotonic() / _LOOK_S))


@lru_cache(maxsize=1)
def _digest(_moment: int) -> str:
    states = sorted((str(p.relative_to(STATIC)), p.stat()) for p in STATIC.rglob("*") if p.is_file())
    told = "|".join(f"{name}:{s.st_size}:{s.st_mtime_ns}" for name, s in states)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def find(name: str) -> Served | None:
    """A file by its name below `static/`; None for what is not there or must not be asked for."""
    parts = PurePosixPath(name).parts
    if not parts or any(p in {"..", "/"} or p.startswith(".") or "\\" in p or "\0" in p for p in parts):
        return None
    path = STATIC.joinpath(*parts)
    if path.suffix not in TYPES or not path.is_file():
        return None
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size)


def packed(name: str) -> Path | None:
    """A file that lies here as gzip (`<name>.gz`): the engines of the browser, which would weigh four times as much.
    They are served as they lie, and never held in memory."""
    parts = PurePosixPath(name).parts
    if not parts or any(p in {"..", "/"} or p.startswith(".") or "\\" in p or "\0" in p for p in parts):
        return None
    path = STATIC.joinpath(*parts)
    beside = path.with_name(path.name + ".gz")
    return beside if path.suffix in TYPES and beside.is_file() else None


@lru_cache(maxsize=512)
def _read(path: Path, _changed: int, _size: int) -> Served:
    content = path.read_bytes()
    packed = gzip.compress(content, 9, mtime=0) if path.suffix in _PACKED else None
    if packed is not None and len(packed) >= len(content):
        packed = None
    return Served(content, packed, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:20]}"')


def imports(entry: str) -> list[str]:
    """The module and every module it imports at once, by their names below `static/`: what a browser had better fetch
    in one go. Modules that are imported when they are needed (`import(...)`) are not among them."""
    return list(_graph(entry, digest()))


@lru_cache(maxsize=64)
def _graph(entry: str, _digest: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop(0)
        path = STATIC / name
        if name in found or not path.is_file():
            continue
        found[name] = None
        for target in _IMPORT.findall(path.read_bytes()):
            near = (path.parent / target.decode()).resolve()
            waiting.append(near.relative_to(STATIC.resolve()).as_posix())
    return tuple(found)
