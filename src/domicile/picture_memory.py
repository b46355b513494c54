"""What a picture model needs: weights in the number format of this hardware, the process, and the largest moment of a
drawing.

Pure arithmetic over `Facts`. A drawing has two large moments, a step of the network and the VAE that makes pixels of
latents; torch gives memory back between them, so the larger one counts. The bytes of a pixel were fitted to random
weights of the real shapes (`bench/images.py memory`, bench/RESULTS.md).
"""

from __future__ import annotations

from math import prod

from domicile.types import Facts, Hardware, Tensor

MIB = 1024**2
PROCESS_BYTES = 520 * MIB
"""Python with torch, diffusers and transformers loaded. Measured."""
NATIVE_HALF = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
VAE_VALUES = 5.5
"""Values kept at once for each pixel and channel of the widest full-size layer of the VAE's decoder. Fitted."""
NET_VALUES = 26.0
"""Values kept at once for each latent pixel and channel of the network's first level, the two halves of guidance
together. Fitted."""
TILE_PIXELS = 512 * 512
"""The VAE works in tiles of this size when it shall spare memory."""
SHARE_FOR_TILES = 0.75
"""Of the room: above it a picture is decoded in tiles."""
_LEFT_OUT = ("safety_checker.", "image_encoder.")
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def width_of(hardware: Hardware) -> int:
    """Bytes of a number in it: half precision where it is native (`drawing.pipeline.dtype_for`)."""
    return 2 if NATIVE_HALF & set(hardware.features) or any(g.engine for g in hardware.gpus) else 4


def side_of(facts: Facts) -> int:
    """Pixels a side that are drawn unless somebody says otherwise."""
    kind = (facts.architecture or "").lower()
    if any(part in kind for part in ("xl", "flux", "zimage", "diffusion3", "diffusion-3")):
        return 1024
    return 768 if kind.endswith("-2") else 512


def weights_bytes(facts: Facts, width: int) -> int | None:
    """Weights as they are loaded; a judge of pictures is not."""
    own = [t for t in facts.tensors if not t.name.startswith(_LEFT_OUT)]
    if own:
        return sum(_loaded(t, width) for t in own)
    if facts.weights_bytes is None:
        return None
    left = sum(int(facts.extra.get(f"component.{name[:-1]}", 0) or 0) for name in _LEFT_OUT)
    stored = _WIDTHS.get((facts.quantisation or "F16").upper(), 2)
    return (facts.weights_bytes - left) * width // stored


def _loaded(tensor: Tensor, width: int) -> int:
    return prod(tensor.dims) * width if tensor.type in _WIDTHS else tensor.size_bytes


def work_bytes(facts: Facts, width: int, pixels: int, tiled: bool = False) -> int:
    """The largest moment of a drawing of that many pixels, beside the weights."""
    decoded = min(pixels, TILE_PIXELS) if tiled else pixels
    vae = int(decoded * _vae_channels(facts) * width * VAE_VALUES) + pixels * 3 * 4 * 2
    net = int(pixels // 64 * _net_channels(facts) * width * NET_VALUES)
    return max(vae, net)


def _vae_channels(facts: Facts) -> int:
    """Of the widest layer of the decoder that works on the full size."""
    by_name = {t.name: t.dims for t in facts.tensors}
    for suffix in ("decoder.up_blocks.3.resnets.0.conv1.weight", "decoder.up.0.block.0.conv1.weight"):
        found = next((d for n, d in by_name.items() if n.endswith(suffix)), None)
        if found is not None and len(found) == 4:
            return int(max(found[2], found[3]))
    return 256


def _net_channels(facts: Facts) -> int:
    """Of the first level of the network."""
    for tensor in facts.tensors:
        if tensor.name in {"unet.conv_in.weight", "model.diffusion_model.input_blocks.0.0.weight"}:
            return int(tensor.dims[-1])
    return 1536 if side_of(facts) == 1024 and "xl" not in (facts.architecture or "").lower() else 320


def need_bytes(facts: Facts, hardware: Hardware, tiled: bool = False) -> tuple[int, int] | None:
    """Weights and the rest, for a picture of the usual size; None where the weights are not known."""
    width = width_of(hardware)
    weights = weights_bytes(facts, width)
    if weights is None:
        return None
    return weights, work_bytes(facts, width, side_of(facts) ** 2, tiled)


def modes_for(facts: Facts, hardware: Hardware, room: int | None) -> tuple[str, ...]:
    """What spares memory where a model may take `room` bytes; empty when there is enough. Attention needs nothing:
    torch computes it without ever holding its matrix."""
    need = need_bytes(facts, hardware)
    if room is None or need is None or sum(need) + PROCESS_BYTES <= room * SHARE_FOR_TILES:
        return ()
    return ("vae_slicing", "vae_tiling")
