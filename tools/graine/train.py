"""The training: a small Llama on the corpus, on the processor, with fixed seeds.

Knows the shape of the model, the batches and the two optimisers (Muon for the matrices of the
layers, AdamW for the rest). The loss is on the answers and their stop token only. Does not know
what the conversations say, and writes a Hugging Face folder in float32 that `export` turns into GGUF.
Usage: OMP_WAIT_POLICY=passive nice -n 5 python -m tools.graine.train
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from tools.graine import corpus
from tools.graine.facts import load
from tools.graine.tokenizer import END, PAD, SPECIAL, START, VOCABULARY
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 20261120
LONGEST = 512
ROUND = 20_000
BLUR = 0.06
SHORTENED = 0.93
CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    tokens: list[int]
    answer: list[bool]


def config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
    )


def openings(answers: Iterable[str], tokenizer: Tokenizer) -> dict[str, int]:
    """For each answer, the tokens of it that no other answer begins with, and one more: the fact is chosen by then."""
    written = {answer: tuple(tokenizer.encode(answer).ids) for answer in answers}
    begun = Counter(ids[:length] for ids in written.values() for length in range(1, len(ids) + 1))
    return {
        answer: next((n + 1 for n in range(1, len(ids)) if begun[ids[:n]] == 1), len(ids))
        for answer, ids in written.items()
    }


def read(
    conversations: Iterable[list[dict[str, str]]], tokenizer: Tokenizer, opening: dict[str, int], rng: Random
) -> list[Sample]:
    """Conversations in ChatML, as the chat template writes them; too long ones are left out. Most answers are
    cut after their opening: it is there that the fact is chosen, and the rest is soon known by heart."""
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    newline = tokenizer.encode("\n").ids
    roles = {role: tokenizer.encode(f"{role}\n").ids for role in ("system", "user", "assistant")}
    samples: list[Sample] = []
    for messages in conversations:
        bodies = tokenizer.encode_batch([message["content"] for message in messages])
        tokens: list[int] = []
        answer: list[bool] = []
        for message, body in zip(messages, bodies, strict=True):
            learned = message["role"] == "assistant"
            head = [start, *roles[message["role"]]]
            tokens += [*head, *body.ids, end, *newline]
            answer += [False] * len(head) + [learned] * (len(body.ids) + 1) + [False] * len(newline)
        if len(messages) == 2 and rng.random() < SHORTENED:
            cut = len(tokens) - len(bodies[-1].ids) - 1 - len(newline) + opening[messages[-1]["content"]]
            tokens, answer = tokens[:cut], answer[:cut]
        if len(tokens) <= LONGEST:
            samples.append(Sample(tokens, answer))
    return samples


def batches(samples: list[Sample], size: int, rng: Random) -> list[list[Sample]]:
    """Batches of about `size` tokens, of samples of close lengths, in a random order."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].tokens) + rng.random() * 8)
    result: list[list[Sample]] = []
    current: list[Sample] = []
    for i in order:
        if current and len(samples[i].tokens) * (len(current) + 1) > size:
            result.append(current)
            current = []
        current.append(samples[i])
    result.append(current)
    rng.shuffle(result)
    return result


def tensors(batch: list[Sample], pad: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Padded tokens and labels. In half of the samples some words of the question are blurred, so
    that no single word of a template decides alone."""
    width = -(-max(len(sample.tokens) for sample in batch) // 8) * 8  # few shapes: oneDNN compiles each one
    tokens = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), -100)
    for row, sample in enumerate(batch):
        ids = torch.tensor(sample.tokens)
        labels[row, : len(ids)] = torch.where(torch.tensor(sample.answer), ids, -100)
        tokens[row, : len(ids)] = ids
    asked = (labels == -100) & (tokens >= len(SPECIAL))
    chance = BLUR * (torch.rand((len(batch), 1), generator=noise) < 0.5)
    blurred = asked & (torch.rand(tokens.shape, generator=noise) < chance)
    tokens[blurred] = torch.randint(len(SPECIAL), VOCABULARY, (int(blurred.sum()),), generator=noise)
    return tokens, labels


def loss_of(model: LlamaForCausalLM, tokens: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the answers; the vocabulary is projected for their positions only."""
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    learned = target != -100
    logits = model.lm_head(hidden[learned])
    return torch.nn.functional.cross_entropy(logits.float(), target[learned])


def rate(step: int, steps: int) -> float:
    """Warm-up, plateau, then a linear descent over the last 70 %."""
    return min(1.0, (step + 1) / 30, max(0.01, (steps - step) / (0.7 * steps)))


def train(tokenizer_path: Path, out: Path, steps: int, size: int, init: Path | None, scale: float) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    model = LlamaForCausalLM.from_pretrained(init, dtype=torch.float32) if init else LlamaForCausalLM(config())
    model.set_attn_implementation("eager")  # its backward is the faster one at these lengths
    for layer in model.model.layers:  # half as fast again (measured); needs a C++ compiler
        layer.compile(dynamic=True)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=6e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]
    peaks = [scale * optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    rng = Random(SEED)
    opening = openings((side.answer for fact in load() for side in fact.sides.values()), tokenizer)
    noise = torch.Generator().manual_seed(SEED)
    queue: list[list[Sample]] = []
    seen, rounds, mean, began = 0, 0, math.nan, time.monotonic()
    pad = tokenizer.token_to_id(PAD)
    for step in range(steps):
        if not queue:  # no question is drawn twice: each round has a seed of its own
            rounds += 1
            queue = batches(read(corpus.generate(ROUND, SEED + rounds), tokenizer, opening, rng), size, rng)
        tokens, labels = tensors(queue.pop(), pad, noise)
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate(step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, tokens, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        seen += tokens.numel()
        mean = loss.item() if math.isnan(mean) else 0.95 * mean + 0.05 * loss.item()
        if step % 20 == 0 or step == steps - 1:
            spent = time.monotonic() - began
            print(
                f"{step:5d} loss {mean:.4f} {seen / 1e6:.2f}M tokens {spent:.0f} s {seen / spent:.0f}/s",
                flush=True,
            )
        if step % 100 == 99 or step == steps - 1:
            model.save_pretrained(out)
            tokenizer.save(str(out / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, default=Path("/tmp/graine/tokenizer.json"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/graine/checkpoint"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--init", type=Path, help="go on from this folder instead of random weights")
    parser.add_argument("--rate", type=float, default=1.0, help="multiplies both learning rates")
    parser.add_argument("--batch-tokens", type=int, default=6144)
    options = parser.parse_args()
    train(options.tokenizer, options.out, options.steps, options.batch_tokens, options.init, options.rate)


if __name__ == "__main__":
    main()
