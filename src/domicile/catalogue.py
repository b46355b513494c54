"""The models we recommend, by need and by organisation, and the standard list of those that run in a browser tab.

Reviewed data that comes with the package (`catalogue.toml`, `webllm.json`), with the person's own file over it. Knows
no machine and no network: whether a model fits here is asked of `fit`, what it weighs today of the Hub.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from domicile.errors import BadField

Need = Literal["quick", "balanced", "quality", "code", "reasoning", "speech", "image", "embedding", "vision"]
NEEDS: tuple[Need, ...] = get_args(Need)
"""In the order they are shown; their words are `need.<name>` in the locale."""

_HERE = Path(__file__).parent
_FILE_LIMIT = 2**20
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_QUANTISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Recommended:
    """A model somebody looked at. Unknown is None: its repository says it."""

    id: str
    name: str
    needs: tuple[Need, ...]
    organisation: str
    repository: str
    """Where its makers publish it."""
    best_for: Mapping[str, str]
    """A sentence in each language."""
    gguf: str | None = None
    """A repository with its GGUF files."""
    quantisation: str | None = None
    size_bytes: int | None = None
    """Of that quantisation's file."""
    parameters: int | None = None
    active: int | None = None
    """Parameters that each token touches, when they are not all."""
    context: int | None = None
    licence: str | None = None
    year: int | None = None

    @property
    def reference(self) -> str:
        """What to type after `domicile pull`."""
        if self.gguf is None:
            return self.repository
        return f"{self.gguf}:{self.quantisation}" if self.quantisation else self.gguf

    def public(self, lang: str = "en") -> dict[str, Any]:
        best = self.best_for.get(lang) or next(iter(self.best_for.values()))
        shown = {k: v for k, v in asdict(self).items() if k != "best_for"}
        return {**shown, "reference": self.reference, "best_for": best}


def recommended(
    need: Need | None = None, organisation: str | None = None, *, home: Path | None = None
) -> tuple[Recommended, ...]:
    """The catalogue in its own order, with the person's file (`<home>/catalogue.toml`) over it.

    Raises `BadField` for a need that does not exist and for a file that cannot be used, naming file, entry and field.
    """
    if need is not None and need not in NEEDS:
        raise BadField(field="need", problem=", ".join(NEEDS))
    wanted = organisation.casefold() if organisation is not None else None
    return tuple(
        model
        for model in _everything(home)
        if (need is None or need in model.needs) and (wanted is None or model.organisation.casefold() == wanted)
    )


def organisations(*, home: Path | None = None) -> tuple[str, ...]:
    """Who makes them, in the order of the alphabet."""
    return tuple(sorted({model.organisation for model in _everything(home)}, key=str.casefold))


@cache
def webllm() -> tuple[Mapping[str, Any], ...]:
    """The records of web-llm's own list (`prebuiltAppConfig.model_list`), as its engine takes them."""
    kept = json.loads((_HERE / "webllm.json").read_text("utf-8"))
    bases: Mapping[str, str] = kept["bases"]
    return tuple(
        MappingProxyType({name: bases.get(name, "") + value if name in bases else value for name, value in row.items()})
        for row in kept["models"]
    )


def _everything(home: Path | None) -> tuple[Recommended, ...]:
    ours = _ours()
    file = home / "catalogue.toml" if home is not None else None
    if file is None or not file.is_file():
        return ours
    theirs, hidden = _read(file)
    models = {model.id: model for model in ours}
    models.update({model.id: model for model in theirs})
    return tuple(model for model in models.values() if model.id not in hidden)


@cache
def _ours() -> tuple[Recommended, ...]:
    return _read(_HERE / "catalogue.toml")[0]


def _read(file: Path) -> tuple[tuple[Recommended, ...], frozenset[str]]:
    try:
        with file.open("rb") as opened:
            table = tomllib.loads(opened.read(_FILE_LIMIT).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as trouble:
        raise BadField(field=str(file), problem=str(trouble)) from trouble
    if unknown := sorted(set(table) - {"model", "hide"}):
        raise BadField(field=f"{file}: {unknown[0]}", problem="model, hide")
    listed, hide = table.get("model", []), table.get("hide", [])
    if not isinstance(listed, list):
        raise BadField(field=f"{file}: model", problem="[[model]]")
    if not isinstance(hide, list) or not all(isinstance(name, str) for name in hide):
        raise BadField(field=f"{file}: hide", problem='["id", ...]')
    models: dict[str, Recommended] = {}
    for number, entry in enumerate(listed, 1):
        model = _Entry(file, number, entry).model()
        if model.id in models:
            raise BadField(field=f"{file}: {model.id}", problem="id x 2")
        models[model.id] = model
    return tuple(models.values()), frozenset(hide)


class _Entry:
    """One `[[model]]`, field by field; what is wrong is said with the file, the entry and the field."""

    def __init__(self, file: Path, number: int, entry: object) -> None:
        self._file, self._name = file, f"#{number}"
        self._rest: dict[str, object] = dict(entry) if isinstance(entry, dict) else {}
        if isinstance(said := self._rest.get("id"), str) and _ID.fullmatch(said):
            self._name = said

    def model(self) -> Recommended:
        model = Recommended(
            id=self._text("id", _ID),
            name=self._text("name"),
            needs=self._needs(),
            organisation=self._text("organisation"),
            repository=self._text("repository", _REPOSITORY),
            best_for=self._sentences(),
            gguf=self._maybe("gguf", _REPOSITORY),
            quantisation=self._maybe("quantisation", _QUANTISATION),
            size_bytes=self._count("size_bytes"),
            parameters=self._count("parameters"),
            active=self._count("active"),
            context=self._count("context"),
            licence=self._maybe("licence"),
            year=self._count("year"),
        )
        if self._rest:
            raise self._wrong(min(self._rest), "?")
        return model

    def _wrong(self, field: str, problem: str) -> BadField:
        return BadField(field=f"{self._file}: {self._name}: {field}", problem=problem)

    def _text(self, field: str, form: re.Pattern[str] | None = None) -> str:
        value = self._maybe(field, form)
        if value is None:
            raise self._wrong(field, "-")
        return value

    def _maybe(self, field: str, form: re.Pattern[str] | None = None) -> str | None:
        value = self._rest.pop(field, None)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or len(value) > 200 or not value.isprintable():
            raise self._wrong(field, repr(value)[:80])
        if form is not None and not form.fullmatch(value):
            raise self._wrong(field, repr(value)[:80])
        return value

    def _count(self, field: str) -> int | None:
        value = self._rest.pop(field, None)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63):
            raise self._wrong(field, repr(value)[:80])
        return value

    def _needs(self) -> tuple[Need, ...]:
        value = self._rest.pop("needs", None)
        if not isinstance(value, list) or not value or not all(need in NEEDS for need in value):
            raise self._wrong("needs", ", ".join(NEEDS))
        return tuple(dict.fromkeys(value))

    def _sentences(self) -> Mapping[str, str]:
        value = self._rest.pop("for", None)
        if isinstance(value, str):
            value = {"en": value, "fr": value}
        if not isinstance(value, dict) or not value:
            raise self._wrong("for", "for.en, for.fr")
        for lang, sentence in value.items():
            if lang not in {"en", "fr"} or not isinstance(sentence, str) or not 0 < len(sentence) <= 200:
                raise self._wrong(f"for.{lang}", repr(sentence)[:80])
            if any(not c.isprintable() and c not in "\u00a0\u202f" for c in sentence):
                raise self._wrong(f"for.{lang}", repr(sentence)[:80])
        return value
