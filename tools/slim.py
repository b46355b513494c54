"""Drop the debugging sections of installed ELF libraries: 80 of the engine's 106 MB are never loaded.

Cuts a file after the last byte that a program header asks for, and forgets the table of sections, which only
debuggers and linkers read (what `sstrip` does; ELF-64, little-endian). Leaves every other file alone.
Usage: python tools/slim.py xllamacpp
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_WORTH_IT = 1 << 20


def slim(path: Path) -> int:
    """Bytes saved in one library; 0 when it has no dead end worth a megabyte, or is not such a file."""
    size = path.stat().st_size
    with path.open("rb") as library:
        head = library.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:6] != b"\x7fELF\x02\x01":
            return 0
        fields: list[int] = list(_HEADER.unpack(head))
        at, each, count = fields[5], fields[9], fields[10]
        library.seek(at)
        table = library.read(each * count)
        if each != _PROGRAM.size or len(table) < each * count:
            return 0
        segments = [_PROGRAM.unpack_from(table, each * n) for n in range(count)]
        end = max([at + each * count, *(int(segment[2]) + int(segment[5]) for segment in segments)])
        if end + _WORTH_IT > size:
            return 0
        library.seek(0)
        body = bytearray(library.read(end))
    fields[6] = fields[11] = fields[12] = fields[13] = 0  # no table of sections
    body[: _HEADER.size] = _HEADER.pack(*fields)
    # Beside, then renamed: a process that has the old one mapped keeps it.
    beside = path.with_name(path.name + ".slim")
    beside.write_bytes(body)
    beside.chmod(path.stat().st_mode)
    beside.replace(path)
    return size - end


def main() -> None:
    for name in sys.argv[1:]:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for library in Path(folder).rglob("*.so"):
                if saved := slim(library):
                    print(f"{library.name}: {saved / 1e6:.0f} MB of debugging sections dropped")


if __name__ == "__main__":
    main()
