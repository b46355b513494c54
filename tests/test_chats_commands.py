"""`domicile chats` and `domicile run --save`: the history from a terminal."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import nursery

pytestmark = pytest.mark.slow


def domicile(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return nursery.run(*words, given=given)


def said(*words: str) -> Any:
    answer = domicile(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_conversation_of_the_terminal_is_kept_only_when_one_says_so(tmp_path: Path) -> None:
    assert domicile("run", "--max-tokens", "4", "graine", "Qui es-tu ?").returncode == 0
    assert said("chats")["chats"] == []
    kept = domicile("run", "--save", "--max-tokens", "4", "graine", "Qui es-tu, petite élève ?")
    assert kept.returncode == 0
    (chat,) = said("chats", "list", "--search", "ELEVE")["chats"]
    assert chat["id"] in kept.stderr
    shown = domicile("chats", "show", chat["id"])
    assert shown.stdout.startswith("# Qui es-tu, petite élève ?")
    assert "## graine" in shown.stdout
    file = tmp_path / "out.json"
    assert said("chats", "export", str(file)) == {"file": str(file)}
    assert file.stat().st_mode & 0o777 == 0o600
    assert domicile("chats", "rm", chat["id"]).returncode == 2  # nobody is there to confirm
    assert said("chats", "rm", chat["id"], "--yes")["deleted"] == [chat["id"]]
    assert domicile("chats", "show", chat["id"]).returncode == 3
    assert [c["id"] for c in said("chats", "import", str(file))["added"]] == [chat["id"]]
    assert said("chats", "import", str(file))["present"] == [chat["id"]]
