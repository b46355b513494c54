"""Templates in the language of Ollama: read, recognised as one of a known family, or translated into Jinja."""

from __future__ import annotations

from domicile.gotemplates.families import TEMPLATES, recognise
from domicile.gotemplates.jinja import translated, usable
from domicile.gotemplates.syntax import NotUnderstood, parse, same

__all__ = ["TEMPLATES", "NotUnderstood", "known", "parse", "recognise", "same", "translated", "usable"]


def known(source: str) -> str | None:
    """The family whose template says the same, however it is trimmed and spaced."""
    return next((family.name for family in TEMPLATES if same(source, family.go)), None)
