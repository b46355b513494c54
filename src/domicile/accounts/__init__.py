"""Who may come in where the house listens beyond this machine: accounts, their sessions and their keys.

On loopback nobody asks. Beyond, the first visitor makes the first administrator with the code that `domicile serve`
prints; that account has the history that was kept before there were accounts (its id is the owner's). Knows no HTTP:
the guard asks `by_key` and `by_session`, `web/accounts.py` renders the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from domicile.accounts import passwords
from domicile.accounts.attempts import Attempts
from domicile.accounts.schema import STEPS
from domicile.db import Database
from domicile.errors import (
    AccountNotFound,
    AccountTaken,
    BadField,
    CodeRefused,
    KeyNotFound,
    LastAdministrator,
    SignInRefused,
)

Role = Literal["admin", "user"]
ROLES: tuple[Role, ...] = ("admin", "user")
OWNER = "owner"
"""Whose everything is in a house without accounts; the id of its first administrator."""
_NAME = re.compile(r"[^\W_][\w.@+-]{0,63}")
_KEYS = 100
_SESSIONS = 50
_TOUCH_S = 60.0
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Of the code: no character that is taken for another."""


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    name: str
    role: Role
    made_at: float
    seen_at: float | None

    def public(self) -> dict[str, Any]:
        return {"name": self.name, "role": self.role, "made_at": self.made_at, "seen_at": self.seen_at}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `session` or `key` is the digest of what they are known by, if it can end."""

    id: str
    role: Role
    name: str | None = None
    session: bytes | None = None
    key: bytes | None = None

    @property
    def may_end(self) -> bool:
        """Can what they are known by be taken back? The key of the house itself cannot."""
        return self.session is not None or self.key is not None


class Accounts:
    """One for a house. `idle_s` and `life_s`: when a session ends, unused or in any case."""

    def __init__(self, path: Path, idle_s: float, life_s: float, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, STEPS, private=True)
        self._idle_s, self._life_s, self._clock = idle_s, life_s, clock
        self.attempts = Attempts()
        self._slow = asyncio.Semaphore(2)
        """Hashing takes memory on purpose: not for everybody at once."""
        self._code: str | None = None

    def close(self) -> None:
        self._database.close()

    # -- the first one --

    def first_code(self) -> str | None:
        """The code by which the first visitor proves to have seen this house open; None once there is an account."""
        if self._any():
            self._code = None
        elif self._code is None:
            self._code = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
        return self._code

    async def first(self, code: str, name: str, password: str, address: str) -> Account:
        """Make the first administrator. Raises `CodeRefused`, `TooManyAttempts`, `BadField`."""
        self.attempts.begin("", address)
        kept = self.first_code()
        given = re.sub(r"[^0-9A-Z]", "", code.upper())
        if kept is None or not hmac.compare_digest(given.encode(), kept.replace("-", "").encode()):
            raise CodeRefused
        self.attempts.succeeded("", address)
        made = await self._hashed(_checked(name), password)
        if self.first_code() is None:  # somebody else was quicker, while the hash was made
            raise CodeRefused
        account = self._enter(OWNER, name, "admin", made)
        self._code = None
        return account

    # -- accounts --

    def all(self) -> list[Account]:
        return [_account(row) for row in self._database.read("SELECT * FROM accounts ORDER BY made_at")]

    def get(self, name: str) -> Account:
        """Raises `AccountNotFound`."""
        rows = self._database.read("SELECT * FROM accounts WHERE name = ?", _folded(name))
        if not rows:
            raise AccountNotFound(name=name[:64])
        return _account(rows[0])

    async def add(self, name: str, password: str, role: Role) -> Account:
        """A new account. The first one is an administrator's whatever is asked. Raises `BadField`, `AccountTaken`."""
        made = await self._hashed(_checked(name), password)
        if not self._any():
            return self._enter(OWNER, name, "admin", made)
        return self._enter(secrets.token_hex(8), name, role, made)

    async def reset(self, name: str, password: str, *, keep: bytes | None = None) -> Account:
        """Another password. Every session ends but `keep`. Raises `AccountNotFound`, `BadField`."""
        account = self.get(name)
        made = await self._hashed(account.name, password)
        with self._database.write() as w:
            w.execute("UPDATE accounts SET password = ? WHERE id = ?", (made, account.id))
            w.execute("DELETE FROM sessions WHERE account = ? AND digest IS NOT ?", (account.id, keep))
        self.attempts.forgive(account.name)
        return account

    def change_role(self, name: str, role: Role) -> Account:
        """Raises `AccountNotFound`, `LastAdministrator`."""
        account = self.get(name)
        if role != "admin":
            self._not_the_last(account)
        with self._database.write() as w:
            w.execute("UPDATE accounts SET role = ? WHERE id = ?", (role, account.id))
        return self.get(name)

    def remove(self, name: str) -> Account:
        """Its sessions and its keys go with it. Raises `AccountNotFound`, `LastAdministrator`."""
        account = self.get(name)
        self._not_the_last(account)
        with self._database.write() as w:
            w.execute("DELETE FROM keys WHERE owner = ?", (account.id,))
            w.execute("DELETE FROM accounts WHERE id = ?", (account.id,))
        return account

    # -- sessions --

    async def sign_in(self, name: str, password: str, address: str, browser: str) -> tuple[Account, str]:
        """The account, and the token of a new session. Raises `SignInRefused`, `TooManyAttempts`.

        A name that nobody has takes as long as a wrong password, and is refused in the same words.
        """
        name = _folded(name)
        self.attempts.begin(name, address)
        rows = self._database.read("SELECT * FROM accounts WHERE name = ?", name)
        kept = rows[0]["password"] if rows else None
        async with self._slow:
            right = await asyncio.to_thread(passwords.holds, password, kept)
        if not right or not rows:
            raise SignInRefused
        self.attempts.succeeded(name, address)
        return _account(rows[0]), self.begin_session(rows[0]["id"], address, browser)

    async def proves(self, account_id: str, password: str, address: str) -> None:
        """Is this the person's own password? Raises `SignInRefused`, `TooManyAttempts`."""
        rows = self._database.read("SELECT * FROM accounts WHERE id = ?", account_id)
        name = rows[0]["name"] if rows else ""
        self.attempts.begin(name, address)
        async with self._slow:
            right = await asyncio.to_thread(passwords.holds, password, rows[0]["password"] if rows else None)
        if not right:
            raise SignInRefused
        self.attempts.succeeded(name, address)

    def begin_session(self, account_id: str, address: str, browser: str) -> str:
        """The token of a new session: made here, never taken from whoever comes."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._database.write() as w:
            w.execute("DELETE FROM sessions WHERE seen_at < ? OR made_at < ?", (now - self._idle_s, now - self._life_s))
            w.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                (digest(token), account_id, now, now, address[:64], browser[:200]),
            )
            w.execute(
                "DELETE FROM sessions WHERE account = ? AND digest NOT IN"
                " (SELECT digest FROM sessions WHERE account = ? ORDER BY seen_at DESC LIMIT ?)",
                (account_id, account_id, _SESSIONS),
            )
            w.execute("UPDATE accounts SET seen_at = ? WHERE id = ?", (now, account_id))
        return token

    def by_session(self, token: str) -> Caller | None:
        """Whose session this is, if it has not ended."""
        if not token:
            return None
        now, name = self._clock(), digest(token)
        rows = self._database.read(
            "SELECT a.id, a.role, a.name, s.seen_at FROM sessions s JOIN accounts a ON a.id = s.account"
            " WHERE s.digest = ? AND s.seen_at >= ? AND s.made_at >= ?",
            name, now - self._idle_s, now - self._life_s,
        )  # fmt: skip
        if not rows:
            return None
        if now - rows[0]["seen_at"] > _TOUCH_S:
            with self._database.write(durable=False) as w:
                w.execute("UPDATE sessions SET seen_at = ? WHERE digest = ?", (now, name))
        return Caller(rows[0]["id"], rows[0]["role"], rows[0]["name"], name)

    def lasts(self, caller: Caller) -> bool:
        """Has what they are known by not ended, nor their role changed? Asking is no use of it, and does not make it
        last longer."""
        now = self._clock()
        if caller.key is not None:
            rows = self._owner_of(caller.key)
        else:
            rows = self._database.read(
                "SELECT a.role FROM sessions s JOIN accounts a ON a.id = s.account"
                " WHERE s.digest = ? AND s.seen_at >= ? AND s.made_at >= ?",
                caller.session, now - self._idle_s, now - self._life_s,
            )  # fmt: skip
        return bool(rows) and (rows[0]["role"] or "admin") == caller.role

    def sessions(self, account_id: str) -> list[dict[str, Any]]:
        """Those that have not ended, the last used first."""
        now = self._clock()
        rows = self._database.read(
            "SELECT * FROM sessions WHERE account = ? AND seen_at >= ? AND made_at >= ? ORDER BY seen_at DESC",
            account_id, now - self._idle_s, now - self._life_s,
        )  # fmt: skip
        return [
            {
                "digest": bytes(row["digest"]),
                "made_at": row["made_at"],
                "seen_at": row["seen_at"],
                "ends_at": min(row["made_at"] + self._life_s, row["seen_at"] + self._idle_s),
                "address": row["address"],
                "browser": row["browser"],
            }
            for row in rows
        ]

    def end_session(self, session: bytes) -> None:
        with self._database.write() as w:
            w.execute("DELETE FROM sessions WHERE digest = ?", (session,))

    def end_sessions(self, account_id: str, keep: bytes | None = None) -> int:
        """End all of an account but one; how many."""
        with self._database.write() as w:
            return w.execute("DELETE FROM sessions WHERE account = ? AND digest IS NOT ?", (account_id, keep)).rowcount

    # -- keys --

    def keys(self, owner: str) -> list[dict[str, Any]]:
        """Never the key itself: its name and its last four characters."""
        rows = self._database.read("SELECT * FROM keys WHERE owner = ? ORDER BY made_at", owner)
        return [{k: row[k] for k in ("id", "name", "ending", "made_at", "used_at")} for row in rows]

    def make_key(self, owner: str, name: str) -> tuple[str, dict[str, Any]]:
        """The key, which is said this once, and how it is listed. Raises `BadField`."""
        said = " ".join(name.split())
        if not said or len(said) > 80 or not said.isprintable():
            raise BadField(field="name", problem=name[:80], reason="key_name")
        if len(self.keys(owner)) >= _KEYS:
            raise BadField(field="name", problem=str(_KEYS), reason="too_many_keys", limit=_KEYS)
        made, now = f"dom-{secrets.token_urlsafe(32)}", self._clock()
        shown = {"id": secrets.token_hex(6), "name": said, "ending": made[-4:], "made_at": now, "used_at": None}
        with self._database.write() as w:
            w.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (shown["id"], owner, said, digest(made), made[-4:], now),
            )
        return made, shown

    def revoke_key(self, owner: str, key_id: str) -> None:
        """Raises `KeyNotFound`."""
        with self._database.write() as w:
            if not w.execute("DELETE FROM keys WHERE owner = ? AND id = ?", (owner, key_id)).rowcount:
                raise KeyNotFound(id=key_id[:64])

    def by_key(self, given: bytes) -> Caller | None:
        """Whose key has this sha256."""
        rows = self._owner_of(given)
        if not rows:
            return None
        row, now = rows[0], self._clock()
        if now - (row["used_at"] or 0) > _TOUCH_S:
            with self._database.write(durable=False) as w:
                w.execute("UPDATE keys SET used_at = ? WHERE id = ?", (now, row["key"]))
        return Caller(row["owner"], row["role"] or "admin", row["name"], key=given)

    def _owner_of(self, key: bytes) -> list[sqlite3.Row]:
        """The row of a key whose owner is still there; a house without accounts has an owner without a role."""
        return self._database.read(
            "SELECT k.id AS key, k.owner, k.used_at, a.role, a.name FROM keys k LEFT JOIN accounts a ON a.id = k.owner"
            " WHERE k.digest = ? AND (a.role IS NOT NULL OR k.owner = ?)", key, OWNER,
        )  # fmt: skip

    # -- within --

    def _any(self) -> bool:
        return bool(self._database.read("SELECT 1 FROM accounts LIMIT 1"))

    def _not_the_last(self, account: Account) -> None:
        if account.role == "admin" and sum(a.role == "admin" for a in self.all()) == 1:
            raise LastAdministrator(name=account.name)

    async def _hashed(self, name: str, password: str) -> str:
        passwords.check(password, name)
        async with self._slow:
            return await asyncio.to_thread(passwords.hashed, password)

    def _enter(self, account_id: str, name: str, role: Role, password: str) -> Account:
        now = self._clock()
        try:
            with self._database.write() as w:
                w.execute(
                    "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, NULL)",
                    (account_id, _checked(name), role, password, now),
                )
        except sqlite3.IntegrityError as trouble:
            raise AccountTaken(name=name) from trouble
        return self.get(name)


def digest(token: str) -> bytes:
    """By which a session or a key is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()[:200]


def _checked(name: str) -> str:
    """A name as it is kept: small letters, no spaces. Raises `BadField`."""
    said = _folded(name)
    if not _NAME.fullmatch(said):
        raise BadField(field="name", problem=name[:64], reason="account_name")
    return said


def _account(row: sqlite3.Row) -> Account:
    return Account(row["id"], row["name"], row["role"], row["made_at"], row["seen_at"])
