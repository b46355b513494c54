"""How a person names a model (`ModelRef.parse`), and which names from outside may become paths of ours.

Knows what the Hub, Ollama, Civitai, addresses and files are called; asks none of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from domicile.errors import BadName

EMBEDDED = "graine"
"""The model that comes with the house."""

Kind = Literal["house", "hub", "ollama", "civitai", "url", "file"]
SourceName = Literal["hub", "ollama", "civitai", "url", "file"]
"""Where a model comes from: each is a module of `sources/`."""

# The Hub's own rule (huggingface_hub.utils.validate_repo_id): 96 characters of [A-Za-z0-9-_.], no "--" nor "..",
# not starting or ending with "-" or ".".
_PART = re.compile(r"(?![.\-])(?!.*(?:--|\.\.))[A-Za-z0-9._\-]{1,96}(?<![.\-])")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,99}")
_QUANTISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_HOUSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,95}(?::[A-Za-z0-9][A-Za-z0-9._\-]{0,63})?")
_WEB = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
_VERBS = frozenset({"resolve", "blob", "tree", "raw"})
_OLLAMA = re.compile(r"ollama:(?!//)|(?:https?://)?(?:www\.)?(?:ollama\.com|registry\.ollama\.ai)/", re.IGNORECASE)
# Ollama's own rule (types/model/name.go): 80 characters, a namespace without dots.
_OLLAMA_NAME = re.compile(
    r"(?:(?P<space>[A-Za-z0-9_][A-Za-z0-9_\-]{0,79})/)?(?P<model>[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79})"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}))?"
)
_CIVITAI = re.compile(
    r"civitai:(?://)?(?P<model>[0-9]{1,15})?(?:@(?P<version>[0-9]{1,15}))?"
    r"|urn:air:[a-z0-9_.-]{1,30}:[a-z]{1,30}:civitai:(?P<air>[0-9]{1,15})(?:@(?P<air_version>[0-9]{1,15}))?"
    r"|(?:https?://)?(?:www\.)?civitai\.com/(?:models/(?P<page>[0-9]{1,15})[^?#]*"
    r"|api/download/models/(?P<file>[0-9]{1,15}))(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.IGNORECASE,
)
_CIVITAI_SITE = re.compile(r"(?:https?://)?(?:www\.)?civitai\.com/", re.IGNORECASE)
_OFFICIAL = "library"
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._\-]{1,253})(?::[0-9]{1,5})?")
_LOOKS_LIKE_HUB = re.compile(r"(?:^|\.)(?:huggingface\.co|hf\.co|ollama\.com)\.", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where a model is, as a person names it.

    ::

        reference  = house | hub | ollama | civitai | url | file
        house      = NAME [":" TAG]                       graine        a model installed here, or its alias
        hub        = [site] ORG "/" REPO ["@" REVISION] [choice]
        choice     = ":" QUANTISATION                     org/repo:Q4_K_M
                   | "/" PATH                             org/repo/FILE.gguf   org/repo/folder/FILE.gguf
        site       = ["https://"] ("hf.co" | "huggingface.co") "/"   (also .../resolve/REV/PATH, .../blob/REV/PATH)
        ollama     = registry [NAMESPACE "/"] MODEL [":" TAG]        ollama:llama3.2:3b
        registry   = "ollama:" | ["https://"] ("ollama.com" | "registry.ollama.ai") "/"
        civitai    = "civitai:" MODEL ["@" VERSION]                  civitai:12345   (also its pages and its AIR)
        url        = "https://" HOST "/" ... FILE ["#sha256=" HEX]   https://example.org/models/x.gguf
        file       = "file:" PATH | PATH starting with "/" "./" "../" "~" or a drive | [DIR "/"] NAME ".gguf"

    A quantisation is matched without regard to case. `org/repo` alone means: the variant that suits best. A name of
    the house that is not installed, and has a tag (`llama3.2:3b`), is looked for in Ollama's registry: only its models
    are called so. (`http://` is read as well; the source refuses it, but for places a person has added.)
    """

    kind: Kind
    name: str
    """The house's name, the Hub's `org/repo`, Ollama's `namespace/model`, an address, or the path as it was typed."""
    quantisation: str | None = None
    path: str | None = None
    """A file inside the repository (POSIX, relative)."""
    revision: str | None = None
    """The Hub's branch, tag or commit; Ollama's tag; the sha256 that an address's file must have."""

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read what a person typed. Raises `BadName` with the reason's key."""
        said = text.strip()
        if not said:
            raise BadName(name=text, reason="empty")
        if len(said) > 500:
            raise BadName(name=said[:60] + "…", reason="too_long")
        if any(_is_control(c) for c in said):
            raise BadName(name="".join(c if c.isprintable() else "?" for c in said), reason="control")
        if ollama := _OLLAMA.match(said):
            return cls._parse_ollama(said[ollama.end() :].split("?")[0].split("#")[0].strip("/"), text)
        if said.lower().startswith(("civitai:", "urn:air:")) or _CIVITAI_SITE.match(said):
            return cls._parse_civitai(said, text)
        if _looks_like_file(said):
            path = said.removeprefix("file:").strip()
            if not path:
                raise BadName(name=text, reason="empty")
            return cls("file", path)
        site = _WEB.match(said)
        if site:
            said = said[site.end() :].split("?")[0].split("#")[0].strip("/")
        elif "://" in said:
            return cls._parse_url(said)
        if "/" not in said:
            if site or not _HOUSE.fullmatch(said):
                raise BadName(name=text, reason="form")
            return cls("house", said)
        # What a browser's address bar gives is percent-encoded, part by part.
        return cls._parse_hub([unquote(part) if site else part for part in said.split("/")], text)

    @classmethod
    def _parse_hub(cls, parts: list[str], text: str) -> ModelRef:
        organisation, repo, rest = parts[0], parts[1], parts[2:]
        quantisation: str | None = None
        revision: str | None = None
        if not rest and ":" in repo:
            repo, quantisation = repo.split(":", 1)
        if "@" in repo:
            repo, revision = repo.split("@", 1)
        if len(rest) >= 2 and rest[0] in _VERBS and revision is None:
            revision, rest = rest[1], rest[2:]
        if not (_PART.fullmatch(organisation) and _PART.fullmatch(repo)) or _WEB.match(f"{organisation}/"):
            raise BadName(name=text, reason="form")
        if revision is not None and not _REVISION.fullmatch(revision):
            raise BadName(name=text, reason="revision")
        if quantisation is not None and not _QUANTISATION.fullmatch(quantisation):
            raise BadName(name=text, reason="quantisation")
        path = "/".join(rest) or None
        if path is not None and not is_safe_path(path):
            raise BadName(name=text, reason="path")
        return cls("hub", f"{organisation}/{repo}", quantisation, path, revision)

    @classmethod
    def _parse_civitai(cls, said: str, text: str) -> ModelRef:
        found = _CIVITAI.fullmatch(said)
        if found is None:
            raise BadName(name=text, reason="civitai")
        chosen = re.search(r"(?:^|&)modelVersionId=([0-9]{1,15})(?:&|$)", found["query"] or "")
        name = found["model"] or found["air"] or found["page"] or ""
        version = found["version"] or found["air_version"] or found["file"] or (chosen[1] if chosen else None)
        if not name and not version:
            raise BadName(name=text, reason="civitai")
        return cls("civitai", name, revision=version)

    @classmethod
    def _parse_ollama(cls, said: str, text: str) -> ModelRef:
        found = _OLLAMA_NAME.fullmatch(said)
        if found is None:
            raise BadName(name=text, reason="ollama")
        name, tag = f"{found['space'] or _OFFICIAL}/{found['model']}", found["tag"] or "latest"
        if not is_safe_path(f"{name}/{tag}"):
            raise BadName(name=text, reason="ollama")
        return cls("ollama", name, revision=tag)

    @classmethod
    def _parse_url(cls, said: str) -> ModelRef:
        address, _, fragment = said.partition("#")
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as trouble:
            raise BadName(name=said, reason="url") from trouble
        if parts.scheme not in {"http", "https"}:
            raise BadName(name=said, reason="other_site")
        if port == 0 or not _HOST.fullmatch(parts.netloc) or "\\" in address or not address.isascii() or " " in address:
            raise BadName(name=said, reason="url")
        if _LOOKS_LIKE_HUB.search(parts.netloc):
            raise BadName(name=said, reason="look_alike")
        if not is_safe_path(file_of(address)):
            raise BadName(name=said, reason="url_file")
        digest = fragment.lower().removeprefix("sha256=")
        if fragment.lower().startswith("sha256=") and not _SHA256.fullmatch(digest):
            raise BadName(name=said, reason="sha256")
        return cls("url", address, revision=digest if _SHA256.fullmatch(digest) else None)

    def __str__(self) -> str:
        if self.kind == "house":
            return self.name
        if self.kind == "ollama":
            return f"ollama:{self.name.removeprefix(_OFFICIAL + '/')}:{self.revision}"
        if self.kind == "civitai":
            return f"civitai:{self.name}" + (f"@{self.revision}" if self.revision else "")
        if self.kind == "url":
            return f"{self.name}#sha256={self.revision}" if self.revision else self.name
        if self.kind == "file":
            plain = _looks_like_file(self.name) and not self.name.startswith("file:")
            return self.name if plain else f"file:{self.name}"
        at = f"@{self.revision}" if self.revision else ""
        choice = f":{self.quantisation}" if self.quantisation else f"/{self.path}" if self.path else ""
        said = f"{self.name}{at}{choice}"
        return f"hf.co/{said}" if _looks_like_file(said) else said  # a repository may be called x.gguf


def file_of(address: str) -> str:
    """The name of the file that an address ends with, decoded; empty when it ends with a folder."""
    return unquote(urlsplit(address).path.rsplit("/", 1)[-1])


def _looks_like_file(said: str) -> bool:
    if said.startswith(("file:", "/", "./", "../", "~", ".\\", "..\\", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", said):
        return True
    return said.lower().endswith(".gguf") and said.count("/") < 2 and "://" not in said and not _WEB.match(said)


def _is_control(c: str) -> bool:
    return ord(c) < 32 or 127 <= ord(c) < 160


_RESERVED = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"),
    }
)


_OURS = (".partial", ".partial.journal", ".partial.lock")
"""Endings of the files that stand for one that is not whole yet: a file of theirs must not pass for one of ours."""


def is_safe_path(path: str) -> bool:
    """May this name from outside become a relative path of ours, on POSIX and on Windows alike?

    Refuses traversal, absolute, drive and UNC paths, NUL and control characters, device names, trailing dots
    and spaces, and parts of more than 200 bytes. (CVE-2024-37032, CVE-2026-15717: one function for the product.)
    """
    if not path or len(path.encode("utf-8", "replace")) > 1000 or path[0] in "/\\":
        return False
    for part in path.split("/"):
        if (
            not part
            or part in {".", ".."}
            or part[-1] == "."
            or part[-1].isspace()
            or len(part.encode("utf-8", "replace")) > 200
        ):
            return False
        if any(c in '\\:*?"<>|' or _is_control(c) or 0xD800 <= ord(c) <= 0xDFFF for c in part):
            return False
        if part.split(".")[0].rstrip().lower() in _RESERVED or part.lower().endswith(_OURS):
            return False
    return True


def clashing(paths: Iterable[str]) -> frozenset[str]:
    """Of paths that are each safe: those that would meet on a disk that ignores case or the form of accents.

    One file would take the other's place, or a folder's. None of them is taken: nobody can tell which is meant.
    """
    by_folded: dict[str, set[str]] = {}
    for path in set(paths):
        parts = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold()).split("/")
        by_folded.setdefault("/".join(parts), set()).add(path)
        for depth in range(1, len(parts)):
            by_folded.setdefault("/".join(parts[:depth]), set()).add("/".join(path.split("/")[:depth]) + "/")
    clashes = [names for names in by_folded.values() if len(names) > 1]
    folders = tuple(n for names in clashes for n in names if n.endswith("/"))
    return frozenset(p for p in paths if any(p in names for names in clashes) or p.startswith(folders))
