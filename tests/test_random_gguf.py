"""What the generator of random files promises: real shapes, valid headers, one seed one file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from tools.random_gguf import SHAPES, blueprint, write

SIZES = {
    ("qwen2.5-0.5b", "Q4_K_M"): 373.71,
    ("llama-3.2-1b", "Q4_K_M"): 762.81,
    ("gemma-3-1b", "Q4_K_M"): 762.49,
    ("granite-3.1-1b-a400m", "Q4_K_M"): 782.12,
    ("tinyllama-1.1b", "Q4_0"): 606.53,
}
"""MiB of weights that the engine logged for files made by llama-quantize's own mix."""


@pytest.mark.parametrize(("name", "mib"), SIZES.items(), ids=str)
def test_the_mix_of_types_weighs_what_the_engine_loads(name: tuple[str, str], mib: float) -> None:
    assert blueprint(*name).weights_bytes / (1 << 20) == pytest.approx(mib, abs=0.01)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_read_back_as_it_was_planned(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    layers = 4 if SHAPES[shape].attention_every else 3
    plan = write(shape, "Q4_K_M", path, layers=layers, vocab=2000)
    read = {t.name: (tuple(int(d) for d in t.shape), t.tensor_type.name) for t in gguf.GGUFReader(path).tensors}
    assert read == {t.name: (t.dims, t.type) for t in plan.tensors}
    assert path.stat().st_size >= plan.weights_bytes + len(plan.header)


@pytest.mark.parametrize("quant", ["F16", "Q8_0", "Q4_0", "Q4_K", "Q5_K_M", "Q6_K"])
def test_random_blocks_are_weights_near_zero(quant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write("llama-3.2-1b", quant, path, layers=1, vocab=2000)
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name == "blk.0.ffn_up.weight":
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            assert np.isfinite(values).all()
            assert abs(float(values.mean())) < 0.005
            assert 0.01 < float(values.std()) < 0.04


def test_one_seed_makes_one_file(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write("mamba-130m", "Q8_0", tmp_path / name, seed=seed, layers=1, vocab=1500)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
