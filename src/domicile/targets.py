"""Who else may answer: targets elsewhere, in the person's order, each with a consent of its own.

A target is an address with an OpenAI-compatible API. Adding one asks nobody anything; nothing is sent to it before
the person consents, which is a separate act: then its name is looked up, and the consent holds for where it was found
(this machine, the person's network, or the internet). A key is kept in a file only its owner reads, is never shown
again, and goes to that address alone. Knows addresses; sends nothing.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2

from domicile.db import Database
from domicile.errors import BadField, NoConsent, TargetNotFound

Kind = Literal["ollama", "huggingface", "openai"]
Reach = Literal["here", "network", "internet"]

PRESETS: Mapping[str, tuple[Kind, str]] = {
    "ollama": ("ollama", "http://127.0.0.1:11434/v1"),
    # `AutoRouterConversationalTask` of the huggingface_hub client: the router chooses the provider.
    "huggingface": ("huggingface", "https://router.huggingface.co/v1"),
    "hf": ("huggingface", "https://router.huggingface.co/v1"),
}
"""Targets that need a name only."""
ANY = "*"
"""In a target's models: what is asked of it for every model that is not named."""
TIMEOUT_S = 60.0
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_KEY = re.compile(r"[\x21-\x7e]{1,4000}")
_MODELS = 200


@dataclass(frozen=True, slots=True)
class Target:
    """One of them."""

    name: str
    kind: Kind
    url: str
    """The base of its OpenAI API, as clients call it: `https://host/v1`."""
    timeout_s: float = TIMEOUT_S
    """How long it may be silent: before its first byte, and between two."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Our name of a model, and the one it has there; `*` is for all others."""
    consented_at: float | None = None
    reach: Reach | None = None
    """Where it was found when the person consented."""
    addresses: tuple[str, ...] = ()
    has_key: bool = False

    def model_for(self, name: str) -> str:
        """What our model is called there: as it was mapped, else the model for all, else the same."""
        return self.models.get(name) or self.models.get(ANY) or name

    def public(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "url": self.url,
            "timeout_s": self.timeout_s,
            "models": dict(self.models),
            "consent": self.consented_at is not None,
            "consented_at": self.consented_at,
            "reach": self.reach,
            "addresses": list(self.addresses),
            "has_key": self.has_key,
        }

    def judge(self, host: str, addresses: Sequence[str]) -> None:
        """Is it still where the person consented to? Raises `NoConsent`.

        On this machine or network it must have one of the very addresses; on the internet, where they change, none of
        them may lead inside.
        """
        reach = reach_of(addresses)
        well = bool(set(addresses) <= set(self.addresses)) if self.reach != "internet" else reach == "internet"
        if self.reach is None or not well:
            raise NoConsent(name=self.name, host=host, address=", ".join(addresses)[:200], reason="moved")


class Targets:
    """The list, in the person's order. `hub_token` is the key of Hugging Face's router where no other was given."""

    def __init__(self, database: Database, keys: Path, hub_token: str = "") -> None:
        self._database = database
        self._keys = keys
        self._hub_token = hub_token

    def list(self) -> list[Target]:
        rows = self._database.read("SELECT * FROM targets ORDER BY position, name") if self._any() else []
        keys = self._read_keys() if rows else {}
        return [
            Target(
                row["name"],
                row["kind"],
                row["url"],
                row["timeout_s"],
                json.loads(row["models"]),
                row["consented_at"],
                row["reach"],
                tuple(json.loads(row["addresses"])),
                has_key=row["name"] in keys or (row["kind"] == "huggingface" and bool(self._hub_token)),
            )
            for row in rows
        ]

    def _any(self) -> bool:
        return bool(self._database.read("SELECT 1 FROM targets LIMIT 1"))

    def get(self, name: str) -> Target:
        found = next((t for t in self.list() if t.name == name.strip().lower()), None)
        if found is None:
            raise TargetNotFound(name=name[:60], there=", ".join(t.name for t in self.list()) or "-")
        return found

    def add(
        self,
        name: str,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        models: Mapping[str, str] | None = None,
    ) -> Target:
        """Enter a target, without consent; the same name and address again changes the rest and keeps the consent.

        Nobody is asked anything. Raises `BadField`.
        """
        name = name.strip().lower()
        if not _NAME.fullmatch(name) or name in {"home", "order"}:
            raise BadField(field="name", problem=name[:60], reason="target_name")
        kind, base = PRESETS.get(name, ("openai", ""))
        if url is not None:
            kind, base = (kind if kind != "huggingface" else "openai"), read_url(url)
        if not base:
            raise BadField(field="url", problem=name, reason="target_url")
        if key is not None and not _KEY.fullmatch(key):
            raise BadField(field="key", problem="…", reason="target_key")
        if timeout_s is not None and not 0 < timeout_s <= 3600:
            raise BadField(field="timeout", problem=timeout_s, reason="range", low=1, high=3600)
        there = next((t for t in self.list() if t.name == name), None)
        if there is not None and there.url != base:
            raise BadField(field="name", problem=name, reason="target_taken", url=there.url)
        mapping = _mapping(models) if models is not None else dict(there.models) if there else {}
        wait = timeout_s or (there.timeout_s if there else TIMEOUT_S)
        if key is not None:
            self._write_keys({**self._read_keys(), name: key})
        with self._database.write() as w:
            place = w.execute("SELECT coalesce(max(position), 0) + 1 FROM targets").fetchone()[0]
            w.execute(
                "INSERT INTO targets (name, kind, url, position, timeout_s, models, addresses)"
                " VALUES (?, ?, ?, ?, ?, ?, '[]')"
                " ON CONFLICT (name) DO UPDATE SET timeout_s = excluded.timeout_s, models = excluded.models",
                (name, kind, base, place, wait, json.dumps(mapping)),
            )
        return self.get(name)

    def remove(self, name: str) -> Target:
        """Forget it, its consent and its key."""
        target = self.get(name)
        with self._database.write() as w:
            w.execute("DELETE FROM targets WHERE name = ?", (target.name,))
        keys = self._read_keys()
        if keys.pop(target.name, None) is not None:
            self._write_keys(keys)
        return target

    def consent(self, name: str, addresses: Sequence[str]) -> Target:
        """From now on it may be asked, at the addresses that its name has now. Raises `BadField` for those that never
        may."""
        target = self.get(name)
        reach = reach_of(addresses)
        if reach is None:
            raise BadField(field="url", problem=f"{target.url} ({', '.join(addresses)[:100]})", reason="target_reach")
        if reach == "internet" and target.url.startswith("http://"):
            raise BadField(field="url", problem=target.url, reason="target_plain")
        with self._database.write() as w:
            w.execute(
                "UPDATE targets SET consented_at = ?, reach = ?, addresses = ? WHERE name = ?",
                (time.time(), reach, json.dumps(list(addresses)), target.name),
            )
        return self.get(target.name)

    def withdraw(self, name: str) -> Target:
        """From now on nothing goes there."""
        target = self.get(name)
        with self._database.write() as w:
            w.execute(
                "UPDATE targets SET consented_at = NULL, reach = NULL, addresses = '[]' WHERE name = ?", (target.name,)
            )
        return self.get(target.name)

    def order(self, names: Sequence[str]) -> Sequence[Target]:
        """Put these first, in this order; the others follow as they were."""
        first = [self.get(name).name for name in names]
        if len(set(first)) != len(first):
            raise BadField(field="names", problem=", ".join(names)[:100], reason="target_twice")
        whole = [*first, *(t.name for t in self.list() if t.name not in first)]
        with self._database.write() as w:
            w.executemany("UPDATE targets SET position = ? WHERE name = ?", list(enumerate(whole)))
        return self.list()

    def key_of(self, target: Target) -> str | None:
        """The key, for its own address alone."""
        return self._read_keys().get(target.name) or (self._hub_token or None if target.kind == "huggingface" else None)

    def _read_keys(self) -> dict[str, str]:
        try:
            found = json.loads(self._keys.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def _write_keys(self, keys: Mapping[str, str]) -> None:
        """Beside, then in place; never readable by anybody else, not even for a moment."""
        self._keys.parent.mkdir(parents=True, exist_ok=True)
        beside = self._keys.with_suffix(".new")
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(dict(keys), out)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(self._keys)


def read_url(said: str) -> str:
    """The base of an OpenAI API: `http://nas:8000` is `http://nas:8000/v1`; with a path it is taken as it is.

    Raises `BadField` for what is no such address, or holds a password.
    """
    text = said.strip()
    text = text if "://" in text else f"http://{text}"
    try:
        url = httpx2.URL(text)
        well = (
            url.scheme in {"http", "https"} and bool(url.host) and not url.userinfo
            and not url.query and not url.fragment and len(text) <= 500
        )  # fmt: skip
    except (httpx2.InvalidURL, ValueError):
        well = False
    if not well:
        raise BadField(field="url", problem=re.sub(r"//[^/@]*@", "//…@", text)[:200], reason="target_url")
    path = url.path.rstrip("/")
    return str(url.copy_with(path=path or "/v1")).rstrip("/")


def reach_of(addresses: Sequence[str]) -> Reach | None:
    """Where these addresses are; None for none, for a mixture, and for those that nobody answers from."""
    kinds = {_reach(address) for address in addresses}
    return kinds.pop() if len(kinds) == 1 else None


def _reach(address: str) -> Reach | None:
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = wrapped or ip
    if ip.is_loopback:
        return "here"
    # Link-local is where clouds keep their machines' secrets (169.254.169.254).
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return None
    if ip.is_global:
        return "internet"
    return "network" if ip.is_private or ip in _SHARED else None


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")
"""Of a provider's network, and of private networks over the internet (Tailscale)."""


def _mapping(models: Mapping[str, str]) -> dict[str, str]:
    well = all(
        isinstance(v, str) and 0 < len(k) <= 200 and 0 < len(v) <= 200 and (k + v).isprintable()
        for k, v in models.items()
    )
    if not well or len(models) > _MODELS:
        raise BadField(field="models", problem=str(dict(models))[:100], reason="target_models")
    return {k.strip(): v.strip() for k, v in models.items()}
