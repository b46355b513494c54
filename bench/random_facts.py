"""The Facts of a random file, from the parameters it was made with. Knows the generator; reads no file."""

from __future__ import annotations

from tools.random_gguf import Blueprint, Shape

from domicile.types import Facts, Layer, Tensor


def facts_of(plan: Blueprint) -> Facts:
    """What a reader of the file's header should find."""
    s = plan.shape
    tensors = tuple(Tensor(t.name, t.dims, t.type, t.size_bytes) for t in plan.tensors)
    by_name = {t.name: t for t in tensors}
    output = by_name.get("output.weight")
    extra: dict[str, int | float | str | bool] = {
        key: value for key, value in plan.hyper.items() if not isinstance(value, list)
    }
    return Facts(
        format="gguf",
        file_bytes=plan.weights_bytes + len(plan.header),
        weights_bytes=plan.weights_bytes,
        architecture=s.arch,
        name=plan.name,
        task="text-generation",
        parameters=sum(_count(t) for t in tensors),
        quantisation=plan.quantisation,
        context_length=s.context,
        n_vocab=s.tokens.n_vocab,
        n_embd=s.embd,
        n_ff=s.ff,
        n_expert=s.experts or None,
        n_expert_used=s.experts_used or None,
        n_ff_expert=s.ff_expert or None,
        layers=tuple(_layer(s, i) for i in range(s.layers)),
        tied_embeddings=s.tied,
        token_embedding_bytes=by_name["token_embd.weight"].size_bytes,
        output_bytes=output.size_bytes if output else None,
        tokenizer=f"{'gpt2' if plan.vocabulary.merges else 'llama'}/{s.tokens.pre}",
        tokenizer_bytes=plan.tokenizer_bytes,
        tensors=tensors,
        n_tensors=len(tensors),
        extra=extra,
    )


def _count(tensor: Tensor) -> int:
    count = 1
    for dim in tensor.dims:
        count *= dim
    return count


def _layer(s: Shape, index: int) -> Layer:
    ff = s.ff if not s.experts or index < s.dense_lead else 0
    if not s.attends(index):
        return Layer("recurrent", state_bytes=4 * _state(s), n_ff=ff)
    if s.arch == "deepseek2":
        return Layer("attention", s.heads, 1, s.lora_kv + s.rope_dim, 0, n_ff=ff)
    slides = s.arch == "gemma3" and (index + 1) % 6 != 0
    return Layer("attention", s.heads, s.heads_kv, s.head_dim, s.head_dim, s.window if slides else None, n_ff=ff)


def _state(s: Shape) -> int:
    """Values of one sequence's state (llama.cpp, n_embd_r + n_embd_s)."""
    if s.arch == "lfm2":
        return s.embd * (s.conv - 1)
    return (s.conv - 1) * (s.inner + 2 * s.groups * s.state) + s.state * s.inner
