"""What a file's name says of it: a hint, never the truth.

Knows how publishers write quantisations, sizes, shards and roles into file names, and how the files of a
repository fall into variants. Does not open files: a header and the Hub's metadata win over everything here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from domicile.types import Format, RemoteFile, Role, Variant


@dataclass(frozen=True, slots=True)
class NameHint:
    """Parameters in thousand millions (B). Unknown is None."""

    quantisation: str | None
    parameters_b: float | None
    active_b: float | None
    """Touched for each token: the `A3B` of a mixture of experts."""
    effective_b: float | None
    """The `E4B` of Gemma: a claim about memory, not the number of parameters."""
    experts: tuple[int, float] | None
    """`8x7B` is (8, 7.0). Not 56: the experts of Mixtral share their attention, its total is 46.7."""
    shard: tuple[int, int] | None
    """(number from 1, of how many)."""
    role: Role
    stem: str
    """The file's own name without folder, shard and extension."""


_EXTENSION = re.compile(r"\.(?:gguf|ggml|safetensors|onnx|onnx[._]data|bin|pth?|ckpt)(?=$|-\d+-of-)", re.IGNORECASE)
_SHARD = re.compile(r"[-._](\d{1,5})-of-(\d{1,5})$")


def read(filename: str) -> NameHint:
    """Read a file's name, or its path in a repository: a folder may say what the file does not."""
    path = PurePosixPath(filename.replace("\\", "/"))
    stem = _EXTENSION.sub("", path.name)
    shard: tuple[int, int] | None = None
    if (found := _SHARD.search(stem)) and 1 <= int(found[1]) <= int(found[2]):
        shard = (int(found[1]), int(found[2]))
        stem = stem[: found.start()]
    quantisation, rest = _quantisation(stem)
    if quantisation is None:
        folders = (_quantisation(part)[0] for part in reversed(path.parts[:-1]))
        quantisation = next((q for q in folders if q), None)
    return NameHint(quantisation, *_sizes(rest), shard=shard, role=_role(stem), stem=stem)


# --- quantisation ---

# A label starts after a separator and ends before one; `i1-` (an importance matrix) is no part.
_LABEL = re.compile(
    r"""(?<![A-Za-z0-9])
    (?P<dynamic>UD[-_])?
    (?:
        (?P<q>Q[1-9])_?K_?(?P<size>XXS|XXL|XS|XL|[SMLP])?(?P<rows>_R\d{1,2})?   # Q4_K_M Q4_KS Q4KXL Q4_K_R4
      | (?P<legacy>Q[1-9]_[0-3](?:_\d{1,2}_\d{1,2}|_R\d{1,2}|_G\d{2,3})?)        # Q4_0 Q4_0_4_8 Q8_0_R8
      | (?P<iq>IQ[1-9])_?(?P<kind>XXS|XS|NL|XL|[SML]|K(?:SS|[STLV])?)(?P<iqrows>_R\d{1,2})?
      | (?P<other>TQ[12]_0|I[28]_S|TL[12]|AVQ\d|(?:MX|NV)FP[468](?:[_-]MOE)?)
      | (?P<browser>q\df(?:16|32)(?:_\d)?|bnb4|u?int[48])                         # MLC and ONNX write these
      | (?P<float>BF16|FP?(?:16|32|64)|FP8(?:_E\dM\d(?:FN)?)?)
      | (?P<bare>Q[1-8])
    )(?![A-Za-z0-9])""",
    re.IGNORECASE | re.VERBOSE,
)


def _quantisation(stem: str) -> tuple[str | None, str]:
    """The label, and the stem without any label (so that no digit of one is taken for a size).

    The last one wins, except that a number format beside a quantisation tells what it was made from or what
    its embeddings are kept in: `F32-Q2_K` and `Q4_K_M-fp16` are both quantised. A bare `Q4` counts when
    alone.
    """
    labels = list(_LABEL.finditer(stem))
    firm = [m for m in labels if not (m["float"] or m["bare"])]
    ranked = firm or [m for m in labels if m["bare"]] or labels
    chosen = ranked[-1] if ranked else None
    rest = _LABEL.sub("~", stem)
    return (_spell(chosen) if chosen else None), rest


def _spell(label: re.Match[str]) -> str:
    dynamic = "UD-" if label["dynamic"] else ""
    if label["q"]:
        parts = [label["q"], "K", *([label["size"]] if label["size"] else [])]
        return dynamic + "_".join(parts).upper() + (label["rows"] or "").upper()
    if label["iq"]:
        return dynamic + f"{label['iq']}_{label['kind']}{label['iqrows'] or ''}".upper()
    if label["browser"]:
        return label["browser"].lower()
    if label["float"]:
        spelt = label["float"].upper()
        return dynamic + (spelt if spelt.startswith("FP8") else spelt.replace("FP", "F"))
    return dynamic + (label["legacy"] or label["other"] or label["bare"]).upper().replace("-", "_")


# --- how many parameters ---

_START, _END = r"(?:(?<=[-_. ~()\[\]])|^)", r"(?![A-Za-z0-9])"
# `1_8b` is 1.8 after a dash, but the 2 of `llama_2_7b` is a version.
_NUMBER = r"(?:(?<=-)\d{1,2}_\d{1,2}|0_\d{1,3}|\d{1,4}(?:\.\d{1,3})?)"
_EXPERTS = re.compile(rf"{_START}(\d{{1,3}})x({_NUMBER})b{_END}|{_START}({_NUMBER})bx(\d{{1,3}}){_END}", re.IGNORECASE)
_ACTIVE = re.compile(rf"(?:{_START}A|(?<=b))({_NUMBER})([BM]){_END}|(?<=\db)({_NUMBER})a{_END}", re.IGNORECASE)
_EFFECTIVE = re.compile(rf"(?:{_START}|(?<=\d))E({_NUMBER})B{_END}", re.IGNORECASE)
_BILLIONS = re.compile(rf"{_START}({_NUMBER})B(?:n)?(?:{_END}|(?={_NUMBER}a{_END}))", re.IGNORECASE)
_GLUED = re.compile(rf"(?<=[a-z])(?<![-_. ~][aevqx])(\d{{1,3}}(?:\.\d)?)b{_END}", re.IGNORECASE)
_MILLIONS = re.compile(rf"(?:{_START}|(?<=[a-z]))(\d{{1,4}}(?:\.\d{{1,2}})?)M{_END}", re.IGNORECASE)
_TRILLIONS = re.compile(rf"{_START}(\d(?:\.\d)?)T{_END}")
_THOUSANDS = re.compile(rf"(?:{_START}|(?<=[a-z]))(\d{{3}})K{_END}", re.IGNORECASE)
_OF_EXPERTS = re.compile(r"-\d{1,3}E(?![A-Za-z0-9])", re.IGNORECASE)

_Sizes = tuple[float | None, float | None, float | None, tuple[int, float] | None]


def _sizes(text: str) -> _Sizes:
    """(parameters, active, effective, experts)."""
    if found := _EXPERTS.search(text):
        count, each = (found[1], found[2]) if found[1] else (found[4], found[3])
        return None, None, None, (int(count), _number(each))
    active: float | None = None
    if found := _ACTIVE.search(text):
        scale = 1000 if (found[2] or "").upper() == "M" else 1
        active = _number(found[1] or found[3]) / scale
        text = text[: found.start()] + "~" + text[found.end() :]
    if found := _EFFECTIVE.search(text):
        return None, active, _number(found[1]), None
    billions = list(_BILLIONS.finditer(text))
    if not billions:
        return _unusual(text), active, None, None
    first = _number(billions[0][1])
    if _OF_EXPERTS.match(text, billions[0].end()):
        # `17B-16E`: Llama 4 names what is active, and how many experts; the total is not in the name.
        return None, first, None, None
    if active is None and len(billions) > 1:
        # `LFM-8B-1B`, `OLMoE-1B-7B`: side by side, the smaller is the active part of the other.
        second = _number(billions[1][1])
        if billions[1].start() - billions[0].end() == 1 and second != first:
            first, active = max(first, second), min(first, second)
    return first, active, None, None


def _unusual(text: str) -> float | None:
    """Sizes not written as `-7B-`: glued to a word, in millions, in trillions, in thousands."""
    if found := _GLUED.search(text):
        return float(found[1])
    for found in _MILLIONS.finditer(text):
        # `1M` is a context of a million tokens, except in the toys that have a million parameters.
        if float(found[1]) not in {1.0, 2.0, 4.0, 10.0} or re.search(r"(?:stories|tiny|toy)", text, re.IGNORECASE):
            return float(found[1]) / 1000
    if found := _TRILLIONS.search(text):
        return float(found[1]) * 1000
    if (found := _THOUSANDS.search(text)) and not _is_context(int(found[1])):
        return int(found[1]) / 1_000_000
    return None


def _is_context(thousands: int) -> bool:
    """Is this a length of context people advertise (128k, 131k, 200k, 262k)?"""
    return (
        thousands % 50 == 0 or any(thousands in {2**n, 2**n * 1024 // 1000} for n in range(6, 10)) or thousands == 160
    )


def _number(text: str) -> float:
    return float(text.replace("_", "."))


# --- role ---

_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("data", re.compile(r"(?:^|[-_.])imatrix(?:$|[-_.])|^ggml-vocab-|[-_.]vocab$")),
    ("projector", re.compile(r"(?:^|[-_.])(?:mmproj|mm-?projector|projector)(?:$|[-_.])")),
    # A model *with* prediction heads says MTP in the middle (`27B-MTP-Q6_K`), the heads alone first or last.
    ("draft", re.compile(r"^(?:mtp|nextn)[-_.]|[-_.](?:mtp|nextn)$")),
    ("draft", re.compile(r"(?:^|[-_.])(?:draft(?:er)?|eagle-?3|dflash|medusa|speculator)(?:$|[-_.])")),
    # `qlora` is how a model was trained; `lora` is a change without its model, unless it was merged in.
    ("adapter", re.compile(r"^(?!.*merged)(?:.*[-_.])?(?:lora|adapter)(?:$|[-_.])")),
)


def _role(stem: str) -> Role:
    name = stem.lower()
    return next((role for role, said in _ROLES if said.search(name)), "model")


_EYES = re.compile(
    r"^(?:mmproj|mm-?projector|projector)[-_.]*|[-_.]+(?:mmproj|mm-?projector|projector)$", re.IGNORECASE
)


def _plain(stem: str, quantisation: str | None) -> str:
    """A stem in small letters, without the quantisation at its end."""
    name = stem.lower()
    if quantisation and name.endswith(quantisation.lower()):
        name = name[: -len(quantisation)]
    return name.rstrip("-_.")


def likeness(stem: str, projector: str) -> int:
    """How many letters at its start a model's stem shares with the name of a projector's file; 0 for a projector that
    names no model (`mmproj-F16.gguf`), or another one's."""
    eyes = read(projector)
    own = _EYES.sub("", _plain(_EYES.sub("", eyes.stem), eyes.quantisation))
    wanted = _plain(stem, read(f"{stem}.gguf").quantisation)
    same = next((n for n, (a, b) in enumerate(zip(own, wanted, strict=False)) if a != b), min(len(own), len(wanted)))
    return same if same and (same == len(own) or same == len(wanted)) else 0


def projector_in(paths: Iterable[str]) -> str | None:
    """The first of these files that is a projector, by its name."""
    return next((p for p in paths if p.lower().endswith(".gguf") and read(p).role == "projector"), None)


# --- what can be downloaded as one thing ---

_STEP = re.compile(r"^\d+_[A-Za-z]{1,40}/(?:config\.json|model\.safetensors)$")
"""What sentence-transformers does after the model itself: `1_Pooling/config.json`, `2_Dense/model.safetensors`."""
_COMPANIONS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Small files a folder-shaped model needs beside its weights: configuration, tokenizer, template."""


def is_step(path: str) -> bool:
    """Is this a file of one of sentence-transformers' steps after the model?"""
    return _STEP.search(path) is not None


def variants(files: Sequence[RemoteFile]) -> tuple[Variant, ...]:
    """Group a repository's files into what a person downloads as one thing.

    Shards are one variant, and one that lacks a shard says so; projectors, drafts and adapters are variants
    of their own role. Files that can run code are in none. Labels are unique: the quantisation, else the
    stem, else the path.
    """
    names = {f.path for f in files}
    found: list[Variant] = []
    if "model_index.json" in names:
        found += _diffusers(files)
        files = [f for f in files if "/" not in f.path]
    if "mlc-chat-config.json" in names:
        return (*found, _mlc(files))
    companions = tuple(f for f in files if f.path.endswith(_COMPANIONS))
    steps = tuple(f for f in files if _STEP.search(f.path)) if "modules.json" in names else ()
    for wanted, form in _WEIGHTS:
        weights = [f for f in files if wanted.search(f.path) and f not in steps]
        if form == "whisper" and not any(PurePosixPath(n).name.startswith("vocabulary.") for n in names):
            weights = [f for f in weights if not f.path.endswith("model.bin")]
        beside = () if form == "gguf" else companions
        made = [_with(variant, beside) for variant in _grouped(weights, form, files)]
        if form in {"safetensors", "onnx"} and steps:
            made = [replace(v, files=(*v.files, *(s for s in steps if s not in v.files))) for v in made]
        found += made
    return _unique(found)


_WEIGHTS: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r"\.gguf(?:-\d+-of-\d+)?$", re.IGNORECASE), "gguf"),
    (re.compile(r"\.safetensors$", re.IGNORECASE), "safetensors"),
    (re.compile(r"\.onnx$", re.IGNORECASE), "onnx"),
    # CTranslate2 keeps a Whisper in `model.bin` beside a `vocabulary.json`, whisper.cpp in `ggml-base.bin`;
    # every other .bin may be a pickle.
    (re.compile(r"(?:^|/)(?:model|ggml-[^/]+)\.bin$"), "whisper"),
)


def _grouped(weights: Iterable[RemoteFile], form: Format, files: Sequence[RemoteFile]) -> list[Variant]:
    groups: dict[tuple[str, ...], list[tuple[NameHint, RemoteFile]]] = {}
    for file in weights:
        hint = read(file.path)
        folder = str(PurePosixPath(file.path).parent)
        key: tuple[str, ...] = (folder, hint.stem, str(hint.shard[1] if hint.shard else 0))
        if form == "onnx":
            # An encoder and a decoder of one quantisation run together; `model_O2` and `model_qint8` are others.
            part = "" if _GRAPH_PART.match(hint.stem) else hint.stem
            key = (folder, hint.quantisation or _onnx_precision(hint.stem), part)
        groups.setdefault(key, []).append((hint, file))
    made = []
    for members in groups.values():
        members.sort(key=lambda m: (m[0].shard or (0, 0), m[1].path))
        hint = members[0][0]
        own = [file for _, file in members]
        if form == "onnx":
            merged = any("decoder_model_merged" in f.path for f in own)
            own = [f for f in own if not (merged and _HALF_DECODER.search(f.path))]
            own += [f for f in files for o in tuple(own) if f.path.startswith((o.path + "_data", o.path + ".data"))]
        have = {h.shard[0] for h, _ in members if h.shard}
        missing = tuple(n for n in range(1, hint.shard[1] + 1) if n not in have)[:1000] if hint.shard else ()
        made.append(Variant(_label(hint), hint.quantisation, tuple(own), form, hint.role, missing))
    return made


_GRAPH_PART = re.compile(r"(?:\w+_)?(?:encoder|decoder|embed_tokens|vision|audio)(?:_|$)", re.IGNORECASE)
_HALF_DECODER = re.compile(r"(?:^|/)decoder(?:_model|_with_past_model)(?!_merged)[^/]*\.onnx$", re.IGNORECASE)
"""What `decoder_model_merged` holds both of."""


def _onnx_precision(stem: str) -> str:
    """`decoder_model_merged_quantized` and `encoder_model_quantized` are one; `decoder_model` is another."""
    return "quantized" if stem.endswith("_quantized") else ""


def _label(hint: NameHint) -> str:
    if hint.role != "model":
        return f"{hint.role}-{hint.quantisation}" if hint.quantisation else hint.stem
    return hint.quantisation or hint.stem


_PRECISION = re.compile(r"\.(fp16|bf16)\.safetensors$|\.(fp16|bf16)-\d+-of-\d+\.safetensors$")


def _diffusers(files: Sequence[RemoteFile]) -> list[Variant]:
    """A picture model's folders, once for each precision its weights come in (`unet/x.fp16.safetensors`); a component
    that has no file of a precision comes in the one it has. None when no weights are safetensors."""
    inside = [f for f in files if "/" in f.path and f.path.endswith((".safetensors", *_COMPANIONS))]
    index = [f for f in files if f.path == "model_index.json"]
    weights = [f for f in inside if f.path.endswith(".safetensors") and ".non_ema." not in f.path]
    if not weights:
        return []
    rest = [f for f in inside if not f.path.endswith(".safetensors")]

    def precision(file: RemoteFile) -> str:
        found = _PRECISION.search(file.path)
        return (found[1] or found[2]) if found else ""

    folders = {str(PurePosixPath(f.path).parent) for f in weights}
    made = []
    for wanted in sorted({precision(f) for f in weights}):
        own: list[RemoteFile] = []
        for folder in folders:
            there = [f for f in weights if str(PurePosixPath(f.path).parent) == folder]
            have = sorted({precision(f) for f in there})
            own += [f for f in there if precision(f) == (wanted if wanted in have else have[0])]
        label = f"diffusers-{wanted}" if wanted else "diffusers"
        parts = tuple(sorted([*own, *rest, *index], key=lambda f: f.path))
        made.append(Variant(label, wanted or None, parts, "diffusers"))
    return made


def _with(variant: Variant, companions: tuple[RemoteFile, ...]) -> Variant:
    folders = {".", *(str(PurePosixPath(f.path).parent) for f in variant.files)}
    beside = tuple(f for f in companions if str(PurePosixPath(f.path).parent) in folders)
    files = (*variant.files, *beside)
    return Variant(variant.label, variant.quantisation, files, variant.format, variant.role, variant.missing)


def _mlc(files: Sequence[RemoteFile]) -> Variant:
    own = tuple(f for f in files if re.search(r"(?:^|/)params_shard_\d+\.bin$", f.path) or f.path.endswith(_COMPANIONS))
    return Variant("mlc", None, own, "mlc")


def _unique(found: list[Variant]) -> tuple[Variant, ...]:
    """Two variants of one label (`Q4_K_M` of two models) go by their stems, then by their paths."""
    for rename in (lambda f: read(f).stem, lambda f: f):
        labels = [v.label.lower() for v in found]
        found = [
            v
            if labels.count(v.label.lower()) == 1
            else Variant(rename(v.files[0].path), v.quantisation, v.files, v.format, v.role, v.missing)
            for v in found
        ]
    return tuple(found)


# --- what can run code ---

_RUNS_CODE = re.compile(
    r"\.(?:bin|pt|pth|ckpt|pkl|pickle|dill|joblib|h5|hdf5|keras|npy|npz|nemo|mar|"
    r"py|pyc|pyd|so|dll|dylib|exe|llamafile|sh|bat|cmd|ps1|js|jar|ipynb)$",
    re.IGNORECASE,
)
# Weights of ours that happen to be called .bin: whisper.cpp, MLC, CTranslate2 (told by its vocabulary), OpenVINO.
_PLAIN_BIN = re.compile(r"(?:^|/)(?:ggml-[^/]+|params_shard_\d+|openvino_[^/]+)\.bin$")


def runs_code(paths: Iterable[str]) -> tuple[str, ...]:
    """Of a repository's files, those whose format can run code when opened: pickles under all their names, scripts."""
    all_paths = list(paths)
    vocabularies = {str(PurePosixPath(p).parent) for p in all_paths if PurePosixPath(p).name.startswith("vocabulary.")}

    def plain(path: str) -> bool:
        where = PurePosixPath(path)
        return bool(_PLAIN_BIN.search(path)) or (where.name == "model.bin" and str(where.parent) in vocabularies)

    return tuple(p for p in all_paths if _RUNS_CODE.search(p) and not plain(p))
