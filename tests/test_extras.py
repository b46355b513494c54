"""Engines that are installed when they are first needed: by the real pip, from a folder of tiny wheels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domicile.config import load
from domicile.db import Database
from domicile.egress import Egress
from domicile.errors import BadField, ExtraNotFound, InstallFailed, NoRoom, Offline
from domicile.extras import Extra, Extras
from domicile.extras.install import torch_build
from domicile.extras.lock import LOCKS, every, read
from domicile.jobs import Progress
from domicile.ledger import Ledger
from tests.conftest import Visiting
from tests.fakes.wheels import lock, wheel

pytestmark = pytest.mark.anyio


def quiet() -> Progress:
    return Progress(lambda **_: None)


class Shop:
    """A folder of wheels, a folder of locks, and the room that installs from them."""

    def __init__(self, folder: Path) -> None:
        self.wheels, self.locks = folder / "wheels", folder / "locks"
        self.wheels.mkdir()
        self.ledger: Ledger
        self.version("1.0")

    def version(self, version: str, check: str = "import little; print('little', little.__version__)") -> None:
        digest = wheel(self.wheels, "little", version)
        lock(self.locks, "small", {f"little=={version}": digest}, check)

    @asynccontextmanager
    async def open(self, **given: Any) -> AsyncIterator[Extras]:
        settings = load(**{"wheels": str(self.wheels), **given})
        database = Database(settings.database)
        egress = Egress(database, offline=settings.offline)
        self.ledger = egress.ledger
        yield Extras(settings, egress, self.locks)
        await egress.aclose()
        database.close()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.slow
async def test_an_extra_comes_is_brought_up_to_date_and_goes(shop: Shop) -> None:
    async with shop.open() as extras:
        assert [(e.name, e.state) for e in extras.list()] == [("small", "missing")]
        steps: list[str] = []
        progress = Progress(lambda **said: steps.append(said["step"]) if "step" in said else None)
        done = await extras.add("small", progress)
        assert done["state"] == "installed"
        assert steps == ["engine_prepare", "engine_environment", "engine_packages", "engine_check"]
        assert extras.get("SMALL").state == "installed"
        assert [(f.key, f.well) for f in await extras.doctor("small")] == [
            ("engine_installed", True),
            ("engine_check", True),
        ]
        assert (await extras.add("small", quiet()))["already"]
        assert names(extras.folder) == ["small"]

        shop.version("2.0")
        assert extras.get("small").state == "old"
        await extras.add("small", quiet())
        (check,) = [f for f in await extras.doctor("small") if f.key == "engine_check"]
        assert check.facts["said"] == "little 2.0"

        shop.version("3.0", check="import little, missing_part")
        with pytest.raises(InstallFailed) as caught:  # what stands there stays
            await extras.add("small", quiet())
        assert caught.value.facts["reason"] == "check"
        assert extras.get("small").note["lock"] != extras.get("small").lock.digest
        assert names(extras.folder) == ["small"]

        assert await extras.remove("small") > 1000
        assert extras.get("small").state == "missing"
        assert names(extras.folder) == []


@pytest.mark.slow
async def test_a_wheel_that_is_not_the_locked_one_is_refused(shop: Shop) -> None:
    wheel(shop.wheels, "little", "1.0", "import os  # changed")
    async with shop.open() as extras:
        with pytest.raises(InstallFailed) as caught:
            await extras.add("small", quiet())
        assert caught.value.facts["reason"] == "pip"
        assert names(extras.folder) == []
        assert "HASHES" in extras.log_of("small").read_text().upper()


@pytest.mark.slow
async def test_cut_it_leaves_nothing_half(shop: Shop) -> None:
    async with shop.open() as extras:
        reached = asyncio.Event()
        progress = Progress(lambda **said: reached.set() if said.get("step") == "engine_packages" else None)
        work = asyncio.create_task(extras.add("small", progress))
        await reached.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert extras.get("small").state == "missing"
        assert names(extras.folder) == []


@pytest.mark.slow
async def test_what_a_killed_house_left_is_seen_and_cleared_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # a house without pip: Python brings one
    async with shop.open() as extras:
        left = extras.folder / ".small.new" / "lib"
        left.mkdir(parents=True)
        (left / "half").write_bytes(bytes(1000))
        found = {f.key: f for f in await extras.doctor("small")}
        assert found["engine_leftovers"].facts["size"] == 1000
        await extras.add("small", quiet())
        assert names(extras.folder) == ["small"]


async def test_room_is_reserved_before_anything_is_made(shop: Shop) -> None:
    async def reserve(size_bytes: int, _here: int) -> int:
        assert size_bytes == 20_001_000
        return 7

    async with shop.open() as extras:
        with pytest.raises(NoRoom):
            await extras.add("small", Progress(lambda **_: None, reserve))
        assert names(extras.folder) == []


async def test_offline_only_a_folder_of_wheels_will_do(shop: Shop) -> None:
    async with shop.open(offline=True, wheels="") as extras:
        with pytest.raises(Offline):
            await extras.add("small", quiet())
    with pytest.raises(BadField):
        load(wheels="/nowhere/at/all")


@pytest.mark.slow
async def test_what_pip_may_ask_is_in_the_ledger(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    async with shop.open(wheels="") as extras:
        with pytest.raises(InstallFailed) as caught:
            await extras.add("small", quiet())
        assert caught.value.facts["reason"] == "pip"
        rows = shop.ledger.exchanges()
        assert [(r.host, r.port, r.purpose, r.request, r.error) for r in rows if r.port == 9] == [
            ("127.0.0.1", 9, "engine", "pip install small", "InstallFailed")
        ]


def test_a_cuda_build_of_torch_is_refused_where_there_is_no_card(shop: Shop) -> None:
    path = lock(shop.locks, "small", {}, "", torch=True)
    (shop.locks / "torch.txt").write_text(f"torch==2.13.0 \\\n    --hash=sha256:{'a' * 64}\n")
    without = Extra("small", read(path), "missing", {}, gpu=False)

    def found(version: str, digest: str, *needs: str) -> dict[str, Any]:
        metadata = {"version": version, "requires_dist": list(needs)}
        return {"metadata": metadata, "download_info": {"archive_info": {"hashes": {"sha256": digest * 64}}}}

    for_cuda = found("2.13.0", "a", 'nvidia-cublas; platform_system == "Linux"')
    with pytest.raises(InstallFailed) as caught:
        torch_build(for_cuda, without, "linux")
    assert caught.value.facts["reason"] == "cuda"
    assert torch_build(for_cuda, without, "darwin").startswith("torch==2.13.0 ")  # its needs are Linux's
    assert torch_build(for_cuda, replace(without, gpu=True), "linux").startswith("torch==2.13.0 ")
    own = f"torch==2.13.0+cpu --hash=sha256:{'b' * 64}\n"
    assert torch_build(found("2.13.0+cpu", "b"), without, "linux") == own
    with pytest.raises(InstallFailed) as caught:
        torch_build(found("2.13.0", "b"), without, "linux")
    assert caught.value.facts["reason"] == "digest"


def test_our_locks_are_whole() -> None:
    locks = {one.name: one for one in every(LOCKS)}
    assert {"transformers", "onnx", "whisper", "images"} <= set(locks)
    for one in locks.values():
        assert set(one.about) <= set(one.pins), one.name
        assert one.download_bytes > 10_000_000, one.name
        assert one.disk_bytes > one.download_bytes, one.name
        text = one.path.read_text("utf-8")
        assert "--hash=sha256:" in text
        assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in one.pins), one.name
        assert "://" not in text, one.name


@pytest.mark.slow
async def test_the_page_and_the_command_line_do_it_too(shop: Shop, visiting: Visiting) -> None:
    async with visiting(wheels=str(shop.wheels)) as visit:
        house = visit.house
        house.extras = Extras(house.settings, house.egress, shop.locks)
        (one,) = (await visit.http.get("/domicile/engines")).json()["engines"]
        assert (one["name"], one["state"], one["disk_bytes"]) == ("small", "missing", 20_000_000)
        answer = await visit.http.post("/domicile/engines/small")
        assert answer.status_code == 202
        events = await visit.http.get(f"/domicile/jobs/{answer.json()['id']}/events")
        told = [json.loads(line[6:]) for line in events.text.splitlines() if line.startswith("data: {")]
        assert "engine_packages" in {t.get("step") for t in told}
        assert told[-1]["status"] == "done", told[-1]
        doctor = (await visit.http.get("/domicile/engines/small/doctor")).json()
        assert doctor["well"], doctor
        gone = (await visit.http.delete("/domicile/engines/small")).json()
        assert gone["freed_bytes"] > 0
        doctor = (await visit.http.get("/domicile/engines/small/doctor")).json()
        assert doctor["checks"][0]["hint"] == "domicile engine add small"
        missing = await visit.http.post("/domicile/engines/nothing")
        assert missing.status_code == 404
        assert "small" in missing.json()["error"]["message"]


async def test_no_extra_of_that_name(shop: Shop) -> None:
    async with shop.open() as extras:
        with pytest.raises(ExtraNotFound):
            extras.get("../small")


@pytest.mark.slow
async def test_an_index_for_torch_is_asked_beside_pips_own_and_remembered(shop: Shop, visiting: Visiting) -> None:
    """What a person on a plain Linux does: refused with the one command, then that command."""
    digest = wheel(shop.wheels, "torch", "2.13.0", needs=('nvidia-cublas; platform_system == "Linux"',))
    lock(shop.locks, "small", {}, "import torch; print('torch', torch.__version__)", torch=True)
    (shop.locks / "torch.txt").write_text(f"torch==2.13.0 \\\n    --hash=sha256:{digest}\n")
    index = shop.wheels.parent / "index" / "torch"
    index.mkdir(parents=True)
    wheel(index, "torch", "2.13.0+cpu")
    listed = "".join(f'<a href="{file.name}">{file.name}</a>' for file in index.glob("*.whl"))
    (index / "index.html").write_text(f"<html><body>{listed}</body></html>")

    async def installed(visit: Any) -> dict[str, Any]:
        job = (await visit.http.post("/domicile/engines/small")).json()
        events = (await visit.http.get(f"/domicile/jobs/{job['id']}/events")).text
        return dict([json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")][-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "0")
        patch.setenv("PIP_CONFIG_FILE", "/dev/null")
        patch.setenv("PIP_INDEX_URL", index.parent.with_name("nothing").as_uri())
        patch.setenv("PIP_FIND_LINKS", str(shop.wheels))  # where pip finds CUDA's build, as on PyPI
        patch.setattr("domicile.extras.has_nvidia", lambda: False)
        async with visiting(lang="en") as visit:
            visit.house.extras = Extras(visit.house.settings, visit.house.egress, shop.locks)
            refused = await installed(visit)
            assert refused["status"] == "failed", refused
            assert "domicile engine add small --torch-index ADDRESS" in json.dumps(refused)
            chosen = {"torch_index": index.parent.as_uri()}
            assert (await visit.http.patch("/domicile/settings", json={"torch_index": "ftp://x"})).status_code == 400
            assert (await visit.http.patch("/domicile/settings", json=chosen)).status_code == 200
            done = await installed(visit)
            assert done["status"] == "done", done
            assert visit.house.extras.get("small").note["build"] == "cpu"
            doctor = (await visit.http.get("/domicile/engines/small/doctor")).json()
            assert "torch 2.13.0+cpu" in doctor["checks"][1]["message"]
            assert load().torch_index == chosen["torch_index"]
            assert not visit.house.extras.get("small").gpu
            await visit.http.patch("/domicile/settings", json={"torch_build": "cuda"})
            assert visit.house.extras.get("small").gpu
