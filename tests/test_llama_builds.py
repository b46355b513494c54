"""Builds of llama.cpp: a `llama-server` behind the same door as the wheel, what it is told, which one is chosen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from domicile import i18n
from domicile.config import Settings
from domicile.engines import Launch
from domicile.engines.llama import Llama, asked_of
from domicile.errors import BadModelFile, EngineDied, EngineUnfit
from domicile.llama_builds import Build, Builds, Kind, wheel
from domicile.llama_cards import idle
from domicile.llama_choice import Pace, Record, Tried, choose, read
from domicile.llama_flags import told, understood
from domicile.llama_trial import Token, Trial, difference
from domicile.types import Gpu, Installed
from tests.conftest import Visiting
from tests.fakes.llama_server import FLAGS, placed
from tests.fakes.parrot import PLAN

pytestmark = pytest.mark.anyio


@pytest.fixture
def found(settings: Settings, tmp_path: Path) -> Build:
    """A llama-server that the settings name."""
    program = placed(tmp_path / "bin")
    build = Builds(replace(settings, llama_server=str(program))).server()
    assert build is not None
    return build


def launch(tmp_path: Path, build: Build, content: bytes = b"GGUF", **more: Any) -> Launch:
    file = tmp_path / "a secret name.gguf"
    file.write_bytes(content)
    model = Installed("secret/model", file, "gguf", 4, "file")
    return Launch(model, PLAN, 2, 1 << 30, 20, tmp_path / "log", build=build, **more)


async def whole(awake: Any, path: str = "/v1/chat/completions") -> Any:
    async with awake.ask(path, b'{"prompt": [1], "n_predict": 4}') as reply:
        return json.loads(b"".join([chunk async for chunk in reply.body]))


async def test_a_llama_server_is_an_engine_behind_the_same_private_door(found: Build, tmp_path: Path) -> None:
    async with Llama().awake(launch(tmp_path, found, template="{{ x }}")) as awake:
        said = await whole(awake)
        assert said["net"] != "connected"
        assert "LLAMA_ARG_MODEL" in said["environment"]
        words = said["argv"]
        assert words[words.index("--ctx-size") + 1] == str(PLAN.n_ctx)
        assert words[words.index("--flash-attn") + 1] == "on"
        assert {"--offline", "--no-ui", "--no-kv-unified", "--no-context-shift"} <= set(words)
        assert Path(words[words.index("--chat-template-file") + 1]).read_text() == "{{ x }}"
        command = " ".join(psutil.Process(awake.pid).cmdline())
        assert "secret" not in command
        key = Path(words[words.index("--api-key-file") + 1])
        assert key.read_text() not in command
        assert key.stat().st_mode & 0o077 == 0
        counts = await awake.counts()
        assert counts is not None
        assert (counts.prompt_tokens, counts.generated_tokens) == (3, 4)
        assert getattr(awake, "sealed", None) in {"namespace", "filter"}
    assert not psutil.pid_exists(awake.pid)
    assert not key.exists()


async def test_what_it_dies_of_is_said_as_with_the_wheel(settings: Settings, tmp_path: Path, found: Build) -> None:
    with pytest.raises(BadModelFile) as told_bad:
        async with Llama().awake(launch(tmp_path, found, b"bad file")):
            pass
    assert told_bad.value.facts["problem"] == "invalid magic characters"
    dying = Builds(replace(settings, llama_server=str(placed(tmp_path / "dying", dies="SIGSEGV")))).server()
    assert dying is not None
    async with Llama().awake(launch(tmp_path, dying)) as awake:
        with pytest.raises(EngineDied):
            await whole(awake, "/completion")


async def test_it_dies_with_the_house(found: Build, tmp_path: Path) -> None:
    """The kernel sees to it: what was asked of it before it became another program holds."""
    script = (
        "import asyncio, json, sys, os\nsys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom tests.test_llama_builds import launch\n"
        "from domicile.llama_builds import Build\nfrom domicile.engines.llama import Llama\n"
        "from domicile.llama_flags import understood\nfrom tests.fakes.llama_server import FLAGS\n"
        "async def main():\n"
        "    build = Build('server', 'x', '7', Path(sys.argv[2]), (), understood(FLAGS))\n"
        "    async with Llama().awake(launch(Path(sys.argv[3]), build)) as awake:\n"
        "        print(awake.pid, flush=True)\n        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = str(Path(__file__).parents[1])
    house = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, root, str(found.program), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert house.stdout is not None
    pid = int(await house.stdout.readline())
    assert psutil.pid_exists(pid)
    house.send_signal(signal.SIGKILL)
    await house.wait()
    async with asyncio.timeout(5):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)


def test_help_says_which_flags_there_are_and_their_variables() -> None:
    flags = understood(FLAGS)
    assert flags["--model"] == "LLAMA_ARG_MODEL"
    assert flags["--alias"] == "LLAMA_ARG_ALIAS"
    assert flags["--threads"] == ""
    assert {"--swa-checkpoints", "--no-webui", "--n-gpu-layers"} <= set(flags)
    assert "--no-mmap" not in flags


def test_an_older_program_is_told_by_the_names_it_knows_or_refused(tmp_path: Path, found: Build) -> None:
    older = {name: variable for name, variable in found.flags.items() if name not in {"--load-mode", "--no-ui"}}
    older |= {"--no-mmap": "", "--mmap": ""}
    asked = asked_of(launch(tmp_path, found))
    words = told("x", older, asked).words
    assert {"--no-mmap", "--no-webui"} <= set(words)
    with pytest.raises(EngineUnfit) as refused:
        told("x", {k: v for k, v in older.items() if k != "--cache-ram"}, asked)
    assert refused.value.facts["flag"] == "--cache-ram"


def test_what_is_on_path_is_found_and_what_is_none_is_not(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = placed(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(program.parent) + os.pathsep + os.environ["PATH"])
    builds = Builds(settings)
    server = builds.all()["server"]
    assert server.program == program
    assert server.version.startswith("7")
    assert server.variant == ("AVX2", "AVX512")
    placed(program.parent, silent=True)  # the same name, another program
    os.utime(program, (time.time() + 5, time.time() + 5))
    assert "server" not in builds.all()
    with pytest.raises(EngineUnfit) as refused:
        builds.server()
    assert refused.value.facts["reason"] == "not_one"
    with pytest.raises(EngineUnfit) as absent:
        Builds(replace(settings, llama_server=str(tmp_path / "nothing"))).server()
    assert absent.value.facts["reason"] == "not_there"


async def test_whoever_uses_the_page_chooses_no_program_that_is_run(visiting: Visiting) -> None:
    async with visiting() as visit:
        refused = await visit.http.patch("/domicile/settings", json={"llama_server": "/bin/sh"})
        assert refused.status_code == 409
        assert "DOMICILE_LLAMA_SERVER" in refused.json()["error"]["message"]
        told = {one["name"]: one for one in (await visit.http.get("/domicile/settings")).json()["settings"]}
        assert not told["llama_server"]["editable"]
        assert told["llama_build"]["options"] == ["auto", "wheel", "native", "server"]


# -- which one --

WHEEL, NATIVE, SERVER = (
    Build(kind, f"{kind}-1", "1", None if kind == "wheel" else Path(kind)) for kind in ("wheel", "native", "server")
)
BOTH: dict[Kind, Build] = {"wheel": WHEEL, "native": NATIVE}


def record(native: Pace | None, *, same: bool = True) -> Record:
    fast = {"legacy": native} if native else {}
    plain = {"legacy": Pace(100, 10)} if native else {}
    return Record(
        1_700_000_000, {"wheel-1": Tried("wheel", True, "", plain), "native-1": Tried("native", same, "", fast)}
    )


@pytest.mark.parametrize(
    ("builds", "measured", "wish", "kind", "why"),
    [
        ({"wheel": WHEEL}, None, {}, "wheel", "tune.build_only"),
        (BOTH, None, {}, "wheel", "tune.build_untried"),
        (BOTH, record(Pace(210, 11)), {}, "native", "tune.build_fastest"),
        (BOTH, record(Pace(101, 10)), {}, "wheel", "tune.build_fastest"),
        (BOTH, record(None, same=False), {}, "wheel", "tune.build_wrong"),
        (BOTH, record(Pace(210, 11)), {"own": "wheel"}, "wheel", "tune.asked"),
        (BOTH, record(Pace(210, 11)), {"usual": "wheel"}, "wheel", "tune.asked"),
        (BOTH, record(Pace(210, 11)), {"usual": "wheel", "own": "native"}, "native", "tune.asked"),
        (BOTH, record(Pace(210, 11)), {"own": "server"}, "native", "tune.build_missing"),
        ({**BOTH, "server": SERVER}, None, {"named": True}, "server", "tune.build_named"),
        (BOTH, record(Pace(210, 11)), {"named": True}, "native", "tune.build_unfit"),
        ({"server": SERVER}, None, {}, "server", "tune.build_only"),
        ({}, None, {}, None, "tune.build_none"),
    ],
)
def test_the_fastest_that_answers_alike_is_chosen_unless_a_person_wants_another(
    builds: dict[Kind, Build], measured: Record | None, wish: dict[str, Any], kind: str | None, why: str
) -> None:
    chosen = choose(builds, measured, "legacy", **wish)
    assert (chosen.build.kind if chosen.build else None, chosen.why.key) == (kind, why)
    for lang in i18n.LANGUAGES:
        assert "{" not in i18n.say(lang, chosen.why.key, **chosen.why.facts)


def test_a_record_is_read_back_and_a_broken_one_is_none(tmp_path: Path) -> None:
    kept = record(Pace(210, 11))
    kept.keep(tmp_path / "calibration" / "m.json")
    assert read(tmp_path / "calibration" / "m.json") == kept
    (tmp_path / "calibration" / "m.json").write_text('{"at": 1, "builds": []}')
    assert read(tmp_path / "calibration" / "m.json") is None


# -- alike --


def tokens(*ids: int, logprob: float = -0.5, top: dict[int, float] | None = None) -> list[Token]:
    return [Token(i, logprob, {i: logprob, **(top or {})}) for i in ids]


LONG = tuple(range(20))


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (tokens(*LONG), ""),
        (tokens(*LONG, logprob=-0.6), ""),
        (tokens(*LONG, logprob=-2.0), "against"),
        (tokens(*LONG, logprob=float("nan")), "not a number"),
        (tokens(*LONG[:15]), "against 15"),
        (tokens(*LONG[:14], 77, *LONG[15:]), "another token"),
        ([*tokens(*LONG[:14]), Token(77, -0.5, {77: -0.5, 14: -0.6}), *tokens(*LONG[15:])], "another token"),
    ],
)
def test_rounding_is_no_difference_and_everything_else_is(other: list[Token], differs: str) -> None:
    assert differs in difference([tokens(*LONG)], [other])
    assert bool(difference([tokens(*LONG)], [other])) == bool(differs)


def test_two_tokens_that_score_nearly_alike_may_change_places() -> None:
    one = [*tokens(*LONG[:14]), Token(14, -0.5, {14: -0.5, 77: -0.6}), *tokens(*LONG[15:])]
    two = [*tokens(*LONG[:14]), Token(77, -0.52, {77: -0.52, 14: -0.55}), *tokens(1, 2, 3, 4, 5)]
    assert difference([one], [two]) == ""
    assert "compared" in difference([one[14:]], [two[14:]])


async def test_a_trial_finds_the_wrong_one_the_dead_one_and_the_fast_one(settings: Settings, tmp_path: Path) -> None:
    def build(name: str, **wishes: object) -> Build:
        made = Builds(replace(settings, llama_server=str(placed(tmp_path / name, **wishes)))).server()
        assert made is not None
        return replace(made, identity=name, kind="wheel" if name == "plain" else "server")

    plain, fast = build("plain"), build("fast", speed=2.0)
    steps: list[str] = []
    trial = Trial(
        [plain, fast, build("wrong", wrong=True), build("dead", dies="SIGILL")], 1, tmp_path / "log",
        lambda key, *_: steps.append(key), storages=("Q4_0",), rounds=1, large_bytes=1,
    )  # fmt: skip
    found = await trial.run()
    assert {name: one.same for name, one in found.builds.items()} == {
        "plain": True, "fast": True, "wrong": False, "dead": False,
    }  # fmt: skip
    assert "another token" in found.builds["wrong"].problem
    assert "SIGILL" in found.builds["dead"].problem
    assert found.builds["fast"].pace["k"].read == 2 * found.builds["plain"].pace["k"].read
    assert set(steps) == {"engine_compare", "engine_time"}


@pytest.mark.skipif(wheel() is None, reason="no wheel")
async def test_the_wheel_answers_as_itself_in_every_family(tmp_path: Path) -> None:
    packaged = wheel()
    assert packaged is not None
    trial = Trial([packaged, packaged], 1, tmp_path / "log", storages=("F16", "Q8_0", "IQ2_XXS"))
    assert await trial._compared(tmp_path) == {}


# -- cards --

DESCRIPTION = """
- CUDA 13.2
  ```sh
  pip install xllamacpp --force-reinstall --index-url https://example.org/whl/cu132
  ```
    pip install xllamacpp --force-reinstall --index-url https://example.org/whl/cu128
    pip install xllamacpp --force-reinstall --index-url https://example.org/whl/rocm-7.2.4
    pip install xllamacpp --force-reinstall --index-url https://example.org/whl/rocm-6.4.1
  pip install xllamacpp --force-reinstall --index-url https://example.org/whl/vulkan
"""


@pytest.mark.parametrize(
    ("gpu", "wheel_name"),
    [
        (Gpu("NVIDIA GeForce RTX 3090", "cuda", driver="570.86.15"), "cu128"),
        (Gpu("NVIDIA H200", "cuda", driver="580.65"), "cu132"),
        (Gpu("NVIDIA old", "cuda"), "cu128"),
        (Gpu("Radeon RX 9070", "rocm"), "rocm-7.2.4"),
        (Gpu("Intel Arc", "intel"), "vulkan"),
        (Gpu("Apple M4", "metal"), ""),
    ],
)
def test_a_card_that_the_wheel_does_not_use_is_said_with_the_command_for_it(gpu: Gpu, wheel_name: str) -> None:
    (card,) = idle([gpu], DESCRIPTION)
    assert card.wheel == wheel_name
    assert card.command.endswith(f"/{wheel_name} {pinned()}") if wheel_name else card.command == ""
    assert idle([replace(gpu, engine=True)], DESCRIPTION) == []


def pinned() -> str:
    found = wheel()
    return f"xllamacpp=={found.version}" if found else "xllamacpp"


@pytest.mark.skipif(wheel() is None, reason="no wheel")
def test_the_installed_wheel_itself_says_where_the_others_are() -> None:
    said = {card.backend: card.wheel for card in idle([Gpu("a", "cuda"), Gpu("b", "rocm"), Gpu("c", "vulkan")])}
    assert said["cuda"].startswith("cu12")
    assert said["rocm"].startswith("rocm-")
    assert said["vulkan"] == "vulkan"
