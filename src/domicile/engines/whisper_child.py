"""The child that holds one Whisper: faster-whisper on CTranslate2, behind OpenAI's two routes of sound.

Runs with the Python of the extra `whisper`. A request names a file of this machine (the house keeps it until the answer
has ended); one file is heard at a time, the next waits its turn. A caller who leaves is noticed within a step.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from domicile.child_http import Counts, Handler, Refusal, Response, as_events, as_json
from domicile.child_life import UnfitError, live
from domicile.hearing import written
from domicile.hearing.folder import prepared
from domicile.hearing.languages import code_of
from domicile.hearing.listen import Progress, Wish, listen
from domicile.hearing.sound import LeftError, UnheardError
from domicile.thrift import give_back

_END = object()


def main() -> None:
    live(load)


def load(asked: dict[str, Any]) -> dict[str, Handler]:
    """See `child_life.live`."""
    from faster_whisper import WhisperModel
    from faster_whisper.feature_extractor import FeatureExtractor

    compute = "float32" if asked.get("compute") == "float32" else "int8"
    kept = asked.get("kept")
    files = [Path(f) for f in asked["files"]]
    place = prepared(Path(asked["model"]), files, Path(asked["folder"]), Path(kept) if kept else None, compute)
    try:
        model = WhisperModel(
            str(place), device="cpu", compute_type=compute, cpu_threads=int(asked["threads"]), local_files_only=True
        )
    except (RuntimeError, ValueError, KeyError) as trouble:
        raise UnfitError(f"{type(trouble).__name__}: {str(trouble)[:200]}") from trouble
    bands = model.model.n_mels
    if model.feature_extractor.mel_filters.shape[0] != bands:
        model.feature_extractor = FeatureExtractor(feature_size=bands)
    give_back()
    ears = _Ears(model, float(asked.get("seconds") or 6 * 3600))

    async def transcriptions(data: dict[str, Any]) -> Response:
        return await ears.answer(data, translate=False)

    async def translations(data: dict[str, Any]) -> Response:
        return await ears.answer(data, translate=True)

    async def counts(_: dict[str, Any]) -> Response:
        return as_json(ears.counts.public())

    return {
        "POST /v1/audio/transcriptions": transcriptions,
        "POST /v1/audio/translations": translations,
        "GET /counts": counts,
    }


class _Ears:
    """The model, one thread for it, and what it has heard. `limit_s` is of one file."""

    def __init__(self, model: Any, limit_s: float) -> None:
        self._model, self._limit_s = model, limit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ears")
        self.counts = Counts()

    async def answer(self, data: dict[str, Any], *, translate: bool) -> Response:
        wish, shape = self._wish(data, translate), str(data.get("response_format") or "json")
        said = Progress()
        heard = self._listened(Path(str(data.get("file", ""))), wish, said)
        first = await anext(heard, None)  # what is wrong with a file is said before the status
        if data.get("stream"):
            return as_events(self._events(first, heard, wish, said))
        segments = [] if first is None else [first]
        segments += [segment async for segment in heard]
        facts = _facts(wish, said)
        if shape in written.TYPES:
            told = {"text": lambda s: written.text(s) + "\n", "srt": written.srt, "vtt": written.vtt}[shape](segments)
            return Response(told.encode(), content_type=written.TYPES[shape])
        if shape == "verbose_json":
            wanted = data.get("timestamp_granularities") or ["segment"]
            long = written.verbose(segments, facts, words=wish.words, with_segments="segment" in wanted)
            return as_json(long)
        return as_json({"text": written.text(segments), "usage": written.usage(said.duration)})

    def _wish(self, data: dict[str, Any], translate: bool) -> Wish:
        language = data.get("language")
        code = code_of(str(language)) if language else None
        if language and code is None:
            raise Refusal(f"Whisper does not know the language {str(language)[:40]!r}", param="language")
        multilingual = self._model.model.is_multilingual
        if translate and not multilingual:
            raise Refusal("this Whisper knows English alone: it translates nothing", 422, "invalid_request_error")
        return Wish(
            translate=translate,
            language=code if multilingual else "en",
            prompt=data.get("prompt") or None,
            hotwords=data.get("hotwords") or None,
            temperature=float(data.get("temperature") or 0.0),
            fallback=data.get("fallback", True) is not False,
            words="word" in (data.get("timestamp_granularities") or ()),
            vad=data.get("vad_filter", True) is not False,
            beam=int(data.get("beam_size") or 5),
            seed=int(data.get("seed") or 0),
        )

    async def _events(
        self, first: dict[str, Any] | None, heard: AsyncIterator[dict[str, Any]], wish: Wish, said: Progress
    ) -> AsyncIterator[object]:
        """OpenAI's events of a transcript; each delta is a segment, which is there too, as is how far we are."""
        segments: list[dict[str, Any]] = []
        try:
            segment = first
            while segment is not None:
                delta = segment["text"] if segments else segment["text"].lstrip()
                segments.append(segment)
                yield {
                    "type": "transcript.text.delta",
                    "delta": delta,
                    "segment": segment,
                    "language": said.language,
                    "duration": said.claimed,
                }
                segment = await anext(heard, None)
        except Refusal as refusal:
            yield {"error": {"message": str(refusal), "type": refusal.kind, "code": refusal.status, **refusal.more}}
            return
        finally:
            await heard.aclose()  # type: ignore[attr-defined]
        facts = _facts(wish, said)
        whole = {"type": "transcript.text.done", "text": written.text(segments), "usage": written.usage(said.duration)}
        yield {**whole, **{k: facts[k] for k in ("language", "duration", "speed")}}

    async def _listened(self, path: Path, wish: Wish, said: Progress) -> AsyncIterator[dict[str, Any]]:
        """The segments as they come from the thread. Leaving this stops the thread."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[object] = asyncio.Queue()

        def put(item: object) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                if not stop.is_set():
                    for segment in self._segments(path, wish, said, stop):
                        put(segment)
                give_back()
                put(_END)
            except BaseException as trouble:  # noqa: BLE001 - handed over to whoever waits
                put(trouble)

        self._thread.submit(work)
        try:
            while (item := await queue.get()) is not _END:
                if isinstance(item, UnheardError):
                    raise Refusal(f"{item}", 400, "audio_refused", reason=item.reason, facts=item.facts)
                if isinstance(item, BaseException):
                    raise item
                yield item  # type: ignore[misc]
        finally:
            stop.set()
        self.counts.prompt += round(said.duration)
        self.counts.generated += said.tokens
        if said.speed and said.duration:  # tokens a second, as of any engine; `said.speed` is sound heard a second
            self.counts.rate = said.tokens * said.speed / said.duration

    def _segments(self, path: Path, wish: Wish, said: Progress, stop: threading.Event) -> Iterator[dict[str, Any]]:
        import ctranslate2

        ctranslate2.set_random_seed(wish.seed)
        try:
            yield from listen(self._model, path, wish, said, limit_s=self._limit_s, stop=stop)
        except LeftError:
            return


def _facts(wish: Wish, said: Progress) -> dict[str, Any]:
    return {
        "task": "translate" if wish.translate else "transcribe",
        "language": said.language or wish.language or "en",
        "language_probability": said.probability,
        "duration": round(said.duration, 3),
        "speed": None if said.speed is None else round(said.speed, 2),
    }
