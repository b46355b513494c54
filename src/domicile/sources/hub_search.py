"""Searching the Hub: what a person asks for, as questions the Hub can answer and a filter over what it returned.

The Hub filters by text, author, task, format, licence, gate and (by whole thousand millions) parameters; quantisation,
size, dates and exact parameters are filtered here, so a page may take several of the Hub's. Knows no HTTP: it is given
a way to ask. Every figure of an answer is checked; one that cannot be used is None, an entry without a name is counted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from domicile import names
from domicile.errors import BadField, HubAnswer
from domicile.plain import line
from domicile.types import Format

PAGES = 50
"""Of the Hub's pages, how many one page of ours may take."""
SEARCH_S = 60.0
"""After this long a page ends with what there is, and a cursor."""
_HUB_PAGE = 100

Sort = Literal["downloads", "likes", "updated", "created", "trending"]
SORTS: Mapping[Sort, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "updated": "lastModified",
    "created": "createdAt",
    "trending": "trendingScore",
}
"""Our names of the orders (`sort.<name>` in the locale) and the Hub's. All are from most to least."""

PAGE_SIZES = (10, 20, 50, 100)

_FORMAT_TAGS: Mapping[Format, str] = {
    "gguf": "gguf",
    "safetensors": "safetensors",
    "onnx": "onnx",
    "mlc": "mlc-llm",
    "diffusers": "diffusers",
}
_SPEECH = "automatic-speech-recognition"

# Bits a weight takes, embeddings and scales included: bytes x 8 / parameters of Llama 3.1 8B, Qwen3 8B and Qwen2.5 7B
# files on the Hub. For an order of size before a repository is opened; a variant's real size is in its description.
_BITS: Mapping[str, float] = {
    "Q2_K": 3.17, "Q3_K_S": 3.65, "Q3_K_M": 4.0, "Q3_K_L": 4.31, "IQ4_XS": 4.43, "IQ4_NL": 4.66, "Q4_0": 4.66,
    "Q4_K_S": 4.67, "Q4_K_M": 4.91, "Q4_K_L": 5.29, "Q5_0": 5.59, "Q5_K_S": 5.58, "Q5_K_M": 5.71, "Q6_K": 6.57,
    "Q8_0": 8.51, "F16": 16.0, "BF16": 16.0, "F32": 32.0, "MXFP4_MOE": 4.34, "MXFP4": 4.34,
}  # fmt: skip
_DTYPE_BYTES: Mapping[str, float] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U8": 1, "BOOL": 1, "U32": 4, "U16": 2, "U64": 8, "F4": 0.5, "I4": 0.5, "U4": 0.5,
}  # fmt: skip
_USUAL = "Q4_K_M"
_WEIGHTS = re.compile(r"\.(?:gguf|safetensors|onnx|bin)(?:$|-\d+-of-)", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}")


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. None and empty mean any. Raises `BadField` when it cannot be asked."""

    text: str = ""
    author: str | None = None
    task: str | None = None
    """A pipeline tag of the Hub: `text-generation`, `automatic-speech-recognition`, `text-to-image`..."""
    parameters_min: int | None = None
    parameters_max: int | None = None
    quantisation: str | None = None
    licence: str | None = None
    """As the Hub spells it: `apache-2.0`, `mit`, `llama3.2`."""
    gated: bool | None = None
    format: Format | None = None
    updated_after: float | None = None
    """Seconds since the epoch (UTC), included."""
    updated_before: float | None = None
    created_after: float | None = None
    created_before: float | None = None
    size_max: int | None = None
    """Bytes of the variant one would usually take, or of the quantisation asked for; estimated before a description."""
    size_min: int | None = None
    downloads_min: int | None = None
    tags: tuple[str, ...] = ()
    """All of these tags of the Hub: a language (`fr`), `base_model:quantized:org/repo`, `moe`..."""
    sort: Sort = "downloads"
    limit: int = 20
    """Results a page, up to 100."""

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= _HUB_PAGE:
            raise BadField(field="limit", problem=f"1-{_HUB_PAGE}")
        if self.sort not in SORTS:
            raise BadField(field="sort", problem=", ".join(SORTS))
        if self.format is not None and self.format not in get_args(Format):
            raise BadField(field="format", problem=", ".join(get_args(Format)))
        for name in ("text", "author", "task", "quantisation", "licence"):
            said = getattr(self, name)
            if said is not None and (len(said) > 200 or any(ord(c) < 32 or ord(c) == 127 for c in said)):
                raise BadField(field=name, problem=line(said, 60))
        for name in _AMOUNTS:
            amount = getattr(self, name)
            if amount is not None and not (0 <= amount < 2**63 and math.isfinite(amount)):
                raise BadField(field=name, problem=str(amount))
        for low, high in (
            ("parameters_min", "parameters_max"),
            ("size_min", "size_max"),
            ("updated_after", "updated_before"),
            ("created_after", "created_before"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise BadField(field=low, problem=f"{least} > {most}")


_AMOUNTS = (
    "parameters_min",
    "parameters_max",
    "size_min",
    "size_max",
    "downloads_min",
    "updated_after",
    "updated_before",
    "created_after",
    "created_before",
)


@dataclass(frozen=True, slots=True)
class Found:
    """A repository as a search shows it. Text in it came from outside: safe to show, not safe as markup."""

    id: str
    author: str
    task: str | None = None
    downloads: int | None = None
    """Of the last thirty days."""
    likes: int | None = None
    updated: float | None = None
    created: float | None = None
    gated: bool = False
    licence: str | None = None
    formats: tuple[Format, ...] = ()
    parameters: int | None = None
    active_parameters: int | None = None
    """Touched for each token, by the name of a mixture of experts."""
    context: int | None = None
    architecture: str | None = None
    quantisations: tuple[str, ...] = ()
    """Known only when the question was about them: the Hub lists files on demand."""
    size_bytes: int | None = None
    """About how much the usual variant (or the quantisation asked for) is to download."""
    library: str | None = None
    tags: tuple[str, ...] = ()

    def public(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Page:
    """Results, and where to go on. `cursor` None means that there is no more."""

    results: tuple[Found, ...]
    cursor: str | None
    filtered_out: int = 0
    """What the Hub returned and the filters here dropped, to make this page."""
    unreadable: int = 0
    """Entries of the Hub's answers that could not be used."""
    age_s: float = 0.0
    """Of the oldest answer in this page; 0 when the Hub has just given them."""
    stale: bool = False
    """The Hub could not be asked, and this is what it said then."""

    def public(self) -> dict[str, Any]:
        return {
            "results": [found.public() for found in self.results],
            "cursor": self.cursor,
            "filtered_out": self.filtered_out,
            "unreadable": self.unreadable,
            "age_s": round(self.age_s, 3),
            "stale": self.stale,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What the Hub said under a path."""

    body: bytes
    age_s: float
    next: str | None = None
    """The Hub's cursor to the following page of a listing."""
    stale: bool = False


Ask = Callable[[str], Awaitable[Answer]]


async def run(ask: Ask, query: Query, cursor: str | None, host: str) -> Page:
    """One page. Raises `BadField` for a cursor of another query, and what `ask` raises."""
    at, skip = _read_cursor(query, cursor)
    until = time.monotonic() + SEARCH_S
    asked: set[str | None] = set()
    kept: dict[str, Found] = {}
    filtered = unreadable = 0
    age_s, stale = 0.0, False

    def page(onward: str | None, skipped: int = 0, *, over: bool = False) -> Page:
        there = None if over else _write_cursor(query, onward, skipped)
        return Page(tuple(kept.values()), there, filtered, unreadable, age_s, stale)

    while len(asked) < PAGES and time.monotonic() < until:
        asked.add(at)
        answer = await ask(path_of(query, at))
        age_s, stale = max(age_s, answer.age_s), stale or answer.stale
        for place, entry in enumerate(_entries(answer.body, host)):
            if place < skip:
                continue
            if len(kept) == query.limit:
                return page(at, place)
            found = found_in(entry, query.quantisation)
            if found is None:
                unreadable += 1
            elif _is_past(query, found):
                return page(None, over=True)
            elif matches(query, found):
                kept.setdefault(found.id, found)
            else:
                filtered += 1
        if answer.next is None or answer.next in asked:  # a cursor that comes again would go round for ever
            return page(None, over=True)
        at, skip = answer.next, 0
        if len(kept) == query.limit:
            break
    return page(at)


def path_of(query: Query, cursor: str | None) -> str:
    """The Hub's listing that comes closest to a query: `HfApi.list_models`."""
    asked: list[tuple[str, str]] = []
    filters = list(query.tags)
    if query.format is not None and query.format in _FORMAT_TAGS:
        filters.append(_FORMAT_TAGS[query.format])
    if query.licence:
        filters.append(f"license:{query.licence.lower()}")
    asked += [("filter", tag) for tag in filters]
    task = query.task or (_SPEECH if query.format == "whisper" else None)
    for name, value in (("author", query.author), ("pipeline_tag", task), ("search", query.text.strip())):
        if value:
            asked.append((name, value))
    if query.gated is not None:
        asked.append(("gated", "true" if query.gated else "false"))
    if span := _span(query.parameters_min, query.parameters_max):
        asked.append(("num_parameters", span))
    asked.append(("sort", SORTS[query.sort]))
    asked.append(("limit", str(_HUB_PAGE if _filters_here(query) else query.limit)))
    wanted = [*_EXPAND, "siblings"] if _needs_files(query) else _EXPAND
    asked += [("expand", name) for name in wanted]
    if cursor is not None:
        asked.append(("cursor", cursor))
    return f"/api/models?{urlencode(asked)}"


_EXPAND = [
    "author",
    "createdAt",
    "downloads",
    "gated",
    "gguf",
    "lastModified",
    "library_name",
    "likes",
    "pipeline_tag",
    "safetensors",
    "tags",
]


def _needs_files(query: Query) -> bool:
    return query.quantisation is not None or query.format == "whisper"


def _filters_here(query: Query) -> bool:
    """Will the Hub return what is not wanted? Then its pages are asked whole."""
    parameters = (query.parameters_min, query.parameters_max)
    rest = (getattr(query, name) for name in _AMOUNTS if not name.startswith("parameters"))
    return (
        _needs_files(query) or any(p is not None and p % 10**9 for p in parameters) or any(a is not None for a in rest)
    )


def _span(least: int | None, most: int | None) -> str | None:
    """The Hub's own range, in the whole thousand millions its documentation shows, rounded outwards."""
    parts = []
    if least is not None and least >= 10**9:
        parts.append(f"min:{least // 10**9}B")
    if most is not None:
        parts.append(f"max:{max(1, -(-most // 10**9))}B")
    return ",".join(parts) or None


def matches(query: Query, found: Found) -> bool:
    """The filters the Hub has not, and again those it has: a mirror may ignore them. Unknown never matches a bound."""

    def within(value: float | None, least: float | None, most: float | None) -> bool:
        if least is None and most is None:
            return True
        return value is not None and (least is None or value >= least) and (most is None or value <= most)

    return (
        within(found.parameters, query.parameters_min, query.parameters_max)
        and within(found.size_bytes, query.size_min, query.size_max)
        and within(found.updated, query.updated_after, query.updated_before)
        and within(found.created, query.created_after, query.created_before)
        and within(found.downloads, query.downloads_min, None)
        and (query.gated is None or found.gated == query.gated)
        and (query.format is None or query.format in found.formats)
        and (query.task is None or found.task == query.task)
        and (not query.author or found.author.lower() == query.author.lower())
        and (query.licence is None or (found.licence or "").lower() == query.licence.lower())
        and (query.quantisation is None or query.quantisation.lower() in {q.lower() for q in found.quantisations})
    )


def _is_past(query: Query, found: Found) -> bool:
    """In this order, is nothing that follows wanted any more?"""
    value, least = {
        "updated": (found.updated, query.updated_after),
        "created": (found.created, query.created_after),
        "downloads": (found.downloads, query.downloads_min),
    }.get(query.sort, (None, None))
    return value is not None and least is not None and value < least


# --- reading an answer ---


def _entries(body: bytes, host: str) -> list[object]:
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError) as trouble:
        raise HubAnswer(host=host, problem="JSON") from trouble
    if not isinstance(listed, list):
        raise HubAnswer(host=host, problem="/api/models")
    return listed


def found_in(entry: object, quantisation: str | None = None) -> Found | None:
    """One model of the Hub's API (`ModelInfo`); None for one that has no usable name."""
    if not isinstance(entry, dict):
        return None
    name = entry.get("id", entry.get("modelId"))
    if not isinstance(name, str) or not _ID.fullmatch(name) or ".." in name:
        return None
    tags = _tags(entry.get("tags"))
    gguf, safetensors = _table(entry.get("gguf")), _table(entry.get("safetensors"))
    paths = _paths(entry.get("siblings"))
    hint = names.read(name.split("/")[1])
    task = entry.get("pipeline_tag")
    formats = tuple(_formats(tags, task, name, paths, gguf))
    parameters = _count(gguf.get("total")) or _count(safetensors.get("total")) or _thousands(hint.parameters_b)
    quantisations = _quantisations(paths, hint.quantisation)
    return Found(
        id=name,
        author=name.split("/")[0],
        task=line(task) if isinstance(task, str) else None,
        downloads=_count(entry.get("downloads")),
        likes=_count(entry.get("likes")),
        updated=_moment(entry.get("lastModified")),
        created=_moment(entry.get("createdAt")),
        gated=bool(entry.get("gated")),
        licence=next((t.removeprefix("license:") for t in tags if t.startswith("license:")), None),
        formats=formats,
        parameters=parameters,
        active_parameters=_thousands(hint.active_b),
        context=_count(gguf.get("context_length")),
        architecture=line(said) if isinstance(said := gguf.get("architecture"), str) else None,
        quantisations=quantisations,
        size_bytes=_size(formats, parameters, safetensors, quantisation, quantisations),
        library=line(said) if isinstance(said := entry.get("library_name"), str) else None,
        tags=tags,
    )


def _formats(
    tags: tuple[str, ...], task: object, name: str, paths: list[str], gguf: Mapping[str, Any]
) -> Iterator[Format]:
    for form, tag in _FORMAT_TAGS.items():
        if tag in tags or (form == "gguf" and gguf):
            yield form
    if task == _SPEECH and _is_whisper(name, tags, paths):
        yield "whisper"


def _is_whisper(name: str, tags: tuple[str, ...], paths: list[str]) -> bool:
    """CTranslate2 (faster-whisper) or whisper.cpp: by tag, by files, and by name where the files were not asked."""
    if paths:
        return "ctranslate2" in tags or any(re.search(r"(?:^|/)ggml-[^/]+\.bin$", path) for path in paths)
    return "ctranslate2" in tags or bool(re.search(r"faster-whisper|whisper\.cpp", name, re.IGNORECASE))


def _size(
    formats: tuple[Format, ...],
    parameters: int | None,
    safetensors: Mapping[str, Any],
    quantisation: str | None,
    there: tuple[str, ...],
) -> int | None:
    if "gguf" in formats:
        label = (quantisation or "").upper().removeprefix("UD-") or (
            _USUAL if not there or _USUAL in there else there[0]
        )
        bits = _BITS.get(label)
        return int(parameters * bits / 8) if parameters and bits else None
    total = 0.0
    for dtype, count in _table(safetensors.get("parameters")).items():
        if dtype not in _DTYPE_BYTES or (known := _count(count)) is None:
            return None
        total += known * _DTYPE_BYTES[dtype]
    return int(total) or None


def _quantisations(paths: list[str], of_name: str | None) -> tuple[str, ...]:
    if not paths:
        return ()
    labels = [names.read(p).quantisation for p in paths if _WEIGHTS.search(p)]
    return tuple(dict.fromkeys(label for label in [*labels, of_name] if label))


def _paths(siblings: object) -> list[str]:
    listed = siblings if isinstance(siblings, list) else []
    told = [e.get("rfilename") for e in listed if isinstance(e, dict)]
    return [p for p in told if isinstance(p, str) and len(p) <= 1000]


def _tags(said: object) -> tuple[str, ...]:
    listed = said if isinstance(said, list) else []
    return tuple(line(tag) for tag in listed[:500] if isinstance(tag, str))


def _table(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def _count(said: object) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < 2**63 else None


def _thousands(billions: float | None) -> int | None:
    return round(billions * 1e9) if billions is not None else None


def _moment(said: object) -> float | None:
    """`2026-11-20T23:30:00.000Z`, as seconds since the epoch."""
    if not isinstance(said, str) or len(said) > 40:
        return None
    try:
        when = datetime.fromisoformat(said)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# --- where to go on ---


def _digest(query: Query) -> str:
    return hashlib.sha256(json.dumps(asdict(query), sort_keys=True).encode()).hexdigest()[:12]


def _write_cursor(query: Query, at: str | None, skip: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(query), at, skip]).encode()).decode()


def _read_cursor(query: Query, cursor: str | None) -> tuple[str | None, int]:
    """(the Hub's cursor, entries of that page already dealt with)."""
    if cursor is None:
        return None, 0
    try:
        said = json.loads(base64.b64decode(cursor[:6000].encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        said = None
    match said:
        case [digest, None | str() as at, int() as skip] if digest == _digest(query) and 0 <= skip <= 1000:
            return at, skip
    raise BadField(field="cursor", problem=line(cursor, 40))
