"""What one connection does: ask for a span, hold the answer against it, write the bytes where they belong.

An answer is used only when it is exactly the part that was asked for (`206` with the very `Content-Range`), or the
whole file from its start. Everything else is told to the transfer, which knows what to make of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from domicile.download.hops import Place
from domicile.download.spans import Span

if TYPE_CHECKING:
    from domicile.download.transfer import Transfer

_FAST_LEAST = 4 * 2**20
_FAST_RATE = 100e6
"""Bytes a second from which a connection is fast."""
_FAST_CHUNK = 2**18
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class Retake(Exception):
    """This answer is of no use, and everything has been said about it: take the next span."""


def work(transfer: Transfer) -> None:
    """Fetch span after span, until no more are given. Raises what ends the download."""
    while (span := transfer.next_span()) is not None:
        try:
            _fetch(transfer, span)
        except Retake:
            continue
        except (httpx2.HTTPError, httpx2.StreamError) as trouble:
            transfer.give_back(span)
            if not transfer.stopped.is_set():
                transfer.again(_told(trouble))
        finally:
            transfer.give_back(span)


def _fetch(transfer: Transfer, span: Span) -> None:
    first, end, whole = span.start, span.end, transfer.whole
    extra = {"Accept-Encoding": "identity"}
    if not whole:
        extra["Range"] = f"bytes={first}-{end - 1}"
    with transfer.ask(extra) as (answer, place):
        at = _begin_of(transfer, answer, place, first, end, whole)
        transfer.accepted(answer)
        for chunk in _chunks(answer, transfer.limits.lowest is None):
            begin, at = at, at + len(chunk)
            if at <= first:
                continue
            transfer.limits.take(len(chunk), transfer.stopped)
            if not transfer.write(span, memoryview(chunk)[max(0, first - begin) :]):
                return
    if span.done < span.end:
        transfer.give_back(span)
        transfer.again(f"{span.done - first} / {end - first} B")


def _chunks(answer: httpx2.Response, may_hurry: bool) -> Iterator[bytes]:
    """The body as it comes. A connection that turns out fast is read without the layers between, which would take
    more of the processor than hashing does; it cannot be asked a second time after that.

    The switch is right after a chunk: the parser has then given out everything it had taken from the connection.
    """
    stream = answer.extensions.get("network_stream")
    left = int(answer.headers.get("Content-Length", "0"))
    expect = None if stream is None else stream.get_extra_info("expect")
    plain = stream is not None and "Transfer-Encoding" not in answer.headers
    began, came, told = time.monotonic(), 0, answer.request.extensions.get("timeout", {})
    body = answer.iter_raw()
    for chunk in body:
        yield chunk
        came += len(chunk)
        if may_hurry and plain and expect is not None:
            expect(left - came)
            expect = None
        if plain and may_hurry and came >= _FAST_LEAST and left > _FAST_LEAST:
            if came < (time.monotonic() - began) * _FAST_RATE:
                plain = False
                continue
            break
    else:
        return
    while came < left and stream is not None:
        try:
            chunk = stream.read(min(_FAST_CHUNK, left - came), timeout=told.get("read"))
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as trouble:
            raise httpx2.ReadError(_told(trouble), request=answer.request) from trouble
        if not chunk:
            raise httpx2.ReadError(f"{came} / {left} B", request=answer.request)
        came += len(chunk)
        yield chunk


def _begin_of(transfer: Transfer, answer: httpx2.Response, place: Place, first: int, end: int, whole: bool) -> int:
    """The place in the file of the first byte of an answer; `Retake` for one that is not the file."""
    size, status = transfer.wanted.size_bytes, answer.status_code
    encoding = answer.headers.get("Content-Encoding", "identity")
    if status == 206 and not whole:
        said = answer.headers.get("Content-Range", "")
        if said.lower() == f"bytes {first}-{end - 1}/{size}" and encoding == "identity":
            return first
        transfer.odd(f"Content-Range {said[:60]}" if encoding == "identity" else f"Content-Encoding {encoding[:30]}")
    elif status == 200:
        length = answer.headers.get("Content-Length")
        if encoding != "identity":
            transfer.odd(f"Content-Encoding {encoding[:30]}")
        elif length is not None and length != str(size):
            transfer.odd(f"{length[:20]} B")
        elif whole or (first, end) == (0, size):
            return 0
        else:
            transfer.only_whole()
    elif status in _LATER:
        transfer.again(f"HTTP {status}", answer, _retry_after(answer))
    elif status == 416 or status < 400:
        transfer.odd(f"HTTP {status}")
    elif not place.direct:
        transfer.expired(answer, place)
    else:
        transfer.refused(answer)
    raise Retake


def _retry_after(answer: httpx2.Response) -> float | None:
    """Seconds a server asks to wait, given as a number or as a date."""
    said = answer.headers.get("Retry-After", "").strip()
    if said.isdecimal() and len(said) < 15:
        return float(said)
    try:
        when = parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())


def _told(trouble: Exception) -> str:
    return str(trouble)[:200] or type(trouble).__name__
