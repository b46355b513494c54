"""Accounts over HTTP: coming in, going out, keys of one's own; and, for administrators, who else may.

A session is a cookie that no script reads (HttpOnly), that no other site can use (SameSite=Strict), and that is
Secure where the page came over https; the house keeps its digest alone.
"""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domicile.accounts import OWNER, ROLES, Account, Accounts, Caller, Role
from domicile.errors import BadField, KeyRequired
from domicile.web import asking
from domicile.web.guard import SESSION_COOKIE, caller_of, session_in
from domicile.web.trouble import house_of

_KEPT = ("password", "role")


async def me(request: Request) -> Response:
    """Who asks, for the page: name and role, whether accounts are in use here, and whether the first is to be made."""
    caller, people = caller_of(request), _people(request)
    closed = bool(request.scope.get("domicile.closed"))
    return JSONResponse(
        {
            "closed": closed,
            "signed_in": caller is not None and caller.session is not None,
            "name": caller.name if caller else None,
            "role": caller.role if caller else None,
            "first": closed and people.first_code() is not None,
        }
    )


async def first(request: Request) -> Response:
    """Make the first administrator: `{"code", "name", "password"}`, the code as `domicile serve` printed it.

    It holds until it is used, or the house is closed. The new account is signed in.
    """
    _, data = await asking.json_object(request)
    people = _people(request)
    if not request.scope.get("domicile.closed"):
        raise BadField(field="code", problem="loopback", reason="no_accounts_here")
    account = await people.first(_text(data, "code"), _text(data, "name"), _text(data, "password"), _address(request))
    return _with_session(request, people.begin_session(account.id, _address(request), _browser(request)), account, 201)


async def sign_in(request: Request) -> Response:
    """A session for a name and a password: `{"name", "password"}`. The answer sets a cookie; the token is nowhere else.

    A wrong name and a wrong password are refused alike. Ten failures for a name or thirty from an address within a
    quarter of an hour, and the rest of it must be waited for.
    """
    _, data = await asking.json_object(request)
    people = _people(request)
    before = people.by_session(session_in(request.headers))
    account, token = await people.sign_in(
        _text(data, "name"), _text(data, "password"), _address(request), _browser(request)
    )
    if before is not None and before.session is not None:
        people.end_session(before.session)
    return _with_session(request, token, account)


async def sign_out(request: Request) -> Response:
    """End this session."""
    caller = _caller(request)
    if caller.session is not None:
        _people(request).end_session(caller.session)
    answer = JSONResponse({"signed_out": caller.session is not None})
    answer.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def sign_out_everywhere(request: Request) -> Response:
    """End every session of the account, this one too."""
    ended = _people(request).end_sessions(_caller(request).id)
    answer = JSONResponse({"ended": ended})
    answer.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def password(request: Request) -> Response:
    """Another password of one's own: `{"old", "new"}`. Every other session ends."""
    _, data = await asking.json_object(request)
    caller, people = _caller(request), _people(request)
    if caller.name is None:
        raise BadField(field="name", problem=caller.id, reason="no_account")
    await people.proves(caller.id, _text(data, "old"), _address(request))
    await people.reset(caller.name, _text(data, "new"), keep=caller.session)
    return JSONResponse({"changed": True})


async def sessions(request: Request) -> Response:
    """Where one is signed in: since when, from where, with which browser, until when."""
    caller = _caller(request)
    shown: list[dict[str, Any]] = []
    for one in _people(request).sessions(caller.id):
        digest = one.pop("digest")
        shown.append({"id": hashlib.sha256(digest).hexdigest()[:12], "this": digest == caller.session, **one})
    return JSONResponse({"sessions": shown})


async def keys(request: Request) -> Response:
    """One's keys for tools: names, last characters, last use; never the keys."""
    return JSONResponse({"keys": _people(request).keys(_caller(request).id)})


async def make_key(request: Request) -> Response:
    """A key for a tool: `{"name"}`. It opens every dialect as its owner would; `key` is said this once."""
    _, data = await asking.json_object(request)
    made, shown = _people(request).make_key(_caller(request).id, _text(data, "name"))
    return JSONResponse({"key": made, **shown}, 201, {"Cache-Control": "no-store"})


async def revoke_key(request: Request) -> Response:
    """Let a key open no more."""
    _people(request).revoke_key(_caller(request).id, request.path_params["id"])
    return JSONResponse({"revoked": request.path_params["id"]})


# -- for administrators --


async def accounts(request: Request) -> Response:
    """Who has an account."""
    return JSONResponse({"accounts": [a.public() for a in _people(request).all()]})


async def add(request: Request) -> Response:
    """A new account: `{"name", "password", "role": "user"}`. The first one is an administrator's."""
    _, data = await asking.json_object(request)
    made = await _people(request).add(_text(data, "name"), _text(data, "password"), _role(data.get("role", "user")))
    return JSONResponse(made.public(), 201)


async def change(request: Request) -> Response:
    """Another role or another password for somebody: `{"role"}`, `{"password"}`. A new password ends their sessions."""
    _, data = await asking.json_object(request)
    people, name = _people(request), request.path_params["name"]
    found = people.get(name)
    if unknown := set(data) - set(_KEPT):
        raise BadField(field=min(unknown), problem="?", reason="one_of", allowed=", ".join(_KEPT))
    if data.get("role") is not None:
        found = people.change_role(name, _role(data["role"]))
    if data.get("password") is not None:
        own = caller_of(request)
        keep = own.session if own is not None and own.id == found.id else None
        await people.reset(name, _text(data, "password"), keep=keep)
    return JSONResponse(found.public())


async def remove(request: Request) -> Response:
    """Remove an account with its sessions, its keys and its conversations. The first history stays the house's."""
    house, people = house_of(request), _people(request)
    gone = people.remove(request.path_params["name"])
    deleted: list[str] = []
    if gone.id != OWNER:
        deleted, _ = await house.chats.remove(house.chats.ids(gone.id), gone.id)
        for folder in house.chats.folders.list(gone.id):
            house.chats.folders.remove(folder.id, gone.id)
        for preset in house.chats.presets.list(gone.id):
            house.chats.presets.remove(preset.id, gone.id)
    return JSONResponse({**gone.public(), "chats": len(deleted)})


# -- within --


def _people(request: Request) -> Accounts:
    return house_of(request).accounts


def _caller(request: Request) -> Caller:
    caller = caller_of(request)
    if caller is None:  # the guard asks for a role before any of this is reached
        raise KeyRequired
    return caller


def _text(data: dict[str, Any], field: str) -> str:
    """A text as it was given: spaces are part of a password."""
    asking.text_of(data, field)
    return str(data[field])


def _role(said: object) -> Role:
    found = next((role for role in ROLES if role == said), None)
    if found is None:
        raise BadField(field="role", problem=str(said)[:40], reason="one_of", allowed=", ".join(ROLES))
    return found


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _browser(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _with_session(request: Request, token: str, account: Account, status: int = 200) -> Response:
    answer = JSONResponse(account.public(), status, {"Cache-Control": "no-store"})
    answer.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=_cookie_s(request),
        path="/",
        httponly=True,
        samesite="strict",
        # Nobody's word is taken on the scheme but the browser's own, whose Origin the guard has checked.
        secure=request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://"),
    )
    return answer


def _cookie_s(request: Request) -> int:
    return int(min(house_of(request).settings.session_life, 400 * 86400))
