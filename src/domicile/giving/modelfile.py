"""A Modelfile, as Ollama's documentation describes it: FROM, TEMPLATE, SYSTEM, PARAMETER, LICENSE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domicile.dialects import modelfile
from domicile.gotemplates import recognise
from domicile.types import Facts, Installed

Value = str | int | float | bool
_PARAMETERS = frozenset(
    {
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "num_ctx",
        "num_keep",
        "num_predict",
        "num_gpu",
        "num_thread",
        "repeat_last_n",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "temperature",
        "seed",
        "stop",
        "tfs_z",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "penalize_newline",
        "draft_num_predict",
    }
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What Ollama is told of a model besides its weights."""

    template: str | None = None
    family: str | None = None
    """Which known template it is; `ollama` when Ollama's own was kept; None when there is none."""
    system: str | None = None
    parameters: Mapping[str, Value | list[Value]] = field(default_factory=dict)
    licence: str | None = None


def recipe(model: Installed, facts: Facts | None) -> Recipe:
    """From what Ollama itself says of the same content, where it has it; else from the model's own template."""
    kept = next((c.settings for c in model.copies if c.owner == "ollama" and c.settings), {})
    known = recognise(facts.chat_template if facts else None)
    template, family = kept.get("template"), "ollama"
    if not isinstance(template, str):
        template, family = (known.go, known.name) if known else (None, "")
    said = kept.get("parameters")
    parameters = {k: v for k, v in said.items() if k in _PARAMETERS} if isinstance(said, dict) else {}
    if known and "stop" not in parameters:
        parameters["stop"] = list(known.stop)
    system = kept.get("system")
    licence = model.licence or (facts.licence if facts else None)
    return Recipe(template, family or None, system if isinstance(system, str) else None, parameters, licence)


def text(source: str, made: Recipe) -> str:
    """The Modelfile. `source` is an absolute path, or a name of a model in Ollama."""
    return modelfile.write(
        modelfile.Recipe(source, made.parameters, made.template or "", made.system or "", licence=made.licence or ""),
        source,
    )
