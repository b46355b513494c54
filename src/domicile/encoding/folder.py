"""What a folder of an encoder says of itself: sentence-transformers' steps, or a plain transformers one.

`modules.json` lists the steps (Transformer, Pooling, Dense, Normalize), each with its own configuration
(sentence-transformers 5, `util/file_io`). Nothing in it can run code: a step of a class that is not named here is
refused, and so is a file that is a link or lies outside. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError

_TEXT_BYTES = 64 << 20
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted",
    "pooling_mode_lasttoken": "last",
}
_SAFE_CONFIG = frozenset({"auto_map", "custom_pipelines", "trust_remote_code", "_name_or_path", "name_or_path"})
"""Keys of a configuration that name code or another place."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says of itself."""

    place: Path
    config: dict[str, Any]
    poolings: tuple[str, ...]
    dense: tuple[Path, ...]
    most_tokens: int
    prompt: str
    """Put before each text when the folder names a prompt for all; else nothing is."""


def read(place: Path) -> Folder:
    """What a folder says of itself. Raises `UnfitError`."""
    config = {k: v for k, v in described(place, "config.json").items() if k not in _SAFE_CONFIG and k[:5] != "_attn"}
    poolings: tuple[str, ...] = ("mean",)
    dense: list[Path] = []
    if (place / "modules.json").exists():
        poolings = ()
        for step in sorted(_steps(place), key=lambda one: int(one.get("idx", 0))):
            kind, inside = str(step.get("type", "")).rsplit(".", 1)[-1], str(step.get("path", ""))
            if kind == "Pooling":
                poolings = _poolings(described(place, f"{inside}/config.json"))
            elif kind == "Dense":
                dense.append(file(place, f"{inside}/config.json").parent)
            elif kind not in {"Transformer", "Normalize"}:
                raise UnfitError(f"modules.json: a step of the class {kind[:80]!r} is not known here")
        if not poolings:
            raise UnfitError("modules.json: no Pooling")
    said = described(place, "sentence_bert_config.json", optional=True).get("max_seq_length")
    trained = config.get("max_position_embeddings")
    limits = [n for n in (said, trained) if isinstance(n, int) and n > 0]
    prompts = described(place, "config_sentence_transformers.json", optional=True)
    named = prompts.get("default_prompt_name")
    listed = prompts.get("prompts")
    prompt = listed.get(named) if isinstance(listed, dict) and isinstance(named, str) else ""
    return Folder(place, config, poolings, tuple(dense), min(limits, default=512), prompt or "")


def _steps(place: Path) -> list[dict[str, Any]]:
    try:
        said = json.loads(file(place, "modules.json").read_bytes())
    except ValueError as trouble:
        raise UnfitError(f"modules.json: {trouble}") from trouble
    if not isinstance(said, list) or len(said) > 16 or not all(isinstance(one, dict) for one in said):
        raise UnfitError("modules.json: not a list of steps")
    return said


def _poolings(config: dict[str, Any]) -> tuple[str, ...]:
    """Both ways of saying it: a switch for each kind (2019), or one name (`pooling_mode`)."""
    named = config.get("pooling_mode")
    kinds = {"lasttoken": "last", "weightedmean": "weighted", "mean_sqrt_len_tokens": "mean_sqrt_len"}
    if isinstance(named, str):
        return (kinds.get(named, named),)
    found = tuple(kind for key, kind in _POOLINGS.items() if config.get(key) is True)
    return found or ("mean",)


def file(place: Path, inside: str) -> Path:
    """A plain file of the folder: no way out of it, no link."""
    parts = [part for part in inside.split("/") if part]
    path = place.joinpath(*parts)
    if not parts or any(part in {".", ".."} or "\\" in part or "\0" in part for part in parts):
        raise UnfitError(f"{inside[:100]!r} is no path inside the folder")
    if path.is_symlink() or path.parent.resolve() != place.resolve().joinpath(*parts[:-1]) or not path.is_file():
        raise UnfitError(f"{inside[:100]} is not a plain file here")
    if path.suffix == ".json" and path.stat().st_size > _TEXT_BYTES:
        raise UnfitError(f"{inside[:100]} is too large")
    return path


def described(place: Path, inside: str, *, optional: bool = False) -> dict[str, Any]:
    """A small object of the folder; empty where it may be missing and is. Raises `UnfitError`."""
    if optional and not place.joinpath(inside).exists():
        return {}
    try:
        said = json.loads(file(place, inside).read_bytes())
    except (ValueError, RecursionError) as trouble:
        raise UnfitError(f"{inside[:100]}: {str(trouble)[:200]}") from trouble
    if not isinstance(said, dict):
        raise UnfitError(f"{inside[:100]}: not an object")
    return said
