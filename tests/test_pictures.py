"""Images looked at before they are decoded: what a header says, and when it lies."""

from __future__ import annotations

import base64
import io
import json
import resource
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from domicile import pictures
from domicile.errors import BadField, BadImage
from tests.fakes import eyes, seers


def _jpeg(width: int, height: int, *, scans: int = 1) -> bytes:
    head = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\0"
    return head + frame + b"\xff\xda\x00\x08\x01\x01\0\0\x3f\0\x00" * scans + b"\xff\xd9"


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, width, height) + b"\0" * 28


READ = {
    "png": (eyes.png((1, 2, 3), 7, 5), ("png", 7, 5)),
    "jpeg": (_jpeg(640, 480), ("jpeg", 640, 480)),
    "gif": (b"GIF89a" + struct.pack("<HH", 12, 34) + b"\0" * 9, ("gif", 12, 34)),
    "bmp, its rows from the top": (_bmp(9, -4), ("bmp", 9, 4)),
}


@pytest.mark.parametrize("case", READ.items(), ids=lambda case: case[0])
def test_a_header_says_what_an_image_is(case: tuple[str, tuple[bytes, tuple[str, int, int]]]) -> None:
    data, (kind, width, height) = case[1]
    assert pictures.look("x", data) == pictures.Image(kind, width, height)


@pytest.mark.parametrize("form", [{}, {"lossless": True}, {"quality": 10, "save_all": True}])
def test_a_webp_is_read_where_the_engine_reads_it(form: dict[str, Any]) -> None:
    out = io.BytesIO()
    Image.new("RGB", (31, 17), (1, 2, 3)).save(out, "WEBP", **form)
    assert pictures.look("x", out.getvalue(), frozenset({"webp"})) == pictures.Image("webp", 31, 17)
    with pytest.raises(BadImage) as refused:
        pictures.look("x", out.getvalue())
    assert refused.value.facts["reason"] == "webp"


@pytest.mark.parametrize(
    "case", [(seers.webp_of(16_384, 16_384), "pixels"), (b"RIFF....WEBPVP8 " + bytes(30), "broken")]
)
def test_a_webp_that_lies_is_refused_everywhere(case: tuple[bytes, str]) -> None:
    with pytest.raises(BadImage) as refused:
        pictures.look("x", case[0], frozenset({"webp"}))
    assert refused.value.facts["reason"] == case[1]


def _interlaced() -> bytes:
    rows = b"".join(b"\0" + b"\x05" * 3 * w for w, h in ((1, 1), (0, 0), (2, 1), (1, 2), (2, 1)) for _ in range(h) if w)
    head = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + eyes.chunk(b"IHDR", head) + eyes.chunk(b"IDAT", zlib.compress(rows))


def test_an_interlaced_png_is_read() -> None:
    assert pictures.look("x", _interlaced()).pixels == 16


REFUSED = {
    "a hundred megapixels": (eyes.png((0, 0, 0), said=(10_000, 10_000)), "pixels"),
    "a jpeg of a hundred megapixels": (_jpeg(10_000, 10_000), "pixels"),
    "a bmp of 2^31 rows": (_bmp(1, -(2**31)), "pixels"),
    "a png whose data is a bomb": (eyes.bomb(64 << 20), "bomb"),
    "a jpeg of a thousand scans": (_jpeg(64, 64, scans=1000), "bomb"),
    "a png whose data is no zlib": (eyes.png((0, 0, 0))[:41] + b"\xff" * 40, "bomb"),
    "no size": (b"GIF89a\0\0\0\0" + b"\0" * 20, "broken"),
    "a jpeg without a frame": (b"\xff\xd8\xff\xd9" + b"\0" * 40, "broken"),
    "half a signature": (b"\x89PNG\r\n\x1a\n", "kind"),
    "nothing": (b"", "kind"),
    "a photoshop file, which the decoder knows": (b"8BPS\0\x01" + b"\0" * 40, "kind"),
    "a webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "webp"),
    "a heic": (b"\0\0\0\x18ftypheic", "heic"),
    "a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
}


@pytest.mark.parametrize("case", REFUSED.items(), ids=lambda case: case[0])
def test_what_no_engine_is_given(case: tuple[str, tuple[bytes, str]]) -> None:
    data, reason = case[1]
    with pytest.raises(BadImage) as refused:
        pictures.look("messages[0]", data)
    assert refused.value.facts["reason"] == reason


def test_a_bomb_costs_no_memory() -> None:
    data = eyes.bomb(128 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImage):
        pictures.look("x", data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


def _chat(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": list(parts)}]}).encode()


def _image(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}}


def test_images_are_counted_and_together_they_have_a_limit() -> None:
    small = _image(eyes.png((1, 1, 1)))
    assert pictures.check(_chat({"type": "text", "text": "look"}, small, small)) == 2
    with pytest.raises(BadImage, match="many"):
        pictures.check(_chat(*[small] * (pictures.MOST_IMAGES + 1)))
    large = {"type": "image_url", "image_url": "data:image/gif;base64," + base64.b64encode(_gif(7000)).decode()}
    assert pictures.check(_chat(large, large)) == 2
    with pytest.raises(BadImage, match="pixels_in_all"):
        pictures.check(_chat(large, large, large))


def _gif(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\0" * 9


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x.png", "https://example.org/x.png", "file:///etc/passwd", "ftp://x/y"]
)
def test_an_address_is_refused_and_nothing_is_fetched(url: str) -> None:
    with pytest.raises(BadImage) as refused:
        pictures.check(_chat({"type": "image_url", "image_url": {"url": url}}))
    assert refused.value.facts["reason"] == "address"


@pytest.mark.parametrize("kind", ["input_audio", "video_url", "file"])
def test_sounds_and_films_are_no_images(kind: str) -> None:
    with pytest.raises(BadField):
        pictures.check(_chat({"type": kind, kind: {"data": "AAAA"}}))


def test_text_alone_is_told_at_a_glance() -> None:
    plain = _chat({"type": "text", "text": "what is an image?"})
    assert not pictures.may_have_images(plain)
    assert pictures.may_have_images(_chat(_image(b"")))
    assert pictures.may_have_images(b'{"messages":[{"content":[{"type":"image\\u005furl"}]}]}')
    assert pictures.may_have_images(b'{"messages":[{"content":[{"t\\u0079pe":"image_url"}]}]}')
