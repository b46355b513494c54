"""The same greedy text out of llama.cpp, transformers and onnxruntime, on the weights of one GGUF.

`compare` returns what each engine said; `tokens_agree` compares the tokenizers on hard strings.
Knows the prompts to try; what the answers should be is the business of `evaluate`.
Usage: python -m tools.graine.parity --gguf src/domicile/graine/graine.gguf
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tools.graine import engine, export

PROMPTS: tuple[str, ...] = (
    "Bonjour, qui es-tu ?",
    "Qu'est-ce qu'une quantification ?",
    "Combien de VRAM a une RTX 4090 ?",
    "Comment télécharger un modèle ?",
    "À quoi sert le cache KV ?",
    "C'est quoi un fichier GGUF ?",
    "Quel temps fera-t-il demain ?",
    "Hello, who are you?",
    "What is a quantisation?",
    "How much VRAM does the RTX 3060 have?",
    "How do I delete a model?",
    "What is a token?",
    "Why is pickle dangerous?",
    "Which quantization should I choose?",
)
HARD: tuple[str, ...] = (
    "L'été, où est passée la forêt ? Ça coûte 1 008 € « environ ».",
    "don't I'm WE'LL l'IA qu'est-ce qu’un œuf",
    "12345 3.14 0x1F 2^63 10 000",
    "🙂👩‍🚀🇫🇷 émoji ⚙️",
    "def f(x):\n    return {'a': [1, 2]}  # commentaire\n\n\n",
    "  espaces   multiples\t\ttab \r\nfin  ",
    "日本語 Ελληνικά русский عربى",
    "<|im_start|>user\nBonjour<|im_end|>\n<|im_start|>assistant\n",
    "e\u0301 decomposed \u00a0 no-break \u200b zero",
    "",
)
LIMIT = 160


@dataclass(frozen=True, slots=True)
class Said:
    prompt: str
    llama_cpp: str
    transformers: str
    onnx: str

    @property
    def same(self) -> bool:
        return self.llama_cpp == self.transformers == self.onnx


def _transformers(folder: Path, prompts: tuple[str, ...]) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    said = []
    for prompt in prompts:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False)
        said.append(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return said


def _onnx(folder: Path, prompts: tuple[str, ...]) -> list[str]:
    """Greedy decoding with the key-value cache, by hand."""
    import onnxruntime
    from tokenizers import Tokenizer

    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<|im_end|>")
    names = [put.name for put in session.get_inputs()][2:]
    _, heads, _, width = session.get_inputs()[2].shape
    said = []
    for prompt in prompts:
        ids = tokenizer.encode(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n").ids
        cache = {name: np.zeros((1, heads, 0, width), np.float32) for name in names}
        fresh, total, answer = ids, len(ids), list[int]()
        while len(answer) < LIMIT:
            feed = {"input_ids": np.array([fresh]), "attention_mask": np.ones((1, total), np.int64)}
            logits, *present = session.run(None, feed | cache)
            token = int(np.argmax(logits[0, -1]))
            if token == end:
                break
            answer.append(token)
            cache = dict(zip(names, present, strict=True))
            fresh, total = [token], total + 1
        said.append(tokenizer.decode(answer))
    return said


def compare(gguf_path: Path, prompts: tuple[str, ...] = PROMPTS) -> list[Said]:
    with tempfile.TemporaryDirectory() as name, engine.serve(gguf_path) as llama:
        folder = Path(name)
        export.to_safetensors(gguf_path, folder / "safetensors")
        export.to_onnx(gguf_path, folder / "onnx")
        native = [llama.chat([{"role": "user", "content": prompt}], LIMIT).text for prompt in prompts]
        torch_text = _transformers(folder / "safetensors", prompts)
        onnx_text = _onnx(folder / "onnx", prompts)
    return [Said(*row) for row in zip(prompts, native, torch_text, onnx_text, strict=True)]


def tokens_agree(gguf_path: Path, texts: tuple[str, ...] = HARD) -> list[str]:
    """The strings on which llama.cpp and the Hugging Face tokenizer differ: none, if all is well."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name, engine.serve(gguf_path) as llama:
        export.to_safetensors(gguf_path, Path(name))
        tokenizer = AutoTokenizer.from_pretrained(name)
        return [text for text in texts if llama.tokenize(text) != tokenizer(text)["input_ids"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, default=Path("src/domicile/graine/graine.gguf"))
    options = parser.parse_args()
    wrong = tokens_agree(options.gguf)
    print(f"tokenizers: {len(HARD) - len(wrong)} of {len(HARD)} strings agree", *map(repr, wrong), sep="\n  ")
    rows = compare(options.gguf)
    for row in rows:
        print("same" if row.same else "DIFFERENT", "|", row.prompt, "|", row.llama_cpp)
        if not row.same:
            print(f"  transformers: {row.transformers}\n  onnxruntime:  {row.onnx}")
    same = sum(row.same for row in rows)
    print(f"greedy text: {same} of {len(rows)} prompts the same in the three engines")
    raise SystemExit(0 if same == len(rows) and not wrong else 1)


if __name__ == "__main__":
    main()
