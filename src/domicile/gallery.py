"""The pictures that were made here and kept: a PNG with its parameters in it, and a JSON beside it with the same.

A folder of the house (`pictures/`), readable by its owner only. A picture's id begins with the time, so that the order
of names is the order of making. Pictures that a program asked an address for are kept apart, for an hour.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.errors import PictureNotFound

LENT_S = 3600.0
"""How long an address that a program was given is good for."""
_ID = re.compile(r"[0-9]{13}-[0-9a-f]{16}")
_LENT = "lent"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that is kept."""

    id: str
    about: Mapping[str, Any]
    """How it was made: `prompt`, `negative`, `model`, `width`, `height`, `steps`, `seed`, `sampler`, ..."""
    path: Path
    size_bytes: int

    @property
    def made_at(self) -> float:
        return int(self.id.split("-")[0]) / 1000

    def public(self) -> dict[str, Any]:
        content = f"/domicile/images/{self.id}/content"
        return {**self.about, "id": self.id, "made_at": self.made_at, "size_bytes": self.size_bytes, "url": content}


class Gallery:
    """One for a house."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, png: bytes, about: Mapping[str, Any]) -> Picture:
        """Write a picture and what is known of it."""
        name = self._write(self._folder, png, about)
        return self.get(name)

    def lend(self, png: bytes) -> str:
        """Keep a picture for an hour. Returns its id."""
        self.tidy()
        return self._write(self._folder / _LENT, png, {})

    def _write(self, folder: Path, png: bytes, about: Mapping[str, Any]) -> str:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(8)}"
        (folder / f"{name}.json").write_text(json.dumps(dict(about), ensure_ascii=False), "utf-8")
        part = folder / f".{name}.part"
        part.write_bytes(png)
        part.replace(folder / f"{name}.png")
        return name

    def list(self, before: str | None = None, limit: int = 60) -> list[Picture]:
        """The newest first; `before` is an id to go on from."""
        if not self._folder.is_dir():
            return []
        names = sorted((p.stem for p in self._folder.glob("*.png") if _ID.fullmatch(p.stem)), reverse=True)
        wanted = [n for n in names if before is None or n < before][:limit]
        return [self.get(name) for name in wanted]

    def get(self, name: str) -> Picture:
        """One picture. Raises `PictureNotFound`."""
        path = self._path(self._folder, name)
        about: dict[str, Any] = {}
        try:
            said = json.loads(path.with_suffix(".json").read_text("utf-8"))
            about = said if isinstance(said, dict) else {}
        except (OSError, ValueError):  # the picture says it too
            about = {}
        return Picture(name, about, path, path.stat().st_size)

    def content(self, name: str) -> Path:
        """Where a picture lies, kept or lent. Raises `PictureNotFound`."""
        self.tidy()
        try:
            return self._path(self._folder, name)
        except PictureNotFound:
            return self._path(self._folder / _LENT, name)

    def delete(self, name: str) -> int:
        """Returns the bytes freed. Raises `PictureNotFound`."""
        path = self._path(self._folder, name)
        size = path.stat().st_size
        path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
        return size

    def tidy(self) -> None:
        """Forget what was lent too long ago."""
        folder = self._folder / _LENT
        if folder.is_dir():
            for path in folder.iterdir():
                if path.stat().st_mtime < time.time() - LENT_S:
                    path.unlink(missing_ok=True)

    def _path(self, folder: Path, name: str) -> Path:
        if _ID.fullmatch(name):
            path = folder / f"{name}.png"
            if path.is_file() and not path.is_symlink():
                return path
        raise PictureNotFound(name=name[:60])
