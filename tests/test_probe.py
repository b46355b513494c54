"""Asking the engine: what it counts is what it takes; a bad file costs a child, and is an answer."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from domicile import child
from domicile.engines.probe import ProbeAnswer, ask_engine, read_log
from domicile.hardware import sample

SHAPE = sample.Shape(2, n_embd=512, n_ff=1536, n_head=8, n_head_kv=2, n_vocab=320)
MIB = 2**20

REAL = """
import os, sys, time
import xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
p.cache_type_k = p.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + sys.argv[4].upper())
p.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
p.warmup, p.fit_params, p.cache_ram_mib, p.n_gpu_layers, p.verbosity = False, False, 0, 0, 4
server = xllamacpp.Server(p)
time.sleep(0.3)  # its log is written by another thread
os._exit(0)
"""


def need_engine() -> None:
    """Skip where the engine is not installed. It is not imported to know that: only children import it."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")


def ask(file: Path, context: int = 2048, **rest: object) -> ProbeAnswer:
    async def asking() -> ProbeAnswer:
        return await ask_engine(file, context=context, **rest)  # type: ignore[arg-type]

    return anyio.run(asking)


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_engine()
    return sample.write(tmp_path_factory.mktemp("probe") / "h.gguf", "Q4_K", SHAPE, hollow=True).path


@pytest.mark.slow
@pytest.mark.parametrize(("context", "slots", "kv"), [(2048, 1, "f16"), (16384, 4, "q8_0"), (4096, 2, "q4_0")])
def test_what_the_engine_counts_of_a_hole_is_what_it_takes_for_the_whole_file(
    tmp_path: Path, hollow: Path, context: int, slots: int, kv: str
) -> None:
    whole = sample.write(tmp_path / "w.gguf", "Q4_K", SHAPE).path
    counted = ask(hollow, context, slots=slots, kv_k=kv, kv_v=kv)
    assert counted.trouble is None
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(whole), str(context), str(slots), kv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env=child.environment(),
    )
    taken = read_log(done.stdout)
    for name in ("weights_bytes", "kv_bytes", "state_bytes", "compute_bytes", "output_bytes", "context"):
        assert getattr(taken, name) is not None
        assert getattr(counted, name) == getattr(taken, name), name


def test_the_cache_is_what_the_formula_says(hollow: Path) -> None:
    answer = ask(hollow, 8192)
    head = SHAPE.n_embd // SHAPE.n_head
    assert answer.kv_bytes == 8192 * SHAPE.n_layer * SHAPE.n_head_kv * head * 2 * 2
    assert answer.state_bytes == 0
    assert answer.context == 8192
    assert answer.compute_by_device.keys() == {"CPU"}
    assert answer.complete


def test_a_probe_of_a_model_larger_than_the_ceiling_is_answered_from_its_header(tmp_path: Path) -> None:
    need_engine()
    huge = sample.Shape(80, n_embd=8192, n_ff=28672, n_head=64, n_head_kv=8, n_vocab=128_256)
    written = sample.write(tmp_path / "70b.gguf", "Q4_K", huge, hollow=True)
    assert written.weights_bytes > 35 * 2**30
    answer = ask(written.path, 32768)
    assert answer.trouble is None
    assert answer.kv_bytes == 10 * 2**30
    assert answer.weights_bytes == pytest.approx(written.weights_bytes, abs=5.1 * MIB)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: b"", ""),
        (lambda raw: b"not a model at all" * 100, "magic"),
        (lambda raw: raw[:700], "exceeds remaining"),
        (lambda raw: raw[:9000].replace(b"llama.", b"lxama.").replace(b"llama", b"lxama"), ""),
        (lambda raw: raw.replace(b"blk.1.ffn_up", b"blk.1.ffn_xx"), ""),
        (lambda raw: raw[:8] + b"\xff" * 16 + raw[24:], ""),
    ],
)
def test_a_file_the_engine_cannot_load_is_an_answer_with_its_words(
    tmp_path: Path, hollow: Path, spoil: object, said: str
) -> None:
    assert callable(spoil)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(spoil(hollow.read_bytes()))
    began = time.monotonic()
    answer = ask(bad)
    assert time.monotonic() - began < 12
    assert answer.trouble is not None
    assert answer.trouble.key in {"probe.refused", "probe.crashed", "probe.memory"}
    assert said in str(answer.trouble.facts["said"])
    assert (answer.weights_bytes, answer.kv_bytes, answer.compute_bytes) == (None, None, None)


def test_a_missing_file_is_an_answer_too(tmp_path: Path) -> None:
    need_engine()
    answer = ask(tmp_path / "nothing.gguf")
    assert answer.trouble is not None
    assert answer.trouble.key == "probe.refused"


def test_the_deadline_holds(hollow: Path) -> None:
    answer = ask(hollow, deadline_s=0.01)
    assert answer.trouble is not None
    assert answer.trouble.key == "probe.too_slow"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a ceiling on address space")
def test_the_ceiling_holds(hollow: Path) -> None:
    answer = ask(hollow, memory_bytes=60 * MIB)
    assert answer.trouble is not None
    assert answer.kv_bytes is None


def test_every_line_of_a_hybrid_with_two_devices_is_read() -> None:
    log = """
0.00.1 I print_info: file size   = 4.58 GiB (4.91 BPW)
0.00.2 I load_tensors:        CUDA0 model buffer size =     0.00 MiB
0.00.2 I llama_context: n_ctx                 = 8192
0.00.2 I llama_context: n_ctx_seq             = 4096
0.00.3 I llama_context:  CUDA_Host  output buffer size =     1.89 MiB
0.00.4 I llama_kv_cache_iswa: creating non-SWA KV cache, size = 4096 cells
0.00.4 I llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB
0.00.4 I llama_kv_cache: size =   96.00 MiB (  4096 cells,   6 layers,  2/2 seqs), K (f16):
0.00.4 I llama_kv_cache: size =   10.50 MiB (  1024 cells,   6 layers,  2/2 seqs), K (f16):
0.00.5 I llama_memory_recurrent: size =   38.53 MiB (     2 cells,  24 layers,  2 seqs  0 rs_seq), R
0.00.6 I sched_reserve:      CUDA0 compute buffer size =   900.00 MiB
0.00.6 I sched_reserve:      CUDA0 compute buffer size =    85.00 MiB
0.00.6 I sched_reserve:  CUDA_Host compute buffer size =    28.00 MiB
0.00.6 I sched_reserve: reserve took 1.06 ms, sched copies = 1
"""
    answer = read_log(log)
    assert answer.weights_bytes == round(4.58 * 2**30)
    assert answer.kv_bytes == round(106.5 * MIB)
    assert answer.state_bytes == round(38.53 * MIB)
    assert answer.compute_by_device == {"CUDA0": 85 * MIB, "CUDA_Host": 28 * MIB}
    assert answer.compute_bytes == 113 * MIB
    assert answer.output_bytes == round(1.89 * MIB)
    assert answer.context == 8192


def test_a_child_that_falls_silent_is_ended() -> None:
    async def silent() -> child.Ended:
        program = "import time; print('so far', flush=True); time.sleep(60)"
        return await child.run("timeit", ["-n1", program], deadline_s=30, quiet_s=1.0)

    began = time.monotonic()
    ended = anyio.run(silent)
    assert (ended.how, ended.output) == ("quiet", "so far\n")
    assert time.monotonic() - began < 10


def test_a_child_is_ended_once_it_said_enough_and_its_words_are_kept() -> None:
    async def talk() -> child.Ended:
        return await child.run("this", [], deadline_s=30, enough=lambda said: b"Namespaces" in said)

    ended = anyio.run(talk)
    assert ended.how == "enough"
    assert "Namespaces" in ended.output


def test_a_caller_who_leaves_takes_the_child_along() -> None:
    import psutil

    async def leave() -> None:
        with anyio.move_on_after(1):
            await child.run("timeit", ["-n1", "import time; time.sleep(61)"], deadline_s=30)

    anyio.run(leave)
    left = [p for p in psutil.Process().children(recursive=True) if "time.sleep(61)" in " ".join(p.cmdline())]
    assert left == []


def test_the_exit_status_of_a_child_is_known() -> None:
    async def fail() -> child.Ended:
        return await child.run("domicile.no_such_module", [], deadline_s=30)

    ended = anyio.run(fail)
    assert (ended.how, ended.status) == ("itself", 1)
    assert "no_such_module" in ended.output
