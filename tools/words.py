"""Click's own messages in French: compiles `click.fr.json` into the catalogue that gettext reads.

Our own words are the flat JSON tables of `src/domicile/locale/`; only Click asks gettext. Run it after a change.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

SOURCE = Path(__file__).with_name("click.fr.json")
TARGET = Path(__file__).parent.parent / "src" / "domicile" / "locale" / "fr" / "LC_MESSAGES" / "messages.mo"
_HEADER = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n > 1;\n"


def catalogue(messages: dict[str, str | list[str]]) -> bytes:
    """A GNU .mo file (gettext manual, "The Format of GNU MO Files"). Plurals: "one\\0other" to ["un", "plusieurs"]."""
    pairs = {"": _HEADER} | {k: v if isinstance(v, str) else "\0".join(v) for k, v in messages.items()}
    ordered = sorted((k.encode(), v.encode()) for k, v in pairs.items())
    start = 28 + 16 * len(ordered)
    ids = b"\0".join(k for k, _ in ordered) + b"\0"
    texts = b"\0".join(v for _, v in ordered) + b"\0"
    id_table, text_table = b"", b""
    id_place, text_place = start, start + len(ids)
    for key, text in ordered:
        id_table += struct.pack("<II", len(key), id_place)
        text_table += struct.pack("<II", len(text), text_place)
        id_place += len(key) + 1
        text_place += len(text) + 1
    header = struct.pack("<7I", 0x950412DE, 0, len(ordered), 28, 28 + 8 * len(ordered), 0, start)
    return header + id_table + text_table + ids + texts


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(catalogue(json.loads(SOURCE.read_text("utf-8"))))
    print(TARGET)
