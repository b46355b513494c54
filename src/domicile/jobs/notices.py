"""Word of a download that ended, to who is not looking: a webhook, and a notice on the desktop where there is one.

The webhook's address comes from the settings alone, so it is the person's own; it may be on their network. What no
person means is refused: the addresses where clouds keep their secrets (link-local), multicast, and redirects.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from domicile import __version__, i18n
from domicile.config import Settings
from domicile.egress import Egress, about
from domicile.errors import Offline
from domicile.types import Job

TRIES = 3
_PAUSE_S = 2.0
_ANSWER_S = 10.0
_WORTH_S = 10.0
"""A download shorter than this ended before anybody looked elsewhere."""


class Notices:
    """What the settings ask to be told of. `lang` is the house's language, for the desktop."""

    def __init__(self, settings: Settings, lang: Callable[[], str], egress: Egress) -> None:
        self._settings = settings
        self._egress = egress
        self._lang = lang

    async def tell(self, job: Job) -> None:
        """A job is done or has failed. Never raises for what cannot be reached: it is said on standard error."""
        if self._settings.webhook:
            with about("webhook", model=job.model, job=job.id):
                await self._post(self._settings.webhook, {"event": f"job.{job.status}", "job": job.public()})
        took = (job.completed_at or 0.0) - (job.started_at or 0.0)
        if self._settings.notices == "on" or (self._settings.notices == "auto" and took >= _WORTH_S and has_desktop()):
            await self._show(job)

    async def _post(self, url: str, said: Mapping[str, Any]) -> None:
        problem = ""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(_PAUSE_S * number)
            try:
                problem = await _post_once(self._egress, url, said)
            except (httpx2.HTTPError, OSError, Offline) as trouble:
                problem = type(trouble).__name__
            if not problem:
                return
        print(i18n.say(self._lang(), "webhook.failed", host=httpx2.URL(url).host, problem=problem), file=sys.stderr)

    async def _show(self, job: Job) -> None:
        command = desktop_command()
        if command is None:
            return
        text = i18n.say(self._lang(), f"notice.{job.status}", model=job.model)
        with contextlib.suppress(OSError):
            process = await asyncio.create_subprocess_exec(
                *command(text),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "DOMICILE_NOTICE": text},
            )
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()


async def _post_once(egress: Egress, url: str, said: Mapping[str, Any]) -> str:
    """Why it was not taken; empty when it was."""
    parts = httpx2.URL(url)
    egress.ask_leave(parts, "webhook")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(parts.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    refused = next((a for a in addresses if not is_allowed(a)), None)
    if refused is not None:
        return f"address {refused}"
    headers = {"Host": parts.netloc.decode(), "User-Agent": f"domicile/{__version__}"}
    pinned = parts.copy_with(host=addresses[0])  # the very address that was looked at
    door = egress.client("webhook", proxies=False, timeout=_ANSWER_S, follow_redirects=False, trust_env=False)
    async with door as client:
        answer = await client.post(pinned, json=said, headers=headers, extensions={"sni_hostname": parts.host})
    return "" if answer.is_success else f"HTTP {answer.status_code}"


def is_allowed(address: str) -> bool:
    """May a webhook be at this address?"""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    metadata = found in _CLOUD_SECRETS
    return not (found.is_link_local or found.is_multicast or found.is_unspecified or metadata)


_CLOUD_SECRETS = frozenset({ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")})


def has_desktop(environ: Mapping[str, str] = os.environ) -> bool:
    """Does somebody look at a desktop of this machine? Not over SSH, and not on a server."""
    if environ.get("SSH_CONNECTION") or environ.get("CI"):
        return False
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


_MAC = 'on run argv\ndisplay notification (item 1 of argv) with title "Domicile"\nend run'
_WINDOWS = (
    "[Windows.UI.Notifications.ToastNotificationManager,Windows.UI.Notifications,ContentType=WindowsRuntime]>$null;"
    "$x=[Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent(0);"
    "$x.GetElementsByTagName('text')[0].AppendChild($x.CreateTextNode($env:DOMICILE_NOTICE))>$null;"
    "[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier('Domicile').Show($x)"
)


def desktop_command() -> Callable[[str], list[str]] | None:
    """How this system shows a notice; the text is an argument or in the environment, never part of a script."""
    for program, arguments in (
        ("notify-send", lambda text: ["--app-name=Domicile", "--", "Domicile", text]),
        ("osascript", lambda text: ["-e", _MAC, text]),
        ("powershell", lambda _: ["-NoProfile", "-NonInteractive", "-Command", _WINDOWS]),
    ):
        if (found := shutil.which(program)) is not None:
            return lambda text, found=found, arguments=arguments: [found, *arguments(text)]  # type: ignore[misc]
    return None
