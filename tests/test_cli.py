"""The command line as a person and as a program use it: real processes, real pipes, both languages."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from domicile import doorplate, i18n
from domicile.cli import build
from domicile.config import load
from domicile.grammar import COMMANDS
from tests import nursery
from tests.conftest import OpenHouse
from tests.fakes.hub import TOKEN, FakeHub, served
from tests.real.test_house import Opening

GRAINE = Path(__file__).parent.parent / "src" / "domicile" / "graine" / "graine.gguf"
pytestmark = pytest.mark.slow


def domicile(*words: str, said: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    told = nursery.run(*words, given=said, env={**os.environ, **environment})
    told.stdout, told.stderr = (_plain(text) for text in (told.stdout, told.stderr))
    return told


def _plain(text: str) -> str:
    """With ordinary spaces where French has its narrow ones."""
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def test_a_new_machine_has_one_model_and_it_answers() -> None:
    told = domicile("list")
    assert "* graine" in told.stdout
    asked = domicile("run", "graine", "Bonjour, qui es-tu ?", "--temperature", "0")
    assert "graine" in asked.stdout
    assert asked.returncode == 0
    assert asked.stderr == ""


def test_run_alone_reads_a_pipe_and_talks_to_the_active_model() -> None:
    told = domicile("run", said="Bonjour, qui es-tu ?")
    assert told.returncode == 0
    assert told.stdout.strip()
    with_prompt = domicile("run", "graine", "résume", "--json", said="un texte")
    assert json.loads(with_prompt.stdout)["model"] == "graine"


def test_pull_from_the_hub_then_run_use_show_and_remove(hub: FakeHub) -> None:
    content = GRAINE.read_bytes()
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": content, "small-F16.gguf": b"GGUF"})
    pulled = domicile("pull", "hf.co/org/small-GGUF:q8_0", "--json")
    assert pulled.returncode == 0
    assert json.loads(pulled.stdout)["result"]["name"] == "org/small-GGUF:Q8_0"
    store = Path(os.environ["DOMICILE_HOME"]) / "models" / "org" / "small-GGUF"
    assert sorted(p.name for p in store.iterdir()) == ["domicile.json", "small-Q8_0.gguf"]
    assert domicile("run", "org/small-GGUF", "Bonjour").stdout.strip()
    shown = json.loads(domicile("show", "org/small-gguf:q8_0", "--json").stdout)
    assert (shown["repository"], shown["quantisation"], shown["source"]) == ("org/small-GGUF", "Q8_0", "hub")
    assert domicile("use", "org/small-GGUF:Q8_0", "--lang", "fr").stdout.startswith(
        "org/small-GGUF:Q8_0 est maintenant"
    )
    assert "* org/small-GGUF:Q8_0" in domicile("ls").stdout
    kept = domicile("rm", "org/small-GGUF:Q8_0")
    assert kept.returncode == 2
    assert "--yes" in kept.stderr
    gone = domicile("rm", "org/small-GGUF:Q8_0", "--yes")
    assert i18n.size("en", len(content)) in gone.stdout
    assert not store.exists()
    assert "* graine" in domicile("list").stdout


def test_run_downloads_what_is_not_here_yet(hub: FakeHub) -> None:
    hub.add("org/small-GGUF", {"small-Q8_0.gguf": GRAINE.read_bytes()})
    told = domicile("run", "org/small-GGUF:Q8_0", "Bonjour")
    assert told.stdout.strip()
    assert "100%" in told.stderr


def test_a_file_runs_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").symlink_to(GRAINE)
    assert domicile("run", str(tmp_path / "mine.gguf"), "Bonjour").stdout.strip()
    assert "mine" in domicile("list").stdout
    assert domicile("rm", "mine", "--yes").returncode == 0
    assert (tmp_path / "mine.gguf").exists()


@pytest.mark.parametrize(
    ("words", "status", "in_english", "in_french"),
    [
        (["run", "grane", "hi"], 3, "Did you mean “graine”?", "Vouliez-vous dire « graine » ?"),
        (["show", "nothing/here"], 3, "or it is private", "ou il est privé"),
        (["stop", "nothing/here"], 3, "No model called", "Aucun modèle"),
        (["pull", "org/nothing"], 3, "or it is private", "ou il est privé"),
        (["pull", "org/gated"], 5, "accept a licence", "accepter une licence"),
        (["pull", "org/gated:Q2_K"], 3, "It has: Q8_0", "Il a : Q8_0"),
        (["pull", "org/papers"], 3, "no file of a format", "aucun fichier d'un format"),
        (["pull", "ftp://example.com/x.gguf"], 2, "not an https address", "n'est pas une adresse https"),
        (["pull", "https://127.0.0.1/x.gguf"], 4, "an address of this machine", "une adresse de cette machine"),
        (["pull", "mistral"], 2, "does not say whose it is", "ne dit pas de qui il est"),
        (["update", "graine"], 2, "comes with Domicile", "fourni avec Domicile"),
        (["custom", "rm", "graine", "--yes"], 3, "is no custom model", "n'est pas un modèle personnalisé"),
        (["custom", "add", "x", "--name", "X"], 2, "“url” is missing", "« url » manque"),
        (["places", "add", "nas.local:8080"], 2, "nobody confirmed it", "personne ne l'a confirmé"),
        (["pull", "./pyproject.toml"], 7, "is not a GGUF file", "n'est pas un fichier GGUF"),
        (["fit", "org/cut:Q8_0"], 9, "ends before what its header announces", "finit avant ce que son en-tête annonce"),
        (["fit", "org/cut:Q4_0"], 9, "is not a GGUF, whatever its name says", "n'est pas un GGUF, quoi qu'en dise"),
        (["run", "./absent.gguf", "hi"], 3, "no file that can be read", "pas de fichier lisible"),
        (["rm", "graine", "--yes"], 7, "cannot be removed", "ne peut pas être supprimé"),
        (["nothing"], 2, "No such command", "Pas de commande"),
        (["serve", "--port", "x"], 2, "is not a valid integer", "n'est pas un nombre valide"),
        (["help", "nothing"], 2, "no command “nothing”", "pas de commande « nothing »"),
    ],
)
def test_what_goes_wrong_is_a_sentence_in_both_languages_and_never_a_traceback(
    hub: FakeHub, words: list[str], status: int, in_english: str, in_french: str
) -> None:
    hub.add("org/gated", {"m-Q8_0.gguf": b"GGUF"}, gated=True)
    hub.add("org/papers", {"README.md": b""})
    hub.add("org/cut", {"m-Q8_0.gguf": GRAINE.read_bytes()[:200_000], "m-Q4_0.gguf": b"no model at all"})
    for lang, sentence in (("en", in_english), ("fr", in_french)):
        told = domicile("--lang", lang, *words)
        assert sentence in told.stderr.replace("\n", " ")
        assert told.returncode == status
        assert "Traceback" not in told.stderr
        assert told.stdout == ""


@pytest.mark.parametrize(("lang", "heading"), [("en", "Options:"), ("fr", "Options :")])
def test_help_has_its_headings_as_the_language_writes_them(lang: str, heading: str) -> None:
    for words in (["help", "pull"], ["pull", "--help"]):
        assert heading in domicile(*words, LC_ALL=f"{lang}.UTF-8").stdout.splitlines()


def test_a_wrong_token_and_an_absent_hub_are_two_more_sentences(hub: FakeHub) -> None:
    hub.add("org/private", {"m-Q8_0.gguf": b"GGUF"}, private=True)
    assert "token" in domicile("pull", "org/private", HF_TOKEN="hf_wrong").stderr
    absent = domicile("pull", "org/private", HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot be reached" in absent.stderr
    assert absent.returncode == 5
    right = domicile("pull", "org/private", HF_TOKEN=TOKEN)
    assert right.returncode == 0


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = domicile("list", DOMICILE_HOME=str(tmp_path / "file" / "home"))
    assert told.returncode == 6
    assert "cannot be written" in told.stderr


def test_an_error_is_json_when_json_is_asked_for() -> None:
    told = domicile("show", "nothing", "--json")
    assert json.loads(told.stdout)["error"]["code"] == "model_not_found"
    assert told.stderr == ""


def test_commands_talk_to_the_open_house(open_house_process: Opening) -> None:
    house: OpenHouse = open_house_process()
    assert domicile("run", "graine", "Bonjour", "--keep-alive", "-1").returncode == 0
    awake = json.loads(domicile("ps", "--json").stdout)["models"]
    assert [(m["name"], m["pid"], m["sleeps_in_s"]) for m in awake] == [("graine", house.children()[0], None)]
    assert "slot" in domicile("logs", "graine", "-n", "5").stdout
    assert "is asleep" in domicile("stop", "graine").stdout
    assert house.children() == []
    again = domicile("serve")
    assert again.returncode == 8
    assert house.url in again.stderr


def test_doctor_says_what_is_wrong_and_what_to_do() -> None:
    told = domicile("doctor")
    assert told.returncode == 1
    assert "✓ The engine llama answers" in told.stdout
    assert "✗ 127.0.0.1:9 cannot be reached" in told.stdout
    assert "→ check the network" in told.stdout


def test_the_language_is_that_of_the_environment() -> None:
    assert "Aucun modèle" in domicile("show", "nothing", LC_ALL="fr_FR.UTF-8").stderr
    assert "No model" in domicile("show", "nothing", LC_ALL="de_DE.UTF-8").stderr
    assert "Usage :" in domicile("--help", LC_ALL="fr_FR.UTF-8").stdout


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
def test_every_command_has_help_in_both_languages(lang: str) -> None:
    group = build(lang)
    for command in COMMANDS:
        built = group.commands[command.name]
        assert built.help
        assert not built.help.startswith("cmd.")
        for parameter in built.params:
            words = getattr(parameter, "help", None) or getattr(parameter, "metavar", None)
            assert words
            assert not words.startswith(("opt.", "arg."))


def test_completion_knows_commands_and_models() -> None:
    assert "_DOMICILE_COMPLETE" in domicile("completion", "bash").stdout
    done = domicile(_DOMICILE_COMPLETE="bash_complete", COMP_WORDS="domicile show gr", COMP_CWORD="2")
    assert "graine" in done.stdout


class Terminal:
    """A person at a terminal."""

    def __init__(self, *words: str) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "domicile", *words], {**os.environ, "TERM": "dumb"})
        self.seen = ""
        self._read_to = 0

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Read on until a text stands on the screen, after the one waited for before."""
        end = time.monotonic() + seconds
        while text not in self.seen[self._read_to :]:
            assert time.monotonic() < end, self.seen
            if select.select([self._screen], [], [], 0.2)[0]:
                self.seen += os.read(self._screen, 65536).decode("utf-8", "replace")
        self._read_to = self.seen.index(text, self._read_to) + len(text)

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def close(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._screen)
        return os.waitstatus_to_exitcode(status)


def test_a_session_answers_stops_at_ctrl_c_and_goes_on() -> None:
    terminal = Terminal("run", "graine")
    terminal.wait_for(">>> ")
    terminal.type("Bonjour, qui es-tu ?\r")
    terminal.wait_for("graine")
    terminal.wait_for(">>> ")
    terminal.type("/clear\r")
    terminal.wait_for("A new conversation.")
    terminal.wait_for(">>> ")
    terminal.type("/bye\r")
    assert terminal.close() == 0


async def _endless_words() -> AsyncIterator[str]:
    while True:
        yield 'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'
        await asyncio.sleep(0.02)


async def _some_model(request: Request) -> JSONResponse:
    return JSONResponse({"name": "chatterbox"})


async def _chatter(request: Request) -> StreamingResponse:
    return StreamingResponse(_endless_words(), media_type="text/event-stream")


def test_ctrl_c_during_an_answer_stops_the_answer_and_not_the_session() -> None:
    house = Starlette(
        routes=[
            Route("/domicile/models/{name}", _some_model),
            Route("/v1/chat/completions", _chatter, methods=["POST"]),
        ]
    )
    with served(house) as url:
        Path(os.environ["DOMICILE_HOME"]).mkdir(parents=True)
        doorplate.write(load(), url, "key")
        terminal = Terminal("run", "chatterbox")
        for _ in range(2):
            terminal.wait_for(">>> ")
            terminal.type("talk\r")
            terminal.wait_for("word word")
            os.kill(terminal.pid, signal.SIGINT)
            terminal.wait_for("(stopped)")
        terminal.wait_for(">>> ")
        terminal.type("/bye\r")
        assert terminal.close() == 0
