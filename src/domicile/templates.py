"""Chat templates: which one a model is woken with, and why it is not the file's own where it is not.

A template in a file is a program from a stranger, run at each question. Before an engine ever sees one it is judged in
a disposable child (`template_child`), once for each text; one that is refused is replaced by a named built-in template
of the model's family, and this is said wherever the model is shown. A template that comes beside the file (of a
Modelfile, or of Ollama) goes before the file's own: it is in another language, so it is recognised as that of a known
family or translated, and judged like the others. A fingerprint (sha256 of the text, line ends and
outer blanks aside) tells whether two models speak the same way. Knows no engine's insides and no web page.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from domicile import child, gotemplates, i18n, plain
from domicile.cache import Cache, Kept
from domicile.engines import Awake, Engine, Launch
from domicile.errors import DomicileError
from domicile.types import Facts, Installed

FOLDER = Path(__file__).parent / "chat_templates"
BUILT_IN = ("chatml", "llama2", "llama3", "mistral", "gemma", "phi3")
DEADLINE_S = 15.0
"""By the clock, on a machine that may be busy; of the processor a template gets one second."""
_FORM = 1
"""Changes with what the child looks at: older verdicts are given again."""
_LLAMA3_VOCABULARY = 100_000

Verdict = Literal["fine", "refused", "none"]


@dataclass(frozen=True, slots=True)
class Brought:
    """A template that comes beside the file, in the language of Ollama."""

    how: Literal["known", "translated", "refused"]
    """`known`: it is that of a family, whose built-in template is used. `refused`: the file's own is used."""
    source: str
    name: str | None = None
    """The built-in template."""
    text: str | None = None
    """What is used of it, in Jinja."""
    problem: str = ""
    """What is not understood, or why the translation is refused."""

    def public(self) -> dict[str, Any]:
        return {"how": self.how, "name": self.name, "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Template:
    """What a model's file brings, and what is used."""

    verdict: Verdict
    """`none`: the file has none; the engine then takes ChatML."""
    fingerprint: str | None = None
    text: str | None = None
    reason: str | None = None
    """Why it is refused: `code`, `too_much`, `endless`, `syntax`, `silent`, `too_long`, `died`."""
    problem: str = ""
    built_in: str | None = None
    """The built-in template that is used in its place."""
    shapes: Mapping[str, bool] = field(default_factory=dict)
    """For each kind of conversation, whether the template renders it."""
    shown: str | None = None
    """How it renders one question."""
    brought: Brought | None = None
    """What comes beside the file, and goes before all this where it is used."""

    @property
    def used(self) -> str:
        """`file`, `brought`, or the name of a built-in template."""
        if self.brought is not None and self.brought.text is not None:
            return self.brought.name or "brought"
        return self.built_in or ("file" if self.verdict == "fine" else "chatml")

    @property
    def used_text(self) -> str | None:
        if self.brought is not None and self.brought.text is not None:
            return self.brought.text
        return built_in(self.built_in or "chatml") if self.built_in or self.verdict == "none" else self.text

    def public(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "used": self.used,
            "brought": self.brought.public() if self.brought else None,
            "fingerprint": self.fingerprint,
            "reason": self.reason,
            "problem": self.problem,
            "shapes": dict(self.shapes),
        }


FactsOf = Callable[[Installed], Awaitable[Facts]]


class Templates:
    """One for a house. Verdicts are kept in a folder that is safe to lose."""

    def __init__(
        self,
        folder: Path,
        facts_of: FactsOf,
        note: Callable[[Installed, Template], None],
        brought: Callable[[Installed], str | None] = lambda _: None,
    ) -> None:
        """`brought`: the template that comes beside a model's file, in the language of Ollama."""
        self._cache = Cache(folder, limit_bytes=4 << 20)
        self._facts_of = facts_of
        self._note = note
        self._brought = brought
        self._known: dict[str, Template] = {}

    def known(self, name: str) -> Template | None:
        """What was found of a model when it was last woken or shown."""
        return self._known.get(name)

    async def of(self, model: Installed) -> Template:
        """The template of an installed model, judged."""
        facts = await self._facts_of(model)
        found = await self.judge(facts)
        source = self._brought(model)
        if source:
            brought = await self.over(source)
            found = replace(found, brought=brought, built_in=found.built_in if brought.text is None else None)
        self._known[model.name] = found
        return found

    async def over(self, source: str) -> Brought:
        """What becomes of a template in the language of Ollama."""
        name = gotemplates.known(source)
        if name in BUILT_IN:
            return Brought("known", source, name, built_in(name))
        try:
            text = gotemplates.translated(source)
        except gotemplates.NotUnderstood as trouble:
            return Brought("refused", source, problem=str(trouble)[:200])
        judged = await self._judge(text)
        if judged.verdict == "refused":
            return Brought("refused", source, problem=judged.problem or str(judged.reason))
        return Brought("translated", source, text=text)

    async def judge(self, facts: Facts) -> Template:
        """What a file's templates are worth. All of them must do: a client chooses which one is used."""
        named = dict(facts.chat_templates) or ({"default": facts.chat_template} if facts.chat_template else {})
        if not named:
            return Template("none")
        found: Template | None = None
        for name in sorted(named, key=lambda n: n != "default"):
            text = named[name]
            judged = await self._judge(text) if text is not None else Template("refused", reason="too_long")
            if judged.verdict == "refused":
                whole = named.get("default")
                mark = fingerprint(whole) if whole else judged.fingerprint
                problem = judged.problem if name == "default" else f"{name}: {judged.problem}"
                return replace(judged, text=whole, fingerprint=mark, problem=problem, built_in=family(facts))
            found = found or judged
        assert found is not None
        return found

    async def _judge(self, text: str) -> Template:
        mark = fingerprint(text)
        question = f"{_FORM} {hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
        kept = self._cache.get("template", question)
        said = _read(kept.body) if kept is not None else None
        if said is None:
            ended = await child.run(
                "domicile.template_child",
                [],
                deadline_s=DEADLINE_S,
                given=text.encode("utf-8", "replace"),
            )
            said = _read(ended.output.strip().rpartition("\n")[2].encode())
            if said is None:
                if ended.how == "not_started":  # says nothing of the template: try again next time
                    return Template("refused", mark, text, reason="died", problem=ended.output[:200])
                said = {"verdict": "refused", "reason": "died", "problem": _how_it_died(ended)}
            self._cache.put("template", question, Kept(json.dumps(said).encode(), time.time()))
        if said["verdict"] == "fine":
            shown = said.get("shown") or {}
            return Template("fine", mark, text, shapes=said.get("shapes") or {}, shown=shown.get("user"))
        return Template("refused", mark, text, reason=str(said.get("reason")), problem=str(said.get("problem", "")))

    def guarding(self, engine: Engine) -> Engine:
        """The same engine, which never gets a template that was refused."""
        return _Guarding(engine, self)

    async def chosen(self, launch: Launch) -> Launch:
        """The launch, with the template that is used where that is not the file's own."""
        if launch.template is not None or launch.model.format not in {"gguf", "safetensors", "onnx"}:
            return launch
        try:
            found = await self.of(launch.model)
        except (DomicileError, OSError):
            return launch  # the engine will say what is wrong with the file
        if found.built_in is not None or (found.brought is not None and found.brought.how == "refused"):
            self._note(launch.model, found)
        if found.used == "file" or (found.verdict == "none" and found.brought is None):
            return launch
        return replace(launch, template=found.used_text)


class _Guarding:
    """An `Engine` around another."""

    def __init__(self, inner: Engine, templates: Templates) -> None:
        self._inner = inner
        self._templates = templates
        self.name = inner.name
        self.formats = inner.formats
        self.tasks = inner.tasks

    @asynccontextmanager
    async def awake(self, launch: Launch) -> AsyncIterator[Awake]:
        """See `Engine.awake`."""
        async with self._inner.awake(await self._templates.chosen(launch)) as awake:
            yield awake


def told_of_template(lang: str, found: Mapping[str, Any]) -> list[str]:
    """Sentences on a template as it is shown (`Template.public`): what is used, and why it is not another."""
    brought, said = found["brought"], []
    if brought is not None:
        facts = {"built_in": brought["name"], "problem": plain.line(brought["problem"])}
        said.append(i18n.say(lang, f"template.brought.{brought['how']}", **facts))
        if brought["how"] != "refused":
            return said
    if found["verdict"] != "refused":
        return [*said, i18n.say(lang, f"template.{found['verdict']}")]
    why = i18n.say(lang, f"template.refused.{found['reason']}", problem=plain.line(found["problem"]))
    return [*said, i18n.say(lang, "template.replaced", built_in=found["used"], reason=why)]


def fingerprint(text: str) -> str:
    """sha256 of a template, its line ends and outer blanks aside."""
    normal = text.replace("\r\n", "\n").strip()
    return hashlib.sha256(normal.encode("utf-8", "replace")).hexdigest()


def built_in(name: str) -> str:
    """The text of a built-in template."""
    return (FOLDER / f"{name}.jinja").read_text("utf-8").strip("\n")


def family(facts: Facts) -> str:
    """The built-in template nearest to how models of this family were taught to talk."""
    architecture, name = (facts.architecture or "").lower(), (facts.name or "").lower()
    if architecture.startswith("gemma"):
        return "gemma"
    if architecture.startswith("phi3"):
        return "phi3"
    if "mistral" in architecture or "mixtral" in name or "mistral" in name or "ministral" in name:
        return "mistral"
    if architecture == "llama" and not any(word in name for word in ("hermes", "yi-", "smollm")):
        return "llama3" if (facts.n_vocab or 0) >= _LLAMA3_VOCABULARY or "llama-3" in name else "llama2"
    return "chatml"


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and said.get("verdict") in {"fine", "refused"} else None


def _how_it_died(ended: child.Ended) -> str:
    if ended.how == "deadline":
        return f"> {DEADLINE_S:.0f} s"
    return f"status {ended.status}"
