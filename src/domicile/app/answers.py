"""The house, the part that answers: a model awake and at one's turn, a question, and what must be said of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domicile.app.rooms import NO_TERMS, Rooms
from domicile.errors import BadName, DomicileError, EngineDied, ModelNotFound, StillDownloading
from domicile.refs import ModelRef
from domicile.types import Installed, Job, Terms, Ticket

if TYPE_CHECKING:
    from domicile.advice import Known
    from domicile.answering import Answer, Ask
    from domicile.context import Fitted
    from domicile.engines import Awake

_TALKS = frozenset({"/v1/chat/completions", "/v1/completions"})
_DRESSED = _TALKS | {"/v1/chat/completions/input_tokens"}
"""Routes whose questions get what a derived model adds."""
_PROCESSORS = frozenset({"preprocessor_config.json", "processor_config.json"})
"""In a folder: it describes what shows pictures to its model."""
_WORDS = 16 << 20
"""Bytes of what one recording may say."""


class Answers(Rooms):
    """What `House` does with a question."""

    @asynccontextmanager
    async def session(
        self,
        name: str,
        keep_alive_s: float | None = None,
        *,
        terms: Terms = NO_TERMS,
        ticket: Ticket | None = None,
        turn: bool = True,
    ) -> AsyncIterator[tuple[Installed, Awake]]:
        """A model of the library, awake and at our turn while the context lasts."""
        model = self.recipes.weights(self.library.ready(name))
        async with self.runner.session(model, keep_alive_s, terms=terms, ticket=ticket, turn=turn) as awake:
            yield model, awake
            self.waker.remember(model, awake)
        if model.source != "embedded":
            self.library.used(model.name)  # a commit takes milliseconds: the answer has left by now

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncIterator[Answer]:
        """What a model says to a question, here or, where the person wants it, elsewhere. Leaving the context stops
        the generation."""
        heard: Mapping[str, str] = {}
        if ask.path in _TALKS and b"messages" in ask.body and _may_have_sound(ask.body):
            ask, heard = await self.voices.written(ask)
        with self.metrics.elsewhere(self.called(ask.model)) as begun:
            async with self.away.answer(ask, self._answer_at_home) as answer:
                begun(answer)
                yield replace(answer, notes={**answer.notes, **heard}) if heard else answer

    async def _hear(self, model: Installed, file: Path, wish: Mapping[str, Any]) -> str:
        """What is said in a file of sound. Raises `AudioRefused`."""
        from domicile.answering import Ask, whole
        from domicile.away import wishing

        body = json.dumps({**wish, "file": str(file), "name": "input_audio", "response_format": "json"}).encode()
        with wishing("home"):
            async with self.answer(Ask(model.name, "/v1/audio/transcriptions", body)) as answer:
                said = json.loads(await whole(answer.reply.body, _WORDS))
        if answer.reply.status >= 400:
            raise EngineDied(name=model.name, reason="ended", how=str(said)[:200])
        return str(said["text"])

    @asynccontextmanager
    async def _answer_at_home(self, ask: Ask) -> AsyncIterator[Answer]:
        from domicile.answering import Answer, checked
        from domicile.context import said_in
        from domicile.recipes import applied

        recipe = self.recipes.of(await self._is_here(ask.model))
        if recipe is not None and ask.path in _DRESSED:
            ask = replace(ask, body=json.dumps(applied(recipe, ask.data())).encode())
        from domicile import pictures

        if ask.path in _TALKS and pictures.may_have_images(ask.body):
            await self._look_at(ask)
        began, outcome, name = time.monotonic(), "left", ""
        try:
            async with self.session(ask.model, ask.keep_alive_s, terms=_terms(ask), ticket=ask.ticket) as (
                model,
                awake,
            ):
                name = model.name
                kept = await self._fitted(model, awake, ask)
                async with (
                    self.conversations.around(awake, ask.path, kept.body),
                    awake.ask(ask.path, kept.body) as reply,
                ):
                    known, notes = await checked(name, reply), self._notes(name)
                    self.metrics.first_byte.see(time.monotonic() - began, name, "home")
                    if kept.dropped is not None:
                        known = said_in(known, kept.dropped)
                        notes = {**notes, "Context-Dropped": kept.dropped.header()}
                    yield Answer(known, name, "home", notes)
                    outcome = "ok" if known.status < 400 else str(known.status)
        except DomicileError as trouble:
            outcome, name = trouble.code, str(trouble.facts.get("name", name))
            raise
        finally:
            self.metrics.requests.add(name, "home", outcome)
            if outcome == "ok":
                self.metrics.seconds.see(time.monotonic() - began, name, "home")

    async def _look_at(self, ask: Ask) -> None:
        """Raises `BadImage` for an image that no engine should be given, `ModelCannot` for a model without eyes."""
        from domicile import pictures

        model = self.recipes.weights(self.library.ready(ask.model))
        also = frozenset({"webp"}) if model.format == "safetensors" else frozenset()
        if not await asyncio.to_thread(pictures.check, ask.body, also):
            return
        if not await self.sees(model):
            here = (await self.adviser.known(model.name)).eyes
            raise pictures.refuse(model.name, here is not None and here.sees)

    async def sees(self, model: Installed, known: Known | None = None) -> bool:
        """May this model be shown images? It has a projector, and nobody has switched it off; or its folder describes
        what shows them to it (its processor). `known`: its facts, where they are at hand."""
        if model.format == "safetensors":
            described = any(p.name in _PROCESSORS for p in model.files)
            return described and (known or await self.adviser.of(model)).facts.task == "image-text-to-text"
        eyes = (known or await self.adviser.of(model)).eyes
        return eyes is not None and eyes.sees and self.waker.own(model.name).get("projector", True)

    async def _is_here(self, name: str) -> str:
        """A model's own name. Raises `StillDownloading` while it is on its way, `ModelNotFound` if it is not."""
        try:
            return self.library.get(name).name
        except ModelNotFound:
            job = await self._download_of(name)
            if job is None:
                raise
            raise StillDownloading(name=name, done=round(100 * (job.progress or 0.0)), job=job.id) from None

    async def _known(self, name: str) -> None:
        """Is this a model of ours, or one that is on its way here? Raises `ModelNotFound`."""
        try:
            self.library.get(name)
        except ModelNotFound:
            if await self._download_of(name) is None:
                raise

    async def _download_of(self, name: str) -> Job | None:
        """The download under way that brings a model."""
        try:
            asked = ModelRef.parse(name)
        except BadName:
            return None
        for job in await self.jobs.list():
            coming = ModelRef.parse(job.model) if job.kind == "pull" and not job.over else None
            if coming is None or (coming.kind, coming.name.lower()) != (asked.kind, asked.name.lower()):
                continue
            choices = {(r.quantisation or r.path or "").lower() for r in (asked, coming)} - {""}
            if len(choices) < 2:
                return job
        return None

    def _notes(self, name: str) -> Mapping[str, str]:
        """What must be said of how a model was woken."""
        note = self.runner.note_of(name)
        if note is None:
            return {}
        return {"Settings": "; ".join(["safer", *(f"{key}={value}" for key, value in note.facts.items())])}

    async def _fitted(self, model: Installed, awake: Awake, ask: Ask) -> Fitted:
        """The question, or what of it the context holds."""
        from domicile.context import Fitted, fitted

        if ask.path not in _TALKS:
            return Fitted(ask.body)
        return await fitted(awake.prompts, model.name, ask.path, ask.body, self._overflow_way(model, ask))

    def _overflow_way(self, model: Installed, ask: Ask) -> str:
        """What the caller wants of a prompt that is too long: said in the body, beside it, or by its settings or
        everybody's."""
        from domicile.context import way_of

        said = ask.data().get("context") if b'"context"' in ask.body else None
        usual = self.waker.own(model.name).get("overflow", self.settings.context_overflow)
        return way_of(said if said is not None else ask.said.get("context"), usual)

    async def selftest(self, name: str, *, gentle: bool = False) -> dict[str, Any]:
        """Try a model and keep the result. `gentle`: only if nobody has to sleep for it; None then says nothing."""
        from domicile.selftest import failed, trial

        model = self.library.ready(name)
        if not gentle:
            await self.adviser.machine(measure=True)  # without it there is no promise to hold its speed against
        try:
            tuning, facts, _ = await self.waker.tuning(model, Terms(gentle=gentle))
            async with self.session(model.name, terms=Terms(gentle=gentle)) as (_, awake):
                result = (await trial(awake, facts, tuning.report.tokens_per_second)).public()
        except DomicileError as trouble:
            result = failed(trouble)
        result["at"] = time.time()
        self.library.tested(model.name, result)
        return result


def _may_have_sound(body: bytes) -> bool:
    """Quick and never wrong when it says no: a key may be written with escapes."""
    return b"input_audio" in body or b"\\u00" in body


def _terms(ask: Ask) -> Terms:
    """What a request asks of the waking: `num_ctx`, a number of tokens; anything else there is not for us."""
    said = ask.said.get("num_ctx", "")
    return Terms(context=int(said)) if said.isdigit() and 0 < len(said) < 9 and int(said) else NO_TERMS
