"""A model's files made into the folder that faster-whisper opens: linked where they are CTranslate2's, else converted.

A conversion is kept beside the engine's environment, so that it is made once; it goes with the engine, and when the
file it was made of has changed or is gone. Nothing of a folder is handed over but what is named here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_life import UnfitError
from domicile.hearing import tensors, words
from domicile.hearing.convert import convert, features

_TEXT_BYTES = 64 << 20
_NOTE = "made_of.json"
_VERSION = 1


def prepared(model: Path, files: Sequence[Path], folder: Path, kept: Path | None, compute: str) -> Path:
    """The folder to open, at `folder` or among those `kept`. Raises `UnfitError`."""
    with model.open("rb") as opened:
        head = opened.read(16)
    if head[:4] == b"lmgg" or model.suffix == ".safetensors":
        return _converted(model, files, folder, kept, compute)
    return _linked(model, folder)


def _linked(model: Path, folder: Path) -> Path:
    """A folder of CTranslate2: its own files, and the tokenizer made of its words where it has none."""
    place, target = model.parent, folder / "model"
    target.mkdir()
    (target / "model.bin").symlink_to(model.resolve())
    for name in ("config.json", "vocabulary.json", "vocabulary.txt", "tokenizer.json", "preprocessor_config.json"):
        if (place / name).is_file():
            (target / name).write_bytes(_text(place / name))
    if not (target / "tokenizer.json").exists():
        (target / "tokenizer.json").write_text(words.tokenizer_of(_listed(target)), "utf-8")
    return target


def _listed(place: Path) -> list[str]:
    if (place / "vocabulary.json").exists():
        said = _object(place / "vocabulary.json", list)
        return [str(word) for word in said]
    if (place / "vocabulary.txt").exists():
        return (place / "vocabulary.txt").read_text("utf-8", "replace").split("\n")
    raise UnfitError("vocabulary.json is missing")


def _converted(model: Path, files: Sequence[Path], folder: Path, kept: Path | None, compute: str) -> Path:
    weights = [f for f in files if f.suffix == ".safetensors"] or [model]
    made_of = {
        "version": _VERSION,
        "compute": compute,
        "files": [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in sorted(weights)],
    }
    if kept is not None:
        _prune(kept)
        found = kept / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:24]
        if (found / _NOTE).is_file():
            return found
    target = folder / "model"
    target.mkdir()
    try:
        _write(model, weights, target, "int8" if compute == "int8" else None)
        (target / _NOTE).write_text(json.dumps(made_of))
        return target if kept is None else _keep(target, found)
    except OSError as trouble:
        raise UnfitError(f"converting it: {trouble.strerror or trouble}") from trouble


def _write(model: Path, weights: Sequence[Path], target: Path, quantisation: str | None) -> None:
    if model.suffix == ".safetensors":
        from tokenizers import Tokenizer

        place = model.parent
        config, found = _object(place / "config.json", dict), tensors.safetensors(weights)
        shape = tensors.shape_of(found, config)
        (target / "tokenizer.json").write_bytes(_tokenizer(place))
        try:
            tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
        except Exception as trouble:  # the library raises a bare Exception
            raise UnfitError(f"tokenizer.json: {str(trouble)[:200]}") from trouble
        listed = words.words_of(tokenizer, shape.n_vocab)
        said = place / "generation_config.json"
        generation: Mapping[str, Any] = _object(said, dict) if said.is_file() else {}
    else:
        shape, tokens, found = tensors.ggml(model)
        listed, generation = words.of_bytes(tokens, shape.n_vocab), {}
        (target / "tokenizer.json").write_text(words.tokenizer_of(listed), "utf-8")
    features(target, shape.n_mels)
    convert(found, shape, listed, target, quantisation=quantisation, generation=generation)


def _tokenizer(place: Path) -> bytes:
    """`tokenizer.json`, or one made of the older `vocab.json`, `merges.txt` and `added_tokens.json`."""
    if (place / "tokenizer.json").is_file():
        return _text(place / "tokenizer.json")
    if not (place / "vocab.json").is_file():
        raise UnfitError("tokenizer.json is missing")
    vocabulary = _object(place / "vocab.json", dict)
    added = _object(place / "added_tokens.json", dict) if (place / "added_tokens.json").is_file() else {}
    listed = {int(n): str(word) for word, n in {**vocabulary, **added}.items()}
    whole = [listed.get(n, f"<|unused{n}|>") for n in range(max(listed, default=-1) + 1)]
    return words.tokenizer_of(whole).encode()


def _keep(target: Path, found: Path) -> Path:
    """Move a conversion among those kept; another child may have been quicker."""
    found.parent.mkdir(parents=True, exist_ok=True)
    partial = found.with_name(f"{found.name}.{os.getpid()}.part")
    shutil.move(target, partial)
    try:
        partial.rename(found)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _prune(kept: Path) -> None:
    """Let go of conversions whose files are gone or others now."""
    for place in kept.glob("*") if kept.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            for name, size, at in json.loads((place / _NOTE).read_text())["files"]:
                file = Path(name)
                if not file.is_file() or (file.stat().st_size, file.stat().st_mtime_ns) != (size, at):
                    shutil.rmtree(place, ignore_errors=True)


def _text(path: Path) -> bytes:
    if path.stat().st_size > _TEXT_BYTES:
        raise UnfitError(f"{path.name} is larger than {_TEXT_BYTES >> 20} MiB")
    return path.read_bytes()


def _object(path: Path, kind: type) -> Any:
    try:
        said = json.loads(_text(path))
    except FileNotFoundError as trouble:
        raise UnfitError(f"{path.name} is missing") from trouble
    except (ValueError, RecursionError) as trouble:
        raise UnfitError(f"{path.name} is no JSON") from trouble
    if not isinstance(said, kind):
        raise UnfitError(f"{path.name} is of another shape")
    return said
