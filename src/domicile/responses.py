"""Responses kept for `previous_response_id`: their items, in the house's database, within bounds.

Kept only when the request does not say `store: false`; the oldest go first, by count, by size and after thirty days.
Knows rows; the items' shapes are `dialects.responses`'.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile.db import Database
from domicile.errors import ResponseNotFound

MOST = 1000
MOST_BYTES = 64 << 20
KEPT_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, and every item that came before its output."""

    response: dict[str, Any]
    items: list[dict[str, Any]]

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """All of it: what was asked, and what was answered."""
        output = self.response.get("output")
        return [*self.items, *(output if isinstance(output, list) else ())]


class Responses:
    """One for a house."""

    def __init__(
        self,
        database: Database,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._most = most
        self._most_bytes = most_bytes
        self._clock = clock

    def keep(self, response: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
        """Keep one; the oldest leave when there are too many or they are too large."""
        told, asked = json.dumps(response), json.dumps(items)
        size = len(told) + len(asked)
        with self._database.write() as w:
            w.execute(
                "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)",
                (response["id"], self._clock(), size, told, asked),
            )
            w.execute("DELETE FROM responses WHERE at < ?", (self._clock() - KEPT_S,))
            kept = total = 0
            for row in w.execute("SELECT id, size_bytes FROM responses ORDER BY at DESC, rowid DESC").fetchall():
                kept, total = kept + 1, total + row["size_bytes"]
                if kept > self._most or total > self._most_bytes:
                    w.execute("DELETE FROM responses WHERE id = ?", (row["id"],))

    def get(self, identifier: str) -> Kept:
        """Raises `ResponseNotFound`."""
        rows = self._database.read("SELECT response, items FROM responses WHERE id = ?", identifier)
        if not rows:
            raise ResponseNotFound(id=identifier[:80])
        return Kept(json.loads(rows[0]["response"]), json.loads(rows[0]["items"]))

    def forget(self, identifier: str) -> None:
        """Raises `ResponseNotFound`."""
        self.get(identifier)
        with self._database.write() as w:
            w.execute("DELETE FROM responses WHERE id = ?", (identifier,))
