"""What can go wrong on the way, one line each: it ends in the right file or in the right error, never in between."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest

from domicile.config import load
from domicile.db import Database
from domicile.download import Patience, Wanted, fetch
from domicile.egress import Egress
from domicile.errors import DomicileError
from domicile.sources.hub import Hub
from tests.fakes import faulty as f

BLOCK = 2**16
CONTENT = random.Random(7).randbytes(40 * BLOCK + 1234)
OTHER = CONTENT[::-1]
HASTE = Patience(first_wait_s=0.01, longest_wait_s=0.05, quiet_s=0.2, grow_s=0.05, xet_start_s=0.5)
SOON = "1"
RIGHT = "right"


def _date(hours: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)


def _xet_offered(ask: f.Ask) -> bool:
    """The store it names is not there."""
    refresh = f"http://127.0.0.1:{ask.faulty.ports['hub']}/api/models/org/repo/xet-read-token/main"
    if "xet-read-token" in ask.path:
        store = {
            "X-Xet-Cas-Url": "http://127.0.0.1:9",
            "X-Xet-Access-Token": "t",
            "X-Xet-Token-Expiration": "9999999999",
        }
        return ask.answer(200, store)
    offer = {"X-Xet-Hash": "0" * 64, "Link": f'<{refresh}>; rel="xet-auth"'}
    return ask.side == "hub" and ask.answer(302, {"Location": ask.faulty.cdn(), **offer})


TABLE: dict[str, tuple[f.Fault, str]] = {
    "nothing is wrong": (f.honest, RIGHT),
    "dropped in the middle, once": (f.first(1, lambda a: a.cut(200_000)), RIGHT),
    "dropped after the first bytes, five times": (f.first(5, lambda a: a.cut(10)), RIGHT),
    "dropped every 300 kB, always": (f.always(lambda a: a.cut(300_000) if a.end - a.start > 300_000 else False), RIGHT),
    "hung up before an answer, three times": (f.first(3, lambda a: a.hang_up()), RIGHT),
    "hung up by the origin, twice": (f.first(2, lambda a: a.hang_up(), "hub"), RIGHT),
    "stalled in the middle, once": (f.first(1, f.stalled), RIGHT),
    "no answer at all, once": (f.first(1, f.late), RIGHT),
    "every third connection stalls": (f.always(lambda a: a.number % 3 == 0 and f.stalled(a)), RIGHT),
    "the second connection drips": (lambda a: a.side == "cdn" and a.number == 2 and f.dripping(a), RIGHT),
    "ranges are ignored": (f.always(f.without_ranges), RIGHT),
    "ranges are ignored, no length is told": (f.always(f.without_ranges_or_length), RIGHT),
    "ranges are ignored, and the first answer is cut": (
        f.always(lambda a: (a.number < 4 and not a.ranged and a.cut(500_000)) or f.without_ranges(a)),
        RIGHT,
    ),
    "another part came, once": (f.first(1, f.shifted), RIGHT),
    "another part came, always": (f.always(f.shifted), RIGHT),
    "another part came under the right header, once": (f.first(1, f.shifted_unsaid), RIGHT),
    "the whole is told as unknown": (f.always(f.unlike("*")), RIGHT),
    "one bit flipped, once": (f.first(1, f.flipped), RIGHT),
    "a part in chunks, no length": (f.always(f.chunked), RIGHT),
    "a part that ends with its connection": (f.always(f.until_closed), RIGHT),
    "a part with more after its end": (f.always(f.too_long), RIGHT),
    "compressed on the way, once": (f.first(1, lambda a: a.part(Content__Encoding="gzip")), RIGHT),
    "500, three times": (f.first(3, f.status(500)), RIGHT),
    "502 by the origin, three times": (f.first(3, f.status(502), "hub"), RIGHT),
    "503, five times": (f.first(5, f.status(503)), RIGHT),
    "504, twice": (f.first(2, f.status(504)), RIGHT),
    "408, once": (f.first(1, f.status(408)), RIGHT),
    "416, once": (f.first(1, f.status(416, Content_Range=f"bytes */{len(CONTENT)}")), RIGHT),
    "429, for a second": (f.first(1, f.status(429, Retry_After=SOON)), RIGHT),
    "429, until a moment ago": (f.first(2, f.status(429, Retry_After=_date(-1))), RIGHT),
    "one connection at a time": (f.one_at_a_time, RIGHT),
    "the ETag changes, the bytes do not": (f.etag_changes(2), RIGHT),
    "weak ETags, each another": (f.always(f.weak_etags), RIGHT),
    "an expired address, once": (f.first(1, f.status(403)), RIGHT),
    "an address that expires again and again": (f.expires(8), RIGHT),
    "four redirects, relative ones": (f.hops(4), RIGHT),
    "Xet is offered, its store is not there": (_xet_offered, RIGHT),
    "one bit flipped, always": (f.always(f.flipped), "corrupt_download"),
    "another part under the right header, always": (f.always(f.shifted_unsaid), "corrupt_download"),
    "an answer without end": (f.always(f.endless), "corrupt_download"),
    "the file was replaced at its source": (f.etag_changes(2, content=OTHER), "corrupt_download"),
    "another file from the start": (f.etag_changes(0, content=OTHER), "corrupt_download"),
    "a shorter file": (f.always(lambda a: a.answer(200, {}, CONTENT[:1000])), "corrupt_download"),
    "a longer file": (f.always(f.unlike(str(len(CONTENT) + 1))), RIGHT),
    "a longer file, whole": (f.always(lambda a: a.answer(200, {}, CONTENT + b"x")), "corrupt_download"),
    "a page of the network": (f.always(f.portal), "corrupt_download"),
    "204": (f.always(f.status(204)), "corrupt_download"),
    "302 to nowhere": (f.always(f.status(302), "hub"), "corrupt_download"),
    "416, always": (f.always(f.status(416)), "corrupt_download"),
    "compressed on the way, always": (f.always(lambda a: a.part(Content__Encoding="gzip")), "corrupt_download"),
    "hung up, always": (f.always(lambda a: a.hang_up()), "hub_unreachable"),
    "dropped after ten bytes, always": (f.always(lambda a: a.cut(10)), "hub_unreachable"),
    "silent, always": (f.always(f.late), "hub_unreachable"),
    "no HTTP": (f.always(f.garbage), "hub_unreachable"),
    "two megabytes of headers": (f.always(f.header_bomb), "hub_unreachable"),
    "nobody listens at the CDN": (f.to("http://127.0.0.1:9/m.gguf"), "hub_unreachable"),
    "429, for an hour": (f.always(f.status(429, Retry_After="3600")), "download_paused"),
    "503, for a year": (f.always(f.status(503, Retry_After="31536000")), "download_paused"),
    "429 by the origin, until tomorrow": (f.always(f.status(429, Retry_After=_date(24)), "hub"), "download_paused"),
    "429, always": (f.always(f.status(429)), "hub_busy"),
    "503, always": (f.always(f.status(503)), "hub_busy"),
    "500, always": (f.always(f.status(500)), "hub_answer"),
    "an address that is always expired": (f.always(f.status(403)), "hub_answer"),
    "gone from the CDN": (f.always(f.status(404)), "hub_answer"),
    "redirects in a circle": (f.hops(99), "redirect_refused"),
    "a redirect without encryption to elsewhere": (f.to("http://93.184.216.34/m.gguf"), "redirect_refused"),
    "a redirect to a file": (f.to("file:///etc/passwd"), "redirect_refused"),
    "a redirect with a password": (f.to("http://a:b@127.0.0.1/m.gguf"), "redirect_refused"),
    "a redirect that is no address": (f.to("http://[::bad"), "redirect_refused"),
    "401, and no token": (f.always(f.status(401), "hub"), "token_refused"),
    "a licence to accept": (f.always(f.status(401, X_Error_Code="GatedRepo"), "hub"), "gated"),
    "403 by the origin": (f.always(f.status(403), "hub"), "gated"),
    "404 by the origin": (f.always(f.status(404, X_Error_Code="EntryNotFound"), "hub"), "file_not_on_hub"),
}


class Told:
    def __init__(self) -> None:
        self.total = 0
        self.noted: list[str] = []

    def resumed(self, count: int) -> None:
        self.total += count

    def came(self, count: int) -> None:
        self.total += count


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[f.Faulty]:
    with f.running(f.Faulty(CONTENT)) as running:
        yield running


async def _fetch(server: f.Faulty, target: Path, told: Told) -> None:
    timeout = httpx2.Timeout(0.7, connect=2)
    database = Database(target.parents[1] / "home" / "d.sqlite3")
    egress = Egress(database)  # the door that the house goes through
    async with (
        contextlib.AsyncExitStack() as closing,
        contextlib.aclosing(egress),
        egress.client("download", timeout=timeout) as client,
    ):
        closing.callback(database.close)
        wanted = Wanted(server.url, target, len(CONTENT), server.sha256, headers={"Authorization": "Bearer hf_secret"})
        judge = Hub(load(hub=server.url, hub_token="hf_secret"), client).judge
        await fetch(client, wanted, told, judge, patience=HASTE, noted=told.noted.append, block=BLOCK)


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 40


@pytest.mark.anyio
@pytest.mark.parametrize("name", TABLE)
async def test_a_fault_ends_in_the_right_file_or_the_right_error(server: f.Faulty, tmp_path: Path, name: str) -> None:
    server.fault, outcome = TABLE[name]
    target, told = tmp_path / "store" / "m.gguf", Told()
    try:
        await _fetch(server, target, told)
        ended = RIGHT
    except DomicileError as error:
        ended = error.code
    assert ended == outcome
    if outcome == RIGHT:
        assert target.read_bytes() == CONTENT
        assert [p.name for p in target.parent.iterdir()] == ["m.gguf"]
        assert told.total == len(CONTENT)
    else:
        assert not target.exists()
        left = {p.name for p in target.parent.iterdir()}
        assert left <= {"m.gguf.partial", "m.gguf.partial.journal"}
        assert outcome != "corrupt_download" or left == set()
    assert {p.name for p in tmp_path.iterdir()} <= {"store", "home", "hf"}
    assert server.tokens_at_cdn == []
