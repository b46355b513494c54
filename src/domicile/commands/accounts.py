"""Who may come in where the house listens beyond this machine."""

from __future__ import annotations

import getpass
import secrets
import sys
from typing import Any

import click

from domicile.errors import BadField, MissingField
from domicile.grammar import Desk, argument, command, option

_ACTIONS = ("list", "add", "remove", "reset", "role")


@command(
    "accounts",
    argument("action", type=click.Choice(_ACTIONS), default="list", required=False),
    argument("name", required=False),
    argument("role", required=False),
    option("--admin", is_flag=True),
    option("--generate", is_flag=True),
    option("--yes", "-y", is_flag=True),
)
async def accounts(
    desk: Desk, action: str, name: str | None, role: str | None, admin: bool, generate: bool, yes: bool
) -> None:
    async with desk.house() as house:
        if action == "list":
            _list(desk, await house.get("/domicile/accounts"))
            return
        if not name:
            raise MissingField(field="name")
        say, path = desk.output.say, f"/domicile/accounts/{name}"
        if action == "role":
            if not role:
                raise MissingField(field="role")
            changed = await house.patch(path, {"role": role})
            desk.output.result(changed, say("accounts.role", name=changed["name"], role=say(f"role.{changed['role']}")))
        elif action == "remove":
            if not yes and not sys.stdin.isatty():
                raise BadField(field="--yes", problem=name, reason="confirm_account")
            if yes or click.confirm(say("accounts.ask", name=name), err=True):
                gone = await house.delete(path)
                desk.output.result(gone, say("accounts.removed", name=gone["name"]))
        else:
            await _with_password(desk, house, action, name, admin, generate)


async def _with_password(desk: Desk, house: Any, action: str, name: str, admin: bool, generate: bool) -> None:
    """Make an account, or give it another password; a generated one is shown once."""
    say = desk.output.say
    made = "-".join(secrets.token_hex(2) for _ in range(4)) if generate else None
    password = made or _read(desk)
    if action == "add":
        body = {"name": name, "password": password, "role": "admin" if admin else "user"}
        done = await house.post("/domicile/accounts", body)
    else:
        done = await house.patch(f"/domicile/accounts/{name}", {"password": password})
    told = {"add": "accounts.add", "reset": "accounts.reset"}[action]
    lines = [say(told, name=done["name"], role=say(f"role.{done['role']}"))]
    if made:
        lines.append(say("accounts.password", made=made))
    desk.output.result({**done, **({"password": made} if made else {})}, *lines)


def _list(desk: Desk, found: dict[str, Any]) -> None:
    say = desk.output.say
    rows = [(a["name"], say(f"role.{a['role']}")) for a in found["accounts"]]
    desk.output.table(found, [say("head.name"), say("head.role")], rows, say("accounts.empty"))


def _read(desk: Desk) -> str:
    """From the terminal, unseen and twice; or from a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass(desk.output.say("accounts.type"))
    if getpass.getpass(desk.output.say("accounts.again")) != first:
        raise BadField(field="password", problem="≠", reason="password_twice")
    return first
