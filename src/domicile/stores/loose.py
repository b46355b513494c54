"""Folders with models in them and no further rule: a person's own, ComfyUI's and A1111's among them.

A folder with a configuration beside its weights is one model; elsewhere each file is. Parts that are no models by
themselves (LoRAs, VAEs, upscalers ...), which such folders keep under known names, are left out; checkpoints that are
pickles are shown and never opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from domicile import names
from domicile.stores import hf, place
from domicile.stores.found import Folder, Found, found_of, models_in
from domicile.stores.place import Where
from domicile.types import Copy, RemoteFile, Variant

OWNER = "folder"
_WHOLE = frozenset({"model_index.json", "config.json", "mlc-chat-config.json"})
_PARTS = frozenset(
    """
    lora loras lycoris vae vae_approx vae-approx controlnet embeddings hypernetworks upscale_models esrgan realesrgan
    swinir clip clip_vision text_encoders text_encoder style_models ipadapter gligen photomaker adetailer deepbooru
    codeformer gfpgan ldsr karlo bsrgan t2i_adapter sams ultralytics insightface animatediff_models
    animatediff_motion_lora configs model_patches audio_encoders latent_upscale_models
    """.split()  # noqa: SIM905 - forty strings are easier to read so
)
_CHECKPOINTS = frozenset({"checkpoints", "stable-diffusion", "diffusion_models", "unet"})
_MOST_FOLDERS = 5000


def roots(where: Where) -> list[Path]:
    chosen = [p for said in where.settings.model_folders if (p := where.named(said))]
    usual = [where.person / "ComfyUI" / "models", where.person / "stable-diffusion-webui" / "models"]
    return [*chosen, *usual]


def scan(root: Path) -> Iterator[Found]:
    waiting, seen = [(root, 0)], 0
    while waiting and seen < _MOST_FOLDERS:
        at, depth = waiting.pop()
        seen += 1
        here = place.files(at, root)
        title = at.name if at == root else at.relative_to(root).as_posix()
        commit, digests = hf.local_digests(at, root)
        if _WHOLE & here.keys():
            folder = Folder(OWNER, root, at, title, None, commit, digests)
            whole = list(models_in(folder, place.below(at, root), several=False))
            if whole:
                yield from whole
                continue
        yield from _single(Folder(OWNER, root, at, title, None, commit, digests), here)
        if depth < place.DEEPEST:
            below = [f for f in place.folders(at) if f.name.lower() not in _PARTS]
            waiting += [(f, depth + 1) for f in reversed(below)]


def of_file(path: Path) -> Iterator[Found]:
    """A file that somebody names, with its shards."""
    folder = Folder(OWNER, path.parent, path.parent, path.parent.name)
    for found in _single(folder, place.files(path.parent, path.parent)):
        if path in found.files:
            yield found


def _single(folder: Folder, here: dict[str, os.stat_result]) -> Iterator[Found]:
    """Each file, or set of shards, as a model of its own."""
    remote = [
        RemoteFile(n, s.st_size, folder.digests.get(n)) for n, s in here.items() if not n.endswith((".json", ".txt"))
    ]
    for variant in names.variants(remote):
        weights = tuple(f for f in variant.files if f.path.lower().endswith((".gguf", ".safetensors", ".onnx", ".bin")))
        if variant.role != "model" or variant.missing or not weights:
            continue
        if variant.format == "gguf" and not place.starts_with(folder.at / weights[0].path, b"GGUF"):
            continue
        if variant.format == "safetensors" and names.read(weights[0].path).shard:
            continue  # shards of a folder whose configuration is missing
        alone = Variant(variant.label, variant.quantisation, weights, variant.format)
        yield found_of(folder, alone, _title(folder, weights[0].path))
    if folder.at.name.lower() in _CHECKPOINTS:
        for name, at in here.items():
            if name.lower().endswith((".ckpt", ".pt", ".pth")):
                variant = Variant(name, None, (RemoteFile(name, at.st_size),), "safetensors")
                pickle = found_of(folder, variant, _title(folder, name))
                yield _refused(pickle)


def _refused(found: Found) -> Found:
    return replace(found, runs_code=True)


def _title(folder: Folder, file: str) -> str:
    """The path from the root, without extension and shard."""
    hint = names.read(file)
    return hint.stem if folder.at == folder.root else f"{folder.title}/{hint.stem}"


def leavings(copy: Copy) -> list[Path]:
    return list(copy.files)
