"""The other way to a file: Xet, the Hub's store of chunks, where the Hub offers it and `hf_xet` is installed.

A child process reads from the store, for that library keeps threads and buffers of its own and cannot be interrupted;
its bytes take the same way to the disk and the same checks as all others. Both ways run side by side for a trial;
the slower one stops. When the store cannot be reached, nothing is lost but the trial.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from domicile.download.hops import Place, check, same_origin
from domicile.errors import DomicileError

if TYPE_CHECKING:
    from domicile.download.spans import Span
    from domicile.download.transfer import Transfer

_HASH = re.compile(r"[0-9a-f]{64}")
_READ = 2**18
_BEAT_S = 0.2
_LONGEST = 256 * 2**20


class Unreachable(Exception):
    """This way does not lead there; the other one may."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What the Hub says of a file in Xet's store: its hash, and where a token for reading is to be had."""

    hash: str
    token_url: httpx2.URL


def offer_of(place: Place, origin: str) -> Offer | None:
    """What the way to a file offered, if it can be used here. The token's address must be the Hub's own."""
    found = place.said.get("x-xet-hash", "")
    route = place.said.get("link:xet-auth") or place.said.get("x-xet-refresh-route", "")
    if not _HASH.fullmatch(found) or not route or not _available():
        return None
    try:
        url = httpx2.URL(origin).join(route)
    except (httpx2.InvalidURL, ValueError):
        return None
    return Offer(found, url) if same_origin(httpx2.URL(origin), url) else None


@functools.cache
def _available() -> bool:
    if os.environ.get("HF_HUB_DISABLE_XET", "").lower() in {"1", "true", "yes", "on"} or sys.platform == "win32":
        return False
    return importlib.util.find_spec("hf_xet") is not None


def work(transfer: Transfer, offer: Offer) -> None:
    """Fetch span after span from the store while it is the faster way, or the trial lasts."""
    try:
        with _child(transfer, offer) as child:
            while (span := transfer.next_xet_span(_LONGEST)) is not None:
                try:
                    _fetch(transfer, span, child)
                finally:
                    transfer.give_back(span)
    except (Unreachable, OSError, httpx2.HTTPError, DomicileError):
        transfer.xet_over()


def _fetch(transfer: Transfer, span: Span, child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    left = span.end - span.start
    child.stdin.write(f"{span.start} {span.end}\n".encode())
    child.stdin.flush()
    while left:
        data = _read(transfer, child, min(left, _READ))
        left -= len(data)
        transfer.limits.take(len(data), transfer.stopped)
        transfer.xet_came += len(data)
        if not transfer.write(span, memoryview(data)) or not transfer.xet_goes_on():
            raise Unreachable("not needed any more")


def _read(transfer: Transfer, child: subprocess.Popen[bytes], count: int) -> bytes:
    assert child.stdout is not None
    until = time.monotonic() + transfer.patience.xet_start_s
    while time.monotonic() < until and not transfer.stopped.is_set() and transfer.xet_goes_on():
        if select.select([child.stdout], [], [], _BEAT_S)[0]:
            data = os.read(child.stdout.fileno(), count)
            if not data:
                raise Unreachable("ended")
            return data
    raise Unreachable("silent")


@contextmanager
def _child(transfer: Transfer, offer: Offer) -> Iterator[subprocess.Popen[bytes]]:
    about = _about(transfer, offer)
    passed = ("PATH", "HOME", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY")
    with (
        tempfile.TemporaryDirectory(prefix="domicile-xet-") as scratch,
        subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("xet_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={k: os.environ[k] for k in passed if k in os.environ} | {"HF_HOME": scratch, "HF_XET_CACHE": scratch},
        ) as child,
    ):
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(about).encode() + b"\n")
            child.stdin.flush()
            got = b""
            while not got.endswith(b"\n"):
                got += _read(transfer, child, 1)
            yield child
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):  # what was not flushed has no reader any more
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:
                    continue


def _about(transfer: Transfer, offer: Offer) -> dict[str, object]:
    """What the child must know: the store, and a token that is good for reading this repository."""
    answer = transfer.get(offer.token_url)
    said = answer.headers
    endpoint, token = said.get("X-Xet-Cas-Url", ""), said.get("X-Xet-Access-Token", "")
    expires = said.get("X-Xet-Token-Expiration", "")
    if answer.status_code != 200 or not endpoint or not token or not expires.isdecimal():
        raise Unreachable("no token")
    check_store(transfer.wanted.url, endpoint)
    agent = {k: v for k, v in transfer.wanted.headers.items() if k.lower() == "user-agent"}
    return {
        "hash": offer.hash,
        "size": transfer.wanted.size_bytes,
        "endpoint": endpoint,
        "token": token,
        "expires": int(expires),
        "headers": agent,
    }


def check_store(origin: str, endpoint: str) -> None:
    """The rules of redirects hold for the store's address too. Raises `RedirectRefused`."""
    try:
        url = httpx2.URL(endpoint)
    except httpx2.InvalidURL as trouble:
        raise Unreachable(endpoint[:80]) from trouble
    check(httpx2.URL(origin), url)
