"""The words of the house: small frozen values that every room shares.

Knows how a person names a model (`ModelRef.parse`) and what an installed model, a variant and a job are.
Knows nothing of files, networks or engines. Unknown is `None`, never a guess; sizes are bytes, times are
seconds since the epoch (UTC).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from domicile.errors import BadName

EMBEDDED = "graine"
"""The model that comes with the house."""

Kind = Literal["house", "hub", "file"]

# The Hub's own rule (huggingface_hub.utils.validate_repo_id): 96 characters of [A-Za-z0-9-_.], no "--" nor "..",
# not starting or ending with "-" or ".".
_PART = re.compile(r"(?![.\-])(?!.*(?:--|\.\.))[A-Za-z0-9._\-]{1,96}(?<![.\-])")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,99}")
_QUANTISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_HOUSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,95}(?::[A-Za-z0-9][A-Za-z0-9._\-]{0,63})?")
_WEB = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
_VERBS = frozenset({"resolve", "blob", "tree", "raw"})


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where a model is, as a person names it.

    ::

        reference  = house | hub | file
        house      = NAME [":" TAG]                       graine        a model installed here, or its alias
        hub        = [site] ORG "/" REPO ["@" REVISION] [choice]
        choice     = ":" QUANTISATION                     org/repo:Q4_K_M
                   | "/" PATH                             org/repo/FILE.gguf   org/repo/folder/FILE.gguf
        site       = ["https://"] ("hf.co" | "huggingface.co") "/"   (also .../resolve/REV/PATH, .../blob/REV/PATH)
        file       = "file:" PATH | PATH starting with "/" "./" "../" "~" or a drive | [DIR "/"] NAME ".gguf"

    A quantisation is matched without regard to case. `org/repo` alone means: the variant that suits best.
    """

    kind: Kind
    name: str
    """The house's name, the Hub's `org/repo`, or the path as it was typed."""
    quantisation: str | None = None
    path: str | None = None
    """A file inside the repository (POSIX, relative)."""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read what a person typed. Raises `BadName` with the reason's key."""
        said = text.strip()
        if not said:
            raise BadName(name=text, reason="empty")
        if len(said) > 500:
            raise BadName(name=said[:60] + "…", reason="too_long")
        if any(ord(c) < 32 or ord(c) == 127 for c in said):
            raise BadName(name="".join(c if c.isprintable() else "?" for c in said), reason="control")
        if _looks_like_file(said):
            return cls("file", said.removeprefix("file:"))
        site = _WEB.match(said)
        if site:
            said = said[site.end() :].split("?")[0].split("#")[0].strip("/")
        elif "://" in said:
            raise BadName(name=text, reason="other_site")
        if "/" not in said:
            if site or not _HOUSE.fullmatch(said):
                raise BadName(name=text, reason="form")
            return cls("house", said)
        return cls._parse_hub(said, text)

    @classmethod
    def _parse_hub(cls, said: str, text: str) -> ModelRef:
        parts = said.split("/")
        organisation, repo, rest = parts[0], parts[1], parts[2:]
        quantisation: str | None = None
        revision: str | None = None
        if not rest and ":" in repo:
            repo, quantisation = repo.split(":", 1)
        if "@" in repo:
            repo, revision = repo.split("@", 1)
        if len(rest) >= 2 and rest[0] in _VERBS and revision is None:
            revision, rest = rest[1], rest[2:]
        if not (_PART.fullmatch(organisation) and _PART.fullmatch(repo)):
            raise BadName(name=text, reason="form")
        if revision is not None and not _REVISION.fullmatch(revision):
            raise BadName(name=text, reason="revision")
        if quantisation is not None and not _QUANTISATION.fullmatch(quantisation):
            raise BadName(name=text, reason="quantisation")
        path = "/".join(rest) or None
        if path is not None and not is_safe_path(path):
            raise BadName(name=text, reason="path")
        return cls("hub", f"{organisation}/{repo}", quantisation, path, revision)

    def __str__(self) -> str:
        if self.kind != "hub":
            return self.name
        at = f"@{self.revision}" if self.revision else ""
        choice = f":{self.quantisation}" if self.quantisation else f"/{self.path}" if self.path else ""
        return f"{self.name}{at}{choice}"


def _looks_like_file(said: str) -> bool:
    if said.startswith(("file:", "/", "./", "../", "~", ".\\", "..\\", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", said):
        return True
    return said.lower().endswith(".gguf") and said.count("/") < 2 and "://" not in said and not _WEB.match(said)


_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))})


def is_safe_path(path: str) -> bool:
    """May this name from outside become a relative path of ours, on POSIX and on Windows alike?

    Refuses traversal, absolute, drive and UNC paths, NUL and control characters, device names, trailing dots
    and spaces, and parts of more than 200 bytes. (CVE-2024-37032, CVE-2026-15717: one function for the product.)
    """
    if not path or len(path.encode("utf-8", "replace")) > 1000 or path[0] in "/\\":
        return False
    for part in path.split("/"):
        if not part or part in {".", ".."} or part[-1] in ". " or len(part.encode("utf-8", "replace")) > 200:
            return False
        if any(c in '\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in part):
            return False
        if part.split(".")[0].rstrip().lower() in _RESERVED:
            return False
    return True


Format = Literal["gguf", "safetensors", "onnx", "mlc", "diffusers", "whisper"]
Role = Literal["model", "projector", "draft", "adapter", "data"]
"""What a file is for: a model, its eyes or ears, its guesser, a change to it, or no weights (an importance matrix)."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository. `sha256` is the LFS object id; small files have a git blob id (`git_sha1`)."""

    path: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """What a person downloads as one thing: the shards of one quantisation of one model."""

    label: str
    """Unique in its repository: the quantisation, else the file's stem."""
    quantisation: str | None
    files: tuple[RemoteFile, ...]
    format: Format = "gguf"
    role: Role = "model"
    missing: tuple[int, ...] = ()
    """Numbers of the shards the repository does not have: such a variant cannot be run."""

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in self.files)


Verdict = Literal["safe", "caution", "suspicious", "unsafe", "unscanned"]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the Hub's own security scan says of a repository, and what its files' formats can do."""

    done: bool
    """Have all files been looked at?"""
    issues: Mapping[str, Verdict] = field(default_factory=dict)
    """What is not safe: path and verdict."""
    runs_code: tuple[str, ...] = ()
    """Files of formats that can run code when they are opened, whatever the scan says."""

    @property
    def verdict(self) -> Verdict:
        """The worst of its files; `unscanned` while the Hub is not done and has found nothing."""
        worst: tuple[Verdict, ...] = ("unsafe", "suspicious", "caution")
        return next((v for v in worst if v in self.issues.values()), "safe" if self.done else "unscanned")

    def of(self, path: str) -> Verdict:
        """One file's verdict."""
        return self.issues.get(path) or ("safe" if self.done else "unscanned")

    def public(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "done": self.done,
            "issues": [{"path": path, "verdict": verdict} for path, verdict in self.issues.items()],
            "runs_code": list(self.runs_code),
        }


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hub at one commit. Text in it came from outside and is safe to show, not safe as markup."""

    id: str
    commit: str
    variants: tuple[Variant, ...]
    files: tuple[RemoteFile, ...]
    gated: bool = False
    licence: str | None = None
    author: str | None = None
    """Who publishes it: the user or organisation."""
    task: str | None = None
    """The Hub's pipeline tag (`text-generation`)."""
    downloads: int | None = None
    """Of the last thirty days."""
    likes: int | None = None
    updated: float | None = None
    created: float | None = None
    private: bool = False
    library: str | None = None
    tags: tuple[str, ...] = ()
    parameters: int | None = None
    context: int | None = None
    """Tokens the model was made for."""
    architecture: str | None = None
    scan: Scan | None = None
    age_s: float = 0.0
    """How old this answer is: 0 when the Hub has just given or confirmed it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that lives here."""

    name: str
    path: Path
    """What the engine opens: the file, or the first shard."""
    format: str
    size_bytes: int
    source: Literal["embedded", "hub", "file"]
    files: tuple[Path, ...] = ()
    """Every file of it, absolute; the ones in our store are ours to delete."""
    repository: str | None = None
    revision: str | None = None
    quantisation: str | None = None
    licence: str | None = None
    added_at: float | None = None
    last_used_at: float | None = None
    missing: bool = False
    active: bool = False

    def public(self) -> dict[str, Any]:
        """As the API shows it. The path stays inside: a page has no business with it."""
        return {
            "name": self.name,
            "format": self.format,
            "size_bytes": self.size_bytes,
            "source": self.source,
            "files": [p.name for p in self.files],
            "repository": self.repository,
            "revision": self.revision,
            "quantisation": self.quantisation,
            "licence": self.licence,
            "added_at": self.added_at,
            "last_used_at": self.last_used_at,
            "missing": self.missing,
            "active": self.active,
        }


JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that outlives the request that asked for it."""

    id: str
    kind: str
    model: str
    status: JobStatus = "queued"
    step: str | None = None
    """What it is doing now: a key under `step.` in the locale."""
    size_bytes: int | None = None
    downloaded_bytes: int = 0
    speed: float | None = None
    """Bytes a second over the last few seconds."""
    started_at: float | None = None
    completed_at: float | None = None
    error: Mapping[str, object] | None = None
    result: Mapping[str, object] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.status in {"done", "failed", "cancelled"}

    @property
    def progress(self) -> float | None:
        """From 0 to 1; None while the size is unknown."""
        return min(1.0, self.downloaded_bytes / self.size_bytes) if self.size_bytes else None

    @property
    def eta(self) -> float | None:
        """Seconds left at the present speed."""
        if not self.size_bytes or not self.speed:
            return None
        return max(0.0, (self.size_bytes - self.downloaded_bytes) / self.speed)

    def public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "model": self.model,
            "status": self.status,
            "step": self.step,
            "progress": self.progress,
            "size_bytes": self.size_bytes,
            "downloaded_bytes": self.downloaded_bytes,
            "speed": self.speed,
            "eta": self.eta,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "error": dict(self.error) if self.error else None,
            "result": dict(self.result),
        }
