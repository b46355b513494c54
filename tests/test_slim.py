"""What a library loses when it is made slim is never loaded."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools.slim import slim


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is the format of Linux")
def test_a_slim_engine_still_loads(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    copy = tmp_path / "xllamacpp"
    shutil.copytree(Path(spec.origin).parent, copy)
    library = next(copy.glob("*.so"))
    slim(library)
    kept = library.stat().st_size
    with library.open("ab") as out:
        out.write(bytes(2 << 20))
    assert slim(library) == 2 << 20
    assert library.stat().st_size == kept
    code = "import xllamacpp; print(xllamacpp.__file__); print(xllamacpp.get_system_info())"
    said = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(str(copy))
    assert "CPU" in said.stdout


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(58), b"MZ" + bytes(3 << 20)])
def test_what_is_not_a_library_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.so"
    path.write_bytes(content)
    assert slim(path) == 0
    assert path.read_bytes() == content
