"""The catalogue is true to its own rules, covers what it promises, and a person can write over it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domicile.catalogue import NEEDS, Recommended, organisations, recommended, webllm
from domicile.errors import BadField
from domicile.names import read
from domicile.refs import ModelRef

SEEDS = {
    # The guide of local models (0).
    "Qwen/Qwen2.5-0.5B-Instruct", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "microsoft/phi-2", "Qwen/Qwen2.5-3B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-2-7b-chat-hf", "openai/whisper-tiny",
    "openai/whisper-small", "openai/whisper-base",
    # The guide to local generative AI (4).
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek-ai/DeepSeek-R1",
    "deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "meta-llama/Llama-3.2-90B-Vision-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct",
    *(f"meta-llama/CodeLlama-{n}b-Instruct-hf" for n in (7, 13, 34, 70)),
    *(f"Qwen/Qwen2.5-{n}B-Instruct" for n in ("0.5", "1.5", "3", "7", "14", "32", "72")),
    *(f"Qwen/Qwen2.5-Coder-{n}B-Instruct" for n in ("0.5", "1.5", "3", "7", "14", "32")),
    "Qwen/QwQ-32B", "microsoft/phi-4", "google/gemma-2-2b-it", "google/gemma-2-9b-it", "google/gemma-2-27b-it",
    "google/codegemma-2b", "google/codegemma-7b-it", "mistralai/Mistral-Large-Instruct-2407",
    "mistralai/Mistral-Small-Instruct-2409",
}  # fmt: skip


def test_every_need_has_models_and_the_whole_is_large() -> None:
    everything = recommended()
    assert len(everything) >= 60
    for need in NEEDS:
        models = recommended(need)
        assert len(models) >= 5, need
        assert all(need in m.needs for m in models)
    assert {m.id for need in NEEDS for m in recommended(need)} == {m.id for m in everything}


def test_every_model_of_the_seeds_is_there() -> None:
    assert {m.repository for m in recommended()} >= SEEDS


def test_by_organisation_whatever_the_case() -> None:
    assert {m.organisation for m in recommended(organisation="mistral ai")} == {"Mistral AI"}
    assert recommended("code", "Mistral AI")
    assert recommended(organisation="nobody") == ()
    assert "Meta" in organisations()
    assert sum(len(recommended(organisation=o)) for o in organisations()) == len(recommended())


@pytest.mark.parametrize("model", recommended(), ids=lambda m: m.id)
def test_an_entry_is_whole_and_can_be_pulled(model: Recommended) -> None:
    ref = ModelRef.parse(model.reference)
    assert ref.kind == "hub"
    assert ref.name == (model.gguf or model.repository)
    assert ref.quantisation == model.quantisation
    assert ModelRef.parse(model.repository).name == model.repository
    assert set(model.best_for) == {"en", "fr"}
    assert model.best_for["en"] != model.best_for["fr"]
    assert (model.quantisation is None) == (model.gguf is None)
    if model.quantisation is not None:
        assert read(f"model-{model.quantisation}.gguf").quantisation == model.quantisation
    assert model.size_bytes is None or model.quantisation is not None
    assert model.year is not None
    assert 2020 <= model.year <= 2026
    if model.parameters is not None:
        assert model.active is None or model.active < model.parameters
        # The name of a repository says its size too: they agree within a fifth.
        said = read(model.repository.split("/")[1]).parameters_b
        if said is not None and model.id not in {"gemma-4-e2b", "gemma-4-e4b"}:
            assert 0.8 <= model.parameters / (said * 1e9) <= 1.5, model.id
    if model.size_bytes is not None and model.parameters is not None:
        assert 3 <= model.size_bytes * 8 / model.parameters <= 9
    json.dumps(model.public("fr"))
    assert model.public("fr")["best_for"] == model.best_for["fr"]


def test_what_is_recommended_for_pictures_is_of_a_format_that_is_drawn_here() -> None:
    assert [m.id for m in recommended("image") if m.gguf is not None] == []


def test_a_need_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadField):
        recommended("cooking")  # type: ignore[arg-type]


MINE = """
hide = ["phi-2"]

[[model]]
id = "mine"
name = "Mine"
needs = ["code"]
organisation = "Me"
repository = "me/mine"
for = "What I do"

[[model]]
id = "qwen3-4b"
name = "My Qwen"
needs = ["code"]
organisation = "Me"
repository = "me/qwen"
for.en = "x"
for.fr = "y"
"""


def test_a_person_adds_replaces_and_hides(tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text(MINE, "utf-8")
    models = {m.id: m for m in recommended(home=tmp_path)}
    assert models["mine"].reference == "me/mine"
    assert models["mine"].public("fr")["best_for"] == "What I do"
    assert models["qwen3-4b"].name == "My Qwen"
    assert "phi-2" not in models
    assert len(models) == len(recommended())
    assert "phi-2" in {m.id for m in recommended()}
    assert "Me" in organisations(home=tmp_path)
    assert recommended(home=tmp_path / "nowhere") == recommended()


GOOD = 'id = "a"\nname = "A"\nneeds = ["code"]\norganisation = "O"\nrepository = "o/r"\nfor = "x"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "catalogue.toml"),
        ("models = 1", "models"),
        ("model = 1", "model"),
        ("hide = 'x'", "hide"),
        ("model = [1]", "#1: id"),
        ("[[model]]\n" + GOOD.replace('"a"', '"../a"'), "#1: id"),
        ("[[model]]\n" + GOOD.replace('"A"', '"\\u001b[2J"'), "a: name"),
        ("[[model]]\n" + GOOD.replace('["code"]', '["cooking"]'), "a: needs"),
        ("[[model]]\n" + GOOD.replace('["code"]', "[]"), "a: needs"),
        ("[[model]]\n" + GOOD.replace("o/r", "o"), "a: repository"),
        ("[[model]]\n" + GOOD.replace('for = "x"', ""), "a: for"),
        ("[[model]]\n" + GOOD.replace('for = "x"', 'for.de = "x"'), "a: for.de"),
        ("[[model]]\n" + GOOD + "parameters = -5", "a: parameters"),
        ("[[model]]\n" + GOOD + "parameters = '7B'", "a: parameters"),
        ("[[model]]\n" + GOOD + "colour = 'red'", "a: colour"),
        ("[[model]]\n" + GOOD + "[[model]]\n" + GOOD, ": a"),
    ],
)
def test_a_file_that_cannot_be_used_says_which_entry_and_field(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(BadField) as refused:
        recommended(home=tmp_path)
    field = str(refused.value.facts["field"])
    assert str(file) in field
    assert field.endswith(said)


def test_the_browser_list_is_as_the_browser_engine_takes_it() -> None:
    models = webllm()
    assert len(models) == 165
    assert len({m["model_id"] for m in models}) == 165
    for model in models:
        assert model["model"].startswith("https://huggingface.co/mlc-ai/")
        assert model["model_lib"].startswith("https://raw.githubusercontent.com/mlc-ai/binary-mlc-llm-libs/")
        assert model["model_lib"].endswith(".wasm")
        assert model["vram_required_MB"] > 0
    first = next(m for m in models if m["model_id"] == "Llama-3.2-1B-Instruct-q4f16_1-MLC")
    assert first["overrides"] == {"context_window_size": 4096}
