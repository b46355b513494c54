"""What is asked of a conversation: an answer to something new, another one, the rest of one, or to a question changed.

Finds the place in the tree where the answers will stand, and makes the messages. Knows no table and no model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from domicile.chats.words import Attachment, Chat, Message, new_id
from domicile.errors import AnswerUnderWay, BadField, MessageNotFound

Action = Literal["say", "edit", "regenerate", "continue"]
MODELS_AT_ONCE = 4

OPTIONS = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "max_tokens", "stop", "logit_bias"),
        *("presence_penalty", "frequency_penalty", "repeat_penalty", "repeat_last_n", "dynatemp_range"),
        *("mirostat", "mirostat_tau", "mirostat_eta", "xtc_probability", "xtc_threshold", "dynatemp_exponent"),
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "samplers"),
        *("grammar", "json_schema", "response_format"),
    }
)
"""Parameters that go to the engine as they are."""
PARAMETERS = OPTIONS | {"thinking", "context", "num_ctx", "keep_alive"}
"""All that a chat, a preset or one answer may set."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request for answers."""

    action: Action
    message: str | None = None
    """The message that is changed, answered again or gone on with."""
    text: str = ""
    attachments: tuple[Attachment, ...] | None = None
    """None, in an edit: those the message had."""
    parent: str | None = None
    """Below which message something new is said; None for the branch that is shown."""
    models: tuple[str, ...] = ()
    """Each gives an answer of its own; none for the chat's model."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Over those of the chat, for these answers."""
    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """Where it stands in the tree."""

    new: list[Message]
    """To be added: what a person said, if it is new, and the answers, empty and `writing`."""
    writing: list[Message]
    """The answers to be written; one that is gone on with is not among `new`."""
    ends_with: str
    """The branch that the models are given ends with this message."""


def placed(chat: Chat, messages: Mapping[str, Message], wanted: Wanted, models: Sequence[str]) -> Placed:
    """Raises `MessageNotFound`, `BadField`, `AnswerUnderWay`."""
    if wanted.action == "continue":
        return _gone_on_with(_named(messages, wanted), models)
    told: list[Message] = []
    if wanted.action == "regenerate":
        found = _named(messages, wanted)
        above = found.id if found.role == "user" else found.parent
        if above is None or messages[above].role != "user":
            raise BadField(field="message", problem=found.id, reason="chat_no_question")
    else:
        said = _said(chat, messages, wanted)
        told, above = [said], said.id
    now = time.time()
    answers = [
        Message(
            *(_new(chat, "message"), above, "assistant", "", now),
            state="writing",
            facts={"model": model, **({"parameters": dict(wanted.parameters)} if wanted.parameters else {})},
        )
        for model in models
    ]
    return Placed([*told, *answers], answers, above)


def _said(chat: Chat, messages: Mapping[str, Message], wanted: Wanted) -> Message:
    """What a person says, as a message of the tree."""
    attachments = wanted.attachments or ()
    if wanted.action == "edit":
        found = _named(messages, wanted)
        if found.role != "user":
            raise BadField(field="message", problem=found.id, reason="chat_not_yours")
        parent = found.parent
        if wanted.attachments is None:
            attachments = found.attachments
    else:
        parent = wanted.parent if wanted.parent is not None else chat.leaf
        if parent is not None and parent not in messages:
            raise MessageNotFound(id=parent[:80])
    if parent is not None and messages[parent].state == "writing":
        raise AnswerUnderWay(id=chat.id)
    if not wanted.text.strip() and not attachments:
        raise BadField(field="text", problem="", reason="text")
    return Message(_new(chat, "message"), parent, "user", wanted.text, time.time(), attachments=attachments)


def _gone_on_with(found: Message, models: Sequence[str]) -> Placed:
    if found.role != "assistant":
        raise BadField(field="message", problem=found.id, reason="chat_not_an_answer")
    if found.state == "writing":
        raise AnswerUnderWay(id=found.id)
    if len(models) > 1:
        raise BadField(field="models", problem=", ".join(models)[:80], reason="chat_one_model")
    facts = {k: v for k, v in found.facts.items() if k not in {"error", "finish_reason"}}
    again = replace(found, state="writing", facts={**facts, "model": models[0]})
    return Placed([], [again], found.id)


def _named(messages: Mapping[str, Message], wanted: Wanted) -> Message:
    found = messages.get(wanted.message or "")
    if found is None:
        raise MessageNotFound(id=(wanted.message or "")[:80])
    return found


def _new(chat: Chat, kind: str) -> str:
    return new_id(kind, temporary=chat.temporary)


def options(parameters: Mapping[str, Any], *, goes_on: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Parameters as a body of OpenAI's dialect has them, and what is said beside it."""
    body = {k: v for k, v in parameters.items() if k in OPTIONS and v is not None}
    thinking = False if goes_on else parameters.get("thinking")  # an answer that goes on is past its thoughts
    if thinking is not None:
        told: dict[str, Any] = {"enable_thinking": thinking is not False}
        if isinstance(thinking, str):
            told["reasoning_effort"] = thinking
        body["chat_template_kwargs"] = told
    said = {"context": str(parameters.get("context") or "trim")}
    if parameters.get("num_ctx"):
        said["num_ctx"] = str(parameters["num_ctx"])
    return body, said
