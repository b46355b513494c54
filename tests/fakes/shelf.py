"""A Hub full of models made by a seed: what the searches of a test and of a benchmark are held against."""

from __future__ import annotations

import random

from tests.fakes.hub import FakeHub

FAMILIES = ("llama", "qwen", "mistral", "gemma", "whisper", "bge", "sdxl")
PUBLISHERS = ("meta", "alibaba", "someone", "bartowski", "lab-9")
TASKS = ("text-generation", "automatic-speech-recognition", "text-to-image", "sentence-similarity", None)
LICENCES = ("apache-2.0", "mit", "llama3.2", "other")
QUANTISATIONS = ("Q2_K", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "IQ4_XS")
FORMATS = ("gguf", "safetensors", "onnx", "mlc-llm", "diffusers", "ctranslate2")
SIZES = (135_000_000, 494_032_768, 1_000_000_000, 1_235_814_400, 3_212_749_824, 7_615_616_512, 8_030_261_248,
         14_000_000_000, 32_763_876_352, 70_553_706_496)  # fmt: skip
START = 1_650_000_000
DAY = 86_400


def fill(hub: FakeHub, count: int, seed: int = 1) -> None:
    """`count` models; figures are distinct where an order must be certain."""
    dice = random.Random(seed)
    ranks = list(range(count))
    dice.shuffle(ranks)
    for number in range(count):
        family, size = dice.choice(FAMILIES), dice.choice(SIZES)
        form = dice.choice(FORMATS)
        name = f"{dice.choice(PUBLISHERS)}/{family}-{number}"
        tags, files = [form, family, dice.choice(("fr", "en"))], {"README.md": b"# " + name.encode()}
        gguf = safetensors = None
        if form == "gguf":
            labels = dice.sample(QUANTISATIONS, dice.randint(1, 4))
            files |= {f"{family}-{label}.gguf": b"GGUF" for label in labels}
            if dice.random() < 0.9:
                gguf = {"total": size, "architecture": family, "context_length": 4096, "chat_template": "{{ x }}" * 50}
        elif form == "ctranslate2":
            files |= {"model.bin": b"w", "vocabulary.json": b"{}"}
        elif form != "onnx":
            files["model.safetensors"] = b"{}"
            if dice.random() < 0.9:
                dtype = dice.choice(("BF16", "F32"))
                safetensors = {"parameters": {dtype: size}, "total": size}
        created = START + dice.randrange(1000) * DAY
        hub.add(
            name,
            files,
            gated=dice.random() < 0.2,
            private=dice.random() < 0.03,
            licence=dice.choice(LICENCES),
            tags=tuple(tags),
            task=TASKS[1] if form == "ctranslate2" and dice.random() < 0.7 else dice.choice(TASKS),
            library=form,
            downloads=ranks[number] * 7,
            likes=ranks[-number - 1],
            created=created,
            updated=created + dice.randrange(400) * DAY + ranks[number] / 1000,
            gguf=gguf,
            safetensors=safetensors,
        )
