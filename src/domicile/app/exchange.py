"""The house, the part that deals with other tools: what they have is adopted, what is here is given to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile.app.rooms import Rooms
from domicile.errors import NotAdoptable
from domicile.types import Job

if TYPE_CHECKING:
    from domicile.giving import Via
    from domicile.jobs import Progress


class Exchange(Rooms):
    """What `House` does with the models of other tools."""

    async def adopt(self, wanted: Mapping[str, object]) -> Job:
        """Take in what other tools have: `{"models": [id, ...]}`, `{"path": absolute}` or `{"all": true}`."""
        named = wanted.get("models")
        said = ", ".join(map(str, named)) if isinstance(named, list) else str(wanted.get("path") or "*")
        return await self.jobs.start("adopt", said[:500], dict(wanted))

    async def _adopt(self, wanted: Mapping[str, object], progress: Progress) -> Mapping[str, object]:
        progress.step("adopt")
        named, path = wanted.get("models"), wanted.get("path")
        if isinstance(named, list):
            offers = [await self.adoption.named(str(name)) for name in named]
        else:
            offers = await self.adoption.offers(Path(str(path)) if path else None)
            if path and not offers:
                raise NotAdoptable(name=str(path), n=0, reason="path")
        taken, refused = await self.adoption.take(offers)
        if len(offers) == len(refused) == 1:
            raise refused[0][1]
        told = [{"id": offer.id, **self._describe(error)} for offer, error in refused]
        return {"adopted": [t.public() for t in taken], "refused": told}

    async def export(self, name: str, wanted: Mapping[str, object]) -> Job:
        """Give a model to Ollama: `{"as": ..., "via": "auto" | "link" | "api", "force": false}`."""
        model = self.library.ready(name)
        return await self.jobs.start("export", model.name, {**wanted, "model": model.name})

    async def _export(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        model = self.library.ready(wanted["model"])
        via: Via = wanted.get("via") or "auto"
        force = bool(wanted.get("force"))
        given = await self.giving.to_ollama(model, wanted.get("as"), progress, via=via, force=force)
        return {**given.public(), "size_bytes": model.size_bytes}

    async def ollama_pull(self, name: str) -> Job:
        """Have the running Ollama download a model."""
        from domicile.giving import check_name

        check_name(name)
        return await self.jobs.start("ollama_pull", name, {"model": name})

    async def _ollama_pull(self, wanted: Mapping[str, Any], progress: Progress) -> Mapping[str, object]:
        await self.giving.pull(wanted["model"], progress)
        return {"name": wanted["model"]}
