"""An answer of the house, whichever way it came: its status, and its body as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """A body that is not one piece of JSON: its headers, and its bytes as they are read."""

    headers: Mapping[str, str]
    pieces: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Heard:
    status: int
    body: AsyncIterator[bytes]

    async def whole(self) -> bytes:
        """All of the body that has not been read."""
        return b"".join([part async for part in self.body])

    async def lines(self) -> AsyncIterator[str]:
        """The body line by line, without their ends; the last one may have none."""
        rest = b""
        async for part in self.body:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")
