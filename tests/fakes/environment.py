"""An extra's environment that borrows the packages of the environment the tests run in: the real libraries, without
the minutes of an installation."""

from __future__ import annotations

import json
import sys
import sysconfig
import time
from pathlib import Path

from domicile.engines.pychild import NOTE, interpreter
from domicile.extras.lock import LOCKS, read


def borrowed(folder: Path, extra: str, *, locks: Path = LOCKS) -> Path:
    """The environment of an extra, under the folder of environments; noted as installed by today's lock."""
    place = folder / extra
    packages = place / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (place / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    interpreter(place).parent.mkdir()
    interpreter(place).symlink_to(base)
    mine = Path(sysconfig.get_path("purelib"))
    borrowed_paths = [mine, *(Path(line) for pth in mine.glob("*.pth") for line in pth.read_text().split("\n"))]
    (packages / "borrowed.pth").write_text("\n".join(str(path) for path in borrowed_paths if path.is_dir()) + "\n")
    lock = locks / f"{extra}.txt"
    digest = read(lock).digest if lock.exists() else "of a test"
    (place / NOTE).write_text(json.dumps({"lock": digest, "at": time.time(), "disk_bytes": 1, "build": "cpu"}))
    return place
