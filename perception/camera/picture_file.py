"""Measures a picture file before it is decoded: its size in pixels from its header, and whether its data end early.

A hundred kilobytes of PNG can stand for gigabytes of pixels; and of a JPEG that is cut off some versions of OpenCV give
the part that is there, the rest grey. What cannot be measured here is not decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

MAX_PIXELS = 1 << 26
"""67 million, as 8192 x 8192: twice what a camera of 8K gives. Decoded to BGR it takes 192 MiB."""
MAX_BYTES = 1 << 28
"""Largest picture file: MAX_PIXELS without compression, and some more."""

_BROKEN = "is not an image that can be read"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END = 0xDA, 0xD9
# In the data of a scan 0xff comes before 0 and before the restart markers; anywhere else it starts the next segment.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class PictureFault(Exception):
    """A file that holds no picture that can be used. Its text goes on from the name of the file: "is ..."."""

    def __init__(self, text: str = _BROKEN) -> None:
        super().__init__(text)


def check(data: bytes) -> tuple[int, int]:
    """Return (height, width) of the picture in a whole file, in pixels.

    Raises PictureFault for what is no JPEG, PNG, BMP, TIFF or WebP, has more than MAX_PIXELS, or ends early.
    """
    measure = next((measure for is_one, measure in _FORMATS if is_one(data)), None)
    if measure is None:
        raise PictureFault
    try:
        width, height = measure(data)
    except (struct.error, IndexError):
        raise PictureFault from None
    if width < 1 or height < 1:
        raise PictureFault
    refuse_large(width, height)
    return height, width


def refuse_large(width: int, height: int) -> None:
    """Raises PictureFault for more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise PictureFault(f"is {width}x{height} pixels large, of {MAX_PIXELS:,} at most, and is not decoded")


def _cut(kind: str) -> PictureFault:
    return PictureFault(f"is cut off: its {kind} data end early")


def _jpeg(data: bytes) -> tuple[int, int]:
    """ITU-T T.81, annex B: markers with their lengths, up to the end of the image."""
    size, place = (0, 0), 2
    while place < len(data):
        if data[place] != 0xFF:
            raise PictureFault
        while data[place] == 0xFF:  # any number of them may precede a marker
            place += 1
        marker = data[place]
        place += 1
        if marker == _END:
            return size
        if marker in _WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", data, place)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, place + 3)
            size = max(size[0], width), max(size[1], height)
            refuse_large(*size)  # before the search for the end: this says more than that it is cut off
        place += length
        if marker == _START_OF_SCAN:
            found = _NEXT_MARKER.search(data, place)
            if found is None:
                break
            place = found.start()
    raise _cut("JPEG")


def _png(data: bytes) -> tuple[int, int]:
    """PNG 3.0, sections 5.3 and 11.2.1: chunks with their lengths, the first of them with the size."""
    width, height = struct.unpack_from(">II", data, 16)
    refuse_large(width, height)
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += 12 + length
        if kind == b"IEND" and place <= len(data):
            return width, height
    raise _cut("PNG")


def _bmp(data: bytes) -> tuple[int, int]:
    """BITMAPFILEHEADER, then BITMAPCOREHEADER or BITMAPINFOHEADER of the Windows API."""
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    width, height = abs(width), abs(height)  # negative for rows from the top
    refuse_large(width, height)
    row = (width * bits + 7) // 8
    if compression == 0 and len(data) < start + (row + 3) // 4 * 4 * (height - 1) + row:
        raise _cut("BMP")
    return width, height


def _tiff(data: bytes) -> tuple[int, int]:
    """TIFF 6.0, section 2, and BigTIFF: the tags of the first image. Its tiles may be larger than itself."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    (place,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)
    place += 8 if big else 2
    tags: dict[int, int] = {}
    for number in range(min(count, 1000)):
        entry = place + number * (20 if big else 12)
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        form = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in (256, 257, 322, 323) and form:
            (tags[tag],) = struct.unpack_from(f"{order}{form}", data, entry + (12 if big else 8))
    refuse_large(tags.get(322, 0), tags.get(323, 0))
    return tags.get(256, 0), tags.get(257, 0)


def _webp(data: bytes) -> tuple[int, int]:
    """RFC 9649, sections 2.5 to 2.7: lossy, lossless, or extended with the size of the canvas."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    else:
        raise PictureFault
    refuse_large(width, height)
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise _cut("WebP")
    return width, height


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...] = (
    (lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    (lambda data: data.startswith(b"BM"), _bmp),
    (lambda data: data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp),
)
