"""Pictures: seconds a step through the house against diffusers itself, and the memory that was predicted.

`python -m bench.images [SIDE [ROUNDS]]` draws with random weights, by turns through an open house and with the library
called directly, in the same environment, and prints the ratio of their medians, by the processes' own processor time
and by the clock: whole drawings, text and VAE and (in the house) previews and the PNG among them, divided by their
steps. `python -m bench.images memory [1.5 2 xl flux zimage]` makes real shapes with random weights (of Flux and Z-Image
a few layers, for the others add weights alone) and prints what a drawing took beside what `domicile fit` says.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS, STEPS, SIDE = 5, 8, 384
SIDES = {"1.5": (256, 384, 512), "2": (512, 768), "xl": (512, 768), "flux": (512, 768), "zimage": (512, 768)}
"""What is drawn of each kind whose memory is read, in pixels a side."""
_DIRECT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch, diffusers
torch.set_num_threads(int(sys.argv[2]))
dtype = getattr(torch, sys.argv[3])
pipe = diffusers.StableDiffusionPipeline.from_pretrained(sys.argv[1], torch_dtype=dtype, local_files_only=True)
pipe.set_progress_bar_config(disable=True)
for line in sys.stdin:
    side, steps = json.loads(line)
    began, mine = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        pipe("a cat", height=side, width=side, num_inference_steps=steps, guidance_scale=7.0,
             generator=torch.Generator().manual_seed(1))
    print(json.dumps([(time.perf_counter() - began) / steps, (time.process_time() - mine) / steps]), flush=True)
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:
        os.environ["DOMICILE_HOME"] = str(Path(folder) / "home")
        if sys.argv[1:2] == ["memory"]:
            for kind in sys.argv[2:] or SIDES:
                asyncio.run(_memory(Path(folder), kind))
        else:
            side, rounds, *_ = [*map(int, sys.argv[1:3]), *(SIDE, ROUNDS)[len(sys.argv) - 1 :]]
            asyncio.run(_speed(Path(folder), side, rounds))


async def _speed(place: Path, side: int, rounds: int) -> None:
    import psutil
    from tests.fakes import painters

    model = painters.folder(place)
    async with _house(place, model) as house:
        from domicile.studio import Wanted

        threads = 1
        about = await _about(house)
        command = [sys.executable, "-c", _DIRECT, str(model), str(threads), about["dtype"]]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        direct = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)
        assert direct.stdin is not None
        assert direct.stdout is not None
        ours: list[tuple[float, float]] = []
        theirs: list[tuple[float, float]] = []
        (pid,) = [child.pid for _, child in house.runner.children()]
        child = psutil.Process(pid)
        for turn in range(rounds + 1):
            wanted = Wanted("a cat", width=side, height=side, steps=STEPS, guidance=7.0, seed=1)
            before, began = sum(child.cpu_times()[:2]), time.perf_counter()
            async for _ in house.studio.draw(wanted):
                pass
            spent = time.perf_counter() - began, sum(child.cpu_times()[:2]) - before
            direct.stdin.write(json.dumps([side, STEPS]) + "\n")
            direct.stdin.flush()
            there = await asyncio.to_thread(direct.stdout.readline)
            if turn:  # the first of each warms up
                ours.append((spent[0] / STEPS, spent[1] / STEPS))
                theirs.append(tuple(json.loads(there)))
        direct.stdin.close()
        direct.wait()
    load = os.getloadavg()[0]
    print(f"{side} x {side}, {STEPS} steps, {rounds} rounds, {about['dtype']}, {threads} thread, load {load:.1f}")
    for place_, name in ((1, "processor"), (0, "clock")):
        a, b = (statistics.median(one[place_] for one in side_) for side_ in (ours, theirs))
        print(f"seconds a step by the {name}: house {a:.4f}, diffusers {b:.4f}; speed ratio {b / a:.3f}")


async def _memory(place: Path, kind: str) -> None:
    """Random weights in real shapes, bfloat16."""
    model = (_real_shapes if kind in _NETS else _flowing)(place, kind)
    for side in SIDES[kind]:
        async with _house(place / f"{kind}-{side}", model) as house:
            from domicile.studio import Wanted

            began = time.monotonic()
            opinion = await house.adviser.known("tiny")
            machine = await house.adviser.machine_for_engine()
            from domicile import picture_memory as said

            width = said.width_of(machine)
            weights = said.weights_bytes(opinion.facts, width) or 0
            predicted = weights + said.work_bytes(opinion.facts, width, side * side) + said.PROCESS_BYTES
            async for _ in house.studio.draw(Wanted("a cat", width=side, height=side, steps=1, seed=1)):
                pass
            (child,) = house.runner.ps()
            peak = _peak(house)
            off = predicted / peak - 1
            print(
                f"{kind}, {side}: predicted {predicted / 2**20:.0f} MiB (weights {weights / 2**20:.0f}), "
                f"took {peak / 2**20:.0f} MiB, off by {off:+.1%}; {time.monotonic() - began:.0f} s ({child.state})",
                flush=True,
            )
    shutil.rmtree(model)


def _peak(house: Any) -> int:
    """The most resident memory of the child so far."""
    (awake,) = [child.pid for _, child in house.runner.children()]
    status = Path(f"/proc/{awake}/status").read_text("ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


async def _about(house: Any) -> dict[str, Any]:
    from domicile.answering import Ask, whole

    async with house.answer(Ask("tiny", "/about", b"{}")) as answer:
        found: dict[str, Any] = json.loads(await whole(answer.reply.body))
    return found


def _house(place: Path, model: Path) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> Any:
        from tests.fakes.environment import borrowed

        from domicile.app import open_house
        from domicile.config import load
        from domicile.types import Installed

        os.environ["DOMICILE_HOME"] = str(place / "home")
        settings = load(threads=1, selftest=False)
        borrowed(settings.engines, "images")
        async with open_house(settings) as house:
            files = tuple(sorted(p for p in model.rglob("*") if p.is_file()))
            size = sum(p.stat().st_size for p in files)
            index = model / "model_index.json"
            house.library.add(Installed("tiny", index, "diffusers", size, "file", files=files, task="text-to-image"))
            yield house

    return opened()


_NETS: dict[str, dict[str, Any]] = {
    "1.5": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "2": {
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "xl": {
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
_TEXTS = {"1.5": (768, 12, 12), "2": (1024, 23, 16), "xl": (768, 12, 12)}
"""Width, layers and heads of CLIP's text model; XL has a second one."""


def made(model: Any, *given: Any, **more: Any) -> Any:
    """A model without the minutes of its random numbers."""
    import torch

    from bench.fit_formats import filled

    with torch.device("meta"):
        empty = model(*given, **more)
    return filled(empty.to(torch.bfloat16).to_empty(device="cpu"))


def _flowing(place: Path, kind: str) -> Path:
    import diffusers
    from tests.fakes import painters
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        Qwen3Config,
        Qwen3Model,
        T5Config,
        T5EncoderModel,
    )

    from domicile.drawing.checkpoint import tokenizer

    parts: dict[str, Any] = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        "vae": made(
            diffusers.AutoencoderKL, block_out_channels=(128, 256, 512, 512), latent_channels=16,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2, sample_size=1024, scaling_factor=0.3611, shift_factor=0.1159,
            use_quant_conv=False, use_post_quant_conv=False, force_upcast=False,
        ),
    }  # fmt: skip
    if kind == "flux":
        tokenizer(place / "words", "<|endoftext|>")
        clip = CLIPTextConfig(vocab_size=49408, projection_dim=768, hidden_size=768, intermediate_size=3072)
        t5 = T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=2, num_heads=64)
        parts |= {
            "transformer": made(diffusers.FluxTransformer2DModel, num_layers=3, num_single_layers=4),
            "text_encoder": made(CLIPTextModel, clip),
            "tokenizer": CLIPTokenizer.from_pretrained(place / "words"),
            "text_encoder_2": made(T5EncoderModel, t5),
            "tokenizer_2": painters.t5_words(),
        }
        pipe = diffusers.FluxPipeline(**parts)
    else:
        qwen = Qwen3Config(
            vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=3, num_attention_heads=32,
            num_key_value_heads=8, head_dim=128,
        )  # fmt: skip
        parts |= {
            "transformer": made(diffusers.ZImageTransformer2DModel, n_layers=4),
            "text_encoder": made(Qwen3Model, qwen),
            "tokenizer": painters.qwen_words(),
        }
        pipe = diffusers.ZImagePipeline(**parts)
    pipe.save_pretrained(place / "real", safe_serialization=True)
    return place / "real"


def _real_shapes(place: Path, kind: str) -> Path:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from domicile.drawing.checkpoint import tokenizer

    def text(model: Any, width: int, layers: int, heads: int) -> Any:
        config = CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
            vocab_size=49408, bos_token_id=0, eos_token_id=2, projection_dim=width,
        )  # fmt: skip
        return made(model, config)

    words = place / "words"
    if not words.exists():
        tokenizer(words, "<|endoftext|>")
    parts = {
        "vae": made(
            diffusers.AutoencoderKL, block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2, sample_size=1024 if kind == "xl" else 512, force_upcast=False,
        ),
        "unet": made(diffusers.UNet2DConditionModel, **_NETS[kind]),
        "text_encoder": text(CLIPTextModel, *_TEXTS[kind]),
        "tokenizer": CLIPTokenizer.from_pretrained(words),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
    }  # fmt: skip
    if kind == "xl":
        second = {"text_encoder_2": text(CLIPTextModelWithProjection, 1280, 32, 20), "tokenizer_2": parts["tokenizer"]}
        pipe = diffusers.StableDiffusionXLPipeline(**parts, **second)
    else:
        nobody = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipe = diffusers.StableDiffusionPipeline(**parts, **nobody)
    pipe.save_pretrained(place / "real", safe_serialization=True)
    return place / "real"


if __name__ == "__main__":
    main()
