"""The llama engine against a program that talks like its child: each way a child can end is its own clear error."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from domicile.engines import Launch
from domicile.engines.llama import Llama, sweep
from domicile.errors import BadModelFile, DomicileError, EngineDied, ModelFileMissing, OutOfMemory, WakeTimeout
from domicile.types import Installed
from tests.fakes.parrot import PLAN

pytestmark = pytest.mark.anyio

LOOKALIKE = Path(__file__).parent / "fakes" / "lookalike.py"
BODY = b'{"messages": [{"role": "user", "content": "hi"}], "stream": true}'


def _launch(tmp_path: Path, name: str, deadline_s: float = 10) -> Launch:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    model = Installed(name, file, "gguf", 4, "file")
    return Launch(model, PLAN, 1, 0, deadline_s, tmp_path / f"{name}.log")


async def test_a_child_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with Llama(LOOKALIKE).awake(_launch(tmp_path, "well")) as awake:
        async with awake.ask("/v1/chat/completions", BODY) as reply:
            assert reply.status == 200
            assert b"hello" in b"".join([chunk async for chunk in reply.body])
        assert psutil.pid_exists(awake.pid)
    assert not psutil.pid_exists(awake.pid)
    assert awake.gone.is_set()


async def test_a_child_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("DOMICILE_API_KEY", "secret")
    launch = _launch(tmp_path, "well")
    async with Llama(LOOKALIKE).awake(launch) as awake:
        command = " ".join(psutil.Process(awake.pid).cmdline())
    log = launch.log.read_text()
    assert "OMP_WAIT_POLICY" in log
    assert "HF_TOKEN" not in log
    assert "DOMICILE_API_KEY" not in log
    assert str(launch.model.path) not in command


@pytest.mark.parametrize(
    ("name", "raises", "reason"),
    [
        ("badfile", BadModelFile, "load"),
        ("segv", BadModelFile, "crash"),
        ("memory", OutOfMemory, None),
        ("killed", EngineDied, "killed"),
    ],
)
async def test_each_death_while_loading_has_its_own_error(
    tmp_path: Path, name: str, raises: type[DomicileError], reason: str | None
) -> None:
    with pytest.raises(raises) as told:
        async with Llama(LOOKALIKE).awake(_launch(tmp_path, name)):
            pass
    assert told.value.facts.get("reason") == reason
    if name == "badfile":
        assert told.value.facts["problem"] == "invalid magic characters"


async def test_a_child_that_does_not_get_ready_is_ended_at_the_deadline(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(WakeTimeout):
        async with Llama(LOOKALIKE).awake(_launch(tmp_path, "silent", deadline_s=0.5)):
            pass
    assert set(psutil.Process().children()) <= before


async def test_a_child_that_dies_midway_is_said_to_whoever_listens(tmp_path: Path) -> None:
    async with (
        Llama(LOOKALIKE).awake(_launch(tmp_path, "dies")) as awake,
        awake.ask("/v1/chat/completions", BODY) as reply,
        asyncio.timeout(2),
    ):
        assert b"hello" in await anext(reply.body)
        with pytest.raises(EngineDied) as told:
            await anext(reply.body)
    assert told.value.facts["how"] == "SIGKILL"


async def test_a_missing_file_is_said_before_a_child_is_started(tmp_path: Path) -> None:
    launch = _launch(tmp_path, "well")
    launch.model.path.unlink()
    with pytest.raises(ModelFileMissing):
        async with Llama(LOOKALIKE).awake(launch):
            pass


async def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    launch = _launch(tmp_path, "well")
    launch.log.write_bytes(b"old line\n" * 300_000)
    async with Llama(LOOKALIKE).awake(launch):
        pass
    assert launch.log.stat().st_size < 1 << 20
    assert launch.log.read_bytes().endswith(b"\n")


async def test_the_doors_of_houses_that_were_killed_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process = await asyncio.create_subprocess_exec("sleep", "60")
    dead, alive = tmp_path / f"domicile-{process.pid}-x", tmp_path / f"domicile-{os.getpid()}-y"
    dead.mkdir()
    alive.mkdir()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    sweep()
    assert not dead.exists()
    assert alive.exists()
