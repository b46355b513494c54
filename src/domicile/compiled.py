"""The compiled library (WebAssembly) that an MLC model needs in a browser: which one, and where it lies here.

It is the one a person named, else the one of web-llm's list, else one made for the same shape (`mlc_libs`). It comes
through the same doors as weights, and is kept beside them: a browser asks nobody but the house.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domicile import catalogue, mlc_libs
from domicile.download import Wanted
from domicile.errors import DomicileError, NothingToRun
from domicile.sources import Sources
from domicile.types import Repository

CONFIG = "mlc-chat-config.json"


def standard(repository: str | None) -> Mapping[str, Any]:
    """What web-llm's own list says of a repository of its makers; empty for any other."""
    wanted = f"https://huggingface.co/{repository}".lower()
    return next((r for r in catalogue.webllm() if str(r["model"]).rstrip("/").lower() == wanted), {})


async def address(repository: Repository, said: str | None, sources: Sources) -> str:
    """Where its library is. Raises `NothingToRun` when none is known that fits."""
    found = said or standard(repository.id).get("model_lib")
    if found is None and repository.source == "hub":
        config = json.loads(await sources.hub.document(repository, CONFIG))
        found = mlc_libs.propose(config, repository.id.rsplit("/", 1)[-1]) if isinstance(config, dict) else None
    if not found:
        raise NothingToRun(name=repository.id, reason="no_library")
    return str(found)


async def wanted(repository: Repository, said: str | None, sources: Sources, place: Path) -> Wanted | DomicileError:
    """The library to fetch into the model's folder; or why there is none, which does not keep the weights away."""
    try:
        library = await sources.url.library(await address(repository, said, sources))
    except DomicileError as trouble:
        return trouble
    except (ValueError, RecursionError):  # a configuration that cannot be read
        return NothingToRun(name=repository.id, reason="no_library")
    (file,) = library.files
    return sources.url.wanted(library, file, place / file.path)
