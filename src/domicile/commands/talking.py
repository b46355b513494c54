"""Talking to a model from a terminal or a pipe."""

from __future__ import annotations

import sys
from typing import Any

import click

from domicile.commands.models import pulled
from domicile.config import STRATEGIES
from domicile.errors import BadField
from domicile.grammar import Desk, argument, command, model_argument, option, path_of
from domicile.refs import EMBEDDED, ModelRef


@command(
    "run",
    model_argument(required=False),
    argument("prompt", nargs=-1),
    option("--system", "-s"),
    option("--temperature", "-t", type=float),
    option("--max-tokens", type=int),
    option("--seed", type=int),
    option("--keep-alive"),
    option("--strategy", type=click.Choice(STRATEGIES)),
    option("--save", is_flag=True),
)
async def run(
    desk: Desk,
    model: str | None,
    prompt: tuple[str, ...],
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    keep_alive: str | None,
    strategy: str | None,
    save: bool,
) -> None:
    from domicile.client import of_model
    from domicile.talk import Talk

    question = " ".join(prompt)
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    question = f"{question}\n\n{piped}".strip() if piped.strip() else question
    if not question and (sys.stdin is None or not sys.stdin.isatty()):
        raise BadField(field="prompt", problem="", reason="empty")
    options = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "strategy": strategy}
    async with desk.house() as house:
        name = await _at_home(desk, house, model, strategy)
        if keep_alive is not None:
            await house.post(of_model(name, "wake"), {"keep_alive": keep_alive})
        talk = Talk(house, desk.output, name, system, {k: v for k, v in options.items() if v is not None}, save=save)
        if question:
            await talk.once(question)
        else:
            await talk.session(desk.settings.home / "history")


async def _at_home(desk: Desk, house: Any, model: str | None, strategy: str | None) -> str:
    """The installed name of what a person asked for: the active model, one of the library, a file, or one to pull."""
    from domicile.client import HouseSaid, of_model

    if model is None:
        models = (await house.get("/domicile/models"))["models"]
        return str(next((m["name"] for m in models if m["active"] and not m["missing"]), EMBEDDED))
    ref = ModelRef.parse(model)
    if ref.kind == "file":
        path = path_of(ref)
        return str((await house.post("/domicile/models", {"path": path}))["name"])
    try:
        return str((await house.get(of_model(str(ref))))["name"])
    except HouseSaid as missing:
        if (strategy == "away" and missing.status == 404) or await _meanwhile(desk, house, ref, strategy):
            return str(ref)
        # A name with a tag is one of Ollama's, when nothing here is called so; one without may be a slip.
        if missing.status != 404 or (ref.kind == "house" and ":" not in ref.name):
            raise
    job = await pulled(desk, house, model)
    return str(job["result"]["name"])


async def _meanwhile(desk: Desk, house: Any, ref: ModelRef, strategy: str | None) -> bool:
    """Start the download of a model and go on without it, where somebody with a consent may answer until it is here."""
    elsewhere = await house.get("/domicile/targets")
    willing = [t["name"] for t in elsewhere["targets"] if t["consent"]]
    if ref.kind != "hub" or not willing or (strategy or elsewhere["strategy"]) != "home-then-away":
        return False
    await house.post("/domicile/pull", {"model": str(ref)})
    desk.output.tell(desk.output.say("run.meanwhile", model=str(ref), names=", ".join(willing)))
    return True
