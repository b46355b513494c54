"""What is asked for, whom a download tells, and how patient it is. Words only: nothing here touches disk or network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx2

PARTIAL = ".partial"
"""What follows the name of a file that is not whole yet. Its journal and lock have this name and a second ending."""
BLOCK = 4 * 2**20
"""Bytes that are kept, checked and lost together."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch. Of the two digests, the sha256 (LFS object id) is used where it is known.

    With neither digest the file is only as good as its size and a strong ETag that never changes. `headers` go to
    the origin of `url` and nowhere else when they hold `Authorization`.
    """

    url: str
    target: Path
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + PARTIAL)

    @property
    def digest(self) -> str:
        """What the whole file must be: empty when nobody told."""
        return self.sha256 or self.git_sha1 or ""


class Told(Protocol):
    """What a download says while it goes on, from the event loop's thread. Counts are bytes."""

    def resumed(self, count: int) -> None: ...
    def came(self, count: int) -> None: ...


Judge = Callable[[httpx2.Response], None]
"""Raises the named error of an answer that is not the file."""
Noted = Callable[[str], None]
"""Hears what a person should know: `waiting` (another process fetches it), `changed` (its source has another file
now, begun anew), `again` (what came was wrong, begun anew), `xet` (Xet was the faster way)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, how often. Seconds."""

    tries: int = 8
    """Retries in a row that bring less than a block."""
    first_wait_s: float = 0.5
    longest_wait_s: float = 5.0
    """Waits double up to here; half of each is chance."""
    longest_retry_after_s: float = 120.0
    """A server that asks for longer pauses the download."""
    renewals: int = 3
    """Signed addresses asked for again in a row without a block in between."""
    quiet_s: float = 2.0
    """After so long without a byte, an idle connection takes over what a silent one had left."""
    grow_s: float = 0.3
    """How often it is judged whether more connections help."""
    xet_trial_s: float = 3.0
    """How long both ways run before the slower one stops."""
    xet_start_s: float = 10.0
    """Xet's store must give a byte at least this often."""
    xet_least_bytes: int = 32 * 2**20
    """A smaller file is not worth a second way."""
