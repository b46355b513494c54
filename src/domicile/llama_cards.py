"""Graphics cards that the installed wheel of llama.cpp does not use, and the command that brings a wheel which does.

xllamacpp publishes wheels for CUDA, ROCm and Vulkan at an index of its own. Where that is, is said in the description
that the installed package carries: it is read there, so that no address is kept here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from domicile.types import Gpu

_COMMAND = re.compile(r"^\s*pip install (xllamacpp) ((?:--\S+ )*--index-url (\S+/([\w.-]+)))\s*$", re.MULTILINE)
_FAMILIES: Mapping[str, str] = {"cuda": "cu", "rocm": "rocm", "vulkan": "vulkan", "intel": "vulkan"}
CUDA_13_DRIVER = 580
"""The first NVIDIA driver that runs programs of CUDA 13."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A card that could compute, and how."""

    name: str
    backend: str
    wheel: str
    """What the wheel for it is called, `cu128`; empty where none is published."""
    command: str
    """Empty where there is none to say."""

    def public(self) -> dict[str, str]:
        return {"name": self.name, "backend": self.backend, "wheel": self.wheel, "command": self.command}


def idle(gpus: Sequence[Gpu], description: str | None = None) -> list[Idle]:
    """The cards that no engine lists. `description`: of the package, as installed where None."""
    cards = [gpu for gpu in gpus if not gpu.engine]
    wheels = published(_described() if description is None else description) if cards else {}
    found = []
    for gpu in cards:
        wheel = _fitting(gpu, list(wheels))
        found.append(Idle(gpu.name, gpu.backend, wheel, wheels.get(wheel, "")))
    return found


def published(description: str) -> dict[str, str]:
    """The wheels that a description tells of, with the command for each, in the version that is installed here."""
    try:
        pinned = f"xllamacpp=={metadata.version('xllamacpp')}"
    except metadata.PackageNotFoundError:
        pinned = "xllamacpp"
    return {
        match[4]: f"{sys.executable} -m pip install --no-deps {match[2]} {pinned}"
        for match in _COMMAND.finditer(description)
    }


def _described() -> str:
    try:
        found = metadata.metadata("xllamacpp")
    except metadata.PackageNotFoundError:
        return ""
    return str(found.get_payload() or found.get("Description") or "")  # type: ignore[attr-defined]


def _fitting(gpu: Gpu, wheels: Sequence[str]) -> str:
    """The newest wheel of its family that its driver runs."""
    family = _FAMILIES.get(gpu.backend)
    of_family = sorted((w for w in wheels if family and w.startswith(family)), key=_version)
    if gpu.backend == "cuda" and _major(gpu.driver) < CUDA_13_DRIVER:
        of_family = [w for w in of_family if _version(w) < (13,)]
    return of_family[-1] if of_family else ""


def _version(wheel: str) -> tuple[int, ...]:
    """`cu128` is 12.8, `rocm-7.2.4` is 7.2.4."""
    digits = re.findall(r"\d+", wheel)
    if wheel.startswith("cu") and digits:
        return int(digits[0][:2]), int(digits[0][2:] or 0)
    return tuple(int(d) for d in digits)


def _major(driver: str | None) -> int:
    found = re.match(r"\d+", driver or "")
    return int(found[0]) if found else 0
