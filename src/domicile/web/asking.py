"""What a request says, read once at the door: its JSON, checked against the little that we rely on.

Fields we do not know stay in the body untouched: they are the engine's business. Numbers that would keep it busy
for ever are bounded, and grammars and schemas that are known to crash it are refused (promises R9).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from domicile.errors import BadField, BadJSON, GrammarTooLarge, MissingField

GRAMMAR_BYTES = 64 * 1024
SCHEMA_BYTES = 256 * 1024
DEPTH = 32
BODY_DEPTH = 64
MAX_TOKENS = 1 << 20
_OURS = "x-domicile-"


async def json_object(request: Request) -> tuple[bytes, dict[str, Any]]:
    """The body's bytes, and the object they hold. Raises `BadJSON`. An empty body is an empty object."""
    body = await request.body()
    if not body.strip():
        return b"{}", {}
    try:
        text = body.decode("utf-8")
        data = json.loads(text)
    except UnicodeDecodeError as trouble:
        raise BadJSON(reason="utf8", place=trouble.start) from trouble
    except RecursionError as trouble:
        raise BadJSON(reason="depth", limit=BODY_DEPTH) from trouble
    except ValueError as trouble:
        raise BadJSON(problem=str(trouble)) from trouble
    if not isinstance(data, dict):
        raise BadJSON(reason="object", found=type(data).__name__)
    if depth(data, BODY_DEPTH) > BODY_DEPTH:
        raise BadJSON(reason="depth", limit=BODY_DEPTH)
    # A lone surrogate (\\ud800) is no text: no engine nor client could write it down.
    if "\\ud" in text.lower() and _lone_surrogate(data):
        raise BadJSON(reason="utf8", place=text.lower().find("\\ud"))
    return body, data


def said_beside(request: Request) -> dict[str, str]:
    """What a caller says in headers of ours, by name without its `X-Domicile-`: `num_ctx`. Raises `BadField`."""
    said = {k.removeprefix(_OURS).replace("-", "_"): v for k, v in request.headers.items() if k.startswith(_OURS)}
    wanted = said.get("num_ctx")
    if wanted is not None and not (wanted.isdigit() and len(wanted) < 9 and int(wanted) > 0):
        raise BadField(field="X-Domicile-Num-Ctx", problem=wanted[:40], reason="number")
    return said


def depth(value: object, limit: int) -> int:
    """How deep lists and objects are nested; stops counting past the limit."""
    level, layer = 0, [value]
    while layer and level <= limit:
        inner = [x for v in layer if isinstance(v, (dict, list)) for x in (v.values() if isinstance(v, dict) else v)]
        layer = [x for x in inner if isinstance(x, (dict, list))]
        level += 1
    return level


def _lone_surrogate(value: object) -> bool:
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            if any(0xD800 <= ord(c) <= 0xDFFF for c in top):
                return True
        elif isinstance(top, dict):
            stack.extend(top)
            stack.extend(top.values())
        elif isinstance(top, list):
            stack.extend(top)
    return False


def text_of(data: Mapping[str, Any], field: str, *, required: bool = True) -> str | None:
    """A field that must be a text."""
    value = data.get(field)
    if value is None:
        if required:
            raise MissingField(field=field)
        return None
    if not isinstance(value, str) or (required and not value.strip()):
        raise BadField(field=field, problem=_shown(value), reason="text")
    return value


def flag_of(data: Mapping[str, Any], field: str) -> bool:
    value = data.get(field)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadField(field=field, problem=_shown(value), reason="flag")
    return value


_NUMBERS = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "top_logprobs": (0, 20),
    "n": (1, 16),
    "seed": (-(2**63), 2**63 - 1),
    "max_tokens": (-1, MAX_TOKENS),
    "max_completion_tokens": (-1, MAX_TOKENS),
}


def check_chat(data: Mapping[str, Any]) -> None:
    """What a chat must have for any engine. Raises `MissingField` or `BadField` naming the field."""
    messages = data.get("messages")
    if messages is None:
        raise MissingField(field="messages")
    if not isinstance(messages, list) or not messages:
        raise BadField(field="messages", problem=_shown(messages), reason="messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadField(field=f"messages[{number}]", problem=_shown(message), reason="message")
        if not isinstance(message.get("role"), str):
            raise BadField(field=f"messages[{number}].role", problem=_shown(message.get("role")), reason="text")
        content = message.get("content")
        if not isinstance(content, (str, list, type(None))):
            raise BadField(field=f"messages[{number}].content", problem=_shown(content), reason="content")
    check_sampling(data)


def check_prompt(data: Mapping[str, Any]) -> None:
    """What a completion must have: a text, a list of texts, or tokens."""
    prompt = data.get("prompt")
    if prompt is None:
        raise MissingField(field="prompt")
    if not isinstance(prompt, (str, list)) or prompt == []:
        raise BadField(field="prompt", problem=_shown(prompt), reason="prompt")
    for one in prompt if isinstance(prompt, list) else ():  # an object would carry media past every check
        if isinstance(one, bool) or not isinstance(one, (str, int, list)):
            raise BadField(field="prompt", problem=_shown(one), reason="prompt")
        if isinstance(one, list) and not all(isinstance(token, int) for token in one):
            raise BadField(field="prompt", problem=_shown(one), reason="prompt")
    check_sampling(data)


def check_sampling(data: Mapping[str, Any]) -> None:
    """Numbers within their ranges; `stop`, tools, grammars and schemas within the engine's means."""
    for field, (low, high) in _NUMBERS.items():
        value = data.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BadField(field=field, problem=_shown(value), reason="number")
        if not low <= value <= high:
            raise BadField(field=field, problem=_shown(value), reason="range", low=low, high=high)
    stop = data.get("stop")
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if len(stops) > 64 or not all(isinstance(s, str) for s in stops):
        raise BadField(field="stop", problem=_shown(stop), reason="stop")
    grammar = data.get("grammar")
    if grammar is not None and (
        not isinstance(grammar, str) or len(grammar.encode()) > GRAMMAR_BYTES or _nesting(grammar) > DEPTH
    ):
        raise GrammarTooLarge(field="grammar", limit=GRAMMAR_BYTES, depth=DEPTH)
    for field in ("response_format", "json_schema", "tools"):
        _check_schema(field, data.get(field))


def _check_schema(field: str, value: object) -> None:
    # Three levels are the envelope ({"json_schema": {"schema": ...}}, [{"function": {"parameters": ...}}]).
    if value is not None and (len(json.dumps(value)) > SCHEMA_BYTES or depth(value, DEPTH + 4) > DEPTH + 3):
        raise GrammarTooLarge(field=field, limit=SCHEMA_BYTES, depth=DEPTH)
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, dict):
            reference = top.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                raise BadField(field=field, problem=_shown(reference), reason="ref")
            stack.extend(top.values())
        elif isinstance(top, list):
            stack.extend(top)


def _nesting(grammar: str) -> int:
    deepest = level = 0
    for c in grammar:
        level += (c in "([") - (c in ")]")
        deepest = max(deepest, level)
    return deepest


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
