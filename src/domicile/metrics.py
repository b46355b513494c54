"""Counters and histograms, and the text in which Prometheus reads them (exposition format 0.0.4).

Knows numbers, labels and how to write them; nothing of what they count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of a latency's buckets."""

Labels = tuple[str, ...]


class Counter:
    """Numbers that only grow, one for each set of labels."""

    def __init__(self, name: str, words: str, labels: Sequence[str] = ()) -> None:
        self.name, self.words, self.labels = name, words, tuple(labels)
        self._values: dict[Labels, float] = {}

    def add(self, *values: str, by: float = 1) -> None:
        self._values[values] = self._values.get(values, 0) + by

    def lines(self) -> Iterable[str]:
        yield from sample(self.name, self.words, "counter", self.labels, self._values)


class Histogram:
    """How long something took, one for each set of labels."""

    def __init__(self, name: str, words: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS) -> None:
        self.name, self.words, self.labels, self._bounds = name, words, tuple(labels), tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def see(self, value: float, *values: str) -> None:
        counts = self._counts.setdefault(values, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + value

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, self.words, "histogram")
        for values, counts in self._counts.items():
            said = list(zip(self.labels, values, strict=True))
            seen = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), counts, strict=True):
                seen += count
                yield f"{self.name}_bucket{_labels([*said, ('le', bound)])} {seen}"
            yield f"{self.name}_sum{_labels(said)} {_number(self._sums[values])}"
            yield f"{self.name}_count{_labels(said)} {seen}"


def sample(
    name: str, words: str, kind: str, labels: Sequence[str], values: Mapping[Labels, float | None]
) -> Iterable[str]:
    """The lines of one metric, as it is now; what is not known is left out."""
    known = {key: value for key, value in values.items() if value is not None}
    if not known:
        return
    yield from _head(name, words, kind)
    for key, value in known.items():
        yield f"{name}{_labels(list(zip(labels, key, strict=True)))} {_number(value)}"


def _head(name: str, words: str, kind: str) -> Iterable[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _labels(pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1 << 53 else repr(float(value))
