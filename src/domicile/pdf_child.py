"""The child that reads the text of a PDF: `python -m domicile.pdf_child`, the file on its input.

A PDF is a program from a stranger: it is opened here alone, cut off from the network, with bounds on processor, memory
and pages. One line of JSON says what was read; whoever dies without a word has gone beyond a limit. Imports nothing of
ours but `seal`.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
from typing import Any

from domicile.seal import cut_off

CPU_S = 20
"""Of processor in all; after half of it no further page is begun."""
MEMORY_BYTES = 512 << 20
PAGES = 2000
TEXT_BYTES = 700_000
"""Of text, in UTF-8: what the house reads of a child's talk is a mebibyte."""


def main() -> None:
    cut_off()
    logging.disable()
    data = sys.stdin.buffer.read()
    _limit(len(data))
    try:
        said = _read(data)
    except MemoryError:
        said = {"problem": "memory"}
    except Exception as trouble:  # noqa: BLE001 - a library of parsers, a file of a stranger: any of them
        said = {"problem": "broken", "detail": f"{type(trouble).__name__}: {trouble}"[:200]}
    sys.stdout.write("\n" + json.dumps(said, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n")


def _read(data: bytes) -> dict[str, Any]:
    """`text`, `pages`, `pages_read` and whether it was `cut`; or a `problem`: locked, broken."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"problem": "locked"}
    pages, texts, size, read = len(reader.pages), [], 0, 0
    for page in reader.pages:
        if read >= PAGES or time.process_time() > CPU_S / 2 or size >= TEXT_BYTES:
            break
        try:
            text = page.extract_text()
        except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            text = ""  # one page that cannot be read does not take the others with it
        size += len(text.encode("utf-8", "replace")) + 2
        texts.append(text.strip())
        read += 1
    whole = "\n\n".join(texts).strip()
    encoded = whole.encode("utf-8", "replace")
    cut = len(encoded) > TEXT_BYTES
    text = encoded[:TEXT_BYTES].decode("utf-8", "ignore") if cut else encoded.decode()
    return {"text": text, "pages": pages, "pages_read": read, "cut": cut or read < pages}


def _limit(size_bytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES + 4 * size_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
