"""A Modelfile, as Ollama's documentation describes it: FROM, TEMPLATE, SYSTEM, PARAMETER, LICENSE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domicile.giving.templates import recognise
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
    lines = [f"FROM {source}"]
    if made.template is not None:
        lines.append(f"TEMPLATE {_quoted(made.template)}")
    if made.system:
        lines.append(f"SYSTEM {_quoted(made.system)}")
    lines += [f"PARAMETER {name} {_value(value)}" for name, value in _each(made.parameters)]
    if made.licence:
        lines.append(f"LICENSE {_quoted(made.licence)}")
    return "\n".join(lines) + "\n"


def _each(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for name, value in parameters.items():
        for one in value if isinstance(value, list) else [value]:
            yield name, one


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(said: str) -> str:
    """In three quotes: the only form that may hold line breaks and quotes. Three inside cannot be written: two can."""
    while '"""' in said:
        said = said.replace('"""', '""')
    return f'"""{said}"""' if not said.endswith('"') else f'"""{said}\n"""'
