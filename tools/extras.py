"""The lock files of extras: written with uv, and what they cost, measured by installing them.

python -m tools.extras lock          all of src/domicile/engines/locks (what was measured is kept)
python -m tools.extras measure NAME  install it in a folder of its own; writes bytes and seconds into its header
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

from domicile.config import load
from domicile.db import Database
from domicile.egress import Egress
from domicile.extras import Extras
from domicile.extras.lock import CUDA, LOCKS, TOOL_LOCKS, TORCH, read
from domicile.jobs import Progress

TORCH_PIN = "torch==2.13.0"
CPU_BUILDS = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)
"""Digests of the CPU builds of that torch which an index of PyPI does not list: cp311, manylinux x86_64."""
LINE_BYTES_PER_S = 12_500_000
_FOR_CUDA = re.compile(r"^(?:nvidia-|cuda-|triton)")
_NOT_NEEDED = re.compile(r"^(?:hf-xet|httpx2-jsfetch)==")
"""Ways to the network, in programs that have none."""

EXTRAS: dict[str, tuple[list[str], str, str]] = {
    "transformers": (
        [TORCH_PIN, "transformers==5.23.0", "accelerate", "safetensors", "sentencepiece", "protobuf", "pillow"],
        "torch transformers",
        (
            "import torch, transformers, safetensors, accelerate; print('torch', torch.__version__, 'transformers',"
            " transformers.__version__)"
        ),
    ),
    "onnx": (
        ["onnxruntime-genai", "onnxruntime", "numpy", "tokenizers", "jinja2"],
        "onnxruntime onnxruntime-genai",
        "import onnxruntime, onnxruntime_genai, tokenizers; print('onnxruntime', onnxruntime.__version__)",
    ),
    "whisper": (
        ["faster-whisper", "av", "numpy"],
        "faster-whisper ctranslate2",
        "import faster_whisper, ctranslate2, av; print('ctranslate2', ctranslate2.__version__)",
    ),
    "images": (
        [TORCH_PIN, "diffusers", "transformers==5.23.0", "accelerate", "peft", "pillow", "safetensors"],
        "torch diffusers",
        (
            "import torch, diffusers, transformers, peft; print('torch', torch.__version__, 'diffusers',"
            " diffusers.__version__)"
        ),
    ),
}
"""What is asked for, what a person knows it by, and the check that it works."""
TOOLS: dict[str, tuple[list[str], str, str]] = {
    "llama-build": (
        ["cmake", "ninja", "scikit-build-core"],
        "cmake ninja",
        "import cmake, ninja, scikit_build_core; print('cmake', cmake.__version__, 'ninja', ninja.__version__)",
    ),
}
"""What an engine is compiled with (`locks/tools`), in the same form."""


def lock(name: str) -> None:
    asked, about, check = (EXTRAS | TOOLS)[name]
    blocks = _compiled(asked)
    torch = [block for block in blocks if block.startswith("torch==")]
    cuda = [block for block in blocks if _FOR_CUDA.match(block)]
    rest = [b for b in blocks if b not in torch and b not in cuda and not _NOT_NEEDED.match(b)]
    path = _path(name)
    old = dict(re.findall(r"^# extra\.(\w+): (.*)$", path.read_text("utf-8"), re.MULTILINE)) if path.exists() else {}
    costs = {key: old.get(key, "0") for key in ("download_bytes", "disk_bytes", "seconds")}
    header = {"about": about, "torch": "yes" if torch else "no", "check": check, **costs}
    _write(path, rest, header)
    if torch:
        more = "".join(f" \\\n    --hash=sha256:{digest}" for digest in CPU_BUILDS)
        _write(LOCKS / TORCH, [torch[0] + more])
        _write(LOCKS / CUDA, cuda)


def _path(name: str) -> Path:
    return (TOOL_LOCKS if name in TOOLS else LOCKS) / f"{name}.txt"


def _compiled(asked: list[str]) -> list[str]:
    words = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    words += ["--no-emit-index-url", "--no-annotate", "--no-header", "-"]
    said = subprocess.run(words, input="\n".join(asked), capture_output=True, text=True, check=True)
    return [block.rstrip("\n") for block in re.split(r"^(?=\S)", said.stdout, flags=re.MULTILINE) if block.strip()]


def _write(path: Path, blocks: list[str], header: dict[str, str] | None = None) -> None:
    lines = ["# Made by `make lock` (tools/extras.py); do not edit."]
    lines += [f"# extra.{key}: {value}" for key, value in (header or {}).items()]
    path.write_text("\n".join([*lines, *blocks]) + "\n", "utf-8")


async def measure(name: str) -> None:
    path = _path(name)
    with tempfile.TemporaryDirectory(prefix="domicile-extra-") as home:
        settings = load({"DOMICILE_HOME": home})
        database = Database(settings.database)
        egress = Egress(database)
        note = await Extras(settings, egress, path.parent).add(name, Progress(lambda **_: None))
        log = (settings.logs / f"engine-{name}.log").read_text("utf-8")
        await egress.aclose()
        database.close()
    scale = {"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9}
    fetched = re.findall(r"^\s*(?:Downloading|Using cached) \S+\.whl \(([\d.]+) (\w?B)\)", log, re.MULTILINE)
    down = sum(int(float(number) * scale[unit]) for number, unit in fetched)
    down += sum(Path(file).stat().st_size for file in set(re.findall(r"^Processing (\S+\.whl)", log, re.MULTILINE)))
    print(f"{name}: {note['disk_bytes']} bytes on disk, {down} to download, {note['seconds']} s")
    text = path.read_text("utf-8")
    for key, value in (("disk_bytes", note["disk_bytes"]), ("download_bytes", down)):
        text = re.sub(rf"^# extra\.{key}: .*$", f"# extra.{key}: {value}", text, flags=re.MULTILINE)
    seconds = note["seconds"] + down // LINE_BYTES_PER_S
    path.write_text(re.sub(r"^# extra\.seconds: .*$", f"# extra.seconds: {seconds}", text, flags=re.MULTILINE), "utf-8")
    assert read(path).disk_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=["lock", "measure"])
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    TOOL_LOCKS.mkdir(parents=True, exist_ok=True)
    for name in options.names or EXTRAS | TOOLS:
        if options.act == "lock":
            lock(name)
        else:
            asyncio.run(measure(name))


if __name__ == "__main__":
    main()
