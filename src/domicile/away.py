"""Who answers when this house cannot, and only if the person said so: the fallback to targets.

Three strategies: `home` never leaves; `home-then-away` asks the targets, in the person's order, when home fails by an
error of FALLBACK_ON before its first byte; `away` asks them at once. Only targets with a consent are asked, for models
whose name is known, and who answered is always said. Once a byte of an answer has come, nobody else is asked.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import anyio
import httpx2

from domicile import __version__
from domicile.answering import Answer, Ask
from domicile.config import STRATEGIES, Settings
from domicile.egress import Egress, about
from domicile.engines import Reply
from domicile.engines.remote import WHOLE_LIMIT, Remote
from domicile.errors import (
    BadField,
    DomicileError,
    EngineDied,
    FirstTokenLate,
    ModelNotFound,
    NobodyAnswers,
    NoConsent,
    NoTarget,
    Offline,
    TargetSaid,
    TargetSilent,
)
from domicile.targets import Target, Targets

FALLBACK_ON: Mapping[str, str] = {
    "out_of_memory": "does_not_fit",
    "engine_missing": "engine_missing",
    "engine_died": "engine_failed",
    "engine_unwell": "engine_failed",
    "wake_timeout": "engine_failed",
    "still_downloading": "still_downloading",
    "queue_full": "queue_too_long",
    "waited_too_long": "queue_too_long",
    "first_token_late": "first_token_late",
}
"""The errors (by code) by which home may fail for somebody else to be asked, and why it then was. Nothing else: not a
misspelt name, not a bad file, not a prompt that is too long, not a model that a person has just put to sleep."""

ELSEWHERE = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Routes that may be answered by another model. (Embeddings of another model would be no answer at all, so they go
only to a target that has this very model by name.)"""

OURS = frozenset({"strategy", "keep_alive", "context", "return_progress"})
"""Fields of a body that are meant for this house, or for its own engine."""
REST_S = 15.0
"""A target that did not answer is asked last for this long."""
_HOME_MIDWAY = 500

_WISH: ContextVar[str | None] = ContextVar("wish", default=None)


@contextmanager
def wishing(strategy: str | None) -> Iterator[None]:
    """Within, questions are asked by this strategy, whatever they say themselves; None changes nothing."""
    token = _WISH.set(strategy)
    try:
        yield
    finally:
        _WISH.reset(token)


Home = Callable[[Ask], AbstractAsyncContextManager[Answer]]


@dataclass(frozen=True, slots=True)
class Health:
    """How a target did the last time it was asked."""

    well: bool
    at: float
    latency_s: float | None = None
    problem: str | None = None


class Away:
    """The targets, and the way to them."""

    def __init__(
        self, settings: Settings, targets: Targets, egress: Egress, known: Callable[[str], Awaitable[object]]
    ) -> None:
        self.targets = targets
        self.default = settings.strategy
        self._first_token_s = settings.first_token
        self._egress = egress
        self._known = known
        """Raises `ModelNotFound` for a name that is not of this house."""
        self._health: dict[str, Health] = {}
        self._clients: dict[tuple[str, float], httpx2.AsyncClient] = {}

    # -- answering --

    def strategy_of(self, ask: Ask) -> str:
        """As this conversation said, else the house's setting. Raises `BadField`."""
        said = _WISH.get() or ask.said.get("strategy")
        if said is None and b'"strategy"' in ask.body:  # looked for before it is read: most have none
            said = ask.data().get("strategy")
        if said is None:
            return self.default
        chosen = said.strip().lower() if isinstance(said, str) else ""
        if chosen not in STRATEGIES:
            allowed = ", ".join(STRATEGIES)
            raise BadField(field="strategy", problem=json.dumps(said)[:80], reason="one_of", allowed=allowed)
        return chosen

    @asynccontextmanager
    async def answer(self, ask: Ask, home: Home) -> AsyncIterator[Answer]:
        """An answer, by whoever may give it."""
        strategy = self.strategy_of(ask)
        why: DomicileError | None = None
        async with AsyncExitStack() as elsewhere:
            if strategy == "away":
                await self.check_name(ask.model)
                yield await self._elsewhere(elsewhere, ask, None)
                return
            if strategy == "home" or self._egress.offline or not self._candidates(ask):
                yield await elsewhere.enter_async_context(home(ask))
                return
            async with AsyncExitStack() as here:
                try:
                    answer = await self._begun(here, ask, home)
                except DomicileError as trouble:
                    if reason_of(trouble) is None:
                        raise
                    why = trouble
                else:
                    yield answer
                    return
            yield await self._elsewhere(elsewhere, ask, why)

    async def _begun(self, stack: AsyncExitStack, ask: Ask, home: Home) -> Answer:
        """Home's answer with its first bytes here, or its error."""
        # What comes in one piece comes late by its nature: only a stream can be late to begin.
        streamed = ask.data().get("stream") is True
        deadline = self._first_token_s if streamed and 0 < self._first_token_s < math.inf else None
        limit = asyncio.timeout(deadline)
        try:
            async with limit:
                answer = await stack.enter_async_context(home(ask))
                first = await anext(answer.reply.body, b"")
        except TimeoutError as trouble:
            if not limit.expired():
                raise
            raise FirstTokenLate(name=ask.model, seconds=self._first_token_s) from trouble
        if answer.reply.status >= _HOME_MIDWAY:
            raise EngineDied(name=answer.model, reason="said", how=f"HTTP {answer.reply.status}")
        return replace(answer, reply=replace(answer.reply, body=_rejoined(first, answer.reply.body)))

    async def _elsewhere(self, stack: AsyncExitStack, ask: Ask, why: DomicileError | None) -> Answer:
        """The first target that begins to answer. Raises `NoTarget`, `Offline` or `NobodyAnswers`."""
        tried: list[str] = []
        candidates = self._candidates(ask)
        if not candidates:
            raise NoTarget(name=ask.model)
        for target in candidates:
            attempt = AsyncExitStack()
            try:
                reply = await self._from(attempt, target, ask)
            except (TargetSilent, TargetSaid, NoConsent) as trouble:
                await attempt.aclose()
                tried.append(f"{target.name} ({_in_short(trouble)})")
                self._note(target, trouble)
                continue
            except BaseException:
                await attempt.aclose()
                raise
            stack.push_async_callback(attempt.aclose)
            notes = {"Fallback": reason_of(why) or ""} if why is not None else {}
            return Answer(reply, target.model_for(ask.model), target.name, notes)
        raise NobodyAnswers(name=ask.model, why=reason_of(why) if why else "away", tried=", ".join(tried)) from why

    async def _from(self, stack: AsyncExitStack, target: Target, ask: Ask) -> Reply:
        """A target's answer with its first bytes here."""
        data = {k: v for k, v in ask.data().items() if k not in OURS}
        streamed = data.get("stream") is True
        body = json.dumps({**data, "model": target.model_for(ask.model)}).encode()
        began = time.monotonic()
        with about("answer", model=ask.model):
            reply = await stack.enter_async_context(self._remote(target).ask(ask.path, body, streamed=streamed))
            signed = _signed(reply, target.name, streamed)
            first = await anext(signed, b"")
        if not first:
            raise TargetSaid(name=target.name, problem="", reason="nothing")
        self._health[target.name] = Health(True, time.time(), time.monotonic() - began)
        return replace(reply, body=_rejoined(first, signed))

    def _candidates(self, ask: Ask) -> list[Target]:
        """Those who may be asked this, in the person's order; who just failed comes last."""
        found = [
            t
            for t in self.targets.list()
            if t.consented_at is not None and (ask.path in ELSEWHERE or ask.model in t.models)
        ]
        return sorted(found, key=lambda t: self._resting(t.name))

    def _resting(self, name: str) -> bool:
        health = self._health.get(name)
        return health is not None and not health.well and time.time() - health.at < REST_S

    async def check_name(self, name: str) -> None:
        """A name is known when it is a model's of this house, or when a consented target was told it."""
        try:
            await self._known(name)
        except ModelNotFound:
            if not any(name in t.models for t in self.targets.list() if t.consented_at is not None):
                raise

    def _remote(self, target: Target) -> Remote:
        if target.consented_at is None:
            raise NoConsent(name=target.name)
        of_this_consent = (target.name, target.consented_at)
        if of_this_consent not in self._clients:
            transport = self._egress.transport("target", judge=target.judge, proxies=target.reach == "internet")
            self._clients[of_this_consent] = httpx2.AsyncClient(transport=transport, follow_redirects=False)
        # Another Domicile answers by itself or not at all: what it passed on would not be its answer, nor come to an
        # end when two houses have each other as targets.
        headers = {"User-Agent": f"domicile/{__version__}"}
        if target.kind == "openai":
            headers["X-Domicile-Strategy"] = "home"
        return Remote(
            self._clients[of_this_consent],
            target.name,
            target.url,
            key=self.targets.key_of(target),
            timeout_s=target.timeout_s,
            headers=headers,
        )

    # -- what a person does with targets --

    def public(self, target: Target) -> dict[str, Any]:
        """A target and how it did; never its key."""
        health = self._health.get(target.name)
        state = None if health is None else {
            "well": health.well, "at": health.at, "latency_s": health.latency_s, "problem": health.problem,
        }  # fmt: skip
        return {**target.public(), "health": state}

    async def consent(self, name: str) -> Target:
        """The person's consent, for where the target is now. Its name is looked up; nothing is sent to it.

        Raises `TargetSilent` when it has no address, `BadField` for one that never may be asked, `Offline`.
        """
        target = self.targets.get(name)
        url = httpx2.URL(target.url)
        if self._egress.offline:
            raise Offline(host=url.host, purpose="consent")
        try:
            found = await anyio.getaddrinfo(url.host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as trouble:
            raise TargetSilent(name=target.name, problem=f"{url.host}: {trouble}"[:200]) from trouble
        addresses = sorted({str(entry[4][0]) for entry in found})
        return self.targets.consent(target.name, addresses)

    async def test(self, name: str) -> tuple[Target, float, list[str]]:
        """Ask a target which models it has: how long it took, and their names. Raises `NoConsent` and what it says."""
        target = self.targets.get(name)
        began = time.monotonic()
        try:
            with about("test"):
                models = await self._remote(target).models()
        except (TargetSilent, TargetSaid) as trouble:
            self._note(target, trouble)
            raise
        took = time.monotonic() - began
        self._health[target.name] = Health(True, time.time(), took)
        return target, took, models

    def _note(self, target: Target, trouble: DomicileError) -> None:
        self._health[target.name] = Health(False, time.time(), problem=_in_short(trouble))


def reason_of(trouble: DomicileError) -> str | None:
    """Why somebody else may be asked after this error; None when nobody may."""
    if trouble.code == "engine_died" and trouble.facts.get("reason") == "stopped":
        return None
    return FALLBACK_ON.get(trouble.code)


def _in_short(trouble: DomicileError) -> str:
    if isinstance(trouble, TargetSaid) and "status_code" in trouble.facts:
        return f"HTTP {trouble.facts['status_code']}"
    return str(trouble.facts.get("problem") or trouble.facts.get("reason") or trouble.code)[:120]


async def _rejoined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk


async def _signed(reply: Reply, name: str, streamed: bool) -> AsyncIterator[bytes]:
    """The answer with `"served_by"` in its JSON: of every event, or of the one object."""
    mark = f'"served_by": {json.dumps(name)}'.encode()
    if not streamed:
        whole = b"".join([chunk async for chunk in reply.body])
        try:
            data = json.loads(whole)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise TargetSaid(name=name, problem="JSON", reason="kind")
        yield json.dumps({**data, "served_by": name}).encode()
        return
    rest = b""
    async for chunk in reply.body:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield b"".join(_marked(line, mark) + b"\n" for line in lines)
        if len(rest) > WHOLE_LIMIT:
            raise TargetSaid(name=name, problem=f"> {WHOLE_LIMIT} B", reason="kind")
    if rest:
        yield _marked(rest, mark)


def _marked(line: bytes, mark: bytes) -> bytes:
    if not line.startswith(b"data:"):
        return line
    head, brace, tail = line.partition(b"{")
    if not brace or head.strip() != b"data:":
        return line
    return head + brace + mark + (b"" if tail.lstrip().startswith(b"}") else b", ") + tail
