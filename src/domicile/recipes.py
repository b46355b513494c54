"""Derived models: what each adds to the model whose files it shares, kept, and applied to a question.

A derived model is a model of the library with a `Recipe` beside it; one that was taken in from Ollama's store has the
recipe that Ollama keeps for it. Its answers come from the same files, so that unless it changes how they are loaded it
is asked of the model it comes from, which is awake once for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from domicile.db import Database
from domicile.dialects.modelfile import Recipe
from domicile.dialects.ollama import options_of
from domicile.errors import BadField, ModelNotFound
from domicile.gotemplates import usable
from domicile.library import Library
from domicile.types import Installed, Reason


class Recipes:
    """One for a house."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    def of(self, name: str) -> Recipe | None:
        """What a model adds, as it was made here or as Ollama keeps it; None for one that is as its files are."""
        return self.made(name) or self._adopted(name)

    def of_model(self, model: Installed) -> Recipe | None:
        """The same of a model that is at hand: a list of many looks for none of them again."""
        return self.made(model.name) or adopted(model)

    def _adopted(self, name: str) -> Recipe | None:
        try:
            model = self._library.get(name)
        except ModelNotFound:
            return None
        return adopted(model)

    def made(self, name: str) -> Recipe | None:
        """What was kept for a model that was made here."""
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
        if base.missing or base.files != model.files or not self._speaks_like(recipe, base):
            return model
        return base if base.name == model.name else self.weights(base)

    def _speaks_like(self, recipe: Recipe, base: Installed) -> bool:
        """Is it woken with the chat template of the model it comes from? One that cannot be used changes nothing."""
        if not recipe.template:
            return True
        under = self.of(base.name)
        of_base = usable(under.template) if under and under.template else None
        return usable(recipe.template) in {None, of_base}


def adopted(model: Installed) -> Recipe | None:
    """What Ollama adds to a model that was taken in from its store: the template, the system's words and the options
    that make sense. A model of ours that Ollama has as well stays as it is."""
    if model.source != "adopted":
        return None
    copies = [c for c in model.copies if c.owner == "ollama" and c.settings]
    copy = next((c for c in copies if _bare(c.title) == _bare(model.name)), copies[0] if copies else None)
    if copy is None:
        return None
    said = copy.settings.get("parameters")
    options = {name: value for name, value in said.items() if _sound(name, value)} if isinstance(said, dict) else {}
    texts = {name: copy.settings[name] for name in ("template", "system") if isinstance(copy.settings.get(name), str)}
    if not options and not texts:
        return None
    return Recipe(model.name, options, texts.get("template", ""), texts.get("system", ""))


def _bare(name: str) -> str:
    return name.lower().removesuffix(":latest").removeprefix("hf.co/").removeprefix("huggingface.co/")


def _sound(name: str, value: object) -> bool:
    """Is it an option that can be applied? A store of another tool may hold anything."""
    try:
        options_of({name: value})
    except BadField:
        return False
    return name != "stop" or all(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))


def brought(recipe: Recipe) -> Iterator[tuple[str, Any, Reason]]:
    """What comes with a model and holds for each question that says nothing else: name, value, why."""
    if recipe.system:
        yield "system", recipe.system, Reason("tune.brought", {})
    for name, value in recipe.parameters.items():
        options, asked = options_of({name: value})
        used = bool(options or asked.context)
        yield name, value, Reason("tune.brought" if used else "tune.brought_unused", {})


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
