"""Memory of the engines beside llama.cpp: what the fit says against what a child takes after its first answer.

Makes models of random weights in the shapes of public ones, reads their headers as the house does, wakes each in its
engine's own child, asks once, and reads the child's resident memory: the most of it while it answered, and what it
keeps afterwards. A text of 512 tokens is read, or a minute of sound. Each line is kept in
`bench/data/fit_formats.csv`, so that the sums of `domicile.runtime_memory` can be judged again, and without the shape
in question (`judge`).
Usage: OMP_WAIT_POLICY=passive python -m bench.fit_formats measure text encoder sound
       python -m bench.fit_formats measure text:smollm2-135m --engines ~/.domicile/engines
       python -m bench.fit_formats judge
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gc
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.fakes.environment import borrowed

from domicile import fit, formats, hardware
from domicile.config import load
from domicile.engines import Engine, Launch, chosen, installed
from domicile.types import Facts, Hardware, Installed, Layer, Plan, Tensor

DATA = Path(__file__).parent / "data" / "fit_formats.csv"
MIB = 2**20
FIELDS = ("kind", "shape", "detail", "predicted", "taken", "kept", "file_backed", "weights")
LONG = 512

TEXT: dict[str, dict[str, int]] = {
    "smollm2-135m": {"h": 576, "f": 1536, "n": 30, "q": 9, "kv": 3, "v": 49152},
    "smollm2-360m": {"h": 960, "f": 2560, "n": 32, "q": 15, "kv": 5, "v": 49152},
    "qwen2.5-0.5b": {"h": 896, "f": 4864, "n": 24, "q": 14, "kv": 2, "v": 151936},
    "qwen3-0.6b": {"h": 1024, "f": 3072, "n": 28, "q": 16, "kv": 8, "v": 151936, "d": 128},
    "tinyllama-1.1b": {"h": 2048, "f": 5632, "n": 22, "q": 32, "kv": 4, "v": 32000, "untied": 1},
    "llama-3.2-1b": {"h": 2048, "f": 8192, "n": 16, "q": 32, "kv": 8, "v": 128256},
    "qwen2.5-1.5b": {"h": 1536, "f": 8960, "n": 28, "q": 12, "kv": 2, "v": 151936},
}
TEXT_RUNS = (
    *((shape, "bfloat16", 2048) for shape in TEXT),
    *((shape, "float32", 2048) for shape in ("smollm2-135m", "qwen2.5-0.5b", "tinyllama-1.1b")),
    ("smollm2-360m", "bfloat16", 8192),
    ("qwen3-0.6b", "bfloat16", 4096),
)
GRAPH_RUNS = (("smollm2-135m", 2048), ("smollm2-135m", 4096), ("smollm2-360m", 2048), ("qwen2.5-0.5b", 2048))
"""A graph is one file of at most 2 GB."""
ENCODERS: dict[str, dict[str, int]] = {
    "minilm-l6": {"h": 384, "f": 1536, "n": 6, "q": 12, "v": 30522},
    "minilm-l12": {"h": 384, "f": 1536, "n": 12, "q": 12, "v": 30522},
    "e5-small-multilingual": {"h": 384, "f": 1536, "n": 12, "q": 12, "v": 250037},
    "bge-base": {"h": 768, "f": 3072, "n": 12, "q": 12, "v": 30522},
    "e5-base-multilingual": {"h": 768, "f": 3072, "n": 12, "q": 12, "v": 250002},
    "e5-large": {"h": 1024, "f": 4096, "n": 24, "q": 16, "v": 30522},
    "bge-m3": {"h": 1024, "f": 4096, "n": 24, "q": 16, "v": 250002},
}
WHISPERS: dict[str, dict[str, int]] = {
    "tiny": {"h": 384, "n": 4, "q": 6},
    "base": {"h": 512, "n": 6, "q": 8},
    "small": {"h": 768, "n": 12, "q": 12},
    "medium": {"h": 1024, "n": 24, "q": 16},
}


# -- models of random weights --------------------------------------------------------------------------------


@contextmanager
def half() -> Iterator[None]:
    """Tensors are made in bfloat16: half the memory while a model is made."""
    import torch

    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def words_for(size: int, folder: Path, bert: bool = False) -> None:
    """A byte-pair (or WordPiece) tokenizer of that many words, as large in memory as a published one is."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    if bert:
        vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
        vocabulary |= {f"##w{n}" if n % 3 == 0 else f"word{n}": n for n in range(5, size)}
        made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {letter: n for n, letter in enumerate(letters)}
        merges: list[tuple[str, str]] = []
        known = list(letters)
        left = 0
        while len(vocabulary) < size - 3:  # the shortest words first, of two letters, then of three
            first, second = known[left // len(letters)], letters[left % len(letters)]
            left += 1
            if first + second not in vocabulary:
                vocabulary[first + second] = len(vocabulary)
                merges.append((first, second))
                known.append(first + second)
        for name in ("<|begin|>", "<|end|>", "<|pad|>"):
            vocabulary[name] = len(vocabulary)
        made = Tokenizer(models.BPE(vocabulary, merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    kind = "BertTokenizerFast" if bert else "PreTrainedTokenizerFast"
    said = {"tokenizer_class": kind} | ({} if bert else {"eos_token": "<|end|>", "pad_token": "<|pad|>"})
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def filled(model: Any) -> Any:
    """Weights without the minutes of drawing them: the same million random numbers again and again, each tensor's
    beginning elsewhere."""
    import torch

    some = torch.randn(1 << 20) * 0.02
    with torch.no_grad():
        for number, tensor in enumerate(model.parameters()):
            flat = tensor.view(-1)
            some = some.roll(7919 * (number + 1))  # onnxruntime keeps equal tensors once
            for begin in range(0, flat.numel(), some.numel()):
                piece = flat[begin : begin + some.numel()]
                piece.copy_(some[: piece.numel()])
    return model


def saved(model: Any, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    del model
    gc.collect()
    return folder


def language(name: str, folder: Path, dtype: str) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.initialization import no_init_weights

    s = TEXT[name]
    config = LlamaConfig(
        vocab_size=s["v"], hidden_size=s["h"], intermediate_size=s["f"], num_hidden_layers=s["n"],
        num_attention_heads=s["q"], num_key_value_heads=s["kv"], head_dim=s.get("d", s["h"] // s["q"]),
        max_position_embeddings=32768, tie_word_embeddings="untied" not in s, eos_token_id=s["v"] - 2,
    )  # fmt: skip
    with half(), no_init_weights():
        model = LlamaForCausalLM(config)
    saved(filled(model).to(getattr(torch, dtype)), folder)
    words_for(s["v"], folder)
    return folder


def encoder(name: str, folder: Path) -> Path:
    from transformers import BertConfig, BertModel
    from transformers.initialization import no_init_weights

    s = ENCODERS[name]
    config = BertConfig(
        vocab_size=s["v"], hidden_size=s["h"], intermediate_size=s["f"], num_hidden_layers=s["n"],
        num_attention_heads=s["q"],
    )  # fmt: skip
    with no_init_weights():
        model = BertModel(config)
    saved(filled(model), folder)
    words_for(s["v"], folder, bert=True)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


# -- one child ----------------------------------------------------------------------------------------------


class Bench:
    """The engines, and a line for each model that was measured."""

    def __init__(self, place: Path, environments: Path | None) -> None:
        self.place = place
        self.environments = environments or load({"DOMICILE_HOME": str(place / "home")}).engines
        for extra in ("transformers", "onnx", "whisper", "images") if environments is None else ():
            borrowed(self.environments, extra)
        self.engines = installed(self.environments)
        self.machine = hardware.detect(place)

    async def one(
        self, kind: str, shape: str, detail: str, model: Installed, ask: tuple[str, dict[str, Any]], **more: Any
    ) -> None:
        """Wake, ask once, read the memory, tell."""
        context = int(more.pop("context", 2048))
        facts = await formats.read({_inside(model, p): formats.LocalBytes(p) for p in model.files})
        used = int(more.pop("used", context))
        report = fit.fit(facts, self.machine, context=used, sound=more.get("compute", "int8"))
        embeds = kind.endswith("encoder")
        engine: Engine | None = chosen(self.engines, model)
        assert engine is not None, model
        plan = Plan(context, 1, 512, "f16", "f16", True, 0, (), 0, 0)
        launch = Launch(model, plan, 1, 0, 600.0, self.place / "log", embedding=embeds, **more)
        async with engine.awake(launch) as awake:
            Path(f"/proc/{awake.pid}/clear_refs").write_text("5")  # the most memory is counted from here on
            async with awake.ask(ask[0], json.dumps(ask[1]).encode()) as reply:
                said = b"".join([piece async for piece in reply.body])
                assert reply.status == 200, said[:500]
                assert b'"error"' not in said[:300], said[:500]
            status = _status(awake.pid)
        row = {
            "kind": kind, "shape": shape, "detail": detail, "predicted": report.total_bytes or 0,
            "taken": status["VmHWM"], "kept": status["VmRSS"], "file_backed": status["RssFile"],
            "weights": facts.weights_bytes,
        }  # fmt: skip
        keep(row)
        print(told(row), flush=True)


def _inside(model: Installed, path: Path) -> str:
    root = model.path.parent if model.format != "onnx" else model.files[0].parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return {k: 1024 * int(v.split()[0]) for k, _, v in (line.partition(":") for line in lines) if k[:2] in {"Vm", "Rs"}}


def keep(row: dict[str, Any]) -> None:
    """The last measure of each model stands."""
    rows = [r for r in kept() if (r["kind"], r["shape"], r["detail"]) != (row["kind"], row["shape"], row["detail"])]
    DATA.parent.mkdir(exist_ok=True)
    with DATA.open("w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS)
        writer.writeheader()
        writer.writerows(sorted([*rows, row], key=lambda r: (r["kind"], int(r["weights"] or 0), r["detail"])))


def kept() -> list[dict[str, Any]]:
    if not DATA.is_file():
        return []
    with DATA.open(newline="") as lines:
        return list(csv.DictReader(lines))


@cache
def _with_bfloat16() -> Hardware:
    return replace(hardware.detect(Path.cwd()), features=("avx512_bf16",), gpus=())


def predicted_again(row: Mapping[str, str]) -> int:
    """What today's sums say of a line that was measured, on a machine with bfloat16 of its own."""
    kind, shape, detail = row["kind"], row["shape"], row["detail"]
    machine = _with_bfloat16()
    weights = int(row["weights"])
    if kind == "sound":
        s, stored = WHISPERS[shape], {"safetensors": "F32", "ggml": "F16", "ctranslate2": "F32"}[detail.split()[0]]
        its = Facts("whisper", weights, weights, "whisper", quantisation=stored, n_embd=s["h"])
        return fit.fit(its, machine, sound=detail.split()[1]).total_bytes or 0
    writes = kind.endswith("text")
    s = TEXT[shape] if writes else ENCODERS[shape]
    width = s.get("d", s["h"] // s["q"])
    layers = (Layer("attention", s["q"], s.get("kv", s["q"]), width, width, n_ff=s["f"]),) * s["n"]
    stored = "BF16" if detail.startswith("bfloat16") else "F32"
    table = s["v"] * s["h"] * 4
    tensors = (
        Tensor("table", (s["h"], s["v"]), "F32", table),
        Tensor("rest", (weights - table,), "F32", weights - table),
    )
    its = Facts(
        "onnx" if kind.startswith("onnx") else "safetensors", weights, weights, "llama", quantisation=stored,
        task="text-generation" if writes else "feature-extraction",
        n_vocab=s["v"], n_embd=s["h"], n_ff=s["f"], layers=layers,
        tensors=tensors if kind.startswith("onnx") else (),
    )  # fmt: skip
    return fit.fit(its, machine, context=int(detail.split()[-1]) + 16 if writes else LONG).total_bytes or 0


def told(row: dict[str, Any]) -> str:
    predicted, took, left = (int(row[key]) / MIB for key in ("predicted", "taken", "kept"))
    off = f"{predicted / took - 1:+.1%}"
    return f"| {row['kind']} | {row['shape']} {row['detail']} | {predicted:,.0f} | {took:,.0f} | {left:,.0f} | {off} |"


# -- the kinds ----------------------------------------------------------------------------------------------


async def text(bench: Bench, only: str) -> None:
    for shape, dtype, context in TEXT_RUNS:
        if only and only != shape:
            continue
        folder = language(shape, bench.place / "model", dtype)
        files = tuple(sorted(folder.iterdir(), key=lambda p: (p.suffix != ".safetensors", p.name)))
        model = Installed(shape, files[0], "safetensors", 1, "file", files=files, task="text-generation")
        long = LONG if context == 2048 else context - 64
        prompt = [n % 1000 for n in range(long)]
        ask = {"prompt": prompt, "max_tokens": 16, "ignore_eos": True, "temperature": 0}
        await bench.one(
            "text", shape, f"{dtype} {long}", model, ("/v1/completions", ask), context=context, used=long + 16
        )
        shutil.rmtree(folder)


async def encoders(bench: Bench, only: str) -> None:
    from tests.fakes import graphs

    for shape in ENCODERS:
        if only and only != shape:
            continue
        folder = encoder(shape, bench.place / "model")
        ask = ("/v1/embeddings", {"input": [[n % 1000 + 5 for n in range(LONG - 2)]]})
        files = tuple(
            p for p in sorted(folder.rglob("*"), key=lambda p: (p.suffix != ".safetensors", p.name)) if p.is_file()
        )
        model = Installed(shape, files[0], "safetensors", 1, "file", files=files, task="feature-extraction")
        await bench.one("encoder", shape, "float32", model, ask)
        if (
            ENCODERS[shape]["v"] * ENCODERS[shape]["h"] * 4 + 4 * 12 * ENCODERS[shape]["n"] * ENCODERS[shape]["h"] ** 2
            < 1.4e9
        ):
            place = graphs.bert(folder, bench.place / "graph")
            files = tuple(
                p for p in sorted(place.rglob("*"), key=lambda p: (p.suffix != ".onnx", p.name)) if p.is_file()
            )
            model = Installed(shape, files[0], "onnx", 1, "file", files=files, task="feature-extraction")
            await bench.one("onnx encoder", shape, "float32", model, ask)
            shutil.rmtree(place)
        shutil.rmtree(folder)


async def sound(bench: Bench, only: str) -> None:
    from tests.fakes import whisper

    wav = whisper.wav(bench.place / "minute.wav", 60)
    for shape, s in WHISPERS.items():
        if only and only != shape:
            continue
        folder = whisper.transformers(
            bench.place / "model", d_model=s["h"], encoder_layers=s["n"], decoder_layers=s["n"],
            encoder_attention_heads=s["q"], decoder_attention_heads=s["q"], encoder_ffn_dim=4 * s["h"],
            decoder_ffn_dim=4 * s["h"], init_std=0.02,
        )  # fmt: skip
        files = tuple(sorted(folder.iterdir(), key=lambda p: (p.suffix != ".safetensors", p.name)))
        hf = Installed(shape, files[0], "safetensors", 1, "file", files=files, task="automatic-speech-recognition")
        ggml = whisper.ggml(folder, bench.place / "ggml-model.bin")
        cpp = Installed(shape, ggml, "whisper", 1, "file", files=(ggml,), task="automatic-speech-recognition")
        made = whisper.ctranslate2(folder, bench.place / "ct2")
        its = tuple(sorted(made.iterdir(), key=lambda p: (p.name != "model.bin", p.name)))
        ct2 = Installed(shape, its[0], "whisper", 1, "file", files=its, task="automatic-speech-recognition")
        ask = {"file": str(wav), "vad_filter": False, "beam_size": 5, "fallback": False, "language": "en"}
        route = "/v1/audio/transcriptions"
        for detail, model, compute in (
            ("safetensors int8", hf, "int8"), ("safetensors float32", hf, "float32"), ("ggml int8", cpp, "int8"),
            ("ctranslate2 int8", ct2, "int8"),
        ):  # fmt: skip
            await bench.one("sound", shape, detail, model, (route, ask), compute=compute)
            shutil.rmtree(bench.environments / "whisper" / "kept", ignore_errors=True)
        shutil.rmtree(folder)
        shutil.rmtree(made.parent)
        ggml.unlink()


async def graphs_of_text(bench: Bench, only: str) -> None:
    """A graph of float32 in both layouts: transformers.js's, which the house runs itself, and onnxruntime-genai's."""
    from safetensors.numpy import load_file
    from tests.fakes import graphs
    from tools.graine import graph

    for shape, context in GRAPH_RUNS:
        if only and only != shape:
            continue
        folder = language(shape, bench.place / "model", "float32")
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**said, "pad_token_id": said["eos_token_id"]}))
        weights = {n: w for f in folder.glob("*.safetensors") for n, w in load_file(f).items()}
        (folder / "onnx").mkdir()
        small = {**said, "rope_theta": 10000.0, "max_position_embeddings": context}
        graph.save(small, weights, folder / "onnx" / "model.onnx")
        del weights
        for old in folder.glob("*.safetensors"):
            old.unlink()
        gc.collect()
        long = LONG if context == 2048 else context - 64
        ask = {"prompt": [n % 1000 for n in range(long)], "max_tokens": 16, "ignore_eos": True, "temperature": 0}
        other = graphs.genai(folder, bench.place / "genai")
        for layout, root in (("own loop", folder), ("genai", other)):
            files = tuple(
                p for p in sorted(root.rglob("*"), key=lambda p: (p.suffix != ".onnx", p.name)) if p.is_file()
            )
            model = Installed(shape, files[0], "onnx", 1, "file", files=files, task="text-generation")
            detail, route = f"{layout} {long}", ("/v1/completions", ask)
            await bench.one("onnx text", shape, detail, model, route, context=context, used=long + 16)
            shutil.rmtree(root)


KINDS: dict[str, Callable[[Bench, str], Any]] = {
    "text": text,
    "encoder": encoders,
    "sound": sound,
    "onnx_text": graphs_of_text,
}


async def measure(wanted: list[str], environments: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="domicile-bench-") as home:
        bench = Bench(Path(home), environments)
        print("| kind | model | predicted MiB | most MiB | kept MiB | off by |\n|---|---|---|---|---|---|")
        for word in wanted or list(KINDS):
            kind, _, only = word.partition(":")
            await KINDS[kind](bench, only)


def judge() -> None:
    """Today's sums on what was measured; and each shape with the constant of its process fitted to the others alone."""
    rows = kept()
    family = {id(row): (row["kind"], row["detail"].split()[-1] if row["kind"] == "sound" else "") for row in rows}
    print("| kind | model | said MiB | taken MiB | off by | constant of the other shapes |\n|---|---|---|---|---|---|")
    for row in rows:
        said, taken = predicted_again(row), int(row["taken"])
        others = [r for r in rows if family[id(r)] == family[id(row)] and r["shape"] != row["shape"]]
        moved = sum(int(r["taken"]) - predicted_again(r) for r in others) / max(1, len(others))
        without = f"{(said + moved) / taken - 1:+.1%}" if others else ""
        name = f"{row['shape']} {row['detail']}"
        print(
            f"| {row['kind']} | {name} | {said / MIB:,.0f} | {taken / MIB:,.0f} | {said / taken - 1:+.1%} | {without} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=["measure", "judge"])
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--engines", type=Path, help="a house's folder of installed engines, instead of borrowing ours")
    options = parser.parse_args()
    if options.act == "judge":
        judge()
    else:
        asyncio.run(measure(options.kinds, options.engines))


if __name__ == "__main__":
    main()
