"""The smallest GGUF that says something: a header with a few texts in it, and no tensor; some bytes may follow."""

from __future__ import annotations

import struct


def gguf(name: str, *, template: str | None = None, licence: str | None = None, body: int = 2000) -> bytes:
    """A file whose content depends on every argument. `body`: bytes after the header."""
    texts = {"general.architecture": "llama", "general.name": name}
    if template is not None:
        texts["tokenizer.chat_template"] = template
    if licence is not None:
        texts["general.license"] = licence
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(texts))
    for key, text in texts.items():
        head += _text(key) + struct.pack("<I", 8) + _text(text)
    return head + (name.encode() * body)[:body]


def _text(said: str) -> bytes:
    data = said.encode()
    return struct.pack("<Q", len(data)) + data
