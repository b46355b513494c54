"""Start a child program of ours with another Python than the house's: `python -I boot_child.py NAME`.

The extra's environment has its own packages and none of the house's. This puts the house's modules within reach by
their folder alone, without what lies beside it (a house that is installed shares its folder with every other package)
and without running a package's own first lines. Standard library only.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent


def reach() -> None:
    """Make `domicile` and `domicile.engines` bare packages: folders to import from, and nothing else."""
    for name, folder in (("domicile", HERE), ("domicile.engines", HERE / "engines")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def main(name: str) -> None:
    """Run the child program of a name, of `engines/`."""
    reach()
    importlib.import_module(f"domicile.engines.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1])
