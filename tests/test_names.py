"""What file names say: 333 real ones with reviewed answers, others from memory of the Hub, and
repositories."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domicile import names
from domicile.types import RemoteFile

REAL = list(csv.DictReader((Path(__file__).parent / "data" / "gguf_filenames.csv").read_text("utf-8").splitlines()))
ROLES = {"mmproj": "projector", "lora": "adapter"}


def said(filename: str) -> tuple[object, ...]:
    hint = names.read(filename)
    size = hint.experts or hint.parameters_b
    return hint.quantisation, size, hint.active_b or hint.effective_b, hint.shard, hint.role


def expected(row: dict[str, str]) -> tuple[object, ...]:
    size: object = None
    if "x" in row["params_b"]:
        count, each = row["params_b"].split("x")
        size = (int(count), float(each))
    elif row["params_b"]:
        size = float(row["params_b"])
    part = float(row["active_or_effective_b"]) if row["active_or_effective_b"] else None
    shard = tuple(map(int, row["shard"].split("/"))) if row["shard"] else None
    return row["quant"] or None, size, part, shard, ROLES.get(row["role"], row["role"])


def test_real_names_are_read_as_reviewed() -> None:
    wrong = [row["filename"] for row in REAL if said(row["filename"]) != expected(row)]
    assert len(REAL) == 333
    assert len(wrong) <= len(REAL) // 100, wrong


# Not in the table above: (name, quantisation, parameters or experts, active or effective, shard, role).
OTHERS: list[tuple[object, ...]] = [
    ("Meta-Llama-3-70B-Instruct.Q2_K.gguf", "Q2_K", 70, None, None, "model"),
    ("Meta-Llama-3-70B-Instruct-Q8_0-00002-of-00002.gguf", "Q8_0", 70, None, (2, 2), "model"),
    ("Q4_K_M/Qwen3-235B-A22B-Q4_K_M-00003-of-00005.gguf", "Q4_K_M", 235, 22, (3, 5), "model"),
    ("UD-Q2_K_XL/GLM-4.6-UD-Q2_K_XL-00001-of-00003.gguf", "UD-Q2_K_XL", None, None, (1, 3), "model"),
    ("BF16/model-00001-of-00009.gguf", "BF16", None, None, (1, 9), "model"),
    ("tinyllama-1.1b-1t-openorca.Q4_K_M.gguf", "Q4_K_M", 1.1, None, None, "model"),
    ("TinyLlama-1.1B-intermediate-step-1431k-3T.Q5_K_S.gguf", "Q5_K_S", 1.1, None, None, "model"),
    ("Qwen2.5-7B-Instruct-1M-Q6_K.gguf", "Q6_K", 7, None, None, "model"),
    ("Qwen2.5-14B-Instruct-1M.i1-IQ2_S.gguf", "IQ2_S", 14, None, None, "model"),
    ("Llama-3-8B-Instruct-262k.Q4_0.gguf", "Q4_0", 8, None, None, "model"),
    ("Yarn-Mistral-7b-128k.Q3_K_L.gguf", "Q3_K_L", 7, None, None, "model"),
    ("Phi-3-mini-128k-instruct.IQ4_NL.gguf", "IQ4_NL", None, None, None, "model"),
    ("Phi-3-mini-4k-instruct-q4.gguf", "Q4", None, None, None, "model"),
    ("Phi-3-mini-4k-instruct-fp16.gguf", "F16", None, None, None, "model"),
    ("c4ai-command-r7b-12-2024-Q4_K_M.gguf", "Q4_K_M", 7, None, None, "model"),
    ("c4ai-command-r-plus-Q3_K_M-00001-of-00002.gguf", "Q3_K_M", None, None, (1, 2), "model"),
    ("granite-3.0-1b-a400m-instruct-Q8_0.gguf", "Q8_0", 1, 0.4, None, "model"),
    ("granite-3.1-3b-a800m-instruct-Q4_K_M.gguf", "Q4_K_M", 3, 0.8, None, "model"),
    ("granite-4.0-h-tiny-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", None, None, None, "model"),
    ("gemma-3n-E4B-it-Q4_K_M.gguf", "Q4_K_M", None, 4, None, "model"),
    ("gemma-3n-E2B-it-UD-IQ2_M.gguf", "UD-IQ2_M", None, 2, None, "model"),
    ("OLMoE-1B-7B-0924-Instruct-Q4_K_M.gguf", "Q4_K_M", 7, 1, None, "model"),
    ("dolphin-2.7-mixtral-8x7b.Q5_K_M.gguf", "Q5_K_M", (8, 7.0), None, None, "model"),
    ("Mixtral-8x22B-Instruct-v0.1.IQ3_XS-00001-of-00005.gguf", "IQ3_XS", (8, 22.0), None, (1, 5), "model"),
    ("laser-dolphin-mixtral-2x7b-dpo.Q4_K_M.gguf", "Q4_K_M", (2, 7.0), None, None, "model"),
    ("Qwen1.5-MoE-A2.7B-Chat.Q4_K_M.gguf", "Q4_K_M", None, 2.7, None, "model"),
    ("Qwen3-VL-30B-A3B-Instruct-Q4_K_M.gguf", "Q4_K_M", 30, 3, None, "model"),
    ("Qwen3-Next-80B-A3B-Instruct-MXFP4_MOE.gguf", "MXFP4_MOE", 80, 3, None, "model"),
    ("Llama-4-Scout-17B-16E-Instruct-Q4_K_M-00001-of-00002.gguf", "Q4_K_M", None, 17, (1, 2), "model"),
    ("Llama-4-Maverick-17B-128E-Instruct-UD-IQ1_M.gguf", "UD-IQ1_M", None, 17, None, "model"),
    ("DeepSeek-V3-0324-UD-IQ2_XXS-00005-of-00005.gguf", "UD-IQ2_XXS", None, None, (5, 5), "model"),
    ("DeepSeek-R1-0528-Qwen3-8B-IQ4_XS.gguf", "IQ4_XS", 8, None, None, "model"),
    ("DeepSeek-V2-Lite-Chat.IQ1_S.gguf", "IQ1_S", None, None, None, "model"),
    ("Kimi-K2-Instruct-0905-UD-TQ1_0-00002-of-00005.gguf", "UD-TQ1_0", None, None, (2, 5), "model"),
    ("Ling-1T-Q4_K_M-00001-of-00013.gguf", "Q4_K_M", 1000, None, (1, 13), "model"),
    ("ggml-model-Q4_K_M.gguf", "Q4_K_M", None, None, None, "model"),
    ("ggml-model-f16.gguf", "F16", None, None, None, "model"),
    ("model.gguf", None, None, None, None, "model"),
    ("llama_2_7b_chat_q4_0.gguf", "Q4_0", 7, None, None, "model"),
    ("qwen1_5-1_8b-chat-q4_k_m.gguf", "Q4_K_M", 1.8, None, None, "model"),
    ("internlm2_5-7b-chat-q8_0.gguf", "Q8_0", 7, None, None, "model"),
    ("stablelm-2-zephyr-1_6b-Q4_0.gguf", "Q4_0", 1.6, None, None, "model"),
    ("SmolLM-135M.Q4_K_M.gguf", "Q4_K_M", 0.135, None, None, "model"),
    ("stories15M-q4_0.gguf", "Q4_0", 0.015, None, None, "model"),
    ("tinystories-1M-F32.gguf", "F32", 0.001, None, None, "model"),
    ("nomic-embed-text-v1.5.Q8_0.gguf", "Q8_0", None, None, None, "model"),
    ("mxbai-embed-large-v1-f16.gguf", "F16", None, None, None, "model"),
    ("bge-reranker-v2-m3-Q4_K_M.gguf", "Q4_K_M", None, None, None, "model"),
    ("Qwen3-Embedding-0.6B-Q8_0.gguf", "Q8_0", 0.6, None, None, "model"),
    ("embeddinggemma-300M-Q8_0.gguf", "Q8_0", 0.3, None, None, "model"),
    ("ggml-model-IQ2_BN_R4.gguf", None, None, None, None, "model"),
    ("DeepSeek-V3-IQ4_K_R4-00001-of-00010.gguf", "IQ4_K_R4", None, None, (1, 10), "model"),
    ("Qwen3-30B-A3B-IQ4_KS.gguf", "IQ4_KS", 30, 3, None, "model"),
    ("Llama-3.1-8B-Q4_K_R4.gguf", "Q4_K_R4", 8, None, None, "model"),
    ("Meta-Llama-3.1-8B-Instruct-Q4_0_8_8.gguf", "Q4_0_8_8", 8, None, None, "model"),
    ("Mistral-7B-Instruct-v0.3-F32-Q6_K.gguf", "Q6_K", 7, None, None, "model"),
    ("Qwen2.5-Coder-32B-Instruct-Q4_K_M-fp16-embeddings.gguf", "Q4_K_M", 32, None, None, "model"),
    ("Mistral-Small-24B-Instruct-2501-Q4_K_L.gguf", "Q4_K_L", 24, None, None, "model"),
    ("Hermes-4-14B-Q5KM.gguf", "Q5_K_M", 14, None, None, "model"),
    ("Qwen3-4B-NVFP4.gguf", "NVFP4", 4, None, None, "model"),
    ("BitNet-b1.58-2B-4T-TQ2_0.gguf", "TQ2_0", 2, None, None, "model"),
    ("bitnet_b1_58-3B.TL1.gguf", "TL1", 3, None, None, "model"),
    ("mmproj-model-f16.gguf", "F16", None, None, None, "projector"),
    ("gemma-3-27b-it-mmproj-BF16.gguf", "BF16", 27, None, None, "projector"),
    ("llava-v1.6-mistral-7b.mmproj-f16.gguf", "F16", 7, None, None, "projector"),
    ("Qwen2.5-VL-7B-Instruct-mmproj-Q8_0.gguf", "Q8_0", 7, None, None, "projector"),
    ("Llama-3.3-70B-Instruct-eagle3-Q4_0.gguf", "Q4_0", 70, None, None, "draft"),
    ("Qwen3-0.6B-draft-Q4_0.gguf", "Q4_0", 0.6, None, None, "draft"),
    ("GLM-4.5-Air-MTP.gguf", None, None, None, None, "draft"),
    ("Qwen3.6-9B-MTP-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", 9, None, None, "model"),
    ("llama-3-8b-lora-adapter-f16.gguf", "F16", 8, None, None, "adapter"),
    ("zephyr-7b-sft-qlora.Q4_K_M.gguf", "Q4_K_M", 7, None, None, "model"),
    ("mistral-7b-lora-merged.Q4_K_M.gguf", "Q4_K_M", 7, None, None, "model"),
    ("Qwen3-8B.imatrix.gguf", None, 8, None, None, "data"),
    ("ggml-vocab-llama-bpe.gguf", None, None, None, None, "data"),
    ("llama-65b.gguf-00001-of-00009", None, 65, None, (1, 9), "model"),
    ("model-00001-of-00163.safetensors", None, None, None, (1, 163), "model"),
    ("flux1-dev-fp8.safetensors", "FP8", None, None, None, "model"),
    ("flux1-schnell-Q4_K_S.gguf", "Q4_K_S", None, None, None, "model"),
    ("onnx/decoder_model_merged_q4f16.onnx", "q4f16", None, None, None, "model"),
    ("onnx/model_bnb4.onnx", "bnb4", None, None, None, "model"),
    ("Qwen3-4B-00003-of-00002.gguf", None, 4, None, None, "model"),
    ("model-Q4_K_M-00000-of-00003.gguf", "Q4_K_M", None, None, None, "model"),
]


@pytest.mark.parametrize("row", OTHERS, ids=[str(row[0]) for row in OTHERS])
def test_names_nobody_tuned_for(row: tuple[object, ...]) -> None:
    assert said(str(row[0])) == row[1:]


def test_there_are_enough_others() -> None:
    assert len(OTHERS) >= 60
    assert not {str(row[0]) for row in OTHERS} & {row["filename"] for row in REAL}


@given(st.text(max_size=300))
def test_any_name_can_be_read(name: str) -> None:
    hint = names.read(name)
    assert all(n is None or n >= 0 for n in (hint.parameters_b, hint.active_b, hint.effective_b))


# --- repositories ---


def repository(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 10) for path in paths]


def labels(*paths: str) -> dict[str, tuple[str, int]]:
    return {v.label: (v.role, len(v.files)) for v in names.variants(repository(*paths))}


def test_shards_are_one_variant_and_helpers_their_own() -> None:
    assert labels(
        "README.md",
        ".gitattributes",
        "m-Q4_K_M.gguf",
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
        "mmproj-F16.gguf",
        "mmproj-BF16.gguf",
        "m-MTP.gguf",
        "m.imatrix.gguf",
    ) == {
        "Q4_K_M": ("model", 1),
        "Q8_0": ("model", 2),
        "projector-F16": ("projector", 1),
        "projector-BF16": ("projector", 1),
        "m-MTP": ("draft", 1),
        "m.imatrix": ("data", 1),
    }


def test_a_missing_shard_is_said() -> None:
    files = repository(*(f"Q4_K_M/m-Q4_K_M-0000{i}-of-00004.gguf" for i in (1, 3)))
    (variant,) = names.variants(files)
    assert (variant.label, variant.missing, variant.size_bytes) == ("Q4_K_M", (2, 4), 20)
    whole = repository(*(f"m-0000{i}-of-00002.gguf" for i in (2, 1)))
    (variant,) = names.variants(whole)
    assert (variant.missing, [f.path for f in variant.files]) == ((), sorted(f.path for f in whole))


def test_labels_are_unique() -> None:
    assert set(labels("a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "c-Q8_0.gguf")) == {"a-Q4_K_M", "b-Q4_K_M", "Q8_0"}
    assert set(labels("one/m-Q4_K_M.gguf", "two/m-Q4_K_M.gguf")) == {"one/m-Q4_K_M.gguf", "two/m-Q4_K_M.gguf"}
    assert set(labels("a.gguf", "b.gguf")) == {"a", "b"}


@given(
    st.lists(
        st.sampled_from([f"{s}-{q}{e}" for s in "ab" for q in ("Q4_0", "q4_0") for e in (".gguf", "-1-of-2.gguf")])
    )
)
def test_labels_are_unique_whatever_the_names(paths: list[str]) -> None:
    found = names.variants(repository(*dict.fromkeys(paths)))
    assert len({v.label for v in found}) == len(found)


def test_a_folder_of_transformers_brings_its_companions() -> None:
    (variant,) = names.variants(
        repository("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "README.md")
    )
    assert (variant.format, {f.path for f in variant.files}) == (
        "safetensors",
        {"config.json", "tokenizer.json", "model.safetensors"},
    )


def test_onnx_parts_of_one_precision_go_together() -> None:
    found = names.variants(
        repository(
            "config.json",
            "onnx/encoder_model.onnx",
            "onnx/decoder_model.onnx",
            "onnx/decoder_model.onnx_data",
            "onnx/encoder_model_q4f16.onnx",
            "onnx/decoder_model_q4f16.onnx",
        )
    )
    assert [(v.quantisation, len(v.files)) for v in found] == [(None, 4), ("q4f16", 3)]


def test_other_families() -> None:
    def kinds(*paths: str) -> list[tuple[str, int]]:
        return [(v.format, len(v.files)) for v in names.variants(repository(*paths))]

    assert kinds("mlc-chat-config.json", "ndarray-cache.json", "params_shard_0.bin", "README.md") == [("mlc", 3)]
    assert kinds("model_index.json", "unet/w.safetensors", "vae/w.bin", "sd.safetensors") == [
        ("diffusers", 2),
        ("safetensors", 2),
    ]
    assert kinds("model.bin", "config.json", "vocabulary.json") == [("whisper", 3)]
    assert kinds("ggml-base.bin", "ggml-tiny.bin") == [("whisper", 1), ("whisper", 1)]
    assert kinds("model.bin", "pytorch_model.bin", "evil.pkl") == []


def test_the_steps_of_sentence_transformers_come_with_the_model() -> None:
    paths = ["modules.json", "config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
    paths += ["2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "other/config.json"]
    (variant,) = names.variants([RemoteFile(path, 1) for path in paths])
    assert variant.files[0].path == "model.safetensors"
    assert {f.path for f in variant.files} == set(paths[:-2])


PROJECTORS = {
    ("gemma-3-4b-it", "mmproj-F16.gguf"): 0,
    ("gemma-3-4b-it", "mmproj-gemma-3-4b-it-f16.gguf"): 13,
    ("gemma-3-27b-it", "mmproj-gemma-3-4b-it-f16.gguf"): 0,
    ("llava-v1.6-mistral-7b", "llava-v1.6-mistral-7b.mmproj-f16.gguf"): 21,
}


@pytest.mark.parametrize("case", PROJECTORS.items(), ids=str)
def test_a_projector_says_by_its_name_whose_it_is(case: tuple[tuple[str, str], int]) -> None:
    (stem, projector), letters = case
    assert names.likeness(stem, projector) == letters
