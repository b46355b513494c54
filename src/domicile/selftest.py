"""A model tried after its install: its template renders, eight tokens come, it stops by itself, and how fast it is.

Asks the model that is awake and judges what it says; knows not how it was woken. A check is well, not well, or could
not be made (None): a model without a chat template cannot be tried in a chat.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domicile.answering import whole
from domicile.engines import Awake
from domicile.errors import DomicileError
from domicile.types import Facts, Reason, Speed

TOKENS = 8
STOPS_WITHIN = 96
"""Tokens after which an answer of one word should have ended."""
_DEADLINE_S = 120.0
_ENOUGH_TOKENS = 8
_CHAT = "/v1/chat/completions"
_LEAKED = re.compile(r"<\|[A-Za-z_]{2,30}\|>|</s>|<(?:end|start)_of_turn>|\[/?INST\]|<\|?eot_id\|?>")
"""What marks turns in a template, and must never be in an answer."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    well: bool | None
    why: Reason


@dataclass(frozen=True, slots=True)
class Result:
    """How a model did."""

    checks: tuple[Check, ...]
    tokens_per_second: float | None
    promised: tuple[float | None, float | None]
    """Tokens a second that were said before: low and high."""

    @property
    def well(self) -> bool:
        return all(check.well is not False for check in self.checks)

    def public(self) -> dict[str, Any]:
        return {
            "passed": self.well,
            "checks": [
                {"check": c.name, "well": c.well, "key": c.why.key, "facts": dict(c.why.facts)} for c in self.checks
            ],
            "tokens_per_second": self.tokens_per_second,
            "promised": {"low": self.promised[0], "high": self.promised[1]},
        }


async def trial(awake: Awake, facts: Facts, promised: Speed) -> Result:
    """Try a model that is awake. Raises what the engine says when it dies of it."""
    interval = promised.low, promised.high
    if not facts.chat_template and (facts.task or "text-generation") != "text-generation":
        return Result((Check("template", None, Reason("selftest.other_task", {"task": facts.task})),), None, interval)
    checks, rate = [], None
    try:
        async with asyncio.timeout(_DEADLINE_S):
            checks.append(await _template(awake, facts))
            tokens, rate = await _tokens(awake)
            checks.append(tokens)
            stop, again = await _stop(awake, facts)
            checks.append(stop)
            rate = again or rate
    except TimeoutError:
        checks.append(Check("time", None, Reason("selftest.slow", {"seconds": _DEADLINE_S})))
    checks.append(_speed(rate, promised))
    return Result(tuple(checks), rate, interval)


async def _template(awake: Awake, facts: Facts) -> Check:
    if not facts.chat_template:
        return Check("template", None, Reason("selftest.no_template", {}))
    word = "Domicile-7391"
    status, said = await _ask(awake, "/apply-template", {"messages": [{"role": "user", "content": word}]})
    prompt = said.get("prompt")
    if status == 200 and isinstance(prompt, str) and word in prompt:
        return Check("template", True, Reason("selftest.template", {}))
    problem = _problem(said) or str(status)
    return Check("template", False, Reason("selftest.template_bad", {"problem": problem}))


async def _tokens(awake: Awake) -> tuple[Check, float | None]:
    asked = {"messages": _said("Bonjour"), "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
    status, said = await _ask(awake, _CHAT, asked)
    count = (said.get("usage") or {}).get("completion_tokens")
    if status != 200 or not isinstance(count, int):
        return Check("tokens", False, Reason("selftest.no_tokens", {"problem": _problem(said) or str(status)})), None
    return Check("tokens", count == TOKENS, Reason("selftest.tokens", {"n": count})), _rate(said)


async def _stop(awake: Awake, facts: Facts) -> tuple[Check, float | None]:
    if not facts.chat_template:
        return Check("stop", None, Reason("selftest.no_template", {})), None
    asked = {
        "messages": _said("Answer with one word: yes."),
        "max_tokens": STOPS_WITHIN,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    status, said = await _ask(awake, _CHAT, asked)
    choice = (said.get("choices") or [{}])[0]
    text = str((choice.get("message") or {}).get("content") or "")
    leaked = _LEAKED.search(text)
    if status != 200:
        return Check("stop", False, Reason("selftest.no_tokens", {"problem": _problem(said) or str(status)})), None
    if leaked:
        return Check("stop", False, Reason("selftest.leaks", {"mark": leaked.group()})), _rate(said)
    if choice.get("finish_reason") != "stop":
        return Check("stop", False, Reason("selftest.no_stop", {"n": STOPS_WITHIN})), _rate(said)
    return Check("stop", True, Reason("selftest.stops", {})), _rate(said)


def _speed(rate: float | None, promised: Speed) -> Check:
    """Slower than promised is said, and is no fault of the model: the machine may be busy."""
    facts = {
        key: None if n is None else round(n, 1)
        for key, n in (("rate", rate), ("low", promised.low), ("high", promised.high))
    }
    if rate is None:
        return Check("speed", None, Reason("selftest.no_speed", facts))
    if promised.low is None or promised.high is None:
        return Check("speed", True, Reason("selftest.speed", facts))
    if rate < promised.low:
        return Check("speed", None, Reason("selftest.slower", facts))
    return Check("speed", True, Reason("selftest.faster" if rate > promised.high else "selftest.as_promised", facts))


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def _ask(awake: Awake, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    async with awake.ask(path, json.dumps(body).encode()) as reply:
        try:
            said = json.loads(await whole(reply.body))
        except ValueError:
            said = None
        return reply.status, said if isinstance(said, dict) else {}


def _rate(said: Mapping[str, Any]) -> float | None:
    timings = said.get("timings") or {}
    if timings.get("predicted_n", 0) < _ENOUGH_TOKENS:
        return None
    rate = timings.get("predicted_per_second")
    return float(rate) if isinstance(rate, (int, float)) and rate > 0 else None


def _problem(said: Mapping[str, Any]) -> str | None:
    error = said.get("error")
    return str(error.get("message"))[:200] if isinstance(error, dict) else None


def failed(error: DomicileError) -> dict[str, Any]:
    """The result of a model that did not wake or died of the trial."""
    facts = {k: v for k, v in error.facts.items() if isinstance(v, (str, int, float, bool))}
    check = {"check": "wake", "well": False, "key": f"error.{error.code}", "facts": facts}
    return {"passed": False, "checks": [check], "tokens_per_second": None, "promised": {"low": None, "high": None}}
