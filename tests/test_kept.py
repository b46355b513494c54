"""What a person sees of what is kept of models, and how it is forgotten: `domicile cache`, `show --template`."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from domicile.answering import Ask, whole
from domicile.app import open_house
from domicile.config import load
from domicile.library import EMBEDDED_FILE
from tests.test_cli import domicile
from tests.test_templates import PLAIN, poisoned

pytestmark = pytest.mark.slow


def _talk(*files: Path) -> None:
    """A long question to graine and to these files, in a house that is closed afterwards."""

    async def work() -> None:
        async with open_house(load()) as house:
            names = ["graine", *(house.library.add_file(file).name for file in files)]
            for name in names:
                messages = [{"role": "user", "content": "Tu es graine. " * 200}]
                body = json.dumps({"model": name, "messages": messages, "max_tokens": 4}).encode()
                async with house.answer(Ask(name, "/v1/chat/completions", body)) as answer:
                    await whole(answer.reply.body)

    asyncio.run(work())


def test_what_is_kept_is_shown_by_model_and_forgotten_on_demand() -> None:
    _talk()
    assert re.search(r"graine +1 +\d.* MB", domicile("cache").stdout)
    refused = domicile("cache", "--clear")
    assert refused.returncode == 2
    assert "domicile cache --clear --yes" in refused.stderr
    told = domicile("cache", "--clear", "--yes", "--lang", "fr")
    assert "1 conversation oubliée" in told.stdout
    assert not list(load().conversations.rglob("*.*"))
    empty = domicile("cache")
    assert "Nothing is kept of conversations." in empty.stdout + empty.stderr


def test_one_models_conversations_are_forgotten_alone(tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(EMBEDDED_FILE, copy)
    _talk(copy)
    told = domicile("cache", "--clear", "--model", "copy", "--yes", "--json")
    assert json.loads(told.stdout)["states"] == 1
    assert [m["name"] for m in json.loads(domicile("cache", "--json").stdout)["models"]] == ["graine"]
    assert domicile("cache", "--clear", "--model", "nobody", "--yes").returncode == 3


def test_show_template_prints_the_template_alone_and_says_the_rest_beside_it() -> None:
    told = domicile("show", "--template", "graine")
    assert "<|im_start|>" in told.stdout
    assert "The template of its file is used." in told.stderr
    assert "Fingerprint: " in told.stderr
    found = json.loads(domicile("show", "--template", "graine", "--json").stdout)
    assert found["verdict"] == "fine"
    assert len(found["fingerprint"]) == 64


def test_a_refused_template_is_said_by_show_in_both_languages(tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    poisoned(file, PLAIN + "{{ ''.__class__ }}")
    _talk(file)
    told = domicile("show", "--template", "bad")
    assert "The built-in template llama2 is used: the one in its file reaches for" in told.stderr
    dit = domicile("show", "--template", "bad", "--lang", "fr")
    assert "Le gabarit intégré llama2 est utilisé" in dit.stderr
    assert "__class__" in dit.stdout
