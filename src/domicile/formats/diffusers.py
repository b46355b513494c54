"""Diffusers: a picture model in a folder, a component in each subfolder.

Knows `model_index.json` and which files each component is loaded from. A pipeline whose parts come from
anywhere but the libraries themselves is Python of the repository, and refused. Does not know what an image
costs in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from domicile.errors import Malformed, RunsCode
from domicile.formats import safetensors
from domicile.formats.document import Document, document, text
from domicile.formats.gguf_header import Vocabularies
from domicile.formats.window import Steps
from domicile.refs import is_safe_path
from domicile.types import Facts, Tensor

_INDEX = "model_index.json"
_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion", "flux", "onnxruntime"})
_WITHOUT_WEIGHTS = (
    "Tokenizer",
    "TokenizerFast",
    "Scheduler",
    "FeatureExtractor",
    "ImageProcessor",
    "Processor",
)
_MOST_COMPONENTS = 64
_MOST_TENSORS = 100_000
_TASKS = (
    ("Inpaint", "image-to-image"),
    ("Img2Img", "image-to-image"),
    ("Upscale", "image-to-image"),
    ("InstructPix2Pix", "image-to-image"),
    ("Edit", "image-to-image"),
    ("Kontext", "image-to-image"),
    ("ImageToVideo", "image-to-video"),
    ("StableVideo", "image-to-video"),
    ("Video", "text-to-video"),
    ("Audio", "text-to-audio"),
    ("Music", "text-to-audio"),
)


def claims(names: Collection[str]) -> bool:
    return any(PurePosixPath(name).name == _INDEX for name in names)


def steps(files: Mapping[str, int], badge: bool, known: Vocabularies | None) -> Steps[Facts]:
    path = min((n for n in files if PurePosixPath(n).name == _INDEX), key=len)
    root = PurePosixPath(path).parent
    index = yield from document(path, files[path])
    components = _components(path, index)
    sizes: dict[str, int] = {}
    tensors: list[Tensor] = []
    total = 0
    for name in components:
        chosen = safetensors.folder_of(files, str(root / name))
        total += sum(chosen.values())
        own: list[Tensor] = []
        if not badge:
            own = yield from safetensors.headers(chosen)
        sizes[name] = sum(chosen.values()) if badge else sum(t.size_bytes for t in own)
        if len(tensors) + len(own) > _MOST_TENSORS:
            raise Malformed(file=path, problem=f"more than {_MOST_TENSORS} tensors")
        tensors += [Tensor(f"{name}.{t.name}", t.dims, t.type, t.size_bytes) for t in own]
    kind = text(index, "_class_name") or ""
    by_type: dict[str, int] = {}
    for tensor in tensors:
        by_type[tensor.type] = by_type.get(tensor.type, 0) + tensor.size_bytes
    return Facts(
        format="diffusers",
        file_bytes=total,
        weights_bytes=sum(sizes.values()),
        architecture=kind or None,
        task=next((task for part, task in _TASKS if part in kind), "text-to-image") if kind else None,
        quantisation=max(by_type, key=lambda k: by_type[k]) if by_type else None,
        tensors=tuple(tensors),
        n_tensors=None if badge else len(tensors),
        extra={f"component.{name}": size for name, size in sizes.items()},
        exact=not badge,
    )


def _components(path: str, index: Document) -> list[str]:
    """The components that have weights. `[null, null]` is one left out on purpose."""
    found: list[str] = []
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or not is_safe_path(name) or "/" in name or len(found) >= _MOST_COMPONENTS:
            raise Malformed(file=path, problem=f"component {name[:60]!r}")
        library, kind = value
        if library is None:
            continue
        if library not in _LIBRARIES or not isinstance(kind, str):
            raise RunsCode(file=path, kind=f"component {name[:60]!r} of {str(library)[:60]!r}")
        if not kind.endswith(_WITHOUT_WEIGHTS):
            found.append(name)
    return found
