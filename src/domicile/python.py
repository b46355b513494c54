"""Domicile from Python: `from domicile import Domicile`, and the house answers in this process or where it is open.

One synchronous object over the same client as the command line: what it can do, the API can do. Errors are
`domicile.errors.DomicileError` where the question itself is wrong, and `HouseSaid` where the house refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from domicile import i18n
from domicile.client import Client, HouseSaid, connect, of_custom, of_model
from domicile.config import load
from domicile.refs import EMBEDDED, ModelRef

T = TypeVar("T")
_END = object()


class Domicile:
    """A house, as an object. Use it in a `with`, or call `close()`: models that it woke sleep then.

    ::

        with Domicile() as home:
            print(home.fit("org/repo:Q4_K_M")["verdict_text"])
            home.pull("org/repo:Q4_K_M")
            print(home.chat("Bonjour", model="org/repo:Q4_K_M"))

    Settings are those of the command line (`DOMICILE_HOME`, ...); keywords override them (`home=` is a path).
    """

    def __init__(self, *, home: str | Path | None = None, lang: str | None = None, **settings: Any) -> None:
        import os

        environ = {**os.environ, **({"DOMICILE_HOME": str(home)} if home is not None else {})}
        self._lang = lang or i18n.of_environment()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="domicile", daemon=True)
        self._thread.start()
        self._house: AbstractAsyncContextManager[Client] = connect(load(environ, **settings), self._lang)
        try:
            self._client = self._wait(self._house.__aenter__())
        except BaseException:
            self._stop_loop()
            raise

    def __enter__(self) -> Domicile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the house; one opened here closes, and its models sleep."""
        if self._loop.is_closed():
            return
        try:
            self._wait(self._house.__aexit__(None, None, None))
        finally:
            self._stop_loop()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- before a download --

    def search(self, text: str = "", **filters: Any) -> dict[str, Any]:
        """Models of the Hub. Filters are the query of `GET /domicile/search`: `format="gguf"`, `fits=True`,
        `parameters_max="8B"`, `sort="likes"`, `limit=50`, `cursor=...`."""
        return self._wait(self._client.get("/domicile/search", **_query(text=text, **filters)))

    def recommended(self, need: str | None = None, organisation: str | None = None) -> list[dict[str, Any]]:
        """Models we recommend, by need and by who made them."""
        query = _query(need=need, organisation=organisation)
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/recommended", **query))["models"]
        return found

    def fit(self, model: str, **wish: Any) -> dict[str, Any]:
        """Will it fit, how fast, and why: `context=8192`, `kv="q8_0"`, `slots=1`, `on="RTX 4090"`, `quick=True`.
        Memory in bytes, speed as an interval of tokens a second."""
        return self._wait(self._client.get("/domicile/fit", **_query(model=_located(model), **wish)))

    def machine(self) -> dict[str, Any]:
        """What this machine is, and what is free in it now."""
        return self._wait(self._client.get("/domicile/machine"))

    # -- models --

    def models(self) -> list[dict[str, Any]]:
        """The models that live here."""
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/models"))["models"]
        return found

    def pull(
        self, model: str, progress: Callable[[Mapping[str, Any]], None] | None = None, **wishes: Any
    ) -> dict[str, Any]:
        """Have a model here, verified; `progress` is called with each state of the job. Returns its last state.

        Wishes are those of `POST /domicile/pull`: `limit="5MB/s"`, `hours="23:00-07:00"`, `priority="high"`."""

        return self._followed(self._client.post("/domicile/pull", {"model": _located(model), **wishes}), progress)

    def outdated(self, model: str | None = None) -> list[dict[str, Any]]:
        """How the models stand to where they came from: `state` is changed, current, pinned, gone or unknown."""
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/updates", **_query(model=model)))["models"]
        return found

    def update(self, model: str, progress: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, Any]:
        """Have a model as it is now where it came from. Returns the job's last state."""
        return self._followed(self._client.post(of_model(model, "update")), progress)

    def custom(self) -> list[dict[str, Any]]:
        """The models a person has defined."""
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/custom"))["models"]
        return found

    def add_custom(self, id: str, name: str, url: str, **more: Any) -> dict[str, Any]:  # noqa: A002 - the form's field
        """Define a model: `kind`, `size`, `description`, `model_lib`; `unchecked=True` does not look at its address."""
        return self._wait(self._client.post("/domicile/custom", {"id": id, "name": name, "url": url, **more}))

    def remove_custom(self, id: str) -> dict[str, Any]:  # noqa: A002 - the form's field
        """Forget a definition."""
        return self._wait(self._client.delete(of_custom(id)))

    def _followed(
        self,
        asking: Coroutine[Any, Any, dict[str, Any]],
        progress: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            job = await asking
            async for state in self._client.follow(job["id"]):
                job = state
                if progress is not None:
                    progress(state)
                if job["status"] == "paused" and job["step"] != "left":
                    break
            return job

        job = self._wait(work())
        if job["status"] != "done":
            raise HouseSaid(job["error"] or {"message": job["status"]}, 502)
        return job

    def adoptable(self, path: str | Path | None = None) -> list[dict[str, Any]]:
        """What other tools have and could be taken in, or what is at a path."""
        query = {} if path is None else {"path": str(Path(path).expanduser().absolute())}
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/adoptable", **query))["adoptable"]
        return found

    def adopt(self, *models: str, path: str | Path | None = None) -> dict[str, Any]:
        """Take in models of other tools where they lie: those named (`id` of `adoptable`), those at a path, or all.
        Returns `adopted` and `refused`."""
        wanted: dict[str, Any] = {"models": list(models)} if models else {"all": True}
        if path is not None:
            wanted = {"path": str(Path(path).expanduser().absolute())}
        result: dict[str, Any] = self._followed(self._client.post("/domicile/adopt", wanted))["result"]
        return result

    def alias(self, model: str, alias: str) -> dict[str, Any]:
        """Call a model by another name too."""
        return self._wait(self._client.post(of_model(model, "aliases"), {"alias": alias}))

    def pin(self, model: str, pinned: bool = True) -> dict[str, Any]:
        """Keep a model until it is unpinned."""
        path = of_model(model, "pin")
        return self._wait(self._client.post(path) if pinned else self._client.delete(path))

    def remove(self, model: str, *, also_files: bool = False) -> int:
        """Forget a model, and delete its files where they are ours (`also_files`: those of other tools too). Returns
        the bytes freed."""
        gone = self._wait(self._client.delete(of_model(model), also_files=str(also_files).lower()))
        return int(gone["freed_bytes"])

    def modelfile(self, model: str) -> str:
        """The Modelfile of a model, for Ollama."""
        return str(self._wait(self._client.get(of_model(model, "modelfile")))["modelfile"])

    def give_to_ollama(self, model: str, name: str | None = None, *, via: str = "auto") -> dict[str, Any]:
        """Give a model to Ollama: linked into its store, or sent to its server. Returns its name and how."""
        wanted = {"to": "ollama", "as": name, "via": via}
        result: dict[str, Any] = self._followed(self._client.post(of_model(model, "export"), wanted))["result"]
        return result

    # -- what leaves this machine --

    def egress(self, since: str | float | None = None, limit: int | None = None) -> dict[str, Any]:
        """What has left, newest first, and the totals; `since` is a date, seconds since 1970, or `"2h"` ago."""
        return self._wait(self._client.get("/domicile/egress", **_query(since=since, limit=limit)))

    def targets(self) -> list[dict[str, Any]]:
        """Who else may answer, in order."""
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/targets"))["targets"]
        return found

    def add_target(self, name: str, url: str | None = None, **more: Any) -> dict[str, Any]:
        """Enter a target (`key=`, `models={"ours": "theirs"}`, `timeout=`); nothing is sent there before `consent`."""
        body = {"name": name, "url": url, **more}
        return self._wait(self._client.post("/domicile/targets", {k: v for k, v in body.items() if v is not None}))

    def consent(self, name: str, given: bool = True) -> dict[str, Any]:
        """Your consent that conversations may go to this target, for where it is now; False withdraws it."""
        return self._wait(self._client.post(f"/domicile/targets/{name}/consent", {"consent": given}))

    def test_target(self, name: str) -> dict[str, Any]:
        """Which models a target has, and how long it took to say so."""
        return self._wait(self._client.post(f"/domicile/targets/{name}/test"))

    def order_targets(self, *names: str) -> list[dict[str, Any]]:
        """Put targets first, in this order."""
        body = {"names": list(names)}
        found: list[dict[str, Any]] = self._wait(self._client.post("/domicile/targets/order", body))["targets"]
        return found

    def remove_target(self, name: str) -> dict[str, Any]:
        """Forget a target, its consent and its key."""
        return self._wait(self._client.delete(f"/domicile/targets/{name}"))

    def jobs(self) -> list[dict[str, Any]]:
        """Downloads that wait, run or are paused, and the last ones that ended."""
        found: list[dict[str, Any]] = self._wait(self._client.get("/domicile/jobs"))["jobs"]
        return found

    # -- talking --

    def chat(self, said: str | Sequence[Mapping[str, Any]], model: str = EMBEDDED, **options: Any) -> str:
        """The whole answer to a question, or to a conversation in OpenAI's shape; options are its API's
        (`temperature`, `max_tokens`, `seed`, `stop`, `response_format`, ...)."""
        return "".join(self.stream(said, model, **options))

    def stream(self, said: str | Sequence[Mapping[str, Any]], model: str = EMBEDDED, **options: Any) -> Iterator[str]:
        """The answer as it comes, piece by piece."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
        pieces = self._pieces({"model": model, "messages": messages, **options})
        try:
            while (piece := self._wait(_next(pieces))) is not _END:
                yield str(piece)
        finally:
            self._wait(_close(pieces))

    def transcribe(self, file: str | Path, model: str | None = None, **options: Any) -> dict[str, Any]:
        """What is said in a file of sound: `text`, `segments` (seconds), `language`, `duration`, `speed`.

        Options: `language="fr"`, `translate=True` (into English), `prompt`, `hotwords`, `temperature`, `vad_filter`,
        `words=True`, and `progress=`, called with each segment as it is written."""
        progress = options.pop("progress", None)
        return self._wait(self._heard(Path(file).expanduser().absolute(), model, progress, **options))

    async def _heard(
        self,
        file: Path,
        model: str | None,
        progress: Callable[[Mapping[str, Any]], None] | None,
        *,
        translate: bool = False,
        words: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        fields = {"model": model or "whisper-1", **_query(**options)}
        if words:
            fields["timestamp_granularities[]"] = "word"
        segments: list[dict[str, Any]] = []
        done: dict[str, Any] = {}
        async for event in self._client.transcribe(file, fields, translate=translate):
            if "segment" in event:
                segments.append(event["segment"])
                if progress is not None:
                    progress(event["segment"])
            else:
                done = event
        return {**{k: done.get(k) for k in ("text", "language", "duration", "speed")}, "segments": segments}

    # -- drawing --

    def image(
        self,
        prompt: str,
        model: str | None = None,
        progress: Callable[[Mapping[str, Any]], None] | None = None,
        **wishes: Any,
    ) -> bytes:
        """A picture of what is described, as a PNG that says how it was made. Wishes are those of
        `POST /v1/images/generations`: `size="768x512"`, `steps=20`, `seed=7`, `negative_prompt=`, `sampler=`,
        `guidance=`, `loras=[{"name": ..., "scale": 0.8}]`. `progress` is called with each step. It is kept in the
        gallery."""
        return self._wait(self._drawn({"prompt": prompt, "model": model, **wishes, "n": 1}, progress))

    async def _drawn(self, wanted: Mapping[str, Any], progress: Callable[[Mapping[str, Any]], None] | None) -> bytes:
        drawing = await self._client.post("/domicile/images", {k: v for k, v in wanted.items() if v is not None})
        async for event in self._client.events(f"/domicile/images/drawings/{drawing['id']}/events"):
            if "state" in event:
                drawing = event
            elif progress is not None and "step" in event:
                progress(event)
        if drawing["state"] != "done":
            raise HouseSaid(drawing["error"] or {"message": drawing["state"]}, 502)
        return await self._client.content(drawing["pictures"][0]["url"])

    async def _pieces(self, body: Mapping[str, Any]) -> AsyncIterator[str]:
        async for chunk in self._client.chat(body):
            choices = chunk.get("choices") or [{}]
            if text := (choices[0].get("delta") or {}).get("content"):
                yield str(text)


async def _next(pieces: AsyncIterator[str]) -> object:
    return await anext(pieces, _END)


async def _close(pieces: Any) -> None:
    await pieces.aclose()


def _query(**asked: Any) -> dict[str, str]:
    said = {name: value for name, value in asked.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in said.items()}


def _located(model: str) -> str:
    ref = ModelRef.parse(model)
    return str(Path(ref.name).expanduser().absolute()) if ref.kind == "file" else model
