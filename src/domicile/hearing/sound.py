"""Any common file of sound as 16 kHz mono, a window at a time: hours of it in a few megabytes.

What is read was sent by somebody: only containers of sound and video are opened (no playlist, which would open other
files), what a header claims is compared with a limit before anything is decoded, and what comes out is counted against
the same limit. FFmpeg's libraries come with PyAV; nothing of the system's is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATE = 16_000
"""Samples a second that Whisper hears."""
WINDOW_S = 300.0
"""Of one window: its spectrum takes about 100 MB while it is made."""
SEARCH_S = 30.0
"""A window ends at the quietest moment of its last seconds, so that no word is cut."""
_FORMATS = (
    "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,aac,aiff,au,caf,amr,asf,avi,mpegts,mpeg,ac3,eac3,"
    "wv,ape,tta,dsf"
)
_RATES = (1_000, 768_000)
_CHANNELS = 64
_DAMAGED = 200
"""Packets in a row that cannot be decoded before the file is given up."""


class UnheardError(Exception):
    """Why a file cannot be heard: `kind`, `no_audio`, `broken`, `long`; facts go with it."""

    def __init__(self, reason: str, **facts: float | str) -> None:
        super().__init__(f"{reason} {facts}" if facts else reason)
        self.reason, self.facts = reason, facts


class LeftError(Exception):
    """Whoever asked is gone."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of sound: float32 samples between -1 and 1, where it begins, and how long the file claims to be."""

    samples: Any
    start_s: float
    claimed_s: float | None
    last: bool


def windows(
    path: Path, *, limit_s: float, stop: threading.Event, window_s: float = WINDOW_S, search_s: float = SEARCH_S
) -> Iterator[Window]:
    """The windows of a file. Raises `UnheardError`, also midway, and `LeftError` once `stop` is set."""
    import av

    try:
        container = av.open(
            str(path),
            mode="r",
            metadata_errors="ignore",
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, ValueError, OSError) as trouble:
        raise UnheardError("kind", problem=str(trouble)[:200]) from trouble
    with container:
        if not container.streams.audio:
            raise UnheardError("no_audio")
        stream = container.streams.audio[0]
        claimed = _claimed_s(container, stream)
        if claimed is not None and claimed > limit_s:
            raise UnheardError("long", seconds=round(claimed), limit=round(limit_s))
        yield from _cut(_samples(container, stream, stop), claimed, limit_s, window_s, search_s)


def _claimed_s(container: Any, stream: Any) -> float | None:
    """How long the file says it is; a wild claim is none."""
    found = container.duration / 1_000_000 if container.duration else None
    if found is None and stream.duration and stream.time_base:
        found = float(stream.duration * stream.time_base)
    return found if found is not None and 0 < found < 1e9 else None


def _samples(container: Any, stream: Any, stop: threading.Event) -> Iterator[Any]:
    """16-bit mono samples, in pieces as they are decoded. A damaged packet is left out, as players do."""
    import av

    resampler, shape, damaged, heard = None, None, 0, False
    try:
        for packet in container.demux(stream):
            if stop.is_set():
                raise LeftError
            try:
                frames = packet.decode()
                damaged = 0
            except av.error.FFmpegError:
                damaged += 1
                if damaged > _DAMAGED:
                    break
                continue
            for frame in frames:
                now = (frame.format.name, frame.layout.name, frame.sample_rate)
                _check(frame)
                if now != shape or resampler is None:
                    if resampler is not None:
                        yield from (piece.to_ndarray()[0] for piece in resampler.resample(None))
                    resampler, shape = av.AudioResampler(format="s16", layout="mono", rate=RATE), now
                frame.pts = None
                for piece in resampler.resample(frame):
                    heard = True
                    yield piece.to_ndarray()[0]
        if resampler is not None:
            yield from (piece.to_ndarray()[0] for piece in resampler.resample(None))
    except av.error.FFmpegError as trouble:
        if not heard:
            raise UnheardError("broken", problem=str(trouble)[:200]) from trouble
    if not heard:
        raise UnheardError("broken", problem="no sound in it")


def _check(frame: Any) -> None:
    low, high = _RATES
    if not low <= frame.sample_rate <= high or len(frame.layout.channels) > _CHANNELS:
        said = f"{frame.sample_rate} Hz, {len(frame.layout.channels)} channels"
        raise UnheardError("broken", problem=said)


def _cut(
    pieces: Iterator[Any], claimed: float | None, limit_s: float, window_s: float, search_s: float
) -> Iterator[Window]:
    import numpy as np

    kept: list[Any] = []
    have, done = 0, 0
    wanted = int(window_s * RATE)
    for piece in pieces:
        kept.append(piece)
        have += len(piece)
        if done + have > limit_s * RATE:
            raise UnheardError("long", seconds=round((done + have) / RATE), limit=round(limit_s))
        while have >= wanted:
            joined = np.concatenate(kept)
            at = quietest(joined[:wanted], int(search_s * RATE))
            yield Window(_floats(joined[:at]), done / RATE, claimed, False)
            kept, have, done = [joined[at:]], have - at, done + at
    yield Window(_floats(np.concatenate(kept)), done / RATE, claimed, True)


def quietest(samples: Any, search: int) -> int:
    """Where to cut: the middle of the quietest half second of the last `search` samples, else the end."""
    import numpy as np

    step, wide = RATE // 10, 5
    tail = samples[-search:].astype(np.float32)
    count = len(tail) // step
    if count <= wide:
        return len(samples)
    energy = (tail[: count * step].reshape(count, step) ** 2).mean(axis=1)
    smooth = np.convolve(energy, np.ones(wide) / wide, mode="valid")
    at = int(np.argmin(smooth)) * step + wide * step // 2
    return int(len(samples) - len(tail) + at)


def _floats(samples: Any) -> Any:
    import numpy as np

    return samples.astype(np.float32) / 32768.0
