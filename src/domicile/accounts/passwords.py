"""Passwords: what may be one, and argon2id hashes of them. Slow on purpose: called away from the event loop."""

from __future__ import annotations

import contextlib
from functools import cache

from domicile.errors import BadField

LEAST, MOST = 10, 1024
"""Characters. Length is what makes a password hard to guess (NIST SP 800-63B); no kind of character is asked for."""


@cache
def _hasher():  # type: ignore[no-untyped-def]
    import argon2

    # OWASP's second choice (19 MiB, two passes): a Raspberry Pi opens its door too.
    return argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobody() -> str:
    """The hash that is tried where there is no account of that name, so that the time says nothing."""
    return hashed("nobody has this password")


def check(password: str, name: str) -> None:
    """Raises `BadField` of a password that is too short, too long, or that is the name itself."""
    if len(password) < LEAST:
        raise BadField(field="password", problem=str(len(password)), reason="password_short", least=LEAST)
    if len(password) > MOST:
        raise BadField(field="password", problem=str(len(password)), reason="too_many_characters", limit=MOST)
    if password.casefold() == name.casefold() or len(set(password)) < 3:
        raise BadField(field="password", problem=name, reason="password_plain")


def hashed(password: str) -> str:
    """Its argon2id hash, parameters and salt included."""
    made: str = _hasher().hash(password)
    return made


def holds(password: str, kept: str | None) -> bool:
    """Is it the password of this hash? Where there is none, the same work is done for nothing."""
    import argon2

    right = False
    with contextlib.suppress(argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        right = bool(_hasher().verify(_nobody() if kept is None else kept, password[:MOST]))
    return right and kept is not None
