"""What a model can do, read from its header: what Ollama's clients ask before they offer tools or images."""

from __future__ import annotations

import re

from domicile.app import House
from domicile.types import PICTURES, Facts, Installed

_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"enable_thinking|</think>|<think>|reasoning_content|thinking")


async def facts_of(house: House, model: Installed) -> Facts:
    """What the header says; read once, kept by the adviser."""
    return (await house.adviser.of(model)).facts


async def capabilities(house: House, model: Installed) -> list[str]:
    """`completion`, `tools`, `thinking`, `insert`, `vision`, `embedding`, as Ollama says; `rerank`, `image` (ours)."""
    known = await house.adviser.of(model)
    return of(known.facts, sees=await house.sees(model, known))


def of(facts: Facts, *, sees: bool = False) -> list[str]:
    if facts.task == "feature-extraction":
        return ["embedding"]
    if facts.task == "text-ranking":
        return ["rerank"]
    if facts.task in PICTURES:
        return ["image"]
    template = facts.chat_template or ""
    found = ["completion"]
    if _TOOLS.search(template):
        found.append("tools")
    if _THINKING.search(template):
        found.append("thinking")
    if facts.extra.get("fim"):
        found.append("insert")
    if sees:
        found.append("vision")
    return found
