"""A command starts light: what it does not need is not imported. Modules are counted, not time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from domicile.web import ROUTES
from domicile.web.rooms import Later
from tests.conftest import OpenHouse
from tests.real.test_house import Opening

HEAVY = (
    "h11", "httpcore2", "httptools", "httpx2", "jinja2", "markdown_it", "nh3", "uvicorn", "xllamacpp",
    "domicile.adopt", "domicile.advice", "domicile.away", "domicile.conversations", "domicile.dialects",
    "domicile.download", "domicile.egress", "domicile.engines", "domicile.formats", "domicile.giving",
    "domicile.hardware", "domicile.jobs", "domicile.live", "domicile.names", "domicile.runner", "domicile.sources",
    "domicile.stores", "domicile.threaded", "domicile.updates", "domicile.waking", "domicile.web.openai",
    "domicile.web.openapi", "domicile.web.serve",
)  # fmt: skip
AT_MOST = 65
"""Modules of ours that `domicile list` may need (62 when this was written; everything is about 300)."""


def imported(*words: str) -> set[str]:
    """The modules of a process that ran a command and is about to end."""
    code = (
        "import sys\nfrom domicile.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", code, *words], env=os.environ, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return set(said.stderr.split())


def test_list_imports_what_it_shows() -> None:
    imported("list")  # the first one makes the database
    found = imported("list")
    assert "domicile.library" in found
    assert {m for m in found if m.startswith(tuple(f"{h}." for h in HEAVY)) or m in HEAVY} == set()
    assert len([m for m in found if m.startswith("domicile")]) <= AT_MOST


@pytest.mark.parametrize("words", [["version"], ["help"], ["list", "--help"]])
def test_what_asks_no_house_makes_none(words: list[str]) -> None:
    found = imported(*words)
    assert not found & {"domicile.app", "domicile.db", "domicile.web", "starlette.routing", *HEAVY}


def test_list_asks_an_open_house_without_the_rooms_of_one(open_house_process: Opening) -> None:
    _: OpenHouse = open_house_process()
    found = imported("list")
    assert "httpx2" in found
    assert not found & {"domicile.app", "domicile.library", "domicile.db", "starlette.routing"}


def test_every_row_of_routes_names_a_handler() -> None:
    assert [row.path for row in ROUTES if not callable(row.function)] == []
    assert sum(isinstance(row.handler, Later) for row in ROUTES) > 100
