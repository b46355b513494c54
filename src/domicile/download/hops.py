"""From the address of a file to where its bytes are: each redirect is looked at before it is followed.

At most five; https only, or plain http between addresses of this machine; from a public host never to a private
address; the token goes to the origin that was asked and nowhere else. Knows addresses and headers, not files.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from domicile.errors import RedirectRefused

MOST_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes are, and what the answers on the way said. `direct`: the origin itself holds them."""

    url: httpx2.URL
    headers: Mapping[str, str]
    said: Mapping[str, str]
    """Headers of the origin's own answer (`X-Linked-ETag`, `X-Xet-Hash` ...), lower case; its `Link` targets by name
    under `link:name`."""
    direct: bool


@contextmanager
def follow(
    client: httpx2.Client, url: str, headers: Mapping[str, str], extra: Mapping[str, str], extensions: dict[str, Any]
) -> Iterator[tuple[httpx2.Response, Place]]:
    """Ask an address, hop by hop, and give the first answer that is no redirect, unread, with its place.

    Raises `RedirectRefused`, and what the client raises.
    """
    origin = _parsed(url, url)
    here, past = origin, list[httpx2.Response]()
    said: dict[str, str] = {}
    check(origin, origin)
    for _ in range(MOST_HOPS + 1):
        sent = headers if same_origin(origin, here) else _public(headers)
        with client.stream("GET", here, headers={**sent, **extra}, extensions=extensions) as answer:
            if same_origin(origin, here):
                said |= {k.lower(): v for k, v in answer.headers.items()}
                said |= {f"link:{name}": link.get("url", "") for name, link in answer.links.items() if name}
            onward = answer.headers.get("Location", "")
            if answer.status_code not in _REDIRECTS or not onward:
                answer.history = past
                yield answer, Place(here, sent, said, same_origin(origin, here))
                return
        past.append(answer)
        here = _parsed(str(here), onward)
        check(origin, here)
    raise RedirectRefused(host=origin.host, to=here.host, reason="many")


def check(origin: httpx2.URL, to: httpx2.URL) -> None:
    """May a question to `origin` be sent on to this address? Raises `RedirectRefused` with the reason.

    A name that does not resolve is let pass: a proxy may know it, or the connection fails by itself.
    """
    if to.userinfo or to.scheme not in {"http", "https"} or not to.host:
        raise RedirectRefused(host=origin.host, to=str(to)[:120], reason="form")
    if to.scheme == "http" and not (_is_loopback(to.host) and _is_loopback(origin.host) and origin.scheme == "http"):
        raise RedirectRefused(host=origin.host, to=to.host, reason="plain")
    if not same_origin(origin, to) and _is_private(to.host) and not _is_private(origin.host):
        raise RedirectRefused(host=origin.host, to=to.host, reason="private")


def _parsed(base: str, address: str) -> httpx2.URL:
    try:
        return httpx2.URL(base).join(address)
    except (httpx2.InvalidURL, ValueError, UnicodeError) as trouble:
        raise RedirectRefused(host=httpx2.URL(base).host, to=address[:120], reason="form") from trouble


def same_origin(one: httpx2.URL, other: httpx2.URL) -> bool:
    def port(url: httpx2.URL) -> int | None:
        return url.port or {"http": 80, "https": 443}.get(url.scheme)

    return (one.scheme, one.host, port(one)) == (other.scheme, other.host, port(other))


def _public(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _SECRET}


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def _is_loopback(host: str) -> bool:
    found = _addresses(host)
    return bool(found) and all(_plain(a).is_loopback for a in found)


def _is_private(host: str) -> bool:
    return any(not _plain(a).is_global for a in _addresses(host))


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
