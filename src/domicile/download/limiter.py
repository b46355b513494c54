"""How fast bytes may come: a rate that can be changed while they do, for one download and for all of them together."""

from __future__ import annotations

import threading
import time

_SLICE_S = 0.25
_BURST_S = 0.1


class Limiter:
    """At most `rate` bytes a second; None is no limit. What passes here passes the `parent` too. Thread-safe.

    A token bucket that may go into debt by one read, so the rate holds on average from the first second.
    """

    def __init__(self, rate: float | None = None, parent: Limiter | None = None) -> None:
        self._parent = parent
        self._changed = threading.Condition()
        self._rate = rate
        self._tokens = 0.0
        self._at = time.monotonic()

    @property
    def rate(self) -> float | None:
        """Bytes a second. Set it at any time: who waits hears of it at once."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        if rate is not None and not rate > 0:
            raise ValueError(rate)
        with self._changed:
            self._refill()
            self._rate, self._tokens = rate, min(self._tokens, 0.0) if rate else 0.0
            self._changed.notify_all()

    @property
    def lowest(self) -> float | None:
        """The rate that counts: the lower of this one's and its parent's."""
        rates = [r for r in (self._rate, self._parent.lowest if self._parent else None) if r is not None]
        return min(rates) if rates else None

    def take(self, count: int, stopped: threading.Event) -> None:
        """Account for bytes that came, and wait until more may; returns early when `stopped` is set."""
        if self._parent is not None:
            self._parent.take(count, stopped)
        with self._changed:
            self._refill()
            if self._rate is None:
                return
            self._tokens -= count
            while self._rate is not None and self._tokens < 0 and not stopped.is_set():
                self._changed.wait(min(-self._tokens / self._rate, _SLICE_S))
                self._refill()

    def _refill(self) -> None:
        now = time.monotonic()
        if self._rate is not None:
            self._tokens = min(self._tokens + (now - self._at) * self._rate, self._rate * _BURST_S)
        self._at = now
