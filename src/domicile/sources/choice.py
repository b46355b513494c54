"""Which files of a repository a reference means: one variant, never a format that can run code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from domicile import names
from domicile.errors import FileNotOnHub, NoSuchVariant, NothingToRun, RunsCode
from domicile.refs import ModelRef
from domicile.types import Format, RemoteFile, Repository, Variant

PREFERRED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "IQ4_XS", "Q4_0", "Q5_K_S", "Q6_K", "Q8_0", "Q3_K_M")
"""Which quantisation `org/repo` alone means, best first: the field's common advice, 4 to 5 bits."""

PROJECTORS = ("F16", "BF16", "Q8_0", "F32")
"""Which projector comes with a model that has several, best first: full precision where the engine is fast with it."""

FORMATS: tuple[Format, ...] = ("gguf", "mlc", "diffusers", "safetensors", "whisper", "onnx")
"""Which format `org/repo` alone means, when a repository has several."""

_ENTRIES: Mapping[Format, str] = {"diffusers": "model_index.json", "mlc": "mlc-chat-config.json"}

# What `org/repo` alone means within a format, best first: eight bits where ONNX has several; half precision where a
# picture model has both; the folder's own weights, and not a second copy in its makers' layout (`consolidated`).
_ORDER: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("quantized", "int8", "q8", "uint8", "q4", "q4f16", "fp16"),
    "diffusers": ("fp16", ""),
    "safetensors": ("model", "diffusion_pytorch_model", "adapter_model"),
}


def variants_of(files: tuple[RemoteFile, ...]) -> tuple[Variant, ...]:
    """Every variant: the GGUF ones first, under the labels they have alone; others give way where labels meet."""
    gguf = names.variants([f for f in files if f.path.lower().endswith(".gguf")])
    taken = {v.label.lower() for v in gguf}
    others = names.variants([f for f in files if not f.path.lower().endswith(".gguf")])
    return *gguf, *(replace(v, label=f"{v.format}-{v.label}") if v.label.lower() in taken else v for v in others)


def projector_for(variant: Variant, variants: Iterable[Variant]) -> Variant | None:
    """The projector (`mmproj`) that belongs to a GGUF model among the variants beside it: of its name where several
    models live together, then the best kind of `PROJECTORS`, then the smallest."""
    if variant.format != "gguf" or variant.role != "model":
        return None
    found = [v for v in variants if v.role == "projector" and v.format == "gguf" and not v.missing]
    stem = names.read(variant.files[0].path).stem

    def order(one: Variant) -> tuple[int, int, int]:
        kind = (one.quantisation or "").upper()
        rank = PROJECTORS.index(kind) if kind in PROJECTORS else len(PROJECTORS)
        return -names.likeness(stem, one.files[0].path), rank, one.size_bytes

    return min(found, key=order, default=None)


def choose(repository: Repository, ref: ModelRef) -> Variant:
    """The variant a reference means, with the projector that lets it see where there is one. Raises `NothingToRun`,
    `RunsCode`, `NoSuchVariant` or `FileNotOnHub` with what there is."""
    variant = _chosen(repository, ref)
    projector = projector_for(variant, repository.variants)
    return replace(variant, files=(*variant.files, *projector.files)) if projector else variant


def _chosen(repository: Repository, ref: ModelRef) -> Variant:
    """The variant alone. Raises as `choose`."""
    variants = repository.variants
    if not variants:
        if repository.scan is not None and repository.scan.runs_code:
            raise RunsCode(file=f"{repository.id}/{repository.scan.runs_code[0]}", kind="pickle", reason="only")
        raise NothingToRun(name=repository.id)
    labels = ", ".join(v.label for v in variants[:40])
    if ref.path is not None:
        for variant in variants:
            if any(f.path == ref.path for f in variant.files):
                return variant
        if repository.scan is not None and ref.path in repository.scan.runs_code:
            raise RunsCode(file=ref.path, kind="pickle")
        raise FileNotOnHub(name=repository.id, path=ref.path, there=labels)
    if ref.quantisation is not None:
        wanted = ref.quantisation.lower()
        for variant in variants:
            if wanted in {variant.label.lower(), (variant.quantisation or "").lower()}:
                return variant
        raise NoSuchVariant(name=repository.id, quantisation=ref.quantisation, there=labels)
    whole = [v for v in variants if v.role == "model" and not v.missing] or list(variants)
    best = next(form for form in FORMATS if any(v.format == form for v in whole))
    return _usual([v for v in whole if v.format == best], best)


def _usual(variants: list[Variant], form: Format) -> Variant:
    if form == "gguf":
        by_quantisation = {v.quantisation: v for v in reversed(variants)}
        return next((by_quantisation[q] for q in PREFERRED if q in by_quantisation), variants[0])
    for wanted in _ORDER.get(form, ()):
        for variant in variants:
            stem = names.read(variant.files[0].path).stem.lower()
            quantisation = (variant.quantisation or "").lower()
            if wanted in {quantisation, stem} or (form == "onnx" and stem.endswith(f"_{wanted}")):
                return variant
    return variants[0]


def entry_of(variant: Variant) -> RemoteFile:
    """What an engine opens: the file, the first shard, or the one that describes the folder."""
    said = _ENTRIES.get(variant.format)
    return next((f for f in variant.files if f.path.rsplit("/", 1)[-1] == said), variant.files[0])
