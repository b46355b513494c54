"""Derived models: what each adds to the model whose files it shares, kept, and applied to a question.

A derived model is a model of the library with a `Recipe` beside it. Its answers come from the same files, so that
unless it changes how they are loaded it is asked of the model it comes from, which is awake once for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domicile.db import Database
from domicile.dialects.modelfile import Recipe
from domicile.dialects.ollama import options_of
from domicile.errors import ModelNotFound
from domicile.library import Library
from domicile.types import Installed


class Recipes:
    """One for a house."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    def of(self, name: str) -> Recipe | None:
        """What a model adds; None for one that is as its files are."""
        rows = self._database.read("SELECT recipe FROM recipes WHERE name = ?", name)
        return Recipe.of_json(rows[0]["recipe"]) if rows else None

    def keep(self, name: str, recipe: Recipe) -> None:
        with self._database.write() as w:
            w.execute("INSERT OR REPLACE INTO recipes VALUES (?, ?)", (name, recipe.to_json()))

    def forget(self, name: str) -> None:
        with self._database.write() as w:
            w.execute("DELETE FROM recipes WHERE name = ?", (name,))

    def context(self, name: str) -> int | None:
        """The context, in tokens, that a derived model wants to be woken with."""
        recipe = self.of(name)
        wanted = recipe.parameters.get("num_ctx") if recipe else None
        return wanted if isinstance(wanted, int) and wanted > 0 else None

    def weights(self, model: Installed) -> Installed:
        """The model to wake for this one: the one it comes from, where that is here and loads the same way."""
        recipe = self.of(model.name)
        if recipe is None or recipe.adapters or recipe.parameters.get("num_ctx"):
            return model
        try:
            base = self._library.get(recipe.base)
        except ModelNotFound:
            return model
        if base.missing or base.files != model.files:
            return model
        return base if base.name == model.name else self.weights(base)


def applied(recipe: Recipe, data: Mapping[str, Any]) -> dict[str, Any]:
    """A question in OpenAI's shape, as the derived model is asked it: what the question itself says wins."""
    options, _ = options_of(recipe.parameters)
    made = {**{k: v for k, v in options.items() if data.get(k) is None}, **data}
    if "max_completion_tokens" in data and data.get("max_tokens") is None:
        made.pop("max_tokens", None)
    messages = data.get("messages")
    if isinstance(messages, list):
        made["messages"] = _with(recipe, messages)
    return made


def _with(recipe: Recipe, messages: list[Any]) -> list[Any]:
    roles = [m.get("role") for m in messages if isinstance(m, dict)]
    own = [m for m in recipe.messages if m.get("role") != "system" or "system" not in roles]
    if recipe.system and "system" not in roles and "developer" not in roles:
        own = [{"role": "system", "content": recipe.system}, *own]
    if roles[:1] in (["system"], ["developer"]):
        return [messages[0], *own, *messages[1:]]
    return [*own, *messages]
