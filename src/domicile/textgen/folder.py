"""A model's folder made safe to hand to a library: configurations without references to code, weights linked.

Knows which small files a tokenizer, a processor and a model are described in, and the fields of them that make a
library fetch or run Python of the repository. Standard library only. (`trust_remote_code=False` alone was bypassed
twice through `config.json`; what is not in the folder cannot be run.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_TEXT = 64 * 2**20
MOST_HEADER = 25_000_000
_TEXTS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_LEFT_OUT = frozenset({"adapter_config.json", "chat_template.json", "training_args.json"})
"""A change to the model that would be fetched; a second place for a template, which nobody has judged."""
_CODE = frozenset(
    {"auto_map", "custom_pipelines", "trust_remote_code", "custom_generate", "kernel_config", "use_kernels"}
)
_FETCHED = frozenset({"_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "tokenizer_name"})
"""Names of other places, or of files anywhere on the disk."""


class UnsafeError(Exception):
    """Why a folder is not handed over, in a line."""


def sanitised(files: Sequence[Path], target: Path) -> Path:
    """Make a copy of a model's folder at `target`: small files read and cleaned, weights as links. Returns it.

    Only safetensors are weights: nothing else is there to be opened. Raises `UnsafeError`.
    """
    target.mkdir()
    folder = files[0].parent
    for file in files:
        name = file.name
        if file.parent != folder or name.startswith(".") or name in _LEFT_OUT:
            continue
        if name.lower().endswith(".safetensors"):
            (target / name).symlink_to(_weights(file))
        elif name.lower().endswith(_TEXTS):
            _copy(file, folder, target / name)
    return target


def _weights(file: Path) -> Path:
    """The true place of a weight file, which is one."""
    real = file.resolve()
    if not real.is_file():
        raise UnsafeError(f"{file.name} is no file")
    size = real.stat().st_size
    with real.open("rb") as opened:
        head = opened.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{" or not 0 < length <= min(MOST_HEADER, size - 8):
        raise UnsafeError(f"{file.name} is no safetensors file")
    return real


def _copy(file: Path, folder: Path, target: Path) -> None:
    real = file.resolve()
    # A cache of the Hub's client keeps its files in `blobs` beside `snapshots`, and links to them.
    allowed = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    if not real.is_file() or not any(real.is_relative_to(place) for place in allowed):
        raise UnsafeError(f"{file.name} leads out of its folder")
    if real.stat().st_size > MOST_TEXT:
        raise UnsafeError(f"{file.name} is larger than {MOST_TEXT >> 20} MiB")
    body = real.read_bytes()
    if file.suffix.lower() == ".json":
        try:
            said = json.loads(body)
        except (ValueError, RecursionError) as trouble:
            raise UnsafeError(f"{file.name} is no JSON") from trouble
        if file.name.endswith(".index.json"):
            _check_index(file.name, said)
        elif file.name not in {"vocab.json", "tokenizer.json"}:  # words, among them perhaps these
            body = json.dumps(cleaned(said)).encode()
    target.write_bytes(body)


def _check_index(name: str, said: Any) -> None:
    shards = said.get("weight_map", {}).values() if isinstance(said, dict) else [None]
    if not all(isinstance(s, str) and s.endswith(".safetensors") and "/" not in s and "\\" not in s for s in shards):
        raise UnsafeError(f"{name} names other files than shards")


def cleaned(value: Any) -> Any:
    """A configuration without what makes a library run or fetch code, at any depth."""
    if isinstance(value, dict):
        return {k: cleaned(v) for k, v in value.items() if not _is_code(str(k))}
    if isinstance(value, list):
        return [cleaned(v) for v in value]
    return value


def _is_code(key: str) -> bool:
    return (
        key in _CODE or key in _FETCHED or key.lstrip("_").startswith(("attn_implementation", "experts_implementation"))
    )
