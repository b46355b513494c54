"""The engine itself, asked about a probe: does it see the memory that `formats` says?

llama.cpp runs in a child, on files whose weights are a hole; it needs xllamacpp.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from gguf import GGUFWriter

from domicile import formats
from domicile.formats import LocalBytes
from tests.test_formats_gguf import SHAPES, Fill, also, basics, kv_mib, puts, written

pytest.importorskip("xllamacpp")

Tensors = dict[str, tuple[tuple[int, ...], int]]

_WIDTH, _FEED, _VOCABULARY = 256, 512, 300
_F32, _Q8_0 = 0, 8

_ASK = """
import sys, xllamacpp as x
p = x.CommonParams()
p.model.path = sys.argv[1]
p.load_mode = x.llama_load_mode.LLAMA_LOAD_MODE_MMAP  # the hole is mapped, not read
p.no_extra_bufts = True  # a repacked copy would be allocated
p.warmup = False
p.verbosity = 4
p.n_ctx = 2048
p.fit_params = False
p.cpuparams.n_threads = 1
server = x.Server(p)
sys.stdin.read()
"""


def ends(final: str = "output_norm") -> Tensors:
    return {"token_embd.weight": ((_VOCABULARY, _WIDTH), _Q8_0), f"{final}.weight": ((_WIDTH,), _F32)}


def attention(i: int, q: int = 256, kv: int = 64, **norms: int) -> Tensors:
    made: Tensors = {
        f"blk.{i}.attn_norm.weight": ((_WIDTH,), _F32),
        f"blk.{i}.attn_q.weight": ((q, _WIDTH), _Q8_0),
        f"blk.{i}.attn_k.weight": ((kv, _WIDTH), _Q8_0),
        f"blk.{i}.attn_v.weight": ((kv, _WIDTH), _Q8_0),
        f"blk.{i}.attn_output.weight": ((_WIDTH, q), _Q8_0),
    }
    return made | {f"blk.{i}.{name}.weight": ((size,), _F32) for name, size in norms.items()}


def feed(i: int) -> Tensors:
    return {
        f"blk.{i}.ffn_norm.weight": ((_WIDTH,), _F32),
        f"blk.{i}.ffn_gate.weight": ((_FEED, _WIDTH), _Q8_0),
        f"blk.{i}.ffn_up.weight": ((_FEED, _WIDTH), _Q8_0),
        f"blk.{i}.ffn_down.weight": ((_WIDTH, _FEED), _Q8_0),
    }


def plain(layers: int, **sizes: int) -> Tensors:
    made = ends()
    for i in range(layers):
        made |= attention(i, **sizes) | feed(i)
    return made


def mamba() -> Tensors:
    made = ends()
    for i in range(2):
        made |= {
            f"blk.{i}.attn_norm.weight": ((_WIDTH,), _F32),
            f"blk.{i}.ssm_in.weight": ((1024, _WIDTH), _Q8_0),
            f"blk.{i}.ssm_conv1d.weight": ((512, 4), _F32),
            f"blk.{i}.ssm_conv1d.bias": ((512,), _F32),
            f"blk.{i}.ssm_x.weight": ((48, 512), _Q8_0),
            f"blk.{i}.ssm_dt.weight": ((512, 16), _F32),
            f"blk.{i}.ssm_dt.bias": ((512,), _F32),
            f"blk.{i}.ssm_a": ((512, 16), _F32),
            f"blk.{i}.ssm_d": ((512,), _F32),
            f"blk.{i}.ssm_out.weight": ((_WIDTH, 512), _Q8_0),
        }
    return made


def lfm2() -> Tensors:
    made = ends("token_embd_norm")
    for i in range(2):
        made |= feed(i) | {
            f"blk.{i}.attn_norm.weight": ((_WIDTH,), _F32),
            f"blk.{i}.shortconv.conv.weight": ((_WIDTH, 3), _F32),
            f"blk.{i}.shortconv.in_proj.weight": ((3 * _WIDTH, _WIDTH), _Q8_0),
            f"blk.{i}.shortconv.out_proj.weight": ((_WIDTH, _WIDTH), _Q8_0),
        }
    return made | attention(2, attn_q_norm=32, attn_k_norm=32) | feed(2)


def deepseek2() -> Tensors:
    made = ends() | {"output.weight": ((_VOCABULARY, _WIDTH), _Q8_0)}
    for i in range(2):
        made |= feed(i) | {
            f"blk.{i}.attn_norm.weight": ((_WIDTH,), _F32),
            f"blk.{i}.attn_q_a.weight": ((256, _WIDTH), _Q8_0),
            f"blk.{i}.attn_q_a_norm.weight": ((256,), _F32),
            f"blk.{i}.attn_q_b.weight": ((16 * 192, 256), _Q8_0),
            f"blk.{i}.attn_kv_a_mqa.weight": ((576, _WIDTH), _Q8_0),
            f"blk.{i}.attn_kv_a_norm.weight": ((512,), _F32),
            f"blk.{i}.attn_k_b.weight": ((16, 512, 128), _Q8_0),
            f"blk.{i}.attn_v_b.weight": ((16, 128, 512), _Q8_0),
            f"blk.{i}.attn_output.weight": ((_WIDTH, 16 * 128), _Q8_0),
        }
    return made


def heads_of(size: int) -> Fill:
    return puts(attention__key_length=size, attention__value_length=size)


def scale(w: GGUFWriter) -> None:
    w.add_float32(f"{w.arch}.expert_weights_scale", 1.0)


_GEMMA = {"post_attention_norm": 256, "post_ffw_norm": 256}
_MIXTURE = puts(
    attention__q_lora_rank=256,
    leading_dense_block_count=2,
    expert_count=4,
    expert_used_count=2,
    expert_feed_forward_length=64,
    expert_shared_count=0,
    expert_gating_func=1,
)
CASES: dict[str, tuple[Callable[[], Tensors], Fill]] = {
    "llama": (lambda: plain(2), also(basics(2, 256, 8, 2), puts(rope__dimension_count=32))),
    "qwen3": (
        lambda: plain(2, q=512, kv=128, attn_q_norm=64, attn_k_norm=64),
        also(basics(2, 256, 8, 2), heads_of(64)),
    ),
    "gemma2": (lambda: plain(4, **_GEMMA), also(SHAPES["gemma2"][0], heads_of(32))),
    "gemma3": (
        lambda: plain(7, attn_q_norm=32, attn_k_norm=32, **_GEMMA),
        also(SHAPES["gemma3"][0], heads_of(32)),
    ),
    "mamba": (mamba, SHAPES["mamba"][0]),
    "lfm2": (lfm2, also(SHAPES["lfm2"][0], puts(rope__dimension_count=32))),
    "deepseek2": (deepseek2, also(SHAPES["deepseek2"][0], _MIXTURE, scale)),
}


def asked(probe: Path) -> str:
    """What the engine prints until it listens. Its log has a thread of its own: leaving would cut it."""
    said = []
    with subprocess.Popen(
        [sys.executable, "-c", _ASK, str(probe)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout
        for line in child.stdout:
            said.append(line)
            if "listening on" in line:
                break
        child.kill()
    return "".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("arch", CASES)
def test_the_engine_sees_in_a_probe_what_formats_says(arch: str, tmp_path: Path) -> None:
    tensors, fill = CASES[arch]

    def filled(w: GGUFWriter) -> None:
        fill(w)
        w.add_layer_norm_rms_eps(1e-5)

    path = written(tmp_path / "m.gguf", arch, filled, tensors())
    facts = anyio.run(formats.read, {"m.gguf": LocalBytes(path)})
    target = tmp_path / "probe.gguf"
    anyio.run(formats.rewrite_probe, {"m.gguf": LocalBytes(path)}, target)
    said = asked(target)

    def buffers(kind: str) -> float:
        return sum(map(float, re.findall(rf"{kind} buffer size = +([\d.]+) MiB", said)))

    assert facts.weights_bytes is not None
    state = sum(layer.state_bytes for layer in facts.layers)
    assert buffers("model") == pytest.approx(facts.weights_bytes / 2**20, abs=0.02)
    assert buffers("KV") == pytest.approx(kv_mib(facts, 2048), abs=0.005)
    assert buffers("RS") == pytest.approx(state / 2**20, abs=0.006)
    assert buffers("compute") > 0
