"""What the engine itself says a file will take, before the file is here: its own count, in its own words.

Knows how to start the child that asks (probe_child) on a file whose weights may be a hole, and how to read
the engine's log. Knows nothing of how a probe file is made (formats) nor of what the numbers are for (fit).
Where this and a formula differ, the engine is right: it is the one that will run.

Why a log is read: xllamacpp shows no call that counts memory (`fit_params_print` prints nothing from its
server), and llama.cpp's own, by ctypes, needs the layout of structures that change with each build
(fit-science, section 2).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from domicile import child
from domicile.types import Reason

_MIB = 2**20
_MEMORY_BYTES = 3 * 2**30
_QUIET_S = 3.0
_LAST_LINE = b"reserve took"
_UNITS = {"MiB": _MIB, "GiB": 2**30}


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """The engine's count. Sums over its devices; it prints hundredths of a MiB, so each is within 0.01 MiB a
    line (weights of 1 GiB and more: within 5 MiB, take the header's sum). None: the engine did not say."""

    weights_bytes: int | None = None
    kv_bytes: int | None = None
    """0 for a purely recurrent model."""
    state_bytes: int | None = None
    """Recurrent state; 0 when there is none."""
    compute_bytes: int | None = None
    output_bytes: int | None = None
    context: int | None = None
    """Tokens in all, as the engine rounded them."""
    compute_by_device: Mapping[str, int] = field(default_factory=dict)
    """By the engine's name of the buffer: CPU, CUDA0, CUDA_Host, Vulkan0 ..."""
    trouble: Reason | None = None
    """Why numbers are missing: the file is not loadable by this engine, or the engine is not here."""
    log: str = ""

    @property
    def complete(self) -> bool:
        return self.trouble is None


async def ask_engine(
    probe_file: Path,
    *,
    context: int,
    slots: int = 1,
    ubatch: int = 512,
    kv_k: str = "f16",
    kv_v: str = "f16",
    gpu_layers: int = 0,
    memory_bytes: int = _MEMORY_BYTES,
    deadline_s: float = 10.0,
) -> ProbeAnswer:
    """Ask. Takes about a fifth of a second, nearly all of it starting the child; a file that crashes or hangs
    the engine costs the child and is an answer with its `trouble`. `context` is of all slots together."""
    asked = {
        "path": str(probe_file),
        "context": context,
        "slots": slots,
        "ubatch": ubatch,
        "kv_k": kv_k,
        "kv_v": kv_v,
        "gpu_layers": gpu_layers,
        "memory_bytes": memory_bytes,
    }
    # The engine insists on listening somewhere, and the child has no network: a Unix socket, which nobody is told of.
    with tempfile.TemporaryDirectory(prefix="domicile-probe-", ignore_cleanup_errors=True) as folder:
        ended = await child.run(
            "domicile.engines.probe_child",
            [json.dumps({**asked, "folder": folder})],
            deadline_s=deadline_s,
            quiet_s=_QUIET_S,
            enough=lambda said: _LAST_LINE in said,
        )
    return read_log(ended.output, _trouble(ended, deadline_s))


def read_log(log: str, trouble: Reason | None = None) -> ProbeAnswer:
    """Read the engine's lines. Without the last one of them the numbers stand for nothing and are left
    out."""
    if trouble is not None:
        return ProbeAnswer(trouble=trouble, log=log)
    compute: dict[str, int] = {}
    # A graph may be reserved more than once: the last word for each device counts.
    for device, size, unit in re.findall(r"sched_reserve:\s+(\S+) compute buffer size =\s*([\d.]+) ([MG]iB)", log):
        compute[device] = _bytes(size, unit)
    # A model with a sliding window has two caches, one line each. The "buffer size" lines beside them say 0:
    # not taken.
    caches = re.findall(r"llama_kv_cache\w*: size =\s*([\d.]+) ([MG]iB) \(", log)
    states = re.findall(r"llama_memory_recurrent: size =\s*([\d.]+) ([MG]iB) \(", log)
    outputs = re.findall(r"output buffer size =\s*([\d.]+) ([MG]iB)", log)
    weights = re.search(r"print_info: file size\s*=\s*([\d.]+) ([MG]iB)", log)
    context = re.search(r"llama_context: n_ctx\s+= (\d{1,12})\b", log)
    return ProbeAnswer(
        weights_bytes=_bytes(weights[1], weights[2]) if weights else None,
        kv_bytes=sum(_bytes(size, unit) for size, unit in caches) if caches or states else None,
        state_bytes=sum(_bytes(size, unit) for size, unit in states),
        compute_bytes=sum(compute.values()) if compute else None,
        output_bytes=sum(_bytes(size, unit) for size, unit in outputs) if outputs else None,
        context=int(context[1]) if context else None,
        compute_by_device=compute,
        log=log,
    )


def _bytes(size: str, unit: str) -> int:
    return round(float(size) * _UNITS[unit])


def _trouble(ended: child.Ended, deadline_s: float) -> Reason | None:
    if _LAST_LINE.decode() in ended.output:
        return None
    if ended.how == "deadline":
        return Reason("probe.too_slow", {"seconds": deadline_s})
    if "No module named 'xllamacpp'" in ended.output:
        return Reason("probe.no_engine")
    said = _what_went_wrong(ended.output)
    if "MemoryError" in ended.output or "bad_alloc" in ended.output:
        return Reason("probe.memory", {"said": said})
    if said and ended.how == "itself" and (ended.status or 0) >= 0:
        return Reason("probe.refused", {"said": said})
    return Reason("probe.crashed", {"status": ended.status, "said": said})


def _what_went_wrong(log: str) -> str:
    """The engine's own sentence: its first line of an error, without its clock and place."""
    for pattern in (r"(GGML_ASSERT\([^\n]+)", r"\d E \S+ +(?:error loading model: )?([^\n]+)"):
        match = re.search(pattern, log)
        if match:
            return match[1].strip()[:200]
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
