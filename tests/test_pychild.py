"""An engine that is a Python child: woken, asked, left, killed; and every way it can fail has its own name."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from domicile.config import Settings
from domicile.engines import Awake, Launch, Row
from domicile.engines.pychild import PythonEngine
from domicile.errors import (
    BadModelFile,
    DomicileError,
    EngineDied,
    EngineMissing,
    ModelFileMissing,
    OutOfMemory,
    WakeTimeout,
)
from domicile.types import Installed
from tests.fakes.environment import borrowed
from tests.fakes.parrot import PLAN

pytestmark = pytest.mark.anyio

ECHO = Path(__file__).parent / "fakes" / "echo_child.py"
ROW = Row("echo", "echo", "echo_child", frozenset({"echo"}), frozenset())
CHAT = "/v1/chat/completions"


class Echo:
    """The engine, and models of it."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.environment = borrowed(settings.engines, "echo")
        self.engine = PythonEngine(ROW, self.environment, ECHO)
        self.folder = folder

    def launch(self, deadline_s: float = 30.0, memory_bytes: int = 1 << 30, **wishes: Any) -> Launch:
        path = self.folder / "model.echo"
        path.write_text(json.dumps(wishes))
        model = Installed("an echo", path, "echo", 2, "file", files=(path,))
        return Launch(model, PLAN, 1, memory_bytes, deadline_s, self.folder / "log")

    @asynccontextmanager
    async def awake(self, **wishes: Any) -> AsyncIterator[Awake]:
        async with self.engine.awake(self.launch(**wishes)) as awake:
            yield awake


@pytest.fixture
def echo(settings: Settings, tmp_path: Path) -> Echo:
    return Echo(settings, tmp_path)


def body(text: str, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **more}).encode()


async def said(awake: Awake, text: str, path: str = CHAT) -> tuple[int, Any]:
    async with awake.ask(path, body(text)) as reply:
        return reply.status, json.loads(b"".join([chunk async for chunk in reply.body]))


async def test_it_answers_counts_and_is_gone_when_it_is_left(echo: Echo) -> None:
    async with echo.awake() as awake:
        assert await said(awake, "one two") == (200, {"echo": ["one", "two"]})
        counts = await awake.counts()
        assert counts is not None
        assert counts.prompt_tokens == 2
        assert (awake.resident_bytes() or 0) > 1 << 20
        process = psutil.Process(awake.pid)
    assert not process.is_running()


async def test_it_knows_no_secret_no_network_and_nothing_else_of_ours(
    echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("DOMICILE_API_KEY", "secret")
    async with echo.awake() as awake:
        _, world = await said(awake, "", "/world")
    assert not {"HF_TOKEN", "DOMICILE_API_KEY"} & set(world["environment"])
    assert {"HF_HUB_OFFLINE", "OMP_WAIT_POLICY"} <= set(world["environment"])
    assert world["net"] != "connected"
    assert set(world["ours"]) == {
        "domicile.engines",
        "domicile.bond",
        "domicile.child_http",
        "domicile.child_life",
        "domicile.seal",
    }
    assert (world["asked"]["threads"], world["asked"]["plan"]["n_ctx"]) == (1, PLAN.n_ctx)


async def test_a_caller_who_leaves_stops_its_answer(echo: Echo) -> None:
    async with echo.awake() as awake:
        async with awake.ask(CHAT, body("go", stream=True)) as reply:
            assert reply.content_type == "text/event-stream"
            first = await anext(reply.body)
            assert first.startswith(b"data: {")
        async with asyncio.timeout(1):
            while not (await said(awake, "", "/world"))[1]["left"]:
                await asyncio.sleep(0.01)


async def test_what_goes_wrong_in_a_request_is_an_answer(echo: Echo) -> None:
    async with echo.awake() as awake:
        status, answer = await said(awake, "no")
        assert (status, answer["error"]["message"], answer["error"]["param"]) == (422, "no", "messages")
        status, answer = await said(awake, "bug")
        assert (status, answer["error"]["type"]) == (500, "server_error")
        assert (await said(awake, "x", "/nowhere"))[0] == 404
        assert (await said(awake, "still here"))[0] == 200
    assert "KeyError" in (echo.folder / "log").read_text()


@pytest.mark.parametrize(
    ("wishes", "kind", "reason"),
    [
        ({"raise": "import"}, EngineMissing, "extra"),
        ({"raise": "unfit"}, BadModelFile, "load"),
        ({"raise": "value"}, BadModelFile, "load"),
        ({"die": "SIGSEGV"}, BadModelFile, "crash"),
        ({"die": "SIGKILL"}, EngineDied, "killed"),
        ({"exit": 3}, EngineDied, "ended"),
        ({"eat": 1 << 40}, OutOfMemory, None),
    ],
)
async def test_each_way_not_to_wake_has_its_name(
    echo: Echo, wishes: dict[str, Any], kind: type[DomicileError], reason: str | None
) -> None:
    with pytest.raises(kind) as caught:
        async with echo.awake(**wishes):
            pass
    assert caught.value.facts.get("reason") == reason


async def test_a_deadline_for_the_waking(echo: Echo) -> None:
    with pytest.raises(WakeTimeout):
        async with echo.awake(deadline_s=0.3, slow=30):
            pass


async def test_death_amid_an_answer(echo: Echo) -> None:
    async with echo.awake() as awake:
        with pytest.raises(EngineDied):
            await said(awake, "die")
        assert isinstance(await awake.why_gone(), EngineDied)
    async with echo.awake() as awake:
        with pytest.raises(OutOfMemory):
            await said(awake, "eat")


async def test_without_its_environment_the_one_command_is_said(echo: Echo) -> None:
    launch = echo.launch()
    (echo.environment / "domicile.json").unlink()
    with pytest.raises(EngineMissing) as caught:
        async with echo.engine.awake(launch):
            pass
    assert (caught.value.facts["reason"], caught.value.facts["extra"]) == ("extra", "echo")


async def test_without_its_file(echo: Echo) -> None:
    launch = echo.launch()
    launch.model.path.unlink()
    with pytest.raises(ModelFileMissing):
        async with echo.engine.awake(launch):
            pass


async def test_an_interpreter_that_does_not_start(echo: Echo) -> None:
    launch = echo.launch()
    python = echo.environment / "bin" / "python"
    python.unlink()
    python.write_text("no program")
    with pytest.raises(EngineMissing):
        async with echo.engine.awake(launch):
            pass


async def test_the_door_is_for_who_has_the_key_and_takes_no_nonsense(echo: Echo) -> None:
    async with echo.awake() as awake:
        _, world = await said(awake, "", "/world")
        address, key = world["asked"]["address"], world["asked"]["key"]

        async def raw(text: str) -> bytes:
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write(text.encode())
            answer = await asyncio.wait_for(reader.read(65536), 5)
            writer.close()
            return answer

        assert b" 401 " in await raw("GET /health HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n")
        good = f"GET /health HTTP/1.1\r\nAuthorization: Bearer {key}\r\n"
        assert b" 200 " in await raw(good + "\r\n")
        two = await raw(good + "\r\n" + good + "Connection: close\r\n\r\n")
        assert two.count(b" 200 ") in {1, 2}  # both on one connection; the second may come in another piece
        assert b" 400 " in await raw("nonsense\r\n\r\n")
        assert b" 400 " in await raw(good + "Transfer-Encoding: chunked\r\n\r\n")
        assert b" 413 " in await raw(good + f"Content-Length: {1 << 40}\r\n\r\n")
        assert b" 400 " in await raw(good.replace("GET /health", f"POST {CHAT}") + "Content-Length: 1\r\n\r\n[")
        assert (await said(awake, "fine"))[0] == 200


async def test_a_house_that_is_killed_leaves_no_orphan(echo: Echo, tmp_path: Path) -> None:
    launch = echo.launch()
    program = tmp_path / "house.py"
    program.write_text(
        "import asyncio, pickle, sys\n"
        "engine, launch = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "async def main():\n"
        "    async with engine.awake(launch) as awake:\n"
        "        print(awake.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    given = pickle.dumps((echo.engine, replace(launch))).hex()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), given, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(5):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)
