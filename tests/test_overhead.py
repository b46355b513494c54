"""The bench of what the house costs: its arithmetic, and its client against a server that counts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from bench import overhead, streams


def test_a_ratio_is_the_median_of_the_pairs_and_not_of_the_sides() -> None:
    row = overhead._ratio_row("decode", [(100.0, 99.0), (50.0, 49.5), (10.0, 5.0)])
    assert row.difference == "x 0.990 (half of 3: 0.500 to 0.990)"
    assert row.well
    assert not overhead._ratio_row("decode", [(100.0, 96.0)]).well


def test_added_time_is_the_median_of_the_differences() -> None:
    assert overhead._added_row("first", [(10.0, 13.0), (500.0, 504.0), (20.0, 90.0)], promised=True).well
    assert not overhead._added_row("first", [(10.0, 16.0)], promised=True).well
    assert overhead._added_row("first", [(10.0, 16.0)], promised=False).well is None


def test_a_promise_that_is_missed_shows_in_the_table() -> None:
    rows = [overhead._ratio_row("decode", [(100.0, 90.0)]), overhead._ratio_row("decode", [(100.0, 100.0)])]
    table = overhead.report(rows, "a machine")
    assert table.count("**missed**") == 1
    assert table.count("kept") == 1


def test_the_client_counts_tokens_and_passes_over_chunk_sizes() -> None:
    found = asyncio.run(_ask(["Bon", "jour", ""]))
    assert found["tokens"] == 3
    assert len(found["came"]) == 2  # the empty one is no text
    assert found["began"] < found["came"][0] < found["came"][-1]


def test_the_client_tells_what_a_server_refused() -> None:
    with pytest.raises(RuntimeError, match="503"):
        asyncio.run(_ask(None))


def test_decode_is_counted_while_everybody_is_answered() -> None:
    """The first prompt of several is read alone, or not, as it happens: that is no speed of decoding."""
    early = overhead.Stream(0, [1, *(10 + i / 10 for i in range(11))], 12, 0)
    late = overhead.Stream(0, [10 + i / 10 for i in range(11)], 11, 0)
    assert overhead._rate([early, late]) == pytest.approx(20)
    assert overhead._whole([early, late]) == pytest.approx(23 / 11)
    assert overhead._rate([late]) == pytest.approx(10)
    with pytest.raises(SystemExit):
        overhead._rate([late, overhead.Stream(0, [20, 21], 2, 0)])


async def _ask(words: list[str] | None) -> dict[str, Any]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.decode().splitlines() if line.startswith("Content-Length:"))
        asked = json.loads(await reader.readexactly(length))
        if words is None:
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        else:
            assert asked["ignore_eos"]
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for word in words:
                writer.write(_chunk({"choices": [{"delta": {"content": word}}]}))
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(_chunk({"choices": [], "usage": {"completion_tokens": len(words)}}) + b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        volley = {"url": url, "key": "k", "model": "m", "tokens": 3, "cached": False}
        return await streams.ask(volley, "Bonjour")


def _chunk(data: object) -> bytes:
    event = f"data: {json.dumps(data)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)
