"""One file on its way: as many connections as help, one set of missing spans, one judgement of what goes wrong.

A transfer runs in threads of its own: reading, writing and hashing let go of the interpreter, and a thread that is
stuck in a system call keeps nobody waiting. It knows when to ask again, when to wait, when to begin anew and when to
give up. What one connection does is in `ranges`.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

import httpx2

from domicile.download import ranges, xet
from domicile.download.checking import Checker
from domicile.download.hops import Place, follow
from domicile.download.journal import Journal
from domicile.download.limiter import Limiter
from domicile.download.sheet import Sheet
from domicile.download.spans import Span, Spans
from domicile.download.wanted import BLOCK, Judge, Noted, Patience, Wanted
from domicile.errors import CorruptDownload, DownloadPaused, HubAnswer, HubUnreachable
from domicile.threaded import beside, threaded

MOST = 24
"""Connections of one file at most."""
MOST_TOGETHER = 96
"""Connections of this process at most: with more, threads wait for the interpreter, not for bytes (measured)."""
_FIRST = 2
_LIMITED = 2
_GAIN = 1.25
_LINEAR = 1.7
_PLENTY = 200e6
"""Bytes a second that more connections would hardly add to: the processor is the limit from about here."""
_HOLD_S = 10.0
_RAMP_S = 2.0
_PROGRESS = 2**16
_BEAT_S = 0.05
_LEAVE_S = 1.0
_SETTLE_S = 0.5
_SETTLE_BYTES = 64 * 2**20


class Stopped(Exception):
    """Somebody asked the transfer to stop."""


class Transfer:
    """Made for one file whose partial file this process alone holds. `run` blocks; `stop` may be called from anywhere.

    `came` and `resumed` only grow and shrink as bytes come, are found, or are lost: the caller reads them.
    """

    def __init__(
        self,
        wanted: Wanted,
        client: httpx2.Client,
        judge: Judge,
        limits: Limiter,
        patience: Patience,
        noted: Noted,
        block: int = BLOCK,
    ) -> None:
        self.wanted, self.limits, self.patience = wanted, limits, patience
        self.stopped = threading.Event()
        self.whole = False
        """The server sends whole files only."""
        self.came = 0
        self.resumed = 0
        self._client, self._judge, self._noted = client, judge, noted
        self._changed = threading.Condition()
        self._journal = Journal(wanted, block)
        kept = self._journal.open()
        self._sheet = Sheet(wanted.partial)
        if self._sheet.size > wanted.size_bytes:
            self._sheet.cut(wanted.size_bytes)
        self._spans = Spans(wanted.size_bytes, block, kept)
        self.resumed = wanted.size_bytes - self._spans.left
        self._checker = Checker(wanted, self._sheet, self._spans, self._journal, kept, self._changed, self._lost)
        self._failure: BaseException | None = None
        self._place: Place | None = None
        self._expired: Place | None = None
        self._resolving = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.xet_came = 0
        self._xet: tuple[float, int] | None = None
        self._xet_tried = self._xet_won = False
        self._threads: list[threading.Thread] = []
        self._writing = 0
        self._holding = False
        self._hands, self._alive = 1, 0
        self._answered = False
        self._fails, self._odd, self._renewed = 0, 0, 0
        self._came_at_failure = self._came_at_renewal = 0
        self._not_before = 0.0
        self._etags_changed = 0
        self._corrupt = 0
        self._grown = (0.0, 0, 0.0)
        self._grow_after = 0.0

    # -- the whole --

    def run(self) -> None:
        """Until every byte is there and the whole is right. Raises the named error, OSError, or Stopped."""
        self._thread("check", lambda: self._checker.run(self.stopped))
        self._thread("settle", self._settle)
        try:
            while not self._settled():
                with self._changed:
                    self._changed.wait(_BEAT_S)
                    self._grow(time.monotonic())
                    self._judge_xet(time.monotonic())
                    while self._alive < self._hands and self._spans.left:
                        if self._alive and not _seats.take():
                            break
                        self._alive += 1
                        self._thread("range", functools.partial(self._work, self._alive == 1))
        finally:
            self.stop()
            self._leave()

    def _leave(self) -> None:
        """See the threads out. One that is still connecting is left behind: it finds nothing to do any more."""
        until = time.monotonic() + _LEAVE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._client.close()

    def _settle(self) -> None:
        """Have the disk write while bytes come, so that little is left for the end."""
        written = 0
        while not self.stopped.wait(_SETTLE_S):
            if self.came - written >= _SETTLE_BYTES:
                written = self.came
                self._sheet.sync()

    def sync(self) -> None:
        """Everything that was written is on the disk when this returns."""
        self._sheet.sync()

    def close(self) -> None:
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: self._writing == 0, 5)
            self._sheet.close()
            self._journal.close()

    def stop(self) -> None:
        """Wake every thread that waits for a socket or for a turn."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()
            held = list(self._sockets)
        for one in held:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _settled(self) -> bool:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self.stopped.is_set():
                raise Stopped
            found = self._checker.found
            if found is None or self._spans.left:
                return False
            if found == self.wanted.digest or not self.wanted.digest:
                return True
            self._corrupt += 1
            if self._corrupt > 1:
                raise CorruptDownload(file=self.wanted.target.name, expected=self.wanted.digest, got=found)
            self.xet_over()  # what gave the wrong bytes may have been the other way
            self._restart("again")
            return False

    def _thread(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - carried to `run`, which raises it
                self.fail(failure)

        thread = threading.Thread(target=run, name=f"{name} {self.wanted.target.name}", daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()]
        thread.start()
        self._threads.append(thread)

    def _work(self, first: bool) -> None:
        try:
            ranges.work(self)
        finally:
            if not first:
                _seats.give()

    def fail(self, failure: BaseException) -> None:
        """Nothing can be done about this: `run` raises it."""
        with self._changed:
            if self._failure is None and not self.stopped.is_set():
                self._failure = failure
            self._changed.notify_all()

    # -- what a connection asks --

    def next_span(self) -> Span | None:
        """Work for a connection, waited for; None when it is not needed any more."""
        with self._changed:
            while True:
                if self.stopped.is_set() or self._failure is not None or self._alive > self._hands:
                    self._alive -= 1
                    return None
                now = time.monotonic()
                if now >= self._not_before and not self._holding:
                    span = self._spans.take(now, self._hands, self.patience.quiet_s)
                    if span is not None:
                        return span
                self._changed.wait(min(max(self._not_before - now, _BEAT_S), 0.5))

    def next_xet_span(self, longest: int) -> Span | None:
        """Work for the other way, waited for; None when it is not wanted any more."""
        with self._changed:
            while self.xet_goes_on() and not self.stopped.is_set() and self._failure is None:
                span = None
                if not self._holding:
                    span = self._spans.take(time.monotonic(), 1, self.patience.quiet_s, longest)
                if span is not None:
                    return span
                self._changed.wait(_BEAT_S)
        return None

    def xet_goes_on(self) -> bool:
        return self._xet is not None

    def xet_over(self) -> None:
        """The other way is closed: ranges do the rest."""
        with self._changed:
            if self._xet is not None:
                self._xet, self._hands = None, max(self._hands, 1)
            self._changed.notify_all()

    def get(self, url: httpx2.URL) -> httpx2.Response:
        """A small answer of the origin (at most 64 KiB of it), asked with the headers that are for it."""
        with self._client.stream("GET", url, headers=self.wanted.headers, extensions={"trace": self._trace}) as answer:
            got = 0
            for chunk in answer.iter_raw():
                got += len(chunk)
                if got > 2**16:
                    break
            return answer

    def beside(self, url: httpx2.URL, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """What another program fetches for us: written down like our own exchanges (see `threaded.beside`)."""
        return beside(self._client, url, what)

    def give_back(self, span: Span) -> None:
        with self._changed:
            self._spans.give_back(span)
            self._changed.notify_all()

    def write(self, span: Span, data: memoryview) -> bool:
        """Put bytes where they belong; False when the span has ended or was taken over."""
        with self._changed:
            count = 0 if self._holding or self.stopped.is_set() else self._spans.claim(span, len(data))
            at = span.claimed - count
            if not count:
                return False
            self._writing += 1
        try:
            self._sheet.write(data[:count], at)
        except BaseException:
            with self._changed:
                self._writing -= 1
                span.claimed = at
            raise
        with self._changed:
            self._writing -= 1
            self.came += count
            filled = self._spans.commit(span, count, time.monotonic())
            self._checker.completed.extend(filled)
            if filled or self._holding:
                self._changed.notify_all()
        return count == len(data)

    @contextmanager
    def ask(self, extra: Mapping[str, str]) -> Iterator[tuple[httpx2.Response, Place]]:
        """An answer to a question for bytes: from the place that is known, or from the origin on."""
        extensions = {"trace": self._trace}
        with ExitStack() as stack:
            place = self._place
            if place is None:
                while not self._resolving.acquire(timeout=0.2):
                    if self.stopped.is_set():
                        raise Stopped
                try:
                    place = self._place
                    if place is None:
                        way = follow(self._client, self.wanted.url, self.wanted.headers, extra, extensions)
                        answer, found = stack.enter_context(way)
                        if answer.status_code in {200, 206}:
                            self._place = found
                            self._try_xet(found)
                finally:
                    self._resolving.release()
                if place is None:
                    yield answer, found
                    return
            headers = {**place.headers, **extra}
            yield (
                stack.enter_context(self._client.stream("GET", place.url, headers=headers, extensions=extensions)),
                place,
            )

    def _try_xet(self, place: Place) -> None:
        """Where Xet is offered, both ways race for a while."""
        if self._xet_tried or self.limits.lowest is not None:
            return
        self._xet_tried = True
        if self._spans.left >= self.patience.xet_least_bytes and (offer := xet.offer_of(place, self.wanted.url)):
            self._xet = (time.monotonic(), self.came)
            self._thread("xet", functools.partial(xet.work, self, offer))

    def _judge_xet(self, now: float) -> None:
        """At the end of the trial the slower way stops. Bytes count from the first that the store gave."""
        if self._xet is None or self._xet_won:
            return
        began, before = self._xet
        if not self.xet_came:
            self._xet = (now, self.came)
            return
        if now - began < self.patience.xet_trial_s:
            return
        if self.xet_came > (self.came - before - self.xet_came) * _GAIN:
            self._xet_won, self._hands = True, 0
            self._noted("xet")
        else:
            self._xet = None
        self._changed.notify_all()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            held = info["return_value"].get_extra_info("socket")
            if isinstance(held, socket.socket):
                with self._changed:
                    self._sockets.add(held)
                if self.stopped.is_set():
                    self.stop()

    # -- what a connection tells --

    def accepted(self, answer: httpx2.Response) -> None:
        """An answer with the right bytes has begun. Raises `Retake` when it is of another version than the others."""
        etag, host = answer.headers.get("ETag", ""), answer.request.url.host
        with self._changed:
            if not self._answered:
                self._answered = True
                self._hands = 1 if self.whole else min(_FIRST, MOST)
                self._grown = (0.0, 0, 0.0)
                self._changed.notify_all()
            if not etag.startswith('"'):
                return
            before = self._journal.etag
            said = f"{host} {etag}"
            if before is None:
                self._journal.under(said)
                return
            same_host = before.split(" ")[0] == host
            changed = before.split(" ", 1)[-1] != etag and (same_host or not self.wanted.digest)
            if not changed or (self._etags_changed and self.wanted.digest):
                return
            self._etags_changed += 1
            if self._etags_changed > 1:
                raise CorruptDownload(file=self.wanted.target.name, expected=before.split(" ", 1)[-1], got=etag)
            self._restart("changed")
            self._journal.under(said)
        raise ranges.Retake

    def only_whole(self) -> None:
        """The server does not do ranges: one connection from the first missing byte on."""
        with self._changed:
            if self.whole:
                return
            self._hold()
            self.whole, self._hands = True, 1
            for index in self._spans.merge():
                self.resumed -= self._spans.length(index)
                self._journal.lose(index)
            self._holding = False
            self._changed.notify_all()

    def odd(self, problem: str) -> None:
        """An answer that is not the part that was asked for. After two in a row the whole file is asked for."""
        with self._changed:
            self._place = None
            self._odd = 1 if self._progressed() else self._odd + 1
            self._came_at_failure = self.came
            if self._odd >= 2 and self.whole:
                size = f"{self.wanted.size_bytes} B"
                raise CorruptDownload(file=self.wanted.target.name, expected=size, got=problem)
            if self._odd < 2:
                self._not_before = time.monotonic() + self.patience.first_wait_s
                return
            self._odd = 0
        self.only_whole()

    def expired(self, answer: httpx2.Response, place: Place) -> None:
        """The place no longer gives the file to us: ask the origin for a new one. Raises when that has not helped."""
        with self._changed:
            if place is self._expired or self._place not in (None, place):
                return  # another connection has found out before
            self._renewed = 1 if self.came - self._came_at_renewal >= _PROGRESS else self._renewed + 1
            self._place, self._expired, self._came_at_renewal = None, place, self.came
            if self._renewed <= self.patience.renewals:
                if self._renewed > 1:
                    self._not_before = time.monotonic() + self.patience.first_wait_s
                return
        raise HubAnswer(host=place.url.host, problem=f"HTTP {answer.status_code}")

    def again(self, problem: str, answer: httpx2.Response | None = None, wait_s: float | None = None) -> None:
        """Something that may pass: wait, longer each time, and ask again. Raises when it has lasted too long."""
        patience = self.patience
        if wait_s is not None and wait_s > patience.longest_retry_after_s:
            host = answer.request.url.host if answer is not None else ""
            raise DownloadPaused(host=host, retry_after_s=wait_s)
        with self._changed:
            now = time.monotonic()
            if wait_s is None and any(now - s.last < 1.0 and s.done > s.start for s in self._spans.active):
                # The others get on: one connection too many for this server, not a failure of the download.
                self._hands = max(1, min(self._hands, self._alive) - 1)
                self._grow_after = now + _HOLD_S
                return
            if now < self._not_before:
                return  # a connection that failed with this one has counted already
            self._fails = 1 if self._progressed() else self._fails + 1
            self._came_at_failure = self.came
            if self._fails <= patience.tries:
                longest = min(patience.first_wait_s * 2 ** (self._fails - 1), patience.longest_wait_s)
                self._not_before = now + (wait_s if wait_s is not None else longest * random.uniform(0.5, 1.0))  # noqa: S311
                if answer is not None:
                    self._hands = max(1, self._hands // 2)
                    self._grow_after = now + _HOLD_S
                return
        if answer is not None:
            self._give_up(answer)
        raise HubUnreachable(host=httpx2.URL(self.wanted.url).host, problem=problem)

    def refused(self, answer: httpx2.Response) -> None:
        """An answer that asking again will not change."""
        self._give_up(answer)

    def _give_up(self, answer: httpx2.Response) -> None:
        self._judge(answer)
        raise HubAnswer(host=answer.request.url.host, problem=f"HTTP {answer.status_code}")

    # -- under the lock --

    def _progressed(self) -> bool:
        return self.came - self._came_at_failure >= _PROGRESS

    def _lost(self, index: int) -> None:
        self.resumed -= self._spans.length(index)
        self._spans.lose(index)
        self._changed.notify_all()

    def _hold(self) -> None:
        """Wait until no byte is on its way to the disk, and let none begin."""
        self._changed.wait_for(lambda: not self._holding)
        self._holding = True
        self._changed.wait_for(lambda: self._writing == 0)

    def _restart(self, why: str) -> None:
        self._hold()
        self.resumed -= self.wanted.size_bytes - self._spans.left
        self._spans.reset()
        self._sheet.cut(0)
        self._journal.begin(None)
        self._checker.restart()
        self._holding = False
        self._noted(why)
        self._changed.notify_all()

    def _grow(self, now: float) -> None:
        """More connections while they bring more. After a step that did not, wait a while before the next."""
        if not self._answered or self.whole or not self._hands or now < self._grow_after:
            return
        if self.limits.lowest is not None:
            self._hands, self._grown = min(self._hands, _LIMITED), (0.0, 0, 0.0)
            return
        then, before, rate = self._grown
        moving = sum(span.done > span.start for span in self._spans.active)
        if not then or (moving < 0.8 * self._hands and now - self._grow_after < _RAMP_S):
            self._grown = (now, self.came, rate)
            return
        if now - then < self.patience.grow_s or not self._spans.pending:
            return
        found = (self.came - before) / (now - then)
        if rate * _GAIN < found < _PLENTY and self._hands < MOST:
            self._hands = min(self._hands * (4 if found > rate * _LINEAR else 2), MOST)
            self._grown, self._grow_after = (now, self.came, found), now
        else:
            self._grown, self._grow_after = (0.0, 0, 0.0), now + _HOLD_S


class _Seats:
    """Connections beyond the first of each file, counted over the process."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)

    def take(self) -> bool:
        return self._free.acquire(blocking=False)

    def give(self) -> None:
        self._free.release()


_seats = _Seats(MOST_TOGETHER)


@functools.cache
def _trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@runtime_checkable
class ForThreads(Protocol):
    """A client with a guard of its own, which it hands on."""

    def for_threads(self) -> httpx2.Client: ...


def client_like(client: httpx2.AsyncClient) -> httpx2.Client:
    """A client for threads, with the patience, the trust and the guard of an asynchronous one. Redirects are ours to
    judge. Call it on the loop of the house."""
    if isinstance(client, ForThreads):
        return client.for_threads()
    return threaded(
        client,
        verify=_trust(),
        timeout=client.timeout,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=MOST),
        follow_redirects=False,
        trust_env=client.trust_env,
    )
