"""Tiny wheels made on the spot, and locks of them: an installation that is real in everything but its size."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(folder: Path, name: str, version: str, module: str = "", *, needs: tuple[str, ...] = ()) -> str:
    """A wheel of one module; its sha256. `module` is the source of `<name>/__init__.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {one}\n" for one in needs)
    files = {
        f"{name}/__init__.py": module or f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lock(folder: Path, extra: str, pins: Mapping[str, str], check: str, *, torch: bool = False) -> Path:
    """The lock of an extra: `pins` is requirement to digest."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {"about": " ".join(pin.split("==")[0] for pin in pins), "torch": "yes" if torch else "no", "check": check}
    header |= {"download_bytes": "1000", "disk_bytes": "20000000", "seconds": "5"}
    lines = [f"# extra.{key}: {value}" for key, value in header.items()]
    lines += [f"{pin} \\\n    --hash=sha256:{digest}" for pin, digest in pins.items()]
    path = folder / f"{extra}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
