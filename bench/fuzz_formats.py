"""Does any file, however broken, escape the bounds of `formats`?

Breaks honest and hostile headers at random for some minutes, and
reports every answer that is neither `Facts` nor a `FormatTrouble`, every one slower than 2 s of processor,
and the most memory taken. Run from the repository's root: `python -m bench.fuzz_formats --minutes 10 --seed
1`.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import anyio
from tests import test_formats_others as others
from tests.fakes import hostile
from tests.fakes.bounds import MEMORY, SECONDS, mark, peak
from tests.fakes.ranges import Held

from domicile import formats
from domicile.errors import FormatTrouble

Files = dict[str, bytes]

_NUMBERS = [0, 1, 2, 7, 8, 9, 12, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def seeds() -> list[Files]:
    """Honest files of every format, and the small hostile ones."""
    whole: list[Files] = [
        {"m.gguf": hostile.tiny()},
        {"model.safetensors": others.SMALL, "config.json": others.as_json(others.QWEN)},
        others.mlc({"dataPath": "params_shard_0.bin", "nbytes": 20}, {"dataPath": "params_shard_1.bin", "nbytes": 10}),
        others.pictures(),
        {"model.bin": others.ct2(), "vocabulary.json": b"[]"},
        {"ggml-tiny.bin": others.ggml(51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)},
        {
            "m.onnx": others.onnx(
                others.stored("a", (2, 3), 1, b"\0" * 24), others.stored("b", (4,), 1, location="w.data")
            ),
            "w.data": b"\0" * 16,
        },
    ]
    whole += [{"model.safetensors": others.SMALL, "config.json": others.as_json(c)} for c, _ in others.CONFIGS.values()]
    broken = [{"m.gguf": d} for _, d in (*hostile.refused_ggufs(), *hostile.strange_ggufs()) if len(d) < 50_000]
    broken += [{"m.safetensors": d} for _, d in hostile.refused_safetensors() if len(d) < 50_000]
    return whole * 20 + broken


def mutated(files: Files, dice: random.Random) -> Files:
    made = dict(files)
    name = dice.choice(list(made))
    raw = bytearray(made[name])
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(min(len(raw), 1500) + 1)
        match dice.randrange(8):
            case 0:
                raw[at : at + 8] = dice.choice(_NUMBERS).to_bytes(8, "little")
            case 1:
                raw[at : at + 4] = (dice.choice(_NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")
            case 2:
                raw[at : at + 1] = bytes([dice.randrange(256)])
            case 3:
                del raw[at : at + dice.randrange(40)]
            case 4:
                raw[at:at] = dice.randbytes(dice.randrange(20))
            case 5:
                piece = raw[at : at + dice.randrange(200)]
                raw[at:at] = bytes(piece) * dice.choice((1, 2, 50, 5000))
            case 6:
                raw[at:at] = dice.choice((b"[", b'{"a":', b'"', b"\\", b"9", b",", b"\0")) * dice.choice(
                    (1, 100, 20_000)
                )
            case _:
                del raw[at:]
    made[name] = bytes(raw[: 4 * 2**20])
    return made


def tried(files: Mapping[str, bytes], badge: bool) -> str:
    try:
        facts = anyio.run(lambda: formats.read({n: Held(d) for n, d in files.items()}, badge=badge))
    except FormatTrouble as trouble:
        return trouble.code
    numbers = [facts.weights_bytes, facts.parameters, facts.n_embd, facts.n_vocab, facts.context_length]
    for layer in facts.layers:
        numbers += [
            layer.n_head,
            layer.n_head_kv,
            layer.head_dim_k,
            layer.head_dim_v,
            layer.state_bytes,
            layer.n_ff,
        ]
    assert all(n is None or 0 <= n < 2**63 for n in numbers), numbers
    return "facts"


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--minutes", type=float, default=10)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--keep", type=Path, default=Path("/tmp/fuzz-formats"))
    given = asked.parse_args()
    dice, pool = random.Random(given.seed), seeds()
    before = mark() or 0
    counts: Counter[str] = Counter()
    slowest, end = 0.0, time.monotonic() + 60 * given.minutes
    while time.monotonic() < end:
        files = mutated(dice.choice(pool), dice)
        begin = time.process_time()
        try:
            said = tried(files, badge=dice.random() < 0.2)
        except Exception as escaped:  # noqa: BLE001 - finding what escapes is the point
            said = f"ESCAPED {type(escaped).__name__}: {re.sub(r'[0-9]+', 'N', str(escaped))[:80]}"
            _kept(given.keep, files, counts[said])
        took = time.process_time() - begin
        slowest = max(slowest, took)
        if took > SECONDS:
            said = "SLOW"
            _kept(given.keep, files, counts[said])
        counts[said] += 1
    grown = peak() - before
    print(f"{sum(counts.values())} files, slowest {slowest:.3f} s, at most {grown / 2**20:.1f} MiB more")
    for said, n in counts.most_common():
        print(f"{n:9}  {said}")
    return 1 if any(s.startswith(("ESCAPED", "SLOW")) for s in counts) or grown > MEMORY else 0


def _kept(folder: Path, files: Mapping[str, bytes], before: int) -> None:
    """The first of each kind, to look at."""
    if before == 0:
        place = folder / str(time.time_ns())
        place.mkdir(parents=True)
        for name, data in files.items():
            (place / name.replace("/", "_")).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
