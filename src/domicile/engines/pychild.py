"""An engine that is a child program in Python, in an environment of its own (`Row`).

Knows how to start the program with the extra's interpreter and how its answers become those of an engine. Knows no
format and no library: what is loaded and how is the program's business.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from domicile import ward
from domicile.engines import Awake, Counts, Launch, Prompts, Reply, Row
from domicile.errors import DomicileError, EngineMissing, ModelFileMissing
from domicile.ward import Ward

BOOT = Path(__file__).parents[1] / "boot_child.py"
ENVIRONMENT = {
    # What a library may look for on the network it does not have, or write where it should not.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}
NOTE = "domicile.json"
"""In an environment: what was installed, written when its own check had passed."""
KEPT = "kept"
"""In an environment: what the engine has made of models and keeps (conversions); it goes with the environment."""
_COUNT_S = 2.0


def interpreter(environment: Path) -> Path:
    """The Python of an extra's environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


class PythonEngine:
    """One row of the table. `environment` is the extra's folder, which may not be there."""

    def __init__(self, row: Row, environment: Path, boot: Path = BOOT) -> None:
        self.name = row.name
        self.formats = row.formats
        self.tasks = row.tasks
        self._row = row
        self._environment = environment
        self._boot = boot

    @asynccontextmanager
    async def awake(self, launch: Launch) -> AsyncIterator[Awake]:
        """See `Engine.awake`."""
        python, row, model = interpreter(self._environment), self._row, launch.model

        def missing(problem: str) -> DomicileError:
            return EngineMissing(engine=row.name, name=model.name, extra=row.extra, reason="extra", problem=problem)

        if not (self._environment / NOTE).is_file() or not python.is_file():
            raise missing(row.extra)
        if not model.path.exists():
            raise ModelFileMissing(name=model.name, path=model.path.name)
        threads = str(launch.threads)
        asked = {
            "model": str(model.path),
            "files": [str(path) for path in model.files or (model.path,)],
            "alias": model.name,
            "format": model.format,
            "task": model.task,
            "quantisation": model.quantisation,
            "plan": asdict(launch.plan),
            "threads": launch.threads,
            "template": launch.template,
            "embedding": launch.embedding,
            "adapters": [str(path) for path in launch.adapters],
            "compute": launch.compute,
            "seconds": launch.sound_s,
            "kept": str(self._environment / KEPT),
        }
        task = ward.Task(
            model.name,
            (str(python), "-I", "-X", "utf8", str(self._boot), row.program),
            asked,
            launch.log,
            launch.deadline_s,
            launch.memory_bytes + row.runtime_bytes if launch.memory_bytes else 0,
            missing,
            ENVIRONMENT | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
        )
        async with ward.raised(task) as child:
            awake = _Awake(child)
            await awake.come_up()
            yield awake


class _Awake:
    """See `Awake`."""

    def __init__(self, child: Ward) -> None:
        self._ward = child
        self._rate: float | None = None
        self.pid = child.pid
        self.gone = child.gone
        self.sealed = child.sealed
        self.prompts: Prompts | None = None

    async def come_up(self) -> None:
        """Ask once whether this program counts prompts (`POST /count`)."""
        status, body = await self._ward.told("POST", "/count", b'{"prompt": ""}')
        if status == 200:
            self.prompts = _Counting(self._ward, int(json.loads(body)["context"]))

    def resident_bytes(self) -> int | None:
        """See `Awake.resident_bytes`."""
        return self._ward.resident_bytes()

    def tokens_per_second(self) -> float | None:
        """See `Awake.tokens_per_second`: what the child last said, read with its counts and after each answer."""
        return self._rate

    async def counts(self) -> Counts | None:
        """See `Awake.counts`."""
        said = await self._said()
        return Counts(int(said.get("prompt") or 0), int(said.get("generated") or 0)) if said else None

    async def _said(self) -> Mapping[str, float]:

        if self.gone.is_set():
            return {}
        try:
            async with asyncio.timeout(_COUNT_S):
                status, body = await self._ward.told("GET", "/counts")
            said: Mapping[str, float] = json.loads(body) if status == 200 else {}
        except (TimeoutError, ValueError, DomicileError):
            return {}
        self._rate = said.get("rate") or self._rate
        return said

    async def why_gone(self) -> DomicileError:
        """See `Awake.why_gone`."""
        return await self._ward.why_gone()

    @asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        """See `Awake.ask`."""
        async with self._ward.ask("POST", path, body) as answer:
            yield Reply(answer.status, answer.content_type, answer.body)
        await self._said()


class _Counting:
    """See `Prompts`: how long prompts are. What was read is the child's own affair, and is not kept."""

    def __init__(self, child: Ward, context: int) -> None:
        self._ward = child
        self._context = context

    async def context(self) -> int | None:
        return self._context

    async def count(self, path: str, body: bytes) -> int | None:
        tokens = await self.tokens(path, body)
        return None if tokens is None else len(tokens)

    async def count_text(self, text: str) -> int | None:
        return await self.count("", json.dumps({"prompt": text}).encode())

    async def tokens(self, path: str, body: bytes) -> list[int] | None:
        status, said = await self._ward.told("POST", "/count", body)
        return [int(token) for token in json.loads(said)["tokens"]] if status == 200 else None

    async def slots(self) -> Sequence[bool]:
        return ()

    async def save(self, slot: int, file: str) -> int:
        return 0

    async def restore(self, slot: int, file: str) -> int:
        return 0

    async def shorten(self, slot: int, tokens: Sequence[int]) -> bool:
        return False
