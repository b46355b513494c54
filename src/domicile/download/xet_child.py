"""A program of its own: reads parts of one file from Xet's store and writes them to its standard output.

Its standard input holds one JSON line that says which file and where, then one line `START END` for each part, which
is answered with exactly these bytes. It ends with its input, when nobody reads any more, or with a line on standard
error that says why. Nothing of Domicile is imported here, and nothing is written to the disk.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    import hf_xet

    about = json.loads(sys.stdin.readline())
    out = sys.stdout.buffer
    group = hf_xet.XetSession().new_download_stream_group(
        endpoint=about["endpoint"],
        token=about["token"],
        token_expiry_unix_secs=about["expires"],
        custom_headers=about["headers"],
    )
    info = hf_xet.XetFileInfo(about["hash"], about["size"])
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin:
        start, end = map(int, line.split())
        for part in group.download_stream(info, start=start, end=end):
            out.write(part)
        out.flush()
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except BrokenPipeError:
        status = 0
    except Exception as trouble:  # noqa: BLE001 - the parent reads the sentence, and takes the other way
        print(f"{type(trouble).__name__}: {trouble}"[:500], file=sys.stderr)
        status = 1
    sys.stdout = None
    raise SystemExit(status)
