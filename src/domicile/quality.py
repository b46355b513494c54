"""What a quantisation costs: bits a weight, and how much worse the text gets.

Knows what llama.cpp published for its types, on two families. Knows no file beyond its label. The loss is
the rise of perplexity on Wikitext-2, in per cent: under 1 % nobody sees it, from 5 % on answers get worse,
from 20 % on the model is another one. Small models lose more than these, large ones less; models trained
in four bits (MXFP4) have no such number.

Sources: Llama-3-8B, ggml-org/llama.cpp tools/perplexity/README.md (revision f364eb6f, as vendored in
llama-cpp-python 0.3.36); Llama-2-70B, the perplexity table of llama.cpp's README of September 2023 (commit
ffe88a36). Bits: tools/quantize/README.md, Llama-3.1-8B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from domicile.types import Facts

ENOUGH_BITS = 8.6
"""Nothing above Q8_0 (8.5 bits) reads better."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """One type of file."""

    label: str
    bits: float
    """A weight, as usual for a dense model of 7 to 8 billion parameters; a file says its own."""
    loss_llama3_8b: float | None
    """Rise of perplexity against the same weights in BF16, per cent."""
    loss_llama2_70b: float | None
    """The same on a large model of an older family, which suffers less."""
    matrix: bool = False
    """Measured with an importance matrix, as these types are always made."""


TABLE: tuple[Quantisation, ...] = (
    Quantisation("F32", 32.0, 0.0, 0.0),
    Quantisation("BF16", 16.0, 0.0, 0.0),
    Quantisation("F16", 16.0, 0.02, 0.0),
    Quantisation("Q8_0", 8.5, 0.04, None),
    Quantisation("Q6_K", 6.56, 0.35, 0.16),
    Quantisation("Q5_K_M", 5.7, 0.91, 0.4),
    Quantisation("Q5_K_S", 5.57, 1.68, 0.5),
    Quantisation("Q5_1", 6.04, 1.7, None),
    Quantisation("Q5_0", 5.57, 2.11, 1.26),
    Quantisation("Q4_K_M", 4.89, 2.82, 1.2),
    Quantisation("IQ4_NL", 4.68, 3.59, None, matrix=True),
    Quantisation("IQ4_XS", 4.46, 3.66, None, matrix=True),
    Quantisation("Q4_K_S", 4.67, 4.31, 1.57),
    Quantisation("Q4_1", 5.11, 7.24, 2.37),
    Quantisation("Q4_0", 4.64, 7.52, 3.61),
    Quantisation("Q3_K_L", 4.3, 8.93, 3.8),
    Quantisation("Q3_K_M", 4.0, 10.5, 4.72),
    Quantisation("IQ3_M", 3.76, 10.7, None, matrix=True),
    Quantisation("IQ3_S", 3.66, 11.8, None, matrix=True),
    Quantisation("IQ3_XS", 3.5, 14.9, None, matrix=True),
    Quantisation("IQ3_XXS", 3.25, 19.7, None, matrix=True),
    Quantisation("Q3_K_S", 3.64, 26.2, 7.89),
    Quantisation("IQ2_M", 2.93, 38.0, None, matrix=True),
    Quantisation("Q2_K_S", 2.97, 49.6, None, matrix=True),
    Quantisation("IQ2_S", 2.74, 54.9, None, matrix=True),
    Quantisation("Q2_K", 3.16, 56.5, 8.82),
    Quantisation("IQ2_XS", 2.59, 72.7, None, matrix=True),
    Quantisation("IQ2_XXS", 2.38, 126.1, None, matrix=True),
    Quantisation("IQ1_M", 2.15, 309.1, None, matrix=True),
    Quantisation("IQ1_S", 2.0, 874.0, None, matrix=True),
    Quantisation("MXFP4", 4.25, None, None),
)
_BY_LABEL: Mapping[str, Quantisation] = {q.label: q for q in TABLE}
_LABEL = re.compile(
    r"(?:UD-)?(IQ[1-4]_(?:XXS|XS|NL|S|M)|Q[2-6]_K(?:_(?:XXL|XL|L|M|S))?|Q[4-8]_[01]|MXFP4|BF16|F16|F32)",
    re.IGNORECASE,
)


def find(label: str | None) -> Quantisation | None:
    """The row of a label as people write it: `q4_k_m`, `UD-Q4_K_XL`, `model.Q5_0`. Unknown types are None."""
    found = _LABEL.search((label or "").replace("-Q", "_Q").replace("UD_", "UD-"))
    if not found:
        return None
    name = found[1].upper()
    if name in _BY_LABEL:
        return _BY_LABEL[name]
    # Q4_K alone means Q4_K_M; XL and L are M with a larger embedding.
    stem = "_".join(name.split("_")[:2])
    return _BY_LABEL.get(f"{stem}_M") or _BY_LABEL.get(stem)


def bits(label: str | None, facts: Facts | None = None) -> float:
    """Bits a weight: of this very file where its parameters are known, else as usual for its type."""
    if facts is not None and facts.parameters and facts.weights_bytes:
        return 8 * facts.weights_bytes / facts.parameters
    row = find(label) or (find(facts.quantisation) if facts is not None else None)
    return row.bits if row else 16.0


def loss(label: str | None, facts: Facts | None = None) -> float:
    """Rise of perplexity in per cent, on the family trained on more text, as today's models are. A type that
    is not in the table is placed by its bits."""
    row = find(label) or (find(facts.quantisation) if facts is not None else None)
    if row is not None and row.loss_llama3_8b is not None:
        return row.loss_llama3_8b
    size = bits(label, facts)
    near = min((q for q in TABLE if q.loss_llama3_8b is not None), key=lambda q: abs(q.bits - size))
    return near.loss_llama3_8b or 0.0
