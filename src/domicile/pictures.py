"""Images in a conversation, looked at before an engine decodes them.

The engine holds every image of a request as pixels at once, and its decoder trusts a file's header. So a header is
read here first: which kind of file it is (by its first bytes, whatever it is called), how many pixels it announces,
and for a PNG that its data is no more than those pixels. An image is data in the request: nobody fetches an address
on the person's behalf (docs/why.md). Nothing is decoded here, and nothing of an image is kept.

Formats: PNG (W3C, 11.2), JPEG (ITU-T T.81, B.2), GIF89a (18), BMP (BITMAPINFOHEADER), and WebP (RFC 9649) for the
engines that decode with Pillow: llama.cpp's decoder (stb_image) does not know it. Others that stb_image would try are
refused: they are no pictures that people send.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domicile.errors import BadField, BadImage, ModelCannot

MOST_IMAGES = 32
"""In one request."""
MOST_PIXELS = 50_000_000
"""Of one image: a large photograph has 24 million."""
MOST_PIXELS_IN_ALL = 100_000_000
"""Of one request: three bytes each, twice over, while the engine decodes them."""
_MOST_SCANS = 100
"""Of a JPEG: each may cost as much as the whole image."""
_PIECE = 1 << 18

_PARTS = re.compile(rb'image_url|input_audio|\\u00|"type"\s*:\s*"(?!text")')
"""What may announce a part that is no text; a key may be written with escapes."""
_DATA = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """What an image's header says."""

    kind: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def may_have_images(body: bytes) -> bool:
    """Quick and never wrong when it says no: the body of a chat holds text alone."""
    return _PARTS.search(body) is not None


def images_of(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every image of a conversation, as its field and its address. Raises `BadField` for a part of another kind."""
    messages = data.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            field = f"messages[{number}].content[{place}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image_url":
                said = part.get("image_url")
                url = said.get("url") if isinstance(said, dict) else said
                yield f"{field}.image_url", url if isinstance(url, str) else ""
            elif kind in {"input_audio", "audio_url", "video_url", "input_video", "media_marker", "file"}:
                raise BadField(field=field, problem=str(kind), reason="block")


def check(body: bytes, also: frozenset[str] = frozenset()) -> int:
    """How many images a chat holds, each within bounds. Takes a second for the largest: call it in a thread. `also`
    are kinds that this engine reads besides `kinds()`.

    Raises `BadImage`, or `BadField` for an image that is not in the request itself.
    """
    count = pixels = 0
    for field, url in images_of(json.loads(body)):
        count += 1
        if count > MOST_IMAGES:
            raise BadImage(field=field, problem=str(count), reason="many", limit=MOST_IMAGES)
        pixels += look(field, _decoded(field, url), also).pixels
        if pixels > MOST_PIXELS_IN_ALL:
            raise BadImage(
                field=field, problem=str(pixels), reason="pixels_in_all", pixels=pixels, limit=MOST_PIXELS_IN_ALL
            )
    return count


def refuse(name: str, projector: bool) -> ModelCannot:
    """The error of a model that sees nothing: it has no eyes, or they are closed."""
    return ModelCannot(name=name, problem="image_url", reason="images_off" if projector else "images")


def _decoded(field: str, url: str) -> bytes:
    said = _DATA.match(url)
    if said is None:
        where = "address" if re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE) else "data"
        raise BadImage(field=field, problem=url[:60], reason=where)
    try:
        return base64.b64decode(url[said.end() :], validate=True)
    except (binascii.Error, ValueError) as trouble:
        raise BadImage(field=field, problem=str(trouble)[:100], reason="base64") from trouble


def look(field: str, data: bytes, also: frozenset[str] = frozenset()) -> Image:
    """What an image is, by its header. Raises `BadImage` for one that the engine should not be given."""
    image = _header(data)
    if image is None or (image.kind == "webp" and "webp" not in also):
        raise BadImage(field=field, problem=data[:12].hex(), reason=_foreign(data))
    if not image.width or not image.height:
        raise BadImage(field=field, problem=f"{image.width} x {image.height}", reason="broken")
    if image.pixels > MOST_PIXELS:
        raise BadImage(
            field=field,
            problem=f"{image.width} x {image.height}",
            reason="pixels",
            pixels=image.pixels,
            limit=MOST_PIXELS,
        )
    if image.kind == "png" and not _png_is_honest(data, image):
        raise BadImage(field=field, problem=f"{image.width} x {image.height}", reason="bomb")
    if image.kind == "jpeg" and data.count(b"\xff\xda") > _MOST_SCANS:
        raise BadImage(field=field, problem=f"{image.width} x {image.height}", reason="bomb")
    return image


def _foreign(data: bytes) -> str:
    """Why a file is none of the four: one that people take for a picture is named."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return "heic"
    if data[:5] == b"<?xml" or data[:4] == b"<svg":
        return "svg"
    return "kind"


def _header(data: bytes) -> Image | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 33:
        return Image("png", *struct.unpack(">II", data[16:24]))
    if data.startswith(b"\xff\xd8\xff"):
        return Image("jpeg", *_jpeg_size(data))
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return Image("gif", *struct.unpack("<HH", data[6:10]))
    if data.startswith(b"BM") and len(data) >= 26:
        return Image("bmp", *_bmp_size(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return Image("webp", *_webp_size(data))
    return None


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas: of the extended form, lossless, or lossy (RFC 9649, 2.5 to 2.7); 0 by 0 for another."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and body[0] == 0x2F:
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _bmp_size(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack("<I", data[14:18])
    width, height = struct.unpack("<HH", data[18:22]) if size == 12 else struct.unpack("<ii", data[18:26])
    return max(0, width), abs(height)


_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Start-of-frame markers: they carry the size."""


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """The largest size of all the frames before the first scan; 0 by 0 where there is none."""
    width = height = 0
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            place += 1
            continue
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker == 0xDA:
            break
        elif marker in {0x00, 0x01} or 0xD0 <= marker <= 0xD8:
            place += 2
        else:
            (length,) = struct.unpack(">H", data[place + 2 : place + 4])
            if marker in _FRAMES and place + 9 <= len(data):
                tall, wide = struct.unpack(">HH", data[place + 5 : place + 9])
                width, height = max(width, wide), max(height, tall)
            place += 2 + max(2, length)
    return width, height


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png_is_honest(data: bytes, image: Image) -> bool:
    """Is what the data unpacks to no more than the pixels announced? Unpacked piece by piece, and thrown away."""
    depth, colour, _, _, interlaced = data[24:29]
    if colour not in _CHANNELS or depth not in {1, 2, 4, 8, 16} or interlaced > 1:
        return False
    row = 1 + -(-image.width * _CHANNELS[colour] * depth // 8)
    announced = row * image.height
    if interlaced:  # seven passes: each row of each has its own filter byte, and its own rounding
        announced = announced * 2 + 7 * image.height
    unpacker = zlib.decompressobj()
    came = 0
    try:
        for piece in _png_data(data):
            left = piece
            while left:
                came += len(unpacker.decompress(left, _PIECE))
                if came > announced + _PIECE:
                    return False
                left = unpacker.unconsumed_tail
    except zlib.error:
        return False
    return True


def _png_data(data: bytes) -> Iterator[bytes]:
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            yield data[place + 8 : place + 8 + length]
        place += 12 + length


def kinds() -> Sequence[str]:
    """The kinds of images that every engine reads."""
    return ("png", "jpeg", "gif", "bmp")
