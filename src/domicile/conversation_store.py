"""What models have read, kept on disk: states of conversations, bounded in size, the least recently used first out.

A state is a file that the engine wrote (`<id>.kv`) and a line of ours beside it (`<id>.json`): its sha256, its size and
the tokens it stands for. States of one folder belong to one binding: the same model, context, storage of the cache
and build of the engine. A damaged, cut or foreign file is a miss and is removed; it is never handed to the engine,
which a cut file kills (measured). Files are readable by their owner only. Knows no engine and no conversation.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

_FORM = 1
_BLOCK = 1 << 20
_SAMPLES = 16
_SAMPLE = 1 << 16
_STALE_S = 3600.0
_MOST_TOKENS = 1 << 22
_LINE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class State:
    """One state that was kept."""

    folder: Path
    id: str
    model: str
    size_bytes: int
    sha256: str
    tokens: array.array[int]
    shared: bool = False
    """Only the beginning that several conversations have in common: it outlives each of them."""

    @property
    def file(self) -> str:
        """As the engine is to be told."""
        return f"{self.id}.kv"

    @property
    def path(self) -> Path:
        return self.folder / self.file

    @property
    def line(self) -> Path:
        return self.folder / f"{self.id}.json"


class ConversationStore:
    """The folder of all states. Nothing is made on disk before a model is launched with a folder in it."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.open_folders: set[Path] = set()
        """Where an engine may be writing: such a folder stays, even when it is empty."""

    def open(self, name: str, binding: str) -> Path:
        """The folder of a binding, ready for the engine; what an interrupted save left there is removed."""
        slug = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:80]
        folder = self.folder / f"{slug}-{binding[:24]}"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        for left in folder.iterdir():
            known = left.suffix == ".kv" and left.with_suffix(".json").exists()
            if left.suffix in {".part", ".kv"} and not known and _age(left) > _STALE_S:
                left.unlink(missing_ok=True)
        self.open_folders.add(folder)
        return folder

    def states(self, folder: Path) -> list[State]:
        """Every state of a folder whose line can be read. The bytes themselves are checked by `whole`."""
        found = [_read(line) for line in sorted(folder.glob("*.json"))]
        return [state for state in found if state is not None]

    def whole(self, state: State) -> bool:
        """Are the bytes the very ones that were written? If not, the state is removed."""
        try:
            with state.path.open("rb") as file:
                same = os.fstat(file.fileno()).st_size == state.size_bytes and _digest(file) == state.sha256
        except OSError:
            same = False
        if same:
            with contextlib.suppress(OSError):
                os.utime(state.line)
        else:
            self.remove(state)
        return same

    def keep(self, folder: Path, part: str, model: str, *, shared: bool = False) -> State | None:
        """Make what the engine has just written a state, unless it is not understood or larger than the limit.

        States that it goes on from are replaced; then the least recently used go until all fit the limit."""
        path = folder / part
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                tokens = tokens_of(file)
                if tokens is None or size > self.limit_bytes:
                    path.unlink()
                    return None
                known = self.states(folder)
                if same := next((s for s in known if s.tokens == tokens and s.path.is_file()), None):
                    path.unlink()
                    os.utime(same.line)
                    return same
                file.seek(0)
                state = State(folder, secrets.token_hex(8), model, size, _digest(file), tokens, shared)
            path.chmod(0o600)
            path.rename(state.path)
            _write(state)
        except OSError:
            path.unlink(missing_ok=True)
            return None
        for old in known:
            if not old.shared and not shared and old.tokens == tokens[: len(old.tokens)]:
                self.remove(old)
        self.shrink()
        return state

    def shrink(self) -> None:
        """Remove the least recently used until all fit the limit."""
        found = sorted(self._sizes(), key=lambda pair: _age(pair[0]))
        total = 0
        for line, size in found:
            total += size
            if total > self.limit_bytes:
                _unlink(line)

    def remove(self, state: State) -> None:
        _unlink(state.line)

    def clear(self, model: str | None = None) -> tuple[int, int]:
        """Forget everything, or one model's states. Returns how many there were, and the bytes freed."""
        count = freed = 0
        for line, size in self._sizes():
            if model is None or (_line(line) or {}).get("model") == model:
                count, freed = count + 1, freed + size
                _unlink(line)
        for folder in set(self.folder.glob("*/")) - self.open_folders:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        return count, freed

    def report(self) -> dict[str, Any]:
        """What there is: by model, and in all."""
        models: dict[str, dict[str, Any]] = {}
        for line, size in self._sizes():
            name = str((_line(line) or {}).get("model", "?"))
            row = models.setdefault(name, {"name": name, "states": 0, "size_bytes": 0, "used_at": 0.0})
            row["states"] += 1
            row["size_bytes"] += size
            row["used_at"] = max(row["used_at"], time.time() - _age(line))
        rows = sorted(models.values(), key=lambda row: -row["size_bytes"])
        return {
            "enabled": self.limit_bytes > 0,
            "limit_bytes": self.limit_bytes,
            "size_bytes": sum(row["size_bytes"] for row in rows),
            "models": rows,
        }

    def _sizes(self) -> Iterator[tuple[Path, int]]:
        for line in list(self.folder.glob("*/*.json")):
            with contextlib.suppress(OSError):
                yield line, line.with_suffix(".kv").stat().st_size


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def binding(files: Sequence[Path], parameters: Mapping[str, object]) -> str:
    """A digest of a model and of what its states depend on.

    Of each file: size, time of last change, its first and last mebibyte and sixteen samples between, which no two
    models of the same size share; reading all of a file would take longer than waking it.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for path in files:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            digest.update(f"{about.st_size} {about.st_mtime_ns}".encode())
            digest.update(file.read(_BLOCK))
            for number in range(1, _SAMPLES + 1):
                file.seek(about.st_size * number // (_SAMPLES + 1))
                digest.update(file.read(_SAMPLE))
            file.seek(max(0, about.st_size - _BLOCK))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def tokens_of(file: BufferedReader) -> array.array[int] | None:
    """The tokens at the head of a state of llama.cpp: `ggsq`, a version, a number of words, then the words. Newer
    builds pack them: -1, a version, how many, the tokens. None when it is neither."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"qsgg":
        return None
    count = int.from_bytes(head[8:], "little")
    if not 0 < count <= _MOST_TOKENS:
        return None
    words = array.array("i")
    raw = file.read(4 * count)
    if words.itemsize != 4 or len(raw) != 4 * count:
        return None
    words.frombytes(raw)
    if words[0] != -1:
        return words
    if count < 3 or words[1] != 1 or not 0 < words[2] <= count - 3:
        return None
    return words[3 : 3 + words[2]]


def _read(line: Path) -> State | None:
    match _line(line):
        case {
            "form": 1,
            "model": str() as model,
            "sha256": str() as digest,
            "size_bytes": int() as size,
            "tokens": list() as tokens,
            "shared": bool() as shared,
        }:
            with contextlib.suppress(TypeError, OverflowError):
                return State(line.parent, line.stem, model, size, digest, array.array("i", tokens), shared)
    _unlink(line)
    return None


def _line(line: Path) -> dict[str, Any] | None:
    try:
        with line.open("rb") as file:
            said = json.loads(file.read(_LINE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _write(state: State) -> None:
    said = {
        "form": _FORM,
        "model": state.model,
        "sha256": state.sha256,
        "size_bytes": state.size_bytes,
        "tokens": list(state.tokens),
        "shared": state.shared,
    }
    part = state.line.with_suffix(".part")
    part.touch(0o600)
    part.write_text(json.dumps(said, separators=(",", ":")), "ascii")
    part.rename(state.line)


def _digest(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _unlink(line: Path) -> None:
    for path in (line, line.with_suffix(".kv")):
        with contextlib.suppress(OSError):
            path.unlink()
