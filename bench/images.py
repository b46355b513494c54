"""Pictures: seconds a step through the house against diffusers itself, and the memory that was predicted.

`python -m bench.images [SIDE [ROUNDS]]` draws with random weights, by turns through an open house and with the library
called directly, in the same environment, and prints the ratio of their medians, by the processes' own processor time
and by the clock: whole drawings, text and VAE and (in the house) previews and the PNG among them, divided by their
steps. `python -m bench.images memory` makes the
shapes of Stable Diffusion 1.5 with random weights and prints what a drawing took beside what `domicile fit` says.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS, STEPS, SIDE = 5, 8, 384
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
        if sys.argv[1:] == ["memory"]:
            asyncio.run(_memory(Path(folder)))
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


async def _memory(place: Path) -> None:
    """Random weights in the shapes of Stable Diffusion 1.5 (2.1 GB in bfloat16)."""
    model = _real_shapes(place)
    for side in (256, 384, 512):
        async with _house(place / str(side), model) as house:
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
                f"{side}: predicted {predicted / 2**20:.0f} MiB (weights {weights / 2**20:.0f}), "
                f"took {peak / 2**20:.0f} MiB, off by {off:+.1%}; {time.monotonic() - began:.0f} s ({child.state})",
                flush=True,
            )


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


def _real_shapes(place: Path) -> Path:
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from domicile.drawing.checkpoint import tokenizer

    tokenizer(place / "words", "<|endoftext|>")
    torch.set_default_dtype(torch.bfloat16)
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    made = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
        ),
        unet=diffusers.UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(place / "words"),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    made.save_pretrained(place / "real", safe_serialization=True)
    return place / "real"


if __name__ == "__main__":
    main()
