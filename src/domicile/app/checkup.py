"""The house, the part that says what is well and what is not: `domicile doctor`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from domicile import __version__
from domicile.app.answers import Answers
from domicile.errors import DomicileError
from domicile.library import free_bytes


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `domicile doctor`: the key of its sentence, whether it is well, and the facts."""

    key: str
    well: bool
    facts: Mapping[str, object]
    error: DomicileError | None = None


class Checkup(Answers):
    """What `House` can tell of itself. The rooms are its own."""

    async def doctor(self) -> list[Check]:
        """What is well and what is not, each with what to do."""
        machine = await self.adviser.machine()
        checks = [
            Check("system", True, {"system": platform.platform(terse=True), "python": platform.python_version()}),
            Check("version", True, {"version": __version__}),
            Check("home", True, {"path": str(self.settings.home), "free": free_bytes(self.settings)}),
            Check(
                "memory",
                (machine.ram_available_bytes or 0) > 1 << 30,
                {"available": machine.ram_available_bytes, "cores": machine.physical_cores},
            ),
        ]
        missing = [m.name for m in self.library.list() if m.missing]
        checks.append(Check("library", not missing, {"n": len(self.library.list()), "missing": ", ".join(missing)}))
        checks.append(await self._doctor_engine())
        checks.append(await self._doctor_hub())
        return checks

    async def _doctor_engine(self) -> Check:
        """Ask the embedded model for a few tokens, for real."""
        body = b'{"messages":[{"role":"user","content":"Bonjour"}],"max_tokens":8}'
        try:
            async with self.session("graine") as (_, awake), awake.ask("/v1/chat/completions", body) as reply:
                async for _ in reply.body:
                    pass
                sealed = getattr(awake, "sealed", None) or "?"
                if sealed == "no":
                    return Check("engine_open", reply.status == 200, {"engine": "llama"})
                return Check("engine", reply.status == 200, {"engine": "llama", "sealed": sealed})
        except DomicileError as error:
            return Check("engine", False, {"engine": "llama"}, error)

    async def _doctor_hub(self) -> Check:
        host = urlsplit(self.settings.hub).hostname
        try:
            await self.hub.reach()
        except DomicileError as error:
            return Check("hub", False, {"host": host}, error)
        return Check("hub", True, {"host": host})
