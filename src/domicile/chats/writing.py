"""Answers as they are written: tasks of the house, that outlive whoever asked.

Each reads a model's stream, tells the watchers, and saves what there is once a second, so that a house that is killed
keeps what was said. It ends whole, stopped by a person, cut (by the house, or by what broke) or failed before a word.
Files that turn out too long for the context are given shorter, a few times, and that is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from domicile.answering import Answer, Ask, whole
from domicile.chats.prompt import Prompt
from domicile.chats.words import Message, State
from domicile.dialects.chat import PATH
from domicile.dialects.delta import Delta, Reader, Said, delta_of
from domicile.errors import AnswerTooLong, Bug, ContextTooLong, DomicileError, EngineDied
from domicile.types import Ticket

SAVE_S = 1.0
TELL_S = 0.03
"""Words that come faster are told together: a screen shows no more."""
LOOK_S = 0.25
_TRIES = 5
_WHOLE_BYTES = 64 << 20
CHARACTERS_PER_TOKEN = 3
"""Of a file's text, to begin with; the engine's own count corrects it."""
OF_CONTEXT = 0.6
"""The part of a context that files may take at first."""

Answering = Callable[[Ask], AbstractAsyncContextManager[Answer]]
Tell = Callable[[str, Any], None]


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of a model now: `queued`, `waking`, `awake`, `sleeping`, and the tokens of a conversation."""

    state: str
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be written, and how."""

    message: Message
    """Kept already, as `writing`; what it says is gone on with."""
    model: str
    options: Mapping[str, Any]
    """Sampling, by the engine's names, for the body."""
    said: Mapping[str, str]
    """`strategy`, `context`, `num_ctx`, as `Ask.said` has them."""
    prompt: Callable[[int], Prompt]
    """The prompt whose files have so many characters."""
    keep_alive_s: float | None = None


@dataclass(eq=False)
class Writing:
    """One answer while it is written."""

    task: Task
    message: Message
    said: Said = field(default_factory=Said)
    ticket: Ticket = field(default_factory=Ticket)
    facts: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=lambda: {"status": "queued"})
    work: asyncio.Task[None] | None = None
    ended_by: Literal["stopped", "closing", "long", "gone"] | None = None
    """Who ended it, when it did not end by itself."""
    began: float = field(default_factory=time.monotonic)
    first_at: float | None = None
    last_at: float = 0.0
    saved_at: float = field(default_factory=time.monotonic)
    untold_text: list[str] = field(default_factory=list)
    untold_reasoning: list[str] = field(default_factory=list)
    told_at: float = 0.0
    timer: asyncio.TimerHandle | None = None

    def now(self, state: State = "writing") -> Message:
        """The message with all that has come."""
        return replace(
            self.message,
            text=self.message.text + self.said.text,
            reasoning=self.message.reasoning + self.said.reasoning,
            calls=(*self.message.calls, *_calls(self.said)),
            state=state,
            facts={**self.message.facts, **self.facts},
        )

    def told(self) -> Message:
        """The message as watchers have heard it: what is still to be told would come to them twice."""
        now = self.now()
        text, reasoning = (sum(map(len, pieces)) for pieces in (self.untold_text, self.untold_reasoning))
        return replace(
            now,
            text=now.text[: len(now.text) - text],
            reasoning=now.reasoning[: len(now.reasoning) - reasoning],
        )


class Writers:
    """The answers that are being written. One for a house."""

    def __init__(
        self,
        answering: Answering,
        save: Callable[[Message], None],
        presence: Callable[[str], Presence | None],
        *,
        context: int,
        limit_s: float = math.inf,
    ) -> None:
        self._answering = answering
        self._save = save
        self._presence = presence
        self._context = context
        """Tokens, of a model whose own number is not known."""
        self._limit_s = limit_s
        self._writing: dict[str, Writing] = {}

    def get(self, message_id: str) -> Writing | None:
        return self._writing.get(message_id)

    def start(self, task: Task, tell: Tell, over: Callable[[], None]) -> Writing:
        """Begin to write. `tell` gets the events, `over` is called once it has ended."""
        writing = Writing(task, task.message)
        self._writing[task.message.id] = writing
        writing.work = asyncio.create_task(self._run(writing, tell, over), name=f"answer {task.message.id}")
        return writing

    async def stop(self, message_id: str, why: Literal["stopped", "closing", "gone"] = "stopped") -> bool:
        """End an answer, which keeps what it has said. False when it is not being written."""
        writing = self._writing.get(message_id)
        if writing is None or writing.work is None:
            return False
        writing.ended_by = writing.ended_by or why
        writing.work.cancel()
        await asyncio.wait([writing.work])
        return True

    async def close(self) -> None:
        """End all of them: the house closes."""
        await asyncio.gather(*(self.stop(message_id, "closing") for message_id in list(self._writing)))

    # -- one answer --

    async def _run(self, writing: Writing, tell: Tell, over: Callable[[], None]) -> None:
        looking = asyncio.create_task(self._look(writing, tell))
        state: State = "cut"
        try:
            await self._write(writing, tell)
            state = "done"
        except asyncio.CancelledError:
            state = "stopped" if writing.ended_by == "stopped" else "cut"
            if writing.ended_by == "long":
                writing.facts["error"] = kept_error(AnswerTooLong(seconds=self._limit_s))
        except DomicileError as error:
            writing.facts["error"] = kept_error(error)
            state = "cut" if writing.now().text else "failed"
        except Exception as trouble:  # noqa: BLE001 - nobody waits for this task: its bug is said like the others
            writing.facts["error"] = kept_error(_bug(trouble))
            state = "cut" if writing.now().text else "failed"
        finally:
            looking.cancel()
            if writing.timer is not None:
                writing.timer.cancel()
            del self._writing[writing.message.id]
            self._count(writing)
            if writing.ended_by != "gone":
                _flush(writing, tell)
                self._end(writing, state, tell)
            over()

    def _end(self, writing: Writing, state: State, tell: Tell) -> None:
        last = writing.now(state)
        try:
            self._save(last)
        except DomicileError as error:  # the disk is full: what was said is still told
            last = replace(last, state="cut", facts={**last.facts, "error": kept_error(error)})
        tell("message", last)

    async def _write(self, writing: Writing, tell: Tell) -> None:
        task = writing.task
        room = self._room(task.model)
        for number in range(_TRIES):
            prompt = task.prompt(room)
            if prompt.files:
                writing.facts["files"] = [given.public() for given in prompt.files]
            body: dict[str, Any] = {"model": task.model, "messages": prompt.messages, **task.options}
            body |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
            ask = Ask(
                *(task.model, PATH, json.dumps(body).encode(), task.keep_alive_s),
                said=task.said,
                ticket=writing.ticket,
            )
            try:
                async with self._answering(ask) as answer:
                    await self._read(writing, answer, tell)
                return
            except ContextTooLong as trouble:
                shorter = _shorter(prompt, trouble)
                if shorter is None or number == _TRIES - 1 or writing.said.pieces:
                    raise
                room = shorter

    def _room(self, model: str) -> int:
        """Characters that files may have, by the context the model has or would be woken with."""
        known = self._presence(model)
        context = known.context if known is not None and known.context else self._context
        return int((context or 8192) * OF_CONTEXT * CHARACTERS_PER_TOKEN)

    async def _read(self, writing: Writing, answer: Answer, tell: Tell) -> None:
        presence = self._presence(answer.model) if answer.served_by == "home" else None
        # A derived model answers by the one whose weights it shares: it is called as it was asked for.
        name = writing.task.model if answer.served_by == "home" else answer.model
        facts: dict[str, Any] = {"model": name, "served_by": answer.served_by}
        if presence is not None and presence.context:
            facts["context"] = presence.context
        notes = dict(answer.notes)
        dropped = notes.pop("Context-Dropped", None)
        if dropped:
            facts["dropped"] = {k: int(v) for k, _, v in (part.strip().partition("=") for part in dropped.split(";"))}
        if notes:
            facts["notes"] = notes
        writing.facts |= facts
        if answer.reply.status >= 400:
            raise await _refusal(answer)
        self._tell_status(writing, {"status": "reading", **facts}, tell)
        async for deltas in _deltas(answer):
            for delta in deltas:
                if delta.error is not None:
                    raise EngineDied(name=answer.model, reason="said", how=str(delta.error.get("message"))[:200])
                if delta.progress is not None:
                    self._tell_status(writing, {"status": "reading", "progress": _part(delta.progress)}, tell)
                self._hear(writing, delta, tell)

    def _hear(self, writing: Writing, delta: Delta, tell: Tell) -> None:
        writing.said.add(delta)
        if not (delta.text or delta.reasoning):
            return
        now = time.monotonic()
        writing.last_at = now
        if writing.first_at is None:
            writing.first_at = now
            self._tell_status(writing, {"status": "writing"}, tell)
        if delta.text and writing.said.reasoning and "reasoning_s" not in writing.facts:
            writing.facts["reasoning_s"] = round(now - writing.first_at, 3)
        if delta.text:
            writing.untold_text.append(delta.text)
        if delta.reasoning:
            writing.untold_reasoning.append(delta.reasoning)
        if now - writing.told_at >= TELL_S:
            _flush(writing, tell)
        elif writing.timer is None:
            writing.timer = asyncio.get_running_loop().call_later(TELL_S, _flush, writing, tell)
        if now - writing.saved_at >= SAVE_S:
            writing.saved_at = now
            self._save(writing.now())

    def _count(self, writing: Writing) -> None:
        """What the engine counted, or else what we saw."""
        said, before, facts = writing.said, writing.message.facts, writing.facts
        completion = said.count("completion_tokens")
        if said.finish:
            facts["finish_reason"] = said.finish
        if said.usage:
            facts["prompt_tokens"] = said.count("prompt_tokens")
            facts["cached_tokens"] = said.cached
        if completion:
            facts["completion_tokens"] = completion + int(before.get("completion_tokens") or 0)
        speed = said.timings.get("predicted_per_second")
        if not isinstance(speed, (int, float)) and writing.first_at is not None and completion > 1:
            took = writing.last_at - writing.first_at
            speed = (completion - 1) / took if took > 0 else None
        if isinstance(speed, (int, float)) and math.isfinite(speed):
            facts["tokens_per_second"] = round(speed, 2)
        reading = said.timings.get("prompt_per_second")
        if isinstance(reading, (int, float)) and math.isfinite(reading):
            facts["prompt_tokens_per_second"] = round(reading, 2)
        if writing.first_at is not None:
            facts["first_token_s"] = round(writing.first_at - writing.began, 3)

    # -- what goes on before the first word --

    async def _look(self, writing: Writing, tell: Tell) -> None:
        """Tell the place in the queue and the waking, until words come; end what goes on for too long."""
        while True:
            began = writing.ticket.began
            if began is not None and time.monotonic() - began > self._limit_s and writing.work is not None:
                writing.ended_by = writing.ended_by or "long"
                writing.work.cancel()
                return
            if writing.status["status"] in {"queued", "waking"}:
                self._tell_status(writing, self._waiting(writing), tell)
            await asyncio.sleep(LOOK_S)

    def _waiting(self, writing: Writing) -> dict[str, Any]:
        presence = self._presence(writing.task.model)
        if presence is not None and presence.state == "waking":
            return {"status": "waking"}
        return {"status": "queued", "position": writing.ticket.position()}

    def _tell_status(self, writing: Writing, status: dict[str, Any], tell: Tell) -> None:
        told = {"message": writing.message.id, "model": writing.task.model, **status}
        if told != writing.status:
            writing.status = told
            tell("status", told)


def _flush(writing: Writing, tell: Tell) -> None:
    """Tell the words that have come."""
    if writing.timer is not None:
        writing.timer.cancel()
        writing.timer = None
    if not (writing.untold_text or writing.untold_reasoning):
        return
    delta = {"message": writing.message.id}
    for name, pieces in (("reasoning", writing.untold_reasoning), ("text", writing.untold_text)):
        if pieces:
            delta[name] = "".join(pieces)
            pieces.clear()
    writing.told_at = time.monotonic()
    tell("delta", delta)


async def _deltas(answer: Answer) -> AsyncIterator[list[Delta]]:
    """What each read of the engine brought. A target that does not stream gives its answer as one piece."""
    try:
        if answer.reply.content_type.startswith("text/event-stream"):
            reader = Reader()
            async for chunk in answer.reply.body:
                yield reader.feed(chunk)
        else:
            found = json.loads(await whole(answer.reply.body, _WHOLE_BYTES))
            if not isinstance(found, dict):
                raise ValueError(type(found).__name__)
            yield [delta_of(found)]
    except (ValueError, AttributeError, TypeError, KeyError) as trouble:  # not OpenAI's dialect after all
        raise EngineDied(name=answer.model, reason="garbled", how=str(trouble)[:200]) from trouble


async def _refusal(answer: Answer) -> DomicileError:
    """What an engine says when it does not answer at all."""
    body = await whole(answer.reply.body)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        error = json.loads(body)["error"]
        body = str(error["message"] if isinstance(error, dict) else error).encode()
    how = f"HTTP {answer.reply.status}: {body.decode('utf-8', 'replace')[:200]}"
    return EngineDied(name=answer.model, reason="said", how=how)


def _shorter(prompt: Prompt, trouble: ContextTooLong) -> int | None:
    """Fewer characters of files, so that the prompt would fit; None when files are not what is too long."""
    given = prompt.characters_of_files
    asked, context = trouble.facts.get("prompt"), trouble.facts.get("context")
    if not given or not isinstance(asked, int) or not isinstance(context, int) or asked <= 0:
        return None
    share = min(0.75, 0.85 * context / asked)
    return max(0, int(given * share))


def _part(progress: Mapping[str, Any]) -> float | None:
    """How much of the prompt is read, from 0 to 1."""
    total, done = progress.get("total"), progress.get("processed")
    if not isinstance(total, (int, float)) or not isinstance(done, (int, float)) or total <= 0:
        return None
    return round(min(1.0, done / total), 3)


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in said.calls.values()
    ]


def kept_error(error: DomicileError) -> dict[str, Any]:
    """An error as a message keeps it: each reader gets it in a language of theirs."""
    facts = {k: v for k, v in error.facts.items() if isinstance(v, (str, int, float, bool, type(None)))}
    return {"code": error.code, "facts": facts}


def _bug(trouble: BaseException) -> Bug:
    incident = secrets.token_hex(4)
    print(f"[{incident}] ", end="", file=sys.stderr)
    traceback.print_exception(trouble)
    return Bug(incident=incident)
