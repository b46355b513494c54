"""The house, the part that makes models of models: a copy of a name, a recipe over weights that are here."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from domicile.app.rooms import Rooms
from domicile.errors import BadField, BadName
from domicile.types import Installed

if TYPE_CHECKING:
    from domicile.dialects.modelfile import Recipe

_NEW_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}(/[A-Za-z0-9][\w.-]{0,79}){0,2}(:[\w.-]{1,80})?", re.ASCII)


class Derived(Rooms):
    """What `House` does to make one model of another. Files are shared, never copied."""

    async def create(self, name: str, recipe: Recipe, digest: str | None = None) -> Installed:
        """A derived model: it shares the files of the one it comes from, or is made of a file that was sent.
        Raises `BadField` for a name that is taken by a model that was not made so."""
        name = self._free_name(name)
        if digest is not None:
            path = self.blobs.get(digest)
            facts = (await self.adviser.known(str(path))).facts  # raises what is wrong with it
            size = path.stat().st_size
            made = Installed(name, path, "gguf", size, "file", files=(path,), quantisation=facts.quantisation)
            recipe = replace(recipe, base=str(path))
        else:
            base = self.library.ready(recipe.base)
            made = _derived(name, base)
            recipe = _over(recipe, base.name, self.recipes.of(base.name))
        self.library.add(made)
        self.recipes.keep(name, recipe)
        return self.library.get(name)

    def copy(self, source: str, name: str) -> Installed:
        """Another name for a model; its files are shared."""
        model = self.library.ready(source)
        name = self._free_name(name)
        from domicile.dialects.modelfile import Recipe

        recipe = self.recipes.of(model.name) or Recipe(model.name)
        self.library.add(_derived(name, model))
        self.recipes.keep(name, recipe)
        return self.library.get(name)

    def _free_name(self, said: str) -> str:
        name = said.strip().removesuffix(":latest")
        if not _NEW_NAME.fullmatch(name):
            raise BadName(name=said[:200])
        present = self.find(name)
        if present is not None and (present.name.lower() != name.lower() or self.recipes.made(present.name) is None):
            raise BadField(field="model", problem=present.name, reason="not_made_here")
        return present.name if present else name


def _derived(name: str, base: Installed) -> Installed:
    """A model of another name with the same files. It is no variant of the repository they came from."""
    source: Literal["hub", "file"] = "hub" if base.source == "hub" else "file"
    bare = replace(base, aliases=(), pinned=False, copies=(), self_test=None, added_at=None, last_used_at=None)
    return replace(bare, name=name, source=source, repository=None, active=False)


def _over(recipe: Recipe, base: str, under: Recipe | None) -> Recipe:
    """What a derived model adds, over what the one it comes from adds already."""
    if under is None:
        return replace(recipe, base=base)
    from domicile.dialects.modelfile import Recipe

    return Recipe(
        under.base if under.adapters == () else base,
        {**under.parameters, **recipe.parameters},
        recipe.template or under.template,
        recipe.system or under.system,
        recipe.messages or under.messages,
        (*under.adapters, *recipe.adapters),
        recipe.licence or under.licence,
    )
