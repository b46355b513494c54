"""The three dialects at our door, with a parrot behind it: what goes wrong is said in each one's own shape."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from domicile.blobs import Blobs
from domicile.db import Database
from domicile.errors import BlobNotFound, ResponseNotFound, WrongDigest
from domicile.hardware import sample
from domicile.responses import Responses
from domicile.web import relay
from tests.conftest import Visit, Visiting

pytestmark = pytest.mark.anyio

ASKED: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": [{"role": "user", "content": "one two"}]},
    "/api/generate": {"prompt": "one two"},
    "/v1/messages": {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 9, "stream": True},
    "/v1/responses": {"input": "one two", "stream": True, "store": False},
}


def _install(visit: Visit, folder: Path) -> None:
    sample.write(folder / "polly.gguf", "Q8_0", sample.Shape(1), hollow=True)
    visit.house.library.add_file(folder / "polly.gguf")


def _asked(path: str, said: str = "one two", **more: Any) -> dict[str, Any]:
    text = json.dumps({**ASKED[path], "model": "polly", **more})
    return dict(json.loads(text.replace("one two", said)))


def _text(path: str, body: str) -> str:
    """What was said, out of a stream."""
    rows = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith(("data: {", "{"))]
    if path == "/api/chat":
        return "".join(row["message"]["content"] for row in rows)
    if path == "/api/generate":
        return "".join(row["response"] for row in rows)
    if path == "/v1/messages":
        return "".join(row.get("delta", {}).get("text", "") for row in rows)
    return "".join(row["delta"] for row in rows if row["type"] == "response.output_text.delta")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", ASKED)
async def test_words_come_one_by_one_and_say_who_served_them(visiting: Visiting, tmp_path: Path, path: str) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        async with visit.http.stream("POST", path, json=_asked(path)) as answer:
            assert answer.headers["x-domicile-served-by"] == "home; model=polly"
            lines = answer.aiter_lines()
            came = ""
            while "one" not in came:
                came += await anext(lines) + "\n"
            visit.parrot.speaking.set()
            came += "\n".join([line async for line in lines])
        assert _text(path, came) == "one two "
        whole = await visit.http.post(path, json=_asked(path) | {"stream": False})
        assert whole.status_code == 200
        assert '"served_by": "home"' in whole.text


@pytest.mark.parametrize("path", ASKED)
async def test_a_child_that_dies_midway_is_the_last_thing_said(visiting: Visiting, tmp_path: Path, path: str) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        async with visit.http.stream("POST", path, json=_asked(path)) as answer:
            lines = answer.aiter_lines()
            while "one" not in await anext(lines):
                pass
            visit.parrot.awake_now[0].gone.set()
            rest = [line async for line in lines if line.startswith(("data: ", "{"))]
    last = json.loads(rest[-1].removeprefix("data: "))
    error = last["response"]["error"] if path == "/v1/responses" else last["error"]
    kinds = {"/v1/messages": "error", "/v1/responses": "response.failed"}
    assert last.get("type") == kinds.get(path)
    assert "polly" in (error if path.startswith("/api/") else error["message"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ASKED)
async def test_a_prompt_too_long_is_refused_before_anything_is_said(
    visiting: Visiting, tmp_path: Path, path: str, stream: bool
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        answer = await visit.http.post(path, json=_asked(path, "too long 90000", stream=stream))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert "90,000" in (error if path.startswith("/api/") else error["message"])


@pytest.mark.parametrize("path", ASKED)
async def test_a_caller_who_leaves_stops_the_generation(visiting: Visiting, tmp_path: Path, path: str) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        visit.parrot.speaking.clear()
        asked = asyncio.create_task(visit.http.post(path, json=_asked(path)))
        await _until(lambda: bool(visit.parrot.awake_now) and visit.parrot.awake_now[0].answering == 1)
        asked.cancel()
        await asyncio.wait([asked])
        await _until(lambda: visit.parrot.awake_now[0].answering == 0)
        assert visit.parrot.awake_now[0].left == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
async def test_a_reader_who_takes_nothing_is_cut(
    visiting: Visiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(relay, "SLOW_READER_S", 0.05)
    async with visiting() as visit:
        _install(visit, tmp_path)
        said = " ".join(["word"] * 100)  # more than the fake connection holds
        body = {"model": "polly", "messages": [{"role": "user", "content": said}], "stream": True}
        async with visit.http.stream("POST", path, json=body) as answer:
            await _until(lambda: visit.parrot.awake_now[0].answering == 0)
            assert answer.status_code == 200
        assert visit.parrot.awake_now[0].left == 1


@pytest.mark.parametrize("path", ASKED)
async def test_a_model_that_is_not_here_is_said_in_the_dialects_shape(visiting: Visiting, path: str) -> None:
    async with visiting() as visit:
        answer = await visit.http.post(path, json=_asked(path) | {"model": "nobody"}, headers={"Accept-Language": "fr"})
        nothing = await visit.http.post(path, json={})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert "Aucun modèle" in (error if path.startswith("/api/") else error["message"])
    assert nothing.status_code == 400


async def test_no_option_of_a_client_can_write_a_header(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        options = {"numa\r\nSet-Cookie: a=b": 1, "é\x00": 2, "num_gpu": 3}
        answer = await visit.http.post("/api/chat", json=_asked("/api/chat") | {"options": options})
    assert answer.headers["x-domicile-options-ignored"] == "numa??Set-Cookie: a=b, é?, num_gpu"
    assert "set-cookie" not in answer.headers


async def test_the_front_door_is_ollamas_on_its_port_and_ours_elsewhere(visiting: Visiting) -> None:
    async with visiting(port=11434) as visit:
        assert (await visit.http.get("/")).text == "Ollama is running"
        assert (await visit.http.head("/")).status_code == 200
    async with visiting() as visit:
        assert "Domicile" in (await visit.http.get("/")).text


async def test_several_answers_are_asked_one_by_one_with_seeds_of_their_own(visiting: Visiting, tmp_path: Path) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        body = {"model": "polly", "messages": [{"role": "user", "content": "a b"}], "n": 3, "seed": 5}
        whole = (await visit.http.post("/v1/chat/completions", json=body)).json()
        streamed = (await visit.http.post("/v1/chat/completions", json={**body, "stream": True})).text
        seeds = [json.loads(asked)["seed"] for _, asked in visit.parrot.awake_now[0].asked]
    assert [c["index"] for c in whole["choices"]] == [0, 1, 2]
    assert seeds == [5, 6, 7] * 2
    assert streamed.count('"index": 2') == 2
    assert streamed.endswith("data: [DONE]\n\n")


async def test_a_derived_model_asks_the_one_it_comes_from_with_its_own_words(
    visiting: Visiting, tmp_path: Path
) -> None:
    async with visiting() as visit:
        _install(visit, tmp_path)
        made = {
            "model": "pirate",
            "from": "polly",
            "system": "Arr",
            "parameters": {"temperature": 0.1},
            "stream": False,
        }
        assert (await visit.http.post("/api/create", json=made)).json() == {"status": "success"}
        over = {"model": "captain", "from": "pirate", "parameters": {"top_k": 3}, "stream": False}
        await visit.http.post("/api/create", json=over)
        await visit.http.post("/api/copy", json={"source": "captain", "destination": "me/captain"})
        await visit.http.post("/api/chat", json=_asked("/api/chat") | {"model": "me/captain:latest"})
        assert [p.name for p in visit.house.runner.ps()] == ["polly"]
        body = json.loads(visit.parrot.awake_now[0].asked[-1][1])
        assert body["messages"][0] == {"role": "system", "content": "Arr"}
        assert (body["temperature"], body["top_k"]) == (0.1, 3)
        for name in ("me/captain", "captain", "pirate"):
            await visit.http.request("DELETE", "/api/delete", json={"model": name})
        assert {m.name for m in visit.house.library.list()} == {"graine", "polly"}
        for bad in ("polly", "../x", "a b", ""):
            refused = await visit.http.post("/api/create", json={**made, "model": bad})
            assert refused.status_code == 400, bad


async def test_a_blob_larger_than_a_body_may_be_is_taken_and_checked(visiting: Visiting) -> None:
    content = b"GGUF" * 1000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    async with visiting(body_limit=1000) as visit:
        assert (await visit.http.head(f"/api/blobs/{digest}")).status_code == 404
        assert (await visit.http.post(f"/api/blobs/{digest}", content=content)).status_code == 201
        assert (await visit.http.head(f"/api/blobs/{digest}")).status_code == 200
        broken = await visit.http.post("/api/create", json={"model": "x", "files": {"x.gguf": digest}, "stream": False})
        assert broken.status_code == 422
        assert [m.name for m in visit.house.library.list()] == ["graine"]


# -- what they keep --


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content[:3]
    yield content[3:]


async def test_a_blob_gets_its_name_when_its_digest_is_right(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    digest = f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    with pytest.raises(BlobNotFound):
        blobs.get(digest)
    with pytest.raises(WrongDigest):
        await blobs.receive(digest, _pieces(b"another"), 7)
    assert not list((tmp_path / "blobs").rglob("*.*"))
    path = await blobs.receive(digest, _pieces(b"content"), None)
    assert blobs.get(digest).read_bytes() == b"content"
    assert blobs.prune({path}, clock=9e9) == 0
    assert blobs.prune(set()) == 0
    assert blobs.prune(set(), clock=9e9) == 7
    for wrong in ("sha256:xyz", "../../etc/passwd", f"md5:{'0' * 64}", f"{digest}\n", f"sha256:{'0' * 63}/"):
        with pytest.raises(WrongDigest):
            blobs.get(wrong)


def test_responses_are_kept_within_bounds(tmp_path: Path) -> None:
    now = [0.0]
    database = Database(tmp_path / "x.db")
    kept = Responses(database, most=2, most_bytes=400, clock=lambda: now[0])
    for number in range(3):
        now[0] += 1
        kept.keep({"id": f"r{number}", "output": [{"type": "message"}]}, [{"role": "user"}])
    with pytest.raises(ResponseNotFound):
        kept.get("r0")
    assert kept.get("r2").conversation == [{"role": "user"}, {"type": "message"}]
    now[0] += 1
    kept.keep({"id": "large"}, [{"content": "x" * 300}])
    with pytest.raises(ResponseNotFound):
        kept.get("r1")
    now[0] += 31 * 86400
    kept.keep({"id": "new"}, [])
    with pytest.raises(ResponseNotFound):
        kept.get("large")
    kept.forget("new")
    with pytest.raises(ResponseNotFound):
        kept.forget("new")
    database.close()
