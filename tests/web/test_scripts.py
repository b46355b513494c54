"""The page's scripts: their types hold, and what needs no browser is tested by Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "js"
TSC = HERE / "node_modules" / ".bin" / "tsc"


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node on this machine: it checks the page's scripts, and is needed by nobody else")
    return found


def test_what_needs_no_browser_is_right() -> None:
    tests = sorted(str(p) for p in HERE.glob("*.test.js"))
    ran = subprocess.run([_node(), "--test", *tests], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:]


def test_the_types_of_the_scripts_hold() -> None:
    _node()
    if not TSC.is_file():
        pytest.skip("TypeScript is not here (make node installs it where npm is)")
    ran = subprocess.run([str(TSC), "-p", str(HERE), "--pretty", "false"], capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert [line for line in lines if "/static/js/" in line] == []  # what is vendored is not ours to mend
    assert not any("tsconfig" in line for line in lines), ran.stdout[:2000]
