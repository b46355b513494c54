"""How a `llama-server` is told what to do: the plan of a launch as flags of its command line, and paths in variables.

Knows llama.cpp's flags by all the names they have had, and what `--help` of a program says it understands. Runs
nothing. Source: `common/arg.cpp` of the llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domicile.errors import EngineUnfit

_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")
_VARIABLE = re.compile(r"\(env: (LLAMA_[A-Z0-9_]+)\)")


def understood(help_text: str) -> dict[str, str]:
    """Every flag that `--help` names, with the variable that stands for it; empty where there is none."""
    found: dict[str, str] = {}
    blocks = re.split(r"\n(?=-)", help_text)
    for block in blocks:
        if not block.startswith("-"):
            continue
        head = re.split(r"\s{2,}(?=[^-\s])|\n", block, maxsplit=1)[0]
        variable = _VARIABLE.search(block)
        for flag in _FLAG.findall(head):
            found.setdefault(flag, variable[1] if variable else "")
    return found


@dataclass(slots=True)
class Told:
    """What a program is given: words, variables, and files of its own folder (`{folder}` in a word)."""

    program: str
    flags: Mapping[str, str]
    words: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def give(self, *names: str, value: object = None, needed: bool = True) -> None:
        """A flag, under the first of its names that the program knows. Raises `EngineUnfit`."""
        flag = self._known(names, needed)
        if flag is not None:
            self.words += [flag] if value is None else [flag, str(value)]

    def hide(self, *names: str, value: str) -> None:
        """A flag whose value is nobody else's business: in a variable, where the program reads one."""
        flag = self._known(names, needed=True)
        if flag is None:
            return
        if variable := self.flags[flag]:
            self.environment[variable] = value
        else:
            self.words += [flag, value]

    def switch(self, on: Sequence[str], off: Sequence[str], *, wanted: bool) -> None:
        """One of two flags. A program that knows neither has not got the thing."""
        self.give(*(on if wanted else off), needed=False)

    def _known(self, names: Sequence[str], needed: bool) -> str | None:
        flag = next((name for name in names if name in self.flags), None)
        if flag is None and needed:
            raise EngineUnfit(program=self.program, flag=names[0])
        return flag


def told(program: str, flags: Mapping[str, str], asked: Mapping[str, Any]) -> Told:
    """Everything for one launch. `asked` is what the child of the wheel is asked (`engines.llama.asked_of`). Raises
    `EngineUnfit` for what the program does not know and the promise of memory needs."""
    it = Told(program, flags)
    it.hide("--model", value=asked["model"])
    it.hide("--alias", value=asked["alias"])
    it.give("--host", value="{folder}/door.sock")
    it.give("--api-key-file", value="{folder}/key")
    it.give("--offline", needed=False)
    it.give("--no-ui", "--no-webui", needed=False)
    it.give("--cors-origins", value="", needed=False)
    it.give("--metrics")
    it.give("--slots", needed=False)
    it.give("--no-context-shift", needed=False)
    it.give("--jinja", needed=False)
    it.give("--log-prefix", needed=False)
    it.give("--log-timestamps", needed=False)
    it.give("--log-colors", value="off", needed=False)
    it.give("--threads-http", value=int(asked["plan"]["n_parallel"]) + 8, needed=False)
    it.give("--threads", value=asked["threads"])
    it.give("--threads-batch", value=asked["threads"])
    if asked.get("template"):
        it.files["template.jinja"] = asked["template"]
        it.give("--chat-template-file", value="{folder}/template.jinja")
    if asked.get("states"):
        it.give("--slot-save-path", value=f"{asked['states']}/")
    for path in asked.get("adapters") or ():
        it.give("--lora", value=path)
    _memory(it, asked["plan"])
    _guess(it, asked["plan"])
    if asked.get("embedding"):
        it.give("--batch-size", value=asked["plan"]["n_ubatch"])  # a text is read in one batch, or not at all
        it.give("--embedding", "--embeddings")
        if asked.get("ranking"):
            it.give("--rerank", "--reranking")
    return it


def _memory(it: Told, plan: Mapping[str, Any]) -> None:
    """Everything that decides the memory, so that what was said is what runs."""
    it.give("--fit", value="off", needed=False)
    it.give("--parallel", value=plan["n_parallel"])
    it.give("--ctx-size", value=plan["n_ctx"])
    it.give("--ubatch-size", value=plan["n_ubatch"])
    it.give("--no-kv-unified", needed=False)
    it.give("--cache-type-k", value=plan["type_k"])
    it.give("--cache-type-v", value=plan["type_v"])
    it.give("--flash-attn", value="on" if plan["flash_attention"] else "off")
    it.give("--cache-ram", value=plan["cache_ram_bytes"] >> 20)
    it.give("--ctx-checkpoints", "--swa-checkpoints", value=plan["checkpoints"], needed=False)
    it.give("--gpu-layers", "--n-gpu-layers", value=plan["gpu_layers"])
    if not plan["gpu_layers"]:
        it.give("--device", value="none", needed=False)
    if plan["tensor_split"]:
        it.give("--tensor-split", value=",".join(map(str, plan["tensor_split"])))
    if "--load-mode" in it.flags:
        it.give("--load-mode", value="mmap" if plan["mmap"] else "none")
    else:
        it.switch(("--mmap",), ("--no-mmap",), wanted=plan["mmap"])
    if plan["projector"]:
        it.hide("--mmproj", value=plan["projector"])
        it.switch(("--mmproj-offload",), ("--no-mmproj-offload",), wanted=bool(plan["gpu_layers"]))


def _guess(it: Told, plan: Mapping[str, Any]) -> None:
    if plan["speculation"] == "ngram":
        it.give("--spec-type", value="ngram-simple")
        it.give("--spec-ngram-simple-size-n", "--spec-ngram-size-n", value=plan["ngram"][0])
        it.give("--spec-ngram-simple-size-m", "--spec-ngram-size-m", value=plan["ngram"][1])
    elif plan["speculation"] == "draft" and plan["draft"]:
        it.give("--spec-type", value="draft-simple", needed=False)
        it.hide("--spec-draft-model", "--model-draft", value=plan["draft"])
        it.give("--spec-draft-ngl", "--gpu-layers-draft", "--n-gpu-layers-draft", value=plan["gpu_layers"])
