"""Calibration: sound samples, real measuring; what was measured is kept, and not believed blindly."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from domicile.hardware import calibrate, detect, sample
from domicile.types import Calibration, Hardware

HARDWARE = Hardware(
    os="linux",
    cpu="A processor",
    arch="x86_64",
    physical_cores=2,
    logical_cores=4,
    usable_cores=2.0,
    features=("avx2",),
    ram_bytes=16 * 2**30,
    ram_available_bytes=8 * 2**30,
    container_limit_bytes=None,
    gpus=(),
    disk_free_bytes=None,
)
SMALL = sample.Shape(1, n_embd=256, n_ff=512, n_head=4, n_head_kv=2, n_vocab=320)


def kept_calibration(home: Path) -> Calibration:
    """One written as the product writes it."""
    engine = calibrate.engine_build()
    assert engine is not None
    found = Calibration(engine, 25e9, 0.7, 0.5, 2, 1_700_000_000.0)
    assert calibrate._keep(calibrate._place(home, HARDWARE, engine), found) is None
    return found


@pytest.mark.parametrize("storage", ["Q8_0", "Q4_K"])
def test_another_reader_finds_a_sample_sound_and_free_of_nan(tmp_path: Path, storage: sample.Storage) -> None:
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    written = sample.write(tmp_path / "s.gguf", storage, SMALL)
    reader = gguf.GGUFReader(written.path)
    assert written.path.stat().st_size == written.size_bytes
    assert sum(int(t.n_bytes) for t in reader.tensors) == written.weights_bytes
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert numpy.isfinite(values).all()
        if tensor.name.startswith("blk.") and "norm" not in tensor.name:
            assert 0.005 < float(values.std()) < 0.08
            assert abs(float(values.mean())) < 0.01


def test_a_hollow_sample_is_as_long_as_its_weights_and_takes_no_room(tmp_path: Path) -> None:
    shape = sample.Shape(24)
    hollow = sample.write(tmp_path / "h.gguf", "Q4_K", shape, hollow=True)
    state = hollow.path.stat()
    assert state.st_size > hollow.weights_bytes > 500 * 2**20
    if sys.platform != "win32":
        assert state.st_blocks * 512 < 2**20


def test_a_token_reads_all_weights_but_the_rows_it_does_not_look_up(tmp_path: Path) -> None:
    written = sample.write(tmp_path / "s.gguf", "Q8_0", SMALL)
    row = SMALL.n_embd // 32 * 34
    assert written.touched_bytes == written.weights_bytes - row * (SMALL.n_vocab - 1)


def test_the_patched_scales_are_the_ones_asked_for() -> None:
    piece = sample._piece(sample._BLOCKS["Q4_K"])
    for block in (0, 1, 8191):
        scale, low = struct.unpack_from("<ee", piece, block * 144)
        assert scale == pytest.approx(1.5e-4, rel=1e-2)
        assert low == pytest.approx(1.1e-3, rel=1e-2)


def test_threads_are_real_cores_within_what_is_usable() -> None:
    assert calibrate.threads_for(HARDWARE) == 2
    assert calibrate.threads_for(replace(HARDWARE, usable_cores=1.5)) == 1
    assert calibrate.threads_for(replace(HARDWARE, usable_cores=0.25)) == 1
    assert calibrate.threads_for(replace(HARDWARE, physical_cores=None, usable_cores=None)) == 4


def test_a_machine_keeps_its_id_until_its_parts_change() -> None:
    same = replace(HARDWARE, ram_bytes=16 * 2**30 - 3 * 2**20, ram_available_bytes=1, disk_free_bytes=5)
    assert calibrate.machine_id(HARDWARE) == calibrate.machine_id(same)
    others = [
        replace(HARDWARE, ram_bytes=32 * 2**30),
        replace(HARDWARE, cpu="B"),
        replace(HARDWARE, usable_cores=1.0),
    ]
    assert len({calibrate.machine_id(h) for h in [HARDWARE, *others]}) == 4


def test_what_was_measured_is_used_again(tmp_path: Path) -> None:
    found = kept_calibration(tmp_path)
    outcome = anyio.run(lambda: calibrate.calibrate(tmp_path, HARDWARE, deadline_s=0.001))
    assert outcome == calibrate.Outcome(found)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        json.dumps({"engine": "xllamacpp-0"}).encode(),
    ],
)
def test_a_damaged_file_counts_as_not_measured(tmp_path: Path, damage: bytes) -> None:
    kept_calibration(tmp_path)
    (file,) = (tmp_path / "calibration").iterdir()
    file.write_bytes(damage)
    assert calibrate.kept(tmp_path, HARDWARE) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("read_bandwidth_bytes_per_s", math.nan),
        ("read_bandwidth_bytes_per_s", -1),
        ("read_bandwidth_bytes_per_s", 1e30),
        ("eta_legacy", 0),
        ("eta_k", math.inf),
        ("eta_k", None),
        ("threads", 1),
        ("engine", "xllamacpp-1999"),
    ],
)
def test_numbers_that_cannot_be_or_are_of_something_else_are_not_believed(
    tmp_path: Path, field: str, value: object
) -> None:
    kept_calibration(tmp_path)
    (file,) = (tmp_path / "calibration").iterdir()
    assert calibrate.kept(tmp_path, HARDWARE) is not None
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    assert calibrate.kept(tmp_path, HARDWARE) is None


def test_a_measure_that_takes_too_long_says_so(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = anyio.run(lambda: calibrate.calibrate(tmp_path, HARDWARE, deadline_s=0.05))
    assert time.monotonic() - began < 5
    assert outcome.calibration is None
    assert outcome.trouble is not None
    assert outcome.trouble.key == "calibration.too_slow"
    assert not (tmp_path / "calibration").exists()


def test_nothing_is_measured_where_memory_is_short(tmp_path: Path) -> None:
    short = replace(HARDWARE, ram_available_bytes=2**29)
    outcome = anyio.run(lambda: calibrate.calibrate(tmp_path, short))
    assert outcome.trouble is not None
    assert outcome.trouble.key == "calibration.no_memory"


@pytest.mark.slow
@pytest.mark.skipif(calibrate.engine_build() is None, reason="no engine")
def test_this_machine_is_measured_once_and_kept(tmp_path: Path) -> None:
    hardware = detect(tmp_path)

    async def measure() -> calibrate.Outcome:
        return await calibrate.calibrate(tmp_path, hardware, deadline_s=60)

    outcome = anyio.run(measure)
    assert outcome.trouble is None
    found = outcome.calibration
    assert found is not None
    assert found.engine == calibrate.engine_build()
    assert found.threads == calibrate.threads_for(hardware)
    assert abs(found.measured_at - time.time()) < 120
    assert found.read_bandwidth_bytes_per_s is not None
    assert found.read_bandwidth_bytes_per_s > 1e9
    assert found.eta_legacy is not None
    assert 0.02 < found.eta_legacy < 3
    assert found.eta_k is not None
    assert 0.02 < found.eta_k < 3
    assert calibrate.kept(tmp_path, hardware) == found
    assert anyio.run(measure).calibration == found


@pytest.mark.slow
@pytest.mark.skipif(calibrate.engine_build() is None, reason="no engine")
def test_a_result_that_cannot_be_kept_is_still_a_result(tmp_path: Path) -> None:
    (tmp_path / "calibration").write_text("a file where the folder should be")
    hardware = detect(tmp_path)
    outcome = anyio.run(lambda: calibrate.calibrate(tmp_path, hardware, deadline_s=60))
    assert outcome.calibration is not None
    assert outcome.trouble is not None
    assert outcome.trouble.key == "calibration.not_kept"


def test_the_child_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from domicile import child

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/x")
    given = child.environment(os.environ)
    assert "HF_TOKEN" not in given
    assert "SSH_AUTH_SOCK" not in given
    assert given["OMP_WAIT_POLICY"] == "passive"
    assert given["PATH"] == os.environ["PATH"]
