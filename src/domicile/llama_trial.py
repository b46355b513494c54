"""Builds of llama.cpp held against one another: do they answer alike, and which is the faster.

Each build holds small models of random weights, one for every family of quantisations, as it holds a person's models:
in a child, behind its door. The same greedy text is wanted of all; the numbers of a build that computes otherwise
(wider registers, other orders of sums) differ in the last digits, so two tokens that score nearly alike may change
places: that is no fault, and comparing ends there. Whatever else differs is one: a compiler that miscompiles a kernel
is off by much, or its program dies. Then the same work is timed, in turn.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domicile.engines import Awake, Launch
from domicile.engines.llama import Llama
from domicile.errors import DomicileError
from domicile.hardware import sample
from domicile.llama_builds import Build
from domicile.llama_choice import Pace, Record, Tried
from domicile.speed import family
from domicile.types import Installed, Plan

TINY = sample.Shape(2, n_embd=256, n_ff=512, n_head=4, n_head_kv=2, n_vocab=1024, gain=12.0)
PROMPTS, PROMPT_TOKENS, ANSWER_TOKENS = 3, 40, 16
TOLERANCE = 0.4
"""Of the natural logarithm of a token's probability. Measured on 19 families, AVX2 against AVX-512: at most a third of
it; a wrong kernel changes it by several units (bench/native.py)."""
_TOP = 24
_FIRST_WORD = 259
"""Tokens before it are marks and bytes. A byte that ends no character is left out of what the server tells."""
_AGREED_AT_LEAST = 12
"""Tokens that must have been compared in all, or nothing is known."""
LARGE_BYTES = 80 * 10**6
READ, WRITTEN, ROUNDS = 256, 24, 4
_WAKE_S = 120.0
_MEMORY_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, and how its rivals scored."""

    id: int
    logprob: float
    top: Mapping[int, float]


def difference(reference: Sequence[Sequence[Token]], other: Sequence[Sequence[Token]]) -> str:
    """What makes two sets of answers differ by more than rounding; empty where nothing does."""
    compared = 0
    for answer, (one, two) in enumerate(zip(reference, other, strict=True)):
        for place, (a, b) in enumerate(zip(one, two, strict=False)):
            if not math.isfinite(a.logprob) or not math.isfinite(b.logprob):
                return f"answer {answer + 1}, token {place + 1}: not a number"
            if a.id == b.id:
                compared += 1
                if abs(a.logprob - b.logprob) > TOLERANCE:
                    return f"answer {answer + 1}, token {place + 1}: {a.logprob:.3f} against {b.logprob:.3f}"
                continue
            if a.logprob - a.top.get(b.id, -math.inf) > TOLERANCE or b.logprob - b.top.get(a.id, -math.inf) > TOLERANCE:
                return f"answer {answer + 1}, token {place + 1}: another token"
            break  # a near tie: from here on they answer different texts
        else:
            if len(one) != len(two):
                return f"answer {answer + 1}: {len(one)} tokens against {len(two)}"
    return "" if compared >= _AGREED_AT_LEAST else f"only {compared} tokens could be compared"


class Trial:
    """One trial. `step` is told what is under way, and how far: a key, done, of how many."""

    def __init__(
        self,
        builds: Sequence[Build],
        threads: int,
        log: Path,
        step: Callable[[str, int, int], None] = lambda *_: None,
        *,
        storages: Sequence[sample.Storage] | None = None,
        rounds: int | None = None,
        large_bytes: int | None = None,
    ) -> None:
        """The first of `builds` is the reference where it is the wheel."""
        self._builds = builds
        self._threads = threads
        self._log = log
        self._step = step
        self._storages = storages or sample.STORAGES
        self._rounds = rounds or ROUNDS
        self._large_bytes = large_bytes or LARGE_BYTES
        self._engine = Llama()

    async def run(self) -> Record:
        """Compare all, then time those that answer alike."""
        with tempfile.TemporaryDirectory(prefix="domicile-trial-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            problems = await self._compared(folder)
            able = [build for build in self._builds if not problems.get(build.identity)]
            paces = await self._timed(able, folder) if len(able) > 1 else {}
        checked = self._builds[0].kind == "wheel"
        return Record(
            time.time(),
            {
                build.identity: Tried(
                    build.kind,
                    None if not checked else not problems.get(build.identity),
                    problems.get(build.identity, ""),
                    paces.get(build.identity, {}),
                )
                for build in self._builds
            },
        )

    # -- alike --

    async def _compared(self, folder: Path) -> dict[str, str]:
        """What is wrong with each build that is not the reference."""
        problems: dict[str, str] = {}
        reference, *others = self._builds
        for done, storage in enumerate(self._storages):
            self._step("engine_compare", done, len(self._storages))
            path = folder / f"{storage}.gguf"
            await asyncio.to_thread(sample.write, path, storage, TINY)
            wanted = await self._answers(reference, path)
            for build in others:
                if build.identity in problems:
                    continue
                try:
                    found = difference(wanted, await self._answers(build, path))
                except DomicileError as trouble:
                    found = f"{trouble.code} {trouble.facts.get('how') or trouble.facts.get('problem') or ''}".strip()
                except (LookupError, ValueError, TypeError):
                    found = "it does not say how its tokens scored"
                if found:
                    problems[build.identity] = f"{storage}: {found}"
            path.unlink()
        return problems

    async def _answers(self, build: Build, path: Path) -> list[list[Token]]:
        chance = random.Random(7)  # noqa: S311
        prompts = [[1, *chance.sample(range(_FIRST_WORD, TINY.n_vocab), PROMPT_TOKENS)] for _ in range(PROMPTS)]
        async with self._engine.awake(self._launch(build, path)) as awake:
            return [await _answer(awake, prompt) for prompt in prompts]

    # -- fast --

    async def _timed(self, builds: Sequence[Build], folder: Path) -> dict[str, dict[str, Pace]]:
        paces: dict[str, dict[str, Pace]] = {build.identity: {} for build in builds}
        storages: tuple[sample.Storage, ...] = ("Q8_0", "Q4_K")
        for number, storage in enumerate(storages):
            self._step("engine_time", number, len(storages))
            path = folder / f"{storage}.gguf"
            layers = max(1, round(self._large_bytes / sample.layer_bytes(storage)))
            await asyncio.to_thread(sample.write, path, storage, sample.Shape(layers))
            async with AsyncExitStack() as stack:
                awake = {
                    b.identity: await stack.enter_async_context(self._engine.awake(self._launch(b, path)))
                    for b in builds
                }
                for identity, pace in (await _raced(awake, self._rounds)).items():
                    paces[identity][family(storage)] = pace
            path.unlink()
        return paces

    def _launch(self, build: Build, path: Path) -> Launch:
        model = Installed(f"trial of {build.kind}", path, "gguf", path.stat().st_size, "file", files=(path,))
        plan = Plan(
            n_ctx=1024, n_parallel=1, n_ubatch=512, type_k="f16", type_v="f16", flash_attention=True, gpu_layers=0,
            tensor_split=(), cache_ram_bytes=0, checkpoints=0,
        )  # fmt: skip
        return Launch(model, plan, self._threads, _MEMORY_BYTES, _WAKE_S, self._log, build=build)


async def _raced(awake: Mapping[str, Awake], rounds: int) -> dict[str, Pace]:
    """The best of some rounds of each, in turn: what else the machine does can only slow them."""
    chance = random.Random(11)  # noqa: S311
    prompt = [1, *(chance.randrange(_FIRST_WORD, 512) for _ in range(READ - 1))]
    read = dict.fromkeys(awake, 0.0)
    written = dict.fromkeys(awake, 0.0)
    for number in range(rounds + 1):
        for identity, one in awake.items():
            said = await _completion(one, prompt, WRITTEN)
            if number:  # the first one warms up
                read[identity] = max(read[identity], float(said["timings"]["prompt_per_second"]))
                written[identity] = max(written[identity], float(said["timings"]["predicted_per_second"]))
    return {identity: Pace(read[identity], written[identity]) for identity in awake}


async def _answer(awake: Awake, prompt: Sequence[int]) -> list[Token]:
    words_only = [[token, False] for token in range(_FIRST_WORD)]
    said = await _completion(awake, prompt, ANSWER_TOKENS, n_probs=_TOP, logit_bias=words_only)
    return [
        Token(
            int(one["id"]), _number(one["logprob"]), {int(t["id"]): _number(t["logprob"]) for t in one["top_logprobs"]}
        )
        for one in said["completion_probabilities"]
    ]


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


async def _completion(awake: Awake, prompt: Sequence[int], tokens: int, **more: object) -> dict[str, Any]:
    asked = {"prompt": list(prompt), "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    async with awake.ask("/completion", json.dumps({**asked, **more}).encode()) as reply:
        body = b"".join([chunk async for chunk in reply.body])
    said: dict[str, Any] = json.loads(body)
    return said
