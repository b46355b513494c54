"""The routes under /api/huggingface: their names, parameters and answers, as JSON and as fragments of a page."""

from __future__ import annotations

import html.parser
from pathlib import Path

import pytest

from tests.conftest import Visiting
from tests.fakes.hub import COMMIT, FakeHub

EVIL = "<img src=x onerror=alert(1)>"
HX = {"HX-Request": "true"}


def _stock(hub: FakeHub) -> None:
    weights = {"llama-2-7b.Q4_K_M.gguf": b"GGUF" + b"4" * 96, "llama-2-7b.Q8_0.gguf": b"GGUF" + b"8" * 196}
    hub.add("TheBloke/Llama-2-7B-GGUF", weights, downloads=900, gguf={"total": 6_738_000_000}, licence="llama2")
    hub.add("org/Tiny-1B-GGUF", {"t-Q8_0.gguf": b"GGUF"}, downloads=50, gguf={"total": 1_100_000_000})
    hub.add("org/Big-70B-GGUF", {"b-Q4_K_M.gguf": b"GGUF"}, downloads=5000, gguf={"total": 70_000_000_000})
    hub.add("org/safetensors-only-7B", {"model.safetensors": b"x"}, downloads=9000)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"q": "llama"}, ["TheBloke/Llama-2-7B-GGUF"]),
        ({}, ["org/Big-70B-GGUF", "TheBloke/Llama-2-7B-GGUF", "org/Tiny-1B-GGUF"]),
        ({"parameter_size": "7B"}, ["TheBloke/Llama-2-7B-GGUF"]),
        ({"parameter_size": "7B", "quantization": "Q4_K_M"}, ["TheBloke/Llama-2-7B-GGUF"]),
        ({"parameter_size": "7B", "quantization": "Q2_K"}, []),
        ({"min_downloads": "1000"}, ["org/Big-70B-GGUF"]),
        ({"limit": "1"}, ["org/Big-70B-GGUF"]),
    ],
)
async def test_a_search_takes_the_parameters_of_the_guide(
    hub: FakeHub, visiting: Visiting, query: dict[str, str], ids: list[str]
) -> None:
    _stock(hub)
    async with visiting() as visit:
        answer = await visit.http.get("/api/huggingface/search", params=query)
        assert [m["id"] for m in answer.json()["models"]] == ids


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/huggingface/search?sort=best", "sort"),
        ("/api/huggingface/search?limit=0", "limit"),
        ("/api/huggingface/search?limit=1000", "limit"),
        ("/api/huggingface/search?parameter_size=huge", "parameter_size"),
        ("/api/huggingface/search?min_downloads=-1", "min_downloads"),
        ("/api/huggingface/model/graine", "model_id"),
    ],
)
async def test_what_cannot_be_read_is_named(hub: FakeHub, visiting: Visiting, path: str, field: str) -> None:
    async with visiting() as visit:
        answer = await visit.http.get(path)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.anyio
async def test_the_lists_and_the_details_have_the_shapes_of_the_guide(hub: FakeHub, visiting: Visiting) -> None:
    _stock(hub)
    async with visiting() as visit:
        said = (await visit.http.get("/api/huggingface/quantizations")).json()
        assert said == {"quantizations": ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]}
        said = (await visit.http.get("/api/huggingface/parameter_sizes")).json()
        assert said == {"parameter_sizes": ["1B", "3B", "7B", "13B", "30B", "70B", "180B"]}
        said = (await visit.http.get("/api/huggingface/model/TheBloke/Llama-2-7B-GGUF")).json()
        assert (said["id"], said["sha"], said["license"]) == ("TheBloke/Llama-2-7B-GGUF", COMMIT, "llama2")
        assert [(f["filename"], f["size"], f["quantization"], f["parameter_size"]) for f in said["files"]] == [
            ("llama-2-7b.Q4_K_M.gguf", 100, "Q4_K_M", "7B"),
            ("llama-2-7b.Q8_0.gguf", 200, "Q8_0", "7B"),
        ]


@pytest.mark.anyio
@pytest.mark.parametrize("as_json", [False, True])
async def test_a_pull_is_followed_by_events_to_its_end(hub: FakeHub, visiting: Visiting, as_json: bool) -> None:
    _stock(hub)
    said = {"model_id": "TheBloke/Llama-2-7B-GGUF", "filename": "llama-2-7b.Q4_K_M.gguf"}
    async with visiting() as visit:
        post = visit.http.post
        where = "/api/huggingface/pull"
        answer = await (post(where, json=said) if as_json else post(where, data=said))
        assert answer.status_code == 202
        job = answer.json()
        assert (job["model_id"], job["filename"]) == (said["model_id"], said["filename"])
        events = (await visit.http.get(job["stream"])).text
        assert '"status": "done"' in events
        assert events.rstrip().splitlines()[-2] == "event: end"
        seen = max(int(line[3:]) for line in events.splitlines() if line.startswith("id:"))
        again = await visit.http.get(job["stream"], headers={"Last-Event-ID": str(seen - 1)})
        assert "running" not in again.text  # it goes on after the last one that was seen
        model = visit.house.library.get("TheBloke/Llama-2-7B-GGUF:Q4_K_M")
        assert model.path.is_relative_to(visit.house.settings.models)


@pytest.mark.anyio
async def test_all_downloads_are_in_one_stream(hub: FakeHub, visiting: Visiting) -> None:
    _stock(hub)
    async with visiting() as visit, visit.http.stream("GET", "/api/stream/progress") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        said = {"model_id": "org/Tiny-1B-GGUF", "filename": "t-Q8_0.gguf"}
        hub.damage = lambda _, content: content
        job = (await visit.http.post("/api/huggingface/pull", data=said)).json()
        await visit.house.jobs.wait(job["job_id"])
        visit.house.closing.set()
        told = "".join([chunk async for chunk in stream.aiter_text()])
    assert told == "" or job["job_id"] in told  # a job may be over before the stream looks for new ones


@pytest.mark.anyio
@pytest.mark.parametrize("folder", ["/tmp/gguf_models", "/", "relative", "{home}/../..", "{models}/../x", "{link}"])
async def test_an_output_folder_outside_the_allowed_roots_is_refused(
    hub: FakeHub, visiting: Visiting, tmp_path: Path, folder: str
) -> None:
    _stock(hub)
    async with visiting() as visit:
        settings = visit.house.settings
        settings.models.mkdir(parents=True)
        (settings.models / "link").symlink_to(tmp_path)
        place = folder.format(home=settings.home, models=settings.models, link=settings.models / "link")
        said = {"model_id": "org/Tiny-1B-GGUF", "filename": "t-Q8_0.gguf", "output_dir": place}
        answer = await visit.http.post("/api/huggingface/pull", data=said)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "outside_roots")


@pytest.mark.anyio
async def test_an_output_folder_within_an_allowed_root_holds_the_file(
    hub: FakeHub, visiting: Visiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stock(hub)
    monkeypatch.setenv("DOMICILE_DOWNLOAD_ROOTS", str(tmp_path / "disk"))
    said = {"model_id": "org/Tiny-1B-GGUF", "filename": "t-Q8_0.gguf", "output_dir": str(tmp_path / "disk" / "a")}
    async with visiting() as visit:
        job = (await visit.http.post("/api/huggingface/pull", data=said)).json()
        await visit.house.jobs.wait(job["job_id"])
        assert (tmp_path / "disk" / "a" / "t-Q8_0.gguf").read_bytes() == b"GGUF"
        await visit.http.delete("/domicile/models/org/Tiny-1B-GGUF:Q8_0")
        assert (tmp_path / "disk" / "a" / "t-Q8_0.gguf").is_file()  # outside our store it is the person's


@pytest.mark.anyio
@pytest.mark.parametrize(
    "said",
    [
        {"model_id": "org/x", "filename": "../../x.gguf"},
        {"model_id": "org/x", "filename": "/etc/passwd"},
        {"model_id": "../x", "filename": "x.gguf"},
        {"model_id": "https://evil.example", "filename": "x.gguf"},
        {"model_id": "org/x"},
        {"filename": "x.gguf"},
        {},
    ],
)
async def test_a_pull_of_no_file_is_refused(hub: FakeHub, visiting: Visiting, said: dict[str, str]) -> None:
    async with visiting() as visit:
        assert (await visit.http.post("/api/huggingface/pull", data=said)).status_code == 400


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


@pytest.mark.anyio
async def test_fragments_hold_what_came_from_outside_as_text_alone(hub: FakeHub, visiting: Visiting) -> None:
    files = {
        f"{EVIL.replace(' ', '-').replace('<', '(').replace('>', ')')}-Q8_0.gguf": b"GGUF",
        "a'&-Q4_0.gguf": b"GGUF",
    }
    hub.add("org/Evil-7B-GGUF", files, licence=EVIL, tags=(EVIL,), gguf={"total": 7_000_000_000})
    async with visiting() as visit:
        pages = [
            await visit.http.get("/api/huggingface/search", headers=HX),
            await visit.http.get("/api/huggingface/model/org/Evil-7B-GGUF", headers=HX),
            await visit.http.get("/api/huggingface/quantizations", headers=HX),
            await visit.http.get("/api/huggingface/parameter_sizes", headers=HX),
            await visit.http.post(
                "/api/huggingface/pull",
                data={"model_id": "org/Evil-7B-GGUF", "filename": "a'&-Q4_0.gguf"},
                headers=HX,
            ),
        ]
        job = (await visit.house.jobs.list())[0]
        pages.append(await visit.http.get(f"/api/stream/progress?job_id={job.id}&as=html"))
    for page in pages:
        told = page.text
        assert page.headers["content-type"].split(";")[0] in {"text/html", "text/event-stream"}
        seen = _Tags()
        seen.feed(told)
        assert not seen.tags & {"script", "img", "style", "iframe", "svg"}
        assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "style"]
    assert "sse-connect" in pages[4].text
    assert "<progress" in pages[5].text


@pytest.mark.anyio
async def test_the_time_limits_of_the_guide_are_honoured(
    hub: FakeHub, visiting: Visiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_CONNECT_TIMEOUT", "7")
    monkeypatch.setenv("HTTP_READ_TIMEOUT", "600")
    async with visiting() as visit:
        assert visit.house.sources.guarded.timeout.connect == 7
        assert visit.house.sources.guarded.timeout.read == 600
        assert visit.house.hub.client.timeout.read == 600
