"""Fragments of HTML for pages made with htmx. Everything that came from outside is escaped, attributes included; no
script, no style, no address but our own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from domicile import i18n
from domicile.types import Job


def results(found: Sequence[Mapping[str, Any]], lang: str) -> str:
    """What a search found; each with a button that opens its files."""
    if not found:
        return f'<p class="hf-none">{_say(lang, "search.none")}</p>'
    rows = []
    for one in found:
        facts = [one["parameter_size"], one["license"], *one["quantizations"][:8]]
        count = i18n.number(lang, one["downloads"] or 0)
        rows.append(
            f'<li class="hf-model"><strong>{_text(one["id"])}</strong> '
            f"<span>{_text(' · '.join(str(f) for f in facts if f))}</span> "
            f'<span class="hf-downloads">{_text(count)} {_say(lang, "hf.downloads")}</span> '
            f'<button type="button" hx-get="/api/huggingface/model/{quote(one["id"])}" '
            f'hx-target="next .hf-files">{_say(lang, "hf.files")}</button>'
            f'<div class="hf-files"></div></li>'
        )
    return f'<ul class="hf-models">{"".join(rows)}</ul>'


def files(model: Mapping[str, Any], lang: str) -> str:
    """The GGUF files of a model, each with a button that downloads it."""
    if not model["files"]:
        return f'<p class="hf-none">{_say(lang, "variants.none", name=model["id"])}</p>'
    rows = []
    for file in model["files"]:
        values = json.dumps({"model_id": model["id"], "filename": file["filename"]})
        rows.append(
            f"<tr><td>{_text(file['filename'])}</td><td>{_text(file['quantization'] or '?')}</td>"
            f"<td>{_text(file['parameter_size'] or '?')}</td><td>{_text(file['size_text'])}</td>"
            f'<td><button type="button" hx-post="/api/huggingface/pull" hx-vals="{_text(values)}" '
            f'hx-swap="outerHTML">{_say(lang, "hf.download")}</button></td></tr>'
        )
    return f'<table class="hf-file-list"><tbody>{"".join(rows)}</tbody></table>'


def progress(job: Job, stream: str, filename: str, lang: str) -> str:
    """A bar that follows a job by server-sent events, until the stream is closed."""
    return (
        f'<div class="hf-progress" hx-ext="sse" sse-connect="{_text(stream)}&amp;as=html" sse-close="end">'
        f'<p>{_text(filename)}</p><div sse-swap="progress">{bar(job, lang)}</div></div>'
    )


def bar(job: Job, lang: str) -> str:
    """A job as a bar and a line."""
    share = job.progress
    shown = "" if share is None else f' value="{share:.4f}"'
    words = [i18n.say(lang, f"hf.state.{job.status}")]
    if share is not None:
        done, size = (i18n.size(lang, n or 0) for n in (job.downloaded_bytes, job.size_bytes))
        words.append(f"{share:.0%} · {done} / {size}")
    if job.speed:
        words.append(f"{i18n.size(lang, int(job.speed))}/s")
    if job.error:
        words.append(str(job.error.get("message", "")))
    return f'<progress max="1"{shown}></progress><p role="status">{_text(" · ".join(words))}</p>'


def options(values: Iterable[str]) -> str:
    """Choices of a form's field."""
    return "".join(f'<option value="{_text(v)}">{_text(v)}</option>' for v in values)


def _text(said: object) -> str:
    return escape(str(said), quote=True)


def _say(lang: str, key: str, **facts: object) -> str:
    return _text(i18n.say(lang, key, **facts))
