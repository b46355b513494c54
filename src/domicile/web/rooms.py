"""Rooms of the web that are entered when somebody comes: their modules are imported by the first request to them.

ROUTES names a hundred handlers in two dozen modules; a command that opens a house for itself asks one or two of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from importlib import import_module
from typing import Any

from starlette.requests import Request


class Room:
    """Stands for a module of `domicile.web`: its attributes are its handlers, not yet imported."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, handler: str) -> Later:
        return Later(f"{__package__}.{self._name}", handler)


class Later:
    """A handler that is imported when it is first called, or looked at (`it`)."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    @cached_property
    def it(self) -> Callable[[Request], Awaitable[Any]]:
        """The handler itself. Raises ImportError or AttributeError where ROUTES names what is not there."""
        found: Callable[[Request], Awaitable[Any]] = getattr(import_module(self._module), self._name)
        return found

    async def __call__(self, request: Request) -> Any:
        return await self.it(request)
