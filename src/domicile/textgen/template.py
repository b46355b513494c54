"""A conversation rendered by a model's chat template, in Jinja's immutable sandbox, without transformers.

Knows where a folder keeps its template and its special tokens (`tokenizer_config.json`, `chat_template.jinja`), and
what templates call: `raise_exception`, `strftime_now`, `tojson`, loop controls (transformers,
`utils/chat_template_utils`). The house has judged the template before this child is started.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domicile.child_http import Refusal
from domicile.textgen.voice import text_of

_RESERVED = frozenset({"messages", "tools", "add_generation_prompt", "raise_exception", "strftime_now"})
_MOST_TEXT = 1 << 20


class Template:
    """A template (`source`; None where the model has none), and the special tokens it may name."""

    def __init__(self, source: str | None, special: Mapping[str, str]) -> None:
        self.source = source
        self._special = dict(special)
        self._made = _environment().from_string(source) if source else None

    def render(self, messages: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
        """The prompt; without a template, the last words as they are. Raises `Refusal`."""
        if self._made is None:
            return "\n".join(text_of(m) for m in messages if m.get("role") != "system")
        more = data.get("chat_template_kwargs")
        more = {str(k): v for k, v in more.items() if k not in _RESERVED} if isinstance(more, dict) else {}
        plain = [{**m, "content": text_of(m)} for m in messages]
        try:
            said = self._made.render(
                **self._special, **more, messages=plain, tools=data.get("tools") or None, add_generation_prompt=True
            )
        except Exception as trouble:
            raise Refusal(
                f"the chat template refuses this conversation: {trouble}"[:300], param="messages"
            ) from trouble
        return str(said)


def read(folder: Path, chosen: str | None) -> Template:
    """The template of a folder, or the one `chosen` in its place."""
    config: Any = {}
    place = folder / "tokenizer_config.json"
    if place.is_file() and not place.is_symlink() and place.stat().st_size <= 64 * _MOST_TEXT:
        try:
            config = json.loads(place.read_bytes())
        except (ValueError, RecursionError):
            config = {}
    config = config if isinstance(config, dict) else {}
    source = chosen or _own(folder, config.get("chat_template"))
    special = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        token = config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        special[name] = token if isinstance(token, str) else ""
    return Template(source, special)


def _own(folder: Path, said: object) -> str | None:
    if isinstance(said, list):
        named = {one.get("name"): one.get("template") for one in said if isinstance(one, dict)}
        said = named.get("default")
    if isinstance(said, str):
        return said
    beside = folder / "chat_template.jinja"
    if beside.is_file() and not beside.is_symlink() and beside.stat().st_size <= _MOST_TEXT:
        return beside.read_text("utf-8", "replace")
    return None


def _environment() -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def now(form: str) -> str:
        return datetime.datetime.now().astimezone().strftime(form)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
    )  # plain text, not markup
    made.filters["tojson"] = tojson
    made.globals |= {"raise_exception": refuse, "strftime_now": now}
    return made
