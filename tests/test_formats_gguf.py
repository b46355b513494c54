"""GGUF headers: what they say, here and from afar, and that a header that lies is told so quickly and
cheaply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from domicile import formats
from domicile.errors import FormatTrouble, Malformed, RangeRefused, RunsCode
from domicile.formats import LocalBytes, RangedBytes, gguf
from domicile.types import Facts, Layer
from tests.fakes import hostile
from tests.fakes.bounds import bounded
from tests.fakes.hostile import bools, f32, info, ints, text, texts, tiny, u32
from tests.fakes.ranges import Held, served


def look(data: bytes, name: str = "m.gguf", badge: bool = False) -> Facts:
    return anyio.run(lambda: formats.read({name: Held(data)}, badge=badge))


REFUSED = list(hostile.refused_ggufs())
STRANGE = list(hostile.strange_ggufs())


@pytest.mark.parametrize("data", [d for _, d in REFUSED], ids=[n for n, _ in REFUSED])
def test_a_header_that_lies_is_refused(data: bytes) -> None:
    assert isinstance(bounded(lambda: look(data)), FormatTrouble)


@pytest.mark.parametrize("data", [d for _, d in STRANGE], ids=[n for n, _ in STRANGE])
def test_a_strange_value_is_unknown(data: bytes) -> None:
    answer = bounded(lambda: look(data))
    if isinstance(answer, Facts):
        sound(answer)


def sound(facts: Facts) -> None:
    """No number that a sum could go wrong with."""
    numbers = (
        facts.n_embd,
        facts.n_ff,
        facts.n_vocab,
        facts.context_length,
        facts.parameters,
        facts.weights_bytes,
    )
    assert all(n is None or 0 <= n < 2**63 for n in numbers)
    assert len(facts.layers) <= 1024
    for layer in facts.layers:
        assert 0 <= layer.n_head_kv < 2**17
        assert 0 <= layer.head_dim_k <= 2**21
        assert 0 <= layer.state_bytes < 2**63


def test_there_are_enough_lies() -> None:
    assert len(REFUSED) >= 150


# --- real shapes, with gguf's own writer and reader as oracle ---

Fill = Callable[[GGUFWriter], None]


def written(
    path: Path, arch: str, fill: Fill, tensors: Mapping[str, tuple[tuple[int, ...], int]] | None = None
) -> Path:
    """A header of gguf's writer, over a hole as long as the weights would be."""
    writer = GGUFWriter(path, arch)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"token{i}" for i in range(300)])
    writer.add_token_types([1] * 300)
    writer.add_token_merges([f"a{i} b{i}" for i in range(250)])
    writer.add_chat_template("{{ messages }}")
    fill(writer)
    end = 0
    for name, (shape, kind) in (tensors or {"token_embd.weight": ((300, 256), 1)}).items():
        # numpy order is GGUF's reversed; quantised types are given as rows of bytes
        size, block = {0: (4, 1), 1: (2, 1), 8: (34, 32), 12: (144, 256)}[kind]
        nbytes = int(np.prod(shape)) // block * size
        from gguf import GGMLQuantizationType

        raw = GGMLQuantizationType(kind)
        byte_shape = (*shape[:-1], shape[-1] // block * size) if block > 1 else shape
        dtype = np.dtype({0: "f4", 1: "f2"}.get(kind, "u1"))
        writer.add_tensor_info(name, byte_shape, dtype, nbytes, raw)
        end += -(-nbytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    size_now = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(-(-size_now // 32) * 32 + end)
    return path


def basics(layers: int, width: int, heads: int, kv: int | list[int], ff: int = 512) -> Fill:
    def fill(w: GGUFWriter) -> None:
        w.add_block_count(layers)
        w.add_context_length(4096)
        w.add_embedding_length(width)
        w.add_feed_forward_length(ff)
        w.add_head_count(heads)
        w.add_head_count_kv(kv)

    return fill


def also(*fills: Fill) -> Fill:
    def fill(w: GGUFWriter) -> None:
        for one in fills:
            one(w)

    return fill


def puts(**values: int) -> Fill:
    def fill(w: GGUFWriter) -> None:
        for key, value in values.items():
            w.add_uint32(f"{w.arch}.{key.replace('__', '.')}", value)

    return fill


FULL = Layer("attention", 8, 2, 32, 32, n_ff=512)
SHAPES: dict[str, tuple[Fill, tuple[Layer, ...]]] = {
    "llama": (basics(2, 256, 8, 2), (FULL,) * 2),
    "qwen2": (also(basics(2, 256, 8, 2), puts(attention__sliding_window=1024)), (FULL,) * 2),
    "qwen3": (
        also(basics(2, 256, 8, 2), puts(attention__key_length=128, attention__value_length=128)),
        (replace(FULL, head_dim_k=128, head_dim_v=128),) * 2,
    ),
    "gemma2": (
        also(basics(4, 256, 8, 2), puts(attention__sliding_window=4096)),
        (replace(FULL, sliding_window=4096), FULL) * 2,
    ),
    "gemma3": (
        also(basics(7, 256, 8, 2), puts(attention__sliding_window=512)),
        (*(replace(FULL, sliding_window=512),) * 5, FULL, replace(FULL, sliding_window=512)),
    ),
    "phi3": (
        also(basics(2, 256, 8, 8), puts(attention__sliding_window=2047)),
        (replace(FULL, n_head_kv=8),) * 2,
    ),
    "gpt-oss": (
        also(basics(2, 256, 8, 2), puts(attention__sliding_window=128, expert_count=4, expert_used_count=2)),
        (replace(FULL, sliding_window=128), FULL),
    ),
    "smallthinker": (
        also(basics(4, 256, 8, 2), puts(attention__sliding_window=4096)),
        (FULL, *(replace(FULL, sliding_window=4096),) * 3),
    ),
    "deepseek2": (
        also(
            basics(2, 256, 16, 1),
            puts(
                attention__kv_lora_rank=512,
                rope__dimension_count=64,
                attention__key_length=576,
                attention__value_length=512,
                attention__key_length_mla=192,
                attention__value_length_mla=128,
            ),
        ),
        (Layer("attention", 16, 1, 576, 0, n_ff=512),) * 2,
    ),
    "mamba": (
        also(
            basics(2, 256, 0, 0, ff=0),
            puts(ssm__conv_kernel=4, ssm__inner_size=512, ssm__state_size=16, ssm__time_step_rank=16),
        ),
        (Layer("recurrent", state_bytes=4 * (3 * 512 + 16 * 512)),) * 2,
    ),
    "lfm2": (
        also(basics(3, 256, 8, [0, 0, 2]), puts(shortconv__l_cache=3)),
        (*(Layer("recurrent", 8, state_bytes=4 * 256 * 2, n_ff=512),) * 2, FULL),
    ),
    "qwen3next": (
        also(
            basics(4, 256, 8, 2),
            puts(
                full_attention_interval=4,
                ssm__conv_kernel=4,
                ssm__inner_size=512,
                ssm__state_size=64,
                ssm__group_count=4,
                ssm__time_step_rank=8,
            ),
        ),
        (
            *(Layer("recurrent", 8, state_bytes=4 * (3 * (512 + 2 * 4 * 64) + 64 * 512), n_ff=512),) * 3,
            FULL,
        ),
    ),
    "kimi-linear": (
        also(
            basics(2, 256, 8, [0, 1]),
            puts(
                kda__head_dim=64,
                ssm__conv_kernel=4,
                attention__kv_lora_rank=512,
                rope__dimension_count=64,
                attention__key_length_mla=192,
                attention__value_length_mla=128,
            ),
        ),
        (
            Layer("recurrent", 8, state_bytes=4 * (3 * 3 * 8 * 64 + 64 * 64 * 8), n_ff=512),
            Layer("attention", 8, 1, 576, 0, n_ff=512),
        ),
    ),
    "rwkv7": (
        also(basics(2, 256, 0, 0), puts(wkv__head_size=64, token_shift_count=2)),
        (Layer("recurrent", state_bytes=4 * (2 * 256 + 256 * 64), n_ff=512),) * 2,
    ),
    "falcon-h1": (
        also(
            basics(2, 256, 8, 2),
            puts(ssm__conv_kernel=4, ssm__inner_size=512, ssm__state_size=64, ssm__group_count=1),
        ),
        (replace(FULL, state_bytes=4 * (3 * (512 + 128) + 64 * 512)),) * 2,
    ),
    "nemotron_h": (
        also(
            basics(3, 256, 8, [0, 2, 0], ff=0),
            puts(ssm__conv_kernel=4, ssm__inner_size=512, ssm__state_size=64, ssm__group_count=1),
        ),
        (
            Layer("recurrent", 8, state_bytes=4 * (3 * (512 + 128) + 64 * 512)),
            replace(FULL, n_ff=0),
            Layer("recurrent", 8, state_bytes=4 * (3 * (512 + 128) + 64 * 512)),
        ),
    ),
    "bert": (basics(2, 256, 8, 8), (Layer("none", 8, n_ff=512),) * 2),
    "glm4moe": (also(basics(3, 256, 8, 2), puts(nextn_predict_layers=1)), (FULL,) * 2),
    "deepseek4": (basics(2, 256, 8, 2), ()),
}


@pytest.mark.parametrize("arch", SHAPES)
def test_each_layer_keeps_what_llama_cpp_gives_it(arch: str, tmp_path: Path) -> None:
    fill, expected = SHAPES[arch]
    path = written(tmp_path / "m.gguf", arch, fill)
    facts = anyio.run(formats.read, {"m.gguf": LocalBytes(path)})
    assert facts.layers == expected
    assert facts.architecture == arch
    agrees_with_the_oracle(path, facts)


def agrees_with_the_oracle(path: Path, facts: Facts) -> None:
    oracle = GGUFReader(path)
    assert [(t.name, [int(d) for d in t.shape], t.tensor_type.name, int(t.n_bytes)) for t in oracle.tensors] == [
        (t.name, list(t.dims), t.type, t.size_bytes) for t in facts.tensors
    ]
    assert facts.weights_bytes == sum(int(t.n_bytes) for t in oracle.tensors)
    assert facts.parameters == sum(int(t.n_elements) for t in oracle.tensors)
    assert facts.chat_template == "{{ messages }}"
    assert facts.tokenizer == "gpt2/qwen2"
    assert facts.n_vocab == len(oracle.fields["tokenizer.ggml.tokens"].data) == 300
    arrays = ("tokens", "token_type", "merges")
    fields = [oracle.fields[f"tokenizer.ggml.{name}"] for name in arrays]
    assert facts.tokenizer_bytes == sum(int(p.nbytes) for f in fields for p in f.parts[5:])


def shaped(arch: str, **numbers: int | list[int]) -> Facts:
    keys = {"general.architecture": text(arch)}
    for key, value in numbers.items():
        name = f"{arch}.{key.replace('__', '.')}"
        keys[name] = ints(*value) if isinstance(value, list) else u32(value)
    return look(hostile.gguf(list(keys.items())))


def kv_mib(facts: Facts, context: int) -> float:
    """llama.cpp's sum: cells padded to 256, a sliding layer holds its window and one micro-batch of 512."""
    total = 0
    for layer in facts.layers:
        window = layer.sliding_window
        cells = -(-min(context, window + 512 if window else context) // 256) * 256
        total += cells * layer.n_head_kv * (layer.head_dim_k + layer.head_dim_v) * 2
    return total / 2**20


# (shape, (KV at 2048, KV at 8192, recurrent state), MiB), as the engine's own log said.
MEASURED = {
    "qwen2.5-0.5b": (
        shaped(
            "qwen2",
            block_count=24,
            embedding_length=896,
            attention__head_count=14,
            attention__head_count_kv=2,
        ),
        (24.0, 96.0, 0.0),
    ),
    "llama-3.2-1b": (
        shaped(
            "llama",
            block_count=16,
            embedding_length=2048,
            attention__head_count=32,
            attention__head_count_kv=8,
        ),
        (64.0, 256.0, 0.0),
    ),
    "gemma-3-1b": (
        shaped(
            "gemma3",
            block_count=26,
            embedding_length=1152,
            attention__head_count=4,
            attention__head_count_kv=1,
            attention__key_length=256,
            attention__value_length=256,
            attention__sliding_window=512,
        ),
        (30.0, 54.0, 0.0),
    ),
    "granite-3.1-1b-a400m": (
        shaped(
            "granitemoe",
            block_count=24,
            embedding_length=1024,
            attention__head_count=16,
            attention__head_count_kv=8,
        ),
        (96.0, 384.0, 0.0),
    ),
    "mamba-1.4b": (
        shaped(
            "mamba",
            block_count=48,
            embedding_length=2048,
            attention__head_count=0,
            ssm__conv_kernel=4,
            ssm__inner_size=4096,
            ssm__state_size=16,
        ),
        (0.0, 0.0, 14.25),
    ),
    "lfm2-1.2b": (
        shaped(
            "lfm2",
            block_count=16,
            embedding_length=2048,
            attention__head_count=32,
            attention__head_count_kv=[0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0],
            shortconv__l_cache=3,
        ),
        (24.0, 96.0, 0.16),
    ),
    "qwen3-0.6b": (
        shaped(
            "qwen3",
            block_count=28,
            embedding_length=1024,
            attention__head_count=16,
            attention__head_count_kv=8,
            attention__key_length=128,
            attention__value_length=128,
        ),
        (224.0, 896.0, 0.0),
    ),
}


@pytest.mark.parametrize("model", MEASURED)
def test_layers_sum_to_what_the_engine_reported(model: str) -> None:
    facts, (at_2k, at_8k, state) = MEASURED[model]
    assert (kv_mib(facts, 2048), kv_mib(facts, 8192)) == (at_2k, at_8k)
    assert round(sum(layer.state_bytes for layer in facts.layers) / 2**20, 2) == state


def test_a_mixture_knows_what_it_touches(tmp_path: Path) -> None:
    tensors = {
        "token_embd.weight": ((300, 256), 8),
        "blk.0.attn_q.weight": ((256, 256), 12),
        "blk.0.ffn_up_exps.weight": ((8, 512, 256), 12),
        "blk.1.ffn_up_exps.weight": ((8, 512, 256), 12),
        "blk.2.nextn.eh_proj.weight": ((256, 512), 0),
        "output.weight": ((300, 256), 8),
    }
    fill = also(basics(3, 256, 8, 2), puts(expert_count=8, expert_used_count=2, nextn_predict_layers=1))
    path = written(tmp_path / "m.gguf", "qwen3moe", fill, tensors)
    facts = anyio.run(formats.read, {"m.gguf": LocalBytes(path)})
    experts = 2 * 8 * 512 * 256
    assert facts.parameters is not None
    assert facts.active_parameters == facts.parameters - experts + experts * 2 // 8
    assert (facts.n_expert, facts.n_expert_used, facts.tied_embeddings) == (8, 2, False)
    assert facts.output_bytes == facts.token_embedding_bytes == 300 * 256 // 32 * 34
    assert facts.extra["expert_bytes"] == experts // 256 * 144
    assert facts.extra["nextn_bytes"] == 4 * 256 * 512
    assert facts.quantisation == "Q4_K"


def test_arrays_and_flags_for_each_layer() -> None:
    facts = look(
        tiny(
            general__architecture=text("gemma4"),
            **{
                "gemma4.block_count": u32(4),
                "gemma4.embedding_length": u32(64),
                "gemma4.attention.head_count": u32(4),
                "gemma4.attention.head_count_kv": ints(2, 2, 1, 1),
                "gemma4.attention.key_length": u32(32),
                "gemma4.attention.value_length": u32(32),
                "gemma4.attention.key_length_swa": u32(16),
                "gemma4.attention.value_length_swa": u32(16),
                "gemma4.attention.sliding_window": u32(512),
                "gemma4.attention.sliding_window_pattern": bools(True, True, False, True),
                "gemma4.attention.shared_kv_layers": u32(1),
                "gemma4.feed_forward_length": ints(8, 8, 16, 16),
            },
        )
    )
    assert facts.layers == (
        Layer("attention", 4, 2, 16, 16, 512, n_ff=8),
        Layer("attention", 4, 2, 16, 16, 512, n_ff=8),
        Layer("attention", 4, 1, 32, 32, None, n_ff=16),
        Layer("attention", 4, 0, 16, 16, 512, n_ff=16),
    )
    assert facts.n_ff == 16


def test_a_label_an_embedder_a_reranker_and_a_projector() -> None:
    assert look(tiny(general__file_type=u32(15))).quantisation == "Q4_K_M"
    assert look(tiny(llama__pooling_type=u32(3))).task == "feature-extraction"
    assert look(tiny(llama__pooling_type=u32(4))).task == "text-ranking"
    assert look(tiny(general__architecture=text("clip"))).task is None
    assert look(tiny()).task == "text-generation"


def test_scalars_keep_their_own_key() -> None:
    facts = look(tiny(llama__rope__freq_base=f32(10000.0), general__type=text("model")))
    assert facts.extra["rope.freq_base"] == 10000.0
    assert facts.extra["general.type"] == "model"


# --- many files ---


def shards() -> dict[str, bytes]:
    first = hostile.gguf([*hostile.TINY, ("split.count", u32(3)), ("split.tensors.count", hostile.i32(2))])
    part = [("split.no", u32(1)), ("split.count", u32(3))]
    second = hostile.gguf(part, [info("token_embd.weight", (64, 8), 0, 0)], data_bytes=2048)
    third = hostile.gguf(part, [info("output.weight", (64, 8), 1, 0)], data_bytes=1024)
    return {f"m-0000{i}-of-00003.gguf": d for i, d in enumerate((first, second, third), 1)}


def test_shards_are_one_model() -> None:
    parts = shards()
    facts = anyio.run(formats.read, {n: Held(d) for n, d in parts.items()})
    assert facts.weights_bytes == 2048 + 1024
    assert facts.n_tensors == 2
    assert facts.file_bytes == sum(map(len, parts.values()))
    assert facts.tied_embeddings is False
    assert len(facts.layers) == 2


def test_files_that_are_no_shards_are_not_added_up() -> None:
    with pytest.raises(Malformed):
        anyio.run(formats.read, {"m.gguf": Held(tiny()), "mmproj.gguf": Held(tiny())})


def test_version_2_reads_the_same() -> None:
    old = hostile.gguf(hostile.TINY, hostile.TINY_INFOS, version=2, data_bytes=hostile.TINY_DATA)
    assert look(old) == look(tiny())


def test_a_missing_shard_and_one_given_twice_are_told() -> None:
    parts = shards()
    names = list(parts)
    with pytest.raises(Malformed, match="2 of 3"):
        anyio.run(formats.read, {n: Held(parts[n]) for n in names[:2]})
    parts[names[2]] = parts[names[1]]
    with pytest.raises(Malformed, match="two shards"):
        anyio.run(formats.read, {n: Held(d) for n, d in parts.items()})


# --- from afar ---


def vocabulary(n: int, merges: int) -> list[tuple[str, bytes]]:
    return [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.tokens", texts(f"tok{i:09}" for i in range(n))),
        ("tokenizer.ggml.token_type", hostile.array(5, [b"\1\0\0\0"] * n)),
        ("tokenizer.ggml.merges", texts(f"mrg{i:07} x" for i in range(merges))),
        ("tokenizer.ggml.eos_token_id", u32(2)),
        ("tokenizer.chat_template", text("{{ messages }}" * 200)),
        ("general.file_type", u32(15)),
    ]


def large(n: int = 262_144, merges: int = 514_906, data: int = hostile.TINY_DATA) -> bytes:
    """As large a tokenizer as there is: sixteen megabytes of header."""
    infos = [*hostile.TINY_INFOS]
    offset = hostile.TINY_DATA
    infos += [info(f"blk.{i}.ffn_down.weight", (32,), 0, offset + 128 * i) for i in range(300)]
    return hostile.gguf([*hostile.TINY[:7], *vocabulary(n, merges)], infos, data_bytes=data + 128 * 300)


@pytest.fixture(scope="module")
def big() -> bytes:
    return large()


def test_near_and_far_say_the_same(tmp_path: Path) -> None:
    async def go() -> None:
        data = large(4000, 3000)
        path = tmp_path / "m.gguf"
        path.write_bytes(data)
        async with served({"m.gguf": data}) as client:
            far = RangedBytes(client, "/m.gguf", len(data))
            here = await formats.read({"m.gguf": LocalBytes(path)})
            there = await formats.read({"m.gguf": far})
            assert here == there
            assert there.bytes_read == far.bytes_fetched < len(data) + 1
            assert far.requests <= 4

    anyio.run(go)


def test_a_badge_is_one_request_of_64_kilobytes(big: bytes) -> None:
    async def go() -> None:
        async with served({"m.gguf": big}) as client:
            far = RangedBytes(client, "/m.gguf", len(big))
            badge = await formats.read({"m.gguf": far}, badge=True)
            assert (far.requests, far.bytes_fetched, badge.bytes_read) == (1, 65536, 65536)
            full = await formats.read({"m.gguf": Held(big)})
            assert (badge.exact, full.exact) == (False, True)
            assert badge.layers == full.layers
            assert (badge.n_vocab, badge.n_embd) == (262_144, 64)
            other = gguf.for_size(badge, len(big) + 10**9)
            assert other.layers == full.layers
            assert other.weights_bytes == (badge.weights_bytes or 0) + 10**9

    anyio.run(go)


def test_a_known_tokenizer_is_jumped_over(big: bytes) -> None:
    async def go() -> None:
        known: dict[str, tuple[int, int, int]] = {}
        async with served({"a.gguf": big}) as client:
            first = RangedBytes(client, "/a.gguf", len(big))
            whole = await formats.read({"a.gguf": first}, vocabularies=known)
            second = RangedBytes(client, "/a.gguf", len(big))
            again = await formats.read({"a.gguf": second}, vocabularies=known)
        assert replace(again, bytes_read=0) == replace(whole, bytes_read=0)
        assert second.requests == 2
        assert second.bytes_fetched <= 65536 + 131072
        assert first.bytes_fetched > 10**7

    anyio.run(go)


def test_a_wrong_memory_costs_a_request_and_no_truth(big: bytes) -> None:
    async def go() -> None:
        known: dict[str, tuple[int, int, int]] = {}
        small = large(5000, 4000)
        whole = await formats.read({"a.gguf": Held(small)}, vocabularies=known)
        for distance in (1, 1000, 10**6, 10**12, -5):
            lie = dict.fromkeys(known, (distance, 2, 7))
            again = await formats.read({"a.gguf": Held(small)}, vocabularies=lie)
            assert replace(again, bytes_read=0) == replace(whole, bytes_read=0)

    anyio.run(go)


def test_the_largest_tokenizer_is_passed_in_well_under_a_second(big: bytes) -> None:
    start = time.process_time()
    facts = look(big)
    assert time.process_time() - start < 1.0
    assert facts.n_vocab == 262_144
    assert isinstance(bounded(lambda: look(big)), Facts)


@pytest.mark.parametrize("spoil", ["whole", "other range", "other size", "compressed", "short", "long", "changed"])
def test_only_the_range_asked_for_will_do(spoil: str) -> None:
    async def go() -> None:
        data = large(20_000, 10)
        async with served({"m.gguf": data}, spoil) as client:
            with pytest.raises(RangeRefused):
                await formats.read({"m.gguf": RangedBytes(client, "/m.gguf", len(data))})

    anyio.run(go)


def test_reading_stops_at_its_limit() -> None:
    async def go() -> None:
        data = large(20_000, 10)
        async with served({"m.gguf": data}) as client:
            with pytest.raises(RangeRefused, match="more than"):
                await formats.read({"m.gguf": RangedBytes(client, "/m.gguf", len(data), limit_bytes=100_000)})

    anyio.run(go)


# --- names that say nothing, and code ---


def test_a_file_without_a_name_is_known_by_its_magic() -> None:
    assert look(tiny(), name="sha256-0123").format == "gguf"
    with pytest.raises(RunsCode):
        look(b"PK\x03\x04" + b"\0" * 100, name="sha256-0123")
    with pytest.raises(RunsCode):
        look(b"\x80\x04" + b"\0" * 100, name="model.gguf")


# --- any bytes at all ---


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_change_of_bytes_escapes_the_errors(data: st.DataObject) -> None:
    raw = bytearray(tiny())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, 700))
        raw[at : at + 8] = data.draw(st.binary(min_size=0, max_size=12))
    with suppress(FormatTrouble):
        sound(look(bytes(raw)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4096), st.sampled_from([0, 1, 8, 12, 14, 23, 39])), max_size=12))
def test_weights_are_the_sum_of_the_tensors(shapes: list[tuple[int, int]]) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    infos, offset, total = [], 0, 0
    for i, (rows, kind) in enumerate(shapes):
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        infos.append(info(f"t{i}", (block, rows), kind, offset))
        total += rows * size
        offset += -(-rows * size // 32) * 32
    facts = look(hostile.gguf(hostile.TINY, infos, data_bytes=offset))
    assert facts.weights_bytes == total


# --- the probe ---


def test_a_probe_is_small_and_says_what_the_original_said(tmp_path: Path) -> None:
    data = large(20_000, 10_000)
    target = tmp_path / "probe.gguf"
    size = anyio.run(formats.rewrite_probe, {"m.gguf": Held(data)}, target)
    assert target.stat().st_size == size
    assert target.stat().st_blocks * 512 < 100_000
    original, probed = look(data), anyio.run(formats.read, {"p.gguf": LocalBytes(target)})
    assert probed.tensors == original.tensors
    assert probed.layers == original.layers
    assert probed.n_vocab == original.n_vocab
    assert probed.tokenizer == "none"
    assert [t.name for t in GGUFReader(target).tensors] == [t.name for t in original.tensors]


def test_a_probe_of_shards_is_one_file(tmp_path: Path) -> None:
    target = tmp_path / "probe.gguf"
    anyio.run(formats.rewrite_probe, {n: Held(d) for n, d in shards().items()}, target)
    probed = anyio.run(formats.read, {"p.gguf": LocalBytes(target)})
    assert probed.weights_bytes == 2048 + 1024
    assert "split.count" not in probed.extra
