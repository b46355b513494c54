"""What a browser needs to run a model that lives here: which engine, which files, under which names.

A file is found by its place in the model's own folder, and is given only when it is one of the model's and really lies
where the library says: what a link leads to outside the store, or outside the tool's folder it was taken in from, is
nobody's. Knows models and files; knows no address and no page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.compiled import standard
from domicile.config import Settings
from domicile.types import Installed

ENGINES: Mapping[str, str] = {"gguf": "wllama", "mlc": "webllm", "onnx": "transformers"}
"""Format -> the engine in the browser that runs it."""
LARGEST: Mapping[str, int] = {"gguf": 3_500_000_000, "onnx": 2_000_000_000}
"""Bytes that fit beside a context in the 4 GiB of WebAssembly's memory (wllama), or in one buffer (ONNX). MLC has a
graphics card's memory instead."""
NATIVE_SHARE = (0.2, 0.25)
"""How fast wllama answers, as a share of the same model run by the house: measured, one thread each (docs/why.md)."""
_CONFIG_LIMIT = 32 * 2**20
_PRECISIONS = {
    "quantized": "q8",
    "int8": "int8",
    "uint8": "uint8",
    "fp16": "fp16",
    "q4": "q4",
    "q4f16": "q4f16",
    "bnb4": "bnb4",
}
"""What follows the name of an ONNX file -> what transformers.js calls it (`dtype`)."""
_SPEECH = {"whisper", "moonshine"}


@dataclass(frozen=True, slots=True)
class Part:
    """A file as it is given: where it lies, and its sha256 where it is known."""

    path: Path
    size_bytes: int
    sha256: str | None


def parts(model: Installed, settings: Settings) -> dict[str, Part]:
    """The model's own files, by their names from its folder on (POSIX). Those that are not there are left out."""
    if not model.files:
        return {}
    top = _top(model, settings)
    digests = model.digests if len(model.digests) == len(model.files) else (None,) * len(model.files)
    found = {}
    for path, digest in zip(model.files, digests, strict=True):
        if path.is_relative_to(top) and _is_its_own(path, model, settings):
            name = path.relative_to(top).as_posix()
            # Ollama's blobs have no ending, and the engine in the browser wants one.
            named = f"{name}.gguf" if model.format == "gguf" and not name.lower().endswith(".gguf") else name
            found[named] = Part(path, path.stat().st_size, digest)
    return found


def _top(model: Installed, settings: Settings) -> Path:
    """The folder that names are told from: the repository's in our store, else the one that holds every file."""
    if model.repository:
        folder = settings.models.joinpath(*model.repository.split("/"))
        if all(path.is_relative_to(folder) for path in model.files):
            return folder
    return Path(os.path.commonpath([path.parent for path in model.files]))


def _is_its_own(path: Path, model: Installed, settings: Settings) -> bool:
    """A regular file; in our store no link leads out of it, and elsewhere none leads out of the other tool's folder
    (Hugging Face's cache links a snapshot to its blobs, two folders up)."""
    try:
        real = path.resolve(strict=True)
        if not real.is_file():
            return False
        if path.is_relative_to(settings.models):
            return real.is_relative_to(settings.models.resolve())
        if not path.is_symlink():
            return real == path.parent.resolve() / path.name
        return model.source == "adopted" and any(
            real.is_relative_to(above) for above in list(path.parent.resolve().parents)[:2]
        )
    except (OSError, RuntimeError, ValueError):
        return False


def described(model: Installed, settings: Settings) -> dict[str, Any]:
    """How a browser runs it: `engine`, the `entry` it opens, its `files`; or `why` it does not (`None`: it does).

    Reasons: `missing`, `format`, `too_large`, `no_library` (MLC without its compiled library), `no_config`.
    """
    engine = ENGINES.get(model.format)
    there = parts(model, settings)
    said: dict[str, Any] = {
        "name": model.name,
        "engine": engine,
        "format": model.format,
        "size_bytes": sum(p.size_bytes for p in there.values()),
        "quantisation": model.quantisation,
        "task": model.task or ("text-generation" if model.format in {"gguf", "mlc"} else None),
        "entry": None,
        "files": [{"name": name, "size_bytes": p.size_bytes} for name, p in there.items()],
        "why": None,
    }
    if engine is None:
        return {**said, "why": "format"}
    if model.missing or model.damaged or len(there) < len(model.files):
        return {**said, "why": "missing"}
    if said["size_bytes"] > LARGEST.get(model.format, 2**63):
        said["why"] = "too_large"
    if model.format == "gguf":
        return {**said, "entry": next(n for n in sorted(there, key=lambda n: (there[n].path != model.path, n)))}
    return {**said, **(_mlc(model, there) if model.format == "mlc" else _onnx(there))}


def _mlc(model: Installed, there: Mapping[str, Part]) -> dict[str, Any]:
    libraries = [name for name in there if name.endswith(".wasm")]
    record = standard(model.repository)
    kept = {k: record[k] for k in ("overrides", "vram_required_MB", "required_features", "model_type") if k in record}
    if not libraries:
        return {"why": "no_library", "record": kept}
    return {"entry": "mlc-chat-config.json", "record": {**kept, "model_lib": libraries[0]}}


def _onnx(there: Mapping[str, Part]) -> dict[str, Any]:
    config = _json(there.get("config.json"))
    graphs = [name for name in there if name.endswith(".onnx")]
    if not config or not graphs:
        return {"why": "no_config"}
    kind = str(config.get("model_type") or "")
    graph = min(graphs)
    task = "automatic-speech-recognition" if kind in _SPEECH else "text-generation"
    stem = graph.rsplit("/", 1)[-1].removesuffix(".onnx")
    precision = next((end for end in sorted(_PRECISIONS, key=len, reverse=True) if stem.endswith(f"_{end}")), None)
    return {
        "entry": graph,
        "task": task,
        "model_type": kind,
        "dtype": _PRECISIONS[precision] if precision else "fp32",
        "folder": graph.rpartition("/")[0],
    }


def tokenizer_config(there: Mapping[str, Part]) -> bytes | None:
    """`tokenizer_config.json` with the chat template in it, where the model keeps it in `chat_template.jinja`.

    transformers.js reads it from there only. None when nothing has to be put in: the file is right as it is.
    """
    config, template = there.get("tokenizer_config.json"), there.get("chat_template.jinja")
    if config is None or template is None or template.size_bytes > 2**20:
        return None
    said = _json(config)
    if not said or said.get("chat_template"):
        return None
    text = template.path.read_text("utf-8", "replace")
    return json.dumps({**said, "chat_template": text}, ensure_ascii=False).encode()


def _json(part: Part | None) -> dict[str, Any]:
    if part is None or part.size_bytes > _CONFIG_LIMIT:
        return {}
    try:
        said = json.loads(part.path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def able(models: Iterable[Installed], settings: Settings) -> list[dict[str, Any]]:
    """Those that a browser could run, or would but for a reason that is told."""
    return [described(model, settings) for model in models if model.format in ENGINES]
