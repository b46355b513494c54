"""The child that becomes another program, `llama-server`: cut off, bound to the house, and then it is that program.

Run as a script; imports nothing of ours but `bond`. What the kernel was told stays: no network, the ceiling of memory,
death with the house. The key is in a file of the child's own folder, and paths are in its environment: a command line
can be read by everybody on the machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from domicile.bond import Bond


def main() -> None:
    bond = Bond(stacks=lambda asked: int(asked["stacks"]), watch=False)
    asked, folder = bond.asked, Path(bond.asked["folder"])
    os.umask(0o077)
    for name, text in {"key": asked["key"], **asked["files"]}.items():
        (folder / name).write_text(text, "utf-8")
    words = [word.replace("{folder}", str(folder)) for word in asked["arguments"]]
    if not os.access(asked["program"], os.X_OK):
        bond.answer(failed="missing", problem=asked["program"])
        os._exit(3)
    # A hook of Python's is gone with Python: where the kernel gave nothing, nothing is claimed.
    bond.answer(ready=f"unix://{asked['address']}", sealed="no" if bond.sealed == "refusal" else bond.sealed)
    try:
        os.execve(asked["program"], [asked["program"], *words], {**os.environ, **asked["environment"]})  # noqa: S606
    except OSError as trouble:  # of another machine, or without its libraries
        print(f"0 E error loading model: {trouble}", file=sys.stderr, flush=True)
        os._exit(3)


if __name__ == "__main__":
    main()
