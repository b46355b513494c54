"""Models that a person has defined: an id, a name and an address, and how to run what is there.

Kept in the house's database; taken in and given out as JSON, ours or the `customModels` list of a browser's
localStorage, one at a time also as a link. A link or a file proposes: nothing is added before somebody says so. What an
address really holds is looked at by `custom_probe`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from domicile import catalogue
from domicile.config import Settings
from domicile.custom_probe import Probed, look
from domicile.db import Database
from domicile.errors import BadField, CustomNotFound, DomicileError, MissingField
from domicile.library import Library
from domicile.plain import text as harmless
from domicile.sources import Sources

CustomKind = Literal["gguf", "safetensors", "onnx", "mlc", "remote"]
KINDS: tuple[CustomKind, ...] = get_args(CustomKind)
FRAGMENT = "custom="
"""What the fragment of a shared link begins with."""
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/@+\-]{0,198}[A-Za-z0-9])?")
_URL = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._\-]{1,253})(?::[0-9]{1,5})?(?:/[\x21-\x5b\x5d-\x7e]*)?"
)
_LENGTHS = {"name": 200, "size": 60, "description": 1000}
_LINK_LIMIT = 16_384
_MOST = 10_000
"""Of one file: a list that is longer is no list of a person's models."""
_FORM = "domicile.custom"


@dataclass(frozen=True, slots=True)
class Custom:
    """A definition. Text in it came from outside: safe to show, not safe as markup."""

    id: str
    name: str
    url: str
    kind: CustomKind
    size: str | None = None
    """As it was written: `~1.5 GB`."""
    description: str | None = None
    model_lib: str | None = None
    """MLC: the address of the compiled library that runs it."""
    added_at: float | None = None

    def public(self) -> dict[str, Any]:
        """As the API shows it; an MLC model with the record web-llm takes (`appConfig.model_list`)."""
        shown = asdict(self)
        if self.kind == "mlc" and self.model_lib:
            shown["record"] = {"model": self.url, "model_id": self.id, "model_lib": self.model_lib}
        return shown

    def kept_by_a_browser(self) -> dict[str, Any]:
        """One entry of localStorage's `customModels`."""
        return {
            "id": self.id,
            "name": self.name,
            "url": self.url,
            "size": self.size or "",
            "description": self.description or "",
            "recommended": False,
            "custom": True,
        }


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: what was added, and what was left out with its reason."""

    added: tuple[Custom, ...]
    left_out: tuple[tuple[str, DomicileError], ...]


class Customs:
    """The room of custom models."""

    def __init__(self, settings: Settings, database: Database, library: Library, sources: Sources) -> None:
        self._settings, self._database, self._library, self._sources = settings, database, library, sources

    def list(self) -> list[Custom]:
        """All of them, in the order they were added."""
        rows = self._database.read("SELECT definition, at FROM customs ORDER BY at, id")
        return [Custom(**json.loads(row["definition"]), added_at=row["at"]) for row in rows]

    def find(self, custom_id: str) -> Custom | None:
        return next((c for c in self.list() if c.id.lower() == custom_id.strip().lower()), None)

    def get(self, custom_id: str) -> Custom:
        found = self.find(custom_id)
        if found is None:
            standard = any(record["model_id"].lower() == custom_id.strip().lower() for record in catalogue.webllm())
            raise CustomNotFound(
                id=custom_id[:200], reason="standard" if standard or self._is_taken(custom_id) else None
            )
        return found

    async def check(self, said: Mapping[str, Any]) -> tuple[Custom, Probed]:
        """Read a form and look at its address. Raises `MissingField`, `BadField` with the field, and what is wrong
        with the address; a kind and an MLC library that were not given are those that were found."""
        custom = read(said)
        if self._is_taken(custom.id):
            raise BadField(field="id", problem=custom.id, reason="taken")
        probed = await look(custom.url, said.get("kind"), custom.id, self._sources)
        kind = cast("CustomKind", probed.kind)
        return replace(custom, kind=kind, model_lib=custom.model_lib or probed.model_lib), probed

    async def add(self, said: Mapping[str, Any], *, unchecked: bool = False) -> tuple[Custom, Probed | None]:
        """Enter a definition; `unchecked` without looking at its address (away from any network)."""
        if unchecked:
            custom = read(said)
            return self._keep([custom])[0], None
        custom, probed = await self.check(said)
        return self._keep([custom])[0], probed

    async def look_again(self, custom_id: str) -> tuple[Custom, Probed]:
        """Look at the address of a model that is here, and keep the library that was missing (a browser's list has
        none)."""
        custom = self.get(custom_id)
        probed = await look(custom.url, custom.kind, custom.id, self._sources)
        found = replace(custom, model_lib=custom.model_lib or probed.model_lib)
        with self._database.write() as w:
            w.execute("UPDATE customs SET definition = ? WHERE id = ?", (_written(found), custom.id))
        return found, probed

    def remove(self, custom_id: str) -> Custom:
        """Forget a definition. Raises `CustomNotFound` for what is not a custom model: this door is for those alone.
        Files that were downloaded stay, and are the library's."""
        found = self.get(custom_id)
        with self._database.write() as w:
            w.execute("DELETE FROM customs WHERE id = ?", (found.id,))
        return found

    def take_in(self, said: object) -> Imported:
        """Enter every definition of a file; those that cannot be read, or whose id is taken, are left out and named."""
        added: list[Custom] = []
        left: list[tuple[str, DomicileError]] = []
        for number, entry in enumerate(definitions(said), 1):
            shown = entry.get("id") if isinstance(entry, Mapping) else None
            name = harmless(shown)[:200] if isinstance(shown, str) and shown else f"#{number}"
            try:
                if not isinstance(entry, Mapping):
                    raise BadField(field=name, problem=type(entry).__name__)
                added += self._keep([read(entry)])
            except DomicileError as error:
                left.append((name, error))
        return Imported(tuple(added), tuple(left))

    def _keep(self, customs: Sequence[Custom]) -> Sequence[Custom]:
        kept = []
        for custom in customs:
            if self._is_taken(custom.id):
                raise BadField(field="id", problem=custom.id, reason="taken")
            entered = replace(custom, added_at=time.time())
            with self._database.write() as w:
                w.execute("INSERT INTO customs VALUES (?, ?, ?)", (custom.id, _written(custom), entered.added_at))
            kept.append(entered)
        return kept

    def _is_taken(self, custom_id: str) -> bool:
        """Is this the id of a custom model, or the name of one that lives here? One of web-llm's list may be defined
        again: a person may have a better place for it."""
        said = custom_id.strip().lower()
        return self.find(said) is not None or any(model.name.lower() == said for model in self._library.list())


# -- as JSON --


def read(said: Mapping[str, Any]) -> Custom:
    """A definition, field by field. Raises `MissingField` or `BadField` naming the field."""
    texts: dict[str, str | None] = {}
    for field in ("id", "name", "url", "size", "description", "kind", "model_lib"):
        value = said.get(field)
        if value is None or (isinstance(value, str) and not value.strip()):
            if field in {"id", "name", "url"}:
                raise MissingField(field=field)
            texts[field] = None
            continue
        if not isinstance(value, str):
            raise BadField(field=field, problem=json.dumps(value, default=str)[:80], reason="text")
        texts[field] = value.strip()
    custom_id, name, url = str(texts["id"]), str(texts["name"]), str(texts["url"])
    if not _ID.fullmatch(custom_id):
        raise BadField(field="id", problem=harmless(custom_id)[:80], reason="custom_id")
    for field, most in _LENGTHS.items():
        value = texts[field] or ""
        if len(value) > most or harmless(value) != value:
            raise BadField(field=field, problem=harmless(value)[:60], reason="custom_text", limit=most)
    for field in ("url", "model_lib"):
        value = texts[field]
        if value is not None and (len(value) > 2000 or not _URL.fullmatch(value)):
            raise BadField(field=field, problem=harmless(value)[:120], reason="url")
    kind = texts["kind"]
    if kind not in {None, *KINDS}:
        raise BadField(field="kind", problem=str(kind)[:40], reason="one_of", allowed=", ".join(KINDS))
    return Custom(
        id=custom_id,
        name=name,
        url=url,
        kind=kind or kind_of(url),
        size=texts["size"],
        description=texts["description"],
        model_lib=texts["model_lib"],
    )


def kind_of(url: str) -> CustomKind:
    """What an address looks like; MLC where it shows nothing, as in the browser list this form comes from."""
    path = url.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0].rstrip("/").lower()
    for kind in ("gguf", "safetensors", "onnx"):
        if path.endswith((f".{kind}", f"-{kind}")):
            return kind
    return "remote" if path.endswith("/v1") else "mlc"


def definitions(said: object) -> Sequence[object]:
    """The entries of a file: ours, a browser's list, a whole export that holds one, or any of these as a text."""
    for _ in range(3):  # localStorage keeps a text, and what is copied from a console is a text of that text
        if isinstance(said, str):
            beginning = harmless(said[:60])
            try:
                said = json.loads(said)
            except (ValueError, RecursionError) as trouble:
                raise BadField(field="models", problem=beginning, reason="custom_file") from trouble
        elif isinstance(said, Mapping):
            said = said.get("customModels", said.get("models", said))
    if isinstance(said, Mapping) and "id" in said:
        said = [said]
    if not isinstance(said, list) or len(said) > _MOST:
        raise BadField(field="models", problem=type(said).__name__, reason="custom_file")
    return said


def exported(customs: Sequence[Custom]) -> dict[str, Any]:
    """Our own file."""
    models = [{k: v for k, v in asdict(c).items() if v is not None and k != "added_at"} for c in customs]
    return {"form": _FORM, "version": 1, "models": models}


def _written(custom: Custom) -> str:
    return json.dumps({k: v for k, v in asdict(custom).items() if k != "added_at"})


def link(custom: Custom, base: str) -> str:
    """A link that carries a definition in its fragment, which no server is sent."""
    definition = {k: v for k, v in asdict(custom).items() if v is not None and k != "added_at"}
    packed = base64.urlsafe_b64encode(json.dumps(definition, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{base.rstrip('/')}/#{FRAGMENT}{packed}"


def of_link(said: str) -> Custom:
    """The definition in a link, or in its fragment. Raises `BadField`. Nothing is added."""
    packed = said.strip().rpartition(FRAGMENT)[2]
    try:
        if len(packed) > _LINK_LIMIT:
            raise ValueError(len(packed))
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        definition = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError) as trouble:
        raise BadField(field="link", problem=said[:60], reason="custom_link") from trouble
    if not isinstance(definition, dict):
        raise BadField(field="link", problem=said[:60], reason="custom_link")
    return read(definition)
