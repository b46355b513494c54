"""The models of other tools from the command line and from Python: taken in, named, kept, given back, removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from domicile.client import HouseSaid
from domicile.python import Domicile
from tests.fakes import stores as fakes
from tests.fakes.gguf import gguf
from tests.fakes.ollama import FakeOllama, running
from tests.test_cli import GRAINE, domicile

pytestmark = pytest.mark.slow
ONE = gguf("one", licence="mit")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    person = tmp_path / "person"
    fakes.ollama(person / ".ollama" / "models", "tiny:1b", ONE)
    fakes.lmstudio(person / ".lmstudio" / "models", "org/tiny", {"tiny-Q4_K_M.gguf": ONE})
    return person


def test_models_of_other_tools_are_listed_taken_in_and_forgotten(person: Path) -> None:
    listed = domicile("adopt")
    assert "ollama/tiny:1b" in listed.stdout
    assert "Ollama, LM Studio" in listed.stdout
    assert "domicile adopt NAME" in listed.stderr
    taken = domicile("adopt", "tiny:1b")
    assert "tiny:1b was taken in where it lies (ollama/tiny:1b)." in taken.stdout
    assert "tiny:1b was here already: it has one more owner (lmstudio/org/tiny:Q4_K_M)." in taken.stdout
    assert "il n'y a rien à adopter" in domicile("adopt", "--all", "--lang", "fr").stdout.lower()
    assert domicile("alias", "tiny:1b", "petit").returncode == 0
    shown = domicile("show", "petit").stdout
    assert "Ollama (tiny:1b), LM Studio (org/tiny:Q4_K_M)" in shown
    assert "mit" in shown
    assert domicile("pin", "petit").returncode == 0
    table = domicile("ls").stdout
    assert all(said in table for said in ("tiny:1b = petit", "Ollama, LM Studio", "pinned"))
    kept = domicile("rm", "petit", "--yes")
    assert kept.returncode == 4
    assert "domicile unpin tiny:1b" in kept.stderr
    domicile("unpin", "petit")
    assert domicile("unalias", "petit").returncode == 0
    assert domicile("rm", "tiny:1b", "--yes").returncode == 0
    assert (person / ".lmstudio" / "models" / "org" / "tiny" / "tiny-Q4_K_M.gguf").read_bytes() == ONE


def test_a_path_is_taken_in_and_a_wrong_name_says_what_to_type(tmp_path: Path, person: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "mine.gguf").write_bytes(gguf("mine"))
    assert "folder/mine" in domicile("adopt", "--list", str(folder)).stdout
    assert "mine was taken in" in domicile("adopt", str(folder)).stdout
    wrong = domicile("adopt", "no-such-model", "--json")
    assert wrong.returncode == 3
    assert json.loads(wrong.stdout)["error"]["hint"] == "domicile adopt --list"
    assert domicile("adopt", "--all", "x").returncode == 2


def test_the_files_of_another_tool_go_only_when_that_was_said(person: Path) -> None:
    domicile("adopt", "--all")
    gone = domicile("rm", "tiny:1b", "--also-files", "--yes", "--json")
    assert json.loads(gone.stdout)["freed_bytes"] > 2 * len(ONE)
    assert not list((person / ".lmstudio").rglob("*.gguf"))
    assert not list((person / ".ollama").rglob("sha256-*"))


def test_a_lost_database_is_said_in_one_line(person: Path) -> None:
    domicile("adopt", "--all")
    for file in Path(os.environ["DOMICILE_HOME"]).glob("domicile.db*"):
        file.unlink()
    told = domicile("list")
    assert "rebuilt from the files, with 1 model" in told.stderr
    assert "tiny:1b" in told.stdout
    assert domicile("list").stderr == ""


def test_a_model_is_given_to_ollama_and_ollama_is_managed(person: Path) -> None:
    with running(FakeOllama(registry={"llama3.2:3b": 10_000})) as fake:
        environment = {"OLLAMA_HOST": fake.url, "OLLAMA_MODELS": str(person / "nowhere")}
        written = domicile("export", "graine", "--to", "modelfile")
        assert written.stdout.startswith("FROM /")
        assert "graine.gguf" in written.stdout
        sent = domicile("export", "graine", "--to", "ollama", "--name", "graine:fr", **environment)
        assert "Ollama has it as graine:fr; its bytes were sent to it." in sent.stdout
        assert "graine:fr" in fake.models
        assert "Ollama has llama3.2:3b." in domicile("ollama", "pull", "llama3.2:3b", **environment).stdout
        assert "llama3.2:3b" in domicile("ollama", "list", **environment).stdout
        assert "FROM llama3.2:3b" in domicile("ollama", "show", "llama3.2:3b", **environment).stdout
        assert domicile("ollama", "rm", "llama3.2:3b", "--yes", **environment).returncode == 0
        assert list(fake.models) == ["graine:fr"]
    assert "ollama serve" in domicile("ollama", "list").stderr


def test_an_adopted_blob_answers_in_the_real_engine(person: Path) -> None:
    fakes.ollama(person / ".ollama" / "models", "seed:latest", GRAINE.read_bytes())
    domicile("adopt", "seed:latest")
    assert domicile("run", "seed", "Bonjour").stdout.strip()


def test_the_same_from_python(person: Path) -> None:
    (person / "given").mkdir()
    with Domicile(ollama_models=str(person / "given")) as home:
        (offer,) = home.adoptable(person / ".lmstudio" / "models")
        assert home.adopt(path=person / ".lmstudio" / "models")["adopted"][0]["new"]
        name = home.models()[1]["name"]
        assert offer["name"] == name
        assert home.alias(name, "petit")["aliases"] == ["petit"]
        assert home.pin("petit")["pinned"]
        with pytest.raises(HouseSaid):
            home.remove("petit")
        assert not home.pin("petit", False)["pinned"]
        assert home.modelfile("petit").startswith("FROM /")
        given = home.give_to_ollama("petit", "petit:1b")
        assert given["how"] in {"hardlink", "reflink"}
        assert home.remove("petit") == 0
        assert home.adopt()["adopted"][0]["name"] == "petit:1b"
