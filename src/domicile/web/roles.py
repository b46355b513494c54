"""What each role may ask, by the rows of ROUTES. A row that stands in neither list is an administrator's.

Nobody in particular (whoever has no session and no key) may have the page, which then is the sign-in, and its files.
A user may chat, see models, and has a history, sessions and keys of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from domicile.web.page_rooms import ROOMS

Need = Literal["nobody", "user", "admin"]
RANK: dict[Need, int] = {"nobody": 0, "user": 1, "admin": 2}

NOBODY = frozenset(
    {
        *(("GET", room.path) for room in ROOMS),
        ("GET", "/static/{path:path}"),
        ("GET", "/domicile/account"),
        ("POST", "/domicile/account/first"),
        ("POST", "/domicile/account/sign-in"),
    }
)
_TALKING = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/reranking", "/rerank",
    "/v1/responses", "/v1/responses/input_tokens", "/v1/audio/transcriptions", "/v1/audio/translations",
    "/v1/audio/speech", "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/messages",
    "/v1/messages/count_tokens", "/api/show", "/api/chat", "/api/generate", "/api/embed", "/api/embeddings",
    "/generate",
    "/domicile/models/{name:path}/wake",
)  # fmt: skip
_SEEING = (
    "/v1/models", "/v1/models/{name:path}", "/v1/responses/{id}", "/v1/responses/{id}/input_items", "/api/version",
    "/api/tags", "/api/ps", "/domicile/health", "/domicile/version", "/domicile/openapi.json", "/domicile/choices",
    "/domicile/capabilities", "/domicile/events", "/domicile/models", "/domicile/models/{name:path}",
    "/domicile/library/events", "/domicile/resolve", "/domicile/engines", "/domicile/machine",
    "/domicile/machine/load", "/domicile/machine/events",
    "/domicile/fit", "/domicile/fit/cards", "/domicile/repository", "/domicile/repository/card", "/domicile/search",
    "/domicile/recommended", "/domicile/browser-models", "/domicile/custom", "/domicile/ps",
)  # fmt: skip
USER = frozenset(
    {
        *(("POST", path) for path in _TALKING),
        *(("GET", path) for path in _SEEING),
        ("DELETE", "/v1/responses/{id}"),
        ("POST", "/domicile/account/sign-out"),
        ("POST", "/domicile/account/sign-out-everywhere"),
        ("POST", "/domicile/account/password"),
        ("GET", "/domicile/account/sessions"),
        ("GET", "/domicile/account/keys"),
        ("POST", "/domicile/account/keys"),
        ("DELETE", "/domicile/account/keys/{id}"),
    }
)
OWN = "/domicile/chats"
"""All below is each person's own: the handlers look at nobody else's."""


class Row(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


def need_of(row: Row) -> Need:
    """The least role that may ask this row."""
    if (row.method, row.path) in NOBODY:
        return "nobody"
    if (row.method, row.path) in USER or row.path == OWN or row.path.startswith(OWN + "/"):
        return "user"
    return "admin"


def strangers(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """What the lists name and ROUTES has not: for the test."""
    return set(NOBODY | USER) - {(row.method, row.path) for row in rows}
